//! `cargo xtask web`: the web client's types and its own tests, where there is npm. Its tests in a browser are whole-node
//! tests.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

const FOLDER: &str = "clients/web";
/// Says what is installed: npm writes it from the lock file.
const INSTALLED: &str = "node_modules/.package-lock.json";

/// Checks the client: a line for the summary, or an error with what tsc or a test had to say.
pub fn run(root: &Path) -> anyhow::Result<String> {
    let folder = root.join(FOLDER);
    if Command::new("npm").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return Ok("skipped: there is no npm here (on Debian: apt-get install npm)".to_owned());
    }
    if !is_installed(&folder) {
        program(&folder, "npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund"])?;
    }
    program(&folder, "node_modules/.bin/tsc", &[])?;
    program(&folder, "node", &["--test", "test/"])?;
    Ok("types and tests of clients/web".to_owned())
}

/// Whether what the lock file asks for was installed after it was written.
fn is_installed(folder: &Path) -> bool {
    let written = |file: &str| fs::metadata(folder.join(file)).and_then(|file| file.modified()).ok();
    written(INSTALLED).is_some_and(|installed| Some(installed) >= written("package-lock.json"))
}

fn program(folder: &Path, name: &str, arguments: &[&str]) -> anyhow::Result<()> {
    println!("{name} {}", arguments.join(" "));
    let path = if name.contains('/') { folder.join(name) } else { name.into() };
    let status = Command::new(path).args(arguments).current_dir(folder).status();
    let status = status.with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} in {FOLDER}: {status}");
    Ok(())
}
