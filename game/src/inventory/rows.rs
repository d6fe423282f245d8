//! The row of an item, wherever it is: one id, one row, one place, so an item is never in two.

use vyuha_protocol::{CharacterId, ItemId, ItemKind, Pos, ZoneId};
use vyuha_record::record;

use super::{INVENTORY_SLOTS, Stack};
use crate::bank::BANK_SLOTS;
use crate::content::{Content, EQUIPMENT_SLOTS, STACK_MAX};

/// [`ItemRow::place`] of what a character carries.
pub const PLACE_INVENTORY: i64 = 0;
/// [`ItemRow::place`] of what lies on the ground.
pub const PLACE_GROUND: i64 = 1;
/// [`ItemRow::place`] of what a character wears.
pub const PLACE_EQUIPMENT: i64 = 2;
/// [`ItemRow::place`] of what lies in a character's bank.
pub const PLACE_BANK: i64 = 3;

/// The places whose owner is a character.
pub const PLACES_OF_CHARACTERS: [i64; 3] = [PLACE_INVENTORY, PLACE_EQUIPMENT, PLACE_BANK];

record! {
    /// A stack of items or a single item.
    pub struct ItemRow in "item", table 3 {
        /// The item's id.
        key id: i64,
        /// Its kind, from the content.
        kind: i64,
        /// How many, at least 1; 0 in a bank's slot that is kept for the kind.
        count: i64,
        /// One of [`PLACE_INVENTORY`], [`PLACE_GROUND`], [`PLACE_EQUIPMENT`] and [`PLACE_BANK`].
        place: i64,
        /// The character whose it is, or the zone on whose ground it lies.
        owner: i64,
        /// The slot of the inventory, the equipment or the bank; 0 on the ground.
        slot: i64,
        /// On the ground, units from the zone's western edge; else 0.
        x: i64,
        /// On the ground, units from the zone's northern edge; else 0.
        y: i64,
        /// How often it was used, 0 to 65,535.
        wear: i64,
    }
}

/// Why an item's row cannot be played with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemFault {
    /// The content has no such kind.
    #[error("item {item} is of kind {kind}, which the content does not have; give items.toml that id back")]
    Kind {
        /// The item's id.
        item: i64,
        /// Its kind.
        kind: i64,
    },
    /// The count is not possible.
    #[error("item {item} has a count of {count}, not from 1 to {STACK_MAX}")]
    Count {
        /// The item's id.
        item: i64,
        /// Its count.
        count: i64,
    },
    /// The wear is not possible.
    #[error("item {item} has a wear of {wear}, not from 0 to 65535")]
    Wear {
        /// The item's id.
        item: i64,
        /// Its wear.
        wear: i64,
    },
    /// The row is not of this character or ground.
    #[error("item {item} is at place {place} of owner {owner}, not where it was loaded for")]
    Elsewhere {
        /// The item's id.
        item: i64,
        /// Its place.
        place: i64,
        /// Its owner.
        owner: i64,
    },
    /// The slot does not exist or holds another item.
    #[error("item {item} is in slot {slot}, which does not exist or is taken")]
    Slot {
        /// The item's id.
        item: i64,
        /// Its slot.
        slot: i64,
    },
}

impl ItemRow {
    /// The row of a stack in an inventory slot.
    pub fn carried(stack: Stack, owner: CharacterId, slot: usize) -> ItemRow {
        ItemRow::held(PLACE_INVENTORY, stack, owner, slot)
    }

    /// The row of a stack in a slot of one of [`PLACES_OF_CHARACTERS`].
    pub fn held(place: i64, stack: Stack, owner: CharacterId, slot: usize) -> ItemRow {
        ItemRow { place, owner: owner.0, slot: slot as i64, ..ItemRow::nowhere(stack) }
    }

    /// The row of a stack on the ground.
    pub fn lying(stack: Stack, zone: ZoneId, at: Pos) -> ItemRow {
        let (place, owner) = (PLACE_GROUND, i64::from(zone.0));
        ItemRow { place, owner, x: i64::from(at.x), y: i64::from(at.y), ..ItemRow::nowhere(stack) }
    }

    /// The stack, if its kind, count and wear are possible.
    pub fn stack(&self, content: &Content) -> Result<Stack, ItemFault> {
        let kind = u16::try_from(self.kind).ok().map(ItemKind);
        let Some(kind) = kind.filter(|&kind| content.item(kind).is_some()) else {
            return Err(ItemFault::Kind { item: self.id, kind: self.kind });
        };
        let wear =
            u16::try_from(self.wear).map_err(|_| ItemFault::Wear { item: self.id, wear: self.wear })?;
        match u32::try_from(self.count) {
            Ok(count @ 1..=STACK_MAX) => Ok(Stack { id: ItemId(self.id), kind, count, wear }),
            Ok(0) if self.place == PLACE_BANK => Ok(Stack { id: ItemId(self.id), kind, count: 0, wear }),
            _ => Err(ItemFault::Count { item: self.id, count: self.count }),
        }
    }

    /// The slot, if the row is of this character.
    pub(crate) fn slot_of(&self, owner: CharacterId) -> Result<usize, ItemFault> {
        let slots = match self.place {
            PLACE_INVENTORY => INVENTORY_SLOTS,
            PLACE_EQUIPMENT => EQUIPMENT_SLOTS.len(),
            PLACE_BANK => BANK_SLOTS,
            _ => return Err(self.elsewhere()),
        };
        if self.owner != owner.0 {
            return Err(self.elsewhere());
        }
        let slot = usize::try_from(self.slot).ok().filter(|&slot| slot < slots);
        slot.ok_or(ItemFault::Slot { item: self.id, slot: self.slot })
    }

    /// The zone and place on the ground; a place outside any map is as good as a blocked one.
    pub fn ground_place(&self) -> Result<(ZoneId, Pos), ItemFault> {
        match u16::try_from(self.owner) {
            Ok(zone) if self.place == PLACE_GROUND => {
                let units = |units: i64| u32::try_from(units).unwrap_or(u32::MAX);
                Ok((ZoneId(zone), Pos { x: units(self.x), y: units(self.y) }))
            }
            _ => Err(self.elsewhere()),
        }
    }

    fn nowhere(stack: Stack) -> ItemRow {
        let (kind, count, wear) = (i64::from(stack.kind.0), i64::from(stack.count), i64::from(stack.wear));
        ItemRow { id: stack.id.0, kind, count, place: 0, owner: 0, slot: 0, x: 0, y: 0, wear }
    }

    fn elsewhere(&self) -> ItemFault {
        ItemFault::Elsewhere { item: self.id, place: self.place, owner: self.owner }
    }
}
