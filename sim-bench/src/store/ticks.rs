//! What the store does to the tick: a shard whose players all walk ticks at its own pace on a processor of its own, in turn
//! without a store, with one whose database is fully loaded, and with one whose database is stopped. And how long a durable
//! command waits for its answer.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::thread::{CpuSet, gettid, sched_setaffinity};
use serde::Serialize;

use super::pipe::{Pipe, Tap};
use super::world::{Doings, TICK_HZ, World};
use super::{Bench, Options, PATIENCE, TRADES_PER_TICK};
use crate::progress::Progress;
use crate::statistics::{Spread, spread, thousandths};

/// Ticks of a phase that do not count, before those that do.
const WARM_TICKS: u32 = 15;
/// Trades of the load in one of its ticks, which follow each other without a pause.
const LOAD_TRADES: u32 = 200;
/// So far the load runs ahead of the database.
const LOAD_AHEAD_BYTES_MAX: u64 = 64 << 20;
/// What the disk is asked to sync when it is asked alone, and how often.
const PROBE_BYTES: usize = 4096;
const PROBES: u64 = 200;

/// What stands behind the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing: what is to be durable is forgotten.
    Without,
    /// All of it, with as much to do as the database takes.
    Loaded,
    /// The journal, and a database that is gone.
    Stopped,
}

const PHASES: [Phase; 3] = [Phase::Without, Phase::Loaded, Phase::Stopped];

/// The tick with the store beside the tick without.
#[derive(Debug, Clone, Serialize)]
pub struct TickReport {
    /// Ticks of each kind.
    pub ticks: usize,
    /// Whether the shard's thread could be put before all others.
    pub real_time: bool,
    /// How long a tick takes without a store, in microseconds.
    pub without_us: Spread,
    /// With one whose database is fully loaded.
    pub loaded_us: Spread,
    /// With one whose database is stopped.
    pub stopped_us: Spread,
    /// The 99th of a hundred, loaded over without.
    pub loaded_ratio_p99: f64,
    /// The 99th of a hundred, stopped over without.
    pub stopped_ratio_p99: f64,
    /// From the tick that carries a durable command out to the tick that sends its answer, in milliseconds, loaded.
    pub answer_ms: Spread,
    /// The same from the command's arrival, where arrivals are spread evenly over the time between two ticks.
    pub arrival_to_answer_ms: Spread,
    /// The same as `answer_ms`, stopped.
    pub answer_stopped_ms: Spread,
    /// A tick's time.
    pub tick_ms: f64,
    /// What the journal took for one frame's write and sync, loaded, the mean.
    pub frame_ms: f64,
    /// What the disk takes for a write of 4 KiB and `fdatasync` when it is asked alone.
    pub fdatasync_ms: Spread,
}

/// What ticks of one phase came to.
#[derive(Default)]
struct Samples {
    tick_us: Vec<f64>,
    answer_ms: Vec<f64>,
    arrival_ms: Vec<f64>,
}

impl Samples {
    fn add(&mut self, other: Samples) {
        self.tick_us.extend(other.tick_us);
        self.answer_ms.extend(other.answer_ms);
        self.arrival_ms.extend(other.arrival_ms);
    }
}

