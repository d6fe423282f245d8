//! Saying things to those near.
//!
//! - A text obeys the rules of [`vyuha_protocol::text`].
//! - It is heard, once, by everybody within the zone kind's hearing radius, the speaker too.
//! - A session has [`CHAT_BURST`] texts at once and regains one every [`CHAT_INTERVAL_S`] seconds.

mod rules;
#[cfg(test)]
mod tests;

pub use rules::speak;

/// Texts that a session can say at once.
pub const CHAT_BURST: u64 = 5;
/// Seconds in which a session regains one text.
pub const CHAT_INTERVAL_S: u64 = 1;

/// A session's allowance: the tick at which it will be whole again.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// A tick; all texts can be said if it is not in the future.
    pub whole_at_tick: u64,
}
