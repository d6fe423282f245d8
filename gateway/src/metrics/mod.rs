//! Every figure that `/metrics` shows, in one struct.
//!
//! Whoever counts resolves a handle once and keeps it: a handle is an atomic, so that counting never takes a
//! lock and never looks up a label. Shards add once a tick, in bulk.

mod api;
mod histogram;
mod hot;
mod process;
mod topics;

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

pub use api::ApiMetrics;
pub use histogram::DurationHistogram;
pub use hot::HotMetrics;
pub use topics::TopicMetrics;

/// A gauge that is never negative.
pub type Level = Gauge<u64, AtomicU64>;

/// A time in seconds.
pub type Seconds = Gauge<f64, AtomicU64>;

/// Seconds summed since the start.
pub type SecondsCounter = Counter<f64, AtomicU64>;
/// Seconds that rise and fall.
pub type SecondsLevel = Gauge<f64, AtomicU64>;

/// Upper bounds of `vyuha_tick_seconds`, in microseconds.
const TICK_BOUNDS_US: &[u64] =
    &[50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 20_000, 25_000, 33_333, 50_000, 100_000];

/// Upper bounds of `vyuha_tick_lateness_seconds`, in microseconds.
const TICK_LATENESS_BOUNDS_US: &[u64] =
    &[20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 33_333, 100_000];

