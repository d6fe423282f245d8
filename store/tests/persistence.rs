//! The persistence thread over stores that fail as planted: everything durable is applied, once.

mod rows;

use std::{
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use rows::{ItemRow, TABLES};
use tempfile::TempDir;
use vyuha_record::{Record as _, Table, Transaction, Value, schema_fingerprint};
use vyuha_store::{
    AccountRow, Batch, Changes, Handle, Journal, JournalConfig, MemoryDatabase, MemoryStore, Part,
    Persistence, PersistenceConfig, PersistenceStats, Position, Producer, Store, StoreError, TypedStore as _,
    journal::OsDisk,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The transaction fails.
    BeforeCommit,
    /// The transaction is committed, and the answer is lost.
    AfterCommit,
    /// Neither transactions nor the position, until it is mended.
    Down,
    /// No checkpoint completes, until it is mended.
    NoCheckpoint,
}

#[derive(Default, Clone)]
struct Plan(Arc<Mutex<Planned>>);

#[derive(Default)]
struct Planned {
    faults: Vec<Fault>,
    /// The sequences and row count of each transaction committed.
    committed: Vec<(u64, u64, usize)>,
}

impl Plan {
    fn set(&self, faults: &[Fault]) {
        self.0.lock().unwrap().faults = faults.to_vec();
    }

    fn has(&self, fault: Fault) -> bool {
        self.0.lock().unwrap().faults.contains(&fault)
    }

    fn take_next(&self) -> Option<Fault> {
        let faults = &mut self.0.lock().unwrap().faults;
        let passing = |fault: &Fault| matches!(fault, Fault::BeforeCommit | Fault::AfterCommit);
        faults.iter().position(passing).map(|at| faults.remove(at))
    }
}

struct FaultyStore {
    inner: MemoryStore,
    plan: Plan,
}

fn planted() -> StoreError {
    StoreError::Sqlite { action: "work: planted", source: rusqlite::Error::InvalidQuery }
}

impl Store for FaultyStore {
    fn position(&mut self) -> Result<Position, StoreError> {
        if self.plan.has(Fault::Down) { Err(planted()) } else { self.inner.position() }
    }

    fn begin_epoch(&mut self) -> Result<Position, StoreError> {
        self.inner.begin_epoch()
    }

    fn apply(&mut self, changes: &Changes, from: u64, to: u64) -> Result<(), StoreError> {
        let fault = self.plan.take_next();
        if fault == Some(Fault::BeforeCommit) || self.plan.has(Fault::Down) {
            return Err(planted());
        }
        self.inner.apply(changes, from, to)?;
        let rows = changes.tables.iter().map(|table| table.upserts.len() + table.deletes.len()).sum();
        self.plan.0.lock().unwrap().committed.push((from, to, rows));
        if fault == Some(Fault::AfterCommit) { Err(planted()) } else { Ok(()) }
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        if self.plan.has(Fault::NoCheckpoint) { Err(StoreError::CheckpointBlocked) } else { Ok(()) }
    }

    fn insert(&mut self, table: &Table, row: &[Value]) -> Result<(), StoreError> {
        self.inner.insert(table, row)
    }

    fn select(&mut self, table: &Table, filter: &[(&str, Value)]) -> Result<Vec<Vec<Value>>, StoreError> {
        self.inner.select(table, filter)
    }

    fn select_part(
        &mut self,
        table: &Table,
        first: &Value,
        part: Part<'_>,
        rows_max: usize,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        self.inner.select_part(table, first, part, rows_max)
    }

    fn max_key(&mut self, table: &Table, column: &str) -> Result<Option<i64>, StoreError> {
        self.inner.max_key(table, column)
    }
}

/// What outlives a run.
struct Node {
    dir: TempDir,
    database: MemoryDatabase,
    plan: Plan,
}

struct Run {
    journal: Journal,
    producer: Producer,
    persistence: Persistence,
    handle: Handle,
    stopped: mpsc::Receiver<String>,
    batches: u64,
}

impl Node {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), database: MemoryDatabase::default(), plan: Plan::default() }
    }

    fn store(&self) -> FaultyStore {
        let inner = MemoryStore::open(&self.database, "a", TABLES);
        FaultyStore { inner, plan: self.plan.clone() }
    }

    fn start(&self) -> Run {
        self.start_with(PersistenceConfig { transaction_rows: 10, linger: Duration::ZERO, queue_requests: 2 })
    }

    fn start_with(&self, config: PersistenceConfig) -> Run {
        let mut store = self.store();
        let position = store.begin_epoch().unwrap();
        let journal_config = JournalConfig {
            dir: self.dir.path().join("journal"),
            segment_bytes: 4096,
            bytes_max: 1 << 30,
            producers: 1,
            queue_batches: 64,
            schema: schema_fingerprint(TABLES),
        };
        let (journal, mut producers) = Journal::open(
            Arc::new(OsDisk),
            &journal_config,
            position.seq,
            Box::new(|reason| panic!("{reason}")),
        )
        .unwrap();
        let (stop, stopped) = mpsc::channel();
        let on_failure = Box::new(move |reason: &str| stop.send(reason.to_owned()).unwrap());
        let reader = journal.reader(1);
        let persistence =
            Persistence::start(Box::new(store), position, reader, TABLES, config, on_failure).unwrap();
        let handle = persistence.handle();
        Run { journal, producer: producers.remove(0), persistence, handle, stopped, batches: 0 }
    }

    fn items(&self) -> Vec<ItemRow> {
        self.store().load(&[]).unwrap()
    }

    /// Every transaction goes on where the one before ended.
    fn assert_once(&self) {
        let mut last = 0;
        for &(from, to, _) in &self.plan.0.lock().unwrap().committed {
            assert_eq!(from, last);
            assert!(to > from);
            last = to;
        }
    }
}

