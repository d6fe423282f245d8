//! The bus of events: every row of the ledger, once and in order, in a stream of Redis for each shard.
//!
//! The ledger in the database is the outbox: what stands there is committed. How far it was told is known to the stream, by the
//! id of its last event, which follows from the row's key; so Redis refuses what it has, and what it lost is told again. A
//! row's event is its columns as JSON.
//!
//! Reads are a page at a time on the persistence thread, between its transactions; a database that is away is waited for.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vyuha_game::ledger::LedgerRow;
use vyuha_gateway::Metrics;
use vyuha_hot::{Event, EventId, HotError, Lifetimes};
use vyuha_record::{Record as _, Value};
use vyuha_store::{Handle, Part, Store, StoreError};

use super::Hot;
use crate::run::{RunRow, SOURCE_BITS, source};

/// Events that are read and told at once.
const PAGE: usize = 500;
/// How often it is looked whether there is something to tell.
const GATHER: Duration = Duration::from_millis(100);
/// How long it is waited after a failure; Redis's breaker and the database's wait longer by themselves.
const AGAIN: Duration = Duration::from_millis(500);

// A transaction's number and its run's epoch share an event's sequence number, which Redis bounds.
const _: () = assert!(SOURCE_BITS < 63);

/// A shard's stream.
struct Stream {
    name: String,
    shard: u16,
    place: Option<Place>,
}

/// How far a stream has come.
#[derive(Clone, Copy)]
struct Place {
    /// The last event that it is known to have.
    has: EventId,
    /// The ledger is read on after this one.
    read: EventId,
}

