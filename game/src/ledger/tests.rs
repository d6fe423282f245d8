use vyuha_protocol::{ItemId, ItemKind};
use vyuha_record::{Op, Record, transactions};

use super::*;
use crate::inventory::ItemRow;

fn rows(bytes: &[u8]) -> Vec<LedgerRow> {
    let ops = transactions(bytes).flat_map(|transaction| transaction.unwrap());
    let rows = ops.map(|op| match op.unwrap() {
        Op::Put { table, row } if table == LedgerRow::TABLE.id => LedgerRow::decode(row).unwrap(),
        op => panic!("{op:?}"),
    });
    rows.collect()
}

#[test]
fn each_movement_has_a_key_of_its_own_and_its_time() {
    let mut ledger = Ledger::new(3 << 40, 5000, 30);
    let stack = Stack { id: ItemId(9), kind: ItemKind(4), count: 6, wear: 0 };
    let (one, other) = (CharacterId(11), CharacterId(12));
    let movement = Movement {
        reason: Reason::Trade,
        stack,
        from: Holder::Inventory(one),
        to: Holder::Inventory(other),
        counterparty: Some(other),
    };
    let mut bytes = Vec::new();
    for (tick, movements) in [(45, 2), (45, 1)] {
        let mut posting = ledger.posting(tick);
        let mut transaction = Transaction::begin(&mut bytes);
        (0..movements).for_each(|_| posting.moved(&mut transaction, &movement));
        transaction.commit();
    }
    let rows = rows(&bytes);
    let keys: Vec<_> = rows.iter().map(|row| (row.source, row.seq, row.idx, row.at_ms)).collect();
    assert_eq!(keys, [(3 << 40, 1, 0, 6500), (3 << 40, 1, 1, 6500), (3 << 40, 2, 0, 6500)]);
    let row = &rows[0];
    assert_eq!((row.reason, row.item, row.kind, row.count), (8, 9, 4, 6));
    assert_eq!((row.from_place, row.from_owner, row.to_place, row.to_owner), (0, 11, 0, 12));
    assert_eq!(row.counterparty, 12);
}

#[test]
fn holders_are_the_places_of_rows() {
    let (character, zone) = (CharacterId(7), ZoneId(3));
    for (holder, expected) in [
        (Holder::Nowhere, (-1, 0)),
        (Holder::Inventory(character), (0, 7)),
        (Holder::Ground(zone), (1, 3)),
        (Holder::Equipment(character), (2, 7)),
        (Holder::Bank(character), (3, 7)),
    ] {
        assert_eq!(holder.place_and_owner(), expected);
    }
}

/// An entry of a sword with the id 9 (kind 2), or of coins (kind 1), from place and owner to place and owner.
fn entry(seq: i64, kind: i64, count: i64, from: (i64, i64), to: (i64, i64)) -> LedgerRow {
    LedgerRow {
        source: 1,
        seq,
        idx: 0,
        at_ms: 0,
        reason: 0,
        item: if kind == 2 { 9 } else { 100 + seq },
        kind,
        count,
        from_place: from.0,
        from_owner: from.1,
        to_place: to.0,
        to_owner: to.1,
        counterparty: 0,
    }
}

fn item(id: i64, kind: i64, count: i64, place: i64, owner: i64, slot: i64) -> ItemRow {
    ItemRow { id, kind, count, place, owner, slot, x: 0, y: 0, wear: 0 }
}

