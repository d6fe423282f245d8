//! Start-up probes: what the machine must allow, checked before anything starts, with the line to change where something
//! is short.
//!
//! [`gather`] asks the system and raises what a process may raise by itself; [`judge`] is pure. Nothing here ends the
//! process or prints.

mod facts;
#[cfg(test)]
mod tests;

use std::fmt;

pub use facts::gather;

use crate::runtime::{Driver, EXECUTOR_FILES, LOCKED_LIMIT_BYTES_MIN, locked_bytes};

/// Files that a node keeps open besides sockets and executors: databases, journal, logs, the admin port's connections.
pub const OTHER_FILES: u64 = 256;

/// What a node is going to need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// What is to drive the shards; `None` is whatever is best here.
    pub driver: Option<Driver>,
    /// Shards.
    pub shards: usize,
    /// Whether each is bound to a processor of its own.
    pub pin: bool,
    /// As in [`crate::runtime::ShardHost`].
    pub io_memory_bytes: u64,
    /// Clients' connections, those that sign in included.
    pub connections_max: u64,
}

/// What the machine allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Whether a ring could be set up.
    pub io_uring: IoUring,
    /// `RLIMIT_MEMLOCK`, in bytes.
    pub locked_memory: Limit,
    /// Whether the process may lock memory without limit (`CAP_IPC_LOCK`).
    pub locked_memory_free: bool,
    /// `RLIMIT_NOFILE`.
    pub open_files: Limit,
    /// Processors that the process may run on.
    pub cpus: usize,
}

/// What came of setting up a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoUring {
    /// It works.
    Usable,
    /// Nobody asked for it.
    NotTried,
    /// The kernel was told to refuse it: `kernel.io_uring_disabled` is this, 1 (all but a group) or 2 (all).
    Disabled(u8),
    /// Refused although the kernel is willing: a seccomp filter or a security module.
    Blocked,
    /// The kernel does not know it.
    Missing,
    /// The kernel knows too little of it: it is older than Linux 6.1.
    Old,
    /// Something else, by its `errno`.
    Failed(i32),
}

/// A resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What holds now; `None` is no limit.
    pub soft: Option<u64>,
    /// How far the process may raise that by itself.
    pub hard: Option<u64>,
    /// What held before the process raised it.
    pub raised_from: Option<u64>,
}

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Was short, and has been put right.
    Note,
    /// The node runs, but not as it is configured.
    Warning,
    /// The node cannot run.
    Fatal,
}

/// Something that is short, and what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// What is short.
    pub short: String,
    /// What to change, one way a line.
    pub change: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Fatal => "fatal",
        };
        write!(f, "{severity}: {}", self.short)?;
        self.change.lines().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// What comes of weighing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What drives the shards, if nothing is fatal.
    pub driver: Driver,
    /// What is short.
    pub findings: Vec<Finding>,
}

/// Weighs what there is against what is needed.
pub fn judge(needs: &Needs, facts: &Facts) -> Verdict {
    let [io_uring, locked_memory] = match needs.driver {
        Some(Driver::Syscalls) => [None, None],
        _ => [judge_io_uring(needs, facts.io_uring), judge_locked_memory(needs, facts)],
    };
    let possible = facts.io_uring == IoUring::Usable && facts.locked_memory.allows(LOCKED_LIMIT_BYTES_MIN);
    let best = if possible { Driver::IoUring } else { Driver::Syscalls };
    let others = [judge_open_files(needs, facts.open_files), judge_cpus(needs, facts.cpus)];
    Verdict {
        driver: needs.driver.unwrap_or(best),
        findings: [io_uring, locked_memory].into_iter().chain(others).flatten().collect(),
    }
}

impl Needs {
    fn locked_bytes(&self) -> u64 {
        let all = (self.shards as u64).saturating_mul(locked_bytes(self.io_memory_bytes));
        all.max(LOCKED_LIMIT_BYTES_MIN)
    }

    /// Something without which io_uring cannot be used. Where it was not asked for by name, something else is.
    fn no_io_uring(&self, short: &str, change: &str) -> Finding {
        match self.driver {
            None => Finding {
                severity: Severity::Warning,
                short: format!("{short}; plain system calls are used instead, which cost more"),
                change: change.to_owned(),
            },
            Some(_) => Finding {
                severity: Severity::Fatal,
                short: short.to_owned(),
                change: format!("{change}\nor do without: set net.driver to auto or to syscalls"),
            },
        }
    }

    fn files(&self) -> u64 {
        self.connections_max + self.shards as u64 * EXECUTOR_FILES + OTHER_FILES
    }
}

impl Limit {
    fn allows(self, amount: u64) -> bool {
        self.soft.is_none_or(|soft| amount <= soft)
    }
}

