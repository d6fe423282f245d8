//! The search for doubled and lost items: a thread of its own compares all items with the whole ledger, again and again.
//!
//! It reads over a connection of its own, a page at a time: the ledger as far as it has grown since the last time, then what
//! little came meanwhile and all items as of one moment. What it finds is logged with its history, counted, and shown on the
//! admin port; nothing is changed, and the node stays ready. Shards know nothing of it.
//!
//! Memory: see [`Balances`] and [`Tally`]; about 150 bytes an item, while it searches. Of the nodes of a database one searches.

mod history;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossbeam::channel::{Receiver, Sender, TryRecvError, at, bounded, never, select};
use vyuha_game::Content;
use vyuha_game::ItemRow;
use vyuha_game::ledger::{Balances, Carried, Finding, LedgerRow, PLACE_NOWHERE, Tally};
use vyuha_gateway::{Metrics, ScanFinding, ScanOrder, ScanReport, Scans};
use vyuha_protocol::ItemKind;
use vyuha_record::{Record, Value};
use vyuha_store::logs::LogStore;
use vyuha_store::{Reading, StoreError};

use crate::events::{About, Events, What};

/// Rows of one query.
const PAGE_ROWS: usize = 5000;
/// Findings of a report that are told with their history; the others are counted.
const FINDINGS_TOLD_MAX: usize = 50;
/// Attempts in a row that an archive may spoil, which takes entries away while they are read.
const TRIES_MAX: u32 = 3;
/// Held by the one node of a database that searches, for as long as it is connected.
const SEARCH_LOCK: i64 = 0x7679_7568_6102;
/// Intervals without a search that came to its end after which one is overdue.
const OVERDUE_INTERVALS: u32 = 3;
/// Whatever is configured, the database has some peace between two searches.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The thread. Ends when it is dropped, within a query.
pub struct Scanner {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread works with.
pub struct Parts {
    /// Where items and ledger are.
    pub store: LogStore,
    /// Time between two searches; zero for none but those that are ordered.
    pub interval: Duration,
    /// What is played.
    pub content: Arc<Content>,
    /// The node's figures.
    pub metrics: Arc<Metrics>,
    /// The log of operations.
    pub events: Events,
    /// Where it says what it found.
    pub scans: Scans,
    /// Orders from the admin port.
    pub orders: Receiver<ScanOrder>,
}

impl Scanner {
    /// Starts it; the first search begins at once, unless there are none.
    ///
    /// # Errors
    /// Where the thread cannot be started.
    pub fn start(parts: Parts) -> anyhow::Result<Scanner> {
        let (stop, stopped) = bounded::<()>(0);
        let run = move || {
            crate::node::yield_to_shards();
            Searcher::new(parts, stopped).run();
        };
        let thread = std::thread::Builder::new()
            .name("vyuha-scan".into())
            .spawn(run)
            .context("the thread that searches for doubled items cannot be started")?;
        Ok(Scanner { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that searches for doubled items panicked");
        }
    }
}

struct Searcher {
    parts: Parts,
    stopped: Stopped,
    reading: Option<Reading>,
    books: Books,
    /// What was found last, so that it is not logged again and again.
    known: Vec<Finding>,
}

/// Whether the thread is to end; asked between two queries.
struct Stopped(Receiver<()>);

impl Stopped {
    fn check(&self) -> Result<(), Unfinished> {
        if self.0.try_recv() == Err(TryRecvError::Disconnected) { Err(Unfinished::Stopped) } else { Ok(()) }
    }
}

/// Why a search did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Unfinished {
    #[error("the node ends")]
    Stopped,
    #[error("another node of the database searches: ask that one")]
    Elsewhere,
    #[error("entries of the ledger went into archives while they were read, {TRIES_MAX} times in a row")]
    Spoilt,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the ledger came to, as far as it was read.
#[derive(Default)]
struct Books {
    balances: Balances,
    /// The last entry read, by source.
    read: BTreeMap<i64, (i64, i64)>,
    /// What was in archives when reading began; `None` before.
    carried: Option<Vec<Carried>>,
    /// Whether that still held once all was read.
    settled: bool,
}

impl Searcher {
    fn new(parts: Parts, stopped: Receiver<()>) -> Searcher {
        let stopped = Stopped(stopped);
        Searcher { parts, stopped, reading: None, books: Books::default(), known: Vec::new() }
    }

