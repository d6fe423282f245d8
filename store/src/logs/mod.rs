//! Tables that only grow, by time: what is past its time is archived into compressed CSV files, and then goes.
//!
//! On PostgreSQL such a table is partitioned by week or month; partitions are made ahead, and dropped whole. On SQLite
//! rows are deleted in small steps. A thread of its own looks once an hour, over a connection of its own: neither the
//! persistence thread nor anybody else waits for it. Nothing goes before its archive is synced.

mod archive;
mod period;
mod postgres;
mod sqlite;

use std::{
    io,
    path::PathBuf,
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

pub use period::Period;

use crate::{PostgresSettings, StoreError};

/// How often the thread looks, and when again where it failed.
const LOOK_EVERY: Duration = Duration::from_hours(1);
const RETRY_AFTER: Duration = Duration::from_mins(1);

/// A table that only grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTable {
    /// Its name.
    pub name: &'static str,
    /// The column with each row's time: milliseconds since 1970. Rows with 0 there stay for good.
    pub time_column: &'static str,
    /// What a partition, and an archive, holds.
    pub period: Period,
    /// Whether it is partitioned by `time_column` on PostgreSQL. Of one that is not, rows go one by one, as on SQLite.
    pub is_partitioned: bool,
    /// How long a row is kept, at least: a period goes when all of it is older.
    pub retention: Duration,
    /// SQL that is run in the transaction in which rows go, with `{rows}` in the place of the table that holds only those: what
    /// of them is to be kept in another table.
    pub carry: Option<String>,
}

impl LogTable {
    fn cutoff_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Where log tables are.
#[derive(Debug, Clone)]
pub enum LogStore {
    /// In this file.
    Sqlite(PathBuf),
    /// In this server.
    Postgres(Box<PostgresSettings>),
}

/// Why log tables were not kept in order. What was to go is still there.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The database.
    #[error(transparent)]
    Store(StoreError),
    /// SQLite.
    #[error("the database cannot keep its log tables: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// An archive cannot be written.
    #[error("an archive of a log table cannot be written: {0}. Look at store.archive_dir")]
    Archive(#[from] io::Error),
    /// The node ends.
    #[error("the node ends")]
    Stopped,
}

/// Does once what has to be done at `now_ms`, milliseconds since 1970: how many partitions (PostgreSQL) or rows (SQLite)
/// went.
pub fn keep(
    store: &LogStore,
    tables: &[LogTable],
    archive_dir: &std::path::Path,
    now_ms: i64,
) -> Result<u64, LogError> {
    let (_hold, stop) = bounded(0);
    keep_until(store, tables, archive_dir, now_ms, &Stopped(stop))
}

fn keep_until(
    store: &LogStore,
    tables: &[LogTable],
    archive_dir: &std::path::Path,
    now_ms: i64,
    stopped: &Stopped,
) -> Result<u64, LogError> {
    if tables.is_empty() {
        return Ok(0);
    }
    match store {
        LogStore::Sqlite(path) => sqlite::keep(path, tables, archive_dir, now_ms, stopped),
        LogStore::Postgres(settings) => postgres::keep(settings, tables, archive_dir, now_ms, stopped),
    }
}

/// Whether the thread is to end; asked between two steps.
struct Stopped(Receiver<()>);

impl Stopped {
    fn check(&self) -> Result<(), LogError> {
        if self.0.try_recv() == Err(TryRecvError::Disconnected) { Err(LogError::Stopped) } else { Ok(()) }
    }
}

/// The thread that keeps log tables in order. Ends when it is dropped.
#[derive(Debug)]
pub struct LogKeeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LogKeeper {
    /// Starts it, after looking once: partitions for what is written next are there when this returns.
    pub fn start(store: LogStore, tables: Vec<LogTable>, archive_dir: PathBuf) -> Result<Self, LogError> {
        let (stop, stopped) = bounded(0);
        let stopped = Stopped(stopped);
        let ahead: Vec<_> =
            tables.iter().map(|table| LogTable { retention: Duration::MAX, ..table.clone() }).collect();
        keep_until(&store, &ahead, &archive_dir, unix_ms(), &stopped)?;
        let run = move || {
            loop {
                let pause = match keep_until(&store, &tables, &archive_dir, unix_ms(), &stopped) {
                    Ok(_) => LOOK_EVERY,
                    Err(LogError::Stopped) => return,
                    Err(error) => {
                        tracing::warn!(%error, "log tables are not kept in order");
                        RETRY_AFTER
                    }
                };
                if stopped.0.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("vyuha-logs".into()).spawn(run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for LogKeeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that keeps log tables panicked");
        }
    }
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
