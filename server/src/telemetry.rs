//! What a shard's driver measures: how long each stage of a tick takes, and counts, for `/metrics`, the console page and
//! the demo's summary.
//!
//! Two reads of the clock a stage and adds to atomics once a tick; never a lock that could be waited for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use prometheus_client::metrics::counter::Counter;
use vyuha_core::{Pass, Probe};
use vyuha_game::TickProbe;
use vyuha_game::shard::{Counts, Shard, ZoneSummary};
use vyuha_gateway::{
    Feed, MARK_UNITS_PER_TILE, MARKS_MAX, Mark, MarkKind, Metrics, REPORT_HZ, ShardMetrics, ShardReport,
    TickUs, ZoneReport,
};
use vyuha_net::runtime::TickStart;
use vyuha_net::transport::Stats;
use vyuha_protocol::message::ClientMessage;
use vyuha_protocol::units::TILE_UNITS;
use vyuha_protocol::{EntityKind, ErrorCode, ZoneId};

use crate::placement::ZoneTable;

/// A stage of a tick, in the order they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Doors, durable replies, and what the sockets brought.
    Receive,
    /// Players take their steps.
    Movement,
    /// NPCs think.
    Npcs,
    /// Entities move.
    Integrate,
    /// Entities change cells.
    Regrid,
    /// Pairs are told who came into whose range.
    Interest,
    /// Cells are encoded.
    Encode,
    /// The state is hashed.
    Hash,
    /// What else the rules do once a tick: litter, saves.
    Rules,
    /// Transactions go to the journal and replies to the sockets' queues.
    HandOut,
    /// Snapshots are put together and sent.
    Send,
}

