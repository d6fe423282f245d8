//! A node as the server composes one (`server/src/node.rs`, `server/src/shards.rs`), but driven by hand: real shards, drivers,
//! sockets at the tick, journal and persistence.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use vyuha_core::SimdLevel;
use vyuha_game::ground::ZoneRow;
use vyuha_game::inventory::PLACE_GROUND;
use vyuha_game::presence::Patience;
use vyuha_game::shard::log::{Head, Recorded, Replay, Sink, ZonesBetween};
use vyuha_game::{ItemRow, Shard, ShardConfig};
use vyuha_gateway::{Feed, Gateway, Metrics, NodeInfo};
use vyuha_net::runtime::TickStart;
use vyuha_net::transport::{Limits, SyscallTransport};
use vyuha_record::schema_fingerprint;
use vyuha_server::simulation::{
    Departures, Driver, HotFeed, HotFeeds, Neighbours, Parts, ShardDoors, TopicFeed, TopicFeeds, ZoneTable,
    source, zones_of_shards,
};
use vyuha_server::telemetry::{SharedTotals, Telemetry};
use vyuha_store::journal::{FaultyDisk, SteppedJournal};
use vyuha_store::{
    Handle, JournalConfig, JournalError, PersistenceConfig, Producer, SteppedPersistence, StoreError,
    TypedStore as _,
};

use crate::control::{Control, Task, poll};
use crate::database::Database;
use crate::plan::Plan;
use crate::truth::Truth;
use crate::{Bug, Violation, world};

/// Most shards of a node.
pub const SHARDS_MAX: u16 = 3;
/// Kept for a session until acknowledged, in bytes.
const RELIABLE_BYTES_MAX: usize = 64 << 10;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal does not open.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The database does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A running node.
pub struct Node {
    /// Its journal.
    pub journal: SteppedJournal,
    persistence: SteppedPersistence,
    store: Handle,
    /// Rises with every start; what is random in a run follows it.
    seed: u64,
    stage: Stage,
    draining: Arc<AtomicBool>,
    bug: Option<Bug>,
}

enum Stage {
    /// What the last run left in the journal is being applied.
    Applying { until_seq: u64, producers: Vec<Producer> },
    /// What lies on the ground is being read.
    Loading { load: Task<Result<World, StoreError>>, producers: Vec<Producer> },
    /// People play.
    Playing { shards: Vec<Host>, control: Box<Control>, between: ZonesBetween },
}

struct World {
    ground: Vec<ItemRow>,
    known: Vec<ZoneRow>,
    next_item_id: i64,
}

/// A shard with its driver, and its twin that is fed the same inputs.
struct Host {
    driver: Driver<SyscallTransport>,
    records: Records,
    twin: Replay,
    ticks: u64,
    is_done: bool,
}

/// The records of a shard's ticks.
#[derive(Clone, Default)]
struct Records(Arc<Mutex<Vec<Vec<u8>>>>);

impl Sink for Records {
    fn take(&mut self, record: Vec<u8>) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        true
    }

    fn overflowed(&mut self) {
        unreachable!("no tick of a simulated shard brings that much")
    }
}

impl Node {
    /// Recovers what is on the disk, and begins to start.
    ///
    /// # Errors
    /// If the disk or the database fails, or the journal is not as it was left.
    pub fn open(
        disk: &FaultyDisk,
        database: &Database,
        plan: &Plan,
        seed: u64,
        bug: Option<Bug>,
    ) -> Result<Node, StartError> {
        let tables = world::tables();
        let mut store = database.connect();
        let position = store.begin_epoch()?;
        let applied_seq = position.seq;
        let config = JournalConfig {
            dir: "journal".into(),
            segment_bytes: plan.segment_bytes,
            bytes_max: plan.journal_bytes_max,
            producers: usize::from(plan.shards),
            queue_batches: plan.queue_batches,
            schema: schema_fingerprint(&tables),
        };
        let (journal, producers) = SteppedJournal::open(Arc::new(disk.clone()), &config, applied_seq)?;
        let config =
            PersistenceConfig { transaction_rows: plan.transaction_rows, ..PersistenceConfig::default() };
        let (persistence, handle) =
            SteppedPersistence::open(store, position, journal.reader(applied_seq + 1), &tables, config);
        let stage = Stage::Applying { until_seq: journal.durable_seq(), producers };
        Ok(Node { journal, persistence, store: handle, seed, stage, draining: Arc::default(), bug })
    }

    /// Whether people can play.
    pub fn is_playing(&self) -> bool {
        matches!(self.stage, Stage::Playing { .. })
    }

    /// Where connections come in; none until people can play, or when they can no longer.
    pub fn control(&mut self) -> Option<&mut Control> {
        match &mut self.stage {
            Stage::Playing { control, .. } if !self.draining.load(Ordering::Relaxed) => Some(control),
            _ => None,
        }
    }

