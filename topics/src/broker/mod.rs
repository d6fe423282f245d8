//! The broker: who hears what, what was said last, and what is on its way to whom.
//!
//! A topic is kept while somebody hears it, and for [`LINGER_MS`] after, so that a client whose connection broke goes on where
//! it was. Its messages are numbered without a hole within an epoch; where one is lost for everybody a new epoch begins, and
//! all who hear it are told. `server/announcements` and `world/events` are kept always.

mod channel;
mod connection;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use bytes::Bytes;
use serde::Serialize;

use crate::message::{self, Ended, Gap, Message, Place, Subscribed, Unsubscribed};
use crate::name::{Owner, Topic};
use channel::Channel;
use connection::Connection;
pub use connection::{
    CloseReason, Identity, QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX, REQUESTS_AT_ONCE, Taken, Wake,
};

pub use channel::{RING_BYTES_MAX, RING_MESSAGES_MAX};

/// Connections at once.
pub const CONNECTIONS_MAX: usize = 512;
/// Connections at once from one address, or what counts as one.
pub const SITE_CONNECTIONS_MAX: usize = 32;
/// Connections at once of one account.
pub const ACCOUNT_CONNECTIONS_MAX: usize = 8;
/// Topics that one connection hears at once.
pub const SUBSCRIPTIONS_MAX: usize = 32;
/// Topics that are kept at once.
pub const TOPICS_MAX: usize = 4096;
/// The longest message of a topic, in bytes, its head and all. A longer one is a gap.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// How long a topic is kept that nobody hears, in milliseconds.
pub const LINGER_MS: i64 = 60_000;
/// Epochs are below this, so that a JavaScript number holds them exactly.
const EPOCHS: u64 = 1 << 53;

const _: () = assert!(MESSAGE_BYTES_MAX <= RING_BYTES_MAX, "a ring holds the longest message");
const _: () = assert!(RING_BYTES_MAX + MESSAGE_BYTES_MAX <= QUEUE_BYTES_MAX, "a queue holds a ring");
const _: () = assert!(RING_MESSAGES_MAX < QUEUE_MESSAGES_MAX, "a queue holds a ring");

/// A connection, as long as it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(u64);

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No topic has that name.
    TopicUnknown,
    /// It is not the account's to hear, or does not exist.
    Forbidden,
    /// The connection hears it already.
    AlreadySubscribed,
    /// The connection does not hear it.
    NotSubscribed,
    /// The connection hears [`SUBSCRIPTIONS_MAX`] topics.
    TooManySubscriptions,
    /// [`TOPICS_MAX`] topics are heard: try again.
    Busy,
    /// Whether it may be heard cannot be said just now: try again.
    Unavailable,
}

impl Refusal {
    /// The code as programs see it; it never changes its meaning.
    pub const fn code(self) -> &'static str {
        match self {
            Refusal::TopicUnknown => "topic_unknown",
            Refusal::Forbidden => "forbidden",
            Refusal::AlreadySubscribed => "already_subscribed",
            Refusal::NotSubscribed => "not_subscribed",
            Refusal::TooManySubscriptions => "too_many_subscriptions",
            Refusal::Busy => "busy",
            Refusal::Unavailable => "unavailable",
        }
    }
}

/// Why there is no place for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Crowded {
    /// [`CONNECTIONS_MAX`].
    #[error("there are {CONNECTIONS_MAX} connections")]
    Server,
    /// [`SITE_CONNECTIONS_MAX`].
    #[error("there are {SITE_CONNECTIONS_MAX} connections of one address")]
    Site,
}

/// A character whose topics somebody hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watched {
    /// Its account.
    pub account: i64,
    /// The character.
    pub character: i64,
    /// Whether its position is heard.
    pub position: bool,
    /// Whether its inventory is heard.
    pub inventory: bool,
}

/// What a broker did, since it was made but for levels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Connections now.
    pub connections: u64,
    /// Topics that are kept now.
    pub topics: u64,
    /// Messages of topics that somebody heard, or that are kept always.
    pub published: u64,
    /// Messages queued for somebody.
    pub queued: u64,
    /// Subscribers that were let go because they did not read.
    pub slow: u64,
    /// Topics in which something was lost for all who hear them.
    pub torn: u64,
}

/// See the module.
pub struct Broker {
    epoch_next: u64,
    connection_next: u64,
    channels: HashMap<Topic, Channel>,
    connections: HashMap<ConnectionId, Connection>,
    /// Changes whenever [`Broker::watched`] would.
    watch_version: u64,
    figures: Figures,
}

impl Broker {
    /// A broker whose epochs begin with this one: one that no other run has, nor another node.
    pub fn new(epoch: u64, now_ms: i64) -> Broker {
        let mut broker = Broker {
            epoch_next: epoch % EPOCHS,
            connection_next: 0,
            channels: HashMap::new(),
            connections: HashMap::new(),
            watch_version: 0,
            figures: Figures::default(),
        };
        for topic in [Topic::Announcements, Topic::WorldEvents] {
            broker.keep(topic, 0, now_ms);
        }
        broker
    }

