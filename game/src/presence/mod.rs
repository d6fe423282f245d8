//! Who is at the keyboard.
//!
//! - A step with a heading and every request are signs of somebody; pings, acknowledgements and steps on the spot
//!   are not, since a client sends them by itself.
//! - Who gives none for [`Patience::away_ticks`] is marked away: the character's state in the zone is [`STATE_AWAY`], which
//!   all who see it are told, and its own client gets [`vyuha_protocol::message::Away`]. The next sign takes both back.
//! - Who gives none for [`Patience::leave_ticks`] is saved and its session ends with `AwayTooLong`.
//! - Sessions are looked at once a second, a part of them in each tick: both may come a second late.

mod rules;
#[cfg(test)]
mod tests;

pub use rules::{Verdict, judge};

/// The state, in a zone, of a character whose player is away; otherwise it is 0.
pub const STATE_AWAY: u16 = 1;

/// How long a shard waits for signs of a player, in ticks; 0 is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Until it is marked away.
    pub away_ticks: u32,
    /// Until its session ends.
    pub leave_ticks: u32,
}

/// What is known of a session's player.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// The tick of the last sign; of a shard that is younger than that, it is before its tick 0 by wrapping.
    pub seen_tick: u64,
    /// Marked away.
    pub is_away: bool,
}

impl Presence {
    /// Somebody who has just arrived.
    pub fn new(tick: u64) -> Presence {
        Presence { seen_tick: tick, is_away: false }
    }

    /// The character's state in its zone.
    pub fn state(self) -> u16 {
        if self.is_away { STATE_AWAY } else { 0 }
    }
}
