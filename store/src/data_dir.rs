//! The node's directory, and the lock that keeps two processes out of it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

const LOCK_FILE: &str = "lock";
const HOME_FILE: &str = "home";

/// A data directory, locked (`flock`) until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    home: String,
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process uses it.
    #[error(
        "the data directory {} is in use by another vyuha process: stop that one, or choose another directory",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be created or written.
    #[error("cannot use the data directory {}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DataDir {
    /// Creates the directory where it is absent, and locks it.
    pub fn lock(path: &Path) -> Result<Self, DataDirError> {
        let io = |source| DataDirError::Io { path: path.into(), source };
        fs::create_dir_all(path).map_err(io)?;
        let lock_path = path.join(LOCK_FILE);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(lock_path).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.into(), home: home(path).map_err(io)?, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { path: path.into() }),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory's own id, which stays with it: 32 hexadecimal digits.
    pub fn home(&self) -> &str {
        &self.home
    }

    /// Where the journal is.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Where the SQLite file is.
    pub fn database(&self) -> PathBuf {
        Self::database_in(&self.path)
    }

    /// Where the SQLite file of a directory is, whoever holds its lock.
    pub(crate) fn database_in(path: &Path) -> PathBuf {
        path.join("world.sqlite")
    }
}

/// Reads the directory's id, or gives it one.
fn home(path: &Path) -> io::Result<String> {
    let file = path.join(HOME_FILE);
    match fs::read_to_string(&file) {
        Ok(home) if home.len() == 32 => Ok(home),
        // Cut short by a crash, before anything was known by it.
        Ok(_) => write_home(path, &file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => write_home(path, &file),
        Err(error) => Err(error),
    }
}

fn write_home(path: &Path, file: &Path) -> io::Result<String> {
    let home = format!("{:032x}", rand::random::<u128>());
    fs::write(file, &home)?;
    File::open(file)?.sync_all()?;
    File::open(path)?.sync_all()?;
    Ok(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let held = DataDir::lock(&path).unwrap();
        let refused = DataDir::lock(&path).unwrap_err();
        assert!(refused.to_string().contains("in use by another vyuha process"), "{refused}");
        let home = held.home().to_owned();
        drop(held);
        assert_eq!(DataDir::lock(&path).unwrap().home(), home, "it stays");
        fs::write(path.join(HOME_FILE), "cut").unwrap();
        assert_ne!(DataDir::lock(&path).unwrap().home(), home, "one of its own");
    }

    #[test]
    fn a_place_that_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let refused = DataDir::lock(&file).unwrap_err();
        assert!(matches!(&refused, DataDirError::Io { path, .. } if *path == file), "{refused}");
    }
}
