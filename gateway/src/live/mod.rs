//! The collector: keeps the newest state of every shard and zone, and puts it in the form that pages are
//! sent.
//!
//! Everything is overwritten by what is newer; nothing is queued for anybody.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::ws::Utf8Bytes;
use crossbeam::channel::Receiver;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::cluster::NodeLoad;
use crate::feed::{MARK_BYTES, MARK_UNITS_PER_TILE, MARKS_MAX, REPORT_HZ, ShardReport, ZoneReport};
use crate::history::{History, Levels, Totals};
use crate::metrics::Metrics;
use crate::node::NodeInfo;

/// Bytes before the marks of a map state.
///
/// | offset | type | what |
/// |---|---|---|
/// | 0 | u16 | zone id |
/// | 2 | u16 | units per tile |
/// | 4 | u32 | marks that follow, [`MARK_BYTES`] each |
/// | 8 | u64 | tick |
///
/// All little-endian.
pub(crate) const MAP_HEADER_BYTES: usize = 16;

/// How often the collector looks for reports.
const POLL_HZ: u32 = 20;

/// Pages are sent figures at the rate at which shards publish.
const POLLS_PER_STATS: u32 = POLL_HZ / REPORT_HZ;
const _: () = assert!(POLL_HZ.is_multiple_of(REPORT_HZ));

/// A shard whose tick has not advanced for longer is not ready.
pub(crate) const STALE_AFTER: Duration = Duration::from_secs(1);

/// What is known of the shards, as the pages and `/readyz` see it.
pub(crate) struct Live {
    node: NodeInfo,
    metrics: Arc<Metrics>,
    started: Instant,
    state: Mutex<State>,
    stats: watch::Sender<Utf8Bytes>,
    /// The newest map state of each zone, in the order of `node.zones`; empty while no page watches.
    maps: Vec<watch::Sender<Bytes>>,
}

/// Tells how much a node has to do.
pub struct LoadProbe(Arc<Live>);

impl LoadProbe {
    pub(crate) fn new(live: Arc<Live>) -> LoadProbe {
        LoadProbe(live)
    }

    /// By the newest reports of the shards.
    pub fn read(&self) -> NodeLoad {
        let Live { node, .. } = &*self.0;
        let state = self.0.lock();
        let reports = || state.shards.iter().flatten().map(|latest| &latest.report);
        NodeLoad {
            shards: node.shards,
            zones: node.zones.len() as u16,
            players: self.0.placed(&state.shards).map(|(_, zone)| zone.players).sum(),
            tick_us_p99: reports().map(|report| report.tick_us.p99).max().unwrap_or(0),
            shed_ticks: reports().map(|report| report.shed_ticks).sum(),
        }
    }
}

struct State {
    shards: Vec<Option<Latest>>,
    history: History,
}

struct Latest {
    report: ShardReport,
    /// When a report last showed a later tick than the one before.
    advanced: Instant,
}

impl Live {
    pub(crate) fn new(node: NodeInfo, metrics: Arc<Metrics>, now: Instant) -> Live {
        Live {
            state: Mutex::new(State {
                shards: (0..node.shards).map(|_| None).collect(),
                history: History::new(node.shards),
            }),
            stats: watch::Sender::default(),
            maps: node.zones.iter().map(|_| watch::Sender::default()).collect(),
            started: now,
            metrics,
            node,
        }
    }

