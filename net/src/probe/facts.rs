//! Asking the system.

use std::fs;
use std::io::Error;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use super::{Facts, IoUring, Limit, Needs};
use crate::cpu;
use crate::runtime::Driver;
use crate::transport::UringTransport;

/// Looks at the machine; where a soft limit is below what is needed, raises it to the hard one.
pub fn gather(needs: &Needs) -> Result<Facts, Error> {
    // The limits first: a ring needs both.
    let locked_memory = raise(Resource::Memlock, needs.locked_bytes());
    let open_files = raise(Resource::Nofile, needs.files());
    Ok(Facts {
        io_uring: match needs.driver {
            Some(Driver::Syscalls) => IoUring::NotTried,
            _ => try_io_uring(),
        },
        locked_memory,
        locked_memory_free: capabilities(None)?.effective.contains(CapabilitySet::IPC_LOCK),
        open_files,
        cpus: cpu::usable()?.len(),
    })
}

fn try_io_uring() -> IoUring {
    let Err(error) = UringTransport::try_ring() else { return IoUring::Usable };
    let errno = error.raw_os_error().unwrap_or_default();
    // Absent before Linux 6.6, which is the same as 0.
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    classify(errno, disabled.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

/// What an error of `io_uring_setup` means, given `kernel.io_uring_disabled`.
pub(super) fn classify(errno: i32, disabled: u8) -> IoUring {
    match Errno::from_raw_os_error(errno) {
        Errno::PERM if disabled > 0 => IoUring::Disabled(disabled),
        Errno::PERM | Errno::ACCESS => IoUring::Blocked,
        Errno::NOSYS => IoUring::Missing,
        // A flag or a request that it does not know.
        Errno::INVAL => IoUring::Old,
        _ => IoUring::Failed(errno),
    }
}

/// The limit as it is once it was raised as far as the process may, if it had to be.
fn raise(resource: Resource, needed: u64) -> Limit {
    let Rlimit { current: soft, maximum: hard } = getrlimit(resource);
    let as_it_is = Limit { soft, hard, raised_from: None };
    let is_higher = hard.is_none_or(|hard| soft.is_some_and(|soft| hard > soft));
    if as_it_is.allows(needed) || !is_higher {
        return as_it_is;
    }
    match setrlimit(resource, Rlimit { current: hard, maximum: hard }) {
        Ok(()) => Limit { soft: hard, hard, raised_from: soft },
        // Refused by a security module: then what there is must do, and is judged.
        Err(_) => as_it_is,
    }
}
