use vyuha_protocol::{CharacterId, ErrorCode, Pos, ZoneId};

use super::*;
use crate::character::Belongings;
use crate::content::Content;

fn stack(kind: u16, count: u32) -> Stack {
    Stack { id: ItemId(i64::from(kind) * 100), kind: ItemKind(kind), count, wear: 0 }
}

/// Slots from `(kind, count)`; a count of 0 leaves a slot empty, and slots not named hold kind 99.
fn slots(named: &[(u16, u32)]) -> [Option<Stack>; INVENTORY_SLOTS] {
    let mut slots = [Some(stack(99, 1)); INVENTORY_SLOTS];
    for (slot, &(kind, count)) in slots.iter_mut().zip(named) {
        *slot = (count > 0).then(|| stack(kind, count));
    }
    slots
}

#[test]
fn things_join_a_stack_with_room_for_all_or_take_the_lowest_free_slot() {
    let check = |named: &[(u16, u32)], kind, count, stack_max, expected| {
        assert_eq!(placement(&slots(named), ItemKind(kind), count, stack_max), expected, "{named:?}");
    };
    check(&[(0, 0)], 5, 1, 1, Ok(0));
    check(&[(1, 1), (0, 0), (5, 3)], 5, 2, 10, Ok(2));
    check(&[(1, 1), (0, 0), (5, 8)], 5, 2, 10, Ok(2));
    check(&[(1, 1), (0, 0), (5, 9)], 5, 2, 10, Ok(1));
    check(&[(5, 9), (5, 4)], 5, 2, 10, Ok(1));
    check(&[(5, 1), (0, 0)], 5, 1, 1, Ok(1));
    check(&[(5, 9)], 5, 2, 10, Err(ErrorCode::InventoryFull));
    check(&[], 5, 1, 10, Err(ErrorCode::InventoryFull));
    check(&[(5, u32::MAX)], 5, u32::MAX, u32::MAX, Err(ErrorCode::InventoryFull));
}

#[test]
fn what_is_taken_out_must_be_there() {
    let check = |slot, count, expected| {
        assert_eq!(removal(&slots(&[(5, 3), (0, 0)]), slot, count), expected, "{count} of slot {slot}");
    };
    check(0, 3, Ok(Removal::Whole(stack(5, 3))));
    check(0, 2, Ok(Removal::Part { rest: stack(5, 1) }));
    check(0, 0, Err(ErrorCode::CountInvalid));
    check(0, 4, Err(ErrorCode::CountInvalid));
    check(0, u32::MAX, Err(ErrorCode::CountInvalid));
    check(1, 1, Err(ErrorCode::SlotEmpty));
    check(28, 1, Err(ErrorCode::SlotEmpty));
    check(255, 1, Err(ErrorCode::SlotEmpty));
}

#[test]
fn rows_come_back_as_they_were_and_impossible_ones_are_refused() {
    let content = Content::example();
    let owner = CharacterId(7);
    let bread = Stack { id: ItemId(12), kind: ItemKind(6), count: 4, wear: 0 };
    let row = ItemRow::carried(bread, owner, 27);
    let check = |rows: &[ItemRow], expected: Result<&[(usize, Stack)], ItemFault>| {
        let got = Belongings::load(&content, owner, rows).map(|belongings| {
            let slots = belongings.inventory.slots().iter().enumerate();
            slots.filter_map(|(slot, stack)| stack.map(|stack| (slot, stack))).collect::<Vec<_>>()
        });
        assert_eq!(got, expected.map(<[_]>::to_vec), "{rows:?}");
    };
    check(std::slice::from_ref(&row), Ok(&[(27, bread)]));
    check(&[], Ok(&[]));
    check(&[row.clone(), row.clone()], Err(ItemFault::Slot { item: 12, slot: 27 }));
    check(&[ItemRow { slot: 28, ..row.clone() }], Err(ItemFault::Slot { item: 12, slot: 28 }));
    check(&[ItemRow { slot: -1, ..row.clone() }], Err(ItemFault::Slot { item: 12, slot: -1 }));
    check(&[ItemRow { kind: 9999, ..row.clone() }], Err(ItemFault::Kind { item: 12, kind: 9999 }));
    check(
        &[ItemRow { kind: 6 + (1 << 16), ..row.clone() }],
        Err(ItemFault::Kind { item: 12, kind: 6 + (1 << 16) }),
    );
    check(&[ItemRow { count: 0, ..row.clone() }], Err(ItemFault::Count { item: 12, count: 0 }));
    check(&[ItemRow { owner: 8, ..row.clone() }], Err(ItemFault::Elsewhere { item: 12, place: 0, owner: 8 }));
    check(&[ItemRow { place: 1, ..row.clone() }], Err(ItemFault::Elsewhere { item: 12, place: 1, owner: 7 }));
}

#[test]
fn ground_rows_name_zone_and_place() {
    let row = ItemRow::lying(stack(6, 4), ZoneId(3), Pos { x: 10, y: 20 });
    assert_eq!(row.ground_place(), Ok((ZoneId(3), Pos { x: 10, y: 20 })));
    let outside = ItemRow { x: -1, ..row.clone() };
    assert_eq!(outside.ground_place(), Ok((ZoneId(3), Pos { x: u32::MAX, y: 20 })));
    for wrong in [ItemRow { owner: 1 << 16, ..row.clone() }, ItemRow { place: 0, ..row }] {
        assert!(matches!(wrong.ground_place(), Err(ItemFault::Elsewhere { .. })), "{wrong:?}");
    }
}