impl Run {
    /// Journals bytes in a frame of their own.
    fn write_bytes(&mut self, bytes: Vec<u8>) {
        self.batches += 1;
        self.producer.submit(Batch { number: self.batches, bytes }).unwrap();
        while self.producer.durable() < self.batches {
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    fn write(&mut self, item: &ItemRow) {
        let mut bytes = Vec::new();
        let mut transaction = Transaction::begin(&mut bytes);
        transaction.put(item);
        transaction.commit();
        self.write_bytes(bytes);
    }

    /// Items 0..7 over and over, each count one more than the last.
    fn write_counts(&mut self, counts: std::ops::Range<i64>) {
        for count in counts {
            self.write(&ItemRow::new(count % 7, count));
        }
    }

    async fn all_applied(&self) {
        let seq = self.journal.durable_seq();
        let waited = tokio::time::timeout(Duration::from_secs(20), self.handle.wait_applied(seq)).await;
        waited.expect("it is applied in time").unwrap();
    }

    async fn until(&self, holds: impl Fn(&PersistenceStats) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds(&self.handle.stats()) {
            assert!(Instant::now() < deadline, "{:?}", self.handle.stats());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn stop(self) -> Result<(), StoreError> {
        drop(self.producer);
        self.journal.join().unwrap();
        self.persistence.shutdown()
    }
}

fn last_of_each(counts: std::ops::Range<i64>) -> Vec<ItemRow> {
    let mut last: Vec<_> = counts.rev().take(7).map(|count| ItemRow::new(count % 7, count)).collect();
    last.sort_by_key(|item| item.id);
    last
}

#[tokio::test]
async fn what_is_durable_is_applied_in_bounded_transactions() {
    let node = Node::new();
    node.plan.set(&[Fault::Down]);
    let mut run = node.start();
    run.write_counts(0..100);
    for id in 100..150 {
        run.write(&ItemRow::new(id, 1));
    }
    node.plan.set(&[]);
    run.all_applied().await;
    assert_eq!(run.handle.applied(), 150);
    node.assert_once();
    let committed = node.plan.0.lock().unwrap().committed.clone();
    assert!(committed.iter().all(|&(_, _, rows)| rows <= 10), "{committed:?}");
    assert!(committed[0].1 >= 100, "a hundred writes to seven rows are one transaction: {committed:?}");
    let stats = run.handle.stats();
    assert_eq!((stats.applied_seq, stats.durable_seq, stats.last_error.clone()), (150, 150, None));
    assert_eq!(stats.rows, committed.iter().map(|&(_, _, rows)| rows as u64).sum::<u64>());
    assert_eq!(stats.transactions, committed.len() as u64);
    run.stop().unwrap();
    assert_eq!(node.items().len(), 57);
}

#[tokio::test]
async fn frames_wait_for_others_unless_they_are_many_or_wanted_or_the_last() {
    let node = Node::new();
    let linger = Duration::from_hours(1);
    let mut run = node.start_with(PersistenceConfig { transaction_rows: 10, linger, queue_requests: 2 });
    let committed = || node.plan.0.lock().unwrap().committed.clone();
    (0..9).for_each(|id| run.write(&ItemRow::new(id, 1)));
    // An answer shows that the thread has been round since.
    for _ in 0..3 {
        run.handle.call(|store| store.position()).await.unwrap();
    }
    assert_eq!((committed(), run.handle.applied()), (vec![], 0));
    run.write(&ItemRow::new(9, 1));
    run.until(|stats| stats.applied_seq == 10).await;
    assert_eq!(committed(), [(0, 10, 10)]);

    (0..3).for_each(|id| run.write(&ItemRow::new(id, 2)));
    run.all_applied().await;
    assert_eq!(committed()[1..], [(10, 13, 3)]);

    // What failed is not waited for again.
    node.plan.set(&[Fault::AfterCommit, Fault::BeforeCommit]);
    for _ in 0..2 {
        (0..3).for_each(|id| run.write(&ItemRow::new(id, 3)));
        run.all_applied().await;
    }
    run.write(&ItemRow::new(0, 4));
    run.stop().unwrap();
    assert_eq!(committed()[2..].iter().map(|&(_, to, _)| to).collect::<Vec<_>>(), [16, 19, 20]);
    node.assert_once();
}

#[tokio::test]
async fn frames_that_nobody_wants_wait_no_longer_than_is_said() {
    let node = Node::new();
    let linger = Duration::from_millis(100);
    let mut run = node.start_with(PersistenceConfig { transaction_rows: 1000, linger, queue_requests: 2 });
    let begun = Instant::now();
    run.write_counts(0..20);
    run.until(|stats| stats.applied_seq >= 1).await;
    assert!(begun.elapsed() >= linger, "{:?}", begun.elapsed());
    run.until(|stats| stats.applied_seq == 20).await;
    run.stop().unwrap();
}

#[tokio::test]
async fn a_failed_or_unanswered_commit_is_neither_lost_nor_doubled() {
    use Fault::{AfterCommit, BeforeCommit};
    for faults in [[BeforeCommit; 3], [AfterCommit; 3], [AfterCommit, BeforeCommit, AfterCommit]] {
        let node = Node::new();
        node.plan.set(&faults);
        let mut run = node.start();
        for count in 0..40 {
            run.write_counts(count..count + 1);
            run.all_applied().await;
        }
        node.assert_once();
        let stats = run.handle.stats();
        assert_eq!((stats.errors, node.plan.take_next()), (3, None), "{faults:?}");
        assert_eq!(stats.last_error, None, "all is well again");
        run.stop().unwrap();
        assert_eq!(node.items(), last_of_each(0..40), "{faults:?}");
    }
}

#[tokio::test]
async fn an_error_is_over_once_the_position_shows_that_all_is_applied() {
    let node = Node::new();
    node.plan.set(&[Fault::AfterCommit]);
    let mut run = node.start();
    run.write_counts(0..1);
    run.all_applied().await;
    run.until(|stats| stats.last_error.is_none()).await;
    assert_eq!(run.handle.stats().errors, 1);
    run.stop().unwrap();
}

#[tokio::test]
async fn a_database_that_is_down_leaves_services_and_the_journal_going() {
    let node = Node::new();
    node.plan.set(&[Fault::Down]);
    let mut run = node.start();
    run.write_counts(0..30);
    let account = AccountRow::new(1, "n", "p", 0);
    run.handle.call(move |store| store.insert_row(&account)).await.unwrap();
    run.until(|stats| stats.last_error.is_some()).await;
    let stats = run.handle.stats();
    assert_eq!((stats.applied_seq, stats.durable_seq, stats.transactions), (0, 30, 0));
    assert!(stats.last_error.unwrap().contains("planted"));
    node.plan.set(&[]);
    run.all_applied().await;
    assert_eq!(run.handle.stats().last_error, None);
    run.stop().unwrap();
    assert_eq!(node.items(), last_of_each(0..30));
}

#[tokio::test]
async fn a_replaced_node_stops_and_says_so() {
    let node = Node::new();
    let mut run = node.start();
    run.write_counts(0..3);
    run.all_applied().await;
    node.store().begin_epoch().unwrap();
    run.write_counts(3..4);
    let reason = run.stopped.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(reason.contains("another process has taken it over"), "{reason}");
    assert!(matches!(run.handle.wait_applied(4).await, Err(StoreError::Stopped)));
    assert!(matches!(run.handle.call(|_| Ok(())).await, Err(StoreError::Stopped)));
    assert!(matches!(run.stop(), Err(StoreError::Fenced { .. })));
    assert_eq!(node.items(), last_of_each(0..3));
}

#[tokio::test]
async fn a_shutdown_applies_what_is_durable_and_a_start_what_is_left() {
    let node = Node::new();
    let mut run = node.start();
    run.write_counts(0..50);
    let handle = run.handle.clone();
    run.stop().unwrap();
    assert_eq!(handle.applied(), 50);
    assert!(matches!(handle.call(|_| Ok(())).await, Err(StoreError::Stopped)));
    assert_eq!(node.items(), last_of_each(0..50));

    node.plan.set(&[Fault::Down]);
    let mut run = node.start();
    run.write_counts(50..60);
    assert!(matches!(run.stop(), Err(StoreError::Sqlite { .. })), "it tells that it could not drain");
    assert_eq!(node.items(), last_of_each(0..50));

    node.plan.set(&[]);
    let run = node.start();
    run.all_applied().await;
    run.stop().unwrap();
    assert_eq!(node.items(), last_of_each(0..60));
    node.assert_once();
}

#[tokio::test]
async fn a_frame_that_is_no_transaction_holds_up_only_what_follows() {
    // With one row it is met while the transaction before it is applied.
    for transaction_rows in [10, 1] {
        a_frame_that_is_no_transaction(transaction_rows).await;
    }
}

async fn a_frame_that_is_no_transaction(transaction_rows: usize) {
    let node = Node::new();
    node.plan.set(&[Fault::Down]);
    let mut run =
        node.start_with(PersistenceConfig { transaction_rows, linger: Duration::ZERO, queue_requests: 2 });
    run.write_counts(0..3);
    run.write_bytes(vec![1, 2, 3]);
    run.write_counts(4..5);
    node.plan.set(&[]);
    tokio::time::timeout(Duration::from_secs(20), run.handle.wait_applied(3)).await.unwrap().unwrap();
    run.until(|stats| stats.last_error.as_ref().is_some_and(|error| error.contains("end early"))).await;
    assert_eq!(run.handle.applied(), 3);
    assert!(run.stop().is_err());
    assert_eq!(node.items(), last_of_each(0..3));
}

#[tokio::test]
async fn segments_are_released_after_checkpoints_only() {
    let node = Node::new();
    let mut run = node.start();
    run.write_counts(0..300);
    run.all_applied().await;
    // A frame takes 100 bytes and more: that is eight segments at least. The journal's thread
    // recycles before it waits for the next batch.
    run.write_counts(300..301);
    run.all_applied().await;
    run.write_counts(301..302);
    let stats = run.journal.stats();
    assert!(stats.released_seq > 200, "{stats:?}");
    assert!(stats.segments <= 3, "{stats:?}");

    node.plan.set(&[Fault::NoCheckpoint]);
    run.write_counts(302..600);
    run.all_applied().await;
    let kept = run.journal.stats();
    assert!(kept.segments >= 8, "{kept:?}");
    assert!(kept.released_seq <= 302);
    node.plan.set(&[]);
    run.write_counts(600..700);
    run.all_applied().await;
    run.write_counts(700..701);
    assert!(run.journal.stats().segments <= 3, "{:?}", run.journal.stats());
    run.stop().unwrap();
}

#[tokio::test]
async fn more_callers_than_the_queue_holds_wait_for_their_turn() {
    let node = Node::new();
    let run = node.start();
    let calls: Vec<_> = (0..50_i64)
        .map(|id| {
            let handle = run.handle.clone();
            tokio::spawn(async move {
                let name = format!("n{}", id / 2);
                let row = AccountRow::new(id, name, "", 0);
                handle.call(move |store| store.insert_row(&row)).await
            })
        })
        .collect();
    let mut taken = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(()) => {}
            Err(StoreError::Conflict { .. }) => taken += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(taken, 25);
    let count = run.handle.call(|store| store.select(&AccountRow::TABLE, &[])).await.unwrap().len();
    assert_eq!(count, 25);
    assert_eq!(run.handle.stats().requests, 51);
    run.stop().unwrap();
}

#[tokio::test]
async fn work_of_a_caller_that_left_is_skipped() {
    let node = Node::new();
    let run = node.start();
    let (release, held) = mpsc::channel::<()>();
    let blocking = run.handle.clone();
    let blocking = tokio::spawn(async move {
        blocking.call(move |_| held.recv().map_err(|_| StoreError::Stopped)).await.unwrap();
    });
    tokio::task::yield_now().await;
    let leaving = run.handle.call(|_| -> Result<(), StoreError> { panic!("planted: nobody waits for this") });
    assert!(tokio::time::timeout(Duration::from_millis(20), leaving).await.is_err());
    release.send(()).unwrap();
    blocking.await.unwrap();
    run.handle.call(|_| Ok(())).await.unwrap();
    run.stop().unwrap();
}

#[tokio::test]
async fn a_panic_is_reported_as_a_stop() {
    let node = Node::new();
    let run = node.start();
    let answer = run.handle.call(|_| -> Result<(), StoreError> { panic!("planted") }).await;
    assert!(matches!(answer, Err(StoreError::Stopped)), "{answer:?}");
    let reason = run.stopped.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(reason.contains("planted"), "{reason}");
    assert!(matches!(run.stop(), Err(StoreError::Panicked(_))));
}
