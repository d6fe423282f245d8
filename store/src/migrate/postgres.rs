//! Migrations of a PostgreSQL database.

use tokio_postgres::{Client, Error};

use super::{Applied, MigrateError, Migration, checksum, next_step};
use crate::postgres::reason;

/// Held by whoever migrates, until the step's transaction ends: session locks would not outlive a transaction pooler.
const ADVISORY_LOCK: i64 = 0x7679_7568_6100;

/// Runs what lies between the database's version and `target`, up or down.
pub async fn migrate(client: &mut Client, migrations: &[Migration], target: u32) -> Result<(), MigrateError> {
    // A step may take long; what it waits for may not, since everybody else queues behind it.
    let limits = "SET statement_timeout = 0; SET lock_timeout = '10s'";
    client.batch_execute(limits).await.map_err(|error| failed(target, &error))?;
    while step(client, migrations, target).await? {}
    Ok(())
}

/// The migrations that the database has, in order.
pub async fn applied(client: &Client) -> Result<Vec<Applied>, MigrateError> {
    let read = async || {
        let exists = client.query_one("SELECT to_regclass('schema_version') IS NOT NULL", &[]).await?;
        if !exists.try_get::<_, bool>(0)? {
            return Ok(Vec::new());
        }
        let rows =
            client.query("SELECT version, name, checksum FROM schema_version ORDER BY version", &[]).await?;
        rows.iter()
            .map(|row| {
                let version = row.try_get::<_, i64>(0)? as u32;
                Ok(Applied { version, name: row.try_get(1)?, checksum: row.try_get(2)? })
            })
            .collect::<Result<_, Error>>()
    };
    read().await.map_err(|error| failed(0, &error))
}

/// Runs one migration towards `target`; false where there is none left, be it that another process was faster.
async fn step(client: &mut Client, migrations: &[Migration], target: u32) -> Result<bool, MigrateError> {
    let locked = async {
        client.batch_execute("BEGIN").await?;
        client.execute("SELECT pg_advisory_xact_lock($1)", &[&ADVISORY_LOCK]).await
    };
    locked.await.map_err(|error| failed(target, &error))?;
    let stepped = step_locked(client, migrations, target).await;
    let end = if matches!(stepped, Ok(true)) { "COMMIT" } else { "ROLLBACK" };
    let ended = client.batch_execute(end).await.map_err(|error| failed(target, &error));
    let stepped = stepped?;
    ended.map(|()| stepped)
}

async fn step_locked(client: &Client, migrations: &[Migration], target: u32) -> Result<bool, MigrateError> {
    let Some(step) = next_step(&applied(client).await?, migrations, target)? else { return Ok(false) };
    let Migration { version, name, up, down } = step.migration;
    let version = i64::from(*version);
    let run = async {
        if step.up {
            client
                .batch_execute(
                    "CREATE TABLE IF NOT EXISTS schema_version (
                        version BIGINT PRIMARY KEY NOT NULL,
                        name TEXT NOT NULL,
                        checksum TEXT NOT NULL
                    )",
                )
                .await?;
            client.batch_execute(up).await?;
            let sql = "INSERT INTO schema_version (version, name, checksum) VALUES ($1, $2, $3)";
            client.execute(sql, &[&version, name, &checksum(up)]).await
        } else {
            client.batch_execute(down).await?;
            client.execute("DELETE FROM schema_version WHERE version = $1", &[&version]).await
        }
    };
    run.await.map_err(|error| failed(step.reached, &error))?;
    Ok(true)
}

fn failed(version: u32, error: &Error) -> MigrateError {
    MigrateError::Failed { version, reason: reason(error) }
}
