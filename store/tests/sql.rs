//! Transactions of account services, beside the store that the journal feeds: the same on a file and on a server, and a
//! server that is stopped, paused, slow or another process's.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use vyuha_record::{Record, Value};
use vyuha_store::{
    AccountRow, Changes, LeaseTerms, PostgresSettings, PostgresSql, PostgresStore, SERVICE_CONNECTIONS,
    SqliteStore, Store, StoreError,
    migrate::OlderSchema,
    sql::{Sql, SqlError, SqlRow, SqliteSql},
};
use vyuha_test_postgres::Postgres;

const PATIENCE: Duration = Duration::from_mins(1);
/// Far longer than a transaction, far shorter than what any is given.
const AT_ONCE: Duration = Duration::from_millis(700);

fn on_file(path: &Path) -> (Box<dyn Store>, Sql) {
    let mut store = SqliteStore::open(path, "node", &[AccountRow::TABLE], OlderSchema::Migrate).unwrap();
    store.begin_epoch().unwrap();
    (Box::new(store), Sql::start([SqliteSql::open(path).unwrap()], 64).unwrap())
}

fn store_on_server(url: &str) -> (PostgresSettings, PostgresStore, u64) {
    let settings = PostgresSettings::new(url, None, None, None, Duration::from_secs(10)).unwrap();
    let (holder, home) = ("test".to_owned(), "test".to_owned());
    let lease = LeaseTerms { holder, home, ttl: PATIENCE, journal_exists: false };
    let tables = [AccountRow::TABLE];
    let mut store = PostgresStore::open(&settings, "node", &tables, lease, OlderSchema::Migrate).unwrap();
    let epoch = store.begin_epoch().unwrap().epoch;
    (settings, store, epoch)
}

fn on_server(url: &str) -> (PostgresStore, Sql) {
    let (settings, store, epoch) = store_on_server(url);
    let pool = PostgresSql::pool(&settings, "node", epoch, SERVICE_CONNECTIONS).unwrap();
    (store, Sql::start(pool, 64).unwrap())
}

/// A new database of each kind.
fn both(dir: &Path) -> [(Box<dyn Store>, Sql); 2] {
    let (server, sql) = on_server(&Postgres::shared().database());
    [on_file(&dir.join("world.sqlite")), (Box::new(server), sql)]
}

