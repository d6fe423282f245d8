//! Where things go, and what may be taken out.

use vyuha_protocol::{ErrorCode, ItemKind};

use super::{INVENTORY_SLOTS, Stack};

/// What is left of a stack that is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Nothing: the stack itself goes.
    Whole(Stack),
    /// This much stays; a part goes.
    Part {
        /// The stack with what stays.
        rest: Stack,
    },
}

/// The slot that `count` items of a kind go to, all of them: one with a stack that they join, or a free one.
pub fn placement(
    slots: &[Option<Stack>; INVENTORY_SLOTS],
    kind: ItemKind,
    count: u32,
    stack_max: u32,
) -> Result<usize, ErrorCode> {
    let room =
        |stack: &Stack| stack.kind == kind && u64::from(stack.count) + u64::from(count) <= stack_max.into();
    let joined = slots.iter().position(|slot| slot.as_ref().is_some_and(room));
    joined.or_else(|| slots.iter().position(Option::is_none)).ok_or(ErrorCode::InventoryFull)
}

/// What taking `count` items from a slot does.
pub fn removal(
    slots: &[Option<Stack>; INVENTORY_SLOTS],
    slot: usize,
    count: u32,
) -> Result<Removal, ErrorCode> {
    let stack = slots.get(slot).copied().flatten().ok_or(ErrorCode::SlotEmpty)?;
    match stack.count.checked_sub(count) {
        Some(0) => Ok(Removal::Whole(stack)),
        Some(left) if count > 0 => Ok(Removal::Part { rest: Stack { count: left, ..stack } }),
        _ => Err(ErrorCode::CountInvalid),
    }
}