    fn run(mut self) {
        let (mut orders, interval) = (self.parts.orders.clone(), self.parts.interval);
        let in_time = || (!interval.is_zero()).then(|| Instant::now() + interval.max(INTERVAL_MIN));
        let mut next = (!interval.is_zero()).then(Instant::now);
        self.show_due();
        while self.stopped.check().is_ok() {
            let due = next.map_or_else(never, at);
            select! {
                recv(self.stopped.0) -> _ => return,
                recv(orders) -> order => match order {
                    // Whoever asked may have gone.
                    Ok(ScanOrder::Item(id, answer)) => drop(answer.send(self.tell_item(id))),
                    Ok(ScanOrder::Scan(answer)) => {
                        drop(answer.send(self.search()));
                        next = in_time();
                    }
                    // Nobody is left to give any.
                    Err(_) => orders = never(),
                },
                recv(due) -> _ => {
                    let _ = self.search();
                    next = in_time();
                }
            }
        }
    }

    /// Searches once, and tells everybody.
    fn search(&mut self) -> Result<ScanReport, String> {
        let outcome = self.report();
        let metrics = &self.parts.metrics;
        match &outcome {
            Ok(report) => {
                metrics.dupe_scan("ok").inc();
                metrics.dupe_scan_findings.set(report.findings_total);
                metrics.dupe_scan_seconds.set(report.seconds);
                metrics.dupe_scan_last_success.set(crate::clock::unix_ms() as u64 / 1000);
                self.show_due();
            }
            Err(Unfinished::Stopped) => {}
            Err(Unfinished::Elsewhere) => {
                metrics.dupe_scan_findings.set(0);
                metrics.dupe_scan_due.set(0);
                // Should it have to search after all, it begins at the beginning: nothing is kept until then.
                self.books = Books::default();
            }
            Err(error) => {
                metrics.dupe_scan("failed").inc();
                tracing::warn!(%error, "the search for doubled items was not finished; it is tried again");
                if metrics.dupe_scan_due.get() == 0 {
                    self.show_due();
                }
            }
        }
        if !matches!(outcome, Ok(_) | Err(Unfinished::Elsewhere)) {
            // What was under way is in doubt with the connection.
            self.reading = None;
        }
        let outcome = outcome.map_err(|error| error.to_string());
        self.parts.scans.publish(outcome.clone());
        outcome
    }

    fn report(&mut self) -> Result<ScanReport, Unfinished> {
        let (began, began_unix_ms) = (Instant::now(), crate::clock::unix_ms());
        let (findings, items, ledger_rows) = self.compare()?;
        let told = findings.iter().take(FINDINGS_TOLD_MAX).map(|finding| {
            self.stopped.check()?;
            Ok(self.tell(finding))
        });
        let told = told.collect::<Result<Vec<_>, Unfinished>>()?;
        let report = ScanReport {
            began_unix_ms,
            seconds: began.elapsed().as_secs_f64(),
            items,
            ledger_rows,
            findings_total: findings.len() as u64,
            findings: told,
        };
        self.log(&findings, &report);
        Ok(report)
    }

    /// Says by when the next search is to have come to its end.
    fn show_due(&self) {
        let within = (self.parts.interval * OVERDUE_INTERVALS).as_secs();
        let due =
            if self.parts.interval.is_zero() { 0 } else { crate::clock::unix_ms() as u64 / 1000 + within };
        self.parts.metrics.dupe_scan_due.set(due);
    }

    fn log(&mut self, findings: &[Finding], report: &ScanReport) {
        for (finding, told) in findings.iter().zip(&report.findings) {
            if !self.known.contains(finding) {
                let history = serde_json::to_string(&told.history).unwrap_or_default();
                tracing::error!(%finding, %history, "items are doubled, lost or elsewhere");
                self.parts.events.note(What::Doubled, About::default(), finding.to_string());
            }
        }
        if !findings.is_empty() {
            let (total, listed) = (findings.len(), report.findings.len());
            tracing::error!(total, listed, "the search for doubled items found something: see GET /api/scan");
        }
        self.known = findings.to_vec();
    }

