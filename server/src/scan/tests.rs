use std::path::Path;

use rusqlite::Connection;
use vyuha_store::PostgresSettings;
use vyuha_store::logs::{LogTable, Period, keep};
use vyuha_store::migrate::{self, Target};
use vyuha_test_postgres::Postgres;

use super::*;

const DAY_MS: i64 = 86_400_000;
const NOW_MS: i64 = 1000 * DAY_MS;

/// A kind that stacks and one that does not, of the example world.
fn kinds(content: &Content) -> (u16, u16) {
    let of = |stacks: bool| content.items.iter().find(|item| (item.stack_max > 1) == stacks).unwrap().id.0;
    (of(true), of(false))
}

/// So many days, a movement of each kind on each: picked up and dropped by turns, so that little is left of much.
fn entries(content: &Content, days: i64) -> Vec<String> {
    let (stack, single) = kinds(content);
    let mut rows = vec![
        format!("(1, 1, 0, {DAY_MS}, 1, 70, {stack}, 1000, -1, 0, 1, 2, 0)"),
        format!("(1, 1, 1, {DAY_MS}, 1, 80, {single}, 1, -1, 0, 1, 2, 0)"),
    ];
    for day in 2..=days {
        let at_ms = day * DAY_MS;
        let (from, to, reason) = if day % 2 == 0 { ("1, 2", "0, 7", 2) } else { ("0, 7", "1, 2", 3) };
        rows.push(format!("(1, {day}, 0, {at_ms}, {reason}, 80, {single}, 1, {from}, {to}, 0)"));
        rows.push(format!("(2, {day}, 0, {at_ms}, 2, {}, {stack}, 2, 1, 2, 0, 7, 0)", 100 + day));
    }
    rows
}

fn items(content: &Content, days: i64) -> Vec<String> {
    let (stack, single) = kinds(content);
    let carried = 2 * (days - 1);
    let (place, owner) = if days % 2 == 0 { (0, 7) } else { (1, 2) };
    vec![
        format!("(70, {stack}, {}, 1, 2, 0, 0, 0, 0)", 1000 - carried),
        format!("(71, {stack}, {carried}, 0, 7, 3, 0, 0, 0)"),
        format!("(80, {single}, 1, {place}, {owner}, 4, 0, 0, 0)"),
    ]
}

/// Searches before and after most of the ledger went into an archive, and as it grows on.
fn check(store: &LogStore, archive: &Path, write: impl Fn(&str)) {
    let content = Arc::new(Content::example());
    let (stack, _) = kinds(&content);
    let days = 900;
    write(&format!("INSERT INTO ledger VALUES {}", entries(&content, days).join(", ")));
    write(&format!("INSERT INTO item VALUES {}", items(&content, days).join(", ")));
    let table = LogTable {
        name: "ledger",
        time_column: "at_ms",
        period: Period::Month,
        is_partitioned: true,
        retention: Duration::from_hours(24 * 730),
        carry: Some(carry_ledger(&content)),
    };
    let search = |searcher: &mut Searcher| {
        let (findings, items, rows) = loop {
            match searcher.compare() {
                // The other one's connection is not gone yet.
                Err(Unfinished::Elsewhere) => std::thread::sleep(Duration::from_millis(10)),
                compared => break compared.unwrap(),
            }
        };
        searcher.reading = None;
        (findings.iter().map(ToString::to_string).collect::<Vec<_>>(), items, rows)
    };
    let mut before = searcher(store, &content);
    assert_eq!(search(&mut before), (vec![], 3, 2 * 900));
    assert_eq!(search(&mut before), (vec![], 3, 0), "nothing is read twice");

    assert!(keep(store, &[table], archive, NOW_MS).unwrap() > 0);
    assert_eq!(search(&mut before), (vec![], 3, 0), "what was read counts on");
    let mut after = searcher(store, &content);
    let (findings, _, rows) = search(&mut after);
    assert_eq!(findings, [""; 0], "what is in the archive is carried");
    assert!((1..2 * 900).contains(&rows), "{rows}");

    // One that was there grows, and one is new.
    write(&format!("INSERT INTO ledger VALUES (2, 901, 0, {NOW_MS}, 3, 71, {stack}, 5, 0, 7, 1, 2, 0)"));
    write(&format!("INSERT INTO ledger VALUES (9, 1, 0, {NOW_MS}, 1, 90, {stack}, 4, -1, 0, 1, 2, 0)"));
    write("UPDATE item SET count = count - 5 WHERE id = 71; UPDATE item SET count = count + 9 WHERE id = 70");
    for searcher in [&mut before, &mut after] {
        assert_eq!(search(searcher), (vec![], 3, 2));
    }
    write("DELETE FROM item WHERE id = 70");
    for searcher in [&mut before, &mut after] {
        let (findings, items, _) = search(searcher);
        assert_eq!((findings.len(), items), (1, 2), "{findings:?}");
    }
}

fn searcher(store: &LogStore, content: &Arc<Content>) -> Searcher {
    let metrics = Arc::new(Metrics::new(1, "", ""));
    let events = Events::deaf();
    let (_, orders) = bounded(1);
    let (store, content, scans) = (store.clone(), content.clone(), Scans::default());
    let interval = Duration::from_secs(1);
    Searcher::new(Parts { store, interval, content, metrics, events, scans, orders }, never())
}

