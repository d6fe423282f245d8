//! Processors, and the time that threads take of them.

use std::fs;
use std::io::{Error, ErrorKind};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity};
use rustix::time::{ClockId, clock_gettime};

/// A thread of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadTime {
    /// Its number, unique in the machine while it lives.
    pub id: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Processor time since its start. For a thread that is running just now it may be some milliseconds behind.
    pub cpu: Duration,
}

/// The processors that the calling thread may run on, in order.
pub fn usable() -> Result<Vec<usize>, Error> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
}

/// Processor time of the calling thread since its start.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// This process's threads whose name begins with `prefix`, in the order of their ids. Names longer than 15 bytes were
/// cut by the kernel.
pub fn threads_by_name(prefix: &str) -> Result<Vec<ThreadTime>, Error> {
    let mut threads = Vec::new();
    for entry in fs::read_dir("/proc/self/task")? {
        let path = entry?.path();
        let read = |file: &str| match fs::read_to_string(path.join(file)) {
            // The thread ended after the folder was listed.
            Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH) => {
                Ok(None)
            }
            other => other.map(Some),
        };
        let Some(name) = read("comm")? else { continue };
        let name = name.trim_end_matches('\n');
        if !name.starts_with(prefix) {
            continue;
        }
        let Some(schedstat) = read("schedstat")? else { continue };
        let id = path.file_name().and_then(|id| id.to_str()).and_then(|id| id.parse().ok());
        let nanoseconds = schedstat.split(' ').next().and_then(|field| field.parse().ok());
        let (Some(id), Some(nanoseconds)) = (id, nanoseconds) else {
            let text = format!("{}/schedstat is not understood: {schedstat:?}", path.display());
            return Err(Error::new(ErrorKind::InvalidData, text));
        };
        threads.push(ThreadTime { id, name: name.to_owned(), cpu: Duration::from_nanos(nanoseconds) });
    }
    threads.sort_unstable_by_key(|thread| thread.id);
    Ok(threads)
}

const ESRCH: i32 = rustix::io::Errno::SRCH.raw_os_error();

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread::Builder;

    #[test]
    fn there_is_a_processor_to_run_on() {
        let usable = usable().unwrap();
        assert!(!usable.is_empty() && usable.is_sorted(), "{usable:?}");
    }

    #[test]
    fn named_threads_are_found_with_the_time_they_took() {
        let (done, is_done) = channel();
        let (stop, stopped) = channel::<()>();
        let busy = Builder::new().name("busy-one-7".into());
        let busy = busy.spawn(move || {
            while thread_time() < Duration::from_millis(60) {
                std::hint::spin_loop();
            }
            done.send(()).unwrap();
            // A thread that gives up the processor is accounted to the nanosecond.
            stopped.recv().unwrap();
        });
        is_done.recv().unwrap();
        let found = loop {
            let found = threads_by_name("busy-one").unwrap();
            if found[0].cpu >= Duration::from_millis(60) {
                break found;
            }
            std::thread::yield_now();
        };
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "busy-one-7");
        assert!(found[0].cpu < Duration::from_secs(5), "{found:?}");
        assert_eq!(threads_by_name("no such thread").unwrap(), []);
        stop.send(()).unwrap();
        busy.unwrap().join().unwrap();
    }
}
