//! The thread that hosts a shard: one glommio executor, pinned, that runs a tick at a fixed step.
//!
//! The executor gives the pinned thread, the timer, and room for other tasks between ticks. What a tick does is none of
//! its business, and a tick that fails takes its shard down, not the process: the host sees it in
//! [`ShardHandle::has_ended`] and learns why from [`ShardHandle::join`].

mod clock;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::convert::Infallible;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, TryRecvError, bounded};
use glommio::{
    BuilderErrorKind, ExecutorJoinHandle, GlommioError, LocalExecutorBuilder, Placement, ReactorErrorKind,
    timer, yield_if_needed,
};
use hdrhistogram::Histogram;
use thiserror::Error;

pub use clock::{TickClock, TickStart};

/// Significant digits of the histograms of [`LoopStats`].
const HISTOGRAM_DIGITS: u8 = 3;
/// Longest time that they tell apart, in microseconds: a minute.
const HISTOGRAM_US_MAX: u64 = 60_000_000;
/// Smallest registered buffer that an executor makes.
const IO_MEMORY_BYTES_MIN: u64 = 64 << 10;
/// Niceness of a shard's thread, where `CAP_SYS_NICE` or `RLIMIT_NICE` allows it.
const SHARD_NICENESS: i32 = -10;
/// Rings of an executor, each of which locks the registered buffer for itself.
const RINGS: u64 = 3;
/// Files that an executor keeps open: its rings and what wakes them.
pub const EXECUTOR_FILES: u64 = RINGS + 1;
/// `RLIMIT_MEMLOCK` below which an executor refuses to start, whatever it needs.
pub const LOCKED_LIMIT_BYTES_MIN: u64 = 512 << 10;

/// What the system answers when a thread is to be bound to a processor that the process may not use.
const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();

/// What a shard's loop calls.
pub trait Tick {
    /// Runs one tick. Must not wait: everything else on the shard does meanwhile. `stats` are those of the ticks before.
    fn tick(&mut self, start: &TickStart, stats: &LoopStats);
}

/// Where and how a shard runs.
#[derive(Debug, Clone)]
pub struct ShardHost {
    /// The thread's name, at most 15 bytes: `vyuha-shard-0`.
    pub name: String,
    /// The processor that it is bound to; `None` leaves the choice to the kernel, ever anew.
    pub cpu: Option<usize>,
    /// Size of the executor's buffer for file I/O. Three times as much is locked: see [`locked_bytes`].
    pub io_memory_bytes: usize,
    /// Ticks a second, at least 1.
    pub tick_hz: u32,
    /// Ticks that a late shard catches up on; see [`TickClock`].
    pub backlog_ticks: u32,
    /// How long after its start the first tick is due. Shards of different phases do not all want the machine, the
    /// journal and the network at the same moment.
    pub phase: Duration,
}

/// How a shard's loop did, since its start.
#[derive(Debug, Clone)]
pub struct LoopStats {
    /// Ticks run.
    pub ticks: u64,
    /// Ticks that started a full step or more after their time.
    pub late: u64,
    /// Ticks left out because the backlog was full.
    pub shed: u64,
    /// How long after its time each tick started, in microseconds; anything over a minute counts as one.
    pub lateness_us: Histogram<u64>,
    /// How long each tick took, in microseconds; likewise.
    pub duration_us: Histogram<u64>,
    /// How long the last tick took.
    pub last_duration: Duration,
}

/// Why a shard did not start, or how it ended.
#[derive(Debug, Error)]
pub enum ShardError {
    /// The processor cannot be used.
    #[error(
        "{name} cannot be bound to processor {cpu}: {text}; bind it to one of those that the process may use, or to none"
    )]
    Cpu {
        /// The shard's name.
        name: String,
        /// The processor.
        cpu: usize,
        /// What the system says.
        text: String,
    },
    /// Too little memory may be locked.
    #[error(
        "{name} may lock {limit_bytes} bytes of memory but needs {needed_bytes}: raise RLIMIT_MEMLOCK (ulimit -l)"
    )]
    LockedMemory {
        /// The shard's name.
        name: String,
        /// The process's limit.
        limit_bytes: u64,
        /// What an executor needs at the least.
        needed_bytes: u64,
    },
    /// The executor did not start.
    #[error(
        "the executor of {name} did not start: {text}; run the start-up checks, which say what the machine lacks"
    )]
    Executor {
        /// The shard's name.
        name: String,
        /// What the executor says.
        text: String,
    },
    /// The shard panicked, and with it all that is on it ended.
    #[error("{name} panicked: {text}")]
    Panicked {
        /// The shard's name.
        name: String,
        /// The panic's message.
        text: String,
    },
}

/// A running shard. Dropping it leaves the shard running: stop and join it.
#[derive(Debug)]
pub struct ShardHandle {
    name: String,
    thread: ExecutorJoinHandle<Result<LoopStats, String>>,
    stop: Arc<AtomicBool>,
    /// Never holds anything; its other end lives as long as the loop.
    alive: Receiver<Infallible>,
}

/// Memory that one shard's executor locks, in bytes, for its registered buffer: what [`crate::probe`] weighs against
/// `RLIMIT_MEMLOCK`.
pub fn locked_bytes(io_memory_bytes: u64) -> u64 {
    RINGS * io_memory_bytes.max(IO_MEMORY_BYTES_MIN)
}

