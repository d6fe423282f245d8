//! One suite for every store: what holds for PostgreSQL holds for SQLite and for their twin in memory.

mod rows;

use std::{path::PathBuf, time::Duration};

use proptest::prelude::*;
use rows::{CharacterRow, ItemRow, TABLES};
use rusqlite::Connection;
use tempfile::TempDir;
use vyuha_record::{Record, RecordError, Table, Value, record};
use vyuha_store::{
    AccountRow, Changes, LeaseTerms, MemoryDatabase, MemoryStore, Part, Position, PostgresSettings,
    PostgresStore, SqliteStore, Store, StoreError, TableChanges, TypedStore as _,
    migrate::{MigrateError, OlderSchema},
};
use vyuha_test_postgres::Postgres;

record! {
    struct AnyRow in "any_types", table 900 {
        key id: i64,
        key part: String,
        blob: Vec<u8>,
        maybe_int: Option<i64>,
        unique maybe_text: Option<String>,
        maybe_blob: Option<Vec<u8>>,
    }
}

record! {
    struct NoteRow in "note", table 901, append_only {
        key id: i64,
        at_ms: i64,
        text: String,
    }
}

const ANY_SQL: &str = "CREATE TABLE any_types (id BIGINT NOT NULL, part TEXT NOT NULL, blob BLOB NOT NULL, \
    maybe_int BIGINT, maybe_text TEXT UNIQUE, maybe_blob BLOB, PRIMARY KEY (id, part))";

fn tables() -> Vec<Table> {
    [TABLES, &[AnyRow::TABLE]].concat()
}

enum Backend {
    Memory(MemoryDatabase),
    Sqlite(TempDir),
    Postgres(String),
}

impl Backend {
    fn each() -> [Self; 3] {
        [Self::Memory(MemoryDatabase::default()), Self::sqlite(), Self::postgres()].map(|backend| {
            backend.run(ANY_SQL);
            backend
        })
    }

    /// Those with SQL.
    fn each_engine() -> [Self; 2] {
        [Self::sqlite(), Self::postgres()]
    }

    fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    fn postgres() -> Self {
        Self::Postgres(Postgres::shared().database())
    }

    fn open(&self, node: &str) -> Box<dyn Store> {
        self.try_open(node, &tables()).unwrap()
    }

    fn try_open(&self, node: &str, tables: &[Table]) -> Result<Box<dyn Store>, StoreError> {
        self.open_with(node, tables, OlderSchema::Migrate)
    }

    fn open_with(
        &self,
        node: &str,
        tables: &[Table],
        older: OlderSchema,
    ) -> Result<Box<dyn Store>, StoreError> {
        Ok(match self {
            Self::Memory(database) => Box::new(MemoryStore::open(database, node, tables)),
            Self::Sqlite(dir) => Box::new(SqliteStore::open(&path(dir), node, tables, older)?),
            Self::Postgres(url) => {
                Box::new(PostgresStore::open(&settings(url), node, tables, lease("here"), older)?)
            }
        })
    }

    /// Runs SQL written for SQLite, behind the store's back.
    fn run(&self, sql: &str) {
        match self {
            Self::Memory(_) => {}
            Self::Sqlite(dir) => Connection::open(path(dir)).unwrap().execute_batch(sql).unwrap(),
            Self::Postgres(url) => {
                Postgres::shared().psql(url, &sql.replace("BLOB", "BYTEA"));
            }
        }
    }
}

fn path(dir: &TempDir) -> PathBuf {
    dir.path().join("test.sqlite")
}

fn settings(url: &str) -> PostgresSettings {
    PostgresSettings::new(url, None, None, None, Duration::from_secs(20)).unwrap()
}

fn lease(home: &str) -> LeaseTerms {
    LeaseTerms {
        holder: format!("a test at {home}"),
        home: home.into(),
        ttl: Duration::from_secs(15),
        journal_exists: false,
    }
}

