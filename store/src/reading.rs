//! Reading much, over a connection of its own: whoever looks through whole tables holds up neither the persistence thread nor
//! services.
//!
//! Nothing is ever written here. Between [`Reading::begin`] and [`Reading::end`] all queries see one moment of the database.
//! It is to be short: in SQLite it keeps the write-ahead log from being cut, in PostgreSQL no partition of a table that was read
//! can be made or dropped meanwhile, which [`crate::logs`] waits for, and dead rows stay.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, params_from_iter};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};
use vyuha_record::Value;

use crate::{
    PostgresSettings, StoreError,
    logs::LogStore,
    postgres::{Session, failed as postgres_failed, read_row},
    sql::value,
    sqlite::{Bound, failed},
};

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const QUERY: &str = "read its tables";

/// A connection that only reads.
pub struct Reading(Connected);

enum Connected {
    Sqlite(Connection),
    Postgres { runtime: Runtime, session: Session, timeout: Duration },
}

impl Reading {
    /// Connects.
    pub fn open(store: &LogStore) -> Result<Self, StoreError> {
        match store {
            LogStore::Sqlite(path) => Self::sqlite(path),
            LogStore::Postgres(settings) => Self::postgres(settings),
        }
    }

    fn sqlite(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(path).map_err(failed("open its file"))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed("set a timeout"))?;
        connection.pragma_update(None, "query_only", true).map_err(failed("only read"))?;
        Ok(Self(Connected::Sqlite(connection)))
    }

    fn postgres(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(StoreError::Thread)?;
        let session = runtime.block_on(Session::connect(settings))?;
        Ok(Self(Connected::Postgres { runtime, session, timeout: settings.timeout }))
    }

    /// From here on all queries see the database as it is now.
    pub fn begin(&mut self) -> Result<(), StoreError> {
        self.run("BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    }

    /// Sees what is written again.
    pub fn end(&mut self) -> Result<(), StoreError> {
        self.run("COMMIT", "COMMIT")
    }

    /// Whether this connection alone has the lock of a number, for as long as it is open. A file's is free for each.
    pub fn claim(&mut self, lock: i64) -> Result<bool, StoreError> {
        if let Connected::Sqlite(_) = self.0 {
            return Ok(true);
        }
        let claimed = self.query("SELECT pg_try_advisory_lock(?1)::integer::bigint", &[lock.into()])?;
        Ok(claimed == [[Value::Int(1)]])
    }

    /// All rows of a query with numbered parameters (`?1`, `?2`).
    pub fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>, StoreError> {
        match &mut self.0 {
            Connected::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql).map_err(failed(QUERY))?;
                let columns = statement.column_count();
                let mut found =
                    statement.query(params_from_iter(values.iter().map(Bound))).map_err(failed(QUERY))?;
                let mut rows = Vec::new();
                while let Some(row) = found.next().map_err(failed(QUERY))? {
                    let values = (0..columns).map(|index| value(row.get_ref(index).map_err(failed(QUERY))?));
                    rows.push(values.collect::<Result<_, _>>()?);
                }
                Ok(rows)
            }
            Connected::Postgres { runtime, session, timeout: time } => {
                // Within the runtime: a timeout belongs to one.
                let asked = runtime.block_on(async { timeout(*time, session.query(sql, values)).await });
                let rows = asked
                    .map_err(|_| StoreError::TimedOut { action: QUERY, after: *time })?
                    .map_err(|error| postgres_failed(QUERY, &error))?;
                rows.iter().map(read_row).collect()
            }
        }
    }

    fn run(&mut self, sqlite: &str, postgres: &str) -> Result<(), StoreError> {
        match &mut self.0 {
            Connected::Sqlite(connection) => connection.execute_batch(sqlite).map_err(failed(QUERY)),
            Connected::Postgres { runtime, session, timeout: time } => runtime
                .block_on(async { timeout(*time, session.client.batch_execute(postgres)).await })
                .map_err(|_| StoreError::TimedOut { action: QUERY, after: *time })?
                .map_err(|error| postgres_failed(QUERY, &error)),
        }
    }
}
