//! Arrows between crates run one way, and every crate takes the workspace's lints.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::Fault;
use super::tree::{File, Tree};

/// What a crate may depend on, dependencies of its build and its tests included.
enum May {
    /// Nothing of ours but these.
    Only(&'static [&'static str]),
    /// Whatever it composes; not what composes it in turn.
    Everything,
}

/// Every crate of the workspace, ground floor first. A new crate gets its line here.
const ARROWS: &[(&str, May)] = &[
    ("vyuha-protocol", May::Only(&[])),
    ("vyuha-record", May::Only(&[])),
    ("vyuha-ring", May::Only(&[])),
    ("vyuha-breaker", May::Only(&[])),
    ("vyuha-core", May::Only(&["vyuha-protocol", "vyuha-record"])),
    ("vyuha-game", May::Only(&["vyuha-core", "vyuha-protocol", "vyuha-record"])),
    ("vyuha-net", May::Only(&["vyuha-protocol"])),
    ("vyuha-test-postgres", May::Only(&[])),
    ("vyuha-test-redis", May::Only(&[])),
    ("vyuha-store", May::Only(&["vyuha-breaker", "vyuha-record", "vyuha-ring", "vyuha-test-postgres"])),
    ("vyuha-hot", May::Only(&["vyuha-breaker", "vyuha-test-redis"])),
    ("vyuha-gateway", May::Only(&["vyuha-hot", "vyuha-protocol", "vyuha-record", "vyuha-store"])),
    ("vyuha-topics", May::Only(&[])),
    ("vyuha-assets", May::Only(&["vyuha-gateway"])),
    (
        "vyuha-accounts",
        May::Only(&[
            "vyuha-breaker",
            "vyuha-protocol",
            "vyuha-record",
            "vyuha-store",
            "vyuha-test-postgres",
            "vyuha-gateway",
            "vyuha-topics",
        ]),
    ),
    ("vyuha-bots", May::Only(&["vyuha-protocol", "vyuha-net", "vyuha-core", "vyuha-game", "vyuha-record"])),
    ("vyuha", May::Everything),
    ("sim-bench", May::Everything),
    ("vyuha-tests", May::Everything),
    ("vyuha-fuzz", May::Everything),
    ("vyuha-simulator", May::Everything),
    ("xtask", May::Only(&[])),
];

/// Crates that nothing depends on.
const ROOFS: &[&str] = &["sim-bench", "vyuha-tests", "vyuha-fuzz", "vyuha-simulator", "xtask"];

/// The tables of a manifest that name dependencies.
const DEPENDENCY_TABLES: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

/// Faults of the manifests.
pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut manifests = BTreeMap::new();
    for file in tree.files.iter().filter(|file| file.path.ends_with("Cargo.toml")) {
        match DeTable::parse(&file.text) {
            Ok(table) => {
                let table = table.into_inner();
                if let Some(name) = package_name(&table) {
                    manifests.insert(name, (file, table));
                }
            }
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                faults.push(file.fault(offset, error.message()));
            }
        }
    }
    for (name, (file, table)) in &manifests {
        faults.extend(lints_fault(file, table));
        let Some((_, may)) = ARROWS.iter().find(|(known, _)| known == name) else {
            faults.push(file.fault(0, format!("{name} is not in the table of arrows (xtask, arrows.rs)")));
            continue;
        };
        for (offset, dependency) in dependencies(table) {
            let allowed = match may {
                May::Only(names) => names.contains(&&*dependency),
                May::Everything => !ROOFS.contains(&&*dependency),
            };
            if manifests.contains_key(&dependency) && !allowed {
                faults.push(file.fault(offset, format!("{name} may not depend on {dependency}")));
            }
        }
    }
    faults
}

fn package_name(manifest: &DeTable<'_>) -> Option<String> {
    let name = manifest.get("package")?.get_ref().get("name")?;
    Some(name.get_ref().as_str()?.to_owned())
}

/// Each dependency's package, and where it is named.
fn dependencies(manifest: &DeTable<'_>) -> Vec<(usize, String)> {
    let of = |table: &DeTable<'_>| {
        let tables = DEPENDENCY_TABLES.iter().filter_map(|name| table.get(*name)?.get_ref().as_table());
        let dependencies = tables.flat_map(|dependencies| dependencies.iter());
        let named = dependencies.map(|(name, value)| {
            let package = value.get_ref().get("package").and_then(|package| package.get_ref().as_str());
            (name.span().start, package.unwrap_or(name.get_ref()).to_owned())
        });
        named.collect::<Vec<_>>()
    };
    let targets = manifest.get("target").and_then(|target| target.get_ref().as_table());
    let of_targets = targets.into_iter().flat_map(|targets| targets.values());
    let of_targets = of_targets.filter_map(|target| target.get_ref().as_table()).flat_map(of);
    of(manifest).into_iter().chain(of_targets).collect()
}

/// A crate that does not take the workspace's lints.
fn lints_fault(file: &File, manifest: &DeTable<'_>) -> Option<Fault> {
    let inherits = manifest.get("lints").and_then(|lints| lints.get_ref().get("workspace"));
    let inherits = inherits.is_some_and(|inherits| matches!(inherits.get_ref(), DeValue::Boolean(true)));
    (!inherits).then(|| file.fault(0, "it lacks `[lints] workspace = true`"))
}
