//! The thread as a glommio executor, whose rings it needs.

use std::fmt::Display;
use std::time::Instant;

use glommio::{
    BuilderErrorKind, ExecutorJoinHandle, GlommioError, LocalExecutorBuilder, Placement, ReactorErrorKind,
    timer, yield_if_needed,
};

use super::{Inner, ShardError, Tick, panic_text};

/// Smallest registered buffer that an executor makes.
const IO_MEMORY_BYTES_MIN: u64 = 64 << 10;
/// Rings of an executor, each of which locks the registered buffer for itself.
const RINGS: u64 = 3;
/// Files that an executor keeps open: its rings and what wakes them, and the ring of the sockets.
pub const EXECUTOR_FILES: u64 = RINGS + 2;
/// `RLIMIT_MEMLOCK` below which an executor refuses to start, whatever it needs.
pub const LOCKED_LIMIT_BYTES_MIN: u64 = 512 << 10;

/// What the system answers when a thread is to be bound to a processor that the process may not use.
const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();

pub type Handle = ExecutorJoinHandle<Result<(), ShardError>>;

/// Memory that one shard's executor locks, in bytes, for its registered buffer: what [`crate::probe`] weighs against
/// `RLIMIT_MEMLOCK`.
pub fn locked_bytes(io_memory_bytes: u64) -> u64 {
    RINGS * io_memory_bytes.max(IO_MEMORY_BYTES_MIN)
}

pub fn spawn<T, E, M>(inner: Inner, make: M) -> Result<Handle, ShardError>
where
    T: Tick + 'static,
    E: Display,
    M: FnOnce() -> Result<T, E> + Send + 'static,
{
    let (name, cpu) = (inner.host.name.clone(), inner.host.cpu);
    let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
    let builder = LocalExecutorBuilder::new(placement).name(&name).io_memory(inner.host.io_memory_bytes);
    let run = move || async move {
        let (mut shard, mut clock) = inner.begin(make)?;
        timer::sleep(inner.host.phase).await;
        let origin = Instant::now();
        while !inner.is_to_stop() {
            match clock.start(origin.elapsed()) {
                Err(wait) => timer::sleep(wait).await,
                Ok(start) => {
                    inner.tick(&mut shard, &start)?;
                    // Ticks that run back to back still let the executor's other tasks have their turn.
                    yield_if_needed().await;
                }
            }
        }
        Ok(())
    };
    builder.spawn(run).map_err(|error| executor_error(&name, cpu, error))
}

pub fn join(handle: Handle, name: &str, cpu: Option<usize>) -> Result<(), ShardError> {
    handle.join().unwrap_or_else(|error| Err(executor_error(name, cpu, error)))
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
