//! Kills a process that journals and acknowledges, at random moments, and checks after each restart
//! that everything acknowledged is there, once.

mod rows;

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use rand::RngExt as _;
use rows::{ItemRow, TABLES};
use vyuha_record::Transaction;
use vyuha_store::{
    Batch, Durability, DurabilityConfig, PersistenceConfig, Producer, StoreConfig, SubmitError,
    TypedStore as _, migrate::OlderSchema,
};

const ROUNDS: u32 = 10;
const PRODUCERS: usize = 2;
const CHILD_DIR: &str = "VYUHA_CRASH_TEST_DIR";
/// Rows of this kind hold each producer's counter; the others are one row a step.
const COUNTER_KIND: i64 = 1;
const STEP_KIND: i64 = 2;
const STEPS_MAX: i64 = 1 << 40;

fn open(dir: &Path) -> (Durability, Vec<Producer>) {
    let config = DurabilityConfig {
        data_dir: dir.into(),
        node: "a".into(),
        producers: PRODUCERS,
        // Small, so that segments are rolled and recycled many times in each life.
        segment_bytes: 64 << 10,
        journal_bytes_max: 1 << 30,
        queue_batches: 64,
        store: StoreConfig::Sqlite,
        older_schema: OlderSchema::Migrate,
        logs: Vec::new(),
        archive_dir: dir.join("archive"),
        persistence: PersistenceConfig::default(),
    };
    let on_stopped: vyuha_store::OnStopped = Arc::new(|reason: &str| panic!("{reason}"));
    Durability::open(&config, TABLES, &on_stopped).unwrap()
}

/// Every counter and how many steps each producer has taken, once all that is durable is applied.
fn load(durability: &Durability) -> BTreeMap<i64, (i64, Vec<i64>)> {
    let (handle, seq) = (durability.handle(), durability.durable_seq());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let items = runtime.block_on(async {
        handle.wait_applied(seq).await.unwrap();
        assert_eq!(handle.applied(), seq);
        handle.call(|store| store.load::<ItemRow>(&[])).await.unwrap()
    });
    let mut counters: BTreeMap<_, _> = (0..PRODUCERS as i64).map(|owner| (owner, (0, Vec::new()))).collect();
    for item in items {
        let (counter, steps) = counters.get_mut(&item.owner).unwrap();
        if item.kind == COUNTER_KIND { *counter = item.count } else { steps.push(item.count) }
    }
    counters
}

/// Not a test of its own: what the test below starts and kills.
#[test]
#[ignore = "the child process of `nothing_acknowledged_is_lost_by_kill`"]
fn child() {
    let Some(dir) = env::var_os(CHILD_DIR) else { return };
    let (durability, producers) = open(Path::new(&dir));
    let counters = load(&durability);
    thread::scope(|scope| {
        for (mut producer, (owner, (counter, _))) in producers.into_iter().zip(counters) {
            scope.spawn(move || count(&mut producer, owner, counter));
        }
    });
}

/// Counts up for good: each step is one transaction of two rows, acknowledged once it is durable.
fn count(producer: &mut Producer, owner: i64, start: i64) {
    let mut acknowledged = 0;
    let mut bytes = Vec::new();
    for number in 1.. {
        let count = start + number as i64;
        let row = |id, kind| ItemRow { id, kind, owner, ..ItemRow::new(0, count) };
        let mut transaction = Transaction::begin(&mut bytes);
        transaction.put(&row(owner, COUNTER_KIND));
        transaction.put(&row((owner + 1) * STEPS_MAX + count, STEP_KIND));
        transaction.commit();
        let mut batch = Batch { number, bytes: std::mem::take(&mut bytes) };
        loop {
            match producer.submit(batch) {
                Ok(()) => break,
                Err(SubmitError::Full(back)) => batch = back,
                Err(error) => panic!("{error}"),
            }
            thread::sleep(Duration::from_micros(100));
        }
        // Several batches are on their way at any time, as when a tick goes on during the sync.
        while producer.durable() + 8 < number {
            thread::sleep(Duration::from_micros(50));
        }
        if producer.durable() > acknowledged {
            acknowledged = producer.durable();
            let mut stdout = std::io::stdout().lock();
            writeln!(stdout, "ack {owner} {}", start + acknowledged as i64).unwrap();
            stdout.flush().unwrap();
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = rand::rng();
    let mut acknowledged: BTreeMap<i64, i64> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture", "--quiet"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut take = |line: &str| {
            // The test harness prints too, sometimes on the same line.
            let mut words = line.rsplit("ack ").next().unwrap().split(' ').map(str::parse);
            if let (true, Some(Ok(owner)), Some(Ok(count))) =
                (line.contains("ack "), words.next(), words.next())
            {
                acknowledged.insert(owner, count);
            }
        };
        // The moment is counted from the first acknowledgement: recovery before it takes its time.
        let first = lines.by_ref().find(|line| line.contains("ack "));
        let Some(first) = first else {
            let output = child.wait_with_output().unwrap();
            panic!("round {round}: the child died: {}", String::from_utf8_lossy(&output.stderr));
        };
        take(&first);
        let pause = Duration::from_micros(rng.random_range(0..150_000));
        let killer = thread::spawn(move || {
            thread::sleep(pause);
            child.kill().unwrap();
            child.wait().unwrap();
        });
        // A line cut off by the kill parses as a smaller number, if at all: no stronger claim.
        lines.for_each(|line| take(&line));
        killer.join().unwrap();

        let (durability, producers) = open(dir.path());
        for (owner, (counter, steps)) in load(&durability) {
            let promised = acknowledged.get(&owner).copied().unwrap_or(0);
            assert!(counter >= promised, "round {round}: {promised} was acknowledged, {counter} is there");
            assert_eq!(
                steps,
                (1..=counter).collect::<Vec<_>>(),
                "round {round}: both rows of every step, once"
            );
        }
        drop(producers);
        durability.shutdown().unwrap();
    }
    assert!(acknowledged.values().sum::<i64>() > i64::from(ROUNDS), "{acknowledged:?}");
}
