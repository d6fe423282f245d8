//! The store of a studio: PostgreSQL, over one connection.
//!
//! What frames come to is one pipelined SQL transaction: the position with its fencing token and lease first, then a
//! statement for each table and up to [`ROWS_PER_STATEMENT_MAX`] rows. Nothing waits for an answer but the end, and so
//! the position's statement must fail, not only change nothing, where the node was shut out. What a failed transaction
//! did is never guessed: the connection is given up, and the position says it.
//!
//! A connection is one for the life of the store; after an error that leaves it in doubt it is opened anew.

mod catalog;
mod services;
mod session;
mod settings;
mod sql;

use std::{
    collections::HashMap,
    iter,
    pin::Pin,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};
use tokio_postgres::{
    Client, Error, Row,
    error::{DbError, SqlState},
    types::ToSql,
};
use vyuha_breaker::Breaker;
use vyuha_record::{ColumnType, RecordError, Table, Value};

pub use services::{PostgresSql, TIMEOUT_MAX};
pub(crate) use session::{Session, failed, reason};
pub use settings::{PostgresSettings, StoreUrlError};
pub(crate) use sql::read_row;
use sql::{Array, Bound, NOW_MS};

use crate::{
    BreakerState, Changes, Part, Position, Store, StoreError,
    migrate::{self, Engine, OlderSchema},
    schema,
    store::{check_part, filter_column, find_column},
};

/// Rows of one statement. More gain nothing; the arrays of a statement are in memory at once.
pub const ROWS_PER_STATEMENT_MAX: usize = 4000;
/// Pauses after the database could not be reached, first and greatest.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A transaction that takes too long is given twice the time when it is tried again, up to so many times over: a frame
/// is never split.
const PATIENCE_MAX: u32 = 64;

const APPLY: &str = "apply frames";

/// Who holds a node's position, and for how long at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseTerms {
    /// In words, for whoever is refused: machine, process, directory.
    pub holder: String,
    /// The data directory's own id. Whoever has the directory locked may take the lease back at once: its last holder
    /// is dead.
    pub home: String,
    /// How long it holds without being renewed.
    pub ttl: Duration,
    /// Whether the data directory has a journal: one that was not the last to feed the database must not go on, for
    /// its frames bear the numbers of others.
    pub journal_exists: bool,
}

/// A node's connection to a PostgreSQL database.
pub struct PostgresStore {
    link: Link,
    node: String,
    tables: Vec<Table>,
    /// By table: the key that the database has.
    keys: HashMap<u16, Vec<String>>,
    lease: LeaseTerms,
    epoch: u64,
    /// How many times the usual time [`Store::apply`] is given.
    patience: u32,
    /// Whether rows that are written once take the place of those that are there, against all rules: after it was found that
    /// some are.
    overwrites: bool,
}

/// The connection, opened where it is not.
struct Link {
    runtime: Runtime,
    settings: PostgresSettings,
    session: Option<Session>,
    breaker: Breaker,
    /// What each unique index keeps apart: table and first column.
    unique: HashMap<String, (String, String)>,
}

impl PostgresStore {
    /// Connects, and refuses the database unless its schema is of this version, where wanted after migrating it, and
    /// every table in `tables` is there as declared.
    pub fn open(
        settings: &PostgresSettings,
        node: &str,
        tables: &[Table],
        lease: LeaseTerms,
        older: OlderSchema,
    ) -> Result<Self, StoreError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(StoreError::Thread)?;
        let mut link = Link {
            runtime,
            settings: settings.clone(),
            session: None,
            breaker: Breaker::new(PAUSE_MIN, PAUSE_MAX),
            unique: HashMap::new(),
        };
        link.migrate(older)?;
        let mut keys = HashMap::new();
        let (live, unique) = link.run("show its schema", async |session| {
            let mut live = HashMap::new();
            for table in tables {
                live.insert(table.name, catalog::columns(&session.client, table.name).await?);
            }
            Ok((live, catalog::unique_columns(&session.client).await?))
        })?;
        link.unique = unique;
        let Ok(differences) = schema::differences(tables, sql::type_name, |table| {
            Ok::<_, std::convert::Infallible>(live.get(table).cloned().unwrap_or_default())
        });
        if !differences.is_empty() {
            return Err(StoreError::Schema { differences });
        }
        for table in tables {
            let key = live[table.name].iter().filter(|column| column.key);
            keys.insert(table.id, key.map(|column| column.name.clone()).collect());
        }
        Ok(Self {
            link,
            node: node.into(),
            tables: tables.to_vec(),
            keys,
            lease,
            epoch: 0,
            patience: 1,
            overwrites: false,
        })
    }

    fn known(&self, table: &Table) -> Result<(), StoreError> {
        let known = self.tables.contains(table);
        if known { Ok(()) } else { Err(StoreError::UnknownTable { id: table.id }) }
    }

    fn is_append_only(&self, table: &str) -> bool {
        self.tables.iter().any(|known| known.is_append_only && known.name == table)
    }

    fn fenced(&self, seq: u64) -> StoreError {
        StoreError::Fenced { node: self.node.clone(), epoch: self.epoch, seq }
    }
}

