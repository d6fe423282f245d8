//! The zone as one would write it without thinking of speed.

use std::collections::{BTreeMap, BTreeSet};

use vyuha_protocol::snapshot::Member;
use vyuha_protocol::{CellCoord, Displacement, EntityId, EntityKind, Pos, TileMap, motion};

use crate::columns::{Grid, HIDDEN, PLACED, between, pack};
use crate::hash::{add, hot_term, joined, warm_term};
use crate::{GROUP_PERIOD_TICKS, Warm};

/// Groups are numbered from 1 to this.
pub const GROUPS: u32 = 2;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    pub pos: Pos,
    pub by: Displacement,
    pub placed: bool,
    pub kind: EntityKind,
    pub state: u16,
    pub name: String,
    pub warm: Warm,
    pub hidden: bool,
    order: Order,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    GoOn,
    Place(Pos),
    Jump(Pos, Displacement),
    Appear,
}

pub struct Model {
    pub map: TileMap,
    /// Those whose ids are valid.
    pub living: BTreeMap<EntityId, Entity>,
    /// Those that were there after the last step.
    pub shown: BTreeMap<EntityId, Entity>,
    /// By tick, from 0: those that were there after it and not hidden, and those that were told anew in it.
    past: Vec<(BTreeMap<EntityId, Entity>, BTreeSet<EntityId>)>,
    retold: BTreeSet<EntityId>,
    /// Who is in a group, and the groups that somebody came into or went out of since the last step.
    groups: BTreeMap<EntityId, u32>,
    changed_groups: BTreeSet<u32>,
    /// By group: its members as told last.
    told_groups: BTreeMap<u32, Vec<Member>>,
}

impl Model {
    pub fn new(map: TileMap) -> Model {
        let past = vec![(BTreeMap::new(), BTreeSet::new())];
        Model {
            map,
            living: BTreeMap::new(),
            shown: BTreeMap::new(),
            past,
            retold: BTreeSet::new(),
            groups: BTreeMap::new(),
            changed_groups: BTreeSet::new(),
            told_groups: BTreeMap::new(),
        }
    }

    pub fn spawn(&mut self, id: EntityId, spawn: crate::Spawn<'_>) {
        let (pos, kind, state, name) = (spawn.pos, spawn.kind, spawn.state, spawn.name.to_owned());
        let entity = Entity {
            pos,
            by: Displacement::default(),
            placed: false,
            kind,
            state,
            name,
            warm: spawn.warm,
            hidden: false,
            order: Order::Appear,
        };
        assert!(self.living.insert(id, entity).is_none(), "{id} was given twice");
    }

    pub fn walk(&mut self, id: EntityId, by: Displacement) {
        let entity = self.living.get_mut(&id).unwrap();
        match &mut entity.order {
            Order::Jump(_, after) => *after = by,
            Order::Appear => entity.by = by,
            Order::GoOn | Order::Place(_) => {
                (entity.by, entity.placed, entity.order) = (by, false, Order::GoOn);
            }
        }
    }

    pub fn place(&mut self, id: EntityId, to: Pos) {
        let entity = self.living.get_mut(&id).unwrap();
        match entity.order {
            Order::Appear => (entity.pos, entity.by) = (to, Displacement::default()),
            Order::GoOn | Order::Place(_) if between(entity.pos, to).is_some() => {
                entity.order = Order::Place(to);
            }
            _ => entity.order = Order::Jump(to, Displacement::default()),
        }
        if matches!(entity.order, Order::Jump(..)) {
            self.retold.insert(id);
        }
    }

    pub fn set_state(&mut self, id: EntityId, state: u16) {
        let entity = self.living.get_mut(&id).unwrap();
        if entity.state != state {
            entity.state = state;
            self.retold.insert(id);
        }
    }

    pub fn set_group(&mut self, id: EntityId, group: u32) {
        let before = self.groups.insert(id, group).unwrap_or(0);
        if before != group {
            self.changed_groups.extend([before, group]);
        }
    }