fn judge_io_uring(needs: &Needs, io_uring: IoUring) -> Option<Finding> {
    let (short, change) = match io_uring {
        IoUring::Usable | IoUring::NotTried => return None,
        IoUring::Disabled(level) => (
            format!("io_uring is switched off in this kernel (kernel.io_uring_disabled = {level})"),
            "now: sysctl -w kernel.io_uring_disabled=0\n\
             for good: echo 'kernel.io_uring_disabled = 0' > /etc/sysctl.d/90-vyuha.conf\n\
             in a container: both on the host",
        ),
        IoUring::Blocked => (
            "io_uring is blocked for this process by a seccomp filter or a security module".into(),
            "Docker: --security-opt seccomp=FILE, where FILE is Docker's default profile with io_uring_setup, \
             io_uring_enter and io_uring_register allowed (or, to try it, seccomp=unconfined)\n\
             Kubernetes: such a profile under securityContext.seccompProfile (type: Localhost)\n\
             systemd: add @aio, which holds io_uring, to SystemCallFilter=",
        ),
        IoUring::Missing => (
            "this kernel has no io_uring".into(),
            "run Linux 6.1 or newer, built with CONFIG_IO_URING=y\n\
             in a sandbox such as gVisor: run outside it; under Podman: --security-opt seccomp=FILE as for Docker, with \
             io_uring_setup, io_uring_enter and io_uring_register allowed",
        ),
        IoUring::Old => ("this kernel's io_uring is too old".into(), "run Linux 6.1 or newer"),
        IoUring::Failed(errno) => (
            format!("io_uring cannot be set up: {}", std::io::Error::from_raw_os_error(errno)),
            "if memory is short: raise the limit of the container or service (memory.max)\n\
             if open files are short: raise RLIMIT_NOFILE (ulimit -n)",
        ),
    };
    Some(needs.no_io_uring(&short, change))
}

fn judge_locked_memory(needs: &Needs, facts: &Facts) -> Option<Finding> {
    let (limit, needed) = (facts.locked_memory, needs.locked_bytes());
    let change = format!(
        "shell: ulimit -l {kib}\n\
         systemd: LimitMEMLOCK={needed}\n\
         Docker: --ulimit memlock={needed}:{needed}\n\
         login sessions: '* - memlock {kib}' in /etc/security/limits.d/90-vyuha.conf, then log in again\n\
         or need less: lower shard.count or shard.memory",
        kib = needed.div_ceil(1024),
    );
    if !limit.allows(LOCKED_LIMIT_BYTES_MIN) {
        // The executor looks at the number alone, whatever the process may do.
        let short = format!(
            "{} of memory may be locked (RLIMIT_MEMLOCK); an executor does not start below {LOCKED_LIMIT_BYTES_MIN} bytes",
            bytes_allowed(limit),
        );
        return Some(needs.no_io_uring(&short, &change));
    }
    if !limit.allows(needed) && !facts.locked_memory_free {
        let short = format!(
            "{} of memory may be locked (RLIMIT_MEMLOCK); {} shard(s) need {needed} bytes, without which their file I/O is \
             slower",
            bytes_allowed(limit),
            needs.shards,
        );
        return Some(Finding { severity: Severity::Warning, short, change });
    }
    raised("locked memory, in bytes (RLIMIT_MEMLOCK),", limit)
}

fn judge_open_files(needs: &Needs, limit: Limit) -> Option<Finding> {
    let needed = needs.files();
    if limit.allows(needed) {
        return raised("open files (RLIMIT_NOFILE)", limit);
    }
    let short = format!(
        "{} files may be open (RLIMIT_NOFILE); {} connections need {needed}, and clients beyond the limit will be refused",
        limit.soft.unwrap_or(u64::MAX),
        needs.connections_max,
    );
    let change = format!(
        "shell, as root: ulimit -n {needed}\n\
         systemd: LimitNOFILE={needed}\n\
         Docker: --ulimit nofile={needed}:{needed}\n\
         login sessions: '* - nofile {needed}' in /etc/security/limits.d/90-vyuha.conf, then log in again\n\
         or need less: lower net.connections_max"
    );
    let severity = if limit.allows(OTHER_FILES) { Severity::Warning } else { Severity::Fatal };
    Some(Finding { severity, short, change })
}

fn judge_cpus(needs: &Needs, cpus: usize) -> Option<Finding> {
    if needs.shards <= cpus {
        return None;
    }
    let short =
        format!("{} shards are to run on {cpus} processor(s): some will wait for others", needs.shards);
    let change = format!(
        "lower shard.count to {cpus}\n\
         or allow more processors: taskset, Docker --cpuset-cpus, systemd CPUAffinity="
    );
    let severity = if needs.pin { Severity::Fatal } else { Severity::Warning };
    Some(Finding { severity, short, change })
}

fn raised(what: &str, limit: Limit) -> Option<Finding> {
    let from = limit.raised_from?;
    let now = limit.soft.map_or("no limit".to_owned(), |soft| soft.to_string());
    let short = format!("the limit of {what} was {from}, which is too low; raised to {now} for this process");
    Some(Finding { severity: Severity::Note, short, change: String::new() })
}

fn bytes_allowed(limit: Limit) -> String {
    limit.soft.map_or("any amount".to_owned(), |soft| format!("{soft} bytes"))
}