impl Store for PostgresStore {
    fn position(&mut self) -> Result<Position, StoreError> {
        let node = &self.node;
        self.link.read("read the position", async |session| {
            let select = session.prepare("SELECT epoch, seq FROM position WHERE node = $1").await?;
            let row = session.client.query_opt(&select, &[node]).await?;
            row.as_ref().map_or(Ok(Position::default()), position_of)
        })
    }

    fn begin_epoch(&mut self) -> Result<Position, StoreError> {
        let Self { link, node, lease, .. } = self;
        let held_sql = format!("SELECT holder, home, expires_ms - {NOW_MS} FROM position WHERE node = $1");
        // An epoch is above that of every node, so that what is made from it is theirs alone too.
        let begin_sql = format!(
            "INSERT INTO position (node, epoch, seq, holder, home, renewed_ms, expires_ms)
             SELECT $1, COALESCE(max(epoch), 0) + 1, 0, $2, $3, {NOW_MS}, {NOW_MS} + $4 FROM position
             ON CONFLICT (node) DO UPDATE SET epoch = excluded.epoch, holder = excluded.holder,
                 home = excluded.home, renewed_ms = excluded.renewed_ms, expires_ms = excluded.expires_ms
             RETURNING epoch, seq"
        );
        let ttl_ms = lease.ttl.as_millis() as i64;
        let begun = link.run("begin an epoch", async |session| {
            let transaction = session.client.transaction().await?;
            transaction.batch_execute("LOCK TABLE position IN SHARE ROW EXCLUSIVE MODE").await?;
            if let Some(row) = transaction.query_opt(&held_sql, &[node]).await? {
                let (holder, home): (String, String) = (row.try_get(0)?, row.try_get(1)?);
                let left_ms: i64 = row.try_get(2)?;
                if left_ms > 0 && home != lease.home {
                    let (node, expires_in) = (node.clone(), Duration::from_millis(left_ms as u64));
                    return Ok(Err(StoreError::LeaseHeld { node, holder, expires_in }));
                }
                if !home.is_empty() && home != lease.home && lease.journal_exists {
                    return Ok(Err(StoreError::ForeignJournal { node: node.clone(), holder }));
                }
            }
            let row = transaction.query_one(&begin_sql, &[node, &lease.holder, &lease.home, &ttl_ms]).await?;
            let position = position_of(&row)?;
            transaction.commit().await?;
            Ok(Ok(position))
        })?;
        let position = begun?;
        self.epoch = position.epoch;
        Ok(position)
    }

