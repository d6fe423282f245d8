//! What lies on a zone's ground.
//!
//! - Each item on the ground is an entity of the zone, which never moves, and one row.
//! - It can be picked up by whoever stands within the zone kind's reach; of two in one tick the first has it.
//! - A zone's ground holds at most its kind's `ground_items_max`.
//! - A new zone is littered as its content says, once and for all. Once an interval, while fewer items lie there than that, one more
//!   is laid at a random place, so that a long game never runs dry.

mod rows;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use vyuha_core::{Spawn, Warm, Zone};
use vyuha_protocol::{EntityId, EntityKind, Pos};

use crate::hash::StateHash;
use crate::inventory::Stack;

pub use rows::ZoneRow;
pub use rules::{litter, within_reach};

/// An item on the ground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroundItem {
    /// What it is.
    pub stack: Stack,
    /// Where it lies.
    pub at: Pos,
}

/// The items on a zone's ground, by entity.
#[derive(Debug, Default)]
pub struct Ground {
    items: BTreeMap<EntityId, GroundItem>,
}

impl Ground {
    /// Lays an item down.
    pub fn lay(&mut self, zone: &mut Zone, stack: Stack, at: Pos) -> EntityId {
        let state = u16::try_from(stack.count).unwrap_or(u16::MAX);
        let entity = zone.spawn(Spawn {
            pos: at,
            kind: EntityKind::item(stack.kind),
            state,
            name: "",
            warm: Warm::default(),
        });
        self.items.insert(entity, GroundItem { stack, at });
        entity
    }

    /// Takes an item away, if it is there.
    pub fn take(&mut self, zone: &mut Zone, entity: EntityId) -> Option<GroundItem> {
        let item = self.items.remove(&entity)?;
        zone.despawn(entity);
        Some(item)
    }

    /// The item of an entity, if it is one on this ground.
    pub fn get(&self, entity: EntityId) -> Option<&GroundItem> {
        self.items.get(&entity)
    }

    /// How many items lie here.
    pub fn count(&self) -> usize {
        self.items.len()
    }

    /// The items, by rising entity.
    pub fn iter(&self) -> impl Iterator<Item = (EntityId, &GroundItem)> {
        self.items.iter().map(|(entity, item)| (*entity, item))
    }

    /// Feeds the whole state to a hash.
    pub fn hash_into(&self, hash: &mut StateHash) {
        hash.write(self.items.len() as u64);
        hash.write_each(self.items.iter(), |hash, (entity, item)| {
            hash.write(u64::from(entity.0));
            item.stack.hash_into(hash);
            hash.write(u64::from(item.at.x) << 32 | u64::from(item.at.y));
        });
    }
}
