//! What goes together.

use vyuha_protocol::ItemKind;

use super::Equipment;
use crate::content::{Content, SHIELD_SLOT, Wearable};

/// Whether a kind can be worn with all that is worn, once it is in its slot in place of what is worn there.
pub fn goes_together(content: &Content, worn: &Equipment, kind: ItemKind, wearable: &Wearable) -> bool {
    let others = || worn.slots().iter().enumerate().filter(|(slot, _)| *slot != wearable.slot);
    let hands = match wearable.slot {
        SHIELD_SLOT => others().filter_map(|(_, stack)| *stack).all(|stack| {
            let other = content.item(stack.kind).and_then(|item| item.wearable.as_ref());
            !other.is_some_and(|other| other.two_handed)
        }),
        _ => !wearable.two_handed || worn.slots()[SHIELD_SLOT].is_none(),
    };
    let needed = wearable
        .needs_worn
        .is_none_or(|needed| others().any(|(_, stack)| stack.is_some_and(|stack| stack.kind == needed)));
    let replaced = worn.slots()[wearable.slot]
        .is_none_or(|stack| stack.kind == kind || !is_needed(content, worn, stack.kind));
    hands && needed && replaced
}

/// Whether something that is worn needs this kind.
pub fn is_needed(content: &Content, worn: &Equipment, kind: ItemKind) -> bool {
    worn.slots().iter().flatten().any(|stack| {
        let wearable = content.item(stack.kind).and_then(|item| item.wearable.as_ref());
        wearable.is_some_and(|wearable| wearable.needs_worn == Some(kind))
    })
}
