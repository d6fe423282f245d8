//! What a container or a service manager may deny a node.

use std::collections::BTreeMap;
use std::io::Error;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// The system call `io_uring_setup`: the same number wherever Linux runs.
const IO_URING_SETUP: i64 = 425;

/// What a node is denied.
#[derive(Debug, Clone, Default)]
pub struct Confinement {
    /// What `io_uring_setup` answers: `EPERM` under Docker's default profile, `ENOSYS` in other sandboxes.
    pub io_uring_setup: Option<Errno>,
    /// Memory that may be locked, in bytes; the node cannot raise it.
    pub locked_memory_bytes: Option<u64>,
}

impl Confinement {
    /// Has a process start under it.
    pub(crate) fn apply(&self, command: &mut Command) {
        let filter: Option<BpfProgram> = self.io_uring_setup.map(|errno| {
            let arch: TargetArch =
                std::env::consts::ARCH.try_into().expect("filters are known for this processor");
            let answer = SeccompAction::Errno(errno.raw_os_error().cast_unsigned());
            let rules = BTreeMap::from([(IO_URING_SETUP, Vec::new())]);
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, arch);
            filter.and_then(TryInto::try_into).expect("the filter is valid")
        });
        let locked_memory_bytes = self.locked_memory_bytes;
        let confine = move || {
            if let Some(bytes) = locked_memory_bytes {
                let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
                setrlimit(Resource::Memlock, limit)?;
            }
            match &filter {
                Some(filter) => apply_filter(filter).map_err(|_| Error::last_os_error()),
                None => Ok(()),
            }
        };
        // SAFETY: between fork and exec it makes system calls and nothing else: no memory is allocated, no lock taken.
        unsafe { command.pre_exec(confine) };
    }
}
