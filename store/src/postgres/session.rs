//! One connection, and what its errors mean.

use std::{collections::HashMap, time::Duration};

use futures_util::TryStreamExt as _;
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{Client, Error, NoTls, Row, Statement, error::SqlState};
use vyuha_record::Value;

use super::{PostgresSettings, sql::Bound};
use crate::StoreError;

/// More than the statements in use: a few for each table.
const STATEMENTS_MAX: usize = 256;
/// PostgreSQL 14: `client_connection_check_interval`.
const SERVER_VERSION_MIN: i32 = 140_000;

/// An open connection.
pub(crate) struct Session {
    pub client: Client,
    statements: HashMap<String, Statement>,
    driver: JoinHandle<()>,
}

impl Session {
    /// Connects, and says how every transaction of the connection is to be.
    pub async fn connect(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let connected = timeout(settings.timeout, Self::open(settings)).await;
        connected.unwrap_or(Err(StoreError::TimedOut { action: "connect", after: settings.timeout }))
    }

    async fn open(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let cannot = |error: Error| cannot_connect(settings, &error);
        // The connection's own error is met by whoever uses the client.
        let (client, driver) = if let Some(tls) = &settings.tls {
            let (client, connection) = settings.config.connect(tls.clone()).await.map_err(cannot)?;
            (client, tokio::spawn(async { drop(connection.await) }))
        } else {
            let (client, connection) = settings.config.connect(NoTls).await.map_err(cannot)?;
            (client, tokio::spawn(async { drop(connection.await) }))
        };
        let version = client.query_one("SHOW server_version_num", &[]).await.map_err(cannot)?;
        let version: &str = version.try_get(0).map_err(cannot)?;
        if version.parse().unwrap_or(0) < SERVER_VERSION_MIN {
            return Err(StoreError::Connect {
                to: settings.to_string(),
                reason: format!("it is PostgreSQL {version}"),
                mend: "use PostgreSQL 14 or newer",
            });
        }
        client.batch_execute(&session_sql(settings.timeout)).await.map_err(cannot)?;
        Ok(Self { client, statements: HashMap::new(), driver })
    }

    /// The statement, prepared once for the connection.
    pub async fn prepare(&mut self, sql: &str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.clear();
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Runs a statement whose parameters are written as SQLite takes them (`?1`). None holds a question mark otherwise.
    pub async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, Error> {
        let statement = self.prepare(&sql.replace('?', "$")).await?;
        self.client.execute_raw(&statement, values.iter().map(Bound)).await
    }

    /// All rows of a query, with parameters as in [`Self::execute`].
    pub async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Error> {
        let statement = self.prepare(&sql.replace('?', "$")).await?;
        self.client.query_raw(&statement, values.iter().map(Bound)).await?.try_collect().await
    }

    /// Gives the connection up at once, whatever is under way.
    pub async fn abandon(self) {
        self.driver.abort();
        let _ = self.driver.await;
    }
}

/// A transaction that hangs, on either side, ends before it can be in the way of the one that follows it for long.
fn session_sql(timeout: Duration) -> String {
    let timeout_ms = timeout.as_millis();
    format!(
        "SET statement_timeout = {timeout_ms}; SET lock_timeout = {timeout_ms}; \
         SET idle_in_transaction_session_timeout = {timeout_ms}; SET client_connection_check_interval = '5s'; \
         SET synchronous_commit = on"
    )
}

/// All that an error says, in one line.
pub(crate) fn reason(error: &Error) -> String {
    let Some(database) = error.as_db_error() else {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        return text;
    };
    let detail = database.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
    format!("{}{detail} [{}]", database.message(), database.code().code())
}

/// What the database said to what was tried.
pub(crate) fn failed(action: &'static str, error: &Error) -> StoreError {
    let code = error.code().map(|code| code.code().to_owned());
    StoreError::Postgres { action, reason: reason(error), code }
}

fn cannot_connect(settings: &PostgresSettings, error: &Error) -> StoreError {
    const PASSWORD: &str = "set store.password_file or the variable PGPASSWORD, or the user in store.url";
    let reason = reason(error);
    let mend = match error.code() {
        Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) if reason.contains("no encryption") => {
            "the database lets nobody in without TLS: write sslmode=require into store.url"
        }
        Some(&SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => PASSWORD,
        Some(&SqlState::INVALID_CATALOG_NAME) => {
            "create the database (createdb), or name another in store.url"
        }
        Some(&SqlState::TOO_MANY_CONNECTIONS) => {
            "raise max_connections in postgresql.conf, or stop what takes them"
        }
        Some(_) => "the database answers, but lets nobody in: see its log",
        None if reason.contains("password missing") => PASSWORD,
        None if reason.contains("certificate") => {
            "set store.ca_file to the certificate that vouches for the database's, and write the name in that \
             certificate as the host in store.url"
        }
        None if reason.contains("TLS") || reason.contains("tls") => {
            "let the database offer TLS (ssl = on), or write sslmode=disable into store.url where the network \
             between is your own"
        }
        None => "start the database, or say in store.url (VYUHA_STORE_URL) where it is",
    };
    StoreError::Connect { to: settings.to_string(), reason, mend }
}