    /// The accounts whose sessions were to end by a tick for a newer one that was not let in since.
    pub fn kicked_by(&self, tick: u64) -> Vec<i64> {
        match &self.stage {
            Stage::Playing { control, .. } => control.kicked_by(tick),
            _ => Vec::new(),
        }
    }

    /// The shards' hashes and who and what is in them, as their twins have it.
    pub fn twins(&self) -> impl Iterator<Item = &Shard> {
        let hosts = match &self.stage {
            Stage::Playing { shards, .. } => &shards[..],
            _ => &[],
        };
        hosts.iter().map(|host| host.twin.shard())
    }

    /// Asks it to end in good order.
    pub fn drain(&mut self) {
        self.draining.store(true, Ordering::Relaxed);
        if let Stage::Playing { control, .. } = &mut self.stage {
            control.drain();
        }
    }

    /// Whether everybody has left.
    pub fn has_drained(&self) -> bool {
        match &self.stage {
            Stage::Playing { shards, .. } => shards.iter().all(|host| host.is_done),
            _ => false,
        }
    }

    /// Ends a drained node: what is durable goes to the database.
    ///
    /// # Errors
    /// If that cannot be synced.
    pub fn close(self) -> Result<(), StoreError> {
        self.persistence.close()
    }

    /// Lets one shard run a tick. `Ok(false)` if the node cannot go on.
    ///
    /// # Errors
    /// If its twin comes to another state.
    pub fn tick_shard(&mut self, shard: usize) -> Result<bool, Violation> {
        let Stage::Playing { shards, between, .. } = &mut self.stage else { return Ok(true) };
        let Some(host) = shards.get_mut(shard) else { return Ok(true) };
        let start = TickStart { number: host.ticks, shed: 0, lateness: Duration::ZERO, late: false };
        host.ticks += 1;
        match host.driver.tick(&start) {
            Ok(goes_on) => host.is_done = !goes_on,
            Err(error) => {
                tracing::debug!(%error, shard, "the driver gave up");
                return Ok(false);
            }
        }
        let records = std::mem::take(&mut *host.records.0.lock().unwrap_or_else(PoisonError::into_inner));
        for record in records {
            let difference = host
                .twin
                .tick(&record, between)
                .map_err(|error| Violation::new(format!("shard {shard}'s record: {error}")))?;
            if let Some(difference) = difference {
                return Err(Violation::new(format!("shard {shard} and its twin differ: {difference:?}")));
            }
        }
        Ok(true)
    }

    /// Lets the journal do one thing; what became durable goes to the truth.
    ///
    /// # Errors
    /// Two: the inner one if the journal stopped, the outer one if it wrote what must not be.
    pub fn step_journal(&mut self, truth: &mut Truth) -> Result<Result<bool, JournalError>, Violation> {
        let stepped = self.journal.step();
        if self.journal.durable_seq() > truth.last_seq() {
            truth.add(self.journal.last_payload(), &world::content())?;
        }
        Ok(stepped)
    }

    /// Lets the persistence thread do its work once; false where there was none.
    ///
    /// # Errors
    /// If it was shut out.
    pub fn step_persistence(&mut self) -> Result<bool, StoreError> {
        self.persistence.step()
    }

    /// Lets the control plane do what it can; the rows of those who are let in come back.
    ///
    /// # Errors
    /// If a shard cannot be set up from what is stored.
    pub fn step_control(
        &mut self,
        tick: u64,
        plan: &Plan,
        rng: &mut rand_pcg::Pcg64,
    ) -> Result<Vec<(vyuha_game::CharacterRow, Vec<ItemRow>)>, Violation> {
        match &mut self.stage {
            Stage::Applying { until_seq, producers } => {
                if self.store.applied() >= *until_seq {
                    let producers = std::mem::take(producers);
                    self.stage = Stage::Loading { load: self.load(), producers };
                }
            }
            Stage::Loading { load, producers } => match poll(load) {
                None => {}
                // The database went away in between.
                Some(Err(_)) => {
                    let producers = std::mem::take(producers);
                    self.stage = Stage::Loading { load: self.load(), producers };
                }
                Some(Ok(world)) => {
                    let producers = std::mem::take(producers);
                    self.stage = self.play(&world, producers, plan)?;
                }
            },
            Stage::Playing { control, .. } => return Ok(control.step(tick, self.journal.durable_seq(), rng)),
        }
        Ok(Vec::new())
    }

    fn load(&self) -> Task<Result<World, StoreError>> {
        let store = self.store.clone();
        Box::pin(async move {
            let load = store.call(|store| {
                let ground = store.load::<ItemRow>(&[("place", PLACE_GROUND.into())])?;
                let known = store.load::<ZoneRow>(&[])?;
                let next_item_id = source(store.position()?.epoch as i64, 0);
                Ok(World { ground, known, next_item_id })
            });
            load.await
        })
    }

