//! Tells the program which commit it was built from, for `vyuha --version`. Never uses the network, and
//! never fails the build: where there is no repository the commit is "unknown".

use std::path::Path;
use std::process::Command;

/// Folders whose files end up in the binary: a change there is what makes a commit "dirty".
const SOURCES: &[&str] = &[
    "protocol/src",
    "record/src",
    "core/src",
    "game/src",
    "net/src",
    "store/src",
    "gateway/src",
    "server/src",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let root = Path::new("..");
    let commit = if root.join(".git").exists() { commit(root) } else { None };
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// The commit's first 12 digits, with "-dirty" where a tracked file differs from it.
fn commit(root: &Path) -> Option<String> {
    let head_path = git(root, &["rev-parse", "--git-path", "HEAD"])?;
    watch(&root.join(head_path));
    // The branch's own file may not exist yet: a packed reference gets one with the next commit.
    for references in ["refs/heads", "packed-refs"] {
        watch(&root.join(git(root, &["rev-parse", "--git-path", references])?));
    }
    for folder in SOURCES {
        watch(&root.join(folder));
    }
    let commit = git(root, &["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(root, &["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { commit } else { format!("{commit}-dirty") })
}

/// Runs this script again when `path` changes. A path that does not exist would run it every time.
fn watch(path: &Path) {
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
