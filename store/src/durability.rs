//! Journal, database and persistence thread of one node, opened and closed in the right order.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use vyuha_record::{Table, schema_fingerprint};

use crate::{
    DataDir, DataDirError, Handle, Journal, JournalConfig, JournalError, JournalStats, LeaseTerms,
    Persistence, PersistenceConfig, PostgresSettings, PostgresSql, PostgresStore, Producer, SqliteStore,
    Store, StoreError,
    journal::OsDisk,
    logs::{LogError, LogKeeper, LogStore, LogTable},
    migrate::OlderSchema,
    sql::{Sql, SqliteSql},
};

/// Connections of account services to a PostgreSQL: a query that is slow delays the others little.
pub const SERVICE_CONNECTIONS: usize = 4;

/// Which database is behind the journal.
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// A file in the data directory.
    Sqlite,
    /// A server.
    Postgres {
        /// How to reach it.
        settings: Box<PostgresSettings>,
        /// How long the node is still taken to run after it was heard of last; see [`LeaseTerms::ttl`].
        lease_ttl: Duration,
    },
}

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
    /// See [`JournalConfig::bytes_max`].
    pub journal_bytes_max: u64,
    /// See [`JournalConfig::queue_batches`].
    pub queue_batches: usize,
    /// The database.
    pub store: StoreConfig,
    /// What to do where the database is of an older version.
    pub older_schema: OlderSchema,
    /// The tables that only grow, and how long their rows are kept.
    pub logs: Vec<LogTable>,
    /// Where what is past its time is archived.
    pub archive_dir: PathBuf,
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
    /// The tables that only grow.
    #[error(transparent)]
    Logs(#[from] LogError),
}

/// A node's durable state, open.
pub struct Durability {
    // In the order of dropping: the lock goes last.
    journal: Journal,
    persistence: Persistence,
    logs: LogKeeper,
    data_dir: DataDir,
    store: StoreConfig,
    node: String,
    epoch: u64,
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
        let mut store = open_store(config, &data_dir, tables)?;
        let journal_config = JournalConfig {
            dir: data_dir.journal(),
            segment_bytes: config.segment_bytes,
            bytes_max: config.journal_bytes_max,
            producers: config.producers,
            queue_batches: config.queue_batches,
            schema: schema_fingerprint(tables),
        };
        let stopped = |on_stopped: &OnStopped| {
            let on_stopped = on_stopped.clone();
            Box::new(move |reason: &str| on_stopped(reason))
        };
        // First the lease: who is refused leaves no trace, not even an empty journal.
        let position = store.begin_epoch()?;
        let logs = LogKeeper::start(
            log_store(&config.store, &data_dir),
            config.logs.clone(),
            config.archive_dir.clone(),
        )?;
        let (journal, producers) =
            Journal::open(Arc::new(OsDisk), &journal_config, position.seq, stopped(on_stopped))?;
        let persistence = Persistence::start(
            store,
            position,
            journal.reader(position.seq + 1),
            tables,
            config.persistence,
            stopped(on_stopped),
        )?;
        let (store, node, epoch) = (config.store.clone(), config.node.clone(), position.epoch);
        Ok((Self { journal, persistence, logs, data_dir, store, node, epoch }, producers))
    }

    /// The way to the database.
    pub fn handle(&self) -> Handle {
        self.persistence.handle()
    }

    /// The way to the database for account services, beside the persistence thread's: of a server
    /// [`SERVICE_CONNECTIONS`], of a file one. Up to `waiting_max` transactions may wait for one.
    pub fn services(&self, waiting_max: usize) -> Result<Sql, StoreError> {
        match &self.store {
            StoreConfig::Sqlite => Sql::start([SqliteSql::open(&self.data_dir.database())?], waiting_max),
            StoreConfig::Postgres { settings, .. } => Sql::start(
                PostgresSql::pool(settings, &self.node, self.epoch, SERVICE_CONNECTIONS)?,
                waiting_max,
            ),
        }
    }

    /// Where whoever looks through whole tables finds them.
    pub fn log_store(&self) -> LogStore {
        log_store(&self.store, &self.data_dir)
    }

    /// The number of this run among all runs of all nodes of the database.
    pub fn epoch(&self) -> u64 {
        self.epoch
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
        let Self { journal, persistence, logs, data_dir, .. } = self;
        drop(logs);
        let journal = journal.join();
        let persistence = persistence.shutdown();
        drop(data_dir);
        journal?;
        persistence?;
        Ok(())
    }
}

fn log_store(store: &StoreConfig, data_dir: &DataDir) -> LogStore {
    match store {
        StoreConfig::Sqlite => LogStore::Sqlite(data_dir.database()),
        StoreConfig::Postgres { settings, .. } => LogStore::Postgres(settings.clone()),
    }
}

fn open_store(
    config: &DurabilityConfig,
    data_dir: &DataDir,
    tables: &[Table],
) -> Result<Box<dyn Store>, StoreError> {
    Ok(match &config.store {
        StoreConfig::Sqlite => {
            Box::new(SqliteStore::open(&data_dir.database(), &config.node, tables, config.older_schema)?)
        }
        StoreConfig::Postgres { settings, lease_ttl } => {
            // Where the system does not say, the process and the directory have to do.
            let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let holder = format!(
                "process {} on host {} (data in {})",
                std::process::id(),
                host.trim_end(),
                data_dir.path().display()
            );
            let journal_exists = data_dir.journal().read_dir().is_ok_and(|mut files| files.next().is_some());
            let home = data_dir.home().to_owned();
            let lease = LeaseTerms { holder, home, ttl: *lease_ttl, journal_exists };
            Box::new(PostgresStore::open(settings, &config.node, tables, lease, config.older_schema)?)
        }
    })
}
