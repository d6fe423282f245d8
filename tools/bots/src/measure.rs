//! What a load measures: distributions in microseconds, counters, and what went wrong.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;
use vyuha_protocol::ErrorCode;

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

/// What is counted only while the load is measured.
#[derive(Default)]
pub struct Window {
    /// Times between consecutive snapshots of one client.
    pub snapshot_gap: Times,
    /// Times from an input's sending to the snapshot that acknowledges it.
    pub input_to_snapshot: Times,
    /// Times from ping to pong.
    pub rtt: Times,
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
    /// Texts heard.
    pub heard: u64,
    /// Snapshots that corrected a prediction.
    pub corrections: u64,
    /// Steps of playing clients.
    pub client_ticks: u64,
    /// Clients that logged out and in again.
    pub relogs: u64,
}

/// What a load measured so far.
#[derive(Default)]
pub struct Measures {
    /// What was counted since measuring began.
    pub window: Window,
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
        self.errors += 1;
        if self.error_samples.len() < ERROR_SAMPLES_MAX {
            self.error_samples.push(format!("{account}: {what}"));
        }
    }

    /// Counts a command that was refused.
    pub fn refused(&mut self, code: Option<ErrorCode>) {
        *self.window.refused.entry(code.map_or("unknown", ErrorCode::name)).or_default() += 1;
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
    fn errors_are_all_counted_and_the_first_kept() {
        let mut measures = Measures::default();
        (0..50).for_each(|n| measures.error("bot", n));
        assert_eq!((measures.errors, measures.error_samples.len()), (50, ERROR_SAMPLES_MAX));
        assert_eq!(measures.error_samples[0], "bot: 0");
    }
}
