//! The one thread that drives every bot, in turns: it waits a moment, hands out what arrived, wakes the bots whose time has
//! come, and sends what they have to say, all at once.
//!
//! Arrival times are those of the turn that brings them, a millisecond off at the most. Bots are woken where their phase
//! puts them: spread evenly over a step, as people's clocks are, unless all at once is asked for.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand_pcg::Pcg32;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::bot::{Bot, Census, NEVER, SECOND_NS, Shared, Stage};
use crate::lag::LagProxy;
use crate::measure::{Measures, Times, Windows, total};
use crate::report::{Frame, LoadReport, Progress};
use crate::sockets::{Links, Sockets};
use crate::{LoadError, LoadOptions};

/// How long all clients may take to come in before it is measured with those who have: this and `..._PER_CLIENT_NS` for each.
const WARM_UP_NS: u64 = 30 * SECOND_NS;
const WARM_UP_PER_CLIENT_NS: u64 = SECOND_NS / 10;
/// How long the clients may take to leave: this and `..._PER_CLIENT_NS` for each.
const LEAVE_NS: u64 = 15 * SECOND_NS;
const LEAVE_PER_CLIENT_NS: u64 = SECOND_NS / 100;
/// Files besides the clients' sockets.
const OTHER_FILES: u64 = 64;
/// How long a turn waits at the most.
const TURN_NS: u64 = SECOND_NS / 1000;
/// Bots that are woken in one turn at the most, so that what they say is on its way before the next are.
const WAKES_PER_TURN_MAX: u32 = 1024;
/// Behind by more periods than these, periods are left out: the server banks no more.
const PERIODS_BEHIND_MAX: u64 = 4;
/// How often bots are woken a second before the first zone's rate is known.
const RATE_HZ: u32 = 10;

/// Runs a load to its end, on the calling thread.
pub fn run(
    options: &LoadOptions,
    mut progress: impl FnMut(&Progress),
    stop: &AtomicBool,
) -> Result<LoadReport, LoadError> {
    options.check()?;
    if let Some(cpu) = options.cpu {
        pin(cpu)?;
    }
    let files_per_client = if options.conditions.is_some() { 3 } else { 1 };
    raise_open_files(u64::from(options.clients) * files_per_client + OTHER_FILES)?;
    let proxy = match options.conditions {
        Some(conditions) => {
            let any_port = (std::net::Ipv4Addr::LOCALHOST, 0).into();
            Some(LagProxy::start(any_port, options.target, conditions, options.seed)?)
        }
        None => None,
    };
    let target = proxy.as_ref().map_or(options.target, LagProxy::address);
    let options = &LoadOptions { target, ..options.clone() };
    let mut sockets = Sockets::new(options.clients, options.trust.clone())?;
    let mut load = Load::new(options, sockets.driver());
    let began = load.began;
    while !load.is_over(stop.load(Ordering::Relaxed), &mut sockets.links) {
        load.wake_due(&mut sockets.links);
        load.report_progress(&mut progress);
        let now_ns = load.clock();
        let (woken_ns, wait) = (Cell::new(now_ns), Duration::from_nanos(load.wheel.wait_ns(now_ns)));
        let Load { bots, shared, .. } = &mut load;
        sockets.turn(
            wait,
            &mut || woken_ns.set(began.elapsed().as_nanos() as u64),
            &mut |links, slot, arrived| {
                shared.now_ns = woken_ns.get();
                if let Some(bot) = bots.get_mut(slot as usize) {
                    bot.arrived(shared, links, &arrived);
                }
            },
        )?;
    }
    Ok(load.into_report())
}

/// When bots are woken.
struct Wheel {
    clients: u32,
    at_once: bool,
    rate_hz: u32,
    began_ns: u64,
    /// Periods that are over.
    period: u64,
    /// Who is woken next.
    next: u32,
}

impl Wheel {
    fn period_ns(&self) -> u64 {
        SECOND_NS / u64::from(self.rate_hz)
    }

    fn due_ns(&self) -> u64 {
        let spread = if self.at_once { 0 } else { u64::from(self.next) };
        let phase_ns = self.period_ns() * spread / u64::from(self.clients);
        self.began_ns + self.period * self.period_ns() + phase_ns
    }

