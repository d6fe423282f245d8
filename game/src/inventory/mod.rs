//! What a character carries: 28 slots, each empty or holding one stack.
//!
//! - A stack holds 1 to its kind's `stack_max`; a kind that does not stack has a `stack_max` of 1.
//! - What is taken up joins the first stack that has room for all of it, else takes the lowest free slot, else
//!   is refused: never a part.
//! - A whole stack keeps its id wherever it goes; a part that is split off gets an id of its own; a stack that
//!   joins another gives its id up. So the sum of counts never changes, and one id has one place.

mod rows;
mod rules;
#[cfg(test)]
mod tests;

use vyuha_protocol::message::{InventorySlot, ItemSlot};
use vyuha_protocol::{ItemId, ItemKind};

use crate::hash::StateHash;

pub use rows::{
    ItemFault, ItemRow, PLACE_BANK, PLACE_EQUIPMENT, PLACE_GROUND, PLACE_INVENTORY, PLACES_OF_CHARACTERS,
};
pub use rules::{Removal, Transfer, placement, removal, transfer};

/// Slots of an inventory.
pub const INVENTORY_SLOTS: usize = 28;

/// Some items of a kind that lie together under one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack {
    /// The id of its row.
    pub id: ItemId,
    /// What it is.
    pub kind: ItemKind,
    /// How many, at least 1; 0 only where a bank's slot is kept for the kind.
    pub count: u32,
    /// How often it was used.
    pub wear: u16,
}

impl Stack {
    /// The same of another count.
    #[must_use]
    pub fn with_count(self, count: u32) -> Stack {
        Stack { count, ..self }
    }

    /// Feeds the stack to a hash.
    pub fn hash_into(&self, hash: &mut StateHash) {
        hash.write(self.id.0 as u64);
        hash.write(u64::from(self.wear) << 48 | u64::from(self.kind.0) << 32 | u64::from(self.count));
    }
}

/// A slot of a place as clients are told of it.
pub fn item_slot(place: i64, slot: usize, stack: Option<Stack>) -> ItemSlot {
    let (place, slot) = (place as u8, slot as u16);
    stack.map_or(ItemSlot { place, slot, kind: 0, count: 0, wear: 0, item: 0 }, |stack| ItemSlot {
        place,
        slot,
        kind: stack.kind.0,
        count: stack.count,
        wear: stack.wear,
        item: stack.id.0,
    })
}

/// A character's slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    slots: [Option<Stack>; INVENTORY_SLOTS],
}

impl Inventory {
    /// The slots in order.
    pub fn slots(&self) -> &[Option<Stack>; INVENTORY_SLOTS] {
        &self.slots
    }

    /// Replaces a slot's content.
    pub fn set(&mut self, slot: usize, stack: Option<Stack>) {
        self.slots[slot] = stack;
    }

    /// A slot as clients are told of it.
    pub fn slot_message(&self, slot: usize) -> InventorySlot {
        let (kind, count) = self.slots[slot].map_or((0, 0), |stack| (stack.kind.0, stack.count));
        InventorySlot { slot: slot as u8, kind, count }
    }

    /// Feeds the whole state to a hash.
    pub fn hash_into(&self, hash: &mut StateHash) {
        for (slot, stack) in self.slots.iter().enumerate() {
            if let Some(stack) = stack {
                hash.write(slot as u64);
                stack.hash_into(hash);
            }
        }
    }
}
