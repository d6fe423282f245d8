use super::facts::classify;
use super::*;

const NEEDS: Needs = Needs {
    driver: Some(Driver::IoUring),
    shards: 2,
    pin: true,
    io_memory_bytes: 1 << 20,
    connections_max: 1000,
};
const UNLIMITED: Limit = Limit { soft: None, hard: None, raised_from: None };
const FINE: Facts = Facts {
    io_uring: IoUring::Usable,
    locked_memory: UNLIMITED,
    locked_memory_free: false,
    open_files: UNLIMITED,
    cpus: 2,
};

fn limit(soft: u64) -> Limit {
    Limit { soft: Some(soft), hard: Some(soft), raised_from: None }
}

/// The findings' severities, and words that must stand in them.
#[track_caller]
fn check(needs: Needs, facts: Facts, expected: &[(Severity, &[&str])]) {
    let findings = judge(&needs, &facts).findings;
    assert_eq!(findings.len(), expected.len(), "{findings:#?}");
    for (finding, (severity, words)) in findings.iter().zip(expected) {
        assert_eq!(finding.severity, *severity, "{finding}");
        let text = finding.to_string();
        for word in *words {
            assert!(text.contains(word), "{word:?} is missing in: {text}");
        }
    }
}

#[test]
fn a_machine_that_allows_all_has_no_findings() {
    check(NEEDS, FINE, &[]);
}

#[test]
fn io_uring_is_told_by_what_keeps_it_off() {
    use Severity::Fatal;
    let with = |io_uring| Facts { io_uring, ..FINE };
    check(
        NEEDS,
        with(IoUring::Disabled(2)),
        &[(Fatal, &["kernel.io_uring_disabled = 2", "sysctl -w kernel.io_uring_disabled=0"])],
    );
    check(
        NEEDS,
        with(IoUring::Blocked),
        &[(Fatal, &["seccomp", "--security-opt", "SystemCallFilter", "seccompProfile"])],
    );
    check(NEEDS, with(IoUring::Missing), &[(Fatal, &["Linux 6.1", "CONFIG_IO_URING"])]);
    check(NEEDS, with(IoUring::Failed(12)), &[(Fatal, &["Cannot allocate memory", "memory.max"])]);
}

#[test]
fn what_drives_the_shards_follows_from_what_there_is() {
    use Severity::{Fatal, Warning};
    let blocked = Facts { io_uring: IoUring::Blocked, ..FINE };
    let locked = Facts { locked_memory: limit(64 << 10), ..FINE };
    let neither = Facts { io_uring: IoUring::Old, ..locked };
    let [ring, calls] = [Driver::IoUring, Driver::Syscalls];
    for (wanted, facts, driver, severities) in [
        (None, FINE, ring, &[][..]),
        (None, blocked, calls, &[Warning]),
        (None, locked, calls, &[Warning]),
        (None, neither, calls, &[Warning, Warning]),
        (Some(ring), FINE, ring, &[]),
        (Some(ring), blocked, ring, &[Fatal]),
        (Some(ring), neither, ring, &[Fatal, Fatal]),
        (Some(calls), FINE, calls, &[]),
        (Some(calls), neither, calls, &[]),
    ] {
        let verdict = judge(&Needs { driver: wanted, ..NEEDS }, &facts);
        let found: Vec<_> = verdict.findings.iter().map(|finding| finding.severity).collect();
        assert_eq!((verdict.driver, &found[..]), (driver, severities), "{wanted:?}, {facts:?}");
        for finding in verdict.findings {
            let word = if wanted.is_none() { "plain system calls are used instead" } else { "net.driver" };
            assert!(finding.to_string().contains(word), "{finding}");
        }
    }
}

#[test]
fn nobody_tries_what_nobody_asked_for() {
    let needs = Needs { driver: Some(Driver::Syscalls), shards: 1, pin: false, connections_max: 16, ..NEEDS };
    assert_eq!(gather(&needs).unwrap().io_uring, IoUring::NotTried);
}

#[test]
fn errors_of_setup_are_classified() {
    let [eperm, enomem, eacces, einval, enosys] = [1, 12, 13, 22, 38];
    for (errno, disabled, expected) in [
        (eperm, 0, IoUring::Blocked),
        (eperm, 1, IoUring::Disabled(1)),
        (eperm, 2, IoUring::Disabled(2)),
        (eacces, 0, IoUring::Blocked),
        (einval, 0, IoUring::Old),
        (enosys, 0, IoUring::Missing),
        (enosys, 2, IoUring::Missing),
        (enomem, 0, IoUring::Failed(enomem)),
    ] {
        assert_eq!(classify(errno, disabled), expected, "errno {errno}, disabled {disabled}");
    }
}

