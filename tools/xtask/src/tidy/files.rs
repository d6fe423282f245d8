//! Names, lengths, pairs and paths of files.

use std::collections::BTreeMap;

use super::Fault;
use super::tree::{File, Tree};

/// Lines from which on a file surely holds two things.
const LINES_MAX: usize = 600;

/// What is written by hand and can be split.
const SPLITTABLE: &[&str] = &["rs", "js", "mjs", "css", "html", "sql"];

/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc"];

/// Where somebody's own machine keeps things. Spelled so that this file does not breach its own rule.
const MACHINE_PATHS: &[&str] = &[concat!("/", "work/"), concat!("/", "home/"), concat!("/", "Users/")];

/// Faults of names, lengths, migrations and absolute paths.
pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let mut faults = migrations(tree);
    for file in &tree.files {
        faults.extend(name(file));
        faults.extend(length(file));
        // The lock file is written by cargo, and long.
        if !file.path.ends_with("Cargo.lock") {
            faults.extend(machine_paths(file));
        }
    }
    faults
}

fn name(file: &File) -> Option<Fault> {
    let empty = |name: &str| EMPTY_NAMES.contains(&name);
    let folders = file.path.parent().into_iter().flat_map(|path| path.iter());
    let folder = folders.filter_map(|name| name.to_str()).find(|name| empty(name));
    let stem = file.path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| empty(stem));
    let is_source = matches!(file.extension(), "rs" | "js" | "mjs");
    let name = folder.or(stem).filter(|_| is_source)?;
    Some(file.fault(0, format!("{name:?} says nothing: shared code gets a noun for a name")))
}

fn length(file: &File) -> Option<Fault> {
    let lines = file.text.lines().count();
    let too_long = SPLITTABLE.contains(&file.extension()) && lines > LINES_MAX;
    too_long.then(|| Fault {
        path: file.path.clone(),
        line: lines,
        what: format!("{lines} lines, over {LINES_MAX}: it holds two things, split it"),
    })
}

fn machine_paths(file: &File) -> Vec<Fault> {
    let found = MACHINE_PATHS.iter().flat_map(|path| file.text.match_indices(path));
    // After a letter or a dot it is the middle of some other path or address.
    let absolute = found.filter(|(offset, _)| {
        let before = file.text[..*offset].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || "._-~}/".contains(before))
    });
    absolute.map(|(offset, path)| file.fault(offset, format!("{path} is a path of one machine"))).collect()
}

/// Migrations come as `NNNN_verb_noun.up.sql` and `.down.sql`, or so for each engine, and no number twice.
fn migrations(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut names_by_number: BTreeMap<_, &str> = BTreeMap::new();
    for file in tree.files.iter().filter(|file| file.extension() == "sql") {
        let Some(folder) = file.path.parent().filter(|folder| folder.ends_with("migrations")) else {
            continue;
        };
        let file_name = file.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let halves = file_name
            .strip_suffix(".up.sql")
            .map(|name| (name, "down"))
            .or_else(|| file_name.strip_suffix(".down.sql").map(|name| (name, "up")));
        let Some((name, other)) = halves.filter(|(name, _)| is_migration_name(without_engine(name))) else {
            faults.push(file.fault(0, "a migration is called NNNN_verb_noun.up.sql or .down.sql"));
            continue;
        };
        if tree.find(folder.join(format!("{name}.{other}.sql"))).is_none() {
            faults.push(file.fault(0, format!("{name}.{other}.sql is missing")));
        }
        let own = without_engine(name);
        let first = *names_by_number.entry((folder, &name[..4])).or_insert(own);
        if first != own {
            faults.push(file.fault(0, format!("the number {} belongs to {first}", &name[..4])));
        }
    }
    faults
}

/// The name of a migration that is there for each engine by itself.
fn without_engine(name: &str) -> &str {
    name.strip_suffix(".sqlite").or_else(|| name.strip_suffix(".postgres")).unwrap_or(name)
}

fn is_migration_name(name: &str) -> bool {
    let Some((number, words)) = name.split_once('_') else { return false };
    let word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
    number.len() == 4
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && words.contains('_')
        && words.split('_').all(word)
}
