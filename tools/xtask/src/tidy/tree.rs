//! The source tree in memory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Fault;
use super::rust::RustSource;

/// What holds nothing of ours: version control (a file in a second work tree of git's), build output, installed scripts.
const FOREIGN: &[&str] = &[".git", "target", "node_modules"];

/// A text file.
pub(super) struct File {
    /// Its path from the root of the workspace.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
    /// The same, split into code, comments and strings, if it is Rust.
    pub rust: Option<RustSource>,
}

impl File {
    /// The extension, or nothing.
    pub fn extension(&self) -> &str {
        self.path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
    }

    /// A fault at this byte of the file.
    pub fn fault(&self, offset: usize, what: impl Into<String>) -> Fault {
        let line = 1 + self.text[..offset].matches('\n').count();
        Fault { path: self.path.clone(), line, what: what.into() }
    }
}

/// Every text file of the workspace.
pub(super) struct Tree {
    /// The files, sorted by path.
    pub files: Vec<File>,
}

impl Tree {
    /// Reads the workspace at `root`.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        read_folder(root, Path::new(""), &mut files)?;
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Self { files })
    }

    /// The file at `path`.
    pub fn find(&self, path: impl AsRef<Path>) -> Option<&File> {
        self.files.iter().find(|file| file.path == path.as_ref())
    }

    /// The Rust files, each with its parts.
    pub fn rust_files(&self) -> impl Iterator<Item = (&File, &RustSource)> {
        self.files.iter().filter_map(|file| Some((file, file.rust.as_ref()?)))
    }
}

fn read_folder(root: &Path, folder: &Path, files: &mut Vec<File>) -> anyhow::Result<()> {
    let path = root.join(folder);
    for entry in fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))? {
        let entry = entry.with_context(|| format!("cannot read {}", path.display()))?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let path = folder.join(&name);
        // A node that was started here left its data in the default folder.
        let foreign = FOREIGN.iter().any(|foreign| name == *foreign) || path == Path::new("data");
        if foreign {
            continue;
        }
        if kind.is_dir() {
            read_folder(root, &path, files)?;
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).with_context(|| format!("cannot read {}", path.display()))?;
            // What is not UTF-8 is a picture or the like, which no rule is about.
            if let Ok(text) = String::from_utf8(bytes) {
                let is_rust = path.extension().is_some_and(|extension| extension == "rs");
                let rust = is_rust.then(|| RustSource::of(&text));
                files.push(File { path, text, rust });
            }
        }
    }
    Ok(())
}