    pub(crate) fn node(&self) -> &NodeInfo {
        &self.node
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The figures, as JSON text, each time there are newer ones.
    pub(crate) fn stats(&self) -> watch::Receiver<Utf8Bytes> {
        self.stats.subscribe()
    }

    /// The map states of a zone, each time there is a newer one; `None` where the node has no such zone.
    pub(crate) fn map(&self, zone: u16) -> Option<watch::Receiver<Bytes>> {
        self.zone_index(zone).map(|index| self.maps[index].subscribe())
    }

    /// The history as a JSON array of seconds, oldest first.
    pub(crate) fn history_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self.lock().history.seconds())
    }

    /// The shards that have not finished a tick within [`STALE_AFTER`].
    pub(crate) fn stale_shards(&self, now: Instant) -> Vec<u16> {
        let state = self.lock();
        let stale = |latest: &Option<Latest>| {
            latest.as_ref().is_none_or(|latest| now.duration_since(latest.advanced) > STALE_AFTER)
        };
        (0..).zip(&state.shards).filter(|(_, latest)| stale(latest)).map(|(shard, _)| shard).collect()
    }

    /// Takes reports and publishes figures for as long as it is polled.
    pub(crate) async fn collect(&self, reports: &Receiver<ShardReport>) -> Infallible {
        let mut poll = tokio::time::interval(Duration::from_secs(1) / POLL_HZ);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut polls_to_stats = POLLS_PER_STATS;
        loop {
            poll.tick().await;
            let now = Instant::now();
            for report in reports.try_iter() {
                self.ingest(report, now);
            }
            self.end_second(now);
            polls_to_stats -= 1;
            if polls_to_stats == 0 {
                polls_to_stats = POLLS_PER_STATS;
                if self.metrics.watchers.get() > 0 {
                    self.publish_stats(now);
                }
            }
        }
    }

    fn ingest(&self, mut report: ShardReport, now: Instant) {
        let mut state = self.lock();
        let State { shards, history } = &mut *state;
        let Some(latest) = shards.get_mut(usize::from(report.shard)) else {
            self.metrics.telemetry_dropped.inc();
            return;
        };
        history.record(&report);
        let watched = self.metrics.watchers.get() > 0;
        for zone in &mut report.zones {
            let marks = std::mem::take(&mut zone.marks);
            if !self.is_placed(report.shard, zone) {
                continue;
            }
            self.metrics.place_zone(zone.zone, report.shard, zone.tick_us);
            if let Some(index) = self.zone_index(zone.zone) {
                let map = if watched { encode_map(zone, report.tick, &marks) } else { Bytes::new() };
                self.maps[index].send_replace(map);
            }
        }
        let advanced = match latest {
            Some(before) if before.report.tick >= report.tick => before.advanced,
            _ => now,
        };
        *latest = Some(Latest { report, advanced });
    }

    fn end_second(&self, now: Instant) {
        let mut state = self.lock();
        let mut totals = Totals {
            syncs: self.metrics.journal_syncs.get(),
            sync_us: (self.metrics.journal_sync_seconds.get() * 1e6) as u64,
            store_rows: self.metrics.store_rows.get(),
            ..Totals::default()
        };
        let mut levels =
            Levels { store_lag_frames: self.metrics.store_lag_frames.get(), ..Levels::default() };
        for Latest { report, .. } in state.shards.iter().flatten() {
            totals.bytes_in += report.bytes_in;
            totals.bytes_out += report.bytes_out;
            totals.ticks += report.ticks;
            totals.late_ticks += report.late_ticks;
            totals.shed_ticks += report.shed_ticks;
            levels.sessions += u64::from(report.sessions);
            for zone in report.zones.iter().filter(|zone| self.is_placed(report.shard, zone)) {
                levels.players += u64::from(zone.players);
                levels.npcs += u64::from(zone.npcs);
                levels.items += u64::from(zone.items);
            }
        }
        state.history.advance(now.duration_since(self.started).as_secs(), totals, levels);
    }

    fn publish_stats(&self, now: Instant) {
        let state = self.lock();
        let shards = state.shards.iter().flatten();
        let message = Stats {
            kind: "stats",
            uptime_s: now.duration_since(self.started).as_secs_f32(),
            shards: shards.clone().map(|latest| ShardStats::new(latest, now)).collect(),
            zones: self.placed(&state.shards).map(|(shard, zone)| ZoneStats::new(shard, zone)).collect(),
            journal: JournalStats {
                durable_seq: self.metrics.journal_durable_seq.get(),
                syncs: self.metrics.journal_syncs.get(),
            },
            store: StoreStats {
                applied_seq: self.metrics.store_applied_seq.get(),
                lag_frames: self.metrics.store_lag_frames.get(),
                rows: self.metrics.store_rows.get(),
                errors: self.metrics.store_errors.get(),
            },
            second: state.history.newest(),
        };
        match serde_json::to_string(&message) {
            Ok(text) => drop(self.stats.send_replace(text.into())),
            Err(error) => tracing::error!(%error, "the console's figures cannot be written as JSON"),
        }
    }

    /// The newest report of each zone.
    pub(crate) fn zones(&self) -> Vec<ZoneReport> {
        self.placed(&self.lock().shards).map(|(_, zone)| zone.clone()).collect()
    }

    fn placed<'a>(&'a self, shards: &'a [Option<Latest>]) -> impl Iterator<Item = (u16, &'a ZoneReport)> {
        let reports = shards.iter().flatten().map(|latest| &latest.report);
        let zones = reports.flat_map(|report| report.zones.iter().map(|zone| (report.shard, zone)));
        zones.filter(|(shard, zone)| self.is_placed(*shard, zone))
    }

    /// Whether a shard reports a zone that is still its own: for a moment, the one that it left may report it too.
    fn is_placed(&self, shard: u16, zone: &ZoneReport) -> bool {
        self.zone_index(zone.zone).is_some_and(|index| self.node.zones[index].shard.get() == shard)
    }

    fn zone_index(&self, zone: u16) -> Option<usize> {
        self.node.zones.iter().position(|info| info.id == zone)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every field is replaced whole, so that a panic while the lock was held leaves nothing half-written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A zone's map state as it goes to a page: the header, then at most [`MARKS_MAX`] marks.
fn encode_map(zone: &ZoneReport, tick: u64, marks: &[crate::Mark]) -> Bytes {
    let marks = &marks[..marks.len().min(MARKS_MAX)];
    let mut out = Vec::with_capacity(MAP_HEADER_BYTES + marks.len() * MARK_BYTES);
    out.extend(zone.zone.to_le_bytes());
    out.extend((MARK_UNITS_PER_TILE as u16).to_le_bytes());
    out.extend((marks.len() as u32).to_le_bytes());
    out.extend(tick.to_le_bytes());
    out.extend_from_slice(bytemuck::cast_slice(marks));
    out.into()
}

// A mark is copied to the wire as it lies in memory.
const _: () = assert!(cfg!(target_endian = "little"), "the map state needs a little-endian processor");

#[derive(Serialize)]
struct Stats<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    uptime_s: f32,
    shards: Vec<ShardStats<'a>>,
    zones: Vec<ZoneStats>,
    journal: JournalStats,
    store: StoreStats,
    second: Option<&'a crate::history::Second>,
}

