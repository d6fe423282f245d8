//! Every record of this version against the live schema of both engines: types, nullability, keys, unique columns.

use std::time::Duration;

use vyuha_server::node::tables;
use vyuha_store::migrate::OlderSchema;
use vyuha_store::{LeaseTerms, PostgresSettings, PostgresStore, SqliteStore, StoreError};
use vyuha_test_postgres::Postgres;

#[test]
fn every_record_is_as_the_migrations_made_its_table() {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(&dir.path().join("world.sqlite"), "a", &tables(), OlderSchema::Migrate);
    no_difference("SQLite", sqlite.map(drop));

    let postgres = Postgres::start();
    let (url, timeout) = (postgres.database(), Duration::from_secs(20));
    let settings = PostgresSettings::new(&url, None, None, None, timeout).unwrap();
    let lease = LeaseTerms {
        holder: "this test".to_owned(),
        home: "here".to_owned(),
        ttl: timeout,
        journal_exists: false,
    };
    let store = PostgresStore::open(&settings, "a", &tables(), lease, OlderSchema::Migrate);
    no_difference("PostgreSQL", store.map(drop));
}

fn no_difference(engine: &str, opened: Result<(), StoreError>) {
    match opened {
        Ok(()) => {}
        Err(StoreError::Schema { differences }) => panic!("{engine}:\n  {}", differences.join("\n  ")),
        Err(error) => panic!("{engine}: {error}"),
    }
}
