//! A whole node's durable state on a real disk: opened, closed, opened again.

mod rows;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rows::{CharacterRow, ItemRow, TABLES};
use vyuha_record::{Record as _, Table, Transaction, record};
use vyuha_store::{
    AccountRow, Batch, Durability, DurabilityConfig, DurabilityError, JournalError, OnStopped,
    PersistenceConfig, Producer, StoreConfig, StoreError, TypedStore as _,
    backup::{BackupError, back_up, restore},
    journal::{SEGMENT_BYTES_DEFAULT, batch_bytes_max},
    migrate::OlderSchema,
};

fn open(dir: &Path, tables: &[Table]) -> Result<(Durability, Vec<Producer>), DurabilityError> {
    let config = DurabilityConfig {
        data_dir: dir.into(),
        node: "a".into(),
        producers: 2,
        segment_bytes: 1 << 20,
        journal_bytes_max: 1 << 30,
        queue_batches: 64,
        store: StoreConfig::Sqlite,
        older_schema: OlderSchema::Migrate,
        logs: Vec::new(),
        archive_dir: dir.join("archive"),
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
            key id: i64, kind: i64, count: i64, place: i64, owner: i64, slot: i64, x: i64, y: i64, wear: i64,
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

/// The items of a directory that nobody uses, and how many frames they took.
async fn items(dir: &Path) -> (Vec<ItemRow>, u64) {
    let (durability, producers) = open(dir, TABLES).unwrap();
    let items = durability.handle().call(|store| store.load::<ItemRow>(&[])).await.unwrap();
    let seq = durability.durable_seq();
    drop(producers);
    durability.shutdown().unwrap();
    (items, seq)
}

#[tokio::test]
async fn a_backup_beside_a_node_that_writes_is_a_state_that_was() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (durability, mut producers) = open(&at("node"), TABLES).unwrap();
    // Each frame writes the item that counts them, so that a copy of half a frame would show.
    let ended = AtomicBool::new(false);
    let (told, backups) = std::thread::scope(|scope| {
        let copying = scope.spawn(|| {
            let copies = (0..).take_while(|_| !ended.load(Ordering::Relaxed)).map(|number| {
                let file = at(&format!("{number}.sqlite"));
                let backup = back_up(&at("node"), &file).unwrap();
                (file, backup)
            });
            copies.collect::<Vec<_>>()
        });
        let until = std::time::Instant::now() + std::time::Duration::from_millis(500);
        let mut number = 0;
        while std::time::Instant::now() < until {
            number += 1;
            write(&mut producers[0], number, &ItemRow::new(1, number as i64));
        }
        ended.store(true, Ordering::Relaxed);
        (number, copying.join().unwrap())
    });
    drop(producers);
    durability.shutdown().unwrap();
    assert_eq!(items(&at("node")).await, (vec![ItemRow::new(1, told as i64)], told));

    let mut seen = Vec::new();
    for (file, backup) in backups {
        let restored_to = file.with_extension("restored");
        let restored = restore(&file, &restored_to, TABLES).unwrap();
        assert_eq!(restored.backup, backup);
        let &[(_, 1, number)] = &restored.positions[..] else { panic!("{:?}", restored.positions) };
        seen.push(number);
        assert_eq!(restored.rows, [("account", 0), ("character", 0), ("item", u64::from(number > 0))]);
        // It can be played on: the journal goes on from the backup's position.
        let (durability, mut producers) = open(&restored_to, TABLES).unwrap();
        assert_eq!(durability.durable_seq(), number);
        write(&mut producers[0], 1, &ItemRow::new(2, 7));
        drop(producers);
        durability.shutdown().unwrap();
        let counted = (number > 0).then(|| ItemRow::new(1, number as i64));
        let expected = counted.into_iter().chain([ItemRow::new(2, 7)]).collect();
        assert_eq!(items(&restored_to).await, (expected, number + 1));
    }
    assert!(seen.is_sorted() && seen.first() < seen.last(), "the node wrote meanwhile: {seen:?}");
}

#[tokio::test]
async fn what_is_there_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let nothing = back_up(&at("node"), &at("copy")).unwrap_err();
    assert!(matches!(&nothing, BackupError::NoDatabase { .. }), "{nothing}");
    let (durability, mut producers) = open(&at("node"), TABLES).unwrap();
    write(&mut producers[0], 1, &ItemRow::new(1, 1));
    back_up(&at("node"), &at("copy")).unwrap();
    let twice = back_up(&at("node"), &at("copy")).unwrap_err();
    assert!(matches!(&twice, BackupError::Exists { path } if *path == at("copy")), "{twice}");
    let in_use = restore(&at("copy"), &at("node"), TABLES).unwrap_err();
    assert!(matches!(&in_use, BackupError::DataDir(_)), "{in_use}");
    drop(producers);
    durability.shutdown().unwrap();
    let full = restore(&at("copy"), &at("node"), TABLES).unwrap_err();
    assert!(matches!(&full, BackupError::Exists { .. }), "{full}");
    assert_eq!(items(&at("node")).await.0, [ItemRow::new(1, 1)]);
}

#[test]
fn a_damaged_backup_is_refused_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (durability, mut producers) = open(&at("node"), TABLES).unwrap();
    write(&mut producers[0], 1, &ItemRow::new(1, 1));
    drop(producers);
    durability.shutdown().unwrap();
    back_up(&at("node"), &at("copy")).unwrap();
    let (whole, sum) = (fs::read(at("copy")).unwrap(), fs::read(at("copy.sha256")).unwrap());

    let refused = |why: &str| {
        let refused = restore(&at("copy"), &at("new"), TABLES).unwrap_err();
        let left: Vec<_> = fs::read_dir(at("new"))
            .map(|files| files.map(|file| file.unwrap().file_name()).collect())
            .unwrap_or_default();
        assert!(left.iter().all(|file| file == "lock" || file == "home"), "{why}: {left:?}");
        refused
    };
    for at_byte in [0, whole.len() / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at_byte] ^= 1;
        fs::write(at("copy"), &bytes).unwrap();
        assert!(matches!(refused("a bit flipped"), BackupError::Damaged { .. }));
    }
    fs::write(at("copy"), &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(refused("cut short"), BackupError::Damaged { .. }));
    fs::write(at("copy"), &whole).unwrap();
    for text in ["", "copy", "0123  copy"] {
        fs::write(at("copy.sha256"), text).unwrap();
        assert!(matches!(refused("no sum"), BackupError::NoSum { .. }));
    }
    fs::remove_file(at("copy.sha256")).unwrap();
    assert!(matches!(refused("the sum is missing"), BackupError::NoSum { .. }));

    // Whole, but damaged when it was made: a page of the table is overwritten, and the sum made anew.
    let page = whole.len() / 4096 * 4096 - 4096;
    let mut bytes = whole.clone();
    bytes[page..].fill(0xa5);
    fs::write(at("copy"), &bytes).unwrap();
    let status =
        std::process::Command::new("sha256sum").arg("copy").current_dir(dir.path()).output().unwrap();
    fs::write(at("copy.sha256"), status.stdout).unwrap();
    assert!(matches!(refused("corrupt"), BackupError::Corrupt { .. } | BackupError::Store(_)));

    fs::write(at("copy"), &whole).unwrap();
    fs::write(at("copy.sha256"), &sum).unwrap();
    restore(&at("copy"), &at("new"), TABLES).unwrap();
}
