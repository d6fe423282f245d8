//! The one thread that drives every bot: sockets when they are ready, steps when they are due.
//!
//! Arrival times are those of the poll that brings them, not of a bot's step. Steps fall where each bot's phase
//! puts them, so that what the bots send is spread evenly.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rand::RngExt as _;
use rand_pcg::Pcg32;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::bot::{Bot, Census, NEVER, SECOND_NS, Shared, Stage};
use crate::measure::{Measures, Window};
use crate::report::{Frame, LoadReport, Progress};
use crate::{LoadError, LoadOptions};

/// Clients that sign in at the same time: the server hashes one password after the other.
const SIGN_INS_MAX: u32 = 8;
/// How long all clients may take to come in before it is measured with those who have: this and `..._PER_CLIENT_NS` for each.
const WARM_UP_NS: u64 = 30 * SECOND_NS;
const WARM_UP_PER_CLIENT_NS: u64 = SECOND_NS / 4;
/// How long the clients may take to leave.
const LEAVE_NS_MAX: u64 = 15 * SECOND_NS;
/// Sockets that one poll tells of.
const EVENTS_MAX: usize = 256;
/// Files besides the clients' sockets.
const OTHER_FILES: u64 = 64;

/// Runs a load to its end.
pub fn run(
    options: &LoadOptions,
    mut progress: impl FnMut(&Progress),
    stop: &AtomicBool,
) -> Result<LoadReport, LoadError> {
    options.check()?;
    raise_open_files(u64::from(options.clients) + OTHER_FILES)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
    let mut load = Load::new(options, &epoll);
    let mut events = Vec::with_capacity(EVENTS_MAX);
    while !load.is_over(stop.load(Ordering::Relaxed)) {
        load.run_due();
        load.report_progress(&mut progress);
        let wait_ns = load.next_due_ns().saturating_sub(load.clock());
        let timeout =
            Timespec { tv_sec: (wait_ns / SECOND_NS) as i64, tv_nsec: (wait_ns % SECOND_NS) as i64 };
        match epoll::wait(&epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        for event in events.drain(..) {
            load.ready(event.data.u64() as usize);
        }
    }
    Ok(load.into_report())
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
    /// When bots want to be woken; an entry that is not a bot's present wish is void.
    wakes: BinaryHeap<Reverse<(u64, u32)>>,
    shared: Shared<'a>,
    rng: Pcg32,
    frame: Frame,
    /// What was counted while it was measured, once that is over.
    window: Option<Window>,
    progress_ns: u64,
    /// Snapshots and bytes at the last progress.
    told: (u64, u64),
}

impl<'a> Load<'a> {
    fn new(options: &'a LoadOptions, epoll: &'a OwnedFd) -> Load<'a> {
        Load {
            began: Instant::now(),
            phase: Phase::WarmUp,
            bots: (0..options.clients).map(|index| Bot::new(index, options)).collect(),
            wakes: BinaryHeap::new(),
            shared: Shared {
                options,
                epoll,
                now_ns: 0,
                finishing: false,
                measures: Measures::default(),
                census: Census::default(),
                queue: (0..options.clients).collect(),
                scratch: vec![0; 1 << 16],
            },
            rng: Pcg32::new(options.seed, NEVER),
            frame: Frame { clients: options.clients, connected: 0, seconds: 0.0, cpu_ns: 0 },
            window: None,
            progress_ns: SECOND_NS,
            told: (0, 0),
        }
    }

    fn clock(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Lets a bot act at this moment, and notes when it wants to be woken.
    fn with(&mut self, index: usize, act: impl FnOnce(&mut Bot, &mut Shared)) {
        let Some(bot) = self.bots.get_mut(index) else { return };
        self.shared.now_ns = self.began.elapsed().as_nanos() as u64;
        let before_ns = bot.wake_ns;
        act(bot, &mut self.shared);
        if bot.wake_ns != before_ns && bot.wake_ns != NEVER {
            self.wakes.push(Reverse((bot.wake_ns, index as u32)));
        }
    }

    fn ready(&mut self, index: usize) {
        self.with(index, Bot::ready);
    }

    /// Wakes those whose time has come, and starts those whose turn it is.
    fn run_due(&mut self) {
        let now_ns = self.clock();
        while let Some(&Reverse((wake_ns, index))) = self.wakes.peek()
            && wake_ns <= now_ns
        {
            self.wakes.pop();
            let bot = &mut self.bots[index as usize];
            if bot.wake_ns == wake_ns {
                bot.wake_ns = NEVER;
                self.with(index as usize, |bot, shared| bot.wake(shared, wake_ns));
            }
        }
        while !self.shared.finishing && self.shared.census.signing_in < SIGN_INS_MAX {
            let Some(index) = self.shared.queue.pop_front() else { break };
            self.with(index as usize, Bot::start);
        }
    }

    fn next_due_ns(&self) -> u64 {
        let wake_ns = self.wakes.peek().map_or(NEVER, |Reverse((wake_ns, _))| *wake_ns);
        wake_ns.min(self.progress_ns)
    }

    /// Goes from phase to phase; true once everybody is out.
    fn is_over(&mut self, stop: bool) -> bool {
        let (now_ns, census, options) = (self.clock(), self.shared.census, self.shared.options);
        match self.phase {
            Phase::WarmUp => {
                let patience_ns = WARM_UP_NS + u64::from(options.clients) * WARM_UP_PER_CLIENT_NS;
                if stop || census.out == options.clients || census.playing == 0 && now_ns > patience_ns {
                    self.begin_leaving(now_ns);
                } else if census.playing + census.out == options.clients || now_ns > patience_ns {
                    self.begin_measuring(now_ns);
                }
            }
            Phase::Measuring { since_ns, cpu_since_ns, relog_ns } => {
                let duration_ns = options.duration.map_or(NEVER, |duration| duration.as_nanos() as u64);
                if stop || census.out == options.clients || now_ns - since_ns >= duration_ns {
                    self.frame.seconds = (now_ns - since_ns) as f64 / SECOND_NS as f64;
                    self.frame.cpu_ns = thread_cpu_ns() - cpu_since_ns;
                    self.window = Some(std::mem::take(&mut self.shared.measures.window));
                    self.begin_leaving(now_ns);
                } else if now_ns >= relog_ns {
                    self.relog_one();
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
        self.shared.measures.window = Window::default();
        self.told = (0, 0);
        // Whoever measures beside the bots begins with them, not up to a second later.
        self.progress_ns = now_ns;
        let relog_ns = now_ns + self.shared.options.relog_interval.as_nanos() as u64;
        self.phase = Phase::Measuring { since_ns: now_ns, cpu_since_ns: thread_cpu_ns(), relog_ns };
    }

    fn begin_leaving(&mut self, now_ns: u64) {
        self.shared.finishing = true;
        self.phase = Phase::Leaving { until_ns: now_ns + LEAVE_NS_MAX };
        for index in 0..self.bots.len() {
            self.with(index, |bot, shared| bot.leave(shared, false));
        }
    }

    /// Lets somebody who plays log out and in again.
    fn relog_one(&mut self) {
        let from = self.rng.random_range(0..self.bots.len());
        let around = (from..self.bots.len()).chain(0..from);
        let player = around.into_iter().find(|&index| self.bots[index].stage() == Stage::Playing);
        if let Some(index) = player {
            self.with(index, |bot, shared| bot.leave(shared, true));
        }
    }

    fn report_progress(&mut self, progress: &mut impl FnMut(&Progress)) {
        let now_ns = self.clock();
        if now_ns < self.progress_ns {
            return;
        }
        self.progress_ns += SECOND_NS;
        let (measures, (snapshots, bytes_in)) = (&self.shared.measures, self.told);
        self.told = (measures.window.snapshots, measures.window.bytes_in);
        progress(&Progress {
            seconds: now_ns as f64 / SECOND_NS as f64,
            measuring: matches!(self.phase, Phase::Measuring { .. }),
            clients: self.shared.options.clients,
            playing: self.shared.census.playing,
            snapshots: self.told.0.saturating_sub(snapshots),
            bytes_in: self.told.1.saturating_sub(bytes_in),
            snapshot_gap_p99_ms: measures.window.snapshot_gap.distribution().p99,
            disconnects: measures.disconnects.values().sum(),
            errors: measures.errors,
        });
    }

    fn into_report(self) -> LoadReport {
        let ledger = self.bots.into_iter().map(Bot::into_ledger).collect();
        LoadReport::new(&self.frame, &self.window.unwrap_or_default(), self.shared.measures, ledger)
    }
}

/// CPU time that this thread has used, in nanoseconds.
fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * SECOND_NS + time.tv_nsec as u64
}

/// Lets this process open as many files as it needs.
fn raise_open_files(needed: u64) -> Result<(), LoadError> {
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