    /// What is wrong, how many items there are, and how many entries of the ledger were new.
    fn compare(&mut self) -> Result<(Vec<Finding>, u64, u64), Unfinished> {
        let mut ledger_rows = 0;
        for _ in 0..TRIES_MAX {
            let stacks = stacks(&self.parts.content);
            let reading = connected(&mut self.reading, &self.parts.store)?;
            if !reading.claim(SEARCH_LOCK)? {
                return Err(Unfinished::Elsewhere);
            }
            // The greater part without holding a moment of the database.
            ledger_rows += self.books.catch_up(reading, &stacks, &self.stopped)?;
            reading.begin()?;
            let spoilt = !self.books.is_whole(reading)?;
            let found = if spoilt {
                None
            } else {
                ledger_rows += self.books.catch_up(reading, &stacks, &self.stopped)?;
                let (tally, items) = tally(reading, &stacks, &self.stopped)?;
                Some((self.books.balances.compare(tally), items))
            };
            reading.end()?;
            match found {
                Some((findings, items)) => return Ok((findings, items, ledger_rows)),
                None => self.books = Books::default(),
            }
        }
        Err(Unfinished::Spoilt)
    }

    fn tell(&mut self, finding: &Finding) -> ScanFinding {
        let history = connected(&mut self.reading, &self.parts.store)
            .and_then(|reading| history::of_finding(reading, finding))
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "the history of a finding cannot be read");
                Vec::new()
            });
        let item = finding.item().map(|item| item.to_string());
        ScanFinding { what: finding.to_string(), item, history }
    }

    fn tell_item(&mut self, id: i64) -> Result<vyuha_gateway::ItemHistory, String> {
        let told =
            connected(&mut self.reading, &self.parts.store).and_then(|reading| history::of_item(reading, id));
        told.map_err(|error| {
            self.reading = None;
            error.to_string()
        })
    }
}

/// The connection, opened where there is none.
fn connected<'a>(reading: &'a mut Option<Reading>, store: &LogStore) -> Result<&'a mut Reading, StoreError> {
    match reading {
        Some(reading) => Ok(reading),
        none => Ok(none.insert(Reading::open(store)?)),
    }
}

/// Whether a kind stacks.
fn stacks(content: &Content) -> impl Fn(i64) -> bool {
    let stacking = content.items.iter().filter(|item| item.stack_max > 1);
    let kinds: Vec<ItemKind> = stacking.map(|item| item.id).collect();
    move |kind| u16::try_from(kind).is_ok_and(|kind| kinds.contains(&ItemKind(kind)))
}

impl Books {
    /// Reads what the ledger has grown by. Entries of a source come in their order; each source has its own.
    fn catch_up(
        &mut self,
        reading: &mut Reading,
        stacks: &impl Fn(i64) -> bool,
        stopped: &Stopped,
    ) -> Result<u64, Unfinished> {
        if self.carried.is_none() {
            let carried = carried(reading)?;
            for carried in &carried {
                self.balances.carry(carried);
            }
            self.carried = Some(carried);
        }
        let (columns, mut rows) = (columns::<LedgerRow>(), 0);
        let page_sql = format!(
            "SELECT {columns} FROM ledger WHERE source = ?1 AND (seq, idx) > (?2, ?3) \
             ORDER BY source, seq, idx LIMIT {PAGE_ROWS}"
        );
        let mut source = i64::MIN;
        // By the key's index, source after source.
        while let Some(next) = next_source(reading, source)? {
            source = next;
            loop {
                stopped.check()?;
                let (seq, idx) = self.read.get(&source).copied().unwrap_or((i64::MIN, i64::MIN));
                let page = reading.query(&page_sql, &[source.into(), seq.into(), idx.into()])?;
                let full = page.len() == PAGE_ROWS;
                rows += page.len() as u64;
                for row in page {
                    let row = LedgerRow::from_values(&row).map_err(StoreError::from)?;
                    self.balances.enter(&row, stacks);
                    self.read.insert(source, (row.seq, row.idx));
                }
                if !full {
                    break;
                }
            }
        }
        Ok(rows)
    }

