//! `cargo xtask crash` and `simulate`: the crash campaign of `tests/src/campaign`, against a release build, and the fault simulator
//! of `tests/simulator`. `cargo xtask test` plays some rounds of the one and some seeds of the other as tests.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::test::cargo;

/// Builds the crash campaign and runs it; it builds the node.
pub fn crash(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let program = ["--release", "--package", "vyuha-tests", "--bin", "vyuha-crash"];
    run(root, &program, arguments, "what did not hold is named above, and where the round's data is kept")
}

/// Builds the simulator and runs it. Not as a release: what is asserted in a test build is to be asserted here.
pub fn simulate(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let program = ["--package", "vyuha-simulator"];
    run(
        root,
        &program,
        arguments,
        "each seed that failed is named above, with the command that runs it again",
    )
}

fn run(root: &Path, program: &[&str], arguments: &[&str], advice: &str) -> anyhow::Result<()> {
    let status = Command::new(cargo())
        .args(["run", "--quiet"])
        .args(program)
        .arg("--")
        .args(arguments)
        .current_dir(root)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "{status}: {advice}");
    Ok(())
}
