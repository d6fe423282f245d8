//! The thread as such.

use std::fmt::Display;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::{Inner, ShardError, Tick, panic_text};

pub type Handle = JoinHandle<Result<(), ShardError>>;

pub fn spawn<T, E, M>(inner: Inner, make: M) -> Result<Handle, ShardError>
where
    T: Tick + 'static,
    E: Display,
    M: FnOnce() -> Result<T, E> + Send + 'static,
{
    let name = inner.host.name.clone();
    let run = move || {
        if let Some(cpu) = inner.host.cpu {
            bind(cpu).map_err(|error| ShardError::Cpu {
                name: inner.host.name.clone(),
                cpu,
                text: error.to_string(),
            })?;
        }
        let (mut shard, mut clock) = inner.begin(make)?;
        thread::sleep(inner.host.phase);
        let origin = Instant::now();
        while !inner.is_to_stop() {
            match clock.start(origin.elapsed()) {
                Err(wait) => thread::sleep(wait),
                Ok(start) => inner.tick(&mut shard, &start)?,
            }
        }
        Ok(())
    };
    let thread = thread::Builder::new().name(name.clone()).spawn(run);
    thread.map_err(|error| ShardError::Thread { name, text: error.to_string() })
}

pub fn join(handle: Handle, name: &str) -> Result<(), ShardError> {
    let panicked = |panic: Box<dyn std::any::Any + Send>| ShardError::Panicked {
        name: name.to_owned(),
        text: panic_text(panic.as_ref()),
    };
    handle.join().map_err(panicked)?
}

/// Binds the calling thread to a processor.
fn bind(cpu: usize) -> Result<(), Errno> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(Errno::INVAL);
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set)
}
