//! A client as the protocol describes it, which also checks that it is told everything once and in order.

use std::collections::{BTreeMap, BTreeSet};

use vyuha_protocol::snapshot::{Block, CellKey, Leave, Snapshot};
use vyuha_protocol::units::{CELL_UNITS, UNITS_PER_METRE};
use vyuha_protocol::{CellCoord, EntityId, EntityKind, Pos};

use super::model::{Entity, Model};
use crate::{HYSTERESIS_UNITS, Scope, Subscriber, View, Zone};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    /// The cell that it is held in; while it is on its way there, it was last seen in another.
    cell: CellCoord,
    on_its_way: bool,
    pos: Pos,
    kind: u16,
    state: u16,
    name: String,
}

pub struct Mirror {
    pub view: View,
    scope: Scope,
    held: BTreeMap<u32, Held>,
    subscribed: BTreeSet<CellCoord>,
}

impl Mirror {
    pub fn new(scope: Scope) -> Mirror {
        let (held, subscribed) = (BTreeMap::new(), BTreeSet::new());
        Mirror { view: View::of(scope), scope, held, subscribed }
    }

    /// Is served, applies what it gets and compares it with the model. Returns the payload's length.
    pub fn serve(&mut self, zone: &mut Zone, model: &Model, to: &Subscriber) -> usize {
        let before: BTreeMap<CellCoord, u32> = self.view.held().collect();
        let mut bytes = vec![0xaa; 3];
        zone.write_snapshot(&mut self.view, to, &mut bytes);
        let payload = &bytes[3..];
        let snapshot = Snapshot::read(payload).unwrap();
        assert_eq!((snapshot.head.tick, snapshot.head.input_ack), (zone.tick(), to.input_ack));
        assert_eq!(snapshot.pos(), to.centre);
        self.check_cells(zone, &snapshot, to);
        self.apply(&snapshot, &before, model);
        self.compare(model);
        payload.len()
    }

    /// Which cells it is told of, and in which order.
    fn check_cells(&mut self, zone: &Zone, snapshot: &Snapshot, to: &Subscriber) {
        let radius = self.scope.radius_units;
        for cell in snapshot.dropped.iter().map(CellCoord::from) {
            assert!(self.subscribed.remove(&cell), "{cell:?} was dropped, but never subscribed to");
            assert!(brute_distance_squared(to.centre, cell) > square(radius + HYSTERESIS_UNITS));
        }
        let cells = zone.grid.cells;
        for cell in (0..cells.y).flat_map(|y| (0..cells.x).map(move |x| CellCoord { x, y })) {
            if brute_distance_squared(to.centre, cell) <= square(radius) {
                self.subscribed.insert(cell);
            }
        }
        let blocks: Vec<CellCoord> = snapshot.blocks().map(|block| block.cell).collect();
        let ranks = blocks.iter().map(|&cell| (brute_distance_squared(to.centre, cell), cell));
        assert!(ranks.is_sorted_by(|a, b| a < b), "nearest first, each once: {blocks:?}");
        for cell in &blocks {
            assert!(self.subscribed.contains(cell), "{cell:?} was sent without a subscription");
            assert!(brute_distance_squared(to.centre, *cell) <= square(radius + HYSTERESIS_UNITS));
        }
        let held: BTreeMap<CellCoord, u32> = self.view.held().collect();
        assert!(held.keys().all(|cell| self.subscribed.contains(cell)));
        if to.bytes_max >= 1 << 24 {
            assert_eq!(held.len(), self.subscribed.len(), "with room enough each cell is told of");
            for (cell, tick) in &held {
                let period = self.period(to.centre, *cell);
                assert!(zone.tick() - tick < period, "{cell:?} of {period} missed its turn");
            }
        }
        if let Some(nearest) =
            self.subscribed.iter().min_by_key(|&&cell| (brute_distance_squared(to.centre, cell), cell))
            && snapshot.head.blocks > 0
            && self.period(to.centre, *nearest) == 1
        {
            assert_eq!(held.get(nearest), Some(&zone.tick()), "the nearest cell is never left out");
        }
    }

    fn period(&self, centre: Pos, cell: CellCoord) -> u32 {
        let distance_squared = brute_distance_squared(centre, cell);
        let is_beyond = |units: u32| distance_squared > square(units);
        match (is_beyond(self.scope.half_rate_units), is_beyond(self.scope.quarter_rate_units)) {
            (_, true) => 4,
            (true, false) => 2,
            (false, false) => 1,
        }
    }

