//! A client as the protocol describes it, which also checks that it is told everything once and in order.

use std::collections::{BTreeMap, BTreeSet};

use vyuha_protocol::snapshot::{Block, CellKey, Leave, Member, Snapshot};
use vyuha_protocol::units::{CELL_UNITS, TILE_UNITS, UNITS_PER_METRE};
use vyuha_protocol::{CellCoord, EntityId, EntityKind, Pos};

use super::model::{Entity, GROUPS, Model};
use crate::visible::Sight;
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
    groups: BTreeMap<u32, Vec<Member>>,
    served_tick: u32,
    sight: Sight,
}

impl Mirror {
    pub fn new(scope: Scope) -> Mirror {
        let (held, subscribed) = (BTreeMap::new(), BTreeSet::new());
        let mut view = View::of(scope);
        assert!((1..=GROUPS).all(|group| view.watch(group)));
        let (groups, sight) = (BTreeMap::new(), Sight::default());
        Mirror { view, scope, held, subscribed, groups, served_tick: 0, sight }
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
        let reach = self.scope.radius_units.div_ceil(TILE_UNITS);
        let visible = self.visible(model, to.centre, reach + HYSTERESIS_UNITS / TILE_UNITS);
        self.apply(&snapshot, &before, model, &visible);
        let visible = self.visible(model, to.centre, reach);
        self.compare(model, &visible);
        self.check_groups(&snapshot, model);
        self.served_tick = zone.tick();
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

    /// Those that the client may see, some of them only if it knows them already.
    fn visible(&mut self, model: &Model, centre: Pos, reach_tiles: u32) -> BTreeSet<EntityId> {
        let all = model.shown.iter().filter(|(_, entity)| !entity.hidden);
        if !self.scope.walls_hide {
            return all.map(|(id, _)| *id).collect();
        }
        let field = self.sight.from(&model.map, centre, 100);
        all.filter(|(_, entity)| field.shows(entity.pos, reach_tiles)).map(|(id, _)| *id).collect()
    }

    fn check_groups(&mut self, snapshot: &Snapshot, model: &Model) {
        for group in snapshot.groups() {
            let members: Vec<Member> = group.members.iter().collect();
            let known = self.groups.insert(group.group, members.clone());
            let behind = self.served_tick + 1 != model.tick();
            assert!(behind || known.unwrap_or_default() != members, "group {} is told again", group.group);
            let names: BTreeMap<u32, String> =
                group.names.iter().map(|name| (name.entity, name.text())).collect();
            let players = members.iter().filter(|member| EntityKind(member.kind).is_player());
            assert_eq!(names.len(), players.count());
            for (id, name) in names {
                assert_eq!(name, model.shown[&EntityId(id)].name);
            }
        }
        for group in 1..=GROUPS {
            let told = self.groups.get(&group).map_or(&[][..], Vec::as_slice);
            assert_eq!(told, model.told_group(group), "group {group} at {}", model.tick());
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
    fn apply(
        &mut self,
        snapshot: &Snapshot,
        before: &BTreeMap<CellCoord, u32>,
        model: &Model,
        visible: &BTreeSet<EntityId>,
    ) {
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
                if self.scope.walls_hide {
                    let now = model.at(tick, EntityId(leave.entity)).map(|entity| entity.pos.cell());
                    let seen = visible.contains(&EntityId(leave.entity));
                    assert!(now != Some(block.cell) || !seen, "{} leaves where it is seen", leave.entity);
                    assert_eq!(leave.to, CellKey::NOWHERE, "where {} went can be seen", leave.entity);
                } else {
                    check_leave(leave, block.cell, since, tick, model);
                }
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
        for id in &told {
            assert!(visible.contains(&EntityId(*id)), "{id} must not be told");
        }
        if self.scope.walls_hide {
            return;
        }
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

    fn compare(&self, model: &Model, visible: &BTreeSet<EntityId>) {
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
        // What was to be seen earlier is not looked up: there, only what is told of now is compared.
        let complete = |since: u32| !self.scope.walls_hide || since == model.tick();
        for (&cell, &since) in cells.iter().filter(|(_, since)| complete(**since)) {
            for (id, _) in model.in_cell(since, cell) {
                // Another cell may have told since that it went there.
                let here = self.held.get(&id.0).is_some_and(|held| held.cell == cell);
                let moved =
                    (since..=model.tick()).any(|t| model.pos(t, *id).is_none_or(|p| p.cell() != cell));
                let seen = visible.contains(id) || !self.scope.walls_hide;
                assert!(here || moved || !seen, "{id} is not known to be in {cell:?} as of {since}");
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