/// Why events were not told now.
#[derive(Debug, thiserror::Error)]
enum EventsError {
    #[error(transparent)]
    Hot(#[from] HotError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EventsError {
    /// Whether nothing else would fare better just now.
    fn is_of_all(&self) -> bool {
        use StoreError::{Stopped, Unavailable};
        matches!(self, Self::Hot(HotError::Away(_)) | Self::Store(Unavailable { .. } | Stopped))
    }
}

/// Since when there is something in the database that is not in its stream. Whoever shows it finds it growing as well while the
/// one that tells events hangs, or is no more.
pub type BehindSince = Rc<Cell<Option<Instant>>>;

/// Tells events until it is dropped, or the persistence thread ends. `runs` are the runs of this node, the last of which goes
/// on.
pub async fn publish(
    hot: Hot,
    node: String,
    runs: Vec<RunRow>,
    store: Handle,
    metrics: Arc<Metrics>,
    behind_since: BehindSince,
) {
    let shards = runs.iter().map(|run| run.shards as u16).max().unwrap_or(0);
    let streams =
        (0..shards).map(|shard| Stream { name: format!("ledger:{node}:{shard}"), shard, place: None });
    let mut streams: Vec<Stream> = streams.collect();
    let publisher = Publisher { hot, runs, store, metrics };
    let mut connections = publisher.hot.connections();
    loop {
        behind_since.set(behind_since.get().or(Some(Instant::now())));
        let applied = publisher.store.applied();
        if publisher.hot.connections() != connections {
            // Another Redis, or the same one without what it held: also streams to which nothing is added are told again.
            connections = publisher.hot.connections();
            for stream in &mut streams {
                stream.place = None;
            }
        }
        match publisher.tell_all(&mut streams).await {
            Ok(()) => behind_since.set(None),
            Err(EventsError::Store(StoreError::Stopped)) => return,
            // It is said already that Redis is away, or the database.
            Err(EventsError::Hot(HotError::Away(_)) | EventsError::Store(StoreError::Unavailable { .. })) => {
            }
            Err(error) => tracing::warn!(%error, "events of the ledger could not be told; they will be"),
        }
        if behind_since.get().is_some() {
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        // Whoever waits for the database hurries it; events may come as its transactions do.
        while publisher.store.applied() == applied && publisher.hot.connections() == connections {
            tokio::time::sleep(GATHER).await;
        }
    }
}

struct Publisher {
    hot: Hot,
    runs: Vec<RunRow>,
    store: Handle,
    metrics: Arc<Metrics>,
}

impl Publisher {
    /// Tells all that the ledger has and the streams have not. A stream that fails by itself holds up no other; the first failure
    /// comes back.
    async fn tell_all(&self, streams: &mut [Stream]) -> Result<(), EventsError> {
        let mut told = Ok(());
        for stream in streams {
            match self.tell_stream(stream).await {
                Err(error) if error.is_of_all() => return Err(error),
                this => told = told.and(this),
            }
        }
        told
    }

    async fn tell_stream(&self, stream: &mut Stream) -> Result<(), EventsError> {
        while self.tell_page(stream).await? {}
        Ok(())
    }

    /// Tells a stream of some events; false where there are none.
    async fn tell_page(&self, stream: &mut Stream) -> Result<bool, EventsError> {
        let Place { has, read } = match stream.place {
            Some(place) => place,
            None => self.find(stream).await?,
        };
        let rows = self.rows_after(stream.shard, read).await?;
        let events: Vec<Event> = rows.iter().map(|row| event(row)).collect();
        let Some(last) = events.last().map(|event| event.id) else {
            // Only the run that goes on can still grow: those before it are not asked again.
            let begun = self.runs.last().map(|run| EventId { sequence: sequence(run.epoch, 0), index: 0 });
            stream.place = Some(Place { has, read: begun.map_or(read, |begun| read.max(begun)) });
            return Ok(false);
        };
        // Whatever fails, what the stream has is asked anew: it may have taken them.
        stream.place = None;
        match self.hot.store.append(&stream.name, has, &events).await {
            Ok(added) => {
                self.metrics.hot.events.inc_by(added);
                stream.place = Some(Place { has: last, read: last });
                Ok(true)
            }
            Err(HotError::Behind) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Where a stream stands. One that has nothing begins with as many of the latest transactions as a stream keeps events.
    async fn find(&self, stream: &Stream) -> Result<Place, EventsError> {
        let has = self.hot.store.last_event(&stream.name).await?;
        if has != EventId::default() {
            return Ok(Place { has, read: has });
        }
        let mut wanted = Lifetimes::default().stream_events as u64;
        for run in self.runs.iter().rev() {
            let last = self.last_transaction(source(run.epoch, stream.shard)).await?;
            if last >= wanted {
                let read = EventId { sequence: sequence(run.epoch, last - wanted), index: i64::MAX as u64 };
                return Ok(Place { has, read });
            }
            wanted -= last;
        }
        Ok(Place { has, read: has })
    }

    /// The number of a source's last transaction; 0 where it has none.
    async fn last_transaction(&self, source: i64) -> Result<u64, StoreError> {
        let read = move |store: &mut dyn Store| {
            store.select_part(&LedgerRow::TABLE, &Value::Int(source), Part::Last, 1)
        };
        let rows = self.store.call(read).await?;
        Ok(rows.first().map_or(0, |row| int(row, "seq") as u64))
    }

    /// Up to a page of a shard's rows after an event's, in order, of one run.
    async fn rows_after(&self, shard: u16, after: EventId) -> Result<Vec<Vec<Value>>, StoreError> {
        let epoch = (after.sequence >> SOURCE_BITS) as i64;
        for run in self.runs.iter().filter(|run| run.epoch >= epoch) {
            let (seq, idx) = if run.epoch == epoch {
                ((after.sequence & ((1 << SOURCE_BITS) - 1)) as i64, after.index as i64)
            } else {
                (0, 0)
            };
            let source = source(run.epoch, shard);
            let read = move |store: &mut dyn Store| {
                let after = [Value::Int(seq), Value::Int(idx)];
                store.select_part(&LedgerRow::TABLE, &Value::Int(source), Part::After(&after), PAGE)
            };
            let rows = self.store.call(read).await?;
            if !rows.is_empty() {
                return Ok(rows);
            }
        }
        Ok(Vec::new())
    }
}

/// The number of an event of a transaction: that of its run first, so that it rises from run to run.
fn sequence(epoch: i64, transaction: u64) -> u64 {
    ((epoch as u64) << SOURCE_BITS) + transaction
}

/// The event of a ledger's row.
fn event(row: &[Value]) -> Event {
    let columns = LedgerRow::TABLE.columns.iter().map(|column| (column.name, int(row, column.name)));
    let body: serde_json::Map<String, serde_json::Value> =
        columns.map(|(name, value)| (name.to_owned(), value.into())).collect();
    let epoch = int(row, "source") >> SOURCE_BITS;
    let id = EventId { sequence: sequence(epoch, int(row, "seq") as u64), index: int(row, "idx") as u64 };
    Event { id, body: serde_json::Value::Object(body).to_string().into_bytes() }
}

/// A column of a ledger's row, which has integers only.
fn int(row: &[Value], name: &str) -> i64 {
    let at = LedgerRow::TABLE.columns.iter().position(|column| column.name == name);
    match at.and_then(|at| row.get(at)) {
        Some(Value::Int(int)) => *int,
        _ => unreachable!("every column of the ledger is an integer, which the store has checked"),
    }
}

#[cfg(test)]
mod tests {
    use vyuha_hot::MemoryHot;
    use vyuha_store::migrate::OlderSchema;
    use vyuha_store::{
        Durability, DurabilityConfig, LINGER, PersistenceConfig, StoreConfig, TypedStore as _,
    };

    use super::*;

    /// The ledger's row of a transaction with one.
    fn ledger_row(epoch: i64, shard: u16, seq: i64) -> LedgerRow {
        LedgerRow {
            source: source(epoch, shard),
            seq,
            idx: 0,
            at_ms: 5,
            reason: 8,
            item: 9,
            kind: 1,
            count: 2,
            from_place: 0,
            from_owner: 7,
            to_place: 0,
            to_owner: 6,
            counterparty: 6,
        }
    }

    fn stream(name: &str, shard: u16) -> Stream {
        Stream { name: name.to_owned(), shard, place: None }
    }

    /// Tells with a node's database of so many runs, in which each shard's first run has a transaction.
    async fn with_runs(count: i64, test: impl AsyncFnOnce(Publisher, Handle)) {
        let dir = tempfile::tempdir().unwrap();
        let config = DurabilityConfig {
            data_dir: dir.path().into(),
            node: "west".into(),
            producers: 1,
            segment_bytes: 1 << 20,
            journal_bytes_max: 4 << 20,
            queue_batches: 8,
            store: StoreConfig::Sqlite,
            older_schema: OlderSchema::Migrate,
            logs: Vec::new(),
            archive_dir: dir.path().join("archive"),
            persistence: PersistenceConfig { linger: LINGER, ..PersistenceConfig::default() },
        };
        let tables = crate::node::tables();
        let (durability, producers) =
            Durability::open(&config, &tables, &(Arc::new(|_: &str| ()) as _)).unwrap();
        let store = durability.handle();
        for shard in 0..2 {
            store.call(move |store| store.insert_row(&ledger_row(1, shard, 1))).await.unwrap();
        }
        let run = |epoch| RunRow { epoch, node: "west".into(), shards: 2, began_ms: 0 };
        let hot = Hot { store: Arc::new(MemoryHot::new(Lifetimes::default())), redis: None };
        let metrics = Arc::new(Metrics::new(2, "", ""));
        let runs = (1..=count).map(run).collect();
        test(Publisher { hot, runs, store: store.clone(), metrics }, store).await;
        drop(producers);
        durability.shutdown().unwrap();
    }

    #[tokio::test]
    async fn runs_that_are_over_are_asked_once() {
        with_runs(20, async |publisher, store| {
            let mut streams = [stream("0", 0), stream("1", 1)];
            publisher.tell_all(&mut streams).await.unwrap();
            assert_eq!(publisher.metrics.hot.events.get(), 2);
            let before = store.stats().requests;
            publisher.tell_all(&mut streams).await.unwrap();
            assert_eq!(store.stats().requests - before, 2, "one for each stream");
            // What the last run adds is told.
            store.call(|store| store.insert_row(&ledger_row(20, 1, 1))).await.unwrap();
            publisher.tell_all(&mut streams).await.unwrap();
            assert_eq!(publisher.metrics.hot.events.get(), 3);
        })
        .await;
    }

    #[tokio::test]
    async fn a_stream_that_is_refused_holds_up_no_other() {
        with_runs(1, async |publisher, _| {
            // No store takes a stream without a name.
            let mut streams = [stream("", 0), stream("1", 1)];
            let told = publisher.tell_all(&mut streams).await;
            assert!(matches!(told, Err(EventsError::Hot(HotError::Invalid(_)))), "{told:?}");
            assert_eq!(publisher.metrics.hot.events.get(), 1);
        })
        .await;
    }

    #[test]
    fn an_event_is_its_row_and_its_id_rises_from_run_to_run() {
        let row = |epoch, shard, seq, idx| LedgerRow { idx, ..ledger_row(epoch, shard, seq) };
        let told = event(&row(3, 1, 7, 2).to_values());
        let body: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
        assert_eq!(told.id, EventId { sequence: (3 << SOURCE_BITS) + 7, index: 2 });
        assert_eq!((&body["source"], &body["counterparty"]), (&source(3, 1).into(), &6.into()));
        assert_eq!(body.as_object().unwrap().len(), LedgerRow::TABLE.columns.len());
        let ids = [(1, 1, 0), (1, 1, 1), (1, 2, 0), (1, i64::from(u32::MAX) * 200, 0), (2, 1, 0)];
        let ids = ids.map(|(epoch, seq, idx)| event(&row(epoch, 0, seq, idx).to_values()).id);
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    }
}