#[derive(Serialize)]
struct ShardStats<'a> {
    shard: u16,
    tick: u64,
    stale: bool,
    window_ms: u32,
    tick_us: [u32; 3],
    passes: &'a [(&'static str, f32)],
    sessions: u32,
    ticks: u64,
    late_ticks: u64,
    shed_ticks: u64,
}

impl<'a> ShardStats<'a> {
    fn new(Latest { report, advanced }: &'a Latest, now: Instant) -> ShardStats<'a> {
        ShardStats {
            shard: report.shard,
            tick: report.tick,
            stale: now.duration_since(*advanced) > STALE_AFTER,
            window_ms: report.window_ms,
            tick_us: [report.tick_us.p50, report.tick_us.p99, report.tick_us.max],
            passes: &report.passes,
            sessions: report.sessions,
            ticks: report.ticks,
            late_ticks: report.late_ticks,
            shed_ticks: report.shed_ticks,
        }
    }
}

#[derive(Serialize)]
struct ZoneStats {
    zone: u16,
    shard: u16,
    players: u32,
    npcs: u32,
    items: u32,
    tick_us: f32,
}

impl ZoneStats {
    fn new(shard: u16, report: &ZoneReport) -> ZoneStats {
        let ZoneReport { zone, players, npcs, items, tick_us, .. } = *report;
        ZoneStats { zone, shard, players, npcs, items, tick_us }
    }
}

#[derive(Serialize)]
struct JournalStats {
    durable_seq: u64,
    syncs: u64,
}

#[derive(Serialize)]
struct StoreStats {
    applied_seq: u64,
    lag_frames: u64,
    rows: u64,
    errors: u64,
}

#[cfg(test)]
mod tests;
