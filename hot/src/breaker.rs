//! When to try again what has failed: at once the first time, later and later after that.
//!
//! Pure: its caller says what time it is and rolls the dice.

use std::time::{Duration, Instant};

/// Whether the other side is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// It answers: it is asked.
    Closed,
    /// It failed: it is not asked until the time is over.
    Open,
    /// It failed, and the time is over: one caller may try.
    HalfOpen,
}

/// A circuit breaker with a back-off that doubles, and jitter, so that nodes do not come back together.
#[derive(Debug)]
pub struct Breaker {
    first: Duration,
    longest: Duration,
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// A closed breaker that waits about `first` after one failure, twice as long after each further one,
    /// about `longest` at the most.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0, open_until: None }
    }

    /// Whether to ask.
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.open_until {
            None => BreakerState::Closed,
            Some(until) if now < until => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// It answered.
    pub const fn succeeded(&mut self) {
        self.failures = 0;
        self.open_until = None;
    }

    /// It did not. `jitter`, evenly from 0 to 1, places the end of the wait between half of it and the whole.
    pub fn failed(&mut self, now: Instant, jitter: f64) {
        let doubled = self.first.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        let wait = doubled.min(self.longest).mul_f64(0.5 + 0.5 * jitter);
        self.failures = self.failures.saturating_add(1);
        self.open_until = Some(now + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_its_bound_and_ends_with_a_success() {
        let start = Instant::now();
        let mut breaker = Breaker::new(Duration::from_millis(100), Duration::from_secs(1));
        assert_eq!(breaker.state(start), BreakerState::Closed);
        for whole_ms in [100, 200, 400, 800, 1_000, 1_000] {
            breaker.failed(start, 1.0);
            assert_eq!(breaker.state(start + Duration::from_millis(whole_ms - 1)), BreakerState::Open);
            assert_eq!(breaker.state(start + Duration::from_millis(whole_ms)), BreakerState::HalfOpen);
        }
        breaker.succeeded();
        assert_eq!(breaker.state(start), BreakerState::Closed);
        breaker.failed(start, 0.0);
        assert_eq!(breaker.state(start + Duration::from_millis(49)), BreakerState::Open);
        assert_eq!(breaker.state(start + Duration::from_millis(50)), BreakerState::HalfOpen);
    }

    #[test]
    fn any_number_of_failures_is_taken() {
        let start = Instant::now();
        let mut breaker = Breaker::new(Duration::from_millis(100), Duration::from_secs(10));
        for _ in 0..100 {
            breaker.failed(start, 0.3);
        }
        assert_eq!(breaker.state(start + Duration::from_secs(10)), BreakerState::HalfOpen);
    }
}
