//! What a node is: the part of the page that does not change while the node runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::SystemTime;

use crate::feed::ZONE_TILES_MAX;

/// A node, as given at its start.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// The node's version, such as `0.1.0`.
    pub version: String,
    /// The commit it was built from.
    pub commit: String,
    /// When it started.
    pub started: SystemTime,
    /// Ticks a second.
    pub tick_hz: u32,
    /// How many shards it runs, numbered from 0.
    pub shards: u16,
    /// Its zones.
    pub zones: Vec<ZoneInfo>,
    /// Where its staff pages are, if they are served.
    pub staff: Option<String>,
}

/// A zone, as the map draws it.
#[derive(Clone, Debug)]
pub struct ZoneInfo {
    /// The zone's id, unique in the node.
    pub id: u16,
    /// Its name for people.
    pub name: String,
    /// The shard that owns it.
    pub shard: Placement,
    /// Its width in tiles, at most [`ZONE_TILES_MAX`].
    pub width_tiles: u32,
    /// Its height in tiles, at most [`ZONE_TILES_MAX`].
    pub height_tiles: u32,
    /// A bit for each tile, 1 for a wall. Row-major from the north-west; tile `t` is bit `t % 8`, from the
    /// lowest, of byte `t / 8`. Rows are not padded.
    pub walls: Vec<u8>,
}

/// The shard on which a zone is, as whoever moves it says; every clone says the same.
#[derive(Clone, Debug)]
pub struct Placement(Arc<AtomicU16>);

impl Placement {
    /// On a shard.
    pub fn new(shard: u16) -> Placement {
        Placement(Arc::new(AtomicU16::new(shard)))
    }

    /// The shard.
    pub fn get(&self) -> u16 {
        self.0.load(Ordering::Acquire)
    }

    /// The zone goes to another shard.
    pub fn set(&self, shard: u16) {
        self.0.store(shard, Ordering::Release);
    }
}

/// Why a [`NodeInfo`] cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// Two zones have one id.
    #[error("zone id {0} is given twice: give each zone its own")]
    ZoneTwice(u16),
    /// A zone belongs to no shard of the node.
    #[error("zone {zone} is on shard {shard}, but the node has {shards} shard(s), numbered from 0")]
    NoSuchShard {
        /// The zone.
        zone: u16,
        /// The shard that it names.
        shard: u16,
        /// How many shards there are.
        shards: u16,
    },
    /// A zone's side is zero or over [`ZONE_TILES_MAX`].
    #[error("zone {zone} is {width}x{height} tiles: each side must be 1 to {ZONE_TILES_MAX}")]
    Size {
        /// The zone.
        zone: u16,
        /// Its width in tiles.
        width: u32,
        /// Its height in tiles.
        height: u32,
    },
    /// A zone's walls are not one bit a tile.
    #[error("zone {zone} has {given} bytes of walls: its size takes {wanted}")]
    Walls {
        /// The zone.
        zone: u16,
        /// Bytes given.
        given: usize,
        /// Bytes that its size takes.
        wanted: usize,
    },
}

impl NodeInfo {
    /// Checks that the page can show every zone.
    pub(crate) fn validate(&self) -> Result<(), NodeError> {
        let mut ids = std::collections::HashSet::new();
        for zone in &self.zones {
            if !ids.insert(zone.id) {
                return Err(NodeError::ZoneTwice(zone.id));
            }
            zone.validate(self.shards)?;
        }
        Ok(())
    }
}

impl ZoneInfo {
    fn validate(&self, shards: u16) -> Result<(), NodeError> {
        let (zone, width, height) = (self.id, self.width_tiles, self.height_tiles);
        let shard = self.shard.get();
        if shard >= shards {
            return Err(NodeError::NoSuchShard { zone, shard, shards });
        }
        if [width, height].iter().any(|side| !(1..=ZONE_TILES_MAX).contains(side)) {
            return Err(NodeError::Size { zone, width, height });
        }
        let (given, wanted) = (self.walls.len(), (width * height).div_ceil(8) as usize);
        if given != wanted {
            return Err(NodeError::Walls { zone, given, wanted });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(id: u16, shard: u16, width_tiles: u32, height_tiles: u32, walls: usize) -> ZoneInfo {
        let shard = Placement::new(shard);
        ZoneInfo { id, name: "Vale".into(), shard, width_tiles, height_tiles, walls: vec![0; walls] }
    }

    #[test]
    fn zones_are_checked() {
        #[track_caller]
        fn check(zones: Vec<ZoneInfo>, expected: Option<&NodeError>) {
            let node = NodeInfo {
                staff: None,
                version: "0.1.0".into(),
                commit: "abc".into(),
                started: SystemTime::UNIX_EPOCH,
                tick_hz: 30,
                shards: 2,
                zones,
            };
            assert_eq!(node.validate().err().as_ref(), expected);
        }
        check(vec![], None);
        check(vec![zone(1, 0, 10, 10, 13), zone(2, 1, 4096, 4096, 2 << 20)], None);
        check(vec![zone(1, 0, 8, 1, 1), zone(1, 0, 8, 1, 1)], Some(&NodeError::ZoneTwice(1)));
        check(vec![zone(1, 2, 8, 1, 1)], Some(&NodeError::NoSuchShard { zone: 1, shard: 2, shards: 2 }));
        check(vec![zone(1, 0, 0, 9, 0)], Some(&NodeError::Size { zone: 1, width: 0, height: 9 }));
        check(vec![zone(1, 0, 9, 4097, 0)], Some(&NodeError::Size { zone: 1, width: 9, height: 4097 }));
        check(vec![zone(1, 0, 9, 1, 1)], Some(&NodeError::Walls { zone: 1, given: 1, wanted: 2 }));
    }
}