fn changes<R: Record>(upserts: &[R], deletes: &[R]) -> Changes {
    let changes = TableChanges {
        table: R::TABLE,
        upserts: upserts.iter().map(Record::to_values).collect(),
        deletes: deletes.iter().map(|row| R::TABLE.key_of(&row.to_values())).collect(),
    };
    Changes { tables: vec![changes] }
}

fn account(id: i64, name: &str) -> AccountRow {
    AccountRow::new(id, name, "$argon2id$", 5)
}

fn character(id: i64, name: &str) -> CharacterRow {
    let (name, name_key) = (name.to_owned(), name.to_lowercase());
    CharacterRow { id, account: 1, name, name_key, zone: 1, x: -4, y: i64::MAX, created_ms: 6 }
}

fn assert_conflict(result: Result<(), StoreError>, table: &str, column: &str) {
    match result {
        Err(StoreError::Conflict { table: t, column: c }) => assert_eq!((&t[..], &c[..]), (table, column)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_position_moves_with_what_is_applied_and_survives() {
    for backend in Backend::each() {
        let mut store = backend.open("a");
        assert_eq!(store.position().unwrap(), Position { epoch: 0, seq: 0 });
        assert_eq!(store.begin_epoch().unwrap(), Position { epoch: 1, seq: 0 });
        store.apply(&changes(&[ItemRow::new(1, 10), ItemRow::new(2, 20)], &[]), 0, 3).unwrap();
        store
            .apply(&changes(&[ItemRow::new(2, 21), ItemRow::new(3, 30)], &[ItemRow::new(1, 0)]), 3, 4)
            .unwrap();
        store.apply(&Changes::default(), 4, 5).unwrap();
        store.checkpoint().unwrap();
        drop(store);
        let mut store = backend.open("a");
        assert_eq!(store.position().unwrap(), Position { epoch: 1, seq: 5 });
        assert_eq!(store.load::<ItemRow>(&[]).unwrap(), [ItemRow::new(2, 21), ItemRow::new(3, 30)]);
        assert_eq!(store.begin_epoch().unwrap(), Position { epoch: 2, seq: 5 });
        let mut other = backend.open("b");
        assert_eq!(other.position().unwrap(), Position::default(), "another node's own");
        assert_eq!(other.begin_epoch().unwrap(), Position { epoch: 3, seq: 0 }, "above every node's");
    }
}

#[test]
fn who_was_replaced_or_lost_count_is_fenced() {
    for backend in Backend::each() {
        let mut old = backend.open("a");
        let change = changes(&[ItemRow::new(1, 1)], &[]);
        assert!(
            matches!(old.apply(&change, 0, 1), Err(StoreError::Fenced { epoch: 0, .. })),
            "no epoch begun"
        );
        old.begin_epoch().unwrap();
        old.apply(&change, 0, 1).unwrap();
        assert!(matches!(old.apply(&change, 0, 1), Err(StoreError::Fenced { seq: 0, .. })), "applied before");
        assert!(
            matches!(old.apply(&change, 2, 3), Err(StoreError::Fenced { seq: 2, .. })),
            "a frame skipped"
        );
        let mut new = backend.open("a");
        new.begin_epoch().unwrap();
        let late = changes(&[ItemRow::new(1, 666)], &[]);
        assert!(matches!(old.apply(&late, 1, 2), Err(StoreError::Fenced { epoch: 1, .. })), "replaced");
        assert!(
            matches!(old.insert_row(&account(1, "late")), Err(StoreError::Fenced { epoch: 1, .. })),
            "replaced"
        );
        new.insert_row(&account(1, "asha")).unwrap();
        new.apply(&changes(&[ItemRow::new(1, 2)], &[]), 1, 2).unwrap();
        assert_eq!(new.load::<ItemRow>(&[]).unwrap(), [ItemRow::new(1, 2)]);
    }
}

#[test]
fn a_transaction_that_fails_leaves_nothing() {
    for backend in Backend::each() {
        let mut store = backend.open("a");
        store.begin_epoch().unwrap();
        store.insert_row(&character(1, "Asha")).unwrap();
        let mut clash = changes(&[character(2, "Bela"), character(3, "ASHA")], &[]);
        clash.tables.extend(changes(&[ItemRow::new(1, 1)], &[]).tables);
        assert_conflict(store.apply(&clash, 0, 1), "character", "name_key");
        assert_eq!(store.position().unwrap().seq, 0);
        assert_eq!(store.load::<CharacterRow>(&[]).unwrap(), [character(1, "Asha")]);
        // A name is free once its holder is deleted, in the same transaction too.
        store.apply(&changes(&[character(3, "ASHA")], &[character(1, "")]), 0, 1).unwrap();
        assert_eq!(store.load::<CharacterRow>(&[]).unwrap(), [character(3, "ASHA")]);
    }
}

#[test]
fn a_row_that_is_written_once_is_replaced_only_after_an_error() {
    let backend = Backend::postgres();
    backend.run(
        "CREATE TABLE note (id BIGINT NOT NULL, at_ms BIGINT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (id, at_ms)) \
         PARTITION BY RANGE (at_ms)",
    );
    backend.run("CREATE TABLE note_default PARTITION OF note DEFAULT");
    let mut store = backend.try_open("a", &[NoteRow::TABLE, CharacterRow::TABLE]).unwrap();
    store.begin_epoch().unwrap();
    // A partition that the store has yet to hear of.
    backend.run("CREATE TABLE note_new PARTITION OF note FOR VALUES FROM (5) TO (6)");
    let note = |id, text: &str| NoteRow { id, at_ms: 5, text: text.into() };
    store.apply(&changes(&[note(1, "one"), note(2, "two")], &[]), 0, 1).unwrap();
    for (seq, text) in [(1, "again"), (2, "and again")] {
        let same = changes(&[note(2, text), note(2 + seq as i64, "new")], &[]);
        let error = store.apply(&same, seq, seq + 1).unwrap_err();
        assert!(matches!(&error, StoreError::Conflict { table, .. } if table == "note"), "{error}");
        assert_eq!(store.position().unwrap().seq, seq);
        store.apply(&same, seq, seq + 1).unwrap();
        let found: Vec<NoteRow> = store.load(&[("id", 2.into())]).unwrap();
        assert_eq!(found, [note(2, text)]);
    }
    assert_eq!(store.load::<NoteRow>(&[]).unwrap().len(), 4);

    // What is taken in another table replaces no note.
    store.apply(&changes(&[character(1, "Asha")], &[]), 3, 4).unwrap();
    let namesake = changes(&[character(2, "Asha")], &[]);
    assert_conflict(store.apply(&namesake, 4, 5), "character", "name_key");
    assert_conflict(store.apply(&changes(&[note(2, "a third time")], &[]), 4, 5), "note", "id");
}

#[test]
fn taken_keys_and_names_are_conflicts() {
    for backend in Backend::each() {
        let mut store = backend.open("a");
        store.insert_row(&account(1, "asha")).unwrap();
        assert_conflict(store.insert_row(&account(1, "bela")), "account", "id");
        assert_conflict(store.insert_row(&account(2, "asha")), "account", "name");
        store.insert_row(&account(2, "Asha")).unwrap();
        let mut any = AnyRow {
            id: 1,
            part: "p".into(),
            blob: vec![0, 255],
            maybe_int: None,
            maybe_text: None,
            maybe_blob: None,
        };
        store.insert_row(&any).unwrap();
        assert_conflict(store.insert_row(&any), "any_types", "id");
        any.part = "q".into();
        store.insert_row(&any).expect("null is never a duplicate");
        assert_eq!(store.load::<AccountRow>(&[]).unwrap(), [account(1, "asha"), account(2, "Asha")]);
    }
}

#[test]
fn filters_choose_rows() {
    for backend in Backend::each() {
        let mut store = backend.open("a");
        for (id, name) in [(3, "Asha"), (1, "Bela"), (2, "Chandra; DROP TABLE item")] {
            store.insert_row(&CharacterRow { account: id / 2, ..character(id, name) }).unwrap();
        }
        let mut check = |filter: &[(&str, Value)], expected: &[i64]| {
            let found = store.load::<CharacterRow>(filter).unwrap();
            assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), expected, "{filter:?}");
        };
        check(&[], &[1, 2, 3]);
        check(&[("account", 1.into())], &[2, 3]);
        check(&[("account", 1.into()), ("name_key", "asha".into())], &[3]);
        check(&[("name", "Chandra; DROP TABLE item".into())], &[2]);
        check(&[("id", 9.into())], &[]);
        check(&[("id", Value::Null)], &[]);
        let missing = store.load::<CharacterRow>(&[("id\" OR 1", 1.into())]);
        assert!(matches!(missing, Err(StoreError::UnknownColumn { .. })), "{missing:?}");
        let mistyped = store.load::<CharacterRow>(&[("id", "1".into())]);
        assert!(matches!(mistyped, Err(StoreError::Row(RecordError::WrongType { .. }))), "{mistyped:?}");
    }
}

#[test]
fn a_table_that_grows_is_read_part_by_part() {
    for backend in Backend::each() {
        let mut store = backend.open("a");
        // By bytes: capitals first, and é last.
        let parts = ["B", "a", "aa", "b", "é"];
        for (id, part) in [1, 2].into_iter().flat_map(|id| parts.iter().rev().map(move |part| (id, *part))) {
            let (blob, maybe_int) = (vec![1], None);
            let row = AnyRow { id, part: part.into(), blob, maybe_int, maybe_text: None, maybe_blob: None };
            store.insert_row(&row).unwrap();
        }
        let mut check = |id: i64, part: Part<'_>, rows_max, expected: &[&str]| {
            let rows = store.select_part(&AnyRow::TABLE, &id.into(), part, rows_max).unwrap();
            let rows: Vec<AnyRow> = rows.iter().map(|row| AnyRow::from_values(row).unwrap()).collect();
            assert!(rows.iter().all(|row| row.id == id));
            assert_eq!(rows.iter().map(|row| row.part.as_str()).collect::<Vec<_>>(), expected, "{part:?}");
        };
        check(1, Part::After(&["".into()]), 9, &parts);
        check(1, Part::After(&["".into()]), 2, &["B", "a"]);
        check(2, Part::After(&["a".into()]), 9, &["aa", "b", "é"]);
        check(2, Part::After(&["az".into()]), 9, &["b", "é"]);
        check(2, Part::After(&["é".into()]), 9, &[]);
        check(2, Part::After(&["".into()]), 0, &[]);
        check(1, Part::Last, 2, &["é", "b"]);
        check(3, Part::Last, 2, &[]);
        let mut refused = |table: &Table, first: Value, part: Part<'_>| {
            let refused = store.select_part(table, &first, part, 1);
            assert!(matches!(refused, Err(StoreError::Row(_))), "{part:?}: {refused:?}");
        };
        refused(&AnyRow::TABLE, "1".into(), Part::Last);
        refused(&AnyRow::TABLE, 1.into(), Part::After(&[]));
        refused(&AnyRow::TABLE, 1.into(), Part::After(&[1.into()]));
        refused(&AnyRow::TABLE, 1.into(), Part::After(&["a".into(), "b".into()]));
        refused(&ItemRow::TABLE, 1.into(), Part::After(&[]));
    }
}