impl Bench {
    /// Ticks in all three ways, in turn.
    pub(super) fn ticks(self, options: &Options) -> anyhow::Result<TickReport> {
        let Bench { mut world, mut postgres, url, data_dir, others, .. } = self;
        postgres.stop();
        let cpus = vyuha_net::cpu::usable().context("the processors cannot be listed")?;
        let own_cpu = cpus.split_last().filter(|(_, others)| !others.is_empty());
        if let Some((_, rest)) = own_cpu {
            // Whatever is started from here on follows this thread.
            let mut set = CpuSet::new();
            for &cpu in rest {
                set.set(cpu);
            }
            sched_setaffinity(None, &set).context("the shard cannot get a processor of its own")?;
        }
        postgres.start_again();
        let fdatasync_ms = probe_disk(&data_dir)?;
        let (pipe, taps) = Pipe::open(&url, &data_dir, 2)?;
        let Ok([tap, mut load_tap]) = <[Tap; 2]>::try_from(taps) else { unreachable!("two were asked for") };
        let mut load = World::new(others, 2, options.simd)?;

        let phase_now = AtomicU8::new(Phase::Without as u8);
        let over = AtomicBool::new(false);
        let mut samples: [Samples; 3] = Default::default();
        let mut frames = (0.0, 0);
        let own_cpu = own_cpu.map(|(&cpu, _)| cpu);
        let (ask, asked) = channel();
        let (answer, answered) = channel();
        let mut real_time = false;
        let taps = thread::scope(|scope| {
            let loading = scope.spawn(|| {
                let made = make_load(&mut load, &mut load_tap, &pipe, &phase_now, &over);
                made.map(|()| load_tap)
            });
            let phase_ticks = options.phase_seconds * u32::from(TICK_HZ);
            let ticking = scope.spawn(move || {
                let first = own_processor(own_cpu);
                shard(&mut world, tap, first, phase_ticks, &asked, &answer)
            });
            let mut run = || -> anyhow::Result<()> {
                real_time = answered.recv().context("the shard's thread ended")?.1;
                let mut progress = Progress::new("rounds of ticks", options.tick_rounds as usize);
                for round in 0..options.tick_rounds as usize {
                    for turn in 0..PHASES.len() {
                        let phase = PHASES[(round + turn) % PHASES.len()];
                        if phase == Phase::Stopped {
                            postgres.stop();
                        }
                        phase_now.store(phase as u8, Ordering::Relaxed);
                        let (_, before) = pipe.frame_ms_since((0, 0));
                        ask.send(phase).context("the shard's thread ended")?;
                        samples[phase as usize].add(answered.recv().context("the shard's thread ended")?.0);
                        phase_now.store(Phase::Without as u8, Ordering::Relaxed);
                        if phase == Phase::Loaded {
                            frames = (frames.0 + pipe.frame_ms_since(before).0, frames.1 + 1);
                        }
                        if phase == Phase::Stopped {
                            postgres.start_again();
                        }
                        pipe.drain(PATIENCE)?;
                    }
                    progress.at(round);
                }
                Ok(())
            };
            let ran = run();
            over.store(true, Ordering::Relaxed);
            drop(ask);
            let load_tap = loading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let tap = ticking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            ran?;
            anyhow::Ok(vec![tap?, load_tap?])
        })?;
        pipe.close(taps)?;

        let [without, loaded, stopped] = samples;
        let us = |samples: &Samples| rounded(&samples.tick_us);
        let ratio =
            |samples: &Samples| thousandths(spread(&samples.tick_us).p99 / spread(&without.tick_us).p99);
        Ok(TickReport {
            ticks: without.tick_us.len(),
            real_time,
            without_us: us(&without),
            loaded_us: us(&loaded),
            stopped_us: us(&stopped),
            loaded_ratio_p99: ratio(&loaded),
            stopped_ratio_p99: ratio(&stopped),
            answer_ms: rounded(&loaded.answer_ms),
            arrival_to_answer_ms: rounded(&loaded.arrival_ms),
            answer_stopped_ms: rounded(&stopped.answer_ms),
            tick_ms: thousandths(1000.0 / f64::from(TICK_HZ)),
            frame_ms: thousandths(frames.0 / f64::from(frames.1)),
            fdatasync_ms,
        })
    }
}