#[test]
fn whatever_is_doubled_lost_or_elsewhere_is_found() {
    const NOWHERE: (i64, i64) = (PLACE_NOWHERE, 0);
    const GROUND: (i64, i64) = (PLACE_GROUND, 3);
    const ABE: (i64, i64) = (PLACE_INVENTORY, 7);
    const BANK: (i64, i64) = (PLACE_BANK, 7);
    let ledger = [
        entry(1, 2, 1, NOWHERE, GROUND),
        entry(2, 1, 50, NOWHERE, GROUND),
        entry(4, 1, 30, GROUND, ABE),
        // The entries of another shard may come in any order.
        entry(5, 2, 1, ABE, BANK),
        entry(3, 2, 1, GROUND, ABE),
    ];
    let sound = [
        item(9, 2, 1, PLACE_BANK, 7, 4),
        item(20, 1, 20, PLACE_GROUND, 3, 0),
        item(21, 1, 30, PLACE_INVENTORY, 7, 0),
    ];
    let check = |items: &[ItemRow], ledger: &[LedgerRow], expected: &[Finding]| {
        assert_eq!(scan(items, ledger, |kind| kind == 1), expected, "{items:?}");
    };
    let changed = |change: &dyn Fn(&mut Vec<ItemRow>)| {
        let mut items = sound.to_vec();
        change(&mut items);
        items
    };
    let sword = |(place, owner), found, booked| Finding::Misplaced { item: 9, place, owner, found, booked };
    let of = |(place, owner), kind, found, booked| Finding::Unbalanced { place, owner, kind, found, booked };

    check(&sound, &ledger, &[]);
    check(&[], &[], &[]);
    // A slot that is kept holds nothing.
    check(&changed(&|items| items.push(item(30, 2, 0, PLACE_BANK, 7, 5))), &ledger, &[]);
    check(&changed(&|items| items[1].count += 1), &ledger, &[of(GROUND, 1, 21, 20)]);
    check(&changed(&|items| _ = items.remove(2)), &ledger, &[of(ABE, 1, 0, 30)]);
    check(&changed(&|items| _ = items.remove(0)), &ledger, &[sword(BANK, 0, 1), of(BANK, 2, 0, 1)]);
    check(
        &changed(&|items| items[0] = item(9, 2, 1, PLACE_INVENTORY, 7, 5)),
        &ledger,
        &[sword(ABE, 1, 0), sword(BANK, 0, 1), of(ABE, 2, 1, 0), of(BANK, 2, 0, 1)],
    );
    // Two of one id, in two places: what the schema rules out.
    check(
        &changed(&|items| items.push(item(9, 2, 1, PLACE_INVENTORY, 7, 5))),
        &ledger,
        &[Finding::Twice { item: 9 }, sword(ABE, 1, 0), of(ABE, 2, 1, 0)],
    );
    // Another of the kind under an id of its own, which came from nowhere that is known.
    let other = Finding::Misplaced { item: 10, place: PLACE_BANK, owner: 7, found: 1, booked: 0 };
    check(
        &changed(&|items| items.push(item(10, 2, 1, PLACE_BANK, 7, 5))),
        &ledger,
        &[other, of(BANK, 2, 2, 1)],
    );
    check(
        &changed(&|items| items[2].slot = 9)
            .into_iter()
            .chain([item(22, 1, 0, PLACE_INVENTORY, 7, 9)])
            .collect::<Vec<_>>(),
        &ledger,
        &[Finding::SlotTaken { items: [21, 22] }],
    );
    // The sword was given away twice.
    let twice = [&ledger[..], &[entry(6, 2, 1, ABE, (PLACE_INVENTORY, 8))]].concat();
    check(
        &sound,
        &twice,
        &[
            sword(ABE, 0, -1),
            sword((PLACE_INVENTORY, 8), 0, 1),
            of(ABE, 2, 0, -1),
            of((PLACE_INVENTORY, 8), 2, 0, 1),
        ],
    );
}

#[test]
fn a_finding_names_the_item_whose_history_to_look_at() {
    assert_eq!(Finding::Twice { item: 5 }.item(), Some(5));
    assert_eq!(Finding::SlotTaken { items: [5, 6] }.item(), Some(6));
    let unbalanced = Finding::Unbalanced { place: 0, owner: 7, kind: 1, found: 3, booked: 2 };
    assert_eq!(unbalanced.item(), None);
    assert_eq!(unbalanced.to_string(), "owner 7 at place 0 has 3 of kind 1, by the ledger 2");
}
