//! Hot data: what expires by itself and what nodes tell each other, in Redis or, where there is none, in
//! the process.
//!
//! - Sessions, positions, recent chat, rate-limit buckets, revoked sessions and the registry of nodes, each with its
//!   lifetime ([`Lifetimes`]);
//! - messages between nodes, delivered at most once ([`HotStore::publish`]);
//! - the outside event bus, where each event has an id that its producer gives and so is there once
//!   ([`HotStore::append`]), read by groups of consumers.
//!
//! Nothing of value rests on it: what is lost with Redis is told again by the nodes or read from the
//! database and the journal. No shard calls it: its callers are tasks of the control plane.

mod memory;
mod redis;
mod store;

pub use memory::MemoryHot;
pub use redis::{RedisHot, RedisSettings, RedisSettingsError, RedisStats};
pub use store::{
    Bucket, BucketRule, Event, EventId, HotError, HotFuture, HotStore, Lifetimes, NAME_BYTES_MAX, Near,
    Position, Revoked, Subscription, VALUE_BYTES_MAX, ZONE_METRES_MAX,
};
pub use vyuha_breaker::BreakerState;
