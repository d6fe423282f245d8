//! Migrations of an SQLite file.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::{Applied, MigrateError, Migration, checksum, next_step};

/// Runs what lies between the database's version and `target`, up or down.
pub fn migrate(
    connection: &mut Connection,
    migrations: &[Migration],
    target: u32,
) -> Result<(), MigrateError> {
    while step(connection, migrations, target)? {}
    Ok(())
}

/// The migrations that the database has, in order.
pub fn applied(connection: &Connection) -> Result<Vec<Applied>, MigrateError> {
    let read = || {
        let exists = connection
            .query_row("SELECT 1 FROM sqlite_schema WHERE name = 'schema_version'", (), |_| Ok(()))
            .optional()?;
        if exists.is_none() {
            return Ok(Vec::new());
        }
        let mut select =
            connection.prepare("SELECT version, name, checksum FROM schema_version ORDER BY version")?;
        select
            .query_map((), |row| {
                Ok(Applied { version: row.get(0)?, name: row.get(1)?, checksum: row.get(2)? })
            })?
            .collect()
    };
    read().map_err(|error| failed(0, &error))
}

/// Runs one migration towards `target`; false where there is none left, be it that another process was faster.
fn step(connection: &mut Connection, migrations: &[Migration], target: u32) -> Result<bool, MigrateError> {
    // Nobody reads or writes meanwhile.
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Exclusive)
        .map_err(|error| failed(target, &error))?;
    let Some(step) = next_step(&applied(&transaction)?, migrations, target)? else { return Ok(false) };
    let Migration { version, name, up, down } = step.migration;
    let run = || {
        if step.up {
            transaction.execute_batch(
                "CREATE TABLE IF NOT EXISTS schema_version (
                    version BIGINT PRIMARY KEY NOT NULL,
                    name TEXT NOT NULL,
                    checksum TEXT NOT NULL
                )",
            )?;
            transaction.execute_batch(up)?;
            transaction.execute(
                "INSERT INTO schema_version (version, name, checksum) VALUES (?1, ?2, ?3)",
                params![version, name, checksum(up)],
            )
        } else {
            transaction.execute_batch(down)?;
            transaction.execute("DELETE FROM schema_version WHERE version = ?1", params![version])
        }
    };
    run().map_err(|error| failed(step.reached, &error))?;
    transaction.commit().map_err(|error| failed(step.reached, &error))?;
    Ok(true)
}

fn failed(version: u32, error: &rusqlite::Error) -> MigrateError {
    MigrateError::Failed { version, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Engine, check, embedded},
        *,
    };

    fn schema(connection: &Connection) -> Vec<String> {
        let sql = "SELECT sql FROM sqlite_schema WHERE name NOT LIKE 'schema_version%' \
                   AND name NOT LIKE 'sqlite_%' ORDER BY name";
        let mut select = connection.prepare(sql).unwrap();
        select.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    /// Numbers 1, 3, 5 and so on.
    fn example(count: u32) -> Vec<Migration> {
        let versions = (0..count).map(|n| 2 * n + 1);
        let migration = |version| Migration {
            version,
            name: format!("create_t{version}"),
            up: format!("CREATE TABLE t{version} (id BIGINT PRIMARY KEY NOT NULL)"),
            down: format!("DROP TABLE t{version}"),
        };
        versions.map(migration).collect()
    }

    #[test]
    fn the_embedded_ones_go_up_down_and_up() {
        let migrations = embedded(Engine::Sqlite).unwrap();
        let versions: Vec<_> = [0].into_iter().chain(migrations.iter().map(|m| m.version)).collect();
        let mut connection = Connection::open_in_memory().unwrap();
        let mut on_the_way = vec![schema(&connection)];
        for migration in &migrations {
            migrate(&mut connection, &migrations, migration.version).unwrap();
            on_the_way.push(schema(&connection));
            // One for the other engine says so, and nothing else.
            let does_something = migration.up.lines().any(|line| !line.starts_with("--"));
            assert_eq!(on_the_way[on_the_way.len() - 1] != on_the_way[on_the_way.len() - 2], does_something);
        }
        for (version, expected) in versions.iter().zip(&on_the_way).rev() {
            migrate(&mut connection, &migrations, *version).unwrap();
            assert_eq!(schema(&connection), *expected, "down to {version}");
        }
        migrate(&mut connection, &migrations, versions[versions.len() - 1]).unwrap();
        assert_eq!(schema(&connection), on_the_way[on_the_way.len() - 1]);
        assert_eq!(check(&applied(&connection).unwrap(), &migrations).unwrap(), versions[versions.len() - 1]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &example(3), 5).unwrap();
        let newer = migrate(&mut connection, &example(2), 3).unwrap_err();
        assert!(matches!(newer, MigrateError::Newer { found: 5, known: 3 }), "{newer}");
        assert!(newer.to_string().contains("vyuha migrate down --to 3"), "{newer}");
        for missing in [4, 6] {
            let none = migrate(&mut connection, &example(3), missing).unwrap_err();
            assert!(matches!(none, MigrateError::NoSuchVersion { known: 5, .. }), "{none}");
        }
        for edit in [|m: &mut Migration| m.up.push(' '), |m: &mut Migration| m.name.push('s')] {
            let mut edited = example(3);
            edit(&mut edited[1]);
            let changed = migrate(&mut connection, &edited, 5).unwrap_err();
            assert!(matches!(changed, MigrateError::Changed { version: 3 }), "{changed}");
        }
        let mut late = example(3);
        late.insert(1, Migration { version: 2, ..late[0].clone() });
        let changed = migrate(&mut connection, &late, 5).unwrap_err();
        assert!(matches!(changed, MigrateError::Changed { version: 3 }), "one came in between: {changed}");
        assert_eq!(schema(&connection).len(), 3);
    }

    #[test]
    fn a_step_that_fails_leaves_the_one_before() {
        let mut migrations = example(3);
        migrations[1].up.push_str("; CREATE TABLE t1 (id BIGINT)");
        let mut connection = Connection::open_in_memory().unwrap();
        let failed = migrate(&mut connection, &migrations, 5).unwrap_err();
        assert!(matches!(failed, MigrateError::Failed { version: 3, .. }), "{failed}");
        assert_eq!(schema(&connection).len(), 1);
        migrate(&mut connection, &example(3), 5).unwrap();
        assert_eq!(schema(&connection).len(), 3);
    }
}