/// Runs a test on a new database of each kind.
fn on_both(test: impl AsyncFn(Sql)) {
    let dir = tempfile::tempdir().unwrap();
    for (store, sql) in both(dir.path()) {
        block_on(test(sql));
        drop(store);
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
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

async fn names(sql: &Sql) -> Result<Vec<String>, SqlError> {
    let rows: Vec<SqlRow> = sql
        .transaction::<_, SqlError>(|tx| Ok(tx.query("SELECT name FROM account ORDER BY id", &[])?))
        .await?;
    Ok(rows.iter().map(|row| row.text(0).unwrap()).collect())
}

/// Runs so many at once; how many came to something.
async fn at_once<F: Future<Output = Result<bool, SqlError>>>(number: i64, work: impl Fn(i64) -> F) -> usize {
    let done = futures_util::future::join_all((1..=number).map(work)).await;
    done.into_iter().map(Result::unwrap).filter(|done| *done).count()
}

#[test]
fn a_transaction_is_committed_whole_or_not_at_all() {
    on_both(async |sql| {
        assert_eq!(insert(&sql, 1, "asha", true).await.unwrap(), 1);
        assert!(matches!(insert(&sql, 2, "ravi", false).await, Err(SqlError::Busy)));
        assert_eq!(names(&sql).await.unwrap(), ["asha"]);
        let taken = insert(&sql, 3, "asha", true).await.unwrap_err();
        assert!(is_conflict(&taken, "name"), "{taken}");
        assert!(is_conflict(&insert(&sql, 1, "mira", true).await.unwrap_err(), "id"));
        let nonsense: Result<Vec<SqlRow>, SqlError> =
            sql.transaction(|tx| Ok(tx.query("SELECT nothing FROM nowhere", &[])?)).await;
        let error = nonsense.unwrap_err();
        let is_answer =
            matches!(error, SqlError::Store(StoreError::Sqlite { .. } | StoreError::Postgres { .. }));
        assert!(is_answer, "{error}");
        assert_eq!(names(&sql).await.unwrap(), ["asha"]);
    });
}

#[test]
fn what_fails_undoes_the_rest_whatever_the_work_makes_of_it() {
    on_both(async |sql| {
        let stubborn: Result<(), SqlError> = sql
            .transaction(|tx| {
                let insert =
                    "INSERT INTO account (id, name, password_hash, created_ms) VALUES (?1, 'x', '', 0)";
                tx.execute(insert, &[1.into()])?;
                assert!(matches!(tx.execute("UPDATE nothing SET x = 1", &[]), Err(StoreError::Undone)));
                assert!(matches!(tx.execute(insert, &[2.into()]), Err(StoreError::Undone)));
                Ok(())
            })
            .await;
        assert!(matches!(stubborn, Err(SqlError::Store(_))), "{stubborn:?}");
        assert!(names(&sql).await.unwrap().is_empty());
    });
}

#[test]
fn a_panic_undoes_its_transaction_alone() {
    on_both(async |sql| {
        for id in 1..10 {
            let panicked: Result<(), SqlError> = sql
                .transaction(move |tx| {
                    let insert =
                        "INSERT INTO account (id, name, password_hash, created_ms) VALUES (?1, 'x', '', 0)";
                    tx.execute(insert, &[id.into()])?;
                    panic!("a bug")
                })
                .await;
            assert!(matches!(panicked, Err(SqlError::Store(StoreError::Panicked(_)))), "{panicked:?}");
        }
        assert!(names(&sql).await.unwrap().is_empty());
        insert(&sql, 1, "asha", true).await.unwrap();
    });
}

/// Two that read the same and write different rows: whoever comes second must see the first.
#[test]
fn of_many_that_find_nobody_one_becomes_the_first() {
    on_both(async |sql| {
        let become_first = async |id: i64| {
            sql.transaction::<_, SqlError>(move |tx| {
                let is_any = !tx.query("SELECT account FROM staff LIMIT 1", &[])?.is_empty();
                // As many as there are connections have read before one writes.
                thread::sleep(Duration::from_millis(20));
                if is_any {
                    return Ok(false);
                }
                let insert = "INSERT INTO staff (account, role, since_ms) VALUES (?1, 'administrator', 0)";
                tx.execute(insert, &[id.into()])?;
                Ok(true)
            })
            .await
        };
        assert_eq!(at_once(20, become_first).await, 1);
        // Now every connection is open.
        sql.transaction::<_, SqlError>(|tx| Ok(tx.execute("DELETE FROM staff", &[])?)).await.unwrap();
        assert_eq!(at_once(20, become_first).await, 1);
    });
}

#[test]
fn numbers_that_follow_the_last_are_given_once_and_to_everybody() {
    on_both(async |sql| {
        let append = async |actor: i64| {
            sql.transaction::<_, SqlError>(move |tx| {
                let last = tx.query("SELECT COALESCE(MAX(id), 0) FROM staff_log", &[])?[0].int(0)?;
                let insert = "INSERT INTO staff_log (id, at_ms, actor, action, subject, detail, chain)
                              VALUES (?1, 0, ?2, '', 0, '', '')";
                tx.execute(insert, &[(last + 1).into(), actor.into()])?;
                Ok(true)
            })
            .await
        };
        assert_eq!(at_once(40, append).await, 40);
        let log: Vec<SqlRow> = sql
            .transaction::<_, SqlError>(|tx| Ok(tx.query("SELECT id FROM staff_log ORDER BY id", &[])?))
            .await
            .unwrap();
        assert_eq!(log, (1..=40).map(|id| SqlRow(vec![Value::Int(id)])).collect::<Vec<_>>());
    });
}

#[test]
fn frames_are_applied_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    for (mut store, sql) in both(dir.path()) {
        let feeding = thread::spawn(move || {
            for seq in 0..50 {
                store.apply(&Changes { tables: Vec::new() }, seq, seq + 1).unwrap();
            }
            store.checkpoint().unwrap();
            store.position().unwrap().seq
        });
        block_on(async {
            for id in 1..=50 {
                insert(&sql, id, &format!("player{id}"), true).await.unwrap();
            }
            assert_eq!(names(&sql).await.unwrap().len(), 50);
        });
        assert_eq!(feeding.join().unwrap(), 50);
    }
}

#[test]
fn a_slow_transaction_holds_up_nobody_else() {
    let (_store, sql) = on_server(&Postgres::shared().database());
    block_on(async {
        let slow = sql.transaction::<_, SqlError>(|tx| {
            tx.query("SELECT name FROM account", &[])?;
            thread::sleep(Duration::from_secs(1));
            Ok(())
        });
        let quick = async {
            let begun = Instant::now();
            for _ in 0..20 {
                names(&sql).await.unwrap();
            }
            begun.elapsed()
        };
        let (slow, quick) = futures_util::future::join(slow, quick).await;
        slow.unwrap();
        assert!(quick < AT_ONCE, "{quick:?}");
    });
}

#[test]
fn a_process_that_was_replaced_changes_nothing() {
    let url = Postgres::shared().database();
    let (_store, sql) = on_server(&url);
    block_on(insert(&sql, 1, "asha", true)).unwrap();
    let (_other, others) = on_server(&url);
    let error = block_on(insert(&sql, 2, "ravi", true)).unwrap_err();
    assert!(matches!(error, SqlError::Store(StoreError::Fenced { epoch: 1, .. })), "{error}");
    assert_eq!(block_on(names(&others)).unwrap(), ["asha"]);
}

/// Waits until transactions are run again.
async fn await_answer(sql: &Sql) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match names(sql).await {
            Ok(names) => return names,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_server_that_comes_back_is_used_again() {
    let mut postgres = Postgres::start();
    let (_store, sql) = on_server(&postgres.database());
    block_on(async {
        insert(&sql, 1, "asha", true).await.unwrap();
        // Gone between two transactions, and back: nobody is told.
        postgres.stop();
        postgres.start_again();
        insert(&sql, 2, "ravi", true).await.unwrap();

        postgres.stop();
        for _ in 0..20 {
            let begun = Instant::now();
            let error = insert(&sql, 3, "mira", true).await.unwrap_err();
            assert!(matches!(error, SqlError::Store(_)) && begun.elapsed() < AT_ONCE, "{error}");
        }
        postgres.start_again();
        assert_eq!(await_answer(&sql).await, ["asha", "ravi"]);

        postgres.pause();
        let begun = Instant::now();
        let waiting = (0..20).map(|id| insert(&sql, 10 + id, "nobody", true));
        let refused = futures_util::future::join_all(waiting).await;
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        postgres.resume();
        // A commit that was under way may have arrived.
        let names = await_answer(&sql).await;
        assert!(names.len() <= 3, "{names:?}");
    });
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
