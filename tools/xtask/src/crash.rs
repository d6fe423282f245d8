//! `cargo xtask crash`: the crash campaign of `tests/src/campaign`, against a release build. `cargo xtask test` plays some rounds
//! of it as tests.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::test::cargo;

/// Builds the campaign and runs it; it builds the node.
pub fn run(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(cargo())
        .args(["run", "--quiet", "--release", "--package", "vyuha-tests", "--bin", "vyuha-crash", "--"])
        .args(arguments)
        .current_dir(root)
        .status()
        .context("cannot run cargo")?;
    ensure!(
        status.success(),
        "{status}: what did not hold is named above, and where the round's data is kept"
    );
    Ok(())
}
