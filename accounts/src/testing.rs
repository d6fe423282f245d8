//! A database for the tests of this crate.

use vyuha_record::Record as _;
use vyuha_store::sql::{SqlDatabase as _, SqlTransaction, SqliteSql};
use vyuha_store::{AccountRow, SqliteStore};

use crate::problem::Problem;

/// A new database in a folder that goes with it.
pub fn database() -> (tempfile::TempDir, SqliteSql) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("world.sqlite");
    drop(
        SqliteStore::open(&path, "test", &[AccountRow::TABLE], vyuha_store::migrate::OlderSchema::Migrate)
            .unwrap(),
    );
    let database = SqliteSql::open(&path).unwrap();
    (dir, database)
}

/// Runs a test inside one transaction of a new database.
#[track_caller]
pub fn with_tx(test: impl FnOnce(&mut dyn SqlTransaction) -> Result<(), Problem>) {
    let (_dir, mut database) = database();
    let mut test = Some(test);
    database
        .transact(&mut |tx| {
            (test.take().expect("it is called once"))(tx).unwrap();
            false
        })
        .unwrap();
}
