//! A real PostgreSQL that is stopped, killed, paused, slow or cut off while frames stream into it: what is written goes
//! on being durable, and in the end every change is there, once and in order.

mod rows;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rows::{ItemRow, TABLES};
use vyuha_record::Transaction;
use vyuha_store::{
    AccountRow, Batch, BreakerState, Durability, DurabilityConfig, OnStopped, PersistenceConfig,
    PersistenceStats, PostgresSettings, Producer, StoreConfig, StoreError, SubmitError, TypedStore as _,
    migrate::OlderSchema,
};
use vyuha_test_postgres::Postgres;

const PATIENCE: Duration = Duration::from_mins(1);
/// How long the store waits for anything.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Items that are written in turn.
const ITEMS: i64 = 7;

/// Notes every change of an item that is committed.
const AUDIT: &str = "
    CREATE TABLE audit (at BIGSERIAL PRIMARY KEY, id BIGINT, count BIGINT);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO audit (id, count) VALUES (NEW.id, NEW.count); RETURN NULL; END $$;
    CREATE TRIGGER note AFTER INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION note()";

struct World {
    postgres: Postgres,
    url: String,
    dir: tempfile::TempDir,
}

struct Run {
    durability: Durability,
    producer: Producer,
    batches: u64,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        let postgres = Postgres::start();
        let url = postgres.database();
        let world = Self { postgres, url, dir: tempfile::tempdir().unwrap() };
        world.run().stop();
        world.postgres.psql(&world.url, AUDIT);
        world
    }

    fn run(&self) -> Run {
        open(self.dir.path(), &self.url).unwrap()
    }

    /// Every change of each item, in the order in which they were committed: each later than the one before, the last
    /// the last that was written.
    #[track_caller]
    fn assert_once_and_in_order(&self, written: i64) {
        let audit = self.postgres.psql(&self.url, "SELECT id, count FROM audit ORDER BY at");
        let mut last: BTreeMap<i64, i64> = BTreeMap::new();
        for line in audit.lines() {
            let (id, count) = line.split_once('|').unwrap();
            let (id, count): (i64, i64) = (id.parse().unwrap(), count.parse().unwrap());
            let before = last.insert(id, count);
            assert!(before < Some(count), "item {id} went from {before:?} to {count}");
        }
        let expected = (written - ITEMS..written).map(|count| (count % ITEMS, count)).collect();
        assert_eq!(last, expected);
    }
}

fn open(dir: &Path, url: &str) -> Result<Run, vyuha_store::DurabilityError> {
    let settings = PostgresSettings::new(url, None, None, None, TIMEOUT).unwrap();
    let config = DurabilityConfig {
        data_dir: dir.into(),
        node: "a".into(),
        producers: 1,
        segment_bytes: 64 << 10,
        journal_bytes_max: 256 << 10,
        queue_batches: 64,
        store: StoreConfig::Postgres { settings: Box::new(settings), lease_ttl: Duration::from_secs(3) },
        older_schema: OlderSchema::Migrate,
        logs: Vec::new(),
        archive_dir: dir.join("archive"),
        persistence: PersistenceConfig { transaction_rows: 5, ..PersistenceConfig::default() },
    };
    let on_stopped: OnStopped = Arc::new(|reason: &str| panic!("{reason}"));
    let (durability, mut producers) = Durability::open(&config, TABLES, &on_stopped)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    Ok(Run { durability, producer: producers.remove(0), batches: 0, runtime })
}