impl Stage {
    /// Every stage with its name.
    pub const ALL: [(Stage, &'static str); 11] = [
        (Stage::Receive, "receive"),
        (Stage::Movement, "movement"),
        (Stage::Npcs, "npcs"),
        (Stage::Integrate, "integrate"),
        (Stage::Regrid, "regrid"),
        (Stage::Interest, "interest"),
        (Stage::Encode, "encode"),
        (Stage::Hash, "hash"),
        (Stage::Rules, "rules"),
        (Stage::HandOut, "hand out"),
        (Stage::Send, "send"),
    ];
}

/// Sums over the ticks since somebody last took them.
#[derive(Debug, Clone)]
pub struct Totals {
    /// Ticks run.
    pub ticks: u64,
    /// Ticks that began a whole step or more late.
    pub late_ticks: u64,
    /// Ticks left out.
    pub shed_ticks: u64,
    /// How long each took, in microseconds.
    pub tick_us: Histogram<u64>,
    /// How long after its time each began, in microseconds.
    pub lateness_us: Histogram<u64>,
    /// Time by stage, in nanoseconds, in the order of [`Stage::ALL`].
    pub stage_ns: [u64; Stage::ALL.len()],
    /// Bytes sent.
    pub bytes_out: u64,
    /// Sessions that played, summed over the ticks.
    pub session_ticks: u64,
}

impl Default for Totals {
    fn default() -> Totals {
        Totals {
            ticks: 0,
            late_ticks: 0,
            shed_ticks: 0,
            tick_us: histogram(),
            lateness_us: histogram(),
            stage_ns: [0; Stage::ALL.len()],
            bytes_out: 0,
            session_ticks: 0,
        }
    }
}

impl Totals {
    /// Adds another's sums.
    pub fn add(&mut self, other: &Totals) {
        self.ticks += other.ticks;
        self.late_ticks += other.late_ticks;
        self.shed_ticks += other.shed_ticks;
        self.tick_us.add(&other.tick_us).expect("both hold the same range");
        self.lateness_us.add(&other.lateness_us).expect("both hold the same range");
        for (sum, more) in self.stage_ns.iter_mut().zip(other.stage_ns) {
            *sum += more;
        }
        self.bytes_out += other.bytes_out;
        self.session_ticks += other.session_ticks;
    }
}

/// Sums that a shard adds to and somebody else takes. The shard never waits: while they are being taken it adds later.
#[derive(Debug, Clone, Default)]
pub struct SharedTotals(Arc<Mutex<Totals>>);

impl SharedTotals {
    /// What was added since they were taken last.
    pub fn take(&self) -> Totals {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One shard's measurements.
pub struct Telemetry {
    shard: u16,
    metrics: ShardMetrics,
    commands: Vec<Counter>,
    errors: Vec<Counter>,
    node: Arc<Metrics>,
    feed: Feed,
    totals: SharedTotals,
    report_ticks: u64,
    zones: Arc<ZoneTable>,
    /// Time spent on each zone's own passes since the last report, in nanoseconds.
    zone_ns: Vec<(ZoneId, u64)>,
    /// When the passes of a zone began.
    zone_begun: Instant,
    /// Since the last report.
    window: Totals,
    window_begun: Instant,
    begun: Instant,
    lap: Instant,
    /// The transport's figures at the last tick.
    stats: Stats,
    late_ticks: u64,
    shed_ticks: u64,
}

impl Telemetry {
    /// A shard's measurements.
    ///
    /// # Panics
    /// If `metrics` knows no such shard.
    pub fn new(
        shard: u16,
        tick_hz: u32,
        metrics: Arc<Metrics>,
        feed: Feed,
        totals: SharedTotals,
        zones: Arc<ZoneTable>,
    ) -> Telemetry {
        let now = Instant::now();
        Telemetry {
            shard,
            metrics: metrics.shard(shard).expect("the metrics were made for these shards").clone(),
            commands: ClientMessage::ALL.iter().map(|(name, ..)| metrics.command(name)).collect(),
            errors: ErrorCode::ALL.iter().map(|code| metrics.error(code.name())).collect(),
            node: metrics,
            feed,
            totals,
            report_ticks: u64::from((tick_hz / REPORT_HZ).max(1)),
            zones,
            zone_ns: Vec::new(),
            zone_begun: now,
            window: Totals::default(),
            window_begun: now,
            begun: now,
            lap: now,
            stats: Stats::default(),
            late_ticks: 0,
            shed_ticks: 0,
        }
    }

    /// A tick begins.
    pub fn begin(&mut self, start: &TickStart) {
        let (late, shed_ticks) = (start.late, start.shed);
        self.begun = Instant::now();
        self.lap = self.begun;
        self.window.late_ticks += u64::from(late);
        self.window.shed_ticks += shed_ticks;
        self.late_ticks += u64::from(late);
        self.shed_ticks += shed_ticks;
        self.window.lateness_us.saturating_record(start.lateness.as_micros() as u64);
        self.metrics.tick_lateness_seconds.observe(start.lateness);
        self.metrics.late_ticks.inc_by(u64::from(late));
        self.metrics.shed_ticks.inc_by(shed_ticks);
    }

    /// When the tick began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// A zone came, for which this lay between its last tick elsewhere and its first here.
    pub fn zone_moved(&self, gap: Duration) {
        self.node.zone_moves.inc();
        self.node.zone_move_seconds.observe(gap);
    }

    /// A stage of the tick is over.
    pub fn lap(&mut self, stage: Stage) {
        let now = Instant::now();
        self.window.stage_ns[stage as usize] += (now - self.lap).as_nanos() as u64;
        self.lap = now;
    }

    /// The transport gave a connection up.
    pub fn closed(&self, cause: &'static str) {
        self.node.closed(cause).inc();
    }

    /// The driver refused something or ended a connection.
    pub fn refused(&self, code: ErrorCode) {
        self.node.error(code.name()).inc();
    }

    /// What the shard counted.
    pub fn count(&self, counts: &Counts) {
        for (counter, count) in self.commands.iter().zip(counts.commands) {
            if count > 0 {
                counter.inc_by(count);
            }
        }
        for (counter, count) in self.errors.iter().zip(counts.refused) {
            if count > 0 {
                counter.inc_by(count);
            }
        }
    }

    /// The tick is over.
    pub fn end(&mut self, shard: &Shard, sessions: usize, stats: &Stats) {
        let took = self.begun.elapsed();
        self.metrics.ticks.inc();
        self.metrics.tick_seconds.observe(took);
        self.metrics.sessions.set(sessions as u64);
        self.metrics.bytes_in.inc_by(stats.bytes_in - self.stats.bytes_in);
        self.metrics.bytes_out.inc_by(stats.bytes_out - self.stats.bytes_out);
        self.metrics.frames_in.inc_by(stats.frames_in - self.stats.frames_in);
        self.metrics.snapshots_sent.inc_by(stats.snapshots_sent - self.stats.snapshots_sent);
        self.metrics.snapshots_skipped.inc_by(stats.snapshots_skipped - self.stats.snapshots_skipped);
        self.window.ticks += 1;
        self.window.tick_us.saturating_record(took.as_micros() as u64);
        self.window.bytes_out += stats.bytes_out - self.stats.bytes_out;
        self.window.session_ticks += sessions as u64;
        self.stats = *stats;
        if self.window.ticks >= self.report_ticks {
            self.report(shard, sessions);
        }
    }

    fn report(&mut self, shard: &Shard, sessions: usize) {
        // While somebody takes the totals, this window goes on and is added with the next.
        let Ok(mut totals) = self.totals.0.try_lock() else { return };
        totals.add(&self.window);
        drop(totals);
        let marks_wanted = self.feed.marks_wanted();
        let zones = self.zone_reports(shard, marks_wanted);
        self.metrics.players.set(zones.iter().map(|zone| u64::from(zone.players)).sum());
        self.metrics.npcs.set(zones.iter().map(|zone| u64::from(zone.npcs)).sum());
        self.metrics.items.set(zones.iter().map(|zone| u64::from(zone.items)).sum());
        let ticks = self.window.ticks as f32;
        let stages = Stage::ALL.iter().zip(self.window.stage_ns);
        let tick_us = &self.window.tick_us;
        // A report that finds no room is counted by the feed; the next one replaces it.
        self.feed.publish(ShardReport {
            shard: self.shard,
            tick: shard.tick_number(),
            window_ms: self.window_begun.elapsed().as_millis() as u32,
            tick_us: TickUs {
                p50: tick_us.value_at_quantile(0.5) as u32,
                p99: tick_us.value_at_quantile(0.99) as u32,
                max: tick_us.max() as u32,
            },
            passes: stages.map(|((_, name), ns)| (*name, ns as f32 / ticks / 1000.0)).collect(),
            sessions: sessions as u32,
            bytes_in: self.stats.bytes_in,
            bytes_out: self.stats.bytes_out,
            ticks: self.metrics.ticks.get(),
            late_ticks: self.late_ticks,
            shed_ticks: self.shed_ticks,
            zones,
        });
        self.window = Totals::default();
        self.zone_ns.clear();
        self.window_begun = Instant::now();
    }

    /// What each zone took: its own passes, and of all else that its players cause, their share.
    fn zone_reports(&self, shard: &Shard, marks_wanted: bool) -> Vec<ZoneReport> {
        let own_ns = |id| self.zone_ns.iter().find(|(zone, _)| *zone == id).map_or(0, |(_, ns)| *ns);
        let all_ns: u64 = self.window.stage_ns.iter().sum();
        let zones_ns: u64 = self.zone_ns.iter().map(|(_, ns)| ns).sum();
        let players: u64 = shard.zones().map(|zone| zone.players as u64).sum();
        let per_player_ns = all_ns.saturating_sub(zones_ns) / players.max(1);
        let report = |zone: ZoneSummary<'_>| {
            let busy_ns = own_ns(zone.id) + per_player_ns * zone.players as u64;
            self.zones.count(zone.id, busy_ns, self.window.ticks);
            zone_report(&zone, busy_ns as f32 / self.window.ticks as f32 / 1000.0, marks_wanted)
        };
        shard.zones().map(report).collect()
    }
}

impl Probe for Telemetry {
    fn lap(&mut self, pass: Pass) {
        self.lap(match pass {
            Pass::Integrate => Stage::Integrate,
            Pass::Regrid => Stage::Regrid,
            Pass::Interest => Stage::Interest,
            Pass::Encode => Stage::Encode,
            Pass::Hash => Stage::Hash,
        });
    }
}

impl TickProbe for Telemetry {
    fn begin_zone(&mut self) {
        self.zone_begun = self.lap;
    }

