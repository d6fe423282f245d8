//! The swap.

use std::collections::BTreeMap;

use vyuha_protocol::{ErrorCode, ItemId};

use crate::character::{Belongings, stack_max};
use crate::content::Content;
use crate::inventory::{Inventory, Removal, Stack, placement, removal, transfer};

/// One of two who trade.
#[derive(Debug, Clone, Copy)]
pub struct Party<'a> {
    /// What it owns.
    pub belongings: &'a Belongings,
    /// How many of which inventory slot it gives.
    pub offers: &'a BTreeMap<u8, u32>,
}

/// What a swap comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swap {
    /// What each carries then.
    pub inventories: [Inventory; 2],
    /// What each has given, slot by slot.
    pub given: [Vec<Stack>; 2],
    /// Stacks that are no more because they joined others.
    pub gone: Vec<Stack>,
}

/// Gives each what the other offers: all of it, or nothing with the reason. `issue` gives the ids of parts.
pub fn swap(
    content: &Content,
    parties: [Party<'_>; 2],
    mut issue: impl FnMut() -> ItemId,
) -> Result<Swap, ErrorCode> {
    let mut inventories = parties.map(|party| party.belongings.inventory.clone());
    let mut given = [Vec::new(), Vec::new()];
    let mut parts = Vec::new();
    for ((inventory, given), party) in inventories.iter_mut().zip(&mut given).zip(&parties) {
        for (&slot, &count) in party.offers {
            let slot = usize::from(slot);
            let (rest, stack) = match removal(inventory.slots(), slot, count)? {
                Removal::Whole(stack) => (None, stack),
                Removal::Part { rest } => {
                    let part = Stack { id: issue(), count, ..rest };
                    parts.push(part.id);
                    (Some(rest), part)
                }
            };
            inventory.set(slot, rest);
            given.push(stack);
        }
    }
    let mut gone = Vec::new();
    let from_the_other = given.iter().rev();
    for ((inventory, taken), party) in inventories.iter_mut().zip(from_the_other).zip(&parties) {
        for stack in taken {
            let most = stack_max(content, stack);
            let slot = placement(inventory.slots(), stack.kind, stack.count, most)?;
            let arrived = transfer(*stack, stack.count, inventory.slots()[slot], || stack.id);
            inventory.set(slot, Some(arrived.arrived));
            // A part was never stored under its id.
            gone.extend(arrived.gone.filter(|stack| !parts.contains(&stack.id)));
        }
        let after = Belongings {
            inventory: inventory.clone(),
            equipment: party.belongings.equipment.clone(),
            ..Belongings::default()
        };
        let weight_g = after.weight_g(content);
        if weight_g > after.weight_g_max(content) && weight_g > party.belongings.weight_g(content) {
            return Err(ErrorCode::TooHeavy);
        }
    }
    Ok(Swap { inventories, given, gone })
}
