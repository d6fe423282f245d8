//! What people write: maps, content, settings.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};
use vyuha_game::Content;
use vyuha_protocol::TileMap;
use vyuha_server::config::{KEYS, Layers, load};

/// The folder of the whole-node tests' world.
pub fn world_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../world")
}

/// A map's text.
pub fn map(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let Ok(map) = TileMap::parse(text) else { return };
    let (width, height) = (map.width(), map.height());
    assert!(u64::from(width) * u64::from(height) <= text.len() as u64, "each tile takes a byte");
    for (x, y) in [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)] {
        map.is_wall(x, y);
    }
}

pub fn map_seeds() -> Vec<Vec<u8>> {
    vec![b"#####\n#...#\n#.#.#\n#####\n".to_vec(), b"##\n##\n".to_vec()]
}

const CONTENT_FILES: [&str; 3] = ["items.toml", "npcs.toml", "world.toml"];

/// A content folder one of whose files is the input: its first byte says which.
pub fn content(input: &[u8]) {
    let Some((which, text)) = input.split_first() else { return };
    let changed = CONTENT_FILES[usize::from(*which) % CONTENT_FILES.len()];
    let folder = TempDir::new().expect("a temporary folder can be made");
    for entry in fs::read_dir(world_folder()).expect("the test world is there") {
        let entry = entry.expect("its folder can be read");
        if entry.file_name() != changed {
            symlink(entry.path(), folder.path().join(entry.file_name())).expect("a link can be made");
        }
    }
    fs::write(folder.path().join(changed), text).expect("a temporary file can be written");
    match Content::load(folder.path()) {
        Ok(content) => assert!(content.start_zones().next().is_some(), "somebody can begin somewhere"),
        Err(faults) => assert!(!faults.to_string().is_empty()),
    }
}

pub fn content_seeds() -> Vec<Vec<u8>> {
    let read = |(which, file): (u8, &&str)| {
        let mut seed = vec![which];
        seed.extend(fs::read(world_folder().join(file)).expect("the test world is there"));
        seed
    };
    (0..).zip(&CONTENT_FILES).map(read).collect()
}

/// A configuration file, then (after a zero byte) the environment: pairs with an `=` each, separated by zero bytes.
pub fn config(input: &[u8]) {
    let mut parts = input.split(|byte| *byte == 0);
    let file = NamedTempFile::new().expect("a temporary file can be made");
    fs::write(file.path(), parts.next().unwrap_or_default()).expect("a temporary file can be written");
    let variable = |pair: &[u8]| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        Some((text(&pair[..at]), text(&pair[at + 1..])))
    };
    let layers = Layers {
        file: Some(file.path().to_owned()),
        environment: parts.filter_map(variable).collect(),
        flags: Vec::new(),
    };
    match load(&layers) {
        Ok(effective) => {
            let written = effective.to_toml();
            assert!(toml_names(&written) >= KEYS.len(), "every key is shown: {written}");
        }
        Err(faults) => assert!(!faults.to_string().is_empty()),
    }
}

fn toml_names(text: &str) -> usize {
    text.lines().filter(|line| line.contains(" = ")).count()
}

pub fn config_seeds() -> Vec<Vec<u8>> {
    let layers = Layers::default();
    let defaults = load(&layers).expect("the defaults are valid").to_toml();
    let variables: String =
        KEYS.iter().flat_map(|key| ["\0".to_owned(), key.variable(), "=1".to_owned()]).collect();
    vec![defaults.clone().into_bytes(), (defaults + &variables).into_bytes(), variables.into_bytes()]
}
