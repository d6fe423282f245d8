//! Transactions of account services, beside the store that the journal feeds.

use std::path::Path;

use vyuha_record::{Record, Value};
use vyuha_store::migrate::OlderSchema;
use vyuha_store::sql::{Sql, SqlError, SqlRow, SqliteSql};
use vyuha_store::{AccountRow, Changes, SqliteStore, Store, StoreError};

fn open(path: &Path) -> (SqliteStore, Sql) {
    let store = SqliteStore::open(path, "node", &[AccountRow::TABLE], OlderSchema::Migrate).unwrap();
    (store, Sql::start(SqliteSql::open(path).unwrap(), 8).unwrap())
}

async fn insert(sql: &Sql, id: i64, name: &str, then: bool) -> Result<u64, SqlError> {
    let values = [id.into(), name.into()];
    sql.transaction(move |tx| {
        let sql = "INSERT INTO account (id, name, password_hash, created_ms) VALUES (?1, ?2, '$', 5)";
        let rows = tx.execute(sql, &values)?;
        if then { Ok(rows) } else { Err(SqlError::Busy) }
    })
    .await
}

fn is_conflict(error: &SqlError, of: &str) -> bool {
    matches!(error, SqlError::Store(StoreError::Conflict { table, column }) if table == "account" && column == of)
}

async fn names(sql: &Sql) -> Vec<String> {
    let rows: Result<Vec<SqlRow>, SqlError> =
        sql.transaction(|tx| Ok(tx.query("SELECT name FROM account ORDER BY id", &[])?)).await;
    rows.unwrap().iter().map(|row| row.text(0).unwrap()).collect()
}

#[tokio::test]
async fn a_transaction_is_committed_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, sql) = open(&dir.path().join("world.sqlite"));
    assert_eq!(insert(&sql, 1, "asha", true).await.unwrap(), 1);
    assert!(matches!(insert(&sql, 2, "ravi", false).await, Err(SqlError::Busy)));
    assert_eq!(names(&sql).await, ["asha"]);
    let taken = insert(&sql, 3, "asha", true).await.unwrap_err();
    assert!(is_conflict(&taken, "name"), "{taken}");
    assert!(is_conflict(&insert(&sql, 1, "mira", true).await.unwrap_err(), "id"));
    let nonsense: Result<Vec<SqlRow>, SqlError> =
        sql.transaction(|tx| Ok(tx.query("SELECT nothing FROM nowhere", &[])?)).await;
    assert!(matches!(nonsense, Err(SqlError::Store(StoreError::Sqlite { .. }))));
    assert_eq!(names(&sql).await, ["asha"]);
}

#[tokio::test]
async fn two_connections_write_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, sql) = open(&dir.path().join("world.sqlite"));
    store.begin_epoch().unwrap();
    let feeding = std::thread::spawn(move || {
        for seq in 0..50 {
            store.apply(&Changes { tables: Vec::new() }, seq, seq + 1).unwrap();
        }
        store
    });
    for id in 1..=50 {
        insert(&sql, id, &format!("player{id}"), true).await.unwrap();
    }
    let mut store = feeding.join().unwrap();
    store.checkpoint().unwrap();
    assert_eq!(store.position().unwrap().seq, 50);
    assert_eq!(names(&sql).await.len(), 50);
}

#[test]
fn a_row_of_another_type_is_an_error() {
    let row = SqlRow(vec![Value::Int(7), Value::Text("x".into()), Value::Null]);
    assert_eq!((row.int(0).unwrap(), row.text(1).unwrap()), (7, "x".to_owned()));
    assert_eq!((row.optional_int(2).unwrap(), row.optional_text(2).unwrap()), (None, None));
    for wrong in [row.int(1).map(drop), row.text(0).map(drop), row.int(2).map(drop), row.int(3).map(drop)] {
        assert!(matches!(wrong, Err(StoreError::Row(_))), "{wrong:?}");
    }
}
