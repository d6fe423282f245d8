//! Copies of the embedded database: made while a node plays, checked, and restored.
//!
//! A backup is one SQLite file, the state as of one journal position, with its SHA-256 beside it in the form
//! of `sha256sum`. The journal is no part of it: a restored node goes on from that position with a journal of
//! its own. What was acknowledged after the copy began is in the next backup.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use sha2::{Digest as _, Sha256};
use vyuha_record::Table;

use crate::migrate::OlderSchema;
use crate::{DataDir, DataDirError, SqliteStore, StoreError};

/// A file of a backup, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// What a restored database holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The backup it was made of.
    pub backup: Backup,
    /// The journal position of each node in it: its name, its epoch and its last applied frame.
    pub positions: Vec<(String, u64, u64)>,
    /// How many rows each table holds.
    pub rows: Vec<(&'static str, u64)>,
}

/// Why there is no backup, or it was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The data directory holds no database.
    #[error("{} holds no database: name the folder of a node (data.dir)", path.display())]
    NoDatabase {
        /// The data directory.
        path: PathBuf,
    },
    /// There is something already where it should go.
    #[error("{} is there already: it is not overwritten; choose another name or move it away", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The sum beside the backup is missing or not one.
    #[error("{} holds no SHA-256 of the backup: without it nobody knows whether the backup is whole", path.display())]
    NoSum {
        /// The file with the sum.
        path: PathBuf,
    },
    /// The backup is not what was written.
    #[error("{} is damaged: its SHA-256 is {found}, it was {expected} when it was made", path.display())]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// Its sum when it was made.
        expected: String,
        /// Its sum now.
        found: String,
    },
    /// The database says of itself that it is damaged.
    #[error("the backup is whole but what it holds is damaged: {fault}")]
    Corrupt {
        /// The first fault.
        fault: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database could not be copied.
    #[error("the database cannot be copied: {0}")]
    Copy(rusqlite::Error),
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The restored database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copies the database of a data directory, whether a node uses it or not, to a file that is not there yet.
/// While it runs the node's journal is not cut. The file is synced and appears under its name only when whole.
pub fn back_up(data_dir: &Path, to: &Path) -> Result<Backup, BackupError> {
    let database = DataDir::database_in(data_dir);
    if !database.is_file() {
        return Err(BackupError::NoDatabase { path: data_dir.into() });
    }
    let sum = sum_file(to);
    for path in [to, &*sum] {
        refuse_existing(path)?;
    }
    let part = with_suffix(to, ".part");
    // What an earlier copy left that was interrupted.
    remove_if_there(&part)?;
    let connection = Connection::open_with_flags(&database, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(BackupError::Copy)?;
    let name = part.to_str().ok_or_else(|| BackupError::Io {
        path: part.clone(),
        source: io::Error::new(io::ErrorKind::InvalidFilename, "the name is not UTF-8"),
    })?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(BackupError::Copy)?;
    drop(connection);
    sync(&part)?;
    let backup = measure(&part)?;
    let file = to.file_name().unwrap_or_default().to_string_lossy();
    fs::write(&sum, format!("{}  {file}\n", backup.sha256)).map_err(io_at(&sum))?;
    sync(&sum)?;
    fs::rename(&part, to).map_err(io_at(to))?;
    sync(folder_of(to))?;
    Ok(backup)
}

/// Makes a data directory of a backup: the database as it was, brought to this version's schema, with every row read
/// once. The directory may hold nothing of a node yet, and holds nothing if this fails.
pub fn restore(backup: &Path, data_dir: &Path, tables: &[Table]) -> Result<Restored, BackupError> {
    let expected = read_sum(&sum_file(backup))?;
    let measured = measure(backup)?;
    if measured.sha256 != expected {
        return Err(BackupError::Damaged { path: backup.into(), expected, found: measured.sha256 });
    }
    let locked = DataDir::lock(data_dir)?;
    for path in [locked.database(), locked.journal()] {
        refuse_existing(&path)?;
    }
    let part = with_suffix(&locked.database(), ".part");
    let restored = restore_part(backup, &part, tables);
    match restored {
        Ok((positions, rows)) => {
            sync(&part)?;
            fs::rename(&part, locked.database()).map_err(io_at(&part))?;
            sync(locked.path())?;
            Ok(Restored { backup: measured, positions, rows })
        }
        Err(error) => {
            for suffix in ["", "-wal", "-shm"] {
                remove_if_there(&with_suffix(&part, suffix))?;
            }
            Err(error)
        }
    }
}

type Contents = (Vec<(String, u64, u64)>, Vec<(&'static str, u64)>);

fn restore_part(backup: &Path, part: &Path, tables: &[Table]) -> Result<Contents, BackupError> {
    fs::copy(backup, part).map_err(io_at(part))?;
    let fault = SqliteStore::first_fault(part)?;
    if let Some(fault) = fault {
        return Err(BackupError::Corrupt { fault });
    }
    // Who is restored is nobody yet: the node's name only says whose position is read.
    let store = SqliteStore::open(part, "", tables, OlderSchema::Migrate)?;
    let rows = tables.iter().map(|table| Ok((table.name, store.check_rows(table)?)));
    let rows = rows.collect::<Result<_, StoreError>>()?;
    Ok((store.positions()?, rows))
}

fn measure(path: &Path) -> Result<Backup, BackupError> {
    let mut file = File::open(path).map_err(io_at(path))?;
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(io_at(path))? {
            0 => return Ok(Backup { bytes, sha256: hex(&hash.finalize()) }),
            count => {
                hash.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
}

fn read_sum(path: &Path) -> Result<String, BackupError> {
    let no_sum = || BackupError::NoSum { path: path.into() };
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData => no_sum(),
        _ => io_at(path)(error),
    })?;
    let sum = text.split_whitespace().next().ok_or_else(no_sum)?;
    let is_sum = sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_sum { Ok(sum.to_ascii_lowercase()) } else { Err(no_sum()) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Where a backup's sum is: beside it.
fn sum_file(backup: &Path) -> PathBuf {
    with_suffix(backup, ".sha256")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn refuse_existing(path: &Path) -> Result<(), BackupError> {
    if path.exists() { Err(BackupError::Exists { path: path.into() }) } else { Ok(()) }
}

fn remove_if_there(path: &Path) -> Result<(), BackupError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_at(path)(error)),
        _ => Ok(()),
    }
}

/// Syncs a file or a folder.
fn sync(path: &Path) -> Result<(), BackupError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(io_at(path))
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    |source| BackupError::Io { path, source }
}
