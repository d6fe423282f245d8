//! Which shard each zone is on, and what it takes of a tick there. Written by the shards, read by whoever looks for a zone; nobody
//! ever waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vyuha_gateway::Placement;
use vyuha_protocol::ZoneId;

/// Every zone of the node.
#[derive(Debug)]
pub struct ZoneTable {
    zones: Box<[Row]>,
}

#[derive(Debug)]
struct Row {
    id: ZoneId,
    place: Placement,
    /// Time that its ticks took since somebody took the loads.
    busy_ns: AtomicU64,
    ticks: AtomicU64,
}

/// What a zone takes of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneLoad {
    /// The zone.
    pub zone: ZoneId,
    /// The shard that it is on.
    pub shard: u16,
    /// Mean time of a tick that is spent on it, in nanoseconds.
    pub tick_ns: u64,
}

impl ZoneTable {
    /// The zones, each with the shard that it is on.
    pub fn new(zones: impl IntoIterator<Item = (ZoneId, u16)>) -> Arc<ZoneTable> {
        let row = |(id, shard)| {
            let (busy_ns, ticks) = Default::default();
            Row { id, place: Placement::new(shard), busy_ns, ticks }
        };
        Arc::new(ZoneTable { zones: zones.into_iter().map(row).collect() })
    }

    /// The shard that a zone is on, or to which it is on its way; `None` if it is no part of the world. Its id is one of a row,
    /// which may be of another world.
    pub fn shard_of(&self, zone: i64) -> Option<u16> {
        let row = self.zones.iter().find(|row| i64::from(row.id.0) == zone)?;
        Some(row.place.get())
    }

    /// The zone's place, for those who only show it.
    pub fn place(&self, zone: ZoneId) -> Option<Placement> {
        self.row(zone).map(|row| row.place.clone())
    }

    /// The zone goes to a shard.
    pub fn set(&self, zone: ZoneId, shard: u16) {
        if let Some(row) = self.row(zone) {
            row.place.set(shard);
        }
    }

    /// So much time was spent on a zone in so many ticks.
    pub fn count(&self, zone: ZoneId, busy_ns: u64, ticks: u64) {
        if let Some(row) = self.row(zone) {
            row.busy_ns.fetch_add(busy_ns, Ordering::Relaxed);
            row.ticks.fetch_add(ticks, Ordering::Relaxed);
        }
    }

    /// What each zone took of a tick since this was asked last.
    pub fn take_loads(&self) -> Vec<ZoneLoad> {
        let load = |row: &Row| {
            let (busy_ns, ticks) =
                (row.busy_ns.swap(0, Ordering::Relaxed), row.ticks.swap(0, Ordering::Relaxed));
            ZoneLoad { zone: row.id, shard: row.place.get(), tick_ns: busy_ns / ticks.max(1) }
        };
        self.zones.iter().map(load).collect()
    }

    fn row(&self, zone: ZoneId) -> Option<&Row> {
        self.zones.iter().find(|row| row.id == zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_means_since_they_were_taken() {
        let table = ZoneTable::new([(ZoneId(7), 0), (ZoneId(9), 1)]);
        table.count(ZoneId(7), 300, 2);
        table.count(ZoneId(7), 100, 2);
        table.count(ZoneId(8), 100, 2);
        table.set(ZoneId(9), 0);
        let load = |zone, shard, tick_ns| ZoneLoad { zone: ZoneId(zone), shard, tick_ns };
        assert_eq!(table.take_loads(), [load(7, 0, 100), load(9, 0, 0)]);
        assert_eq!(table.take_loads(), [load(7, 0, 0), load(9, 0, 0)]);
        assert_eq!((table.shard_of(9), table.shard_of(8), table.shard_of(-1)), (Some(0), None, None));
        assert_eq!(table.place(ZoneId(9)).map(|place| place.get()), Some(0));
    }
}
