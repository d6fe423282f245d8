//! Brings the database's schema to the version that this binary was built for, and back.
//!
//! Migrations are `migrations/NNNN_verb_noun.up.sql` and `.down.sql`, embedded in the binary; where the engines differ,
//! `NNNN_verb_noun.sqlite.up.sql` and `NNNN_verb_noun.postgres.up.sql` and so on. Each runs in a transaction of its own,
//! one process at a time, together with its line in `schema_version`, which keeps the SHA-256 of what was run: a
//! migration that was released is never edited.

pub mod postgres;
pub mod sqlite;

use std::collections::BTreeMap;

use include_dir::{Dir, include_dir};
use sha2::{Digest as _, Sha256};

static MIGRATIONS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../migrations");

/// What runs the SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

impl Engine {
    /// As in the names of files.
    const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// What to do with a schema that is older than this version's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OlderSchema {
    /// Migrate it.
    Migrate,
    /// Refuse it.
    Refuse,
}

/// One step of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Its number, from 1; greater than that of the one before.
    pub version: u32,
    /// What it does, as in the file's name.
    pub name: String,
    /// SQL to go up.
    pub up: String,
    /// SQL to go back down.
    pub down: String,
}

/// A migration that a database has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub version: u32,
    /// Its name.
    pub name: String,
    /// The SHA-256 of the SQL that was run, in hexadecimal.
    pub checksum: String,
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
         version, or run `vyuha migrate down --to {known}` with it first"
    )]
    Newer {
        /// The database's version.
        found: u32,
        /// The newest known here.
        known: u32,
    },
    /// The database is older, and it is not to be migrated by itself.
    #[error(
        "the database has schema version {found}, this version of vyuha needs {needed}: run `vyuha migrate up`, \
         or set store.migrate to true"
    )]
    Older {
        /// The database's version.
        found: u32,
        /// The version needed.
        needed: u32,
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
    #[error("migrating the database to schema version {version} failed: {reason}")]
    Failed {
        /// The version on the way to which it failed.
        version: u32,
        /// What the database said.
        reason: String,
    },
}

/// The migrations of this build for `engine`, in order.
pub fn embedded(engine: Engine) -> Result<Vec<Migration>, MigrateError> {
    let files = MIGRATIONS.files().filter_map(|file| {
        let name = file.path().file_name()?.to_str()?;
        Some((name, file.contents_utf8()?))
    });
    pair(files, engine)
}

/// The newest version there is; 0 where there is none.
pub fn newest(migrations: &[Migration]) -> u32 {
    migrations.last().map_or(0, |migration| migration.version)
}

/// Succeeds where the database has all of `migrations`.
pub(crate) fn refuse_older(applied: &[Applied], migrations: &[Migration]) -> Result<(), MigrateError> {
    let (found, needed) = (check(applied, migrations)?, newest(migrations));
    if found < needed { Err(MigrateError::Older { found, needed }) } else { Ok(()) }
}

/// One step towards a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step<'a> {
    migration: &'a Migration,
    up: bool,
    /// The version that it leads to.
    reached: u32,
}

/// The next step to `target`; `None` where the database is there. Checks that what the database has is of this build.
fn next_step<'a>(
    applied: &[Applied],
    migrations: &'a [Migration],
    target: u32,
) -> Result<Option<Step<'a>>, MigrateError> {
    let known = newest(migrations);
    let found = check(applied, migrations)?;
    if target != 0 && !migrations.iter().any(|migration| migration.version == target) {
        return Err(MigrateError::NoSuchVersion { target, known });
    }
    Ok(match found.cmp(&target) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Less => {
            let migration = &migrations[applied.len()];
            Some(Step { migration, up: true, reached: migration.version })
        }
        std::cmp::Ordering::Greater => {
            let reached = applied.iter().rev().nth(1).map_or(0, |applied| applied.version);
            Some(Step { migration: &migrations[applied.len() - 1], up: false, reached })
        }
    })
}

