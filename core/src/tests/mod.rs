//! The whole zone against a model that keeps every entity in a map and looks at all of them each time.

mod hostile;
mod mirror;
mod model;
mod orders;
mod pairs;
mod questions;
mod random;
mod shots;
mod sizes;
mod tables;

use std::sync::Arc;

use vyuha_protocol::units::TILE_UNITS;
use vyuha_protocol::{Displacement, EntityId, EntityKind, Pos, TileMap};

use crate::columns::KEPT;
use crate::{Spawn, Warm, Zone};

/// A zone on an open map.
fn open_zone(width: u32, height: u32) -> Zone {
    Zone::new(Arc::new(TileMap::open(width, height)))
}

/// An NPC that stands at a place.
fn npc(pos: Pos) -> Spawn<'static> {
    Spawn { pos, kind: EntityKind::npc(1), state: 0, name: "", warm: Warm::default() }
}

/// A place in units from the corner of a tile.
fn tile(x: u32, y: u32, dx: u32, dy: u32) -> Pos {
    Pos { x: x * TILE_UNITS + dx, y: y * TILE_UNITS + dy }
}

fn by(dx: i16, dy: i16) -> Displacement {
    Displacement { dx, dy }
}

/// What must hold of the columns after every step.
fn check_columns(zone: &Zone) {
    let (columns, slots) = (&zone.columns, &zone.slots);
    assert_eq!(columns.start[0], 0);
    assert_eq!(*columns.start.last().unwrap() as usize, columns.len());
    let lengths = [columns.local.len(), columns.velocity.len(), columns.flags.len(), columns.warm.len()];
    assert_eq!(lengths, [columns.len(); 4]);
    assert_eq!(columns.len(), zone.len(), "all that live stand somewhere");
    assert_eq!(
        slots.free.len() + zone.len(),
        slots.place.len(),
        "each slot is taken or free, and freed once"
    );
    let mut seen = vec![false; slots.place.len()];
    slots.free.iter().for_each(|slot| assert!(!std::mem::replace(&mut seen[*slot as usize], true)));
    for cell in 0..zone.grid.count() {
        assert!(columns.start[cell] <= columns.start[cell + 1]);
        for index in columns.run(cell) {
            let id = EntityId(columns.entity[index]);
            let slot = id.slot();
            assert_eq!(columns.flags[index] & !KEPT, 0, "a stale flag of {id}");
            assert!(!std::mem::replace(&mut seen[slot as usize], true), "slot {slot} twice");
            assert_eq!(slots.id(slot), id);
            assert_eq!(slots.place[slot as usize] as usize, cell, "slot {slot}");
            let pos = Pos::from_cell(zone.grid.coord(cell), columns.local[index]);
            assert!(zone.map().is_open(pos), "slot {slot} at {pos:?}");
        }
    }
}
