//! Brings the database's schema to the version that this binary was built for, and back.
//!
//! Migrations are `migrations/NNNN_verb_noun.up.sql` and `.down.sql`, embedded in the binary. Each
//! runs in a transaction of its own, together with its line in `schema_version`, which keeps the
//! SHA-256 of what was run: a migration that was released is never edited.

use std::collections::BTreeMap;

use include_dir::{Dir, include_dir};
use rusqlite::{Connection, TransactionBehavior, params};
use sha2::{Digest as _, Sha256};

static MIGRATIONS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../migrations");

/// One step of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Its number: 1 and up.
    pub version: u32,
    /// What it does, as in the file's name.
    pub name: String,
    /// SQL to go up.
    pub up: String,
    /// SQL to go back down.
    pub down: String,
}

/// Why a schema was not migrated. Nothing was changed by the step that failed.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The files of this binary are not a sequence of pairs.
    #[error("migrations of this build: {0}")]
    Files(String),
    /// The database was migrated by a newer binary.
    #[error(
        "the database has schema version {found}, this version of vyuha knows up to {known}: start the newer \
         version, or migrate down with it first"
    )]
    Newer {
        /// The database's version.
        found: u32,
        /// The newest known here.
        known: u32,
    },
    /// A migration was edited after it was run, or the table of versions was.
    #[error(
        "migration {version} in the database is not the one of this build (its checksum or name differs): \
         released migrations are never edited; use the build that ran it"
    )]
    Changed {
        /// The migration.
        version: u32,
    },
    /// There is no such version.
    #[error("there is no schema version {target}; the newest is {known}")]
    NoSuchVersion {
        /// The version asked for.
        target: u32,
        /// The newest known here.
        known: u32,
    },
    /// A statement failed.
    #[error("migrating the database to schema version {version} failed: {source}")]
    Sqlite {
        /// The version on the way to which it failed.
        version: u32,
        /// What the database said.
        source: rusqlite::Error,
    },
}

/// The migrations of this build, in order.
pub fn embedded() -> Result<Vec<Migration>, MigrateError> {
    let files = MIGRATIONS.files().filter_map(|file| {
        let name = file.path().file_name()?.to_str()?;
        Some((name, file.contents_utf8()?))
    });
    pair(files)
}

/// The newest version there is; 0 where there is none.
pub fn newest(migrations: &[Migration]) -> u32 {
    migrations.last().map_or(0, |migration| migration.version)
}

/// Runs what lies between the database's version and `target`, up or down. Returns the version found.
pub fn migrate(
    connection: &mut Connection,
    migrations: &[Migration],
    target: u32,
) -> Result<u32, MigrateError> {
    let known = newest(migrations);
    if target != 0 && !migrations.iter().any(|migration| migration.version == target) {
        return Err(MigrateError::NoSuchVersion { target, known });
    }
    let found = version(connection, migrations)?;
    let mut current = found;
    while current != target {
        current = step(connection, migrations, target)?;
    }
    Ok(found)
}

/// Runs one migration towards `target`, unless another process was faster. Returns the version
/// reached.
fn step(connection: &mut Connection, migrations: &[Migration], target: u32) -> Result<u32, MigrateError> {
    let failed = |version| move |source| MigrateError::Sqlite { version, source };
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Exclusive).map_err(failed(target))?;
    let current = version(&transaction, migrations)?;
    let reached = match current.cmp(&target) {
        std::cmp::Ordering::Equal => return Ok(current),
        std::cmp::Ordering::Less => {
            let Migration { version, name, up, .. } =
                &migrations[migrations.partition_point(|migration| migration.version <= current)];
            transaction.execute_batch(up).map_err(failed(*version))?;
            transaction
                .execute(
                    "INSERT INTO schema_version (version, name, checksum) VALUES (?1, ?2, ?3)",
                    params![version, name, checksum(up)],
                )
                .map_err(failed(*version))?;
            *version
        }
        std::cmp::Ordering::Greater => {
            let older = &migrations[..migrations.partition_point(|migration| migration.version < current)];
            let reached = newest(older);
            let Migration { version, down, .. } = &migrations[older.len()];
            transaction.execute_batch(down).map_err(failed(reached))?;
            transaction
                .execute("DELETE FROM schema_version WHERE version = ?1", params![version])
                .map_err(failed(reached))?;
            reached
        }
    };
    transaction.commit().map_err(failed(reached))?;
    Ok(reached)
}

/// The database's version, after checking that every migration run is one of `migrations`.
fn version(connection: &Connection, migrations: &[Migration]) -> Result<u32, MigrateError> {
    let failed = |source| MigrateError::Sqlite { version: 0, source };
    connection
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS schema_version (
                version BIGINT PRIMARY KEY NOT NULL,
                name TEXT NOT NULL,
                checksum TEXT NOT NULL
            )",
        )
        .map_err(failed)?;
    let mut select = connection
        .prepare("SELECT version, name, checksum FROM schema_version ORDER BY version")
        .map_err(failed)?;
    let applied: Vec<(u32, String, String)> = select
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .and_then(Iterator::collect)
        .map_err(failed)?;
    let found = applied.last().map_or(0, |(version, ..)| *version);
    if found > newest(migrations) {
        return Err(MigrateError::Newer { found, known: newest(migrations) });
    }
    for ((version, name, sum), expected) in applied.iter().zip(migrations) {
        if (*version, name, sum) != (expected.version, &expected.name, &checksum(&expected.up)) {
            return Err(MigrateError::Changed { version: *version });
        }
    }
    Ok(found)
}

