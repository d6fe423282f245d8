//! Transactions of account services, on connections of their own beside the persistence thread's.
//!
//! They are serializable: whoever reads what another changes is undone and told so ([`StoreError::Outrun`]). Each belongs to the
//! epoch in which the node was started, and holds off the start of another process under the node's name: one that was
//! replaced changes nothing more. Nothing is asked for longer than [`TIMEOUT_MAX`], and after an outage all connections leave the
//! database alone together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    time::{timeout, timeout_at},
};
use tokio_postgres::{
    Error,
    error::{DbError, SqlState},
    types::ToSql,
};
use vyuha_breaker::Breaker;
use vyuha_record::Value;

use super::{
    PAUSE_MAX, PAUSE_MIN, PostgresSettings, Sent, Session, catalog, conflict, failed, in_pipeline, is_outage,
    read_row,
};
use crate::{
    StoreError,
    sql::{SqlDatabase, SqlRow, SqlTransaction, carry_out},
};

/// How long a transaction may take, from its beginning to its end: whoever waits for it is told before they give up.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3);

const BEGIN: &str = "begin a transaction";

/// The lock is the one that holds off [`super::PostgresStore::begin_epoch`], and neither writes to the position nor others here.
/// Of small tables the index is read as well: what is read is remembered by the page.
const BEGIN_SQL: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE; SET LOCAL enable_seqscan = off; \
                     LOCK TABLE position IN ROW EXCLUSIVE MODE";
/// An error where the node was started again since.
const HELD_SQL: &str = "SELECT 1 / count(*) FROM position WHERE node = $1 AND epoch = $2";

/// A connection of account services.
pub struct PostgresSql {
    runtime: Runtime,
    session: Option<Session>,
    shared: Arc<Shared>,
}

/// What is the same for all connections.
struct Shared {
    settings: PostgresSettings,
    node: String,
    epoch: i64,
    /// What each unique index keeps apart: table and first column.
    unique: HashMap<String, (String, String)>,
    breaker: Mutex<Breaker>,
}

impl PostgresSql {
    /// So many connections to a database that a [`super::PostgresStore`] has brought up to date and begun this epoch of the node in. They are
    /// opened when they are needed. What the database says of itself is asked first, and waited for as long as the settings say.
    ///
    /// # Errors
    /// Where the database cannot be reached.
    pub fn pool(
        settings: &PostgresSettings,
        node: &str,
        epoch: u64,
        connections: usize,
    ) -> Result<Vec<Self>, StoreError> {
        const SCHEMA: &str = "show its schema";
        let unique = new_runtime()?.block_on(async {
            let session = Session::connect(settings).await?;
            let asked = timeout(settings.timeout, catalog::unique_columns(&session.client)).await;
            session.abandon().await;
            let timed_out = StoreError::TimedOut { action: SCHEMA, after: settings.timeout };
            asked.map_err(|_| timed_out)?.map_err(|error| failed(SCHEMA, &error))
        })?;
        let mut settings = settings.clone();
        settings.timeout = settings.timeout.min(TIMEOUT_MAX);
        let breaker = Mutex::new(Breaker::new(PAUSE_MIN, PAUSE_MAX));
        let (node, epoch) = (node.to_owned(), epoch as i64);
        let shared = Arc::new(Shared { settings, node, epoch, unique, breaker });
        let connection = |_| Ok(Self { runtime: new_runtime()?, session: None, shared: shared.clone() });
        (0..connections).map(connection).collect()
    }

    /// A transaction, on a connection that is opened where there is none, or where it has gone since it was used last.
    async fn begin(
        session: &mut Option<Session>,
        shared: &Shared,
        deadline: Instant,
    ) -> Result<Session, StoreError> {
        let was_open = session.is_some();
        let mut open = match session.take() {
            Some(open) => open,
            None => shared.connect(deadline).await?,
        };
        let mut begun = shared.within(deadline, BEGIN, open_transaction(&mut open, shared)).await;
        if was_open && begun.as_ref().is_err_and(is_farewell) {
            open.abandon().await;
            open = shared.connect(deadline).await?;
            begun = shared.within(deadline, BEGIN, open_transaction(&mut open, shared)).await;
        }
        match begun {
            Ok(()) => Ok(open),
            Err(error) => {
                open.abandon().await;
                Err(error)
            }
        }
    }
}

/// Whether a connection had ended before it was asked: without a word, or with the one that a server that stops left on it, which is
/// read where an answer is expected.
fn is_farewell(error: &StoreError) -> bool {
    let StoreError::Postgres { code, .. } = error else { return false };
    code.as_deref().is_none_or(|code| code.starts_with("57P"))
}

