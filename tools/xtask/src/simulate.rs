//! `cargo xtask simulate`: the fault simulator of `tests/simulator`. `cargo xtask test` runs some seeds of it as tests.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::test::cargo;

/// Builds the simulator and runs it. Not as a release: what is asserted in a test build is to be asserted here.
pub fn run(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(cargo())
        .args(["run", "--quiet", "--package", "vyuha-simulator", "--"])
        .args(arguments)
        .current_dir(root)
        .status()
        .context("cannot run cargo")?;
    ensure!(
        status.success(),
        "{status}: each seed that failed is named above, with the command that runs it again"
    );
    Ok(())
}
