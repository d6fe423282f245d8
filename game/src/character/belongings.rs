//! All that a character owns.

use vyuha_protocol::{CharacterId, ErrorCode};

use crate::bank::Bank;
use crate::content::Content;
use crate::equipment::Equipment;
use crate::hash::StateHash;
use crate::inventory::{
    Inventory, ItemFault, ItemRow, PLACE_BANK, PLACE_EQUIPMENT, PLACE_INVENTORY, Stack, placement,
};

/// What a character carries, wears and has in the bank. Bounded by the slots of each: at most 439 stacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Belongings {
    /// What it carries.
    pub inventory: Inventory,
    /// What it wears.
    pub equipment: Equipment,
    /// What lies in its bank.
    pub bank: Bank,
}

impl Belongings {
    /// What a character's rows describe. What is in an equipment slot to which it does not belong any more stays there and
    /// does nothing.
    ///
    /// # Errors
    /// If a row is not the character's, or cannot be played with.
    pub fn load(content: &Content, owner: CharacterId, rows: &[ItemRow]) -> Result<Belongings, ItemFault> {
        let mut belongings = Belongings::default();
        for row in rows {
            let slot = row.slot_of(owner)?;
            let stack = row.stack(content)?;
            if belongings.get(row.place, slot).is_some() {
                return Err(ItemFault::Slot { item: row.id, slot: row.slot });
            }
            belongings.set(row.place, slot, Some(stack));
        }
        Ok(belongings)
    }

    /// The rows that describe it, place by place, by rising slot.
    pub fn rows(&self, owner: CharacterId) -> Vec<ItemRow> {
        fn held(slots: &[Option<Stack>]) -> impl Iterator<Item = (usize, Stack)> {
            slots.iter().enumerate().filter_map(|(slot, stack)| Some((slot, (*stack)?)))
        }
        let of = |place| move |(slot, stack)| ItemRow::held(place, stack, owner, slot);
        let carried = held(self.inventory.slots()).map(of(PLACE_INVENTORY));
        let worn = held(self.equipment.slots()).map(of(PLACE_EQUIPMENT));
        carried.chain(worn).chain(self.bank.iter().map(of(PLACE_BANK))).collect()
    }

    /// What a slot holds, which must be one of its place.
    pub fn get(&self, place: i64, slot: usize) -> Option<Stack> {
        match place {
            PLACE_EQUIPMENT => self.equipment.slots()[slot],
            PLACE_BANK => self.bank.get(slot),
            _ => self.inventory.slots()[slot],
        }
    }

    /// Replaces what a slot holds, which must be one of its place.
    pub fn set(&mut self, place: i64, slot: usize, stack: Option<Stack>) {
        match place {
            PLACE_EQUIPMENT => self.equipment.set(slot, stack),
            PLACE_BANK => _ = self.bank.set(slot, stack),
            _ => self.inventory.set(slot, stack),
        }
    }

    /// Grams of all that is carried and worn.
    pub fn weight_g(&self, content: &Content) -> u64 {
        let held = self.inventory.slots().iter().chain(self.equipment.slots()).flatten();
        held.map(|stack| weight_g(content, stack)).sum()
    }

    /// Grams that may be carried and worn.
    pub fn weight_g_max(&self, content: &Content) -> u64 {
        u64::from(content.carry_g_max) + u64::from(self.equipment.bonuses(content).carry_g)
    }

    /// The inventory slot for a stack that is not carried yet: all of it finds room and is not too heavy.
    pub fn room_for(&self, content: &Content, stack: &Stack) -> Result<usize, ErrorCode> {
        let slot = placement(self.inventory.slots(), stack.kind, stack.count, stack_max(content, stack))?;
        let weight_g = self.weight_g(content) + weight_g(content, stack);
        if weight_g > self.weight_g_max(content) { Err(ErrorCode::TooHeavy) } else { Ok(slot) }
    }

    /// Feeds the whole state to a hash.
    pub fn hash_into(&self, hash: &mut StateHash) {
        self.inventory.hash_into(hash);
        hash.write(PLACE_EQUIPMENT as u64);
        self.equipment.hash_into(hash);
        hash.write(PLACE_BANK as u64);
        self.bank.hash_into(hash);
    }
}

/// How many of a stack's kind fit into a slot.
pub fn stack_max(content: &Content, stack: &Stack) -> u32 {
    content.item(stack.kind).expect("only kinds of the content are loaded").stack_max
}

fn weight_g(content: &Content, stack: &Stack) -> u64 {
    let item = content.item(stack.kind).expect("only kinds of the content are loaded");
    u64::from(item.weight_g) * u64::from(stack.count)
}
