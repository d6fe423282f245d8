//! The small durable transactions of account services, in plain SQL, on a thread of their own.
//!
//! A statement is portable text with numbered parameters (`?1`, `?2`), which SQLite takes as they are and PostgreSQL as `$1`,
//! `$2`. What must happen once is enforced by the statements themselves (a conditional `UPDATE` that counts its rows, a unique
//! column), never by what was read before. A transaction that is committed is synced. Nothing here is for a shard: those go
//! through the journal.

use std::{path::Path, thread, time::Duration};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use rusqlite::{Connection, TransactionBehavior, params_from_iter, types::ValueRef};
use tokio::sync::oneshot;
use vyuha_record::{ColumnType, RecordError, Value};

use crate::{
    StoreError,
    sqlite::{Bound, conflict, failed},
};

/// How long a transaction waits for another writer of the file: the persistence thread, whose transactions take milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// More than the statements of account services.
const STATEMENTS_MAX: usize = 256;

/// A transaction under way.
pub trait SqlTransaction {
    /// Runs a statement; the rows that it changed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where a key or a unique column is taken: the transaction can then only be given up.
    fn execute(&mut self, sql: &'static str, values: &[Value]) -> Result<u64, StoreError>;

    /// Runs a query; all of its rows.
    fn query(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<SqlRow>, StoreError>;
}

/// A database that runs transactions, used by one thread.
pub trait SqlDatabase: Send {
    /// Begins a transaction, calls `work` once, and commits where that returned `true`.
    ///
    /// # Errors
    /// What failed around the work. Nothing is committed then, unless it was the commit itself that was left in doubt.
    fn transact(&mut self, work: &mut dyn FnMut(&mut dyn SqlTransaction) -> bool) -> Result<(), StoreError>;
}

/// A row that a query found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlRow(pub Vec<Value>);

impl SqlRow {
    /// The integer at `index`.
    pub fn int(&self, index: usize) -> Result<i64, StoreError> {
        self.optional_int(index)?.ok_or_else(|| wrong(ColumnType::Int, None))
    }

    /// The integer at `index`, or null.
    pub fn optional_int(&self, index: usize) -> Result<Option<i64>, StoreError> {
        match self.0.get(index) {
            Some(Value::Int(int)) => Ok(Some(*int)),
            Some(Value::Null) => Ok(None),
            other => Err(wrong(ColumnType::Int, other)),
        }
    }

    /// The text at `index`.
    pub fn text(&self, index: usize) -> Result<String, StoreError> {
        self.optional_text(index)?.ok_or_else(|| wrong(ColumnType::Text, None))
    }

    /// The text at `index`, or null.
    pub fn optional_text(&self, index: usize) -> Result<Option<String>, StoreError> {
        match self.0.get(index) {
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(Value::Null) => Ok(None),
            other => Err(wrong(ColumnType::Text, other)),
        }
    }
}

fn wrong(expected: ColumnType, found: Option<&Value>) -> StoreError {
    let found = found.and_then(Value::ty);
    StoreError::Row(RecordError::WrongType { column: "of a query", expected, found })
}

/// Why a transaction did not happen.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// As many wait as may.
    #[error("too many transactions are waiting: try again in a moment")]
    Busy,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Job = Box<dyn FnOnce(&mut dyn SqlDatabase) + Send>;

/// The way to a database on a thread of its own, which ends when the last clone is dropped.
#[derive(Clone)]
pub struct Sql {
    jobs: Sender<Job>,
}

impl Sql {
    /// Starts the thread. Up to `waiting_max` transactions may wait for it.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(mut database: impl SqlDatabase + 'static, waiting_max: usize) -> Result<Sql, StoreError> {
        let (jobs, queue): (_, Receiver<Job>) = bounded(waiting_max);
        let run = move || queue.iter().for_each(|job| job(&mut database));
        thread::Builder::new().name("vyuha-sql".into()).spawn(run).map_err(StoreError::Thread)?;
        Ok(Sql { jobs })
    }

    /// Runs one transaction: what `work` returns is committed if it is `Ok`, and undone if not.
    ///
    /// # Errors
    /// What `work` returned, or what failed around it.
    pub async fn transaction<T, E>(
        &self,
        work: impl FnOnce(&mut dyn SqlTransaction) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<SqlError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |database| {
            let (mut work, mut done) = (Some(work), None);
            let transacted = database.transact(&mut |transaction| {
                done = work.take().map(|work| work(transaction));
                matches!(done, Some(Ok(_)))
            });
            let result = match (transacted, done) {
                (Ok(()), Some(done)) => done,
                (Ok(()), None) => Err(SqlError::Store(StoreError::Stopped).into()),
                (Err(error), _) => Err(SqlError::Store(error).into()),
            };
            // Whoever asked may have gone away.
            drop(answer.send(result));
        });
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => SqlError::Busy,
            TrySendError::Disconnected(_) => SqlError::Store(StoreError::Stopped),
        })?;
        answered.await.unwrap_or_else(|_| Err(SqlError::Store(StoreError::Stopped).into()))
    }
}