impl SqlDatabase for PostgresSql {
    fn transact(&mut self, work: &mut dyn FnMut(&mut dyn SqlTransaction) -> bool) -> Result<(), StoreError> {
        let Self { runtime, session, shared } = self;
        shared.breaker().ask(Instant::now()).map_err(|refused| StoreError::Unavailable {
            retry_after: refused.retry_after,
            reason: refused.reason,
        })?;
        let deadline = Instant::now() + shared.settings.timeout;
        let begun = runtime.block_on(Self::begin(session, shared, deadline));
        let mut begun = begun.map_err(|error| shared.judged(error, true))?;
        let mut open = Open { runtime, session: &mut begun, shared, deadline };
        let worked = carry_out(&mut open, work);
        let last = match worked {
            Ok(true) => "COMMIT",
            Ok(false) | Err(_) => "ROLLBACK",
        };
        let is_broken = matches!(&worked, Err(error) if !is_answer(error));
        let ended = if is_broken {
            Ok(())
        } else {
            open.run("end a transaction", async |session| session.client.batch_execute(last).await)
        };
        // What a connection was doing that failed is in doubt: it is given up.
        if is_broken || matches!(&ended, Err(error) if !is_answer(error)) {
            runtime.block_on(begun.abandon());
        } else {
            *session = Some(begun);
        }
        match worked.map(drop).and(ended) {
            Ok(()) => {
                shared.breaker().succeeded();
                Ok(())
            }
            Err(error) => Err(shared.judged(error, false)),
        }
    }
}

impl Shared {
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        // It is whole after every call.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the breaker of an error. A statement that took too long may be slow by itself; a beginning says how the database is.
    fn judged(&self, error: StoreError, beginning: bool) -> StoreError {
        let slow = matches!(error, StoreError::TimedOut { .. }) && !beginning;
        if is_outage(&error) && !slow {
            self.breaker().failed(Instant::now(), error.to_string(), rand::random());
        }
        error
    }

    async fn connect(&self, deadline: Instant) -> Result<Session, StoreError> {
        let timed_out = StoreError::TimedOut { action: "connect", after: self.settings.timeout };
        timeout_at(deadline.into(), Session::connect(&self.settings)).await.unwrap_or(Err(timed_out))
    }

    async fn within<T>(
        &self,
        deadline: Instant,
        action: &'static str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        let timed_out = || StoreError::TimedOut { action, after: self.settings.timeout };
        let done = timeout_at(deadline.into(), work).await.map_err(|_| timed_out())?;
        done.map_err(|error| match error.code() {
            Some(&SqlState::DIVISION_BY_ZERO) if action == BEGIN => {
                StoreError::Fenced { node: self.node.clone(), epoch: self.epoch as u64, seq: 0 }
            }
            Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED) => {
                StoreError::Outrun
            }
            // The database's own clock may be the faster one.
            Some(&SqlState::QUERY_CANCELED | &SqlState::LOCK_NOT_AVAILABLE) => timed_out(),
            _ => match conflict(&error, &self.unique) {
                Some(StoreError::Conflict { table, column }) => {
                    let value = error.as_db_error().and_then(DbError::detail).unwrap_or_default().to_owned();
                    StoreError::Contended { table, column, value }
                }
                _ => failed(action, &error),
            },
        })
    }
}

/// Whether the database said so, and its connection is as it was.
fn is_answer(error: &StoreError) -> bool {
    match error {
        StoreError::Outrun | StoreError::Contended { .. } | StoreError::Row(_) => true,
        StoreError::Postgres { code, .. } => code.is_some() && !is_outage(error),
        _ => false,
    }
}

fn new_runtime() -> Result<Runtime, StoreError> {
    Builder::new_current_thread().enable_all().build().map_err(StoreError::Thread)
}

async fn open_transaction(session: &mut Session, shared: &Shared) -> Result<(), Error> {
    let held = session.prepare(HELD_SQL).await?;
    let client = &session.client;
    let position: [&(dyn ToSql + Sync); 2] = [&shared.node, &shared.epoch];
    let pipeline: Vec<Sent<'_>> = vec![
        Box::pin(client.batch_execute(BEGIN_SQL)),
        Box::pin(async { client.execute(&held, &position).await.map(drop) }),
    ];
    in_pipeline(pipeline).await
}

/// A transaction.
struct Open<'a> {
    runtime: &'a Runtime,
    session: &'a mut Session,
    shared: &'a Shared,
    deadline: Instant,
}

impl Open<'_> {
    fn run<T>(
        &mut self,
        action: &'static str,
        work: impl AsyncFnOnce(&mut Session) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let Self { runtime, session, shared, deadline } = self;
        runtime.block_on(shared.within(*deadline, action, work(session)))
    }
}

impl SqlTransaction for Open<'_> {
    fn execute(&mut self, sql: &'static str, values: &[Value]) -> Result<u64, StoreError> {
        self.run("write a row", async |session| session.execute(sql, values).await)
    }

    fn query(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<SqlRow>, StoreError> {
        let rows = self.run("query", async |session| session.query(sql, values).await)?;
        rows.iter().map(|row| read_row(row).map(SqlRow)).collect()
    }
}
