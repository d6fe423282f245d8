//! Where things go in a bank.

use vyuha_protocol::{ErrorCode, ItemKind};

use super::{BANK_TAB_SLOTS, BANK_TABS, Bank};

/// The slot that `count` items of a kind go to, all of them: one with a stack that they join, one that is kept for their kind,
/// or a free one of the tab.
pub fn deposit_slot(
    bank: &Bank,
    kind: ItemKind,
    count: u32,
    stack_max: u32,
    tab: usize,
) -> Result<usize, ErrorCode> {
    if tab >= BANK_TABS {
        return Err(ErrorCode::SlotInvalid);
    }
    let of_kind = || bank.iter().filter(|(_, stack)| stack.kind == kind);
    let joined = of_kind().find(|(_, stack)| {
        stack.count > 0 && u64::from(stack.count) + u64::from(count) <= u64::from(stack_max)
    });
    let kept = || of_kind().find(|(_, stack)| stack.count == 0);
    let free = || {
        let first = tab * BANK_TAB_SLOTS;
        (first..first + BANK_TAB_SLOTS).find(|&slot| bank.get(slot).is_none())
    };
    let slot = joined.or_else(kept).map(|(slot, _)| slot).or_else(free);
    slot.ok_or(ErrorCode::BankFull)
}
