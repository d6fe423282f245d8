//! What a load measures: distributions in microseconds, counters, and what went wrong.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;
use vyuha_protocol::ErrorCode;

use crate::role::Role;

/// The longest time that is told apart, in microseconds: a minute. Longer ones count as this.
const TIME_US_MAX: u64 = 60_000_000;
/// Errors that are kept in words.
const ERROR_SAMPLES_MAX: usize = 10;

/// Times of one kind, with three significant figures.
pub struct Times(Histogram<u64>);

/// Where a distribution's mass lies, in milliseconds; zeros if nothing was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Distribution {
    /// Times recorded.
    pub count: u64,
    /// The median.
    pub p50: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Default for Times {
    fn default() -> Times {
        Times(Histogram::new_with_bounds(1, TIME_US_MAX, 3).expect("the bounds are sound"))
    }
}

impl Times {
    /// Records a time in nanoseconds.
    pub fn record(&mut self, time_ns: u64) {
        self.0.saturating_record(time_ns / 1000);
    }

    fn add(&mut self, other: &Times) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// What was recorded since another was as this.
    pub fn since(&self, before: &Times) -> Distribution {
        let mut since = Times(self.0.clone());
        since.0.subtract(&before.0).expect("times are only added");
        since.distribution()
    }

    /// What was recorded.
    pub fn distribution(&self) -> Distribution {
        let ms = |us: u64| us as f64 / 1000.0;
        Distribution {
            count: self.0.len(),
            p50: ms(self.0.value_at_quantile(0.5)),
            p99: ms(self.0.value_at_quantile(0.99)),
            max: ms(self.0.max()),
        }
    }
}

/// What is counted only while the load is measured, of the bots of one role.
#[derive(Default)]
pub struct Window {
    /// Times between consecutive snapshots of one client.
    pub snapshot_gap: Times,
    /// Times from an input's sending to the snapshot that acknowledges it.
    pub input_to_snapshot: Times,
    /// Times from ping to pong.
    pub rtt: Times,
    /// Times from breaking off to having the session again.
    pub resumed: Times,
    /// Snapshots received.
    pub snapshots: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Inputs sent.
    pub inputs: u64,
    /// Requests sent by playing clients: say, pick up, drop, log out.
    pub commands: u64,
    /// Of these, how many were refused, by code.
    pub refused: BTreeMap<&'static str, u64>,
    /// Items picked up.
    pub picked_up: u64,
    /// Items dropped.
    pub dropped: u64,
    /// Trades, as each of the two counts them.
    pub traded: u64,
    /// Texts heard.
    pub heard: u64,
    /// Snapshots that corrected a prediction.
    pub corrections: u64,
    /// Steps of playing clients.
    pub client_ticks: u64,
    /// Clients that logged out and in again.
    pub relogs: u64,
    /// Connections that were dropped without a word, to sign in again.
    pub reconnects: u64,
    /// Connections that ended without having been asked to.
    pub disconnects: u64,
}

impl Window {
    /// Counts a command that was refused.
    pub fn refused(&mut self, code: Option<ErrorCode>) {
        *self.refused.entry(code.map_or("unknown", ErrorCode::name)).or_default() += 1;
    }

    fn add_times(&mut self, other: &Window) {
        self.snapshot_gap.add(&other.snapshot_gap);
        self.input_to_snapshot.add(&other.input_to_snapshot);
        self.rtt.add(&other.rtt);
        self.resumed.add(&other.resumed);
    }

    fn add_counts(&mut self, other: &Window) {
        self.snapshots += other.snapshots;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.inputs += other.inputs;
        self.commands += other.commands;
        for (code, times) in &other.refused {
            *self.refused.entry(code).or_default() += times;
        }
        self.picked_up += other.picked_up;
        self.dropped += other.dropped;
        self.traded += other.traded;
        self.heard += other.heard;
        self.corrections += other.corrections;
        self.client_ticks += other.client_ticks;
        self.relogs += other.relogs;
        self.reconnects += other.reconnects;
        self.disconnects += other.disconnects;
    }
}

/// What is counted only while the load is measured, by [`Role`].
pub type Windows = [Window; Role::ALL.len()];

/// All roles together. Laggers' times are their own doing and left out.
pub fn total(windows: &Windows) -> Window {
    let mut total = Window::default();
    for (role, window) in Role::ALL.into_iter().zip(windows) {
        total.add_counts(window);
        if role != Role::Lagger {
            total.add_times(window);
        }
    }
    total
}

/// What a load measured so far.
#[derive(Default)]
pub struct Measures {
    /// What was counted since measuring began.
    pub windows: Windows,
    /// Connections that ended without having been asked to, by reason.
    pub disconnects: BTreeMap<String, u64>,
    /// Attempts to sign in that did not come through and are made again.
    pub sign_in_retries: u64,
    /// What contradicts the protocol or a bot's own book.
    pub errors: u64,
    /// The first of these in words.
    pub error_samples: Vec<String>,
}

impl Measures {
    /// Counts an error and keeps the first few in words.
    pub fn error(&mut self, account: &str, what: impl std::fmt::Display) {
        note_error(&mut self.errors, &mut self.error_samples, account, what);
    }
}

/// [`Measures::error`], for who holds other parts of the measures.
pub fn note_error(errors: &mut u64, samples: &mut Vec<String>, account: &str, what: impl std::fmt::Display) {
    *errors += 1;
    if samples.len() < ERROR_SAMPLES_MAX {
        samples.push(format!("{account}: {what}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_in_milliseconds_and_bounded() {
        let mut times = Times::default();
        for ms in 1..=100 {
            times.record(ms * 1_000_000);
        }
        let got = times.distribution();
        assert_eq!((got.count, got.p50.round(), got.p99.round(), got.max.round()), (100, 50.0, 99.0, 100.0));
        times.record(u64::MAX);
        assert!((59_990.0..=60_060.0).contains(&times.distribution().max));
    }

    #[test]
    fn laggers_times_are_left_out_of_the_whole() {
        let mut windows = Windows::default();
        for (role, window) in Role::ALL.into_iter().zip(&mut windows) {
            window.rtt.record(if role == Role::Lagger { 90_000_000 } else { 1_000_000 });
            window.commands = 2;
            window.refused(Some(ErrorCode::TooFar));
        }
        let total = total(&windows);
        assert_eq!((total.rtt.distribution().count, total.rtt.distribution().max), (7, 1.0));
        assert_eq!((total.commands, total.refused["TooFar"]), (16, 8));
    }

    #[test]
    fn errors_are_all_counted_and_the_first_kept() {
        let mut measures = Measures::default();
        (0..50).for_each(|n| measures.error("bot", n));
        assert_eq!((measures.errors, measures.error_samples.len()), (50, ERROR_SAMPLES_MAX));
        assert_eq!(measures.error_samples[0], "bot: 0");
    }
}
