//! How long the oldest frame that is not in the database has waited.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Samples are at least so far apart.
const SAMPLE_SPACING: Duration = Duration::from_millis(250);
/// Samples kept: 34 minutes at the least spacing; an older backlog is known less exactly.
const SAMPLES_MAX: usize = 8192;

/// What was durable when, as far as somebody looked.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The last durable frame, and when it was seen; both ascending.
    samples: VecDeque<(u64, Instant)>,
}

impl Waiting {
    /// Notes what is durable, and says how long the oldest of it that is not applied has been known; zero where all
    /// is applied.
    pub fn longest(&mut self, durable_seq: u64, applied_seq: u64, now: Instant) -> Duration {
        while self.samples.front().is_some_and(|(seq, _)| *seq <= applied_seq) {
            self.samples.pop_front();
        }
        let is_due = self
            .samples
            .back()
            .is_none_or(|(seq, seen)| *seq < durable_seq && now.duration_since(*seen) >= SAMPLE_SPACING);
        if durable_seq > applied_seq && is_due {
            if self.samples.len() == SAMPLES_MAX {
                self.thin_out();
            }
            self.samples.push_back((durable_seq, now));
        }
        self.samples.front().map_or(Duration::ZERO, |(_, seen)| now.duration_since(*seen))
    }

    /// Keeps every other one, the first of all among them.
    fn thin_out(&mut self) {
        let mut keep = false;
        self.samples.retain(|_| {
            keep = !keep;
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_frame_that_waits_counts() {
        let mut waiting = Waiting::default();
        let start = Instant::now();
        let mut check = |at_s: u64, durable_seq, applied_seq, longest_s: u64| {
            let found = waiting.longest(durable_seq, applied_seq, start + Duration::from_secs(at_s));
            assert_eq!(found, Duration::from_secs(longest_s), "at {at_s} s");
        };
        check(0, 10, 10, 0);
        check(1, 20, 10, 0);
        check(2, 30, 10, 1);
        check(9, 40, 10, 8);
        check(10, 40, 20, 8);
        check(11, 40, 35, 2);
        check(12, 40, 40, 0);
        check(13, 40, 40, 0);
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut waiting = Waiting::default();
        let start = Instant::now();
        for second in 0..100_000 {
            waiting.longest(second + 1, 0, start + Duration::from_secs(second));
        }
        assert!(waiting.samples.len() <= SAMPLES_MAX);
        let longest = waiting.longest(100_000, 0, start + Duration::from_secs(100_000));
        assert_eq!(longest, Duration::from_secs(100_000), "the first is kept");
    }
}