    fn wait_ns(&self, now_ns: u64) -> u64 {
        self.due_ns().saturating_sub(now_ns).min(TURN_NS)
    }

    /// Who is to be woken now and at which count of wake-ups, if anybody is.
    fn due(&mut self, now_ns: u64) -> Option<(u32, u64)> {
        if self.due_ns() > now_ns {
            return None;
        }
        let due = (self.next, self.period);
        self.next += 1;
        if self.next == self.clients {
            self.next = 0;
            self.period += 1;
        }
        Some(due)
    }

    /// Leaves out what cannot be made up for any more. Returns how many periods.
    fn catch_up(&mut self, now_ns: u64) -> u64 {
        let behind = now_ns.saturating_sub(self.due_ns()) / self.period_ns();
        let missed = if behind > PERIODS_BEHIND_MAX { behind } else { 0 };
        self.period += missed;
        missed
    }

    fn set_rate(&mut self, rate_hz: u32, now_ns: u64) {
        if self.rate_hz != rate_hz {
            (self.rate_hz, self.began_ns, self.period, self.next) = (rate_hz, now_ns, 0, 0);
        }
    }
}

enum Phase {
    /// Clients come in.
    WarmUp,
    Measuring {
        since_ns: u64,
        cpu_since_ns: u64,
        relog_ns: u64,
    },
    /// Clients leave, until then at most.
    Leaving {
        until_ns: u64,
    },
}

struct Load<'a> {
    began: Instant,
    phase: Phase,
    bots: Vec<Bot>,
    wheel: Wheel,
    shared: Shared<'a>,
    rng: Pcg32,
    frame: Frame,
    /// What was counted while it was measured, once that is over.
    windows: Option<Windows>,
    /// Steps that were left out because this thread was late.
    steps_missed: u64,
    progress_ns: u64,
    /// Snapshots and bytes at the last progress.
    told: (u64, u64),
    /// The gaps between them.
    gaps_told: Times,
    /// Sessions that were to be broken off and taken up, so far, and whose turn is next.
    resumptions: (u64, u32),
}

