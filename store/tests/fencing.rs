//! Two processes that take themselves for the same node: one is stopped (SIGSTOP) as long as a virtual machine that is
//! moved may be, the other takes over, and whatever the first does when it wakes up changes nothing.

mod rows;

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rows::{ItemRow, TABLES};
use vyuha_record::Transaction;
use vyuha_store::{
    Batch, Durability, DurabilityConfig, DurabilityError, OnStopped, PersistenceConfig, PostgresSettings,
    Producer, StoreConfig, StoreError, migrate::OlderSchema,
};
use vyuha_test_postgres::Postgres;

const CHILD_DIR: &str = "VYUHA_FENCING_TEST_DIR";
const CHILD_URL: &str = "VYUHA_FENCING_TEST_URL";
const LEASE_TTL: Duration = Duration::from_secs(2);
/// Items that the first process writes have this count and more, those of the second less.
const FIRST: i64 = 1_000_000;

fn open(dir: &Path, url: &str, on_stopped: &OnStopped) -> Result<(Durability, Producer), DurabilityError> {
    let settings = PostgresSettings::new(url, None, None, None, Duration::from_secs(5)).unwrap();
    let config = DurabilityConfig {
        data_dir: dir.into(),
        node: "a".into(),
        producers: 1,
        segment_bytes: 1 << 20,
        journal_bytes_max: 1 << 30,
        queue_batches: 64,
        store: StoreConfig::Postgres { settings: Box::new(settings), lease_ttl: LEASE_TTL },
        older_schema: OlderSchema::Migrate,
        logs: Vec::new(),
        archive_dir: dir.join("archive"),
        persistence: PersistenceConfig::default(),
    };
    let (durability, mut producers) = Durability::open(&config, TABLES, on_stopped)?;
    Ok((durability, producers.remove(0)))
}

fn must_not_stop() -> OnStopped {
    Arc::new(|reason: &str| panic!("{reason}"))
}

fn write(producer: &mut Producer, number: u64, count: i64) {
    let mut bytes = Vec::new();
    let mut transaction = Transaction::begin(&mut bytes);
    transaction.put(&ItemRow::new(1, count));
    transaction.commit();
    producer.submit(Batch { number, bytes }).unwrap();
}

/// Not a test of its own: the first process.
#[test]
#[ignore = "the child process of `a_process_that_wakes_up_replaced_writes_nothing`"]
fn child() {
    let (Some(dir), Ok(url)) = (env::var_os(CHILD_DIR), env::var(CHILD_URL)) else { return };
    let on_stopped: OnStopped = Arc::new(|reason: &str| {
        println!("stopped {reason}");
        std::process::exit(3);
    });
    let (_durability, mut producer) = match open(Path::new(&dir), &url, &on_stopped) {
        Ok(opened) => opened,
        Err(error) => {
            println!("refused {error}");
            std::process::exit(4);
        }
    };
    println!("running");
    for number in 1.. {
        write(&mut producer, number, FIRST + number as i64);
        thread::sleep(Duration::from_millis(2));
    }
}

/// Killed on drop, stopped as it may be.
struct First(Child);

impl Drop for First {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_child(dir: &Path, url: &str) -> (First, impl Iterator<Item = String>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture", "--quiet"])
        .env(CHILD_DIR, dir)
        .env(CHILD_URL, url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    (First(child), lines)
}

/// Signals by the stock tool, which needs no crate.
fn signal(First(child): &First, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_process_that_wakes_up_replaced_writes_nothing() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    let (first_dir, second_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut first, mut first_says) = start_child(first_dir.path(), &url);
    assert!(first_says.any(|line| line.contains("running")));
    thread::sleep(LEASE_TTL);

    let refused = open(second_dir.path(), &url, &must_not_stop()).map(|_| ()).unwrap_err();
    let DurabilityError::Store(StoreError::LeaseHeld { holder, expires_in, .. }) = &refused else {
        panic!("{refused}")
    };
    assert!(holder.contains(&format!("process {} on host", first.0.id())), "{holder}");
    assert!(*expires_in <= LEASE_TTL, "it was renewed: {expires_in:?}");
    assert!(refused.to_string().contains("node.name"), "it says what to do: {refused}");

    signal(&first, "STOP");
    let stopped = Instant::now();
    let (durability, mut producer) = loop {
        match open(second_dir.path(), &url, &must_not_stop()) {
            Ok(opened) => break opened,
            Err(DurabilityError::Store(StoreError::LeaseHeld { .. })) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(stopped.elapsed() < Duration::from_secs(30), "the lease never ends");
        thread::sleep(Duration::from_millis(50));
    };
    let audit = "CREATE TABLE audit AS SELECT count FROM item;
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO audit VALUES (NEW.count); RETURN NULL; END $$;
        CREATE TRIGGER note AFTER INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION note();
        DELETE FROM audit";
    postgres.psql(&url, audit);
    for number in 1..=20 {
        write(&mut producer, number, number as i64);
    }
    signal(&first, "CONT");
    let said = first_says.find(|line| line.contains("stopped")).expect("it says why it stops");
    assert!(said.contains("another process has taken it over"), "{said}");
    assert_eq!(first.0.wait().unwrap().code(), Some(3));
    for number in 21..=40 {
        write(&mut producer, number, number as i64);
        thread::sleep(Duration::from_millis(1));
    }
    drop(producer);
    durability.shutdown().unwrap();
    assert_eq!(postgres.psql(&url, &format!("SELECT count(*) FROM audit WHERE count >= {FIRST}")), "0");
    assert_eq!(postgres.psql(&url, "SELECT max(count), count(DISTINCT count) = count(*) FROM audit"), "40|t");

    // The lease was given back, but the first one's journal is of a history that was left.
    let (mut first, mut first_says) = start_child(first_dir.path(), &url);
    let said = first_says.find(|line| line.contains("refused")).expect("it does not start");
    assert!(said.contains("with a journal of its own"), "{said}");
    assert_eq!(first.0.wait().unwrap().code(), Some(4));
    open(second_dir.path(), &url, &must_not_stop()).map(|_| ()).unwrap();
}

#[test]
fn a_process_that_was_killed_is_followed_at_once_by_one_with_its_directory() {
    let postgres = Postgres::shared();
    let (url, dir) = (postgres.database(), tempfile::tempdir().unwrap());
    let (mut first, mut first_says) = start_child(dir.path(), &url);
    assert!(first_says.any(|line| line.contains("running")));
    first.0.kill().unwrap();
    first.0.wait().unwrap();
    let begun = Instant::now();
    let (durability, producer) = open(dir.path(), &url, &must_not_stop()).unwrap();
    assert!(begun.elapsed() < LEASE_TTL, "it does not wait for the lease to end");
    drop(producer);
    durability.shutdown().unwrap();
}