#[test]
fn the_greatest_key_is_found() {
    for backend in Backend::each() {
        let mut store = backend.open("a");
        assert_eq!(store.max_key(&AccountRow::TABLE, "id").unwrap(), None);
        store.insert_row(&account(-3, "a")).unwrap();
        assert_eq!(store.max_key(&AccountRow::TABLE, "id").unwrap(), Some(-3));
        store.insert_row(&account(i64::MAX, "b")).unwrap();
        assert_eq!(store.max_key(&AccountRow::TABLE, "id").unwrap(), Some(i64::MAX));
        for column in ["name", "nothing"] {
            let refused = store.max_key(&AccountRow::TABLE, column);
            assert!(matches!(refused, Err(StoreError::UnknownColumn { .. })), "{refused:?}");
        }
    }
}

#[test]
fn what_does_not_fit_the_table_is_refused() {
    record! { struct StrangeRow in "strange", table 950 { key id: i64 } }
    for backend in Backend::each() {
        let mut store = backend.open("a");
        store.begin_epoch().unwrap();
        let short = store.insert(&AccountRow::TABLE, &[1.into()]);
        assert!(matches!(short, Err(StoreError::Row(RecordError::ColumnCount { .. }))), "{short:?}");
        let null =
            [1.into(), Value::Null, "".into(), 0.into(), Value::Null, Value::Null, Value::Null, Value::Null];
        let mut bad = changes::<AccountRow>(&[], &[]);
        bad.tables[0].upserts.push(null.to_vec());
        for refused in [store.insert(&AccountRow::TABLE, &null), store.apply(&bad, 0, 1)] {
            assert!(matches!(refused, Err(StoreError::Row(RecordError::WrongType { .. }))), "{refused:?}");
        }
        let unknown = [
            store.insert_row(&StrangeRow { id: 1 }),
            store.apply(&changes(&[StrangeRow { id: 1 }], &[]), 0, 1),
            store.load::<StrangeRow>(&[]).map(drop),
            store.max_key(&StrangeRow::TABLE, "id").map(drop),
        ];
        for refused in unknown {
            assert!(matches!(refused, Err(StoreError::UnknownTable { id: 950 })), "{refused:?}");
        }
    }
}