impl Run {
    /// Journals these counts, each in a frame of its own or nearly so; each is durable in the end.
    fn write(&mut self, counts: std::ops::Range<i64>) {
        for count in counts {
            let mut bytes = Vec::new();
            let mut transaction = Transaction::begin(&mut bytes);
            transaction.put(&ItemRow::new(count % ITEMS, count));
            transaction.commit();
            self.batches += 1;
            let mut batch = Batch { number: self.batches, bytes };
            while let Err(error) = self.producer.submit(batch) {
                let SubmitError::Full(back) = error else { panic!("{error}") };
                batch = back;
                thread::sleep(Duration::from_micros(100));
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while self.producer.durable() < self.batches {
            assert!(Instant::now() < deadline, "the journal waits for the database");
            thread::sleep(Duration::from_micros(100));
        }
    }

    #[track_caller]
    fn until(&self, holds: impl Fn(&PersistenceStats) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.durability.handle().stats()) {
            assert!(Instant::now() < deadline, "{:?}", self.durability.handle().stats());
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn all_applied(&self) {
        self.until(|stats| stats.applied_seq == stats.durable_seq && stats.last_error.is_none());
    }

    fn insert_account(&self, id: i64) -> Result<(), StoreError> {
        let account = AccountRow::new(id, id.to_string(), "p", 0);
        self.runtime.block_on(self.durability.handle().call(move |store| store.insert_row(&account)))
    }

    fn stop(self) {
        drop(self.producer);
        self.durability.shutdown().unwrap();
    }
}

#[test]
fn a_database_that_stops_and_starts_gets_all_in_order() {
    let mut world = World::new();
    let mut run = world.run();
    let mut written = 0;
    for kill in [false, true, false] {
        run.write(written..written + 200);
        if kill {
            world.postgres.kill();
        } else {
            world.postgres.stop();
        }
        run.write(written + 200..written + 400);
        written += 400;
        run.until(|stats| stats.breaker == BreakerState::Open && stats.last_error.is_some());
        let stats = run.durability.handle().stats();
        assert!(stats.lag_bytes > 0 && stats.durable_seq > stats.applied_seq, "{stats:?}");
        let refused = run.insert_account(written).unwrap_err();
        assert!(
            matches!(refused, StoreError::Unavailable { .. } | StoreError::Connect { .. }),
            "services are told at once: {refused}"
        );
        world.postgres.start_again();
        run.all_applied();
        run.until(|stats| stats.breaker == BreakerState::Closed && stats.lag == Duration::ZERO);
        run.insert_account(written).unwrap();
    }
    run.stop();
    world.assert_once_and_in_order(written);
    assert_eq!(world.postgres.psql(&world.url, "SELECT count(*) FROM account"), "3");
}

#[test]
fn a_database_that_is_paused_is_left_and_found_again() {
    let world = World::new();
    let mut run = world.run();
    run.write(0..100);
    for round in 1..3 {
        world.postgres.pause();
        run.write(round * 100..round * 100 + 100);
        run.until(|stats| stats.last_error.as_ref().is_some_and(|error| error.contains("within 1s")));
        world.postgres.resume();
        run.all_applied();
    }
    run.stop();
    world.assert_once_and_in_order(300);
}

#[test]
fn connections_cut_off_in_the_middle_lose_and_double_nothing() {
    let world = World::new();
    let mut run = world.run();
    for round in 0..15 {
        run.write(round * 40..round * 40 + 40);
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vyuha'";
        world.postgres.psql(&world.url, cut);
    }
    run.all_applied();
    run.stop();
    world.assert_once_and_in_order(600);
}

#[test]
fn a_database_that_is_too_slow_gets_more_time_and_catches_up() {
    let world = World::new();
    // Each row takes so long that a full transaction never ends in time.
    let slow = "CREATE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(0.25); RETURN NEW; END $$;
        CREATE TRIGGER doze BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION doze()";
    world.postgres.psql(&world.url, slow);
    let mut run = world.run();
    run.write(0..20);
    run.all_applied();
    assert!(
        run.durability.handle().stats().errors > 0,
        "seven rows take longer than the store waits at first"
    );
    world.postgres.psql(&world.url, "DROP TRIGGER doze ON item");
    // And one that waits for somebody else.
    let lock = "BEGIN; LOCK TABLE item; SELECT pg_sleep(2.5); COMMIT";
    thread::scope(|scope| {
        scope.spawn(|| world.postgres.psql(&world.url, lock));
        thread::sleep(Duration::from_millis(200));
        run.write(20..120);
        run.until(|stats| stats.last_error.is_some());
    });
    run.all_applied();
    run.stop();
    world.assert_once_and_in_order(120);
}

#[test]
fn a_journal_past_its_bound_says_so_until_the_database_has_caught_up() {
    let mut world = World::new();
    let mut run = world.run();
    world.postgres.stop();
    let mut written = 0;
    while !run.producer.is_over_bound() {
        run.write(written..written + 100);
        written += 100;
        assert!(written < 100_000, "256 KiB are far less");
    }
    world.postgres.start_again();
    run.all_applied();
    // A segment is given back when the next one is begun.
    while run.producer.is_over_bound() {
        run.write(written..written + 100);
        written += 100;
        run.all_applied();
    }
    run.stop();
    world.assert_once_and_in_order(written);
}

#[test]
fn a_crash_of_both_is_recovered_from_the_journal() {
    let mut world = World::new();
    let mut run = world.run();
    run.write(0..50);
    run.all_applied();
    world.postgres.stop();
    run.write(50..150);
    // As if the process had died: nothing is closed in order, and the database is not there.
    drop(run.producer);
    let error = run.durability.shutdown().unwrap_err().to_string();
    assert!(error.contains("database"), "{error}");
    let refused = open(world.dir.path(), &world.url).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("cannot connect to the database at 127.0.0.1:"), "{refused}");
    assert!(refused.contains("store.url"), "it names the setting: {refused}");
    world.postgres.start_again();
    let run = world.run();
    run.all_applied();
    run.stop();
    world.assert_once_and_in_order(150);
}
