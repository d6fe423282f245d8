//! A character's bank: a grid of [`BANK_TABS`] tabs with [`BANK_TAB_SLOTS`] slots each.
//!
//! - It is used within reach of one of its zone's banks; it is the same bank everywhere.
//! - What is put in joins the first stack of its kind that has room for all of it, else takes the first slot that a
//!   placeholder keeps for its kind, else the lowest free slot of the tab that was named, else is refused: never a part.
//! - What is taken out whole may leave a placeholder: a row of no items, which keeps the slot for the kind.
//! - Nothing in it weighs.

mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::hash::StateHash;
use crate::inventory::Stack;

pub use rules::deposit_slot;

/// Tabs of a bank.
pub const BANK_TABS: usize = 8;
/// Slots of a tab.
pub const BANK_TAB_SLOTS: usize = 50;
/// Slots of a bank.
pub const BANK_SLOTS: usize = BANK_TABS * BANK_TAB_SLOTS;

/// What lies in a character's bank, by slot. A stack of none is a placeholder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bank {
    slots: BTreeMap<usize, Stack>,
}

impl Bank {
    /// A slot's content.
    pub fn get(&self, slot: usize) -> Option<Stack> {
        self.slots.get(&slot).copied()
    }

    /// Replaces a slot's content, and hands out what was there.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn set(&mut self, slot: usize, stack: Option<Stack>) -> Option<Stack> {
        assert!(slot < BANK_SLOTS, "a bank has no slot {slot}");
        match stack {
            Some(stack) => self.slots.insert(slot, stack),
            None => self.slots.remove(&slot),
        }
    }

    /// The slots that are not empty, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Stack)> {
        self.slots.iter().map(|(slot, stack)| (*slot, *stack))
    }

    /// Feeds the whole state to a hash.
    pub fn hash_into(&self, hash: &mut StateHash) {
        for (slot, stack) in self.iter() {
            hash.write(slot as u64);
            stack.hash_into(hash);
        }
    }
}
