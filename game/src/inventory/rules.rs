//! Where things go, and what may be taken out.

use vyuha_protocol::{ErrorCode, ItemId, ItemKind};

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

/// What moving some of a stack, all of it or a part, to a slot does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// What stays behind, if anything does.
    pub rest: Option<Stack>,
    /// What moves: under the stack's own id if all of it does.
    pub moved: Stack,
    /// What the slot holds then.
    pub arrived: Stack,
    /// The stack that is no more, because all of it joined another.
    pub gone: Option<Stack>,
}

/// Moves `count`, at least 1 and at most all, of a stack to where `into` is or nothing. `issue` gives the id of a part that
/// stays by itself.
pub fn transfer(stack: Stack, count: u32, into: Option<Stack>, issue: impl FnOnce() -> ItemId) -> Transfer {
    let whole = count == stack.count;
    let rest = (!whole).then_some(Stack { count: stack.count - count, ..stack });
    if let Some(into) = into {
        let arrived = Stack { count: into.count + count, ..into };
        return Transfer { rest, moved: Stack { count, ..stack }, arrived, gone: whole.then_some(stack) };
    }
    let moved = if whole { stack } else { Stack { id: issue(), count, ..stack } };
    Transfer { rest, moved, arrived: moved, gone: None }
}