/// Starts a shard on a thread of its own and returns once its loop runs. `make` is called on that thread.
pub fn spawn_shard<T, M>(host: ShardHost, make: M) -> Result<ShardHandle, ShardError>
where
    T: Tick + 'static,
    M: FnOnce() -> T + Send + 'static,
{
    let ShardHost { name, cpu, io_memory_bytes, tick_hz, backlog_ticks, phase } = host;
    let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
    let stop = Arc::new(AtomicBool::new(false));
    let (keep_alive, alive) = bounded::<Infallible>(1);
    let (started, is_started) = bounded(1);

    let (thread_name, stop_seen) = (name.clone(), stop.clone());
    let run = move || async move {
        let _keep_alive = keep_alive;
        // glommio appends a number of its own, which may not fit.
        if let Ok(name) = CString::new(thread_name) {
            // Only what people see of the thread depends on it.
            let _ = rustix::thread::set_name(&name);
        }
        // Where the process may: a tick comes before whatever else wants this processor. Linux takes "the calling
        // process" as the calling thread.
        let _ = rustix::process::setpriority_process(None, SHARD_NICENESS);
        let mut shard = guarded(make)?;
        // The other end waits for this.
        let _ = started.send(());
        timer::sleep(phase).await;
        run_loop(&mut shard, TickClock::new(tick_hz, backlog_ticks), &stop_seen).await
    };
    let builder = LocalExecutorBuilder::new(placement).name(&name).io_memory(io_memory_bytes);
    let thread = builder.spawn(run).map_err(|error| executor_error(&name, cpu, error))?;
    let handle = ShardHandle { name, thread, stop, alive };
    // `spawn` has only made the thread. Where the executor does not come up, the sender is dropped.
    if is_started.recv().is_ok() {
        return Ok(handle);
    }
    let name = handle.name.clone();
    match handle.thread.join() {
        Ok(Err(text)) => Err(ShardError::Panicked { name, text }),
        Ok(Ok(_)) => Err(ShardError::Executor { name, text: "it ended before its first tick".into() }),
        Err(error) => Err(executor_error(&name, cpu, error)),
    }
}

impl ShardHandle {
    /// The thread's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks the loop to end before its next tick, at most a step away.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether the loop has ended, for whatever reason.
    pub fn has_ended(&self) -> bool {
        self.alive.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Waits for the loop to end: after [`stop`](Self::stop), or once it [`has_ended`](Self::has_ended).
    pub fn join(self) -> Result<LoopStats, ShardError> {
        match self.thread.join() {
            Ok(Ok(stats)) => Ok(stats),
            Ok(Err(text)) => Err(ShardError::Panicked { name: self.name, text }),
            Err(error) => Err(executor_error(&self.name, None, error)),
        }
    }
}

impl LoopStats {
    fn new() -> LoopStats {
        let histogram = || {
            Histogram::new_with_max(HISTOGRAM_US_MAX, HISTOGRAM_DIGITS)
                .expect("the bounds are valid and constant")
        };
        LoopStats {
            ticks: 0,
            late: 0,
            shed: 0,
            lateness_us: histogram(),
            duration_us: histogram(),
            last_duration: Duration::ZERO,
        }
    }

    fn record(&mut self, start: &TickStart, duration: Duration) {
        self.ticks += 1;
        self.late += u64::from(start.late);
        self.shed += start.shed;
        self.lateness_us.saturating_record(start.lateness.as_micros() as u64);
        self.duration_us.saturating_record(duration.as_micros() as u64);
        self.last_duration = duration;
    }
}

async fn run_loop(
    shard: &mut impl Tick,
    mut clock: TickClock,
    stop: &AtomicBool,
) -> Result<LoopStats, String> {
    let mut stats = LoopStats::new();
    let origin = Instant::now();
    while !stop.load(Ordering::Acquire) {
        match clock.start(origin.elapsed()) {
            Err(wait) => timer::sleep(wait).await,
            Ok(start) => {
                let begin = Instant::now();
                guarded(|| shard.tick(&start, &stats))?;
                stats.record(&start, begin.elapsed());
                // Ticks that run back to back still let the executor's other tasks have their turn.
                yield_if_needed().await;
            }
        }
    }
    Ok(stats)
}

/// Runs code of the shard and turns a panic into its message. The shard is not used again after one.
fn guarded<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| panic_text(panic.as_ref()))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

fn executor_error(name: &str, cpu: Option<usize>, error: GlommioError<()>) -> ShardError {
    let name = name.to_owned();
    match error {
        GlommioError::ReactorError(ReactorErrorKind::MemLockLimit(limit_bytes, needed_bytes)) => {
            ShardError::LockedMemory { name, limit_bytes, needed_bytes }
        }
        GlommioError::BuilderError(BuilderErrorKind::ThreadPanic(panic)) => {
            ShardError::Executor { name, text: panic_text(panic.as_ref()) }
        }
        other => match (&other, cpu) {
            (GlommioError::BuilderError(BuilderErrorKind::NonExistentCpus { .. }), Some(cpu)) => {
                ShardError::Cpu { name, cpu, text: other.to_string() }
            }
            (GlommioError::IoError(error), Some(cpu)) if error.raw_os_error() == Some(EINVAL) => {
                ShardError::Cpu { name, cpu, text: other.to_string() }
            }
            _ => ShardError::Executor { name, text: other.to_string() },
        },
    }
}
