//! What the persistence thread asks of a database: to be fed from the journal exactly once, and the
//! small durable transactions of account services.

use vyuha_record::{Column, Record, RecordError, Table, Value};

use crate::{JournalError, merge::Changes, migrate::MigrateError};

/// How far a node's journal was applied, and who may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The fencing token: raised by each start of the node; only the latest may apply.
    pub epoch: u64,
    /// The last frame applied.
    pub seq: u64,
}

/// A database, used by one thread.
pub trait Store: Send {
    /// The node's position; zeros before its first epoch.
    fn position(&mut self) -> Result<Position, StoreError>;

    /// Raises the node's epoch, which shuts out every store opened before, and returns the position.
    fn begin_epoch(&mut self) -> Result<Position, StoreError>;

    /// Applies the frames after `from` up to `to`, all or nothing, and moves the position along. It
    /// survives a crash of the process; a crash of the machine only after [`Self::checkpoint`].
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where the position is not at `from` in this store's epoch.
    fn apply(&mut self, changes: &Changes, from: u64, to: u64) -> Result<(), StoreError>;

    /// Syncs everything applied: the journal may forget it.
    fn checkpoint(&mut self) -> Result<(), StoreError>;

    /// Adds a row; it is synced when this returns.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the key or a unique column is taken; where several are, it names
    /// any of them.
    fn insert(&mut self, table: &Table, row: &[Value]) -> Result<(), StoreError>;

    /// The rows in which every named column has the given value (null matches null), by key. Frames
    /// not applied yet are not seen.
    fn select(&mut self, table: &Table, filter: &[(&str, Value)]) -> Result<Vec<Vec<Value>>, StoreError>;

    /// The greatest value of an integer column, if there is a row. Frames not applied yet are not seen.
    fn max_key(&mut self, table: &Table, column: &str) -> Result<Option<i64>, StoreError>;
}

/// [`Store`] for rows with a Rust type.
pub trait TypedStore: Store {
    /// Adds a row; see [`Store::insert`].
    fn insert_row<R: Record>(&mut self, row: &R) -> Result<(), StoreError> {
        self.insert(&R::TABLE, &row.to_values())
    }

    /// Loads rows; see [`Store::select`].
    fn load<R: Record>(&mut self, filter: &[(&str, Value)]) -> Result<Vec<R>, StoreError> {
        let rows = self.select(&R::TABLE, filter)?;
        Ok(rows.iter().map(|row| R::from_values(row)).collect::<Result<_, _>>()?)
    }
}

impl<S: Store + ?Sized> TypedStore for S {}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The position is not where this store left it: another process has taken over, or the last
    /// transaction was committed after all.
    #[error(
        "node `{node}` is not at frame {seq} of epoch {epoch} any more: another process has taken it over. \
         Stop one of the two"
    )]
    Fenced {
        /// The node's name.
        node: String,
        /// This store's epoch; 0 before [`Store::begin_epoch`].
        epoch: u64,
        /// Where it believed the position to be.
        seq: u64,
    },
    /// A key or a unique value is taken.
    #[error("`{table}.{column}` is taken")]
    Conflict {
        /// The table.
        table: String,
        /// The column; the first of a key of several.
        column: String,
    },
    /// A row that does not fit its table, or bytes that are none.
    #[error("a row does not fit its table: {0}")]
    Row(#[from] RecordError),
    /// A table that the store was not opened with.
    #[error("table {id} is unknown to this version")]
    UnknownTable {
        /// The table's number.
        id: u16,
    },
    /// A column that the table does not have, or not with the type that the call needs.
    #[error("`{table}` has no such column `{column}`")]
    UnknownColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The live schema is not what this version was built for.
    #[error("the database does not have the tables that this version needs:\n  {}", differences.join("\n  "))]
    Schema {
        /// Every difference.
        differences: Vec<String>,
    },
    /// The schema could not be brought up to date.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The database failed.
    #[error("the database cannot {action}: {source}")]
    Sqlite {
        /// What was tried.
        action: &'static str,
        /// What it said.
        source: rusqlite::Error,
    },
    /// A reader kept the checkpoint from completing.
    #[error("the checkpoint did not complete: another process is reading the database. Close it")]
    CheckpointBlocked,
    /// The journal could not be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The persistence thread could not be started.
    #[error("cannot start the persistence thread: {0}")]
    Thread(#[source] std::io::Error),
    /// A bug: the persistence thread panicked.
    #[error("the persistence thread panicked: {0}")]
    Panicked(String),
    /// The persistence thread stopped before it could answer.
    #[error("persistence has stopped")]
    Stopped,
}

/// The named column, if the table has it and it can hold `value`.
pub(crate) fn filter_column(
    table: &Table,
    name: &str,
    value: &Value,
) -> Result<(usize, &'static Column), StoreError> {
    let (index, column) = find_column(table, name)?;
    if *value != Value::Null {
        column.check(value)?;
    }
    Ok((index, column))
}

/// The named column, if the table has it.
pub(crate) fn find_column(table: &Table, name: &str) -> Result<(usize, &'static Column), StoreError> {
    let found = table.columns.iter().enumerate().find(|(_, column)| column.name == name);
    found.ok_or_else(|| StoreError::UnknownColumn { table: table.name.into(), column: name.into() })
}
