//! What can be wrong with a configuration, and how it is told.

use std::fmt;
use std::path::PathBuf;

use super::keys::{KEYS, Key};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The table's default.
    Default,
    /// A line of the configuration file, counted from 1.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A flag, with its dashes.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File { path, line } => write!(out, "{}:{line}", path.display()),
            Self::Variable(name) => write!(out, "environment variable {name}"),
            Self::Flag(name) => write!(out, "flag {name}"),
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The key's path, or the unknown name that was written in its stead.
    pub key: String,
    /// The value as it was written; none where the name itself is the fault.
    pub value: Option<String>,
    /// Where it was written.
    pub source: Source,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(out, "{} = {value:?} ({})", self.key, self.source),
            None => write!(out, "{} ({})", self.key, self.source),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The values that are wrong, alone or together.
    pub places: Vec<Place>,
    /// What is wrong.
    pub why: String,
    /// What to do about it.
    pub mend: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.places.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(out, "{separator}{place}")?;
        }
        write!(out, "\n    why:  {}\n    mend: {}", self.why, self.mend)
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = if self.0.len() == 1 { "fault" } else { "faults" };
        write!(out, "{} {faults} in the configuration", self.0.len())?;
        for fault in &self.0 {
            write!(out, "\n\n  {fault}")?;
        }
        Ok(())
    }
}

/// What to do about the unknown name `written`: the names that look most like it. `name` tells how a key is
/// called in the layer at hand (path or variable).
pub(super) fn mend_unknown(written: &str, name: impl Fn(&Key) -> String) -> String {
    // Somebody who forgot the section, or got it wrong, still wrote the last part right.
    let leaf = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let likeness = |key: &Key| {
        let whole = strsim::normalized_damerau_levenshtein(written, &name(key));
        let last = strsim::normalized_damerau_levenshtein(&leaf(written), &leaf(&name(key)));
        whole.max(last - 0.05)
    };
    let best = KEYS.iter().map(|key| (likeness(key), key)).max_by(|one, other| one.0.total_cmp(&other.0));
    match best {
        Some((likeness, key)) if likeness >= LIKENESS_MIN => format!("did you mean {}?", name(key)),
        _ => "remove it; `vyuha config show` lists every key".to_owned(),
    }
}

/// Likeness from which on a name is suggested, 0 for nothing in common and 1 for the same.
const LIKENESS_MIN: f64 = 0.6;