    fn end_zone(&mut self, zone: ZoneId) {
        let took_ns = (self.lap - self.zone_begun).as_nanos() as u64;
        match self.zone_ns.iter_mut().find(|(id, _)| *id == zone) {
            Some((_, ns)) => *ns += took_ns,
            None => self.zone_ns.push((zone, took_ns)),
        }
    }

    fn lap_system(&mut self, name: &'static str) {
        self.lap(match name {
            "movement" => Stage::Movement,
            "npc" => Stage::Npcs,
            _ => Stage::Rules,
        });
    }
}

fn zone_report(zone: &ZoneSummary<'_>, tick_us: f32, marks_wanted: bool) -> ZoneReport {
    let mut marks = Vec::new();
    if marks_wanted {
        marks.extend(zone.zone.entities().take(MARKS_MAX).map(|(_, pos, kind, state)| {
            let units = TILE_UNITS / MARK_UNITS_PER_TILE;
            let kind = match (kind, state) {
                (EntityKind::PLAYER, _) => MarkKind::Player,
                (kind, _) if kind.as_item().is_some() => MarkKind::Item,
                (_, 0) => MarkKind::NpcWandering,
                (..) => MarkKind::NpcChasing,
            };
            Mark::new((pos.x / units) as u16, (pos.y / units) as u16, kind)
        }));
    }
    ZoneReport {
        zone: zone.id.0,
        players: zone.players as u32,
        npcs: zone.npcs as u32,
        items: zone.items as u32,
        tick_us,
        marks,
    }
}

/// A histogram of microseconds: up to ten seconds, three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, Duration::from_secs(10).as_micros() as u64, 3)
        .expect("the bounds are sound")
}
