//! `cargo xtask fuzz`: libFuzzer on one decoder. `cargo xtask test` runs every target over its corpus without it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

/// How long a search takes where nothing was said.
pub const SECONDS_DEFAULT: &str = "60";

/// Where the targets are declared, each with its name.
const TARGETS: &str = "tests/fuzz/src/lib.rs";

fn targets(root: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(root.join(TARGETS)).with_context(|| format!("cannot read {TARGETS}"))?;
    let names = text.split("Target { name: \"").skip(1).filter_map(|rest| rest.split('"').next());
    Ok(names.map(str::to_owned).collect())
}

/// Prints the names of the targets.
pub fn list(root: &Path) -> anyhow::Result<()> {
    for name in targets(root)? {
        println!("{name}");
    }
    Ok(())
}

/// Searches for some seconds. What is worth keeping goes to the target's corpus, what broke it to `artifacts/`.
pub fn run(root: &Path, target: &str, seconds: &str) -> anyhow::Result<()> {
    let known = targets(root)?;
    ensure!(known.iter().any(|name| name == target), "no target {target:?}; there are: {}", known.join(" "));
    let seconds: u32 = seconds.parse().with_context(|| format!("{seconds:?} is no number of seconds"))?;
    let corpus = root.join("tests/fuzz/corpus").join(target);
    fs::create_dir_all(&corpus).with_context(|| format!("cannot create {}", corpus.display()))?;
    // Cargo passes its own toolchain on; this one is another.
    let status = Command::new("cargo")
        .args(["+nightly", "fuzz", "run", "--fuzz-dir", "tests/fuzz", "--features", "libfuzzer", "fuzz"])
        .arg(&corpus)
        .args(["--", &format!("-max_total_time={seconds}"), "-max_len=65536"])
        .env("FUZZ_TARGET", target)
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .current_dir(root)
        .status()
        .context("cannot run cargo")?;
    ensure!(
        status.success(),
        "{status}: either {target} was broken, or the search could not begin; it needs `rustup toolchain install nightly` \
         and `cargo install cargo-fuzz`"
    );
    Ok(())
}