#[test]
fn every_difference_of_the_schema_is_listed() {
    record! {
        struct WrongRow in "item", table 3 {
            key id: i64,
            key kind: i64,
            count: String,
            unique place: i64,
            owner: Option<i64>,
            slot: i64,
            x: i64,
            z: i64,
            wear: i64,
        }
    }
    record! { struct MissingRow in "missing", table 4 { key id: i64 } }
    record! { struct TwinRow in "missing", table 5 { key id: i64 } }
    for backend in Backend::each_engine() {
        backend.try_open("a", TABLES).unwrap();
        let refused = backend.try_open("a", &[WrongRow::TABLE, MissingRow::TABLE, TwinRow::TABLE]);
        let Err(StoreError::Schema { differences }) = refused.map(drop) else { panic!("it opens") };
        let expected = [
            "column `item.kind` is not part of the key in the database, declared part of the key",
            "column `item.count` is BIGINT, declared TEXT",
            "column `item.place` is not unique in the database, declared unique",
            "column `item.owner` is not nullable in the database, declared nullable",
            "column `item.z` is missing",
            "column `item.y` is not declared",
            "table `missing` is missing",
            "`missing` and `missing` share a number or a name",
            "table `missing` is missing",
        ];
        assert_eq!(differences, expected);
    }
}

