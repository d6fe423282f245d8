//! What the tests need of the machine: programs and limits.
//!
//! Programs are installed where that takes no question (root on Debian); elsewhere what is missing is listed with
//! how to get it. Nothing else of the machine is changed.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

use crate::test::Extent;

/// A program that some test starts.
struct Program {
    /// What it is called, here or there.
    names: &'static [&'static str],
    /// The Debian package that has it.
    package: &'static str,
    /// What it is needed for.
    purpose: &'static str,
    /// Whether only the whole-node tests need it.
    whole_only: bool,
}

const PROGRAMS: &[Program] = &[
    Program {
        names: &["cc"],
        package: "gcc libc6-dev",
        purpose: "compiles SQLite and mimalloc, links everything",
        whole_only: false,
    },
    Program {
        names: &["git"],
        package: "git",
        purpose: "names the commit in `vyuha --version`",
        whole_only: false,
    },
    Program {
        // Debian keeps the server itself off the search path.
        names: &["pg_createcluster", "postgres"],
        package: "postgresql",
        purpose: "is the database of the tests that need one",
        whole_only: true,
    },
    Program {
        names: &["chromium", "chromium-browser", "google-chrome"],
        package: "chromium",
        purpose: "opens the console page",
        whole_only: true,
    },
    Program {
        names: &["redis-server"],
        package: "redis-server",
        purpose: "holds hot data",
        whole_only: true,
    },
    Program { names: &["promtool"], package: "prometheus", purpose: "tries the alerts", whole_only: true },
    Program {
        names: &["amtool"],
        package: "prometheus-alertmanager",
        purpose: "checks where alerts go",
        whole_only: true,
    },
    Program {
        names: &["virtualenv"],
        package: "virtualenv",
        purpose: "holds schemathesis, which tries the HTTP API",
        whole_only: true,
    },
    Program {
        // Debian's brings node.
        names: &["npm"],
        package: "npm",
        purpose: "installs the identity provider of the tests, and checks the web client",
        whole_only: true,
    },
];

/// Open files of one test process: a node and several hundred clients, each end of each connection one file.
const OPEN_FILES_MIN: u64 = 4096;

/// Locked memory below which glommio refuses to start an executor.
const LOCKED_MEMORY_BYTES_MIN: u64 = 512 << 10;

/// Makes sure that the machine can run the tests: a line for the summary, or an error that says what to change.
pub fn check(extent: Extent) -> anyhow::Result<String> {
    let installed = programs(extent)?;
    open_files()?;
    locked_memory(getrlimit(Resource::Memlock).current)?;
    Ok(if installed.is_empty() { "nothing is missing".to_owned() } else { format!("installed {installed}") })
}

/// Installs the programs that are missing, and says which.
fn programs(extent: Extent) -> anyhow::Result<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = env::split_paths(&path).collect();
    let missing = missing(extent, |name| folders.iter().any(|folder| folder.join(name).is_file()));
    if missing.is_empty() {
        return Ok(String::new());
    }
    let packages = missing.iter().map(|program| program.package).collect::<Vec<_>>().join(" ");
    if !geteuid().is_root() || !Path::new("/usr/bin/apt-get").exists() {
        let list: Vec<_> =
            missing.iter().map(|program| format!("\n  {}: {}", program.names[0], program.purpose)).collect();
        bail!("programs are missing:{}\non Debian: apt-get install {packages}", list.concat());
    }
    apt_get(&["update"])?;
    apt_get(
        &[&["install", "--yes", "--no-install-recommends"], &packages.split(' ').collect::<Vec<_>>()[..]]
            .concat(),
    )?;
    Ok(packages)
}

fn missing(extent: Extent, is_there: impl Fn(&str) -> bool) -> Vec<&'static Program> {
    let needed = PROGRAMS.iter().filter(|program| extent == Extent::Whole || !program.whole_only);
    needed.filter(|program| !program.names.iter().any(|name| is_there(name))).collect()
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    println!("apt-get {}", arguments.join(" "));
    let status = Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").status();
    let status = status.context("cannot run apt-get")?;
    ensure!(status.success(), "apt-get {} failed ({status})", arguments.join(" "));
    Ok(())
}

/// Raises the limit for the tests, which inherit it, as far as it may be raised without asking anybody.
fn open_files() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if is_enough(limit.current, OPEN_FILES_MIN) {
        return Ok(());
    }
    ensure!(
        is_enough(limit.maximum, OPEN_FILES_MIN),
        "{:?} open files are allowed, the tests need {OPEN_FILES_MIN}: run `ulimit -n {OPEN_FILES_MIN}` as root \
         first, or set LimitNOFILE (systemd) or --ulimit nofile={OPEN_FILES_MIN} (Docker)",
        limit.maximum.unwrap_or_default(),
    );
    setrlimit(Resource::Nofile, Rlimit { current: Some(OPEN_FILES_MIN), maximum: limit.maximum })
        .context("cannot raise the limit of open files")
}

fn locked_memory(limit: Option<u64>) -> anyhow::Result<()> {
    ensure!(
        is_enough(limit, LOCKED_MEMORY_BYTES_MIN),
        "{} bytes of locked memory are allowed, an executor needs {LOCKED_MEMORY_BYTES_MIN}: run `ulimit -l 65536` \
         as root first, or set LimitMEMLOCK=64M (systemd) or --ulimit memlock=67108864 (Docker)",
        limit.unwrap_or_default(),
    );
    Ok(())
}

/// No limit at all is enough for everything.
fn is_enough(limit: Option<u64>, least: u64) -> bool {
    limit.is_none_or(|limit| limit >= least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_depends_on_what_is_run() {
        let packages = |extent, there: &[&str]| -> Vec<_> {
            missing(extent, |name| there.contains(&name)).iter().map(|program| program.package).collect()
        };
        let all: Vec<_> = PROGRAMS.iter().map(|program| program.package).collect();
        assert_eq!(packages(Extent::Whole, &[]), all);
        assert_eq!(packages(Extent::Quick, &["cc"]), ["git"]);
        // Any of its names will do.
        let mut there: Vec<_> =
            PROGRAMS.iter().map(|program| *program.names.last().expect("it has one")).collect();
        assert_eq!(packages(Extent::Whole, &there), [""; 0]);
        there.retain(|name| *name != "google-chrome");
        assert_eq!(packages(Extent::Whole, &there), ["chromium"]);
        assert_eq!(packages(Extent::Quick, &["git"]), ["gcc libc6-dev"]);
    }

    #[test]
    fn too_little_locked_memory_is_told_with_the_remedy() {
        let error = locked_memory(Some(64 << 10)).expect_err("it is too little").to_string();
        assert!(error.contains("65536 bytes") && error.contains("LimitMEMLOCK"), "{error}");
        locked_memory(Some(LOCKED_MEMORY_BYTES_MIN)).expect("it is enough");
        locked_memory(None).expect("no limit is enough");
    }
}