/// A connection of account services to the SQLite file, beside the persistence thread's.
pub struct SqliteSql {
    connection: Connection,
}

impl SqliteSql {
    /// Opens a file that [`crate::SqliteStore`] has brought up to date.
    pub fn open(path: &Path) -> Result<SqliteSql, StoreError> {
        let connection = Connection::open(path).map_err(failed("open its file"))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed("set a timeout"))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        connection.pragma_update(None, "synchronous", "full").map_err(failed("set its durability"))?;
        // The persistence thread alone checkpoints: the journal is cut by what it knows to be synced.
        connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(failed("leave checkpoints"))?;
        Ok(SqliteSql { connection })
    }
}

impl SqlDatabase for SqliteSql {
    fn transact(&mut self, work: &mut dyn FnMut(&mut dyn SqlTransaction) -> bool) -> Result<(), StoreError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed("begin a transaction"))?;
        if work(&mut Open(&transaction)) {
            transaction.commit().map_err(failed("commit"))
        } else {
            transaction.rollback().map_err(failed("roll back"))
        }
    }
}

struct Open<'a>(&'a Connection);

impl SqlTransaction for Open<'_> {
    fn execute(&mut self, sql: &'static str, values: &[Value]) -> Result<u64, StoreError> {
        let mut statement = self.0.prepare_cached(sql).map_err(failed("prepare a statement"))?;
        let changed = statement
            .execute(params_from_iter(values.iter().map(Bound)))
            .map_err(|error| conflict(&error).unwrap_or_else(|| failed("write a row")(error)))?;
        Ok(changed as u64)
    }

    fn query(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<SqlRow>, StoreError> {
        let mut statement = self.0.prepare_cached(sql).map_err(failed("prepare a query"))?;
        let columns = statement.column_count();
        let mut found = statement
            .query(params_from_iter(values.iter().map(Bound)))
            .map_err(|error| conflict(&error).unwrap_or_else(|| failed("query")(error)))?;
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(failed("query"))? {
            let values =
                (0..columns).map(|index| row.get_ref(index).map_err(failed("query")).and_then(value));
            rows.push(SqlRow(values.collect::<Result<_, _>>()?));
        }
        Ok(rows)
    }
}

pub(crate) fn value(value: ValueRef<'_>) -> Result<Value, StoreError> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(int) => Value::Int(int),
        ValueRef::Text(text) => {
            Value::Text(String::from_utf8(text.to_vec()).map_err(|_| StoreError::Row(RecordError::NotUtf8))?)
        }
        ValueRef::Blob(blob) => Value::Blob(blob.to_vec()),
        ValueRef::Real(_) => return Err(wrong(ColumnType::Int, None)),
    })
}