#[test]
fn a_schema_of_another_version_is_refused() {
    for backend in Backend::each_engine() {
        let refused = backend.open_with("a", TABLES, OlderSchema::Refuse).map(drop).unwrap_err();
        assert!(matches!(refused, StoreError::Migrate(MigrateError::Older { found: 0, .. })), "{refused}");
        assert!(refused.to_string().contains("vyuha migrate up"), "{refused}");
        backend.try_open("a", TABLES).unwrap();
        backend.open_with("a", TABLES, OlderSchema::Refuse).unwrap();
        backend.run("INSERT INTO schema_version VALUES (9999, 'create_future', '')");
        for older in [OlderSchema::Migrate, OlderSchema::Refuse] {
            let refused = backend.open_with("a", TABLES, older).map(drop).unwrap_err();
            assert!(
                matches!(refused, StoreError::Migrate(MigrateError::Newer { found: 9999, .. })),
                "{refused}"
            );
            assert!(refused.to_string().contains("vyuha migrate down --to"), "{refused}");
        }
    }
}

#[test]
fn a_row_that_a_tool_spoiled_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&path(&dir), "a", TABLES, OlderSchema::Migrate).unwrap();
    let connection = Connection::open(path(&dir)).unwrap();
    for (value, says) in [("'x'", "WrongType"), ("1.5", "WrongType"), ("x'ff'", "WrongType")] {
        connection.execute("DELETE FROM account", ()).unwrap();
        let sql = format!("INSERT INTO account VALUES (1, 'n', 'p', {value}, NULL, NULL, NULL, NULL)");
        connection.execute(&sql, ()).unwrap();
        let refused = store.load::<AccountRow>(&[]).unwrap_err();
        assert!(format!("{refused:?}").contains(says), "{refused:?}");
    }
    connection.execute("UPDATE account SET created_ms = 1, name = CAST(x'ff' AS TEXT)", ()).unwrap();
    assert!(matches!(store.load::<AccountRow>(&[]), Err(StoreError::Row(RecordError::NotUtf8))));
}

