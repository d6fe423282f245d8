//! What the shards tell the topics of web clients: where characters are, and what becomes of what they carry.
//!
//! A shard is told which characters somebody listens to, and tells of those alone, in bounded rings; it waits for nothing. The
//! other end is a task on the API's thread. A position that finds no room is left out, for the next one says it all; an
//! inventory's change that finds none is told as a gap.

mod feed;
mod inventory;
mod relay;

pub use feed::{TopicFeed, TopicFeeds};
pub use relay::relay;

use serde::Serialize;
use vyuha_topics::{Broker, Hub};

/// The topics of one run of a node.
///
/// # Errors
/// Where the system gives nothing random.
pub fn open() -> anyhow::Result<Hub> {
    let mut epoch = [0; 8];
    let got = rustix::rand::getrandom(&mut epoch, rustix::rand::GetRandomFlags::empty())?;
    anyhow::ensure!(got == epoch.len(), "the system gave {got} random bytes of {}", epoch.len());
    Ok(Hub::new(Broker::new(u64::from_ne_bytes(epoch), crate::clock::unix_ms())))
}

/// What `server/announcements` says.
#[derive(Serialize)]
pub struct Announced<'a> {
    /// The announcement.
    pub text: &'a str,
}

/// What `world/events` says.
#[derive(Serialize)]
pub struct WorldEvent {
    /// What happened, in a word or two.
    pub what: &'static str,
    /// In which zone; 0 for none.
    pub zone: i64,
}
