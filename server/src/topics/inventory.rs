//! What becomes of what characters carry and wear, as the journal's transactions have it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use vyuha_game::ItemRow;
use vyuha_game::inventory::{PLACE_EQUIPMENT, PLACE_INVENTORY};
use vyuha_game::ledger::{LedgerRow, Reason};
use vyuha_record::{Op, Record as _, RecordError, Value, transactions};

/// What one transaction did to what a character carries and wears.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct InventoryChange {
    /// Why: the ledger's word. None where it was put elsewhere by its owner.
    pub reason: Option<&'static str>,
    /// Stacks that are there now, in place of what was known of them.
    pub items: Vec<Held>,
    /// Stacks that are there no more. Some may never have been.
    pub gone: Vec<i64>,
}

/// A stack that a character has.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Its id.
    pub item: i64,
    /// Its kind, from the content.
    pub kind: i64,
    /// How many, at least 1.
    pub count: i64,
    /// `carried` or `worn`.
    pub place: &'static str,
    /// The slot there.
    pub slot: i64,
    /// How often it was used.
    pub wear: i64,
}

/// The changes of a batch to the inventories of those who are listened to, in order, each with its character.
///
/// # Errors
/// If it is no batch.
pub fn changes(
    bytes: &[u8],
    is_watched: impl Fn(i64) -> bool,
) -> Result<Vec<(i64, InventoryChange)>, RecordError> {
    let mut told = Vec::new();
    for ops in transactions(bytes) {
        // What is written last of an item is what becomes of it.
        let (mut items, mut moved) = (BTreeMap::<i64, Option<ItemRow>>::new(), Vec::new());
        for op in ops? {
            match op? {
                Op::Put { table, row } if table == ItemRow::TABLE.id => {
                    let row = ItemRow::decode(row)?;
                    items.insert(row.id, Some(row));
                }
                Op::Delete { table, key } if table == ItemRow::TABLE.id => {
                    if let [Value::Int(id)] = ItemRow::TABLE.decode_key(key)?[..] {
                        items.insert(id, None);
                    }
                }
                Op::Put { table, row } if table == LedgerRow::TABLE.id => moved.push(LedgerRow::decode(row)?),
                Op::Put { .. } | Op::Delete { .. } => {}
            }
        }
        let had = |place, owner| is_of_character(place).then_some(owner);
        let owners: BTreeSet<i64> = items
            .values()
            .flatten()
            .filter_map(|row| had(row.place, row.owner))
            .chain(moved.iter().filter_map(|row| had(row.from_place, row.from_owner)))
            .filter(|owner| is_watched(*owner))
            .collect();
        for owner in owners {
            told.push((owner, change(owner, &items, &moved)));
        }
    }
    Ok(told)
}

fn change(owner: i64, items: &BTreeMap<i64, Option<ItemRow>>, moved: &[LedgerRow]) -> InventoryChange {
    let mut change = InventoryChange::default();
    let is_own = |place, whose| is_of_character(place) && whose == owner;
    let own = |row: &&LedgerRow| is_own(row.from_place, row.from_owner) || is_own(row.to_place, row.to_owner);
    change.reason = moved.iter().find(own).map(|row| Reason::word(row.reason));
    let puts = items.values().flatten().any(|row| is_own(row.place, row.owner));
    for (id, row) in items {
        match row {
            Some(row) if is_own(row.place, row.owner) => change.items.push(held(row)),
            row => {
                let mut movements = moved.iter().filter(|movement| movement.item == *id).peekable();
                // One that became part of another stack of its owner moved nowhere.
                let merged = row.is_none() && puts && movements.peek().is_none();
                if merged || movements.any(|movement| is_own(movement.from_place, movement.from_owner)) {
                    change.gone.push(*id);
                }
            }
        }
    }
    change
}

fn held(row: &ItemRow) -> Held {
    let place = if row.place == PLACE_EQUIPMENT { "worn" } else { "carried" };
    Held { item: row.id, kind: row.kind, count: row.count, place, slot: row.slot, wear: row.wear }
}

/// Whether it is carried or worn there. A bank is no inventory.
fn is_of_character(place: i64) -> bool {
    place == PLACE_INVENTORY || place == PLACE_EQUIPMENT
}

#[cfg(test)]
mod tests {
    use vyuha_game::inventory::{PLACE_BANK, PLACE_GROUND};
    use vyuha_record::Transaction;

