//! Durable state of a node: the journal, the thread that feeds a database from it, and the
//! databases.
//!
//! The way of a change: a shard [`Producer::submit`]s its transactions; once [`Producer::durable`]
//! says so they are acknowledged; the persistence thread reads them back from the journal's files,
//! merges them to one image a row, and applies them to the [`Store`] exactly once. [`Durability`]
//! puts the parts together.
//!
//! Nothing here knows a game: tables are data ([`vyuha_record::Table`]).

mod accounts;
pub mod backup;
mod data_dir;
mod durability;
pub mod journal;
pub mod logs;
mod memory;
mod merge;
pub mod migrate;
mod panic;
mod persistence;
mod postgres;
mod reading;
mod schema;
pub mod sql;
mod sqlite;
mod store;

/// The target of the spans that are traces' (level `TRACE`, and nobody's log): what asks for them sends them to a collector. A
/// shard's thread makes none.
pub const TRACE_TARGET: &str = "vyuha::trace";

pub use accounts::AccountRow;
pub use data_dir::{DataDir, DataDirError};
pub use durability::{
    Durability, DurabilityConfig, DurabilityError, OnStopped, SERVICE_CONNECTIONS, StoreConfig,
};
pub use journal::{Batch, Journal, JournalConfig, JournalError, JournalStats, Producer, SubmitError};
pub use memory::{MemoryDatabase, MemoryStore};
pub use merge::{Changes, TableChanges};
#[cfg(feature = "simulation")]
pub use persistence::SteppedPersistence;
pub use persistence::{Handle, LINGER, Persistence, PersistenceConfig, PersistenceStats};
pub use postgres::{LeaseTerms, PostgresSettings, PostgresSql, PostgresStore, StoreUrlError};
pub use reading::Reading;
pub use sqlite::SqliteStore;
pub use store::{Part, Position, Store, StoreError, TypedStore};
pub use vyuha_breaker::BreakerState;
