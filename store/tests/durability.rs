//! A whole node's durable state on a real disk: opened, closed, opened again.

mod rows;

use std::{path::Path, sync::Arc};

use rows::{CharacterRow, ItemRow, TABLES};
use vyuha_record::{Record as _, Table, Transaction, record};
use vyuha_store::{
    AccountRow, Batch, Durability, DurabilityConfig, DurabilityError, JournalError, OnStopped,
    PersistenceConfig, Producer, StoreError, TypedStore as _,
    journal::{SEGMENT_BYTES_DEFAULT, batch_bytes_max},
};

fn open(dir: &Path, tables: &[Table]) -> Result<(Durability, Vec<Producer>), DurabilityError> {
    let config = DurabilityConfig {
        data_dir: dir.into(),
        node: "a".into(),
        producers: 2,
        segment_bytes: 1 << 20,
        queue_batches: 64,
        persistence: PersistenceConfig::default(),
    };
    let on_stopped: OnStopped = Arc::new(|reason: &str| panic!("{reason}"));
    Durability::open(&config, tables, &on_stopped)
}

fn write(producer: &mut Producer, number: u64, item: &ItemRow) {
    let mut bytes = Vec::new();
    let mut transaction = Transaction::begin(&mut bytes);
    transaction.put(item);
    transaction.commit();
    producer.submit(Batch { number, bytes }).unwrap();
    while producer.durable() < number {
        std::thread::yield_now();
    }
}

fn account() -> AccountRow {
    AccountRow::new(1, "asha", "$argon2id$", 1)
}

#[tokio::test]
async fn state_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let (durability, mut producers) = open(dir.path(), TABLES).unwrap();
    let handle = durability.handle();
    handle.call(|store| store.insert_row(&account())).await.unwrap();
    write(&mut producers[0], 1, &ItemRow::new(1, 10));
    write(&mut producers[1], 1, &ItemRow::new(2, 20));
    write(&mut producers[0], 2, &ItemRow::new(1, 11));
    assert_eq!((durability.durable_seq(), durability.journal_stats().frames), (3, 3));
    drop(producers);
    durability.shutdown().unwrap();

    let (durability, producers) = open(dir.path(), TABLES).unwrap();
    let handle = durability.handle();
    assert_eq!(handle.applied(), 3, "a shutdown leaves nothing to be applied");
    let (accounts, items) =
        handle.call(|store| Ok((store.load::<AccountRow>(&[])?, store.load::<ItemRow>(&[])?))).await.unwrap();
    assert_eq!((accounts, items), (vec![account()], vec![ItemRow::new(1, 11), ItemRow::new(2, 20)]));
    let taken = handle.call(|store| store.insert_row(&AccountRow { id: 2, ..account() })).await;
    assert!(matches!(taken, Err(StoreError::Conflict { .. })), "{taken:?}");
    drop(producers);
    durability.shutdown().unwrap();
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (durability, producers) = open(dir.path(), TABLES).unwrap();
    let Err(refused) = open(dir.path(), TABLES).map(drop) else { panic!("it opens") };
    assert!(refused.to_string().contains("in use by another vyuha process"), "{refused}");
    drop(producers);
    durability.shutdown().unwrap();
    open(dir.path(), TABLES).unwrap();
}

#[test]
fn unapplied_frames_of_another_version_are_refused() {
    record! {
        struct OtherRow in "item", table 4 {
            key id: i64, kind: i64, count: i64, place: i64, owner: i64, slot: i64, x: i64, y: i64,
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let (durability, producers) = open(dir.path(), TABLES).unwrap();
    drop(producers);
    durability.shutdown().unwrap();
    // The same SQL, other numbers in the journal: fine while the journal is drained.
    let other = [AccountRow::TABLE, CharacterRow::TABLE, OtherRow::TABLE];
    let (durability, producers) = open(dir.path(), &other).unwrap();
    drop(producers);
    durability.shutdown().unwrap();

    let (durability, mut producers) = open(dir.path(), TABLES).unwrap();
    write(&mut producers[0], 1, &ItemRow::new(1, 1));
    drop(producers);
    durability.shutdown().unwrap();
    // As if the frame had not reached the database.
    let database = rusqlite::Connection::open(dir.path().join("world.sqlite")).unwrap();
    database.execute("UPDATE position SET seq = 0", ()).unwrap();
    drop(database);
    let Err(refused) = open(dir.path(), &other).map(drop) else { panic!("it opens") };
    let DurabilityError::Journal(JournalError::SchemaChanged { unapplied: 1, .. }) = refused else {
        panic!("{refused}")
    };
}

#[test]
fn the_largest_batch_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let (durability, producers) = open(dir.path(), TABLES).unwrap();
    assert_eq!(producers[0].batch_bytes_max(), batch_bytes_max(1 << 20));
    assert_eq!(batch_bytes_max(SEGMENT_BYTES_DEFAULT), (64 << 20) - 80);
    drop(producers);
    durability.shutdown().unwrap();
}
