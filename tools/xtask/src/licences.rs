//! What the workspace depends on: licences, sources and bans, as `deny.toml` says.
//!
//! cargo-deny does it where it is installed, and the security advisories too where it has them on disk. Where it
//! is not, the check here reads the same lists, so that no machine passes a licence or a source that is not on
//! them. It never uses the network.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use spdx::{Expression, Licensee, ParseMode};

use crate::test::cargo;

/// What cargo-deny checks without a database of advisories.
pub const DENY_CHECKS: &[&str] = &["bans", "licenses", "sources"];

/// Whether cargo-deny can do the check; the error says why it cannot. It reads the packages of every platform, also
/// those that no build on this machine has fetched.
pub fn cargo_deny(root: &Path) -> Result<(), &'static str> {
    let succeeds = |arguments: &[&str]| {
        let output = Command::new(cargo()).args(arguments).current_dir(root).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !succeeds(&["deny", "--version"]) {
        return Err("cargo-deny is not installed");
    }
    if !succeeds(&["metadata", "--format-version", "1", "--locked", "--offline"]) {
        return Err("cargo-deny needs `cargo fetch` first");
    }
    Ok(())
}

/// Whether cargo-deny has fetched the advisories once, so that it can read them without the network.
pub fn has_advisories() -> bool {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let Some(Ok(databases)) = home.map(|home| home.join("advisory-dbs").read_dir()) else { return false };
    databases.flatten().any(|database| database.path().join("crates").is_dir())
}

/// Checks every package that is built on this machine: a line for the summary, or an error that lists the faults.
/// `reason` is why cargo-deny does not do it.
pub fn check(root: &Path, reason: &str) -> anyhow::Result<String> {
    let path = root.join("deny.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let rules = Rules::read(&text).context("deny.toml")?;
    let metadata = metadata(root)?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let faults: Vec<String> = packages.iter().flat_map(|package| rules.faults(package)).collect();
    ensure!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
    Ok(format!("{} packages, by the check built into xtask ({reason})", packages.len()))
}

/// The packages of this machine's target: those are on disk once the workspace has been built.
fn metadata(root: &Path) -> anyhow::Result<Value> {
    let version = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let output = Command::new(cargo())
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed\n{}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata wrote no JSON")
}

/// The lists of `deny.toml` that are checked here.
struct Rules {
    licences: Vec<Licensee>,
    registries: Vec<String>,
}

impl Rules {
    fn read(text: &str) -> anyhow::Result<Self> {
        let file: toml::Table = text.parse()?;
        let list = |section: &str, name: &str| -> anyhow::Result<Vec<String>> {
            let list =
                file.get(section).and_then(|section| section.get(name)).and_then(toml::Value::as_array);
            let list = list.with_context(|| format!("{section}.{name} is missing"))?;
            let text = |value: &toml::Value| value.as_str().map(str::to_owned);
            list.iter()
                .map(text)
                .collect::<Option<_>>()
                .with_context(|| format!("{section}.{name} holds no text"))
        };
        let licences = list("licenses", "allow")?.iter().map(|name| Licensee::parse(name)).collect();
        let licences: Result<_, _> = licences;
        Ok(Self { licences: licences?, registries: list("sources", "allow-registry")? })
    }

    fn faults(&self, package: &Value) -> Vec<String> {
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        let mut faults = Vec::new();
        let licence = text(&package["license"]);
        match Expression::parse_mode(licence, ParseMode::LAX) {
            Ok(expression) => {
                if !expression.evaluate(|needed| self.licences.iter().any(|ours| ours.satisfies(needed))) {
                    faults.push(format!("{name} {version}: the licence {licence:?} is not allowed"));
                }
            }
            Err(error) => {
                faults.push(format!(
                    "{name} {version}: the licence {licence:?} cannot be read ({})",
                    error.reason
                ));
            }
        }
        let source = package["source"].as_str();
        let allowed = |source: &str| {
            let registry = source.strip_prefix("registry+").or_else(|| source.strip_prefix("sparse+"));
            registry.is_some_and(|registry| self.registries.iter().any(|allowed| allowed == registry))
        };
        if let Some(source) = source.filter(|source| !allowed(source)) {
            faults.push(format!("{name} {version}: the source {source} is not allowed"));
        }
        let no_dependencies = Vec::new();
        for dependency in package["dependencies"].as_array().unwrap_or(&no_dependencies) {
            if source.is_none() && dependency["path"].is_null() && dependency["req"] == "*" {
                faults.push(format!("{name} {version}: {} has no version", text(&dependency["name"])));
            }
        }
        faults
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CRATES_IO: &str = "https://github.com/rust-lang/crates.io-index";

    fn rules() -> Rules {
        Rules::read(&format!(
            "[licenses]\nallow = [\"MIT\", \"Apache-2.0\", \"Unicode-3.0\"]\n\
             [sources]\nallow-registry = [\"{CRATES_IO}\"]"
        ))
        .expect("the rules are valid")
    }

    #[test]
    fn licences_are_judged_by_their_expression() {
        for (licence, allowed) in [
            ("MIT", true),
            ("MIT OR Apache-2.0", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0-only OR MIT", true),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("MIT AND GPL-3.0-only", false),
            ("GPL-3.0-only", false),
            ("Apache-2.0 WITH LLVM-exception", false),
            ("Whatever", false),
            ("", false),
        ] {
            let package = json!({"name": "a", "version": "1.0.0", "license": licence});
            let faults = rules().faults(&package);
            assert_eq!(faults.is_empty(), allowed, "{licence}: {faults:?}");
        }
    }

    #[test]
    fn sources_are_on_the_list() {
        for (source, allowed) in [
            (json!(null), true),
            (json!(format!("registry+{CRATES_IO}")), true),
            (json!("registry+https://example.com/index"), false),
            (json!("git+https://example.com/a#0123"), false),
        ] {
            let package = json!({"name": "a", "version": "1.0.0", "license": "MIT", "source": source});
            assert_eq!(rules().faults(&package).is_empty(), allowed, "{source}");
        }
    }

    #[test]
    fn our_dependencies_have_versions() {
        for (dependency, allowed) in [
            (json!({"name": "b", "req": "^1"}), true),
            (json!({"name": "b", "req": "*", "path": "/b"}), true),
            (json!({"name": "b", "req": "*"}), false),
        ] {
            let package =
                json!({"name": "a", "version": "1.0.0", "license": "MIT", "dependencies": [dependency]});
            assert_eq!(rules().faults(&package).is_empty(), allowed);
        }
    }

    #[test]
    fn rules_that_cannot_be_read_are_refused() {
        for text in [
            "",
            "[licenses]\nallow = [\"MIT\"]",
            "[licenses]\nallow = [\"NOPE\"]\n[sources]\nallow-registry = []",
        ] {
            assert!(Rules::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_rules_of_the_workspace_are_read() {
        let text = include_str!("../../../deny.toml");
        assert!(!Rules::read(text).expect("deny.toml is valid").licences.is_empty());
    }
}