    /// Lets a connection in, of which nobody knows yet whose it is. `wake` is called when there is something to take; it must
    /// not call back.
    ///
    /// # Errors
    /// [`Crowded`].
    pub fn open(&mut self, site: &str, now_ms: i64, wake: Wake) -> Result<ConnectionId, Crowded> {
        if self.connections.len() >= CONNECTIONS_MAX {
            return Err(Crowded::Server);
        }
        if self.connections.values().filter(|other| other.site == site).count() >= SITE_CONNECTIONS_MAX {
            return Err(Crowded::Site);
        }
        let id = ConnectionId(self.connection_next);
        self.connection_next += 1;
        self.connections.insert(id, Connection::new(site, now_ms, wake));
        Ok(id)
    }

    /// A connection is this account's, or still is.
    ///
    /// # Errors
    /// Where it is another's, or the account has as many as it may: it is closing.
    pub fn identify(&mut self, id: ConnectionId, identity: Identity) -> Result<(), CloseReason> {
        let account = identity.account;
        let others = self.connections.iter().filter(|(other, connection)| {
            **other != id && connection.account() == Some(account) && connection.closing.is_none()
        });
        let crowded = others.count() >= ACCOUNT_CONNECTIONS_MAX;
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let reason = match connection.account() {
            Some(known) if known != account => CloseReason::Unauthorized,
            None if crowded => CloseReason::TooManyConnections,
            _ => {
                connection.identity = Some(identity);
                return Ok(());
            }
        };
        self.close(id, reason);
        Err(reason)
    }

    /// Whose a connection is, if that is known.
    pub fn identity(&self, id: ConnectionId) -> Option<&Identity> {
        self.connections.get(&id)?.identity.as_ref()
    }

    /// Takes a request of a connection; one that asks too often is closing.
    pub fn count_request(&mut self, id: ConnectionId, now_ms: i64) {
        let flood = self.connections.get_mut(&id).is_some_and(|connection| !connection.allows(now_ms));
        if flood {
            self.close(id, CloseReason::Flood);
        }
    }

    /// Subscribes a connection whose account may hear the topic, and answers `request`. What was said after `after` follows, as
    /// far as it is there.
    ///
    /// # Errors
    /// Why not; it is not told.
    pub fn subscribe(
        &mut self,
        id: ConnectionId,
        request: u32,
        topic: Topic,
        after: Option<Place>,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get(&id) else { return Ok(()) };
        let Some(account) = connection.account() else { return Err(Refusal::Forbidden) };
        if connection.topics.contains(&topic) {
            return Err(Refusal::AlreadySubscribed);
        }
        if connection.topics.len() >= SUBSCRIPTIONS_MAX {
            return Err(Refusal::TooManySubscriptions);
        }
        self.tidy(now_ms);
        if !self.channels.contains_key(&topic) && self.channels.len() >= TOPICS_MAX {
            return Err(Refusal::Busy);
        }
        let channel = self.keep(topic, account, now_ms);
        channel.subscribers.push(id);
        channel.heard_ms = now_ms;
        let epoch = channel.epoch;
        let (seq, gap) = channel.resume(after);
        let answer = Subscribed { request, topic: topic.to_string(), epoch, seq, gap };
        let missed: Vec<Bytes> = channel.after(seq).cloned().collect();
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        connection.topics.push(topic);
        self.push(id, message::encode("Subscribed", &answer));
        for message in missed {
            self.figures.queued += 1;
            self.push(id, message);
        }
        Ok(())
    }

    /// Ends a subscription, and answers `request`.
    ///
    /// # Errors
    /// Why not; it is not told.
    pub fn unsubscribe(
        &mut self,
        id: ConnectionId,
        request: u32,
        topic: Topic,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        if !self.leave(id, topic, now_ms) {
            return Err(Refusal::NotSubscribed);
        }
        self.push(id, message::encode("Unsubscribed", &Unsubscribed { request }));
        Ok(())
    }

    /// Ends a subscription that its account may not have any more, and tells it.
    pub fn end(&mut self, id: ConnectionId, topic: Topic, why: Refusal, now_ms: i64) {
        if self.leave(id, topic, now_ms) {
            let ended = Ended { topic: topic.to_string(), code: why.code().to_owned() };
            self.push(id, message::encode("Ended", &ended));
        }
    }

    /// What a connection hears.
    pub fn topics(&self, id: ConnectionId) -> Vec<Topic> {
        self.connections.get(&id).map(|connection| connection.topics.clone()).unwrap_or_default()
    }

    /// Says something to all who hear a topic; nothing where it is not kept.
    pub fn publish<T: Serialize>(&mut self, topic: Topic, data: &T, now_ms: i64) {
        let Some(channel) = self.channels.get_mut(&topic) else { return };
        let message = Message { topic: topic.to_string(), seq: channel.seq + 1, at_ms: now_ms, data };
        let message = message::encode("Message", &message);
        if message.len() > MESSAGE_BYTES_MAX {
            self.tear(|torn| torn == topic);
            return;
        }
        channel.push(message.clone());
        self.figures.published += 1;
        for id in channel.subscribers.clone() {
            self.figures.queued += 1;
            self.push(id, message.clone());
        }
    }