impl<'a> Load<'a> {
    fn new(options: &'a LoadOptions, driver: &'static str) -> Load<'a> {
        Load {
            began: Instant::now(),
            phase: Phase::WarmUp,
            bots: (0..options.clients).map(|index| Bot::new(index, options)).collect(),
            wheel: Wheel {
                clients: options.clients,
                at_once: options.at_once,
                rate_hz: RATE_HZ,
                began_ns: 0,
                period: 0,
                next: 0,
            },
            shared: Shared {
                options,
                now_ns: 0,
                finishing: false,
                rate_hz: RATE_HZ,
                gatherings: std::collections::HashMap::new(),
                markets: std::collections::HashMap::new(),
                measures: Measures::default(),
                census: Census::default(),
                queue: (0..options.clients).collect(),
            },
            rng: Pcg32::new(options.seed, NEVER),
            frame: Frame { driver, clients: options.clients, ..Frame::default() },
            windows: None,
            steps_missed: 0,
            progress_ns: SECOND_NS,
            told: (0, 0),
            gaps_told: Times::default(),
            resumptions: (0, 0),
        }
    }

    fn clock(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Wakes those whose time has come, and starts those whose turn it is.
    fn wake_due(&mut self, links: &mut Links) {
        let now_ns = self.clock();
        self.shared.now_ns = now_ns;
        self.steps_missed += self.wheel.catch_up(now_ns) * u64::from(self.shared.census.playing);
        for _ in 0..WAKES_PER_TURN_MAX {
            let Some((index, wakes)) = self.wheel.due(now_ns) else { break };
            self.bots[index as usize].wake(&mut self.shared, links, wakes);
        }
        if let Phase::Measuring { since_ns, .. } = self.phase {
            self.resume_due(since_ns, links);
        }
        while !self.shared.finishing && self.shared.census.signing_in < self.shared.options.sign_ins_max {
            let Some(index) = self.shared.queue.pop_front() else { break };
            self.bots[index as usize].start(&mut self.shared, links);
        }
        self.wheel.set_rate(self.shared.rate_hz, now_ns);
    }

    /// Lets as many sessions break off and be taken up as are due; those who are at it, or do not play, are passed over.
    fn resume_due(&mut self, since_ns: u64, links: &mut Links) {
        let (done, next) = &mut self.resumptions;
        let per_s = u128::from(self.shared.options.resumptions_per_second);
        let due = (u128::from(self.shared.now_ns - since_ns) * per_s / u128::from(SECOND_NS)) as u64;
        for _ in 0..self.bots.len() {
            if *done >= due {
                return;
            }
            let bot = &mut self.bots[*next as usize];
            *next = (*next + 1) % self.shared.options.clients;
            *done += u64::from(bot.resume(&mut self.shared, links));
        }
        // Nobody is left who could.
        *done = due;
    }

    /// Goes from phase to phase; true once everybody is out.
    fn is_over(&mut self, stop: bool, links: &mut Links) -> bool {
        let (now_ns, census, options) = (self.clock(), self.shared.census, self.shared.options);
        match self.phase {
            Phase::WarmUp => {
                let patience_ns = WARM_UP_NS + u64::from(options.clients) * WARM_UP_PER_CLIENT_NS;
                if stop || census.out == options.clients || census.playing == 0 && now_ns > patience_ns {
                    self.begin_leaving(now_ns, links);
                } else if census.playing + census.out == options.clients || now_ns > patience_ns {
                    self.begin_measuring(now_ns);
                }
            }
            Phase::Measuring { since_ns, cpu_since_ns, relog_ns } => {
                let duration_ns = options.duration.map_or(NEVER, |duration| duration.as_nanos() as u64);
                if stop || census.out == options.clients || now_ns - since_ns >= duration_ns {
                    self.frame.seconds = (now_ns - since_ns) as f64 / SECOND_NS as f64;
                    self.frame.cpu_ns = thread_cpu_ns() - cpu_since_ns;
                    self.frame.steps_missed = self.steps_missed;
                    self.windows = Some(std::mem::take(&mut self.shared.measures.windows));
                    self.gaps_told = Times::default();
                    self.begin_leaving(now_ns, links);
                } else if now_ns >= relog_ns {
                    self.relog_one(links);
                    let relog_ns = now_ns + options.relog_interval.as_nanos() as u64;
                    self.phase = Phase::Measuring { since_ns, cpu_since_ns, relog_ns };
                }
            }
            Phase::Leaving { until_ns } => {
                if census.out == options.clients {
                    return true;
                }
                if now_ns > until_ns {
                    let left = options.clients - census.out;
                    self.shared.measures.error("the load", format!("{left} clients could not leave in time"));
                    return true;
                }
            }
        }
        false
    }

    fn begin_measuring(&mut self, now_ns: u64) {
        self.frame.connected = self.shared.census.playing;
        for bot in self.bots.iter().filter(|bot| bot.stage() == Stage::Playing) {
            self.frame.connected_by_role[bot.role() as usize] += 1;
        }
        self.shared.measures.windows = Windows::default();
        self.steps_missed = 0;
        self.told = (0, 0);
        self.gaps_told = Times::default();
        // Whoever measures beside the bots begins with them, not up to a second later.
        self.progress_ns = now_ns;
        let relog_ns = now_ns + self.shared.options.relog_interval.as_nanos() as u64;
        self.phase = Phase::Measuring { since_ns: now_ns, cpu_since_ns: thread_cpu_ns(), relog_ns };
    }

    fn begin_leaving(&mut self, now_ns: u64, links: &mut Links) {
        self.shared.finishing = true;
        self.shared.now_ns = now_ns;
        let patience_ns = LEAVE_NS + u64::from(self.shared.options.clients) * LEAVE_PER_CLIENT_NS;
        self.phase = Phase::Leaving { until_ns: now_ns + patience_ns };
        for bot in &mut self.bots {
            bot.leave(&mut self.shared, links, false);
        }
    }

    /// Lets somebody who plays log out and in again.
    fn relog_one(&mut self, links: &mut Links) {
        let from = self.rng.random_range(0..self.bots.len());
        let around = (from..self.bots.len()).chain(0..from);
        let player = around.into_iter().find(|&index| self.bots[index].stage() == Stage::Playing);
        if let Some(index) = player {
            self.bots[index].leave(&mut self.shared, links, true);
        }
    }

    fn report_progress(&mut self, progress: &mut impl FnMut(&Progress)) {
        let now_ns = self.clock();
        if now_ns < self.progress_ns {
            return;
        }
        self.progress_ns += SECOND_NS;
        let (measures, (snapshots, bytes_in)) = (&self.shared.measures, self.told);
        let total = total(&measures.windows);
        self.told = (total.snapshots, total.bytes_in);
        progress(&Progress {
            seconds: now_ns as f64 / SECOND_NS as f64,
            measuring: matches!(self.phase, Phase::Measuring { .. }),
            clients: self.shared.options.clients,
            playing: self.shared.census.playing,
            snapshots: self.told.0.saturating_sub(snapshots),
            bytes_in: self.told.1.saturating_sub(bytes_in),
            snapshot_gap_p99_ms: total.snapshot_gap.distribution().p99,
            snapshot_gap_last_ms: total.snapshot_gap.since(&self.gaps_told),
            disconnects: measures.disconnects.values().sum(),
            errors: measures.errors,
        });
        self.gaps_told = total.snapshot_gap;
    }

    fn into_report(self) -> LoadReport {
        let ledger = self.bots.into_iter().map(Bot::into_ledger).collect();
        LoadReport::new(&self.frame, &self.windows.unwrap_or_default(), self.shared.measures, ledger)
    }
}

