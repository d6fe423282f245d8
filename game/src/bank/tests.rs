use vyuha_protocol::{ErrorCode, ItemId, ItemKind};

use super::*;

/// A bank from `(slot, kind, count)`.
fn bank(held: &[(usize, u16, u32)]) -> Bank {
    let mut bank = Bank::default();
    for &(slot, kind, count) in held {
        let stack = Stack { id: ItemId(slot as i64), kind: ItemKind(kind), count, wear: 0 };
        assert_eq!(bank.set(slot, Some(stack)), None);
    }
    bank
}

#[test]
fn things_join_a_stack_or_go_where_a_slot_is_kept_or_into_the_tab() {
    let check = |held: &[(usize, u16, u32)], count, stack_max, tab, expected| {
        let got = deposit_slot(&bank(held), ItemKind(5), count, stack_max, tab);
        assert_eq!(got, expected, "{count} into {held:?}");
    };
    check(&[], 1, 1, 0, Ok(0));
    check(&[], 1, 1, 7, Ok(350));
    check(&[], 1, 1, 8, Err(ErrorCode::SlotInvalid));
    check(&[(0, 1, 1), (1, 5, 3)], 7, 10, 0, Ok(1));
    check(&[(0, 1, 1), (1, 5, 3)], 8, 10, 0, Ok(2));
    check(&[(120, 5, 3)], 7, 10, 0, Ok(120));
    check(&[(120, 5, 0), (121, 5, 1)], 7, 10, 0, Ok(121));
    check(&[(120, 5, 0), (121, 5, 9)], 7, 10, 0, Ok(120));
    check(&[(120, 4, 0)], 7, 10, 2, Ok(100));
    check(&[(0, 5, 1)], 1, 1, 0, Ok(1));
    let full: Vec<(usize, u16, u32)> = (50..100).map(|slot| (slot, 9, 0)).collect();
    check(&full, 1, 10, 1, Err(ErrorCode::BankFull));
    check(&full, 1, 10, 2, Ok(100));
    check(&[(0, 5, u32::MAX)], u32::MAX, u32::MAX, 0, Ok(1));
}

#[test]
#[should_panic(expected = "a bank has no slot 400")]
fn there_is_no_slot_beyond_the_last() {
    Bank::default().set(BANK_SLOTS, None);
}
