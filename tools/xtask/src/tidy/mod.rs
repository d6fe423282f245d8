//! Rules of the house that no compiler checks. Each rule is a function from the tree to its faults.
//!
//! It only reads. What rustfmt and clippy see is left to them, but for what they cannot see in code that is
//! compiled out on this machine.

mod arrows;
mod files;
mod rust;
mod stubs;
mod systems;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::bail;

use tree::Tree;

/// One breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    /// The file, from the root of the workspace.
    path: PathBuf,
    /// The line, counted from 1.
    line: usize,
    /// What is wrong, and what would be right.
    what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path.display(), self.line, self.what)
    }
}

/// Checks the workspace at `root`: a line for the summary, or an error that lists every fault.
pub fn run(root: &Path) -> anyhow::Result<String> {
    let tree = Tree::read(root)?;
    let faults = faults(&tree);
    if faults.is_empty() {
        return Ok(format!("tidy: {} files, no fault", tree.files.len()));
    }
    let list: Vec<String> = faults.iter().map(Fault::to_string).collect();
    bail!("{} faults\n{}", list.len(), list.join("\n"))
}

/// Every fault, sorted by file and line.
fn faults(tree: &Tree) -> Vec<Fault> {
    let rules = [arrows::check, systems::check, stubs::check, files::check];
    let mut faults: Vec<Fault> = rules.into_iter().flat_map(|rule| rule(tree)).collect();
    faults.sort();
    faults
}