    fn apply(&mut self, changes: &Changes, from: u64, to: u64) -> Result<(), StoreError> {
        // By statement: its SQL and the arrays of its columns.
        let mut statements: Vec<(String, Vec<Array<'_>>)> = Vec::new();
        for changes in &changes.tables {
            let table = &changes.table;
            self.known(table)?;
            changes.upserts.iter().try_for_each(|row| table.check(row))?;
            for keys in changes.deletes.chunks(ROWS_PER_STATEMENT_MAX) {
                statements.push((sql::delete(table), sql::arrays(table.key_columns(), keys)));
            }
            for rows in changes.upserts.chunks(ROWS_PER_STATEMENT_MAX) {
                let put = if table.is_append_only && !self.overwrites {
                    sql::append(table)
                } else {
                    sql::upsert(table, &self.keys[&table.id])
                };
                statements.push((put, sql::arrays(table.columns.iter(), rows)));
            }
        }
        // One row, or an error that takes the whole transaction with it.
        let move_sql = format!(
            "WITH moved AS (UPDATE position SET seq = $1, renewed_ms = {NOW_MS}, expires_ms = {NOW_MS} + $5
                            WHERE node = $2 AND epoch = $3 AND seq = $4 RETURNING 1)
             SELECT 1 / count(*) FROM moved"
        );
        let (node, epoch, ttl_ms) = (&self.node, self.epoch as i64, self.lease.ttl.as_millis() as i64);
        let time = self.link.settings.timeout * self.patience;
        // The session's own timeout is the usual time.
        let begin = match self.patience {
            1 => "BEGIN".to_owned(),
            _ => format!("BEGIN; SET LOCAL statement_timeout = {}", time.as_millis()),
        };
        let applied = self.link.run_within(time, APPLY, async |session| {
            let move_position = session.prepare(&move_sql).await?;
            let mut prepared = Vec::with_capacity(statements.len());
            for (sql, arrays) in &statements {
                let params: Vec<_> = arrays.iter().map(Array::param).collect();
                prepared.push((session.prepare(sql).await?, params));
            }
            let (to, from) = (to as i64, from as i64);
            let position: [&(dyn ToSql + Sync); 5] = [&to, node, &epoch, &from, &ttl_ms];
            let client = &session.client;
            let mut pipeline: Vec<Sent<'_>> = vec![Box::pin(client.batch_execute(&begin))];
            let position = &position;
            let execute = async |statement, params| client.execute(statement, params).await.map(drop);
            pipeline.push(Box::pin(execute(&move_position, &position[..])));
            for (statement, params) in &prepared {
                pipeline.push(Box::pin(execute(statement, params)));
            }
            pipeline.push(Box::pin(client.batch_execute("COMMIT")));
            in_pipeline(pipeline).await
        });
        self.patience = match applied {
            Ok(()) => 1,
            Err(StoreError::TimedOut { action: APPLY, .. }) => (2 * self.patience).min(PATIENCE_MAX),
            Err(_) => self.patience,
        };
        self.overwrites = match &applied {
            Ok(()) => false,
            Err(error @ StoreError::Conflict { table, .. }) if self.is_append_only(table) => {
                tracing::error!(%error, "a row that is written once is there already, and is replaced");
                true
            }
            Err(_) => self.overwrites,
        };
        applied.map_err(|error| self.or_fenced(error, from))
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        // Every commit is synced.
        Ok(())
    }

    fn insert(&mut self, table: &Table, row: &[Value]) -> Result<(), StoreError> {
        self.known(table)?;
        table.check(row)?;
        let insert_sql = sql::insert(table);
        let params: Vec<_> = row.iter().map(Bound).collect();
        let params: Vec<_> = params.iter().map(|bound| bound as &(dyn ToSql + Sync)).collect();
        let (node, epoch) = (&self.node, self.epoch as i64);
        // Nobody takes the node over before this is committed.
        let held_sql = "SELECT 1 / count(*) FROM
            (SELECT 1 FROM position WHERE node = $1 AND epoch = $2 FOR SHARE) held";
        let inserted = self.link.run("insert a row", async |session| {
            let insert = session.prepare(&insert_sql).await?;
            let held = session.prepare(held_sql).await?;
            let client = &session.client;
            let position: [&(dyn ToSql + Sync); 2] = [node, &epoch];
            let execute = async |statement, params| client.execute(statement, params).await.map(drop);
            let mut pipeline: Vec<Sent<'_>> = vec![Box::pin(client.batch_execute("BEGIN"))];
            if epoch != 0 {
                pipeline.push(Box::pin(execute(&held, &position[..])));
            }
            pipeline.push(Box::pin(execute(&insert, &params[..])));
            pipeline.push(Box::pin(client.batch_execute("COMMIT")));
            in_pipeline(pipeline).await
        });
        inserted.map_err(|error| self.or_fenced(error, 0))
    }

    fn select(&mut self, table: &Table, filter: &[(&str, Value)]) -> Result<Vec<Vec<Value>>, StoreError> {
        self.known(table)?;
        for (name, value) in filter {
            filter_column(table, name, value)?;
        }
        let sql = sql::select(table, filter);
        let values = filter.iter().map(|(_, value)| value).filter(|value| **value != Value::Null);
        self.rows(table, &sql, values)
    }

    fn select_part(
        &mut self,
        table: &Table,
        first: &Value,
        part: Part<'_>,
        rows_max: usize,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        self.known(table)?;
        check_part(table, first, part)?;
        let sql = sql::select_part(table, part, rows_max);
        let rest: &[Value] = match part {
            Part::After(rest) => rest,
            Part::Last => &[],
        };
        self.rows(table, &sql, iter::once(first).chain(rest))
    }