/// Puts the calling thread on a processor of its own and before all others, as far as that is allowed; says whether it is.
fn own_processor(cpu: Option<usize>) -> bool {
    let Some(cpu) = cpu else { return false };
    let mut set = CpuSet::new();
    set.set(cpu);
    let pinned = sched_setaffinity(None, &set).is_ok();
    let raise = Command::new("chrt")
        .args(["--fifo", "--pid", "1", &gettid().as_raw_nonzero().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    pinned && raise.is_ok_and(|status| status.success())
}

/// Runs the ticks of each phase that is asked for.
fn shard(
    world: &mut World,
    mut tap: Tap,
    is_first: bool,
    phase_ticks: u32,
    asked: &Receiver<Phase>,
    answer: &Sender<(Samples, bool)>,
) -> anyhow::Result<Tap> {
    let sent = answer.send((Samples::default(), is_first));
    if sent.is_err() {
        return Ok(tap);
    }
    while let Ok(phase) = asked.recv() {
        let samples = run_phase(world, &mut tap, phase, phase_ticks)?;
        if answer.send((samples, is_first)).is_err() {
            break;
        }
    }
    Ok(tap)
}

fn run_phase(world: &mut World, tap: &mut Tap, phase: Phase, phase_ticks: u32) -> anyhow::Result<Samples> {
    let period = Duration::from_secs(1) / u32::from(TICK_HZ);
    let mut samples = Samples::default();
    let mut waiting: VecDeque<(u64, Instant)> = VecDeque::new();
    let doings = Doings { save: true, trades: 0, walk: true };
    let begun = Instant::now();
    for tick in 0..WARM_TICKS + phase_ticks {
        let due = begun + period * tick;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let started = Instant::now();
        // As the driver does: what is durable is told at the next tick.
        let durable = tap.durable();
        let mut answered = Vec::new();
        while let Some((_, carried_out)) = waiting.pop_front_if(|(batch, _)| *batch <= durable) {
            answered.push(started - carried_out);
        }
        world.out.clear();
        world.act(doings);
        world.run();
        if phase != Phase::Without {
            waiting.push_back((tap.submit(&mut world.out.transactions)?, started));
        }
        let took = started.elapsed();
        world.check()?;
        if tick >= WARM_TICKS {
            samples.tick_us.push(took.as_secs_f64() * 1e6);
            let ms = |time: Duration| time.as_secs_f64() * 1000.0;
            for waited in answered {
                samples.answer_ms.push(ms(waited));
                // Ten commands that came at even distances since the tick before.
                samples.arrival_ms.extend((0..10).map(|part| ms(waited + period * part / 10)));
            }
        }
    }
    tap.flush();
    Ok(samples)
}

/// While the database is loaded, as much as it takes; while it is stopped, 2,000 trades a second.
fn make_load(
    load: &mut World,
    tap: &mut Tap,
    pipe: &Pipe,
    phase: &AtomicU8,
    over: &AtomicBool,
) -> anyhow::Result<()> {
    while !over.load(Ordering::Relaxed) {
        let phase = phase.load(Ordering::Relaxed);
        let trades = if phase == Phase::Loaded as u8 { LOAD_TRADES } else { TRADES_PER_TICK };
        let is_ahead = phase == Phase::Loaded as u8 && pipe.stats().lag_bytes > LOAD_AHEAD_BYTES_MAX;
        if phase == Phase::Without as u8 || is_ahead {
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        load.tick(Doings { save: true, trades, walk: false })?;
        tap.submit(&mut load.out.transactions)?;
        if phase == Phase::Stopped as u8 {
            thread::sleep(Duration::from_secs(1) / u32::from(TICK_HZ));
        }
    }
    tap.flush();
    Ok(())
}

/// How long a small write and its sync take, in milliseconds.
fn probe_disk(folder: &Path) -> anyhow::Result<Spread> {
    let path = folder.join("probe");
    let timed = || -> std::io::Result<Vec<f64>> {
        let file = File::create(&path)?;
        let zeros = [0; PROBE_BYTES];
        for at in 0..PROBES {
            file.write_all_at(&zeros, at * PROBE_BYTES as u64)?;
        }
        file.sync_all()?;
        let mut times = Vec::new();
        for at in 0..PROBES {
            let begun = Instant::now();
            file.write_all_at(&[1; PROBE_BYTES], at * PROBE_BYTES as u64)?;
            file.sync_data()?;
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        std::fs::remove_file(&path)?;
        Ok(times)
    };
    Ok(rounded(&timed().context("the disk cannot be tried")?))
}

fn rounded(series: &[f64]) -> Spread {
    let Spread { min, p50, p99 } = spread(series);
    Spread { min: thousandths(min), p50: thousandths(p50), p99: thousandths(p99) }
}

impl fmt::Display for TickReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before_all = if self.real_time { "before all others" } else { "not before all others" };
        writeln!(out, "the tick, {} of each kind, the shard {before_all}:", self.ticks)?;
        for (what, us) in
            [("no store", self.without_us), ("full load", self.loaded_us), ("stopped", self.stopped_us)]
        {
            writeln!(
                out,
                "  {what:<10} {:8.0} us at best, {:8.0} median, {:8.0} p99",
                us.min, us.p50, us.p99
            )?;
        }
        writeln!(
            out,
            "  p99 over that without: {:.3} under full load, {:.3} with the database stopped",
            self.loaded_ratio_p99, self.stopped_ratio_p99
        )?;
        writeln!(
            out,
            "a durable command is answered {:.1} ms after its tick (median; {:.1} from its arrival; {:.1} with the database \
             stopped): a tick is {:.1} ms, a frame takes {:.2} ms, fdatasync alone {:.2} ms",
            self.answer_ms.p50,
            self.arrival_to_answer_ms.p50,
            self.answer_stopped_ms.p50,
            self.tick_ms,
            self.frame_ms,
            self.fdatasync_ms.p50
        )
    }
}
