//! When somebody is away, and when for too long.

use super::{Patience, Presence};

/// What becomes of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is as it was.
    Stays,
    /// It is marked away from now on.
    GoesAway,
    /// It ends.
    Leaves,
}

/// Judges a session at a tick.
pub fn judge(presence: Presence, tick: u64, patience: Patience) -> Verdict {
    let silent_ticks = tick.wrapping_sub(presence.seen_tick);
    let is_over = |ticks: u32| ticks > 0 && silent_ticks >= u64::from(ticks);
    if is_over(patience.leave_ticks) {
        Verdict::Leaves
    } else if is_over(patience.away_ticks) && !presence.is_away {
        Verdict::GoesAway
    } else {
        Verdict::Stays
    }
}
