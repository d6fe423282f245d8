//! A client as the protocol describes it, which also checks that it is told everything once and in order.

use std::collections::{BTreeMap, BTreeSet};

use vyuha_protocol::snapshot::{Block, CellKey, Snapshot};
use vyuha_protocol::units::{CELL_UNITS, UNITS_PER_METRE};
use vyuha_protocol::{CellCoord, EntityId, EntityKind, Pos};

use super::model::Model;
use crate::{HYSTERESIS_UNITS, Subscriber, View, Zone};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    cell: CellCoord,
    local: u32,
    kind: u16,
    state: u16,
    name: String,
}

pub struct Mirror {
    pub view: View,
    radius_units: u32,
    held: BTreeMap<u32, Held>,
    subscribed: BTreeSet<CellCoord>,
}

impl Mirror {
    pub fn new(radius_units: u32) -> Mirror {
        let (held, subscribed) = (BTreeMap::new(), BTreeSet::new());
        Mirror { view: View::new(radius_units), radius_units, held, subscribed }
    }

    /// Is served, applies what it gets and compares it with the model. Returns the payload's length. `retold`
    /// are those that may be told anew although nothing in their record differs.
    pub fn serve(
        &mut self,
        zone: &mut Zone,
        model: &Model,
        to: &Subscriber,
        retold: &BTreeSet<EntityId>,
    ) -> usize {
        let in_sync_before: BTreeSet<CellCoord> = self.view.in_sync().collect();
        let mut bytes = vec![0xaa; 3];
        zone.write_snapshot(&mut self.view, to, &mut bytes);
        let payload = &bytes[3..];
        let snapshot = Snapshot::read(payload).unwrap();
        assert_eq!((snapshot.head.tick, snapshot.head.input_ack), (zone.tick(), to.input_ack));
        assert_eq!(snapshot.pos(), to.centre);
        self.check_cells(zone, &snapshot, to);
        check_hidden(&snapshot, model);
        self.apply(&snapshot, &in_sync_before, retold);
        self.compare(zone, model);
        payload.len()
    }

    /// Which cells it is told of, and in which order.
    fn check_cells(&mut self, zone: &Zone, snapshot: &Snapshot, to: &Subscriber) {
        for cell in snapshot.dropped.iter().map(CellCoord::from) {
            assert!(self.subscribed.remove(&cell), "{cell:?} was dropped, but never subscribed to");
            assert!(brute_distance_squared(to.centre, cell) > square(self.radius_units + HYSTERESIS_UNITS));
        }
        let cells = zone.grid.cells;
        for cell in (0..cells.y).flat_map(|y| (0..cells.x).map(move |x| CellCoord { x, y })) {
            if brute_distance_squared(to.centre, cell) <= square(self.radius_units) {
                self.subscribed.insert(cell);
            }
        }
        let blocks: Vec<CellCoord> = snapshot.blocks().map(|block| block.cell).collect();
        let ranks = blocks.iter().map(|&cell| (brute_distance_squared(to.centre, cell), cell));
        assert!(ranks.is_sorted_by(|a, b| a < b), "nearest first, each once: {blocks:?}");
        for cell in &blocks {
            assert!(self.subscribed.contains(cell), "{cell:?} was sent without a subscription");
            assert!(brute_distance_squared(to.centre, *cell) <= square(self.radius_units + HYSTERESIS_UNITS));
        }
        let in_sync: BTreeSet<CellCoord> = self.view.in_sync().collect();
        assert!(in_sync.is_subset(&self.subscribed));
        if to.bytes_max >= 1 << 24 {
            assert_eq!(in_sync, self.subscribed, "with room enough nothing is out of sync");
        }
        if let Some(nearest) =
            self.subscribed.iter().min_by_key(|&&cell| (brute_distance_squared(to.centre, cell), cell))
            && snapshot.head.blocks > 0
        {
            assert!(in_sync.contains(nearest), "the nearest cell is never left out");
        }
    }

