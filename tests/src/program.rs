//! The program under test: built once a test process, so that no stale one is ever tested.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where `vyuha` is, built from the sources as they are now and in the profile of this program.
///
/// Cargo tells only a package's own tests where its binaries are, so this asks cargo to build it into the target
/// directory that this program runs from; where nothing changed, that takes a moment.
///
/// # Panics
/// If it does not build.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match PROGRAM.get_or_init(build) {
        Ok(program) => program,
        Err(error) => panic!("`cargo build --package vyuha` failed: {error}"),
    }
}

fn build() -> Result<PathBuf, String> {
    let own = std::env::current_exe().expect("a program knows where it is");
    // <target directory>/<profile>/deps/<test>, or <target directory>/<profile>/<program>
    let folder = own.parent().expect("a program lies in a folder");
    let profile_dir = folder.parent().filter(|_| folder.ends_with("deps")).unwrap_or(folder);
    let target_dir = profile_dir.parent().expect("profiles lie in the target directory");
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => panic!("{} names no profile", profile_dir.display()),
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--locked", "--quiet", "--package", "vyuha", "--bin", "vyuha", "--profile", profile])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .map_err(|error| error.to_string())?;
    if built.status.success() {
        Ok(profile_dir.join("vyuha"))
    } else {
        Err(String::from_utf8_lossy(&built.stderr).into_owned())
    }
}