    fn max_key(&mut self, table: &Table, column: &str) -> Result<Option<i64>, StoreError> {
        self.known(table)?;
        let (_, found) = find_column(table, column)?;
        if found.ty != ColumnType::Int {
            return Err(StoreError::UnknownColumn { table: table.name.into(), column: column.into() });
        }
        let sql = format!("SELECT max(\"{}\") FROM \"{}\"", found.name, table.name);
        self.link.read("find the greatest key", async |session| {
            let select = session.prepare(&sql).await?;
            session.client.query_one(&select, &[]).await?.try_get(0)
        })
    }

    fn renew_lease(&mut self) -> Result<(), StoreError> {
        let ttl_ms = self.lease.ttl.as_millis() as i64;
        self.extend_lease("renew its lease", ttl_ms)
    }

    fn release_lease(&mut self) -> Result<(), StoreError> {
        self.extend_lease("release its lease", 0)
    }

    fn lease_renewal(&self) -> Option<Duration> {
        // Two may fail.
        Some(self.lease.ttl / 3)
    }

    fn breaker(&self) -> BreakerState {
        self.link.breaker.state(Instant::now())
    }
}

impl PostgresStore {
    /// The rows of a table that a query finds, which names every column.
    fn rows<'a>(
        &mut self,
        table: &Table,
        sql: &str,
        values: impl Iterator<Item = &'a Value>,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        let params: Vec<_> = values.map(Bound).collect();
        let params: Vec<_> = params.iter().map(|bound| bound as &(dyn ToSql + Sync)).collect();
        let rows = self.link.read("select", async |session| {
            let select = session.prepare(sql).await?;
            session.client.query(&select, &params).await
        })?;
        rows.iter().map(|row| values_of(table, row)).collect()
    }

    fn extend_lease(&mut self, action: &'static str, ttl_ms: i64) -> Result<(), StoreError> {
        let (node, epoch) = (&self.node, self.epoch as i64);
        let sql = format!(
            "UPDATE position SET renewed_ms = {NOW_MS}, expires_ms = {NOW_MS} + $3 WHERE node = $1 AND epoch = $2"
        );
        let extended = self.link.run(action, async |session| {
            let update = session.prepare(&sql).await?;
            session.client.execute(&update, &[node, &epoch, &ttl_ms]).await
        })?;
        if extended == 1 { Ok(()) } else { Err(self.fenced(0)) }
    }

    /// A position that did not move divides by the number of rows moved.
    fn or_fenced(&self, error: StoreError, seq: u64) -> StoreError {
        match error {
            StoreError::Postgres { code: Some(code), .. } if code == SqlState::DIVISION_BY_ZERO.code() => {
                self.fenced(seq)
            }
            error => error,
        }
    }
}

impl Link {
    /// Runs `work` on the connection. Where it fails in any way but by a row that is taken, the connection is given
    /// up: what it was doing is in doubt.
    fn run<T>(
        &mut self,
        action: &'static str,
        work: impl AsyncFnOnce(&mut Session) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        self.run_within(self.settings.timeout, action, work)
    }

    fn run_within<T>(
        &mut self,
        time: Duration,
        action: &'static str,
        work: impl AsyncFnOnce(&mut Session) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let Self { runtime, settings, session, breaker, unique } = self;
        breaker.ask(Instant::now()).map_err(|refused| StoreError::Unavailable {
            retry_after: refused.retry_after,
            reason: refused.reason,
        })?;
        let done = runtime.block_on(async {
            if session.is_none() {
                *session = Some(Session::connect(settings).await?);
            }
            let open = session.as_mut().expect("it was opened above");
            let timed_out = StoreError::TimedOut { action, after: time };
            match timeout(time, work(open)).await {
                Ok(Ok(done)) => Ok(done),
                // The database's own clock may be the faster one.
                Ok(Err(error)) if error.code() == Some(&SqlState::QUERY_CANCELED) => Err(timed_out),
                Ok(Err(error)) => {
                    // Partitions are made while the node runs.
                    if is_unknown(&error, unique)
                        && let Ok(Ok(now)) = timeout(time, catalog::unique_columns(&open.client)).await
                    {
                        *unique = now;
                    }
                    Err(conflict(&error, unique).unwrap_or_else(|| failed(action, &error)))
                }
                Err(_) => Err(timed_out),
            }
        });
        match &done {
            Ok(_) | Err(StoreError::Conflict { .. }) => breaker.succeeded(),
            Err(error) => {
                if let Some(session) = session.take() {
                    runtime.block_on(session.abandon());
                }
                if is_outage(error) {
                    breaker.failed(Instant::now(), error.to_string(), rand::random());
                }
            }
        }
        done
    }

