//! What a character wears: one thing in each of [`EQUIPMENT_SLOTS`].
//!
//! - A thing is worn only in its own slot, and only while all that is worn goes together: what needs another has it, and
//!   what takes both hands has the shield's slot free.
//! - What is worn gives its bonuses until it is broken: used as often as its durability says. A use that its bonus makes
//!   possible wears it by one.
//! - What is put on changes places with what was worn there, so that it never needs a free slot.

mod rules;
#[cfg(test)]
mod tests;

use crate::content::{Bonuses, Content, EQUIPMENT_SLOTS};
use crate::hash::StateHash;
use crate::inventory::Stack;

pub use rules::{goes_together, is_needed};

/// A character's worn things by slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Equipment {
    slots: [Option<Stack>; EQUIPMENT_SLOTS.len()],
}

impl Equipment {
    /// The slots in order.
    pub fn slots(&self) -> &[Option<Stack>; EQUIPMENT_SLOTS.len()] {
        &self.slots
    }

    /// Replaces a slot's content.
    pub fn set(&mut self, slot: usize, stack: Option<Stack>) {
        self.slots[slot] = stack;
    }

    /// What all that is worn and not broken does.
    pub fn bonuses(&self, content: &Content) -> Bonuses {
        self.working(content).fold(Bonuses::default(), |sum, (_, bonuses)| sum + bonuses)
    }

    /// Wears by one whatever helps to reach farther. The slots that changed come back.
    pub fn use_reach(&mut self, content: &Content) -> Vec<usize> {
        let helped: Vec<usize> =
            self.working(content).filter(|(_, bonuses)| bonuses.reach > 0).map(|(slot, _)| slot).collect();
        let mut worn = Vec::new();
        for slot in helped {
            let Some(stack) = &mut self.slots[slot] else { continue };
            let wearable = content.item(stack.kind).and_then(|item| item.wearable.as_ref());
            if wearable.is_some_and(|wearable| wearable.durability.is_some()) {
                stack.wear += 1;
                worn.push(slot);
            }
        }
        worn
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

    /// What is in its own slot and not broken, with what it does.
    fn working(&self, content: &Content) -> impl Iterator<Item = (usize, Bonuses)> {
        self.slots.iter().enumerate().filter_map(|(slot, stack)| {
            let stack = stack.as_ref()?;
            let wearable = content.item(stack.kind)?.wearable.as_ref()?;
            let broken = wearable.durability.is_some_and(|durability| stack.wear >= durability);
            (wearable.slot == slot && !broken).then_some((slot, wearable.bonuses))
        })
    }
}
