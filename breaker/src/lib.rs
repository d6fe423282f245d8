//! A circuit breaker: after a failure nobody asks again for a while, and then one asks for all.
//!
//! Pure: its caller says what time it is, and rolls the dice.

use std::time::{Duration, Instant};

/// Whether a service is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum BreakerState {
    /// It answers.
    #[default]
    Closed = 0,
    /// It failed: nobody asks until the pause is over.
    Open = 1,
    /// The pause is over: the next one to ask decides.
    HalfOpen = 2,
}

/// Counts failures in a row, and says when to ask again. Pauses double from the least to the greatest; each is
/// shortened by up to a half at random, so that nodes that lost a service together do not come back in step.
#[derive(Debug)]
pub struct Breaker {
    pause_min: Duration,
    pause_max: Duration,
    failures: u32,
    open_until: Option<Instant>,
    reason: String,
}

/// Refused without asking.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// How long to wait before asking.
    pub retry_after: Duration,
    /// The failure that opened the breaker.
    pub reason: String,
}

impl Breaker {
    /// A closed one.
    pub fn new(pause_min: Duration, pause_max: Duration) -> Self {
        Self { pause_min, pause_max, failures: 0, open_until: None, reason: String::new() }
    }

    /// Succeeds where one may ask.
    pub fn ask(&self, now: Instant) -> Result<(), Refused> {
        match self.open_until {
            Some(until) if until > now => {
                Err(Refused { retry_after: until - now, reason: self.reason.clone() })
            }
            _ => Ok(()),
        }
    }

    /// It answered.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.open_until = None;
    }

    /// It did not; `jitter` is from 0 to 1.
    pub fn failed(&mut self, now: Instant, reason: String, jitter: f64) {
        let doublings = self.failures.min(30);
        self.failures = self.failures.saturating_add(1);
        let pause = self.pause_min.saturating_mul(1 << doublings).min(self.pause_max);
        self.open_until = Some(now + pause.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0));
        self.reason = reason;
    }

    /// The failure after which it has not answered yet.
    pub fn failure(&self) -> Option<&str> {
        self.open_until.map(|_| self.reason.as_str())
    }

    /// Whether one may ask.
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.open_until {
            None => BreakerState::Closed,
            Some(until) if until > now => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_opens_waits_longer_each_time_and_closes() {
        let mut breaker = Breaker::new(100 * MS, 500 * MS);
        let mut now = Instant::now();
        assert_eq!((breaker.ask(now), breaker.state(now)), (Ok(()), BreakerState::Closed));
        for pause_ms in [100, 200, 400, 500, 500] {
            breaker.failed(now, "gone".to_owned(), 0.0);
            let refused = breaker.ask(now + MS).unwrap_err();
            assert_eq!(refused, Refused { retry_after: (pause_ms - 1) * MS, reason: "gone".to_owned() });
            assert_eq!(breaker.state(now + MS), BreakerState::Open);
            now += pause_ms * MS;
            assert_eq!(breaker.failure(), Some("gone"));
            assert_eq!((breaker.ask(now), breaker.state(now)), (Ok(()), BreakerState::HalfOpen));
        }
        breaker.succeeded();
        assert_eq!((breaker.state(now), breaker.failure()), (BreakerState::Closed, None));
        breaker.failed(now, String::new(), 1.0);
        assert_eq!(breaker.ask(now).unwrap_err().retry_after, 50 * MS, "half of the least pause");
    }

    #[test]
    fn any_number_of_failures_waits_no_longer_than_the_greatest_pause() {
        let mut breaker = Breaker::new(MS, Duration::from_secs(10));
        let now = Instant::now();
        for _ in 0..100 {
            breaker.failed(now, String::new(), 0.0);
        }
        assert_eq!(breaker.ask(now).unwrap_err().retry_after, Duration::from_secs(10));
    }
}