    pub fn despawn(&mut self, id: EntityId) {
        self.set_group(id, 0);
        self.living.remove(&id);
    }

    /// What `Zone::position` says before the step.
    pub fn ordered_pos(&self, id: EntityId) -> Pos {
        let entity = &self.living[&id];
        match entity.order {
            Order::GoOn | Order::Appear => entity.pos,
            Order::Place(to) | Order::Jump(to, _) => to,
        }
    }

    pub fn step(&mut self) {
        for entity in self.living.values_mut() {
            let from = entity.pos;
            match std::mem::replace(&mut entity.order, Order::GoOn) {
                Order::Appear => {}
                Order::Jump(to, after) => (entity.pos, entity.by, entity.placed) = (to, after, false),
                Order::Place(to) => {
                    (entity.pos, entity.by, entity.placed) = (to, between(from, to).unwrap(), true);
                }
                Order::GoOn if entity.placed => {
                    (entity.by, entity.placed) = (Displacement::default(), false);
                }
                Order::GoOn => {
                    entity.pos = motion::step(&self.map, from, entity.by);
                    entity.by = between(from, entity.pos).unwrap();
                }
            }
        }
        self.shown.clone_from(&self.living);
        let tick = self.past.len() as u32;
        for group in 1..=GROUPS {
            let members: Vec<Member> = self
                .groups
                .iter()
                .filter(|(_, number)| **number == group)
                .map(|(id, _)| {
                    let entity = &self.shown[id];
                    let (Pos { x, y }, kind, state) = (entity.pos, entity.kind.0, entity.state);
                    Member { entity: id.0, x, y, kind, state }
                })
                .collect();
            if self.changed_groups.remove(&group) || (tick + group).is_multiple_of(GROUP_PERIOD_TICKS) {
                self.told_groups.insert(group, members);
            }
        }
        let mut visible = self.shown.clone();
        visible.retain(|_, entity| !entity.hidden);
        self.past.push((visible, std::mem::take(&mut self.retold)));
    }

    /// A group's members as they were told last.
    pub fn told_group(&self, group: u32) -> &[Member] {
        self.told_groups.get(&group).map_or(&[], Vec::as_slice)
    }

    /// How many steps were made.
    pub fn tick(&self) -> u32 {
        self.past.len() as u32 - 1
    }

    /// Those that were in a cell after a step and not hidden.
    pub fn in_cell(&self, tick: u32, cell: CellCoord) -> impl Iterator<Item = (&EntityId, &Entity)> {
        self.past[tick as usize].0.iter().filter(move |(_, entity)| entity.pos.cell() == cell)
    }

    /// An entity after a step, unless it was hidden.
    pub fn at(&self, tick: u32, id: EntityId) -> Option<&Entity> {
        self.past[tick as usize].0.get(&id)
    }

    pub fn pos(&self, tick: u32, id: EntityId) -> Option<Pos> {
        self.at(tick, id).map(|entity| entity.pos)
    }

    /// Whether an entity changed its state or jumped in one of the ticks after one.
    pub fn retold_since(&self, tick: u32, id: EntityId) -> bool {
        self.past[tick as usize + 1..].iter().any(|(_, retold)| retold.contains(&id))
    }

    /// The state hash, summed in the order of ids.
    pub fn hash(&self, grid: Grid) -> u64 {
        let terms = self.shown.iter().flat_map(|(id, entity)| {
            let cell = grid.index(entity.pos.cell()) as u32;
            let placed = if entity.placed { PLACED } else { 0 };
            let flags = placed | if entity.hidden { HIDDEN } else { 0 };
            [
                hot_term(id.0, flags, entity.pos.local(), pack(entity.by), entity.warm),
                warm_term(id.0, cell, 0, 0),
                warm_term(id.0, 0, entity.kind.0, entity.state),
            ]
        });
        joined(terms.fold((0, 0), add))
    }
}