/// Upper bounds of `vyuha_zone_move_seconds`, in microseconds.
const ZONE_MOVE_BOUNDS_US: &[u64] = &[20_000, 40_000, 70_000, 100_000, 150_000, 250_000, 500_000, 1_000_000];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShardLabel {
    shard: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ZoneLabel {
    zone: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EntityLabels {
    shard: u16,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommandLabel {
    command: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: String,
    commit: String,
}

/// One shard's figures. Cheap to clone: every clone counts into the same figures.
#[derive(Clone, Debug)]
pub struct ShardMetrics {
    /// Ticks run.
    pub ticks: Counter,
    /// Ticks that began or ended late.
    pub late_ticks: Counter,
    /// Ticks left out, because the backlog was over its bound.
    pub shed_ticks: Counter,
    /// How long after its time each tick began.
    pub tick_lateness_seconds: DurationHistogram,
    /// How long each tick took.
    pub tick_seconds: DurationHistogram,
    /// Sessions that play on the shard.
    pub sessions: Level,
    /// Players' characters in the shard's zones.
    pub players: Level,
    /// NPCs in the shard's zones.
    pub npcs: Level,
    /// Items on the ground of the shard's zones.
    pub items: Level,
    /// Bytes received from clients.
    pub bytes_in: Counter,
    /// Bytes sent to clients.
    pub bytes_out: Counter,
    /// Frames received from clients.
    pub frames_in: Counter,
    /// Snapshots sent.
    pub snapshots_sent: Counter,
    /// Snapshots left out, because the client had not read those before.
    pub snapshots_skipped: Counter,
}

/// Every figure of the node. Made once, shared by reference.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    shards: Vec<ShardMetrics>,
    commands: Family<CommandLabel, Counter>,
    errors: Family<CodeLabel, Counter>,
    closed: Family<ReasonLabel, Counter>,
    logins: Family<ResultLabel, Counter>,
    zone_shard: Family<ZoneLabel, Level>,
    zone_tick_seconds: Family<ZoneLabel, Seconds>,
    /// Zones that went from one shard to another.
    pub zone_moves: Counter,
    /// How long each of them stood still, from its last tick where it was to its first where it is.
    pub zone_move_seconds: DurationHistogram,
    /// Entries of the log of operations that were lost.
    pub events_lost: Counter,
    dupe_scans: Family<ResultLabel, Counter>,
    /// What the last search for doubled items found.
    pub dupe_scan_findings: Level,
    /// When the last search came to its end, in seconds since 1970; 0 before the first.
    pub dupe_scan_last_success: Level,
    /// By when the next search is to come to its end, in seconds since 1970; 0 where none is to.
    pub dupe_scan_due: Level,
    /// How long it took.
    pub dupe_scan_seconds: SecondsLevel,
    tls_reloads: Family<ResultLabel, Counter>,
    /// When the certificate expires, in seconds since 1970; 0 without TLS.
    pub tls_certificate_expires: Level,
    /// Connections accepted.
    pub connections: Counter,
    /// Connections that have not finished their handshake yet.
    pub handshakes_in_progress: Level,
    /// The number of the newest journal frame that is on disk.
    pub journal_durable_seq: Level,
    /// Syncs of the journal.
    pub journal_syncs: Counter,
    /// Time spent in writing and syncing the journal.
    pub journal_sync_seconds: SecondsCounter,
    /// The number of the newest journal frame that the store holds.
    pub store_applied_seq: Level,
    /// Journal frames that are on disk and not in the store yet.
    pub store_lag_frames: Level,
    /// Bytes of the journal that the store does not hold yet.
    pub store_lag_bytes: Level,
    /// How long the oldest frame that the store does not hold has waited.
    pub store_lag_seconds: SecondsLevel,
    /// 1 while the journal holds more than it may, and durable commands are refused.
    pub journal_over_bound: Level,
    /// Rows written to the store.
    pub store_rows: Counter,
    /// Transactions committed in the store.
    pub store_transactions: Counter,
    /// Rows of the last of them.
    pub store_transaction_rows: Level,
    /// Whether the store is asked: 0 it answers, 1 it failed and is left alone for a while, 2 it is about to be asked again.
    pub store_breaker: Level,
    /// Attempts to write to the store that failed.
    pub store_errors: Counter,
    /// Bytes written to the recordings of the shards' inputs.
    pub recorded_bytes: Counter,
    /// Recordings that ended before their shard did.
    pub recordings_stopped: Counter,
    /// Requests of the HTTP API.
    pub api: ApiMetrics,
    /// Hot data.
    pub hot: HotMetrics,
    /// Topics of web clients.
    pub topics: TopicMetrics,
    pub(crate) web_connections: Level,
    pub(crate) telemetry_dropped: Counter,
    pub(crate) watchers: Level,
}

impl Metrics {
    /// The figures of a node with `shards` shards, built from `commit` as `version`.
    pub fn new(shards: u16, version: &str, commit: &str) -> Metrics {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::ProcessCollector));
        let vyuha = registry.sub_registry_with_prefix("vyuha");

        let build: Family<BuildLabels, Gauge> = Family::default();
        build.get_or_create(&BuildLabels { version: version.into(), commit: commit.into() }).set(1);
        vyuha.register("build_info", "What this node was built from; always 1", build);

        let shards = register_shards(vyuha, shards);
        Metrics {
            shards,
            commands: family(vyuha, "commands", "Commands executed, by name"),
            errors: family(vyuha, "errors", "Error replies sent to clients, by code"),
            closed: family(vyuha, "connections_closed", "Connections closed, by reason"),
            logins: family(vyuha, "logins", "Login attempts, by result"),
            zone_shard: {
                let family = Family::default();
                vyuha.register("zone_shard", "The shard on which a zone is", family.clone());
                family
            },
            zone_tick_seconds: {
                let family = Family::default();
                let help = "What a zone takes of a tick, with its sessions' share of what is done for all";
                vyuha.register_with_unit("zone_tick", help, Unit::Seconds, family.clone());
                family
            },
            zone_moves: counter(vyuha, "zone_moves", "Zones that went from one shard to another"),
            zone_move_seconds: {
                let histogram = DurationHistogram::new(ZONE_MOVE_BOUNDS_US);
                let help = "From a zone's last tick where it was to its first where it is";
                vyuha.register_with_unit("zone_move", help, Unit::Seconds, histogram.clone());
                histogram
            },
            events_lost: counter(
                vyuha,
                "events_lost",
                "Entries of the log of operations that were lost, because too many waited or the journal took none",
            ),
            dupe_scans: family(vyuha, "dupe_scans", "Searches for doubled and lost items, by result"),
            dupe_scan_findings: level(
                vyuha,
                "dupe_scan_findings",
                "What the last search for doubled and lost items found",
            ),
            dupe_scan_last_success: level(
                vyuha,
                "dupe_scan_last_success",
                "When the last search for doubled items came to its end, in seconds since 1970; 0 before the first",
            ),
            dupe_scan_due: level(
                vyuha,
                "dupe_scan_due",
                "By when the next search for doubled items is to come to its end, in seconds since 1970; 0 where another node searches, or none",
            ),
            dupe_scan_seconds: {
                let level = SecondsLevel::default();
                let help = "How long the last search for doubled items took";
                vyuha.register_with_unit("dupe_scan", help, Unit::Seconds, level.clone());
                level
            },
            tls_reloads: family(vyuha, "tls_reloads", "Certificates that replaced the one before, by result"),
            tls_certificate_expires: level(
                vyuha,
                "tls_certificate_expires",
                "When the certificate expires, in seconds since 1970; 0 without TLS",
            ),
            connections: counter(vyuha, "connections", "Connections accepted"),
            handshakes_in_progress: level(
                vyuha,
                "handshakes_in_progress",
                "Connections that have not finished their handshake yet",
            ),
            journal_durable_seq: level(vyuha, "journal_durable_seq", "Number of the newest frame on disk"),
            journal_syncs: counter(vyuha, "journal_syncs", "Syncs of the journal"),
            journal_sync_seconds: {
                let counter = SecondsCounter::default();
                let help = "Time spent in writing and syncing the journal";
                vyuha.register_with_unit("journal_sync", help, Unit::Seconds, counter.clone());
                counter
            },
            store_applied_seq: level(vyuha, "store_applied_seq", "Number of the newest frame in the store"),
            store_lag_frames: level(
                vyuha,
                "store_lag_frames",
                "Journal frames on disk that the store does not hold yet",
            ),
            store_lag_bytes: level(
                vyuha,
                "store_lag_bytes",
                "Bytes of the journal that the store does not hold yet",
            ),
            store_lag_seconds: {
                let level = SecondsLevel::default();
                let help = "How long the oldest frame that the store does not hold has waited";
                vyuha.register_with_unit("store_lag", help, Unit::Seconds, level.clone());
                level
            },
            journal_over_bound: level(
                vyuha,
                "journal_over_bound",
                "1 while the journal holds more than it may, and durable commands are refused",
            ),
            store_rows: counter(vyuha, "store_rows", "Rows written to the store"),
            store_transactions: counter(vyuha, "store_transactions", "Transactions committed in the store"),
            store_transaction_rows: level(
                vyuha,
                "store_transaction_rows",
                "Rows of the last transaction in the store",
            ),
            store_breaker: level(
                vyuha,
                "store_breaker",
                "Whether the store is asked: 0 it answers, 1 it failed and is left alone, 2 it is about to be asked",
            ),
            store_errors: counter(vyuha, "store_errors", "Writes to the store that failed"),
            recorded_bytes: counter(vyuha, "recorded_bytes", "Bytes written to recordings of inputs"),
            recordings_stopped: counter(
                vyuha,
                "recordings_stopped",
                "Recordings that ended before their shard, because the disk was too slow or failed",
            ),
            api: ApiMetrics::new(vyuha),
            hot: HotMetrics::register(vyuha),
            topics: TopicMetrics::register(vyuha),
            web_connections: level(vyuha, "web_connections", "WebSockets of players that are open"),
            telemetry_dropped: counter(
                vyuha,
                "telemetry_dropped",
                "Shard reports dropped because the control plane was behind",
            ),
            watchers: level(vyuha, "console_watchers", "Console pages that watch"),
            registry,
        }
    }

    /// The figures of one shard, counted from 0; `None` where the node has no such shard.
    pub fn shard(&self, shard: u16) -> Option<&ShardMetrics> {
        self.shards.get(usize::from(shard))
    }

    /// Notes where a zone is and what it takes of a tick, in microseconds (`vyuha_zone_shard`, `vyuha_zone_tick_seconds`).
    pub(crate) fn place_zone(&self, zone: u16, shard: u16, tick_us: f32) {
        let label = ZoneLabel { zone };
        self.zone_shard.get_or_create(&label).set(shard.into());
        self.zone_tick_seconds.get_or_create(&label).set(f64::from(tick_us) / 1e6);
    }

    /// The counter of executed commands of one name (`vyuha_commands_total`). Resolve it once and keep it.
    pub fn command(&self, command: &'static str) -> Counter {
        self.commands.get_or_create_owned(&CommandLabel { command })
    }

    /// The counter of error replies with one stable code (`vyuha_errors_total`). Resolve it once and keep it.
    pub fn error(&self, code: &'static str) -> Counter {
        self.errors.get_or_create_owned(&CodeLabel { code })
    }

    /// The counter of connections closed for one reason (`vyuha_connections_closed_total`). Resolve it once
    /// and keep it.
    pub fn closed(&self, reason: &'static str) -> Counter {
        self.closed.get_or_create_owned(&ReasonLabel { reason })
    }

    /// The counter of new certificates with one result (`vyuha_tls_reloads_total`).
    pub fn tls_reloads(&self, result: &'static str) -> Counter {
        self.tls_reloads.get_or_create_owned(&ResultLabel { result })
    }

    /// The counter of searches for doubled items with one result (`vyuha_dupe_scans_total`).
    pub fn dupe_scan(&self, result: &'static str) -> Counter {
        self.dupe_scans.get_or_create_owned(&ResultLabel { result })
    }

    /// The counter of logins with one result (`vyuha_logins_total`). Resolve it once and keep it.
    pub fn login(&self, result: &'static str) -> Counter {
        self.logins.get_or_create_owned(&ResultLabel { result })
    }

    /// All figures as text, valid both as OpenMetrics 1.0 and as Prometheus' text format 0.0.4.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

fn register_shards(registry: &mut Registry, shards: u16) -> Vec<ShardMetrics> {
    let ticks = family(registry, "ticks", "Ticks run");
    let late_ticks = family(registry, "late_ticks", "Ticks that began or ended late");
    let shed_ticks = family(registry, "shed_ticks", "Ticks left out, because the backlog was over its bound");
    let sessions: Family<ShardLabel, Level> = Family::default();
    registry.register("sessions", "Sessions that play", sessions.clone());
    let entities: Family<EntityLabels, Level> = Family::default();
    registry.register("entities", "Entities in the zones, by kind", entities.clone());
    let tick_seconds =
        Family::<ShardLabel, DurationHistogram, fn() -> DurationHistogram>::new_with_constructor(|| {
            DurationHistogram::new(TICK_BOUNDS_US)
        });
    registry.register_with_unit("tick", "How long a tick took", Unit::Seconds, tick_seconds.clone());
    let tick_lateness_seconds =
        Family::<ShardLabel, DurationHistogram, fn() -> DurationHistogram>::new_with_constructor(|| {
            DurationHistogram::new(TICK_LATENESS_BOUNDS_US)
        });
    registry.register_with_unit(
        "tick_lateness",
        "How long after its time a tick began",
        Unit::Seconds,
        tick_lateness_seconds.clone(),
    );
    let bytes_in = family(registry, "bytes_in", "Bytes received from clients");
    let bytes_out = family(registry, "bytes_out", "Bytes sent to clients");
    let frames_in = family(registry, "frames_in", "Frames received from clients");
    let snapshots_sent = family(registry, "snapshots_sent", "Snapshots sent");
    let snapshots_skipped = family(
        registry,
        "snapshots_skipped",
        "Snapshots left out, because the client had not read those before",
    );

    (0..shards)
        .map(|shard| {
            let label = ShardLabel { shard };
            let of = |family: &Family<ShardLabel, Counter>| family.get_or_create_owned(&label);
            let kind = |kind| entities.get_or_create_owned(&EntityLabels { shard, kind });
            ShardMetrics {
                ticks: of(&ticks),
                late_ticks: of(&late_ticks),
                shed_ticks: of(&shed_ticks),
                tick_lateness_seconds: tick_lateness_seconds.get_or_create_owned(&label),
                tick_seconds: tick_seconds.get_or_create_owned(&label),
                sessions: sessions.get_or_create_owned(&label),
                players: kind("player"),
                npcs: kind("npc"),
                items: kind("item"),
                bytes_in: of(&bytes_in),
                bytes_out: of(&bytes_out),
                frames_in: of(&frames_in),
                snapshots_sent: of(&snapshots_sent),
                snapshots_skipped: of(&snapshots_skipped),
            }
        })
        .collect()
}

fn family<L>(registry: &mut Registry, name: &str, help: &str) -> Family<L, Counter>
where
    L: Clone + std::hash::Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
{
    let family: Family<L, Counter> = Family::default();
    registry.register(name, help, family.clone());
    family
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn level(registry: &mut Registry, name: &str, help: &str) -> Level {
    let level = Level::default();
    registry.register(name, help, level.clone());
    level
}

#[cfg(test)]
mod tests;
