//! What `vyuha migrate` does, for either engine.

use std::path::Path;

use rusqlite::Connection;
use tokio::runtime::Builder;

use super::{Applied, Engine, MigrateError, Migration, check, embedded, newest, postgres, sqlite};
use crate::{
    PostgresSettings, StoreError,
    postgres::{Session, live_leases},
};

/// A database that is migrated while no node uses it.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// This file, which need not exist yet. Whoever calls holds the lock of its data directory.
    Sqlite(&'a Path),
    /// This server.
    Postgres(&'a PostgresSettings),
}

/// Where a database's schema stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The migrations that it has.
    pub applied: Vec<Applied>,
    /// Those of this build that it lacks, by number and name.
    pub pending: Vec<(u32, String)>,
    /// Why this build can do nothing with it, where that is so.
    pub fault: Option<String>,
}

impl Status {
    /// The version that the database has.
    pub fn version(&self) -> u32 {
        self.applied.last().map_or(0, |applied| applied.version)
    }
}

/// Says where the schema stands, and changes nothing.
pub fn status(target: Target<'_>) -> Result<Status, StoreError> {
    let migrations = embedded(target.engine())?;
    let applied = match target {
        // Opening it would make it.
        Target::Sqlite(path) if !path.exists() => Vec::new(),
        _ => target.with(async |database| database.applied().await)?,
    };
    let fault = check(&applied, &migrations).err().map(|error| error.to_string());
    let pending = migrations.iter().skip(applied.len());
    let pending = pending.map(|migration| (migration.version, migration.name.clone())).collect();
    Ok(Status { applied, pending, fault })
}

/// Migrates up to version `to`, without one to the newest, and says where that led.
///
/// # Errors
/// Where the database is beyond `to`, or a node uses it.
pub fn up(target: Target<'_>, to: Option<u32>) -> Result<Status, StoreError> {
    let migrations = embedded(target.engine())?;
    let to = to.unwrap_or(newest(&migrations));
    target.with(async |database| {
        let found = check(&database.applied().await?, &migrations)?;
        if found > to {
            return Err(MigrateError::WrongWay { found, to, command: "down" }.into());
        }
        database.refuse_users().await?;
        Ok(database.migrate(&migrations, to).await?)
    })?;
    status(target)
}

/// Migrates down to version `to`, and says where that led.
///
/// # Errors
/// Where the database is not that far, a node uses it, or tables that would lose something hold rows and not
/// `lose_data`.
pub fn down(target: Target<'_>, to: u32, lose_data: bool) -> Result<Status, StoreError> {
    let migrations = embedded(target.engine())?;
    target.with(async |database| {
        let found = check(&database.applied().await?, &migrations)?;
        if found < to {
            return Err(MigrateError::WrongWay { found, to, command: "up" }.into());
        }
        database.refuse_users().await?;
        if !lose_data {
            let back = migrations.iter().filter(|migration| (to + 1..=found).contains(&migration.version));
            let mut tables = Vec::new();
            for table in back.flat_map(|migration| losers(&migration.down)) {
                if database.has_rows(&table).await? && !tables.contains(&table) {
                    tables.push(table);
                }
            }
            if !tables.is_empty() {
                return Err(MigrateError::WouldLose { to, tables }.into());
            }
        }
        Ok(database.migrate(&migrations, to).await?)
    })?;
    status(target)
}

/// The tables that SQL drops, or drops columns of.
fn losers(sql: &str) -> Vec<String> {
    let statements = sql.split(';').map(|statement| {
        let lines = statement.lines().filter(|line| !line.trim_start().starts_with("--"));
        lines.flat_map(str::split_whitespace).collect::<Vec<_>>()
    });
    let dropped = |words: &[&str]| match words {
        ["DROP", "TABLE", "IF", "EXISTS", table, ..] | ["DROP", "TABLE", table, ..] => {
            Some((*table).to_owned())
        }
        ["ALTER", "TABLE", table, rest @ ..] if rest.contains(&"DROP") => Some((*table).to_owned()),
        _ => None,
    };
    statements.filter_map(|words| dropped(&words)).collect()
}

impl Target<'_> {
    fn engine(self) -> Engine {
        match self {
            Self::Sqlite(_) => Engine::Sqlite,
            Self::Postgres(_) => Engine::Postgres,
        }
    }

    fn with<T>(
        self,
        work: impl AsyncFnOnce(&mut Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(StoreError::Thread)?;
        runtime.block_on(async {
            let mut database = match self {
                Self::Sqlite(path) => {
                    let opened = Connection::open(path);
                    Database::Sqlite(
                        opened.map_err(|source| StoreError::Sqlite { action: "open its file", source })?,
                    )
                }
                Self::Postgres(settings) => Database::Postgres(Session::connect(settings).await?),
            };
            work(&mut database).await
        })
    }
}

