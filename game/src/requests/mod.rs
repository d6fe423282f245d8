//! How many requests a session may make.
//!
//! - A session may make as many requests at once as in a second, and regains them evenly over that second.
//! - What is over it is refused with `RequestsTooFast`, whatever was asked for, and does nothing. Leaving is always allowed.
//! - Inputs, pings and acknowledgements are no requests: the bound on frames is theirs.

mod rules;
#[cfg(test)]
mod tests;

pub use rules::spend;

/// What a session has left of its requests, each worth a second's ticks so that a tick's worth is a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// Spent and not regained by `tick`.
    pub spent: u64,
    /// Until when `spent` was counted; of a shard that is younger than that, it is before its tick 0 by wrapping.
    pub tick: u64,
}
