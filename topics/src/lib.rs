//! Topics: what a web client may subscribe to beside the game itself.
//!
//! A [`Broker`] holds what was said last on each topic that somebody hears, numbers it, and queues it for those who subscribed;
//! [`Hub`] shares one between threads. [`Topic`] is the name, [`authorise`] says who may hear it, [`message`] is what goes over
//! the wire, in MessagePack. No sockets, no clock, no database: whoever calls brings the time and says who somebody is.
//!
//! Nothing here waits for a subscriber. What one has not read is bounded ([`QUEUE_BYTES_MAX`]); past the bound the subscriber
//! is let go, told why. What a topic keeps is bounded too ([`RING_MESSAGES_MAX`], [`RING_BYTES_MAX`]): whoever comes back later
//! than that hears of the gap. All together: at most [`TOPICS_MAX`] rings and [`CONNECTIONS_MAX`] queues, about 100 MiB at the
//! very worst; a message that is queued for many is held once.

mod broker;
mod hub;
pub mod message;
mod name;

pub use broker::{
    ACCOUNT_CONNECTIONS_MAX, Broker, CONNECTIONS_MAX, CloseReason, ConnectionId, Crowded, Figures, Identity,
    LINGER_MS, MESSAGE_BYTES_MAX, QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX, REQUESTS_AT_ONCE, RING_BYTES_MAX,
    RING_MESSAGES_MAX, Refusal, SITE_CONNECTIONS_MAX, SUBSCRIPTIONS_MAX, TOPICS_MAX, Taken, Wake, Watched,
};
pub use hub::Hub;
pub use name::{Claims, NAME_BYTES_MAX, NameError, Owner, Topic, authorise};

/// What the protocol is called when a WebSocket is opened (`Sec-WebSocket-Protocol`).
pub const SUBPROTOCOL: &str = "vyuha.topics.v1";
