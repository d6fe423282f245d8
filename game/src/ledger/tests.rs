use vyuha_protocol::{ItemId, ItemKind};
use vyuha_record::{Op, Record, transactions};

use super::*;

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
