//! What the shards tell the admin port, and the handle they tell it through.
//!
//! A report is handed over without waiting: where the control plane has fallen behind, the report is dropped
//! and counted, and the next one replaces it. Nothing here ever blocks a tick or allocates on its behalf.

use bytemuck::{Pod, Zeroable};
use crossbeam::channel::{Receiver, Sender, bounded};
use prometheus_client::metrics::counter::Counter;

use crate::metrics::{Level, Metrics};

/// Units of a [`Mark`]'s coordinates to one tile.
pub const MARK_UNITS_PER_TILE: u32 = 16;

/// The longest side of a zone that the map can show, in tiles.
pub const ZONE_TILES_MAX: u32 = 4096;

// Every position in the largest zone has a mark.
const _: () = assert!(ZONE_TILES_MAX * MARK_UNITS_PER_TILE == 1 << u16::BITS);

/// The most marks of one zone that reach a page; what a report holds beyond them is not drawn.
pub const MARKS_MAX: usize = 1 << 16;

/// How often a shard is to publish, in reports a second.
pub const REPORT_HZ: u32 = 5;

/// Reports that may wait for the collector, for each shard. The memory waiting is at most
/// `shards * REPORTS_WAITING_MAX` reports.
const REPORTS_WAITING_MAX: usize = 4;

/// What a mark on the map stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MarkKind {
    /// A player's character.
    Player = 0,
    /// An NPC that wanders.
    NpcWandering = 1,
    /// An NPC that chases somebody.
    NpcChasing = 2,
    /// An item on the ground.
    Item = 3,
}

/// One dot on the map of a zone, as it goes to the page (little-endian).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Mark {
    /// Eastward from the zone's western edge, in 1/16 tile.
    pub x: u16,
    /// Southward from the zone's northern edge, in 1/16 tile.
    pub y: u16,
    /// A [`MarkKind`].
    pub kind: u8,
    zero: u8,
}

/// Bytes of one [`Mark`] on the wire.
pub const MARK_BYTES: usize = size_of::<Mark>();
const _: () = assert!(MARK_BYTES == 6);

impl Mark {
    /// A mark at (`x`, `y`), each in 1/16 tile from the zone's north-western corner.
    pub const fn new(x: u16, y: u16, kind: MarkKind) -> Mark {
        Mark { x, y, kind: kind as u8, zero: 0 }
    }
}

/// How long the ticks of one window took, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TickUs {
    /// The median.
    pub p50: u32,
    /// The 99th percentile.
    pub p99: u32,
    /// The longest.
    pub max: u32,
}

/// One zone, in the report of the shard that owns it.
#[derive(Clone, Debug, Default)]
pub struct ZoneReport {
    /// The zone's id, as in [`crate::ZoneInfo`].
    pub zone: u16,
    /// Players' characters in the zone.
    pub players: u32,
    /// NPCs in the zone.
    pub npcs: u32,
    /// Items on the zone's ground.
    pub items: u32,
    /// What it takes of a tick, in microseconds: its own passes, and of what is done for all sessions its sessions' share.
    pub tick_us: f32,
    /// Everything to be drawn, at most [`MARKS_MAX`]; empty unless [`Feed::marks_wanted`].
    pub marks: Vec<Mark>,
}

/// What one shard did lately, published [`REPORT_HZ`] times a second.
#[derive(Clone, Debug, Default)]
pub struct ShardReport {
    /// The shard, counted from 0.
    pub shard: u16,
    /// The tick that the shard has finished last.
    pub tick: u64,
    /// How long the window of `tick_us` and `passes` was, in milliseconds.
    pub window_ms: u32,
    /// Tick times of the window.
    pub tick_us: TickUs,
    /// Each pass's name and its mean time a tick over the window, in microseconds, in the order they run.
    pub passes: Vec<(&'static str, f32)>,
    /// Sessions that play on the shard.
    pub sessions: u32,
    /// Bytes received since the start.
    pub bytes_in: u64,
    /// Bytes sent since the start.
    pub bytes_out: u64,
    /// Ticks run since the start.
    pub ticks: u64,
    /// Ticks that began or ended late since the start.
    pub late_ticks: u64,
    /// Ticks left out since the start, because the backlog was over its bound.
    pub shed_ticks: u64,
    /// The shard's zones.
    pub zones: Vec<ZoneReport>,
}

/// A shard's handle to the admin port. Cheap to clone; usable from any thread.
#[derive(Clone, Debug)]
pub struct Feed {
    reports: Sender<ShardReport>,
    watchers: Level,
    dropped: Counter,
}

impl Feed {
    /// Hands over a report and never waits. `false` where it was dropped (and counted in
    /// `vyuha_telemetry_dropped_total`), because the control plane has not caught up with the reports before
    /// it.
    pub fn publish(&self, report: ShardReport) -> bool {
        let taken = self.reports.try_send(report).is_ok();
        if !taken {
            self.dropped.inc();
        }
        taken
    }

    /// Whether a page watches, so that [`ZoneReport::marks`] are worth gathering.
    pub fn marks_wanted(&self) -> bool {
        self.watchers.get() > 0
    }
}

/// The shards' end and the collector's end of a new feed for `shards` shards.
pub(crate) fn feed(shards: u16, metrics: &Metrics) -> (Feed, Receiver<ShardReport>) {
    let (reports, collected) = bounded(usize::from(shards).max(1) * REPORTS_WAITING_MAX);
    let (watchers, dropped) = (metrics.watchers.clone(), metrics.telemetry_dropped.clone());
    (Feed { reports, watchers, dropped }, collected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_channel_drops_and_counts_instead_of_waiting() {
        let metrics = Metrics::new(2, "0.1.0", "abc");
        let (feed, collected) = feed(2, &metrics);
        let taken = (0..20).filter(|_| feed.publish(ShardReport::default())).count();
        assert_eq!(taken, 2 * REPORTS_WAITING_MAX);
        assert_eq!(metrics.telemetry_dropped.get(), 20 - taken as u64);
        assert_eq!(collected.try_iter().count(), taken);
        assert!(feed.publish(ShardReport::default()), "there is room again");
    }
}