#[test]
fn locked_memory() {
    use Severity::{Fatal, Note, Warning};
    // Two shards lock three times 1 MiB each.
    let needed = 6 << 20;
    let with = |locked_memory| Facts { locked_memory, ..FINE };
    check(NEEDS, with(limit(needed)), &[]);
    check(
        NEEDS,
        with(limit(needed - 1)),
        &[(
            Warning,
            &[
                "6291455 bytes",
                "2 shard(s)",
                "ulimit -l 6144",
                "LimitMEMLOCK=6291456",
                "memlock=6291456:6291456",
            ],
        )],
    );
    check(NEEDS, Facts { locked_memory_free: true, ..with(limit(needed - 1)) }, &[]);
    // An executor refuses to start below half a MiB, privileged or not.
    check(NEEDS, with(limit(64 << 10)), &[(Fatal, &["65536 bytes", "ulimit -l 6144"])]);
    check(
        NEEDS,
        Facts { locked_memory_free: true, ..with(limit((512 << 10) - 1)) },
        &[(Fatal, &["524287 bytes"])],
    );
    let small = Needs { io_memory_bytes: 0, shards: 1, ..NEEDS };
    check(small, with(limit(512 << 10)), &[]);
    check(small, with(limit((512 << 10) - 1)), &[(Fatal, &["ulimit -l 512"])]);
    let raised = Limit { soft: Some(needed), hard: Some(needed), raised_from: Some(65536) };
    check(NEEDS, with(raised), &[(Note, &["was 65536", "raised to 6291456"])]);
    let not_enough = Limit { soft: Some(needed / 2), hard: Some(needed / 2), raised_from: Some(65536) };
    check(NEEDS, with(not_enough), &[(Warning, &["3145728 bytes"])]);
}

#[test]
fn open_files() {
    use Severity::{Fatal, Note, Warning};
    let needed = 1000 + 2 * EXECUTOR_FILES + OTHER_FILES;
    let with = |open_files| Facts { open_files, ..FINE };
    check(NEEDS, with(limit(needed)), &[]);
    let change = format!("ulimit -n {needed}");
    check(
        NEEDS,
        with(limit(needed - 1)),
        &[(Warning, &["1000 connections", &change, "LimitNOFILE", "--ulimit nofile"])],
    );
    check(NEEDS, with(limit(OTHER_FILES - 1)), &[(Fatal, &[&change])]);
    let raised = Limit { soft: None, hard: None, raised_from: Some(1024) };
    check(NEEDS, with(raised), &[(Note, &["was 1024", "raised to no limit"])]);
}

#[test]
fn processors() {
    use Severity::{Fatal, Warning};
    let short = Facts { cpus: 1, ..FINE };
    check(NEEDS, short, &[(Fatal, &["2 shards", "1 processor", "lower shard.count to 1", "--cpuset-cpus"])]);
    check(Needs { pin: false, ..NEEDS }, short, &[(Warning, &["2 shards"])]);
    check(NEEDS, Facts { cpus: 64, ..FINE }, &[]);
}

#[test]
fn every_fault_is_told_at_once() {
    let facts = Facts {
        io_uring: IoUring::Missing,
        locked_memory: limit(0),
        locked_memory_free: false,
        open_files: limit(0),
        cpus: 1,
    };
    check(
        NEEDS,
        facts,
        &[(Severity::Fatal, &[]), (Severity::Fatal, &[]), (Severity::Fatal, &[]), (Severity::Fatal, &[])],
    );
}

#[test]
fn the_machine_that_runs_the_tests_is_understood() {
    let needs = Needs { shards: 1, pin: false, io_memory_bytes: 0, connections_max: 16, ..NEEDS };
    let facts = gather(&needs).unwrap();
    // The runtime's tests need what these probes ask for, so this machine has it.
    assert_eq!(facts.io_uring, IoUring::Usable);
    assert!(facts.cpus >= 1);
    let grave: Vec<_> = judge(&needs, &facts)
        .findings
        .into_iter()
        .filter(|found| found.severity == Severity::Fatal)
        .collect();
    assert_eq!(grave, []);
}

#[test]
fn a_low_soft_limit_is_raised() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    let needs = Needs { connections_max: 300, ..NEEDS };
    // Low enough to be short, high enough for the tests that run beside this one.
    let low = needs.files() - 1;
    assert!(
        before.maximum.is_none_or(|hard| hard > low),
        "this machine's hard limit leaves nothing to raise"
    );
    setrlimit(Resource::Nofile, Rlimit { current: Some(low), maximum: before.maximum }).unwrap();
    let facts = gather(&needs).unwrap();
    let expected = Limit { soft: before.maximum, hard: before.maximum, raised_from: Some(low) };
    assert_eq!(facts.open_files, expected);
    assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
    // Enough now: nothing is raised again.
    assert_eq!(gather(&needs).unwrap().open_files, Limit { raised_from: None, ..expected });
    setrlimit(Resource::Nofile, before).unwrap();
}
