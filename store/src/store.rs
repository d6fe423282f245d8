//! What the persistence thread asks of a database: to be fed from the journal exactly once, and the
//! small durable transactions of account services.

use std::{iter, time::Duration};

use vyuha_record::{Column, Record, RecordError, Table, Value};

use crate::{BreakerState, JournalError, merge::Changes, migrate::MigrateError};

/// How far a node's journal was applied, and who may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The fencing token: raised by each start of the node; only the latest may apply.
    pub epoch: u64,
    /// The last frame applied.
    pub seq: u64,
}

/// Which of the rows that share the first column of their key [`Store::select_part`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Those whose other columns of the key come after these, in their order.
    After(&'a [Value]),
    /// The last ones, the last first.
    Last,
}

/// A database, used by one thread.
pub trait Store: Send {
    /// The node's position; zeros before its first epoch.
    fn position(&mut self) -> Result<Position, StoreError>;

    /// Raises the node's epoch above every node's, which shuts out every store opened for it before, and returns the
    /// position.
    ///
    /// # Errors
    /// [`StoreError::LeaseHeld`] where another process runs the node, or did until a moment ago.
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

    /// Up to `rows_max` of the rows whose key begins with `first`, by key; what a table that only grows is read by. Frames not
    /// applied yet are not seen.
    ///
    /// # Errors
    /// [`StoreError::Row`] where `part` does not hold a value for each column of the key but the first, or the key has no other.
    fn select_part(
        &mut self,
        table: &Table,
        first: &Value,
        part: Part<'_>,
        rows_max: usize,
    ) -> Result<Vec<Vec<Value>>, StoreError>;

    /// The greatest value of an integer column, if there is a row. Frames not applied yet are not seen.
    fn max_key(&mut self, table: &Table, column: &str) -> Result<Option<i64>, StoreError>;

    /// Says that the node still runs, where others could take it over otherwise. A store that only one process can
    /// open has no need to.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where another has taken over.
    fn renew_lease(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// How often to call [`Self::renew_lease`], if at all; [`Self::apply`] renews it too.
    fn lease_renewal(&self) -> Option<Duration> {
        None
    }

    /// Lets others take the node over at once.
    fn release_lease(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether the database is asked at all; see [`StoreError::Unavailable`].
    fn breaker(&self) -> BreakerState {
        BreakerState::Closed
    }
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
    /// A key or a unique value is taken, perhaps by a transaction that came in between: tried again, the work may see it.
    #[error("`{table}.{column}` is taken, perhaps by another transaction just now")]
    Contended {
        /// The table.
        table: String,
        /// The column; the first of a key of several.
        column: String,
        /// What is taken, as the database says it.
        value: String,
    },
    /// Other transactions were in the way of this one, which was undone.
    #[error("other transactions were in the way of this one: try again")]
    Outrun,
    /// A statement of a transaction failed, or came after one that had: whoever runs the transaction is told why.
    #[error("the transaction was undone")]
    Undone,
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
    /// The database failed.
    #[error("the database cannot {action}: {reason}")]
    Postgres {
        /// What was tried.
        action: &'static str,
        /// What it said.
        reason: String,
        /// Its code (SQLSTATE); `None` where the connection broke.
        code: Option<String>,
    },
    /// The database cannot be reached.
    #[error("cannot connect to the database at {to}: {reason}. To mend it: {mend}")]
    Connect {
        /// Where it should be, and as whom.
        to: String,
        /// What was said.
        reason: String,
        /// What to do.
        mend: &'static str,
    },
    /// The database took too long.
    #[error("the database did not {action} within {after:?}")]
    TimedOut {
        /// What was tried.
        action: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The database failed a moment ago, and is not asked again yet.
    #[error("the database is asked again in {retry_after:?}, after: {reason}")]
    Unavailable {
        /// When it is asked again.
        retry_after: Duration,
        /// The failure.
        reason: String,
    },
    /// Another process runs this node.
    #[error(
        "node `{node}` is run by {holder}, whose lease ends in {expires_in:?} unless it is renewed: stop that one, \
         give this one another name (node.name), or wait"
    )]
    LeaseHeld {
        /// The node's name.
        node: String,
        /// Who has it.
        holder: String,
        /// For how long, as it stands.
        expires_in: Duration,
    },
    /// The data directory's journal is not the one that the database was fed from last.
    #[error(
        "node `{node}` was run last by {holder}, with a journal of its own, which this data directory's does not \
         follow: start that one, or move this directory's journal away where what it holds is to be given up"
    )]
    ForeignJournal {
        /// The node's name.
        node: String,
        /// Who ran it last.
        holder: String,
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
    /// A bug: the thread of the database panicked.
    #[error("the thread of the database panicked: {0}")]
    Panicked(String),
    /// The persistence thread stopped before it could answer.
    #[error("persistence has stopped")]
    Stopped,
}

/// Succeeds where `first` and `part` together can be a key.
pub(crate) fn check_part(table: &Table, first: &Value, part: Part<'_>) -> Result<(), StoreError> {
    let Part::After(rest) = part else {
        let column = table.key_columns().next().expect("a table has a key");
        return Ok(column.check(first)?);
    };
    // Of a key of one column nothing else can come after.
    let (expected, found) = (table.key_columns().count().max(2), 1 + rest.len());
    if expected != found {
        return Err(RecordError::ColumnCount { table: table.name, expected, found }.into());
    }
    let values = iter::once(first).chain(rest);
    Ok(table.key_columns().zip(values).try_for_each(|(column, value)| column.check(value))?)
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
