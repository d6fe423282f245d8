//! A fuzz target for every decoder of bytes that come from outside: clients, servers, files, settings.
//!
//! A target is a function over bytes that must not panic, whatever they are, and that checks what must hold of
//! whatever was accepted. `cargo xtask test` runs each one over its corpus and over some thousand random changes of
//! it; `cargo xtask fuzz TARGET` lets libFuzzer search for as long as is wished. What either finds is kept as a file
//! in `corpus/TARGET/`.

mod device;
mod disk;
mod mutate;
mod recording;
mod stored;
mod text;
mod topics;
mod wire;

use std::path::{Path, PathBuf};
use std::{fs, io};

pub use mutate::mutated;

/// A decoder under test.
pub struct Target {
    /// Its name, and its corpus's folder's.
    pub name: &'static str,
    check: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "client_frames", check: wire::client_frames, seeds: wire::client_seeds },
    Target { name: "server_frames", check: wire::server_frames, seeds: wire::server_seeds },
    Target { name: "snapshot", check: wire::snapshot, seeds: wire::snapshot_seeds },
    Target { name: "play", check: wire::play, seeds: wire::client_seeds },
    Target { name: "msgpack", check: wire::msgpack, seeds: wire::msgpack_seeds },
    Target { name: "handshake", check: device::handshake, seeds: device::handshake_seeds },
    Target { name: "topics", check: topics::topics, seeds: topics::seeds },
    Target { name: "transactions", check: stored::transactions, seeds: stored::transaction_seeds },
    Target { name: "journal", check: stored::journal, seeds: stored::journal_seeds },
    Target { name: "recording", check: recording::recording, seeds: recording::seeds },
    Target { name: "map", check: text::map, seeds: text::map_seeds },
    Target { name: "content", check: text::content, seeds: text::content_seeds },
    Target { name: "config", check: text::config, seeds: text::config_seeds },
];

/// The target of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

impl Target {
    /// Runs it once.
    ///
    /// # Panics
    /// If it found something.
    pub fn run(&self, input: &[u8]) {
        (self.check)(input);
    }

    /// Inputs to begin with: what the encoders write, then what the corpus keeps, sorted by file name.
    pub fn inputs(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut paths: Vec<PathBuf> = match fs::read_dir(self.corpus()) {
            Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        paths.sort();
        let mut inputs = (self.seeds)();
        for path in paths {
            inputs.push(fs::read(path)?);
        }
        Ok(inputs)
    }

    /// The folder of its corpus; it need not exist.
    pub fn corpus(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }
}
