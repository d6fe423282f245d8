//! Journal, SQLite and persistence thread of one node, opened and closed in the right order.

use std::{path::PathBuf, sync::Arc};

use vyuha_record::{Table, schema_fingerprint};

use crate::{
    DataDir, DataDirError, Handle, Journal, JournalConfig, JournalError, JournalStats, Persistence,
    PersistenceConfig, Producer, SqliteStore, Store, StoreError, journal::OsDisk,
};

/// How a node keeps its state.
#[derive(Debug, Clone)]
pub struct DurabilityConfig {
    /// The data directory; created where it is absent.
    pub data_dir: PathBuf,
    /// The node's name, under which the database keeps its position.
    pub node: String,
    /// How many producers the journal has: one for each shard.
    pub producers: usize,
    /// See [`JournalConfig::segment_bytes`].
    pub segment_bytes: u64,
    /// See [`JournalConfig::queue_batches`].
    pub queue_batches: usize,
    /// The persistence thread.
    pub persistence: PersistenceConfig,
}

/// Told why the journal or the persistence thread stopped for good, from that thread. The process
/// should say so and end: nothing more can be acknowledged.
pub type OnStopped = Arc<dyn Fn(&str) + Send + Sync>;

/// Why the node's state cannot be opened or was not closed in order.
#[derive(Debug, thiserror::Error)]
pub enum DurabilityError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A node's durable state, open.
pub struct Durability {
    // In the order of dropping: the lock goes last.
    journal: Journal,
    persistence: Persistence,
    data_dir: DataDir,
}

impl Durability {
    /// Locks the directory, opens and migrates the database, recovers the journal and starts both
    /// threads. Producer `i` of the list is for shard `i`.
    ///
    /// What the last run left in the journal is applied in the background: await
    /// [`Handle::wait_applied`] with [`Self::durable_seq`] before loading rows.
    pub fn open(
        config: &DurabilityConfig,
        tables: &[Table],
        on_stopped: &OnStopped,
    ) -> Result<(Self, Vec<Producer>), DurabilityError> {
        let data_dir = DataDir::lock(&config.data_dir)?;
        let mut store = SqliteStore::open(&data_dir.database(), &config.node, tables)?;
        let journal_config = JournalConfig {
            dir: data_dir.journal(),
            segment_bytes: config.segment_bytes,
            producers: config.producers,
            queue_batches: config.queue_batches,
            schema: schema_fingerprint(tables),
        };
        let stopped = |on_stopped: &OnStopped| {
            let on_stopped = on_stopped.clone();
            Box::new(move |reason: &str| on_stopped(reason))
        };
        let applied_seq = store.position()?.seq;
        let (journal, producers) =
            Journal::open(Arc::new(OsDisk), &journal_config, applied_seq, stopped(on_stopped))?;
        let persistence = Persistence::start(
            Box::new(store),
            journal.reader(applied_seq + 1),
            tables,
            config.persistence,
            stopped(on_stopped),
        )?;
        Ok((Self { journal, persistence, data_dir }, producers))
    }

    /// The way to the database.
    pub fn handle(&self) -> Handle {
        self.persistence.handle()
    }

    /// The SQLite file, for the connection of account services ([`crate::sql::SqliteSql`]).
    pub fn database(&self) -> PathBuf {
        self.data_dir.database()
    }

    /// The last durable frame.
    pub fn durable_seq(&self) -> u64 {
        self.journal.durable_seq()
    }

    /// The journal's counters for metrics.
    pub fn journal_stats(&self) -> JournalStats {
        self.journal.stats()
    }

    /// Waits until every producer is dropped and all they submitted is durable, applies it, closes
    /// the database and unlocks the directory.
    ///
    /// # Errors
    /// Also where the database fails: what is durable stays in the journal for the next start.
    pub fn shutdown(self) -> Result<(), DurabilityError> {
        let Self { journal, persistence, data_dir } = self;
        let journal = journal.join();
        let persistence = persistence.shutdown();
        drop(data_dir);
        journal?;
        persistence?;
        Ok(())
    }
}
