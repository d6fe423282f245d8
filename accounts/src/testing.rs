//! Databases for the tests of this crate: every test runs on each kind.

use std::time::Duration;

use vyuha_record::Record as _;
use vyuha_store::migrate::OlderSchema;
use vyuha_store::sql::{SqlDatabase, SqlTransaction, SqliteSql};
use vyuha_store::{
    AccountRow, LeaseTerms, PostgresSettings, PostgresSql, PostgresStore, SqliteStore, Store as _,
};
use vyuha_test_postgres::Postgres;

use crate::problem::Problem;

/// A new database of each kind, and a folder that goes with them.
pub fn databases() -> (tempfile::TempDir, Vec<Box<dyn SqlDatabase>>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("world.sqlite");
    drop(SqliteStore::open(&path, "test", &[AccountRow::TABLE], OlderSchema::Migrate).unwrap());
    let file = SqliteSql::open(&path).unwrap();

    let url = Postgres::shared().database();
    let settings = PostgresSettings::new(&url, None, None, None, Duration::from_mins(1)).unwrap();
    let (holder, home) = ("test".to_owned(), "test".to_owned());
    let lease = LeaseTerms { holder, home, ttl: Duration::from_mins(1), journal_exists: false };
    let mut store =
        PostgresStore::open(&settings, "test", &[AccountRow::TABLE], lease, OlderSchema::Migrate).unwrap();
    let epoch = store.begin_epoch().unwrap().epoch;
    let server = PostgresSql::pool(&settings, "test", epoch, 1).unwrap().remove(0);
    (dir, vec![Box::new(file), Box::new(server)])
}

/// Runs a test inside one transaction of a new database of each kind.
#[track_caller]
pub fn with_tx(test: impl Fn(&mut dyn SqlTransaction) -> Result<(), Problem>) {
    let (_dir, databases) = databases();
    for mut database in databases {
        let mut work = |tx: &mut dyn SqlTransaction| {
            test(tx).unwrap();
            false
        };
        database.transact(&mut work).unwrap();
    }
}
