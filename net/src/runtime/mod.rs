//! The thread that hosts a shard: pinned, running a tick at a fixed step.
//!
//! It comes in two kinds, see [`Driver`]: a glommio executor, with room for other tasks between ticks, and a plain thread
//! where io_uring is not to be had. What a tick does is none of its business, and a tick that fails takes its shard down,
//! not the process: the host sees it in [`ShardHandle::has_ended`] and learns why from [`ShardHandle::join`].

mod clock;
mod executor;
#[cfg(test)]
mod tests;
mod thread;

use std::any::Any;
use std::convert::Infallible;
use std::ffi::CString;
use std::fmt::Display;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use thiserror::Error;

pub use clock::{TickClock, TickStart};
pub use executor::{EXECUTOR_FILES, LOCKED_LIMIT_BYTES_MIN, locked_bytes};

/// Niceness of a shard's thread, where `CAP_SYS_NICE` or `RLIMIT_NICE` allows it.
const SHARD_NICENESS: i32 = -10;
/// By how much a timer of a shard may be late to be run with others: not at all, where the default is 50 us.
const TIMER_SLACK: NonZeroU64 = NonZeroU64::MIN;

/// How a shard's thread and its sockets are driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// By io_uring: a glommio executor, and [`UringTransport`](crate::transport::UringTransport).
    IoUring,
    /// By plain system calls: a plain thread, and [`SyscallTransport`](crate::transport::SyscallTransport). It does all
    /// that the other does, at more cost, wherever Linux runs.
    Syscalls,
}

impl Driver {
    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Driver::IoUring => "io_uring",
            Driver::Syscalls => "syscalls",
        }
    }
}

/// What a shard's loop calls.
pub trait Tick {
    /// Runs one tick. Must not wait: everything else on the shard does meanwhile.
    fn tick(&mut self, start: &TickStart);
}

/// Where and how a shard runs.
#[derive(Debug, Clone)]
pub struct ShardHost {
    /// The thread's name, at most 15 bytes: `vyuha-shard-0`.
    pub name: String,
    /// The processor that it is bound to; `None` leaves the choice to the kernel, ever anew.
    pub cpu: Option<usize>,
    /// What drives it.
    pub driver: Driver,
    /// Size of the executor's buffer for file I/O, if it is one. Three times as much is locked: see [`locked_bytes`].
    pub io_memory_bytes: usize,
    /// Ticks a second, at least 1.
    pub tick_hz: u32,
    /// Ticks that a late shard catches up on; see [`TickClock`].
    pub backlog_ticks: u32,
    /// How long after its start the first tick is due. Shards of different phases do not all want the machine, the
    /// journal and the network at the same moment.
    pub phase: Duration,
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
    /// What it was to run could not be made.
    #[error("{name} could not be set up: {text}")]
    Make {
        /// The shard's name.
        name: String,
        /// What is wrong.
        text: String,
    },
    /// The thread could not be started.
    #[error(
        "the thread of {name} did not start: {text}; raise the limit of processes (ulimit -u) or of memory"
    )]
    Thread {
        /// The shard's name.
        name: String,
        /// What the system says.
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
    thread: Thread,
    stop: Arc<AtomicBool>,
    /// Never holds anything; its other end lives as long as the loop.
    alive: Receiver<Infallible>,
}

#[derive(Debug)]
enum Thread {
    Executor(executor::Handle),
    Plain(thread::Handle),
}

/// Starts a shard on a thread of its own and returns once its loop runs. `make` is called on that thread.
pub fn spawn_shard<T, E, M>(host: ShardHost, make: M) -> Result<ShardHandle, ShardError>
where
    T: Tick + 'static,
    E: Display,
    M: FnOnce() -> Result<T, E> + Send + 'static,
{
    let (name, cpu) = (host.name.clone(), host.cpu);
    let stop = Arc::new(AtomicBool::new(false));
    let (keep_alive, alive) = bounded::<Infallible>(1);
    let (started, is_started) = bounded(1);
    let inner = Inner { host, stop: stop.clone(), started, _keep_alive: keep_alive };
    let thread = match inner.host.driver {
        Driver::IoUring => Thread::Executor(executor::spawn(inner, make)?),
        Driver::Syscalls => Thread::Plain(thread::spawn(inner, make)?),
    };
    // The thread was made; whether its loop runs it says itself. Where it does not come to that, the sender is dropped.
    if is_started.recv().is_ok() {
        return Ok(ShardHandle { name, thread, stop, alive });
    }
    match thread.join(&name, cpu) {
        Ok(()) => Err(ShardError::Executor { name, text: "it ended before its first tick".into() }),
        Err(error) => Err(error),
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
    pub fn join(self) -> Result<(), ShardError> {
        self.thread.join(&self.name, None)
    }
}

impl Thread {
    fn join(self, name: &str, cpu: Option<usize>) -> Result<(), ShardError> {
        match self {
            Thread::Executor(handle) => executor::join(handle, name, cpu),
            Thread::Plain(handle) => thread::join(handle, name),
        }
    }
}

/// What a shard's thread is begun with.
struct Inner {
    host: ShardHost,
    stop: Arc<AtomicBool>,
    /// Told once the loop is to run.
    started: Sender<()>,
    /// Dropped with the loop.
    _keep_alive: Sender<Infallible>,
}

impl Inner {
    /// Begins, on the shard's own thread: sets that up and makes what is to run.
    fn begin<T, E: Display>(
        &self,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<(T, TickClock), ShardError> {
        // glommio appends a number of its own, which may not fit.
        if let Ok(name) = CString::new(&*self.host.name) {
            // Only what people see of the thread depends on it.
            let _ = rustix::thread::set_name(&name);
        }
        // Where the process may: a tick comes before whatever else wants this processor. Linux takes "the calling
        // process" as the calling thread.
        let _ = rustix::process::setpriority_process(None, SHARD_NICENESS);
        // Without it a tick begins some microseconds later.
        let _ = rustix::thread::set_current_timer_slack(Some(TIMER_SLACK));
        let name = &self.host.name;
        let made = guarded(name, make)?;
        let made = made.map_err(|error| ShardError::Make { name: name.clone(), text: error.to_string() })?;
        // The other end waits for this.
        let _ = self.started.send(());
        Ok((made, TickClock::new(self.host.tick_hz, self.host.backlog_ticks)))
    }

    fn is_to_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn tick(&self, shard: &mut impl Tick, start: &TickStart) -> Result<(), ShardError> {
        guarded(&self.host.name, || shard.tick(start))
    }
}

/// Runs code of the shard and turns a panic into its message. The shard is not used again after one.
fn guarded<R>(name: &str, run: impl FnOnce() -> R) -> Result<R, ShardError> {
    catch_unwind(AssertUnwindSafe(run))
        .map_err(|panic| ShardError::Panicked { name: name.to_owned(), text: panic_text(panic.as_ref()) })
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}
