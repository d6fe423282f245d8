//! Log tables in PostgreSQL: a partition a period, made ahead, and dropped whole once it is archived.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::{StreamExt as _, pin_mut};
use tokio::{runtime::Builder, time::sleep};
use tokio_postgres::{Client, IsolationLevel, Transaction, error::SqlState};

use super::{
    LogError, LogTable, Stopped,
    archive::{Archive, Synced},
};
use crate::{PostgresSettings, StoreError, postgres::Session};

/// Partitions that are there beside that of now: nobody has to make one in a hurry.
const PERIODS_AHEAD: usize = 2;
/// Held by the one node that makes or retires partitions, until its transaction ends.
const ADVISORY_LOCK: i64 = 0x7679_7568_6101;
/// Partitions come and go while nobody uses their table: whoever wants it next waits behind us for so long, whoever reads it for
/// longer is waited for between tries.
const LOCK_TIMEOUT_MS: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(500);
/// Some minutes.
const LOCK_TRIES_MAX: u32 = 600;

/// Makes partitions ahead, archives and drops what is past its time; says how many partitions went.
pub(super) fn keep(
    settings: &PostgresSettings,
    tables: &[LogTable],
    archive_dir: &Path,
    now_ms: i64,
    stopped: &Stopped,
) -> Result<u64, LogError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut session = Session::connect(settings).await?;
        let mut retired = 0;
        for table in tables {
            if !table.is_partitioned {
                retired += retire_rows(&mut session.client, table, archive_dir, now_ms, stopped).await?;
                continue;
            }
            make_ahead(&mut session.client, table, now_ms, stopped).await?;
            for partition in past(&session.client, table, table.cutoff_ms(now_ms)).await? {
                if let Some(file) = retire(&mut session.client, table, &partition, archive_dir, stopped).await? {
                    tracing::info!(partition, file = %file.display(), "a partition past its time was archived and dropped");
                    retired += 1;
                }
            }
        }
        session.abandon().await;
        Ok(retired)
    })
}

async fn make_ahead(
    client: &mut Client,
    table: &LogTable,
    now_ms: i64,
    stopped: &Stopped,
) -> Result<(), LogError> {
    let mut span = table.period.span_of(now_ms);
    for _ in 0..=PERIODS_AHEAD {
        let name = format!("{}_{}", table.name, span.label());
        // Another node may archive for hours: nobody waits for it who has nothing to do.
        if !is_there(client, &name).await? {
            let mut transaction = client.transaction().await?;
            transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&ADVISORY_LOCK]).await?;
            if !is_there(transaction.client(), &name).await? {
                let sql = format!(
                    "CREATE TABLE {name} PARTITION OF {} FOR VALUES FROM ({}) TO ({})",
                    table.name, span.start_ms, span.end_ms
                );
                between_readers(&mut transaction, &sql, stopped).await?;
                tracing::info!(partition = name, "a partition was made ahead");
            }
            transaction.commit().await?;
        }
        span = span.next();
    }
    Ok(())
}

async fn is_there(client: &Client, name: &str) -> Result<bool, LogError> {
    let there = client.query_one("SELECT to_regclass(quote_ident($1)) IS NOT NULL", &[&name]).await?;
    Ok(there.try_get(0)?)
}

/// Runs what takes the whole table for itself, once nobody holds it. Whoever writes into the table waits for moments.
async fn between_readers(
    transaction: &mut Transaction<'_>,
    sql: &str,
    stopped: &Stopped,
) -> Result<(), LogError> {
    let sql = format!("SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; {sql}");
    let mut tries = 1;
    loop {
        stopped.check()?;
        let step = transaction.savepoint("step").await?;
        match step.batch_execute(&sql).await {
            Ok(()) => return Ok(step.commit().await?),
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) && tries < LOCK_TRIES_MAX => {
                step.rollback().await?;
            }
            Err(error) => return Err(error.into()),
        }
        tries += 1;
        sleep(LOCK_PAUSE).await;
    }
}