    /// Runs work that changes nothing: where a connection has gone meanwhile it is tried once more, on a new one.
    fn read<T>(
        &mut self,
        action: &'static str,
        work: impl AsyncFn(&mut Session) -> Result<T, Error> + Copy,
    ) -> Result<T, StoreError> {
        let was_open = self.session.is_some() && self.breaker.state(Instant::now()) == BreakerState::Closed;
        match self.run(action, work) {
            Err(StoreError::Postgres { .. }) if was_open => {
                self.breaker.succeeded();
                self.run(action, work)
            }
            done => done,
        }
    }

    fn migrate(&mut self, older: OlderSchema) -> Result<(), StoreError> {
        let migrations = migrate::embedded(Engine::Postgres)?;
        let Self { runtime, settings, .. } = self;
        runtime.block_on(async {
            // Of its own: a migration takes as long as it takes.
            let mut session = Session::connect(settings).await?;
            let client = &mut session.client;
            if older == OlderSchema::Migrate {
                migrate::postgres::migrate(client, &migrations, migrate::newest(&migrations)).await?;
            } else {
                migrate::refuse_older(&migrate::postgres::applied(client).await?, &migrations)?;
            }
            session.abandon().await;
            Ok(())
        })
    }
}

/// A statement, once it was polled, and its answer.
type Sent<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;

/// Sends every statement before any is answered, in order, and gives the first error.
async fn in_pipeline(statements: Vec<Sent<'_>>) -> Result<(), Error> {
    // It polls them in order, and a statement is sent when it is polled first.
    join_all(statements).await.into_iter().collect()
}

/// Whether the database cannot be reached or cannot go on, rather than refusing what it was asked.
fn is_outage(error: &StoreError) -> bool {
    match error {
        StoreError::Connect { .. } | StoreError::TimedOut { .. } => true,
        // Too few resources, an operator stepping in (a shutdown), a system error; without a code the connection broke.
        StoreError::Postgres { code, .. } => {
            code.as_deref().is_none_or(|code| ["53", "57", "58"].iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}

fn conflict(error: &Error, unique: &HashMap<String, (String, String)>) -> Option<StoreError> {
    let error = error.as_db_error().filter(|error| *error.code() == SqlState::UNIQUE_VIOLATION)?;
    let (table, column) = unique.get(error.constraint()?)?.clone();
    Some(StoreError::Conflict { table, column })
}

/// Whether a unique index said so that is new.
fn is_unknown(error: &Error, unique: &HashMap<String, (String, String)>) -> bool {
    let violation = error.as_db_error().filter(|error| *error.code() == SqlState::UNIQUE_VIOLATION);
    violation.and_then(DbError::constraint).is_some_and(|index| !unique.contains_key(index))
}

/// The nodes whose leases hold, by name and holder.
pub(crate) async fn live_leases(client: &Client) -> Result<Vec<String>, StoreError> {
    let read = async || {
        let sql = "SELECT count(*) = 2 FROM pg_attribute WHERE attrelid = to_regclass('position')
                   AND attname IN ('holder', 'expires_ms') AND NOT attisdropped";
        if !client.query_one(sql, &[]).await?.try_get::<_, bool>(0)? {
            return Ok(Vec::new());
        }
        let sql =
            format!("SELECT node || ', ' || holder FROM position WHERE expires_ms > {NOW_MS} ORDER BY node");
        client.query(&sql, &[]).await?.iter().map(|row| row.try_get(0)).collect()
    };
    read().await.map_err(|error| failed("look for leases", &error))
}

fn position_of(row: &Row) -> Result<Position, Error> {
    Ok(Position { epoch: row.try_get::<_, i64>(0)? as u64, seq: row.try_get::<_, i64>(1)? as u64 })
}

fn values_of(table: &Table, row: &Row) -> Result<Vec<Value>, StoreError> {
    let value = |(index, column): (usize, &vyuha_record::Column)| {
        let value = match column.ty {
            ColumnType::Int => row.try_get::<_, Option<i64>>(index)?.into(),
            ColumnType::Text => row.try_get::<_, Option<String>>(index)?.into(),
            ColumnType::Blob => row.try_get::<_, Option<Vec<u8>>>(index)?.into(),
        };
        Ok(value)
    };
    let values = table.columns.iter().enumerate().map(value).collect::<Result<Vec<_>, Error>>();
    let values = values.map_err(|error| failed("read a row", &error))?;
    table.check(&values).map(|()| values).map_err(|error: RecordError| error.into())
}