    fn play(&self, world: &World, producers: Vec<Producer>, plan: &Plan) -> Result<Stage, Violation> {
        let content = world::content();
        let zones = zones_of_shards(&content, plan.shards);
        let dealt = (0..).zip(&zones).flat_map(|(shard, zones)| zones.iter().map(move |id| (*id, shard)));
        let table = ZoneTable::new(dealt);
        let neighbours = Neighbours::all(plan.shards, &table);
        let (doors, requests) = ShardDoors::new(plan.shards, table.clone());
        let (departures, leaving) = Departures::new(plan.shards);
        let mut shards = Vec::new();
        let sides = requests.into_iter().zip(neighbours).zip(leaving);
        for (((index, zones), producer), ((requests, neighbours), left)) in
            (0_u16..).zip(zones).zip(producers).zip(sides)
        {
            let here = |row: &&ItemRow| zones.iter().any(|id| i64::from(id.0) == row.owner);
            let head = Head {
                build: String::new(),
                shard: index,
                content_hash: content.hash,
                config: ShardConfig {
                    zones: zones.clone(),
                    tick_hz: world::TICK_HZ,
                    save_interval_ticks: plan.save_interval_ticks,
                    snapshot_bytes_max: 8 << 10,
                    requests_per_second_max: 1000,
                    patience: Patience { away_ticks: 150, leave_ticks: 300 },
                    seed: self.seed,
                    began_ms: 0,
                    next_item_id: world.next_item_id + i64::from(index),
                    item_id_stride: i64::from(plan.shards),
                    simd: SimdLevel::detect(),
                },
                ground: world.ground.iter().filter(here).cloned().collect(),
                known: world.known.clone(),
            };
            let failed = |error: &dyn std::fmt::Display| {
                Violation::new(format!("shard {index} cannot be set up from what is stored: {error}"))
            };
            let shard = Shard::new(head.config.clone(), content.clone(), &head.ground, &head.known)
                .map_err(|error| failed(&error))?;
            let scalar = ShardConfig { simd: SimdLevel::SCALAR, ..head.config.clone() };
            let twin = Replay::new(Head { config: scalar, ..head }, content.clone())
                .map_err(|error| failed(&error))?;
            Violation::unless(shard.state_hash() == twin.shard().state_hash(), || {
                format!("shard {index}, loaded twice from the same rows, has two hashes")
            })?;
            let records = Records::default();
            let parts = Parts {
                shard: Recorded::new(shard, Some(Box::new(records.clone()))),
                transport: SyscallTransport::new(limits()),
                requests,
                neighbours,
                left,
                producer,
                draining: self.draining.clone(),
                hot: hot_feed(),
                topics: topic_feed(),
                telemetry: telemetry(index, &table),
                tick_hz: u32::from(world::TICK_HZ),
                grace_ticks: plan.grace_ticks,
                kept_bytes_max: RELIABLE_BYTES_MAX / 2,
            };
            shards.push(Host { driver: Driver::new(parts), records, twin, ticks: 0, is_done: false });
        }
        let control = Box::new(Control::new(doors, departures, self.store.clone(), self.bug));
        Ok(Stage::Playing { shards, control, between: ZonesBetween::default() })
    }
}

fn limits() -> Limits {
    Limits {
        connections_max: 64,
        frames_per_second_max: 1000,
        bytes_per_tick_max: 16 << 10,
        reliable_bytes_max: RELIABLE_BYTES_MAX,
        idle_ticks: 300,
        stalled_ticks: 300,
        tick_hz: u32::from(world::TICK_HZ),
    }
}

/// Figures that nobody looks at.
static FIGURES: LazyLock<(Arc<Metrics>, Feed, Gateway)> = LazyLock::new(|| {
    let metrics = Arc::new(Metrics::new(SHARDS_MAX, "", ""));
    let node = NodeInfo {
        version: String::new(),
        commit: String::new(),
        started: SystemTime::UNIX_EPOCH,
        tick_hz: u32::from(world::TICK_HZ),
        shards: SHARDS_MAX,
        zones: Vec::new(),
    };
    let (gateway, feed) = Gateway::new(node, metrics.clone(), []).expect("a node without zones can be shown");
    (metrics, feed, gateway)
});

/// Leads nowhere: all that is told there is dropped.
fn hot_feed() -> HotFeed {
    let (_, mut feeds) = HotFeeds::new(1, u32::from(world::TICK_HZ), &FIGURES.0.hot.dropped);
    feeds.pop().expect("there is one for the shard")
}

/// Nobody listens.
fn topic_feed() -> TopicFeed {
    let (_, mut feeds) = TopicFeeds::new(1, u32::from(world::TICK_HZ));
    feeds.pop().expect("there is one for the shard")
}

fn telemetry(shard: u16, zones: &Arc<ZoneTable>) -> Telemetry {
    let (metrics, feed, _) = &*FIGURES;
    let (tick_hz, totals) = (u32::from(world::TICK_HZ), SharedTotals::default());
    Telemetry::new(shard, tick_hz, metrics.clone(), feed.clone(), totals, zones.clone())
}
