//! When ticks are due, and which are shed. Pure: the time is passed in.

use std::time::Duration;

const NANOS_PER_S: u128 = 1_000_000_000;

/// The fixed-step schedule of a shard.
///
/// Tick `n` is due `n` steps after the start, whatever the ticks before it took, so that the pace does not drift. A
/// shard that is behind runs its ticks back to back. Once more than `backlog_ticks` are due besides the one that is to
/// start, the oldest of them are **shed**: they never run, and the schedule goes on with what is left. So after any
/// stall a shard has at most `backlog_ticks` to catch up on. A tick is **late** if it starts a full step or more after
/// the oldest tick that had not run was due.
#[derive(Debug, Clone)]
pub struct TickClock {
    tick_hz: u32,
    backlog_ticks: u32,
    /// The next tick to run.
    next: u64,
}

/// A tick that is to run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TickStart {
    /// Its number in the schedule, from 0; shed ticks have numbers too.
    pub number: u64,
    /// How many ticks were shed just before it.
    pub shed: u64,
    /// How long the oldest tick that had not run was overdue: this one, or the first of those shed.
    pub lateness: Duration,
    /// Whether that is a full step or more.
    pub late: bool,
}

impl TickClock {
    /// A schedule whose first tick is due at once. Times are given since its start.
    ///
    /// # Panics
    /// If `tick_hz` is 0.
    pub fn new(tick_hz: u32, backlog_ticks: u32) -> TickClock {
        assert!(tick_hz > 0, "a schedule needs at least one tick a second");
        TickClock { tick_hz, backlog_ticks, next: 0 }
    }

    /// When the next tick is due.
    pub fn due(&self) -> Duration {
        self.due_of(self.next)
    }

    /// Starts the next tick, or says how long it is until it is due.
    pub fn start(&mut self, now: Duration) -> Result<TickStart, Duration> {
        let due = self.due();
        let Some(lateness) = now.checked_sub(due) else { return Err(due.saturating_sub(now)) };
        // The newest tick that is due by now: `due_of` rounds down, so this cannot be before `next`.
        let newest = ((now.as_nanos() + 1) * u128::from(self.tick_hz)).div_ceil(NANOS_PER_S) as u64 - 1;
        let behind = newest - self.next;
        let shed = behind.saturating_sub(u64::from(self.backlog_ticks));
        let number = self.next + shed;
        self.next = number + 1;
        Ok(TickStart { number, shed, lateness, late: behind > 0 })
    }

    fn due_of(&self, number: u64) -> Duration {
        Duration::from_nanos((u128::from(number) * NANOS_PER_S / u128::from(self.tick_hz)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn started(number: u64, shed: u64, lateness_ms: u32, late: bool) -> TickStart {
        TickStart { number, shed, lateness: MS * lateness_ms, late }
    }

    /// A schedule of 10 ms steps and a backlog of 2, asked at some times in ms.
    #[track_caller]
    fn check(asked: &[(u32, Result<TickStart, Duration>)]) {
        let mut clock = TickClock::new(100, 2);
        for (now_ms, expected) in asked {
            assert_eq!(clock.start(MS * *now_ms), *expected, "at {now_ms} ms");
        }
    }

    #[test]
    fn on_time() {
        check(&[
            (0, Ok(started(0, 0, 0, false))),
            (0, Err(MS * 10)),
            (9, Err(MS)),
            (10, Ok(started(1, 0, 0, false))),
            (20, Ok(started(2, 0, 0, false))),
        ]);
    }

    #[test]
    fn a_tick_that_starts_a_little_after_its_time_moves_nothing() {
        check(&[
            (3, Ok(started(0, 0, 3, false))),
            (3, Err(MS * 7)),
            (19, Ok(started(1, 0, 9, false))),
            (19, Err(MS)),
            (20, Ok(started(2, 0, 0, false))),
        ]);
    }

    #[test]
    fn a_backlog_is_run_back_to_back() {
        check(&[
            (0, Ok(started(0, 0, 0, false))),
            (30, Ok(started(1, 0, 20, true))),
            (30, Ok(started(2, 0, 10, true))),
            (30, Ok(started(3, 0, 0, false))),
            (30, Err(MS * 10)),
        ]);
    }

    #[test]
    fn beyond_the_backlog_ticks_are_shed() {
        check(&[
            (0, Ok(started(0, 0, 0, false))),
            // Due are 1, 2, 3 and 4: one more than the tick itself and a backlog of 2.
            (40, Ok(started(2, 1, 30, true))),
            (40, Ok(started(3, 0, 10, true))),
            (40, Ok(started(4, 0, 0, false))),
            (1_000_045, Ok(started(100_002, 99_997, 999_995, true))),
            (1_000_045, Ok(started(100_003, 0, 15, true))),
            (1_000_045, Ok(started(100_004, 0, 5, false))),
            (1_000_045, Err(MS * 5)),
        ]);
    }

    #[test]
    fn steps_that_are_no_whole_nanoseconds_do_not_drift() {
        let mut clock = TickClock::new(30, 3);
        for number in 0..=30 * 3600 {
            let due = clock.due();
            assert_eq!(clock.start(due).map(|start| (start.number, start.late)), Ok((number, false)));
        }
        assert_eq!(clock.due(), Duration::from_nanos(3_600_033_333_333));
    }

    #[test]
    fn a_backlog_of_none_sheds_all_that_is_overdue() {
        let mut clock = TickClock::new(100, 0);
        assert_eq!(clock.start(MS * 29), Ok(started(2, 2, 29, true)));
        assert_eq!(clock.start(MS * 29), Err(MS));
    }

    proptest! {
        /// Whatever stalls there are: each number is run or shed once and in order; no tick starts before it is due;
        /// and no more than the backlog is ever left to catch up on.
        #[test]
        fn the_schedule_holds(tick_hz in 1u32..=120, backlog_ticks in 0u32..10,
                              pauses_ns in proptest::collection::vec(0u64..400_000_000, 1..200)) {
            let mut clock = TickClock::new(tick_hz, backlog_ticks);
            let (mut now, mut next) = (Duration::ZERO, 0);
            for pause_ns in pauses_ns {
                now += Duration::from_nanos(pause_ns);
                let due = clock.due();
                let step = Duration::from_secs(1) / tick_hz;
                match clock.start(now) {
                    Ok(start) => {
                        prop_assert_eq!(start.number, next + start.shed);
                        prop_assert_eq!(due + start.lateness, now);
                        // The step is not a whole number of nanoseconds.
                        if start.lateness < step || start.lateness > step + Duration::from_nanos(1) {
                            prop_assert_eq!(start.late, start.lateness > step);
                        }
                        let due_again = TickClock { next: start.number, ..clock.clone() }.due();
                        prop_assert!(due_again <= now);
                        next = start.number + 1;
                        let mut left = 0;
                        let mut rest = clock.clone();
                        while rest.start(now).is_ok() {
                            left += 1;
                        }
                        prop_assert!(left <= backlog_ticks);
                        prop_assert!(start.shed == 0 || left == backlog_ticks);
                    }
                    Err(wait) => prop_assert_eq!(now + wait, due),
                }
            }
        }
    }
}
