//! The small durable transactions of account services, in plain SQL, on threads of their own.
//!
//! A statement is portable text with numbered parameters (`?1`, `?2`), which SQLite takes as they are and PostgreSQL as `$1`,
//! `$2`. Transactions come out as if one ran after the other: SQLite runs them so, PostgreSQL undoes one that others were in the
//! way of, which is then tried again. A transaction that is committed is synced. Nothing here is for a shard: those go through
//! the journal.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use rusqlite::{Connection, TransactionBehavior, params_from_iter, types::ValueRef};
use tokio::sync::oneshot;
use vyuha_record::{ColumnType, RecordError, Value};

use crate::{
    StoreError,
    panic::panic_text,
    postgres::TIMEOUT_MAX,
    sqlite::{Bound, conflict, failed},
};

/// How long a transaction waits for another writer of the file: the persistence thread, whose transactions take milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// More than the statements of account services.
const STATEMENTS_MAX: usize = 256;
/// How long a transaction may wait for its turn: whoever asked is told before they give up.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// No further try begins so long after it was asked for; the last one takes [`TIMEOUT_MAX`] at most.
const TRY_FOR: Duration = Duration::from_millis((WAIT_MAX.as_millis() + TIMEOUT_MAX.as_millis()) as u64);
/// How often a transaction is tried in all that others are in the way of.
const TRIES_MAX: u32 = 10;
/// The pause after the first try, which doubles with each further one and is shortened at random.
const PAUSE: Duration = Duration::from_millis(1);

/// A transaction under way.
pub trait SqlTransaction {
    /// Runs a statement; the rows that it changed.
    ///
    /// # Errors
    /// Any: the transaction can then only be given up.
    fn execute(&mut self, sql: &'static str, values: &[Value]) -> Result<u64, StoreError>;

    /// Runs a query; all of its rows.
    fn query(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<SqlRow>, StoreError>;
}

/// A database that runs transactions, used by one thread.
pub trait SqlDatabase: Send {
    /// Begins a transaction, calls `work` once, and commits where that returned `true`.
    ///
    /// # Errors
    /// What failed, within the work (which is given [`StoreError::Undone`]) or around it. Nothing is committed then, unless it
    /// was the commit itself that was left in doubt. [`StoreError::Outrun`] and [`StoreError::Contended`] may be another
    /// transaction's doing: tried again, the work may come to something else.
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

/// The way to a database on threads of its own, which end when the last clone is dropped.
#[derive(Clone)]
pub struct Sql {
    jobs: Sender<Job>,
}

impl Sql {
    /// Starts a thread for each connection to the database. Up to `waiting_max` transactions may wait for one.
    ///
    /// # Errors
    /// Where one cannot be started.
    pub fn start<D: SqlDatabase + 'static>(
        connections: impl IntoIterator<Item = D>,
        waiting_max: usize,
    ) -> Result<Sql, StoreError> {
        let (jobs, queue): (_, Receiver<Job>) = bounded(waiting_max);
        for mut database in connections {
            let queue = queue.clone();
            let run = move || queue.iter().for_each(|job| job(&mut database));
            thread::Builder::new().name("vyuha-sql".into()).spawn(run).map_err(StoreError::Thread)?;
        }
        Ok(Sql { jobs })
    }

    /// Runs one transaction: what `work` returns is committed if it is `Ok`, and undone if not. `work` is called again where
    /// other transactions were in the way of what it did.
    ///
    /// # Errors
    /// What `work` returned, or what failed within or around it.
    pub async fn transaction<T, E>(
        &self,
        work: impl FnMut(&mut dyn SqlTransaction) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<SqlError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let asked = Instant::now();
        let job: Job = Box::new(move |database| {
            // Whoever asked may have gone away, before or after.
            if answer.is_closed() {
                return;
            }
            let late = asked.elapsed() > WAIT_MAX;
            let done = if late {
                Err(SqlError::Busy.into())
            } else {
                run(database, work, || asked.elapsed() < TRY_FOR && !answer.is_closed())
            };
            drop(answer.send(done));
        });
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => SqlError::Busy,
            TrySendError::Disconnected(_) => SqlError::Store(StoreError::Stopped),
        })?;
        answered.await.unwrap_or_else(|_| Err(SqlError::Store(StoreError::Stopped).into()))
    }
}

/// Runs a transaction until nobody is in its way, as long as somebody `waits`.
fn run<T, E: From<SqlError>>(
    database: &mut dyn SqlDatabase,
    mut work: impl FnMut(&mut dyn SqlTransaction) -> Result<T, E>,
    waits: impl Fn() -> bool,
) -> Result<T, E> {
    let mut taken = None;
    for tries in 1.. {
        let mut done = None;
        let transacted = database.transact(&mut |transaction| done.insert(work(transaction)).is_ok());
        let may_go_on = tries < TRIES_MAX && waits();
        match transacted {
            Ok(()) => return done.unwrap_or_else(|| Err(SqlError::Store(StoreError::Stopped).into())),
            Err(StoreError::Outrun) if may_go_on => {}
            Err(StoreError::Contended { table, column, value }) => {
                let found = Some((table.clone(), column.clone(), value));
                // What was taken before this try began is no other's doing: the work did not look.
                if !may_go_on || found == taken {
                    return Err(SqlError::Store(StoreError::Conflict { table, column }).into());
                }
                taken = found;
            }
            Err(error) => return Err(SqlError::Store(error).into()),
        }
        thread::sleep(PAUSE.saturating_mul(1 << (tries - 1)).mul_f64(rand::random()));
    }
    unreachable!("the last try returns")
}