#[test]
fn a_reader_in_the_way_keeps_the_checkpoint_from_claiming_success() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&path(&dir), "a", TABLES, OlderSchema::Migrate).unwrap();
    store.begin_epoch().unwrap();
    let reader = Connection::open(path(&dir)).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM item").unwrap();
    store.apply(&changes(&[ItemRow::new(1, 1)], &[]), 0, 1).unwrap();
    assert!(matches!(store.checkpoint(), Err(StoreError::CheckpointBlocked)));
    reader.execute_batch("COMMIT").unwrap();
    store.checkpoint().unwrap();
    let wal = dir.path().join("test.sqlite-wal");
    assert_eq!(wal.metadata().unwrap().len(), 0, "nothing is left in the log");
}

fn any_row() -> impl Strategy<Value = AnyRow> {
    (
        0_i64..4,
        "[ab]?",
        any::<Vec<u8>>(),
        any::<Option<i64>>(),
        proptest::option::of("[xyz]"),
        any::<Option<Vec<u8>>>(),
    )
        .prop_map(|(id, part, blob, maybe_int, maybe_text, maybe_blob)| AnyRow {
            id,
            part,
            blob,
            maybe_int,
            maybe_text,
            maybe_blob,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// The twins give the same answers, errors included, whatever they are asked.
    #[test]
    fn the_twins_agree(steps in prop::collection::vec((any_row(), 0..3), 1..30)) {
        let backends = Backend::each();
        let mut stores = backends.each_ref().map(|backend| backend.open("a"));
        let mut seq = [0; 3];
        for store in &mut stores {
            store.begin_epoch().unwrap();
        }
        for (row, what) in steps {
            let mut answers = Vec::new();
            for (store, seq) in stores.iter_mut().zip(&mut seq) {
                let result = match what {
                    0 => store.insert_row(&row),
                    1 => store.apply(&changes(std::slice::from_ref(&row), &[]), *seq, *seq + 1),
                    _ => store.apply(&changes(&[], std::slice::from_ref(&row)), *seq, *seq + 1),
                };
                *seq = store.position().unwrap().seq;
                let all = store.load::<AnyRow>(&[]).unwrap();
                let some = store.load::<AnyRow>(&[("maybe_text", row.maybe_text.clone().into())]).unwrap();
                let max = store.max_key(&AnyRow::TABLE, "maybe_int").unwrap();
                // Where the key and a unique column are both taken, either may be named.
                let result = result.map_err(|error| std::mem::discriminant(&error));
                answers.push((result, *seq, all, some, max));
            }
            prop_assert_eq!(&answers[0], &answers[1]);
            prop_assert_eq!(&answers[0], &answers[2]);
        }
    }
}