    use super::*;

    fn item(id: i64, place: i64, owner: i64, count: i64) -> ItemRow {
        ItemRow { id, kind: 1, count, place, owner, slot: 4, x: 0, y: 0, wear: 0 }
    }

    fn movement(item: i64, reason: Reason, from: (i64, i64), to: (i64, i64)) -> LedgerRow {
        LedgerRow {
            source: 1,
            seq: 1,
            idx: item,
            at_ms: 0,
            reason: reason as i64,
            item,
            kind: 1,
            count: 1,
            from_place: from.0,
            from_owner: from.1,
            to_place: to.0,
            to_owner: to.1,
            counterparty: 0,
        }
    }

    /// Of a transaction that puts, deletes and moves these: what characters 7 and 8 are told, in short.
    #[track_caller]
    fn check(puts: &[ItemRow], deletes: &[i64], moved: &[LedgerRow], expected: &[&str]) {
        let mut bytes = Vec::new();
        let mut transaction = Transaction::begin(&mut bytes);
        for id in deletes {
            transaction.delete(&item(*id, 0, 0, 0));
        }
        for row in puts {
            transaction.put(row);
        }
        for row in moved {
            transaction.put(row);
        }
        transaction.commit();
        let told = changes(&bytes, |character| character == 7 || character == 8).unwrap();
        let short = |(character, change): &(i64, InventoryChange)| {
            let has: Vec<String> = change
                .items
                .iter()
                .map(|held| format!("{}x{} {}", held.item, held.count, held.place))
                .collect();
            format!("{character} {}: has {has:?}, gone {:?}", change.reason.unwrap_or("moves"), change.gone)
        };
        let told: Vec<String> = told.iter().map(short).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_told_of_what_is_carried_and_worn() {
        use Reason::{Deposit, Drop, Equip, PickUp, Trade};
        let (carried, worn, ground, bank) = (PLACE_INVENTORY, PLACE_EQUIPMENT, PLACE_GROUND, PLACE_BANK);
        // Picked up, into a slot of its own and into a stack.
        let up = movement(50, PickUp, (ground, 1), (carried, 7));
        check(
            &[item(50, carried, 7, 3)],
            &[],
            std::slice::from_ref(&up),
            &[r#"7 pick up: has ["50x3 carried"], gone []"#],
        );
        check(&[item(40, carried, 7, 5)], &[50], &[up], &[r#"7 pick up: has ["40x5 carried"], gone []"#]);
        // Dropped whole, and in part.
        let down = movement(50, Drop, (carried, 7), (ground, 1));
        check(&[item(50, ground, 1, 3)], &[], &[down], &["7 drop: has [], gone [50]"]);
        let part = movement(51, Drop, (carried, 7), (ground, 1));
        let rows = [item(50, carried, 7, 2), item(51, ground, 1, 1)];
        check(&rows, &[], &[part], &[r#"7 drop: has ["50x2 carried"], gone [51]"#]);
        // Put on, put together, put into the bank.
        let on = movement(50, Equip, (carried, 7), (worn, 7));
        check(&[item(50, worn, 7, 1)], &[], &[on], &[r#"7 equip: has ["50x1 worn"], gone []"#]);
        check(&[item(50, carried, 7, 9)], &[51], &[], &[r#"7 moves: has ["50x9 carried"], gone [51]"#]);
        let away = movement(50, Deposit, (carried, 7), (bank, 7));
        check(&[item(50, bank, 7, 1)], &[], &[away], &["7 deposit: has [], gone [50]"]);
        check(&[item(50, bank, 7, 0)], &[], &[], &[]);
        // Traded, of which one is merged.
        let trade = [
            movement(50, Trade, (carried, 7), (carried, 8)),
            movement(60, Trade, (carried, 8), (carried, 7)),
        ];
        let rows = [item(50, carried, 8, 1), item(41, carried, 7, 4)];
        let expected =
            [r#"7 trade: has ["41x4 carried"], gone [50]"#, r#"8 trade: has ["50x1 carried"], gone [60]"#];
        check(&rows, &[50, 60], &trade, &expected);
        // Another's.
        check(&[item(50, carried, 9, 1)], &[], &[], &[]);
        check(&[], &[50], &[], &[]);
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        assert!(changes(&[1, 2, 3], |_| true).is_err());
        assert!(changes(&[1, 0, 0, 0, 9], |_| true).is_err());
    }
}
