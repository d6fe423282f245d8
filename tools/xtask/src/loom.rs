//! `cargo xtask loom`: the protocols between threads in every order in which they can run.
//!
//! Loom stands in for atomics and threads where the flag `cfg(loom)` is set. The flag is part of what rustc builds
//! every crate with, so these builds have a folder of their own. They are release builds: a model runs a thousand times.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::test::{cargo, counted};

/// Packages that have models.
const PACKAGES: &[&str] = &["vyuha-ring"];
/// How often in one run a thread is interrupted where it did not have to be, unless `LOOM_MAX_PREEMPTIONS` says
/// otherwise. Bugs that need more are rare, and each one more takes five times as long.
const PREEMPTIONS_MAX: &str = "3";
/// What bounds the models.
const PREEMPTIONS_VARIABLE: &str = "LOOM_MAX_PREEMPTIONS";

/// Runs every model: how many there were, or an error.
pub fn run(root: &Path) -> anyhow::Result<String> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let mut command = Command::new(cargo());
    command.args(["test", "--release", "--locked", "--lib"]).current_dir(root);
    command.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    command.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", target.join("loom"));
    // Models take less time than optimising across crates would.
    command.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_DEBUG", "none");
    if env::var_os(PREEMPTIONS_VARIABLE).is_none() {
        command.env(PREEMPTIONS_VARIABLE, PREEMPTIONS_MAX);
    }
    counted(command)
}