/// The partitions that end before `cutoff_ms`, the oldest first. Rows without a time are in the default partition, which
/// has no end, and stay.
async fn past(client: &Client, table: &LogTable, cutoff_ms: i64) -> Result<Vec<String>, LogError> {
    let sql = "SELECT c.relname::text, pg_get_expr(c.relpartbound, c.oid)
               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = to_regclass(quote_ident($1))";
    let mut past = Vec::new();
    for row in client.query(sql, &[&table.name]).await? {
        let (name, bounds): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        // "FOR VALUES FROM ('1761955200000') TO ('1764547200000')"
        let end_ms = bounds.split('\'').nth(3).and_then(|end| end.parse::<i64>().ok());
        if let Some(end_ms) = end_ms.filter(|end_ms| *end_ms <= cutoff_ms) {
            past.push((end_ms, name));
        }
    }
    past.sort();
    Ok(past.into_iter().map(|(_, name)| name).collect())
}

/// Archives a partition and drops it, in one transaction: what fails leaves it. `None` where another node is at it.
async fn retire(
    client: &mut Client,
    table: &LogTable,
    partition: &str,
    archive_dir: &Path,
    stopped: &Stopped,
) -> Result<Option<PathBuf>, LogError> {
    let mut transaction = client.transaction().await?;
    let locked = transaction.query_one("SELECT pg_try_advisory_xact_lock($1)", &[&ADVISORY_LOCK]).await?;
    if !locked.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    // Nobody writes into it from here on; copying takes as long as it takes.
    let prepare = format!("SET LOCAL statement_timeout = 0; LOCK TABLE {partition} IN SHARE MODE");
    transaction.batch_execute(&prepare).await?;
    let archive = copy(&transaction, partition, archive_dir, partition.to_owned(), stopped).await?;
    if let Some(carry) = &table.carry {
        transaction.batch_execute(&carry.replace("{rows}", partition)).await?;
    }
    between_readers(&mut transaction, &format!("DROP TABLE {partition}"), stopped).await?;
    // What fails before leaves no archive of rows that stay.
    let file = archive.publish()?;
    transaction.commit().await?;
    Ok(Some(file))
}

/// Archives what is past its time in a table without partitions and deletes it, a period in a transaction; how many periods.
async fn retire_rows(
    client: &mut Client,
    table: &LogTable,
    archive_dir: &Path,
    now_ms: i64,
    stopped: &Stopped,
) -> Result<u64, LogError> {
    let LogTable { name, time_column: time, .. } = table;
    let mut retired = 0;
    loop {
        // What is deleted is what was archived and carried: all three see the same rows.
        let transaction =
            client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
        let locked = transaction.query_one("SELECT pg_try_advisory_xact_lock($1)", &[&ADVISORY_LOCK]).await?;
        if !locked.try_get::<_, bool>(0)? {
            return Ok(retired);
        }
        let sql = format!("SELECT min({time}) FROM {name} WHERE {time} > 0");
        let oldest: Option<i64> = transaction.query_one(&sql, &[]).await?.try_get(0)?;
        let span = oldest.map(|at_ms| table.period.span_of(at_ms));
        let Some(span) = span.filter(|span| span.end_ms <= table.cutoff_ms(now_ms)) else {
            return Ok(retired);
        };
        transaction.batch_execute("SET LOCAL statement_timeout = 0").await?;
        let which = format!("{time} >= {} AND {time} < {}", span.start_ms.max(1), span.end_ms);
        let gone = format!("(SELECT * FROM {name} WHERE {which})");
        let label = format!("{name}_{}", span.label());
        let archive = copy(&transaction, &gone, archive_dir, label, stopped).await?;
        if let Some(carry) = &table.carry {
            transaction.batch_execute(&carry.replace("{rows}", &format!("{gone} AS gone"))).await?;
        }
        transaction.batch_execute(&format!("DELETE FROM {name} WHERE {which}")).await?;
        let file = archive.publish()?;
        transaction.commit().await?;
        tracing::info!(table = name, file = %file.display(), "rows past their time were archived");
        retired += 1;
    }
}

async fn copy(
    transaction: &Transaction<'_>,
    rows: &str,
    archive_dir: &Path,
    label: String,
    stopped: &Stopped,
) -> Result<Synced, LogError> {
    let mut archive = Archive::create(archive_dir, label)?;
    let copied = transaction.copy_out(&format!("COPY {rows} TO STDOUT (FORMAT csv, HEADER)")).await?;
    pin_mut!(copied);
    while let Some(bytes) = copied.next().await {
        stopped.check()?;
        archive.write(&bytes?)?;
    }
    Ok(archive.sync()?)
}

impl From<tokio_postgres::Error> for LogError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(crate::postgres::failed("keep its log tables", &error))
    }
}

impl From<StoreError> for LogError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
