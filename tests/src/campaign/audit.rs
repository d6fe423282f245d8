//! Whether a database holds what the bots were told.

use std::collections::BTreeMap;

use vyuha_bots::{Book, InFlight, LedgerEntry, SLOTS, Stack};
use vyuha_game::inventory::{ItemRow, PLACE_BANK, PLACE_EQUIPMENT, PLACE_INVENTORY};
use vyuha_protocol::message::{InventorySlot, ItemSlot};

use super::Totals;
use crate::Database;

/// What an audit found.
#[derive(Debug, Default)]
pub struct Audit {
    /// What does not hold.
    pub faults: Vec<String>,
    /// Requests under way that were carried out.
    pub done_unheard: u64,
    /// Requests under way that were not.
    pub undone: u64,
}

/// What one character has, by slot.
#[derive(Debug, Default)]
struct Held {
    carried: BTreeMap<u8, Stack>,
    worn: BTreeMap<u16, Stack>,
    banked: BTreeMap<u16, Stack>,
}

/// Compares all that is in the database with itself, with what the world began with, and with what each bot was told.
pub fn audit(database: &Database<'_>, ledger: &[LedgerEntry]) -> Audit {
    let mut audit = Audit { faults: database.world_violations(), ..Audit::default() };
    let mut held: BTreeMap<i64, Held> = BTreeMap::new();
    for item in database.items().iter().filter(|item| item.count > 0) {
        let stack = Stack { kind: item.kind as u16, count: item.count as u32 };
        place(held.entry(item.owner).or_default(), item, stack);
    }
    let characters = database.characters();
    for entry in ledger {
        let found = characters.get(&entry.character).map(|id| held.remove(&id.0).unwrap_or_default());
        match compare(&entry.book, found.as_ref()) {
            Ok(Some(true)) => audit.done_unheard += 1,
            Ok(Some(false)) => audit.undone += 1,
            Ok(None) => {}
            Err(fault) => audit.faults.push(format!("{}: {fault}", entry.character)),
        }
    }
    audit
}

fn place(held: &mut Held, item: &ItemRow, stack: Stack) {
    match item.place {
        PLACE_INVENTORY => drop(held.carried.insert(item.slot as u8, stack)),
        PLACE_EQUIPMENT => drop(held.worn.insert(item.slot as u16, stack)),
        PLACE_BANK => drop(held.banked.insert(item.slot as u16, stack)),
        _ => {}
    }
}

/// Whether a character has what its bot was told, and whether the request under way, if there is one, was carried out.
fn compare(book: &Book, found: Option<&Held>) -> Result<Option<bool>, String> {
    let Some(slots) = &book.slots else { return Ok(None) };
    let found = found.ok_or("it has entered, and is not in the database")?;
    let carried = found.carried.iter().map(|(slot, stack)| {
        let Stack { kind, count } = *stack;
        InventorySlot { slot: *slot, kind, count }
    });
    let worn = found.worn.iter().map(|(slot, stack)| {
        let Stack { kind, count } = *stack;
        ItemSlot { place: PLACE_EQUIPMENT as u8, slot: *slot, kind, count, wear: 0, item: 0 }
    });
    let mut settled = book.clone();
    settled
        .entered(&carried.collect::<Vec<_>>(), &worn.collect::<Vec<_>>())
        .map_err(|mismatch| mismatch.to_string())?;
    let same_carried =
        (0..SLOTS as u8).all(|slot| slots[usize::from(slot)].as_ref() == found.carried.get(&slot));
    let done = !(same_carried && book.worn == found.worn);
    compare_bank(book, found, done)?;
    Ok(book.in_flight.map(|_| done))
}

/// What the bot was told of its bank must be there, but for what is under way.
fn compare_bank(book: &Book, found: &Held, done: bool) -> Result<(), String> {
    let mut expected = totals(&book.bank);
    let moved = match book.in_flight {
        Some(InFlight::Deposit { kind, count }) => Some((kind, i64::from(count))),
        Some(InFlight::Withdraw { kind, count }) => Some((kind, -i64::from(count))),
        _ => None,
    };
    if let Some((kind, count)) = moved.filter(|_| done) {
        *expected.entry(kind).or_default() += count;
    }
    let banked = totals(&found.banked);
    let lacks =
        expected.iter().find(|(kind, count)| banked.get(*kind).copied().unwrap_or_default() < **count);
    match lacks {
        None => Ok(()),
        Some((kind, count)) => Err(format!(
            "its bank has {banked:?}; it was told of {count} of kind {kind}, {:?}",
            book.in_flight
        )),
    }
}

fn totals(slots: &BTreeMap<u16, Stack>) -> Totals {
    let mut totals = Totals::new();
    for stack in slots.values() {
        *totals.entry(stack.kind).or_default() += i64::from(stack.count);
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(kind: u16, count: u32) -> Stack {
        Stack { kind, count }
    }

    #[test]
    fn a_bot_has_what_it_was_told_with_or_without_what_was_under_way() {
        let mut told = Book::default();
        told.entered(&[InventorySlot { slot: 0, kind: 1, count: 7 }], &[]).expect("it is new");
        told.worn.insert(1, stack(3, 1));
        told.bank.insert(4, stack(2, 5));
        let check = |in_flight, found: Held, expected: Option<Option<bool>>| {
            let book = Book { in_flight, ..told.clone() };
            assert_eq!(compare(&book, Some(&found)).ok(), expected, "{in_flight:?}, {found:?}");
        };
        let held = |coins, worn: bool, banked| Held {
            carried: [(0, stack(1, coins))].into(),
            worn: if worn { [(1, stack(3, 1))].into() } else { BTreeMap::new() },
            banked: [(9, stack(2, banked))].into(),
        };
        let drop = Some(InFlight::Drop { slot: 0, kind: 1, count: 2 });
        let deposit = Some(InFlight::Deposit { kind: 1, count: 3 });
        for in_flight in [None, drop, deposit] {
            check(in_flight, held(7, true, 5), Some(in_flight.map(|_| false)));
            check(in_flight, held(8, true, 5), None);
            check(in_flight, held(7, false, 5), None);
            check(in_flight, held(7, true, 4), None);
        }
        check(drop, held(5, true, 5), Some(Some(true)));
        check(None, held(5, true, 5), None);
        check(deposit, held(4, true, 5), None);
        let mut deposited = held(4, true, 5);
        deposited.banked.insert(0, stack(1, 3));
        check(deposit, deposited, Some(Some(true)));
        assert!(compare(&told, None).is_err());
        assert_eq!(compare(&Book::default(), None), Ok(None));
    }
}