/// Calls `work` with a transaction; whether it is to be committed.
///
/// # Errors
/// The first that a statement met, after which none is run; or that the work panicked.
pub(crate) fn carry_out(
    transaction: &mut dyn SqlTransaction,
    work: &mut dyn FnMut(&mut dyn SqlTransaction) -> bool,
) -> Result<bool, StoreError> {
    let mut guarded = Guarded { transaction, failed: None };
    // The database undoes what was under way, and goes on for others.
    let wanted = catch_unwind(AssertUnwindSafe(|| work(&mut guarded)))
        .map_err(|panic| StoreError::Panicked(panic_text(&*panic)))?;
    guarded.failed.map_or(Ok(wanted), Err)
}

/// A transaction that takes no statement after one that failed.
struct Guarded<'a> {
    transaction: &'a mut dyn SqlTransaction,
    failed: Option<StoreError>,
}

impl Guarded<'_> {
    fn unless_failed<T>(
        &mut self,
        statement: impl FnOnce(&mut dyn SqlTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.failed.is_some() {
            return Err(StoreError::Undone);
        }
        statement(self.transaction).map_err(|error| {
            self.failed = Some(error);
            StoreError::Undone
        })
    }
}

impl SqlTransaction for Guarded<'_> {
    fn execute(&mut self, sql: &'static str, values: &[Value]) -> Result<u64, StoreError> {
        self.unless_failed(|transaction| transaction.execute(sql, values))
    }

    fn query(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<SqlRow>, StoreError> {
        self.unless_failed(|transaction| transaction.query(sql, values))
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
        // Dropped, it is rolled back.
        if carry_out(&mut Open(&transaction), work)? {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A database whose first transactions fail in these ways, the last of them first.
    struct Crowded(Vec<StoreError>);

    struct Nothing;

    impl SqlTransaction for Nothing {
        fn execute(&mut self, _: &'static str, _: &[Value]) -> Result<u64, StoreError> {
            Ok(0)
        }

        fn query(&mut self, _: &'static str, _: &[Value]) -> Result<Vec<SqlRow>, StoreError> {
            Ok(Vec::new())
        }
    }

    impl SqlDatabase for Crowded {
        fn transact(
            &mut self,
            work: &mut dyn FnMut(&mut dyn SqlTransaction) -> bool,
        ) -> Result<(), StoreError> {
            carry_out(&mut Nothing, work)?;
            self.0.pop().map_or(Ok(()), Err)
        }
    }

    fn taken(value: &str) -> StoreError {
        StoreError::Contended { table: "t".into(), column: "c".into(), value: value.into() }
    }

    /// How often the work is called, and what comes of it; nobody waits any more after so many calls.
    fn calls(failures: Vec<StoreError>, waits_for: u32) -> (u32, Result<u32, SqlError>) {
        let calls = std::cell::Cell::new(0);
        let work = |_: &mut dyn SqlTransaction| {
            calls.set(calls.get() + 1);
            Ok(calls.get())
        };
        let done = run(&mut Crowded(failures), work, || calls.get() < waits_for);
        (calls.get(), done)
    }

    #[test]
    fn what_others_are_in_the_way_of_is_tried_again_but_not_for_ever() {
        let outrun = |times: u32| (0..times).map(|_| StoreError::Outrun).collect::<Vec<_>>();
        for (others, waits_for, expected) in [
            (0, 99, Ok(1)),
            (3, 99, Ok(4)),
            (TRIES_MAX - 1, 99, Ok(TRIES_MAX)),
            (TRIES_MAX, 99, Err(TRIES_MAX)),
            // Whoever asked has gone, or is about to give up.
            (3, 2, Err(2)),
        ] {
            let (called, done) = calls(outrun(others), waits_for);
            assert_eq!(done.map_err(|_| called), expected, "{others} others, {waits_for} calls");
        }
    }

    #[test]
    fn what_is_taken_is_tried_again_only_where_another_took_it_just_now() {
        let (called, done) = calls(vec![taken("3"), taken("2"), taken("1")], 99);
        assert_eq!((called, done.unwrap()), (4, 4));
        let (called, done) = calls(vec![taken("1"), taken("1"), taken("1")], 99);
        assert!(called == 2 && matches!(done, Err(SqlError::Store(StoreError::Conflict { .. }))), "{called}");
        // In a file nobody is in between.
        let conflict = || StoreError::Conflict { table: "t".into(), column: "c".into() };
        let (called, done) = calls(vec![conflict(), conflict()], 99);
        assert!(called == 1 && done.is_err(), "{called}");
    }
}