fn checksum(sql: &str) -> String {
    Sha256::digest(sql.as_bytes()).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Makes migrations of `NNNN_verb_noun.up.sql` and `.down.sql` files in any order.
fn pair<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Vec<Migration>, MigrateError> {
    let wrong = |why: String| Err(MigrateError::Files(why));
    let mut pairs: BTreeMap<&str, [Option<&str>; 2]> = BTreeMap::new();
    for (file, sql) in files {
        if let Some(stem) = file.strip_suffix(".up.sql") {
            pairs.entry(stem).or_default()[0] = Some(sql);
        } else if let Some(stem) = file.strip_suffix(".down.sql") {
            pairs.entry(stem).or_default()[1] = Some(sql);
        } else {
            return wrong(format!("{file} ends in neither .up.sql nor .down.sql"));
        }
    }
    let mut migrations = Vec::<Migration>::new();
    for (stem, pair) in pairs {
        let parts = stem.split_once('_').filter(|(number, _)| number.len() == 4);
        let Some((Ok(version), name)) = parts.map(|(number, name)| (number.parse::<u32>(), name)) else {
            return wrong(format!("{stem} is not NNNN_verb_noun"));
        };
        if version <= newest(&migrations) {
            return wrong(format!("{stem} has the number of another"));
        }
        let [Some(up), Some(down)] = pair else {
            return wrong(format!("{stem} lacks its .up.sql or its .down.sql"));
        };
        migrations.push(Migration { version, name: name.into(), up: up.into(), down: down.into() });
    }
    Ok(migrations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(connection: &Connection) -> Vec<String> {
        let sql = "SELECT sql FROM sqlite_schema WHERE name NOT LIKE 'schema_version%' \
                   AND name NOT LIKE 'sqlite_%' ORDER BY name";
        let mut select = connection.prepare(sql).unwrap();
        select.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    fn example(versions: u32) -> Vec<Migration> {
        (1..=versions)
            .map(|version| Migration {
                version,
                name: format!("create_t{version}"),
                up: format!("CREATE TABLE t{version} (id BIGINT PRIMARY KEY NOT NULL)"),
                down: format!("DROP TABLE t{version}"),
            })
            .collect()
    }

    #[test]
    fn the_embedded_ones_go_up_down_and_up() {
        let migrations = embedded().unwrap();
        let versions: Vec<u32> =
            std::iter::once(0).chain(migrations.iter().map(|migration| migration.version)).collect();
        assert!(versions.len() > 1);
        let mut connection = Connection::open_in_memory().unwrap();
        let mut on_the_way = vec![schema(&connection)];
        for step in versions.windows(2) {
            assert_eq!(migrate(&mut connection, &migrations, step[1]).unwrap(), step[0]);
            on_the_way.push(schema(&connection));
            assert_ne!(on_the_way[on_the_way.len() - 1], on_the_way[on_the_way.len() - 2]);
        }
        let newest = newest(&migrations);
        for (version, was) in versions.iter().zip(&on_the_way).rev().skip(1) {
            migrate(&mut connection, &migrations, *version).unwrap();
            assert_eq!(schema(&connection), *was, "down to {version}");
        }
        assert_eq!(migrate(&mut connection, &migrations, newest).unwrap(), 0);
        assert_eq!(schema(&connection), on_the_way[versions.len() - 1]);
        assert_eq!(migrate(&mut connection, &migrations, newest).unwrap(), newest);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &example(3), 3).unwrap();
        let newer = migrate(&mut connection, &example(2), 2).unwrap_err();
        assert!(matches!(newer, MigrateError::Newer { found: 3, known: 2 }), "{newer}");
        let none = migrate(&mut connection, &example(3), 4).unwrap_err();
        assert!(matches!(none, MigrateError::NoSuchVersion { target: 4, known: 3 }), "{none}");
        for edit in [|m: &mut Migration| m.up.push(' '), |m: &mut Migration| m.name.push('s')] {
            let mut edited = example(3);
            edit(&mut edited[1]);
            let changed = migrate(&mut connection, &edited, 3).unwrap_err();
            assert!(matches!(changed, MigrateError::Changed { version: 2 }), "{changed}");
        }
        assert_eq!(schema(&connection).len(), 3);
    }

    #[test]
    fn a_step_that_fails_leaves_the_one_before() {
        let mut migrations = example(3);
        migrations[1].up.push_str("; CREATE TABLE t1 (id BIGINT)");
        let mut connection = Connection::open_in_memory().unwrap();
        let failed = migrate(&mut connection, &migrations, 3).unwrap_err();
        assert!(matches!(failed, MigrateError::Sqlite { version: 2, .. }), "{failed}");
        assert_eq!(schema(&connection).len(), 1);
        assert_eq!(migrate(&mut connection, &example(3), 3).unwrap(), 1);
    }

    #[test]
    fn files_must_be_a_sequence_of_pairs() {
        let check = |files: &[&'static str], says: Option<&str>| {
            let result = pair(files.iter().map(|file| (*file, "")));
            match (result, says) {
                (Ok(migrations), None) => assert_eq!(migrations.len(), files.len() / 2),
                (Err(error), Some(says)) => assert!(error.to_string().contains(says), "{error}"),
                (result, _) => panic!("{files:?}: {result:?}"),
            }
        };
        check(&[], None);
        check(&["0003_b.up.sql", "0001_a.down.sql", "0003_b.down.sql", "0001_a.up.sql"], None);
        check(&["0001_a.up.sql"], Some("lacks"));
        check(&["0001_a.sql"], Some("neither"));
        check(&["1_a.up.sql", "1_a.down.sql"], Some("not NNNN_verb_noun"));
        check(
            &["0001_a.up.sql", "0001_a.down.sql", "0001_b.up.sql", "0001_b.down.sql"],
            Some("0001_b has the number"),
        );
    }
}
