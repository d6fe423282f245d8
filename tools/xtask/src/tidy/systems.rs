//! Every game system looks alike: a folder of `game/src/` with the same files, named in `game/src/systems.rs`.
//!
//! A name in that list without a folder behind it is left to the compiler.

use std::collections::BTreeSet;
use std::path::Path;

use super::Fault;
use super::tree::Tree;

/// Where the systems live.
const GAME: &str = "game/src";

/// Folders there that are no systems: what all systems run in, and what they are fed.
const NOT_SYSTEMS: &[&str] = &["shard", "content"];

/// What every system has.
const FILES: &[&str] = &["mod.rs", "rules.rs", "tests.rs"];

/// Faults of the game's systems.
pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let in_game = |path: &Path| path.strip_prefix(GAME).ok().map(Path::to_owned);
    let folders = tree.files.iter().filter_map(|file| {
        let path = in_game(&file.path)?;
        let folder = path.parent()?.iter().next()?.to_str()?;
        (!NOT_SYSTEMS.contains(&folder)).then(|| folder.to_owned())
    });
    let folders: BTreeSet<String> = folders.collect();
    let list = tree.find(Path::new(GAME).join("systems.rs"));
    let mut faults = Vec::new();
    for folder in &folders {
        let path = Path::new(GAME).join(folder);
        for name in FILES.iter().filter(|name| tree.find(path.join(name)).is_none()) {
            let what = format!("the system {folder} lacks its {name}");
            faults.push(Fault { path: path.clone(), line: 1, what });
        }
        if !list.and_then(|list| list.rust.as_ref()).is_some_and(|list| names(&list.code, folder)) {
            let what = format!("the system {folder} is not in {GAME}/systems.rs");
            faults.push(Fault { path, line: 1, what });
        }
    }
    for (file, rust) in tree.rust_files() {
        let Some(path) = in_game(&file.path) else { continue };
        let in_system =
            path.iter().next().and_then(|name| name.to_str()).is_some_and(|name| folders.contains(name));
        if in_system && !path.ends_with("rows.rs") {
            let found = rust.code.match_indices("record!");
            faults.extend(
                found.map(|(at, _)| file.fault(at, "a system's durable rows are declared in its rows.rs")),
            );
        }
    }
    faults
}

/// Whether `code` names `word`, not just a longer name that holds it.
fn names(code: &str, word: &str) -> bool {
    code.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|name| name == word)
}