/// CPU time that this thread has used, in nanoseconds.
fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * SECOND_NS + time.tv_nsec as u64
}

/// Binds the calling thread to a processor.
pub fn pin(cpu: usize) -> Result<(), LoadError> {
    let refused = |source: io::Error| LoadError::Cpu { cpu, source };
    if cpu >= CpuSet::MAX_CPU {
        return Err(refused(io::ErrorKind::InvalidInput.into()));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|error| refused(error.into()))
}

/// Lets this process open as many files as it needs.
pub fn raise_open_files(needed: u64) -> Result<(), LoadError> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(maximum) = limit.maximum.filter(|&maximum| maximum < needed) {
        return Err(LoadError::OpenFiles { needed, maximum });
    }
    // All that may be had: others in this process need some, too.
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum.or(Some(needed)), ..limit })
        .map_err(|error| io::Error::from(error).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel(at_once: bool) -> Wheel {
        Wheel { clients: 4, at_once, rate_hz: 100, began_ns: 1000, period: 0, next: 0 }
    }

    fn all_due(wheel: &mut Wheel, now_ns: u64) -> Vec<(u32, u64)> {
        std::iter::from_fn(|| wheel.due(now_ns)).collect()
    }

    #[test]
    fn wake_ups_are_spread_evenly_over_a_period() {
        let mut spread = wheel(false);
        assert_eq!(all_due(&mut spread, 999), []);
        assert_eq!(all_due(&mut spread, 1000), [(0, 0)]);
        assert_eq!(spread.wait_ns(1000), TURN_NS, "it looks at the sockets in between");
        assert_eq!(spread.wait_ns(2_500_900), 100);
        assert_eq!(all_due(&mut spread, 7_501_000), [(1, 0), (2, 0), (3, 0)]);
        assert_eq!(all_due(&mut spread, 10_001_000), [(0, 1)]);
        assert_eq!(all_due(&mut wheel(true), 1000), [(0, 0), (1, 0), (2, 0), (3, 0)]);
    }

    #[test]
    fn periods_a_little_late_are_made_up_for_and_too_late_left_out() {
        let mut late = wheel(true);
        assert_eq!(late.catch_up(40_001_000), 0);
        assert_eq!(all_due(&mut late, 40_001_000).len(), 20);
        assert_eq!(late.catch_up(50_001_000 + 50_000_000), 5);
        assert_eq!(all_due(&mut late, 100_001_000), [(0, 10), (1, 10), (2, 10), (3, 10)]);
        late.set_rate(100, 7);
        assert_eq!(late.began_ns, 1000, "the rate is the same");
        late.set_rate(200, 7);
        assert_eq!((late.due_ns(), late.period), (7, 0));
    }
}