    /// Something of these topics was lost: a new epoch begins, and whoever hears one is told.
    pub fn tear(&mut self, is_torn: impl Fn(Topic) -> bool) {
        let torn: Vec<Topic> = self.channels.keys().copied().filter(|topic| is_torn(*topic)).collect();
        for topic in torn {
            let epoch = self.next_epoch();
            let Some(channel) = self.channels.get_mut(&topic) else { continue };
            channel.tear(epoch);
            self.figures.torn += 1;
            let gap = Gap { topic: topic.to_string(), epoch, seq: channel.seq };
            let (gap, subscribers) = (message::encode("Gap", &gap), channel.subscribers.clone());
            for id in subscribers {
                self.push(id, gap.clone());
            }
        }
    }

    /// Queues an answer or another message that is of no topic.
    pub fn push(&mut self, id: ConnectionId, message: Bytes) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !connection.push(message) {
            self.figures.slow += 1;
            self.close(id, CloseReason::SlowSubscriber);
        }
    }

    /// What is next for a connection.
    pub fn take(&mut self, id: ConnectionId) -> Taken {
        self.connections.get_mut(&id).map_or(Taken::Nothing, Connection::take)
    }

    /// Why a connection is to be closed, if it is.
    pub fn closing(&self, id: ConnectionId) -> Option<CloseReason> {
        self.connections.get(&id)?.closing
    }

    /// A connection is to be closed; what is queued for it is let go of. The first reason counts.
    pub fn close(&mut self, id: ConnectionId, reason: CloseReason) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.close(reason);
        }
    }

    /// Closes every connection of these.
    pub fn close_all(&mut self, reason: CloseReason, of: impl Fn(Option<&Identity>) -> bool) {
        for connection in self.connections.values_mut().filter(|connection| of(connection.identity.as_ref()))
        {
            connection.close(reason);
        }
    }

    /// A connection is gone.
    pub fn remove(&mut self, id: ConnectionId, now_ms: i64) {
        for topic in self.topics(id) {
            self.leave(id, topic, now_ms);
        }
        self.connections.remove(&id);
    }

    /// The characters whose topics are kept, and the version of that; `None` where it is still the version that was seen.
    /// Forgets topics that nobody has heard for [`LINGER_MS`].
    pub fn watched(&mut self, seen: Option<u64>, now_ms: i64) -> Option<(u64, Vec<Watched>)> {
        self.tidy(now_ms);
        if seen == Some(self.watch_version) {
            return None;
        }
        let mut watched: HashMap<i64, Watched> = HashMap::new();
        for (topic, channel) in &self.channels {
            let Owner::Character(character) = topic.owner() else { continue };
            let blank = Watched { account: channel.account, character, position: false, inventory: false };
            let entry = watched.entry(character).or_insert(blank);
            entry.position |= matches!(topic, Topic::Position(_));
            entry.inventory |= matches!(topic, Topic::Inventory(_));
        }
        let watched = watched.into_values().filter(|one| one.position || one.inventory).collect();
        Some((self.watch_version, watched))
    }

    /// What was done.
    pub fn figures(&self) -> Figures {
        Figures {
            connections: self.connections.len() as u64,
            topics: self.channels.len() as u64,
            ..self.figures
        }
    }

    fn keep(&mut self, topic: Topic, account: i64, now_ms: i64) -> &mut Channel {
        if !self.channels.contains_key(&topic) {
            let epoch = self.next_epoch();
            self.channels.insert(topic, Channel::new(epoch, account, now_ms));
            self.watch_version += 1;
        }
        if let owner @ Owner::Character(_) = topic.owner() {
            // It may have been another's a moment ago.
            for (_, of_character) in self.channels.iter_mut().filter(|(topic, _)| topic.owner() == owner) {
                self.watch_version += u64::from(of_character.account != account);
                of_character.account = account;
            }
        }
        self.channels.get_mut(&topic).expect("it was just put there")
    }

    fn tidy(&mut self, now_ms: i64) {
        let before = self.channels.len();
        self.channels.retain(|topic, channel| {
            topic.owner() == Owner::Everyone
                || !channel.subscribers.is_empty()
                || now_ms - channel.heard_ms < LINGER_MS
        });
        if self.channels.len() != before {
            self.watch_version += 1;
        }
    }

    /// Whether the connection heard it.
    fn leave(&mut self, id: ConnectionId, topic: Topic, now_ms: i64) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let Some(at) = connection.topics.iter().position(|heard| *heard == topic) else { return false };
        connection.topics.swap_remove(at);
        if let Some(channel) = self.channels.get_mut(&topic) {
            channel.subscribers.retain(|subscriber| *subscriber != id);
            channel.heard_ms = now_ms;
        }
        true
    }

    fn next_epoch(&mut self) -> u64 {
        let epoch = self.epoch_next;
        self.epoch_next = (epoch + 1) % EPOCHS;
        epoch
    }
}
