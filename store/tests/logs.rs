//! Log tables on both engines: partitions ahead, and archives of what is past its time.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Read as _,
    path::Path,
    time::{Duration, Instant},
};

use flate2::read::GzDecoder;
use rusqlite::Connection;
use vyuha_store::{
    PostgresSettings, Reading,
    logs::{LogKeeper, LogStore, LogTable, Period, keep},
};
use vyuha_test_postgres::Postgres;

const DAY: Duration = Duration::from_hours(24);
/// 2026-11-21 in milliseconds since 1970.
const NOW_MS: i64 = 1_795_219_200_000;

fn table(retention: Duration) -> LogTable {
    LogTable {
        name: "log",
        time_column: "at_ms",
        period: Period::Month,
        is_partitioned: true,
        retention,
        carry: None,
    }
}

/// The lines of an archive, its head first.
fn lines(path: &Path) -> Vec<String> {
    let mut text = String::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn files(dir: &Path) -> BTreeSet<String> {
    let names = dir.read_dir().into_iter().flatten().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

/// A row a day for the 150 days before now, and one without a time.
fn rows() -> String {
    let days = (0..150).map(|day| format!("({day}, {}, 'day {day}')", NOW_MS - i64::from(day) * 86_400_000));
    let rows: Vec<_> = days.chain(["(1000, 0, 'before all')".to_owned()]).collect();
    format!("INSERT INTO log VALUES {}", rows.join(", "))
}

/// The months whose last day is over the retention.
const ARCHIVES: [&str; 4] =
    ["log_2026_06.csv.gz", "log_2026_07.csv.gz", "log_2026_08.csv.gz", "log_2026_09.csv.gz"];
/// Days of these months that rows are of: from June 25th on.
const ARCHIVED: [usize; 4] = [6, 31, 31, 30];

fn assert_archives(dir: &Path) {
    assert_eq!(files(dir), ARCHIVES.map(str::to_owned).into());
    for (name, rows) in ARCHIVES.into_iter().zip(ARCHIVED) {
        let lines = lines(&dir.join(name));
        assert_eq!(lines[0], "id,at_ms,what");
        assert_eq!(lines.len() - 1, rows, "{name}");
        assert!(lines[1..].iter().all(|line| line.contains(",day ")), "{lines:?}");
    }
}

#[test]
fn sqlite_rows_past_their_time_are_archived_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (path, archive_dir) = (dir.path().join("a.sqlite"), dir.path().join("archive"));
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("CREATE TABLE log (id BIGINT PRIMARY KEY, at_ms BIGINT, what TEXT)").unwrap();
    connection.execute_batch(&rows()).unwrap();
    let store = LogStore::Sqlite(path);
    // From now 40 days back is in October.
    let retired = keep(&store, &[table(40 * DAY)], &archive_dir, NOW_MS).unwrap();
    assert_eq!(retired, ARCHIVED.iter().sum::<usize>() as u64);
    assert_archives(&archive_dir);
    let left: i64 = connection.query_row("SELECT count(*) FROM log", (), |row| row.get(0)).unwrap();
    assert_eq!(left as u64, 151 - retired);
    assert_eq!(keep(&store, &[table(40 * DAY)], &archive_dir, NOW_MS).unwrap(), 0, "once");
    assert_archives(&archive_dir);
}

/// A table that PostgreSQL does not partition, and of which something is carried over.
#[test]
fn rows_of_plain_tables_are_archived_deleted_and_carried() {
    let dir = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    let url = postgres.database();
    let settings = PostgresSettings::new(&url, None, None, None, Duration::from_secs(20)).unwrap();
    let path = dir.path().join("a.sqlite");
    let connection = Connection::open(&path).unwrap();
    let carry = "INSERT INTO kept (id, rows) SELECT 1, count(*) FROM {rows} WHERE true
                 ON CONFLICT (id) DO UPDATE SET rows = kept.rows + excluded.rows";
    let plain = LogTable { is_partitioned: false, carry: Some(carry.into()), ..table(40 * DAY) };
    let make = "CREATE TABLE log (id BIGINT PRIMARY KEY, at_ms BIGINT, what TEXT); \
                CREATE TABLE kept (id BIGINT PRIMARY KEY, rows BIGINT)";
    let check = |store: &LogStore, name: &str, run: &dyn Fn(&str), number: &dyn Fn(&str) -> i64| {
        let archive_dir = dir.path().join(name);
        run(make);
        run(&rows());
        assert!(keep(store, std::slice::from_ref(&plain), &archive_dir, NOW_MS).unwrap() > 0);
        assert_archives(&archive_dir);
        let gone = ARCHIVED.iter().sum::<usize>() as i64;
        assert_eq!(number("SELECT count(*) FROM log"), 151 - gone, "{name}");
        assert_eq!(number("SELECT rows FROM kept"), gone, "{name}");
        assert_eq!(
            keep(store, std::slice::from_ref(&plain), &archive_dir, NOW_MS).unwrap(),
            0,
            "{name}: once"
        );
    };
    check(&LogStore::Sqlite(path), "sqlite", &|sql| connection.execute_batch(sql).unwrap(), &|sql| {
        connection.query_row(sql, (), |row| row.get(0)).unwrap()
    });
    let store = LogStore::Postgres(Box::new(settings));
    check(&store, "postgres", &|sql| drop(postgres.psql(&url, sql)), &|sql| {
        postgres.psql(&url, sql).parse().unwrap()
    });
}

#[test]
fn postgres_partitions_are_made_ahead_archived_and_dropped() {
    let postgres = Postgres::shared();
    let (url, dir) = (postgres.database(), tempfile::tempdir().unwrap());
    let settings = PostgresSettings::new(&url, None, None, None, Duration::from_secs(20)).unwrap();
    let store = LogStore::Postgres(Box::new(settings));
    postgres.psql(
        &url,
        "CREATE TABLE log (id BIGINT, at_ms BIGINT, what TEXT, PRIMARY KEY (id, at_ms)) PARTITION BY RANGE (at_ms);
         CREATE TABLE log_default PARTITION OF log DEFAULT",
    );
    let partitions = || {
        let sql = "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'log'::regclass";
        postgres.psql(&url, sql).lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    // Half a year, as if a node had run all the time.
    for day in (0..150).rev().step_by(15) {
        keep(&store, &[table(Duration::MAX)], dir.path(), NOW_MS - day * 86_400_000).unwrap();
    }
    let made = partitions();
    assert!(
        ["log_2026_06", "log_2026_11", "log_2027_01", "log_default"].iter().all(|name| made.contains(*name))
    );
    assert_eq!(made.len(), 9, "June to January, and the default one: {made:?}");
    postgres.psql(&url, &rows());
    assert_eq!(keep(&store, &[table(40 * DAY)], dir.path(), NOW_MS).unwrap(), 4);
    assert_archives(dir.path());
    assert_eq!(partitions().len(), 5);
    let left = 151 - ARCHIVED.iter().sum::<usize>();
    assert_eq!(postgres.psql(&url, "SELECT count(*) FROM log"), left.to_string());
    assert_eq!(keep(&store, &[table(40 * DAY)], dir.path(), NOW_MS).unwrap(), 0, "once");

    // What cannot be archived stays.
    let file = dir.path().join("file");
    File::create(&file).unwrap();
    let refused = keep(&store, &[table(Duration::ZERO)], &file, NOW_MS + 60 * 86_400_000).unwrap_err();
    assert!(refused.to_string().contains("store.archive_dir"), "{refused}");
    assert_eq!(postgres.psql(&url, "SELECT count(*) FROM log"), left.to_string());
}

#[test]
fn whoever_reads_for_long_has_no_writer_wait_for_a_partition_to_go() {
    let postgres = Postgres::shared();
    let (url, dir) = (postgres.database(), tempfile::tempdir().unwrap());
    let settings = PostgresSettings::new(&url, None, None, None, Duration::from_secs(20)).unwrap();
    let store = LogStore::Postgres(Box::new(settings));
    postgres.psql(
        &url,
        "CREATE TABLE log (id BIGINT, at_ms BIGINT, what TEXT) PARTITION BY RANGE (at_ms);
         CREATE TABLE log_default PARTITION OF log DEFAULT",
    );
    for day in (0..150).rev().step_by(15) {
        keep(&store, &[table(Duration::MAX)], dir.path(), NOW_MS - day * 86_400_000).unwrap();
    }
    postgres.psql(&url, &rows());
    let mut reading = Reading::open(&store).unwrap();
    reading.begin().unwrap();
    reading.query("SELECT id FROM log WHERE id = ?1", &[7.into()]).unwrap();
    std::thread::scope(|scope| {
        // Another month is to be made as well.
        let keeping = scope.spawn(|| keep(&store, &[table(72 * DAY)], dir.path(), NOW_MS + 32 * 86_400_000));
        for nth in 0..30 {
            let begun = Instant::now();
            postgres.psql(&url, &format!("INSERT INTO log VALUES (2000, {NOW_MS}, 'new')"));
            assert!(
                begun.elapsed() < Duration::from_secs(3),
                "writer {nth} waited for {:?}",
                begun.elapsed()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(!keeping.is_finished());
        assert!(
            files(dir.path()).iter().all(|name| name.ends_with(".unfinished")),
            "{:?}",
            files(dir.path())
        );
        reading.end().unwrap();
        assert_eq!(keeping.join().unwrap().unwrap(), 4);
    });
    assert_archives(dir.path());
}

/// A row that comes while others are archived is not deleted with them.
#[test]
fn rows_that_come_while_others_are_archived_stay() {
    let postgres = Postgres::shared();
    let (url, dir) = (postgres.database(), tempfile::tempdir().unwrap());
    let settings = PostgresSettings::new(&url, None, None, None, Duration::from_secs(20)).unwrap();
    let store = LogStore::Postgres(Box::new(settings));
    postgres.psql(&url, "CREATE TABLE log (id BIGINT PRIMARY KEY, at_ms BIGINT, what TEXT)");
    postgres.psql(&url, &rows());
    // What is carried waits until the gate is open: the rows are archived then, and not yet deleted.
    let carry = "SELECT pg_advisory_xact_lock(7)".to_owned();
    let plain = LogTable { is_partitioned: false, carry: Some(carry), ..table(70 * DAY) };
    let mut gate = Reading::open(&store).unwrap();
    gate.query("SELECT 1::bigint FROM pg_advisory_lock(7)", &[]).unwrap();
    std::thread::scope(|scope| {
        let keeping = scope.spawn(|| keep(&store, &[plain], dir.path(), NOW_MS));
        let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted";
        while postgres.psql(&url, waits) == "0" {
            assert!(!keeping.is_finished());
            std::thread::sleep(Duration::from_millis(20));
        }
        let late_ms = NOW_MS - 149 * 86_400_000 + 5;
        postgres.psql(&url, &format!("INSERT INTO log VALUES (3000, {late_ms}, 'day late')"));
        drop(gate);
        keeping.join().unwrap().unwrap();
    });
    let archived: usize = files(dir.path()).iter().map(|name| lines(&dir.path().join(name)).len() - 1).sum();
    let left: usize = postgres.psql(&url, "SELECT count(*) FROM log").parse().unwrap();
    assert_eq!(archived + left, 152);
}

#[test]
fn the_thread_makes_partitions_before_anything_is_written_and_ends() {
    let postgres = Postgres::shared();
    let (url, dir) = (postgres.database(), tempfile::tempdir().unwrap());
    postgres.psql(&url, "CREATE TABLE log (at_ms BIGINT NOT NULL) PARTITION BY RANGE (at_ms)");
    let settings = PostgresSettings::new(&url, None, None, None, Duration::from_secs(20)).unwrap();
    let keeper =
        LogKeeper::start(LogStore::Postgres(Box::new(settings)), vec![table(DAY)], dir.path().into())
            .unwrap();
    postgres.psql(&url, "INSERT INTO log VALUES (extract(epoch FROM now()) * 1000)");
    drop(keeper);
}