    /// Applies a snapshot word for word; `before` says as of when each cell was held.
    fn apply(&mut self, snapshot: &Snapshot, before: &BTreeMap<CellCoord, u32>, model: &Model) {
        let tick = snapshot.head.tick;
        let known = self.held.clone();
        let dropped: BTreeSet<CellCoord> = snapshot.dropped.iter().map(CellCoord::from).collect();
        let full: BTreeSet<CellCoord> =
            snapshot.blocks().filter(|block| block.full).map(|block| block.cell).collect();
        let holds =
            |cell: &CellCoord| before.contains_key(cell) && !dropped.contains(cell) || full.contains(cell);
        let mut told = BTreeSet::new();
        for block in snapshot.blocks() {
            assert!(block.full || before.contains_key(&block.cell), "a delta for a cell that is not held");
            assert!(!block.full || block.updates.is_empty() && block.leaves.is_empty());
            let since = *before.get(&block.cell).unwrap_or(&tick);
            assert!(block.full || (1..=4).contains(&(tick - since)), "a delta over {} ticks", tick - since);
            for update in block.updates.iter() {
                let (id, cell) = (EntityId(update.entity), block.cell);
                assert!(told.insert(id.0), "{id} is told twice");
                let held = self.held.get_mut(&id.0).expect("an update for an unknown entity");
                assert!(held.cell == cell && !held.on_its_way, "an update of {id} where it is not");
                assert!((since..tick).any(|t| model.pos(t, id) != model.pos(t + 1, id)), "{id} did not move");
                held.pos = Pos::from_cell(cell, update.local);
            }
            self.enter(&block, since, tick, &mut told, model);
        }
        for block in snapshot.blocks() {
            let mut left = BTreeSet::new();
            for leave in block.leaves.iter() {
                let since = before[&block.cell];
                assert!(left.insert(leave.entity), "{} leaves twice", leave.entity);
                check_leave(leave, block.cell, since, tick, model);
                if self.held.get(&leave.entity).is_none_or(|held| held.cell != block.cell) {
                    continue;
                }
                let to = leave.to.into();
                if holds(&to) {
                    let held = self.held.get_mut(&leave.entity).unwrap();
                    (held.cell, held.on_its_way) = (to, true);
                } else {
                    self.held.remove(&leave.entity);
                }
            }
        }
        self.held.retain(|id, held| {
            !dropped.contains(&held.cell) && (!full.contains(&held.cell) || told.contains(id))
        });
        // Nobody is lost between two cells that are both held, unless it jumped or its cell was told anew.
        for (id, was) in &known {
            let (Some(from), Some(entity)) =
                (model.pos(tick - 1, EntityId(*id)), model.at(tick, EntityId(*id)))
            else {
                continue;
            };
            let (seen, cell) = (was.pos.cell(), entity.pos.cell());
            let walked = from.distance_squared(entity.pos) < square(CELL_UNITS / 4);
            let near = seen.x.abs_diff(cell.x) <= 1 && seen.y.abs_diff(cell.y) <= 1;
            let retold = dropped.contains(&was.cell) || full.contains(&was.cell);
            if walked
                && near
                && holds(&cell)
                && !retold
                && !model.retold_since(tick.saturating_sub(8), EntityId(*id))
            {
                assert!(self.held.contains_key(id), "{id} is lost on its way from {seen:?} to {cell:?}");
            }
        }
    }

    fn enter(&mut self, block: &Block, since: u32, tick: u32, told: &mut BTreeSet<u32>, model: &Model) {
        let mut names: BTreeMap<u32, String> =
            block.names.iter().map(|name| (name.entity, name.text())).collect();
        for enter in block.enters.iter() {
            let id = EntityId(enter.entity);
            assert!(told.insert(id.0), "{id} is told twice");
            let name = names.remove(&id.0).unwrap_or_default();
            let (cell, pos) = (block.cell, Pos::from_cell(block.cell, enter.local));
            let held = Held { cell, on_its_way: false, pos, kind: enter.kind, state: enter.state, name };
            let known = self.held.insert(id.0, held);
            let is_new = known.is_none_or(|known| known.cell != cell || known.on_its_way);
            let came_back = || (since..tick).any(|t| model.pos(t, id).is_none_or(|pos| pos.cell() != cell));
            assert!(
                block.full || is_new || model.retold_since(since, id) || came_back(),
                "{id} entered twice"
            );
        }
        assert!(names.is_empty(), "names of nobody that enters: {names:?}");
    }

    fn compare(&self, model: &Model) {
        let cells: BTreeMap<CellCoord, u32> = self.view.held().collect();
        for (&id, held) in &self.held {
            let id = EntityId(id);
            let Some(&since) = cells.get(&held.cell) else { panic!("{id} is held in a cell that is not") };
            if !held.on_its_way {
                let real = model.at(since, id).unwrap_or_else(|| panic!("{id} was gone at {since}"));
                let name = if real.kind == EntityKind::PLAYER { real.name.clone() } else { String::new() };
                let (cell, pos) = (real.pos.cell(), real.pos);
                let expected =
                    Held { cell, on_its_way: false, pos, kind: real.kind.0, state: real.state, name };
                assert_eq!(*held, expected, "{id} as of {since}");
            }
        }
        for (&cell, &since) in &cells {
            for (id, _) in model.in_cell(since, cell) {
                // Another cell may have told since that it went there.
                let here = self.held.get(&id.0).is_some_and(|held| held.cell == cell);
                let moved =
                    (since..=model.tick()).any(|t| model.pos(t, *id).is_none_or(|p| p.cell() != cell));
                assert!(here || moved, "{id} is not known to be in {cell:?} as of {since}");
            }
        }
    }
}

/// A leave is of somebody who was in the cell since it was told of last, and is not any more.
fn check_leave(leave: Leave, cell: CellCoord, since: u32, tick: u32, model: &Model) {
    let id = EntityId(leave.entity);
    let was_here = |t| model.pos(t, id).is_some_and(|pos| pos.cell() == cell);
    assert!((since..tick).any(was_here), "{id} leaves {cell:?} where it never was");
    assert!(!was_here(tick), "{id} leaves {cell:?} where it is");
    let now = model.at(tick, id).map(|entity: &Entity| entity.pos.cell());
    let beside = now.filter(|now| now.x.abs_diff(cell.x) <= 1 && now.y.abs_diff(cell.y) <= 1);
    assert_eq!(leave.to, beside.map_or(CellKey::NOWHERE, CellKey::from), "where {id} went");
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