/// The version that the database has, after checking that every migration it has is one of `migrations`.
fn check(applied: &[Applied], migrations: &[Migration]) -> Result<u32, MigrateError> {
    let found = applied.last().map_or(0, |applied| applied.version);
    let known = newest(migrations);
    if found > known {
        return Err(MigrateError::Newer { found, known });
    }
    for (index, Applied { version, name, checksum: sum }) in applied.iter().enumerate() {
        let same = migrations.get(index).is_some_and(|expected| {
            (*version, name, sum) == (expected.version, &expected.name, &checksum(&expected.up))
        });
        if !same {
            return Err(MigrateError::Changed { version: *version });
        }
    }
    Ok(found)
}

fn checksum(sql: &str) -> String {
    Sha256::digest(sql.as_bytes()).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Makes migrations of files in any order.
fn pair<'a>(
    files: impl Iterator<Item = (&'a str, &'a str)>,
    engine: Engine,
) -> Result<Vec<Migration>, MigrateError> {
    let wrong = |why: String| Err(MigrateError::Files(why));
    let mut pairs: BTreeMap<&str, [Option<&str>; 2]> = BTreeMap::new();
    for (file, sql) in files {
        let (stem, direction) = if let Some(stem) = file.strip_suffix(".up.sql") {
            (stem, 0)
        } else if let Some(stem) = file.strip_suffix(".down.sql") {
            (stem, 1)
        } else {
            return wrong(format!("{file} ends in neither .up.sql nor .down.sql"));
        };
        let stem = match stem.split_once('.') {
            None => stem,
            Some((stem, of)) if of == engine.name() => stem,
            Some((_, of)) if of == Engine::Sqlite.name() || of == Engine::Postgres.name() => continue,
            Some((_, of)) => return wrong(format!("{file} is for {of}, which is no engine")),
        };
        if pairs.entry(stem).or_default()[direction].replace(sql).is_some() {
            return wrong(format!("{file} is there for all engines and for one"));
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
            return wrong(format!("{stem} lacks its .up.sql or its .down.sql for {}", engine.name()));
        };
        migrations.push(Migration { version, name: name.into(), up: up.into(), down: down.into() });
    }
    Ok(migrations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_must_be_pairs_of_numbers_of_their_own() {
        let check = |files: &[&'static str], says: Result<&[u32], &str>| {
            for engine in [Engine::Sqlite, Engine::Postgres] {
                let result = pair(files.iter().map(|file| (*file, "")), engine);
                match (result, says) {
                    (Ok(migrations), Ok(versions)) => {
                        let found: Vec<_> = migrations.iter().map(|migration| migration.version).collect();
                        assert_eq!(found, versions);
                    }
                    (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
                    (result, _) => panic!("{files:?}: {result:?}"),
                }
            }
        };
        check(&[], Ok(&[]));
        check(&["0003_b.up.sql", "0001_a.down.sql", "0003_b.down.sql", "0001_a.up.sql"], Ok(&[1, 3]));
        let both = ["0001_a.sqlite.up.sql", "0001_a.postgres.up.sql", "0001_a.down.sql"];
        check(&both, Ok(&[1]));
        check(&[&both[..], &["0001_a.up.sql"]].concat(), Err("for all engines and for one"));
        check(&["0001_a.mysql.up.sql"], Err("mysql, which is no engine"));
        check(&["0001_a.up.sql"], Err("lacks"));
        check(&["0001_a.sql"], Err("neither"));
        check(&["1_a.up.sql", "1_a.down.sql"], Err("not NNNN_verb_noun"));
        check(
            &["0001_a.up.sql", "0001_a.down.sql", "0001_b.up.sql", "0001_b.down.sql"],
            Err("0001_b has the number"),
        );
    }

    #[test]
    fn the_embedded_ones_are_the_same_steps_for_both_engines() {
        let names = |engine| -> Vec<_> {
            embedded(engine)
                .unwrap()
                .into_iter()
                .map(|migration| (migration.version, migration.name))
                .collect()
        };
        assert_eq!(names(Engine::Sqlite), names(Engine::Postgres));
        assert_eq!(names(Engine::Sqlite)[0], (1, "create_world".to_owned()));
    }
}