enum Database {
    Sqlite(Connection),
    Postgres(Session),
}

impl Database {
    async fn applied(&self) -> Result<Vec<Applied>, StoreError> {
        Ok(match self {
            Self::Sqlite(connection) => sqlite::applied(connection)?,
            Self::Postgres(session) => postgres::applied(&session.client).await?,
        })
    }

    async fn migrate(&mut self, migrations: &[Migration], to: u32) -> Result<(), MigrateError> {
        match self {
            Self::Sqlite(connection) => sqlite::migrate(connection, migrations, to),
            Self::Postgres(session) => postgres::migrate(&mut session.client, migrations, to).await,
        }
    }

    /// Only one process has a file's directory locked; a server may have many nodes.
    async fn refuse_users(&self) -> Result<(), StoreError> {
        let Self::Postgres(session) = self else { return Ok(()) };
        let nodes = live_leases(&session.client).await?;
        if nodes.is_empty() { Ok(()) } else { Err(MigrateError::InUse { nodes }.into()) }
    }

    /// A table that is not there loses nothing: a step may rename one and drop it by its new name.
    async fn has_rows(&self, table: &str) -> Result<bool, StoreError> {
        const ACTION: &str = "look for rows";
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {table})");
        match self {
            Self::Sqlite(connection) => {
                let look = || {
                    let there = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1)";
                    let is_there = connection.query_row(there, [table], |row| row.get(0))?;
                    if is_there { connection.query_row(&sql, (), |row| row.get(0)) } else { Ok(false) }
                };
                look().map_err(|source| StoreError::Sqlite { action: ACTION, source })
            }
            Self::Postgres(session) => {
                let look = async || {
                    let there = "SELECT to_regclass(quote_ident($1)) IS NOT NULL";
                    let is_there = session.client.query_one(there, &[&table]).await?.try_get(0)?;
                    if is_there { session.client.query_one(&sql, &[]).await?.try_get(0) } else { Ok(false) }
                };
                look().await.map_err(|error| crate::postgres::failed(ACTION, &error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_lost_is_read_from_the_sql() {
        let check = |sql: &str, expected: &[&str]| assert_eq!(losers(sql), expected, "{sql}");
        check("", &[]);
        check("-- DROP TABLE a;\nCREATE TABLE b (id BIGINT);", &[]);
        check("DROP TABLE a; DROP TABLE IF EXISTS b;\n-- and\nDROP TABLE c;", &["a", "b", "c"]);
        check("ALTER TABLE a ADD COLUMN b BIGINT; ALTER TABLE c DROP COLUMN d;", &["c"]);
        check("DROP INDEX a_b;", &[]);
    }

    #[test]
    fn down_asks_before_rows_are_lost_and_up_brings_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sqlite");
        let target = Target::Sqlite(&path);
        let newest = newest(&embedded(Engine::Sqlite).unwrap());
        assert_eq!(status(target).unwrap().version(), 0);
        assert!(!path.exists(), "asking makes nothing");
        assert_eq!(up(target, Some(1)).unwrap().version(), 1);
        let done = up(target, None).unwrap();
        assert_eq!((done.version(), done.pending.len(), done.fault), (newest, 0, None));
        let wrong = up(target, Some(1)).unwrap_err().to_string();
        assert!(wrong.contains("vyuha migrate down --to 1"), "{wrong}");
        // Only the first migration back takes zones away.
        Connection::open(&path).unwrap().execute("INSERT INTO zone VALUES (1, 5)", ()).unwrap();
        let refused = down(target, 0, false).unwrap_err().to_string();
        assert!(refused.contains("zone") && refused.contains("--lose-data"), "{refused}");
        assert_eq!(status(target).unwrap().version(), newest, "nothing was done");
        assert_eq!(down(target, 1, false).unwrap().version(), 1, "what goes is empty");
        let back = down(target, 0, true).unwrap();
        assert_eq!((back.version(), back.pending.len()), (0, embedded(Engine::Sqlite).unwrap().len()));
        let wrong = down(target, 1, true).unwrap_err().to_string();
        assert!(wrong.contains("vyuha migrate up --to 1"), "{wrong}");
    }
}
