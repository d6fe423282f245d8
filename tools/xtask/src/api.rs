//! `cargo xtask api`: accounts over HTTP held against their OpenAPI document by schemathesis. Tests of
//! the interface, which are told where the program is, start it on either database.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::test::{cargo, counted};

/// The version that is installed; another one thinks up other requests.
const VERSION: &str = "4.32.5";

/// Runs it: how many tests there were, or an error with the requests that were answered badly.
pub fn run(root: &Path) -> anyhow::Result<String> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let folder = root.join(target).join(format!("schemathesis-{VERSION}"));
    let program = folder.join("bin/schemathesis");
    if !works(&program) {
        install(&folder).context("schemathesis cannot be installed")?;
    }
    let mut command = Command::new(cargo());
    command.args([
        "test",
        "--locked",
        "--package",
        "vyuha-accounts",
        "--test",
        "api",
        "--test",
        "on_postgres",
    ]);
    command.args(["--", "--ignored", "--nocapture"]).current_dir(root).env("SCHEMATHESIS", program);
    counted(command)
}

fn install(folder: &Path) -> anyhow::Result<()> {
    perform(Command::new("virtualenv").arg("--quiet").arg(folder))?;
    let package = format!("schemathesis=={VERSION}");
    perform(Command::new(folder.join("bin/pip")).args(["install", "--quiet", &package]))
}

fn perform(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_owned();
    let status = command.status().with_context(|| format!("cannot run {}", name.display()))?;
    ensure!(status.success(), "{}: {status}", name.display());
    Ok(())
}

/// Whether a program can be run.
fn works(program: &Path) -> bool {
    let asked = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}