fn fresh_file(dir: &Path) -> LogStore {
    let path = dir.join("world.sqlite");
    migrate::up(Target::Sqlite(&path), None).unwrap();
    LogStore::Sqlite(path)
}

#[test]
fn a_search_ends_with_the_node_and_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let mut searcher = searcher(&fresh_file(dir.path()), &Arc::new(Content::example()));
    assert!(searcher.search().is_ok());
    let (stop, stopped) = bounded(0);
    searcher.stopped = Stopped(stopped);
    assert!(searcher.search().is_ok());
    drop(stop);
    assert_eq!(searcher.search(), Err(Unfinished::Stopped.to_string()));
    assert_eq!(searcher.parts.metrics.dupe_scan("failed").get(), 0);
}

#[test]
fn without_an_interval_only_orders_are_searched_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut searcher = searcher(&fresh_file(dir.path()), &Arc::new(Content::example()));
    let (order, orders) = bounded(1);
    let (stop, stopped) = bounded(0);
    let metrics = searcher.parts.metrics.clone();
    (searcher.parts.interval, searcher.parts.orders) = (Duration::ZERO, orders);
    searcher.stopped = Stopped(stopped);
    let thread = std::thread::spawn(move || searcher.run());
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(metrics.dupe_scan("ok").get(), 0);
    let (answer, answered) = tokio::sync::oneshot::channel();
    order.send(ScanOrder::Scan(answer)).unwrap();
    assert!(answered.blocking_recv().unwrap().is_ok());
    assert_eq!((metrics.dupe_scan("ok").get(), metrics.dupe_scan_due.get()), (1, 0));
    drop(stop);
    thread.join().unwrap();
}

#[test]
fn of_the_nodes_of_a_database_one_searches() {
    let postgres = Postgres::start();
    let settings =
        PostgresSettings::new(&postgres.database(), None, None, None, Duration::from_secs(20)).unwrap();
    migrate::up(Target::Postgres(&settings), None).unwrap();
    let (store, content) = (LogStore::Postgres(Box::new(settings)), Arc::new(Content::example()));
    let (mut one, mut other) = (searcher(&store, &content), searcher(&store, &content));
    for _ in 0..2 {
        assert!(one.search().is_ok());
        assert_eq!(other.search(), Err(Unfinished::Elsewhere.to_string()));
    }
    let figures = |searcher: &Searcher| {
        let metrics = &searcher.parts.metrics;
        (metrics.dupe_scan("failed").get(), metrics.dupe_scan_due.get() > 0)
    };
    assert_eq!((figures(&one), figures(&other)), ((0, true), (0, false)));
    drop(one);
    let deadline = Instant::now() + Duration::from_secs(20);
    while other.search().is_err() {
        assert!(Instant::now() < deadline, "nobody searches");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(figures(&other), (0, true));
}

#[test]
fn sums_hold_over_archives_in_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("world.sqlite");
    migrate::up(Target::Sqlite(&path), None).unwrap();
    let connection = Connection::open(&path).unwrap();
    check(&LogStore::Sqlite(path), &dir.path().join("archive"), |sql| connection.execute_batch(sql).unwrap());
}

#[test]
fn sums_hold_over_archives_in_postgresql() {
    let dir = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    let url = postgres.database();
    let settings = PostgresSettings::new(&url, None, None, None, Duration::from_secs(20)).unwrap();
    migrate::up(Target::Postgres(&settings), None).unwrap();
    // As if the node had made the months in their time.
    let mut days: i64 = 0;
    while days < 950 {
        let sql = format!(
            "CREATE TABLE ledger_{days} PARTITION OF ledger FOR VALUES FROM ({}) TO ({})",
            (days * DAY_MS).max(1),
            (days + 50) * DAY_MS
        );
        postgres.psql(&url, &sql);
        days += 50;
    }
    let store = LogStore::Postgres(Box::new(settings));
    check(&store, &dir.path().join("archive"), |sql| drop(postgres.psql(&url, sql)));
}

#[test]
fn an_id_that_is_there_twice_is_found_where_a_page_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("world.sqlite");
    let connection = Connection::open(&path).unwrap();
    let (content, end) = (Content::example(), PAGE_ROWS as i64);
    let (_, single) = kinds(&content);
    let rows = (1..=2 * end + 3).map(|id| format!("({id}, {single}, 1, 1, 2, 0, 0, 0, 0)"));
    let twice =
        [1, end - 1, end, end + 1, 2 * end].map(|id| format!("({id}, {single}, 1, 0, {id}, 0, 0, 0, 0)"));
    let rows: Vec<String> = rows.chain(twice).collect();
    let sql = "CREATE TABLE item (id BIGINT, kind BIGINT, count BIGINT, place BIGINT, owner BIGINT, slot BIGINT, \
               x BIGINT, y BIGINT, wear BIGINT)";
    connection.execute_batch(&format!("{sql}; INSERT INTO item VALUES {}", rows.join(", "))).unwrap();
    let mut reading = Reading::open(&LogStore::Sqlite(path)).unwrap();
    let (tally, items) = tally(&mut reading, &stacks(&content), &Stopped(never())).unwrap();
    assert_eq!(items, 2 * end as u64 + 3 + 5);
    let twice = Balances::default().compare(tally);
    let twice = twice.iter().filter_map(|finding| match finding {
        Finding::Twice { item } => Some(*item),
        _ => None,
    });
    assert_eq!(twice.collect::<Vec<_>>(), [1, end - 1, end, end + 1, 2 * end]);
}