    fn apply(&mut self, snapshot: &Snapshot, in_sync: &BTreeSet<CellCoord>, retold: &BTreeSet<EntityId>) {
        let before = self.held.clone();
        let held_in = |id: u32, cell: CellCoord| before.get(&id).is_some_and(|held| held.cell == cell);
        let mut told = BTreeSet::new();
        for block in snapshot.blocks() {
            assert!(block.full || in_sync.contains(&block.cell), "a delta for a cell that is out of sync");
            if block.full {
                assert!(block.updates.is_empty() && block.leaves.is_empty());
            }
            for update in block.updates.iter() {
                assert!(told.insert(update.entity), "{} is told twice", update.entity);
                assert!(held_in(update.entity, block.cell), "an update for an unknown entity");
                self.held.get_mut(&update.entity).unwrap().local = update.local;
            }
            self.enter(&block, &mut told, retold);
        }
        for block in snapshot.blocks() {
            if block.full {
                let named: BTreeSet<u32> = block.enters.iter().map(|enter| enter.entity).collect();
                self.held.retain(|id, held| held.cell != block.cell || named.contains(id));
            }
            for leave in block.leaves.iter() {
                assert!(held_in(leave.entity, block.cell), "{} leaves where it never was", leave.entity);
                assert!(leave.to != CellKey::from(block.cell), "{} leaves for where it is", leave.entity);
                self.held.retain(|id, held| *id != leave.entity || held.cell != block.cell);
            }
        }
        for cell in snapshot.dropped.iter().map(CellCoord::from) {
            self.held.retain(|_, held| held.cell != cell);
        }
    }

    fn enter(&mut self, block: &Block, told: &mut BTreeSet<u32>, retold: &BTreeSet<EntityId>) {
        let mut names: BTreeMap<u32, String> =
            block.names.iter().map(|name| (name.entity, name.text())).collect();
        for enter in block.enters.iter() {
            assert!(told.insert(enter.entity), "{} is told twice", enter.entity);
            let name = names.remove(&enter.entity).unwrap_or_default();
            let (cell, local, kind, state) = (block.cell, enter.local, enter.kind, enter.state);
            let held = Held { cell, local, kind, state, name };
            let known = self.held.insert(enter.entity, held);
            assert!(
                block.full
                    || retold.contains(&EntityId(enter.entity))
                    || known.is_none_or(|known| known.cell != block.cell),
                "{} entered twice",
                enter.entity
            );
        }
        assert!(names.is_empty(), "names of nobody that enters: {names:?}");
    }

    fn compare(&self, zone: &Zone, model: &Model) {
        for cell in self.view.in_sync() {
            let held: BTreeMap<u32, Held> = self
                .held
                .iter()
                .filter(|(_, held)| held.cell == cell)
                .map(|(id, h)| (*id, h.clone()))
                .collect();
            let real: BTreeMap<u32, Held> = model
                .in_cell(cell)
                .map(|(id, entity)| {
                    let name =
                        if entity.kind == EntityKind::PLAYER { entity.name.clone() } else { String::new() };
                    let (kind, state) = (entity.kind.0, entity.state);
                    (id.0, Held { cell, local: entity.pos.local(), kind, state, name })
                })
                .collect();
            assert_eq!(held, real, "{cell:?} at tick {}", zone.tick());
        }
        for held in self.held.values() {
            assert!(self.subscribed.contains(&held.cell), "something is held of a cell that was dropped");
        }
    }
}

/// Nothing is told of who is hidden but that it left, and not where to.
fn check_hidden(snapshot: &Snapshot, model: &Model) {
    let is_hidden = |id: u32| model.shown.get(&EntityId(id)).is_some_and(|entity| entity.hidden);
    for block in snapshot.blocks() {
        assert!(!block.updates.iter().any(|update| is_hidden(update.entity)));
        assert!(!block.enters.iter().any(|enter| is_hidden(enter.entity)));
        assert!(!block.names.iter().any(|name| is_hidden(name.entity)));
        let mut leaves = block.leaves.iter();
        assert!(leaves.all(|leave| !is_hidden(leave.entity) || leave.to == CellKey::NOWHERE));
    }
}

fn square(units: u32) -> u64 {
    u64::from(units) * u64::from(units)
}

/// From the place to whichever place of the cell is nearest, found by confining it to the cell.
fn brute_distance_squared(from: Pos, cell: CellCoord) -> u64 {
    let confine =
        |at: u32, cell: u16| at.clamp(u32::from(cell) * CELL_UNITS, u32::from(cell) * CELL_UNITS + 65_535);
    from.distance_squared(Pos { x: confine(from.x, cell.x), y: confine(from.y, cell.y) })
}

const _: () = assert!(HYSTERESIS_UNITS == 4 * UNITS_PER_METRE);