    /// Whether no entry went into an archive while the ledger was read for the first time: it would count twice, or not at all.
    /// What goes after it was read counts on.
    fn is_whole(&mut self, reading: &mut Reading) -> Result<bool, StoreError> {
        if !self.settled {
            self.settled = self.carried == Some(carried(reading)?);
            self.carried = self.carried.take().map(|_| Vec::new());
        }
        Ok(self.settled)
    }
}

fn next_source(reading: &mut Reading, after: i64) -> Result<Option<i64>, StoreError> {
    let found = reading
        .query("SELECT source FROM ledger WHERE source > ?1 ORDER BY source LIMIT 1", &[after.into()])?;
    Ok(match found.first().and_then(|row| row.first()) {
        Some(Value::Int(source)) => Some(*source),
        _ => None,
    })
}

fn carried(reading: &mut Reading) -> Result<Vec<Carried>, StoreError> {
    let sql = "SELECT kind, item, place, owner, count FROM ledger_carried ORDER BY kind, item, place, owner";
    let carried = reading.query(sql, &[])?.into_iter().filter_map(|row| match row[..] {
        [Value::Int(kind), Value::Int(item), Value::Int(place), Value::Int(owner), Value::Int(count)] => {
            Some(Carried { kind, item, place, owner, count })
        }
        _ => None,
    });
    Ok(carried.collect())
}

/// All items, and how many they are.
fn tally(
    reading: &mut Reading,
    stacks: &impl Fn(i64) -> bool,
    stopped: &Stopped,
) -> Result<(Tally, u64), Unfinished> {
    let sql =
        format!("SELECT {} FROM item WHERE id > ?1 ORDER BY id LIMIT {PAGE_ROWS}", columns::<ItemRow>());
    let (mut tally, mut items, mut last) = (Tally::default(), 0, i64::MIN);
    loop {
        stopped.check()?;
        let page = reading.query(&sql, &[last.into()])?;
        let full = page.len() == PAGE_ROWS;
        let rows = page.iter().map(|row| ItemRow::from_values(row)).collect::<Result<Vec<_>, _>>();
        let mut rows = rows.map_err(StoreError::from)?;
        if let (true, Some(end)) = (full, rows.last().map(|row| row.id)) {
            // An id that is there twice must not be cut by a page's end.
            rows.retain(|row| row.id != end);
        }
        for row in &rows {
            tally.count(row, stacks);
            items += 1;
        }
        match rows.last() {
            Some(row) if full => last = row.id,
            _ => return Ok((tally, items)),
        }
    }
}

/// What entries of the ledger come to that go into an archive stays, so that sums can still be compared.
pub fn carry_ledger(content: &Content) -> String {
    let singles = content.items.iter().filter(|item| item.stack_max == 1).map(|item| item.id.0.to_string());
    // No kind has the number 0.
    let singles: Vec<String> = singles.chain(["0".to_owned()]).collect();
    let singles = singles.join(", ");
    format!(
        "INSERT INTO ledger_carried (kind, item, place, owner, count)
         SELECT kind, CASE WHEN kind IN ({singles}) THEN item ELSE 0 END, place, owner, CAST(sum(n) AS BIGINT)
         FROM (SELECT kind, item, to_place AS place, to_owner AS owner, count AS n FROM {{rows}}
               UNION ALL
               SELECT kind, item, from_place, from_owner, -count FROM {{rows}}) AS moved
         WHERE place <> {PLACE_NOWHERE}
         GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0
         ON CONFLICT (kind, item, place, owner) DO UPDATE SET count = ledger_carried.count + excluded.count;
         DELETE FROM ledger_carried WHERE count = 0"
    )
}

fn columns<R: Record>() -> String {
    R::TABLE.columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}
