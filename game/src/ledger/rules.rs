//! The search for what must not be: an item in two places, a sum that does not balance.
//!
//! It works on rows as a database holds them at any moment between two transactions, and trusts neither side: what the items
//! say and what the ledger says are each summed up, then compared. The order in which entries come does not count, so that those
//! of several shards need no common clock.

use std::collections::{BTreeMap, BTreeSet};

use super::{LedgerRow, PLACE_NOWHERE};
use crate::inventory::{ItemRow, PLACE_GROUND};

/// What is wrong. Places and owners are those of rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// One id stands in two rows.
    #[error("item {item} is there twice")]
    Twice {
        /// The item's id.
        item: i64,
    },
    /// Two items are in one slot.
    #[error("items {} and {} are in one slot", items[0], items[1])]
    SlotTaken {
        /// The items' ids.
        items: [i64; 2],
    },
    /// An item that does not stack is not where its entries have brought it, or not there alone.
    #[error("item {item}: {found} of it are with owner {owner} at place {place}, by the ledger {booked}")]
    Misplaced {
        /// The item's id.
        item: i64,
        /// The place.
        place: i64,
        /// The character or zone.
        owner: i64,
        /// How many of it are there.
        found: i64,
        /// How many came there and did not leave.
        booked: i64,
    },
    /// A holder has more or less of a kind than came to it.
    #[error("owner {owner} at place {place} has {found} of kind {kind}, by the ledger {booked}")]
    Unbalanced {
        /// The place.
        place: i64,
        /// The character or zone.
        owner: i64,
        /// The kind of item.
        kind: i64,
        /// How many there are.
        found: i64,
        /// How many came there and did not leave.
        booked: i64,
    },
}

impl Finding {
    /// The item whose history tells how it came about, if it is about one.
    pub fn item(&self) -> Option<i64> {
        match self {
            Finding::Twice { item } | Finding::Misplaced { item, .. } => Some(*item),
            Finding::SlotTaken { items } => Some(items[1]),
            Finding::Unbalanced { .. } => None,
        }
    }
}

/// Counts by item or kind, place and owner; none is 0.
type Sums = BTreeMap<(i64, i64, i64), i64>;

/// What entries of a ledger come to. Memory: a count for each holder and kind, and one for each item that does not stack.
#[derive(Debug, Default)]
pub struct Balances {
    kinds: Sums,
    items: Sums,
}

impl Balances {
    /// Takes an entry in. `stacks` tells whether a kind does.
    pub fn enter(&mut self, row: &LedgerRow, stacks: impl Fn(i64) -> bool) {
        let moved = [(row.from_place, row.from_owner, -row.count), (row.to_place, row.to_owner, row.count)];
        for (place, owner, count) in moved.into_iter().filter(|(place, ..)| *place != PLACE_NOWHERE) {
            add(&mut self.kinds, (row.kind, place, owner), count);
            if !stacks(row.kind) {
                add(&mut self.items, (row.item, place, owner), count);
            }
        }
    }

    /// Takes in what entries that are no longer there came to.
    pub fn carry(&mut self, carried: &Carried) {
        let Carried { kind, item, place, owner, count } = *carried;
        add(&mut self.kinds, (kind, place, owner), count);
        if item != 0 {
            add(&mut self.items, (item, place, owner), count);
        }
    }

    /// What is wrong with all items. What is in a slot that a bank keeps is none.
    pub fn compare(&self, tally: Tally) -> Vec<Finding> {
        let Tally { mut findings, kinds, singles, .. } = tally;
        for ((item, place, owner), found, booked) in differences(&singles, &self.items) {
            findings.push(Finding::Misplaced { item, place, owner, found, booked });
        }
        for ((kind, place, owner), found, booked) in differences(&kinds, &self.kinds) {
            findings.push(Finding::Unbalanced { place, owner, kind, found, booked });
        }
        findings
    }
}

/// What entries came to that have gone into an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// The kind of item.
    pub kind: i64,
    /// The item, where the kind does not stack; else 0.
    pub item: i64,
    /// The place.
    pub place: i64,
    /// The character or zone.
    pub owner: i64,
    /// How many came there and did not leave.
    pub count: i64,
}

/// What the rows of items come to. Memory: the same as of [`Balances`], and a slot for each item.
#[derive(Debug, Default)]
pub struct Tally {
    kinds: Sums,
    singles: Sums,
    last: Option<i64>,
    slots: BTreeMap<(i64, i64, i64), i64>,
    findings: Vec<Finding>,
}

impl Tally {
    /// Takes a row in; rows come by rising id. `stacks` tells whether a kind does.
    pub fn count(&mut self, row: &ItemRow, stacks: impl Fn(i64) -> bool) {
        if self.last.replace(row.id) == Some(row.id) {
            self.findings.push(Finding::Twice { item: row.id });
        }
        if row.place != PLACE_GROUND
            && let Some(other) = self.slots.insert((row.place, row.owner, row.slot), row.id)
        {
            self.findings.push(Finding::SlotTaken { items: [other, row.id] });
        }
        add(&mut self.kinds, (row.kind, row.place, row.owner), row.count);
        if !stacks(row.kind) {
            add(&mut self.singles, (row.id, row.place, row.owner), row.count);
        }
    }
}

/// All that is wrong with a world's items, by its whole ledger.
pub fn scan(items: &[ItemRow], ledger: &[LedgerRow], stacks: impl Fn(i64) -> bool) -> Vec<Finding> {
    let (mut balances, mut tally) = (Balances::default(), Tally::default());
    for row in ledger {
        balances.enter(row, &stacks);
    }
    let mut items: Vec<&ItemRow> = items.iter().collect();
    items.sort_by_key(|item| item.id);
    for item in items {
        tally.count(item, &stacks);
    }
    balances.compare(tally)
}

fn add(sums: &mut Sums, key: (i64, i64, i64), count: i64) {
    let sum = sums.entry(key).or_default();
    *sum += count;
    if *sum == 0 {
        sums.remove(&key);
    }
}

/// Where two differ, with what each says.
fn differences<'a>(
    found: &'a Sums,
    booked: &'a Sums,
) -> impl Iterator<Item = ((i64, i64, i64), i64, i64)> + 'a {
    let keys: BTreeSet<(i64, i64, i64)> = found.keys().chain(booked.keys()).copied().collect();
    let of = |sums: &Sums, key| sums.get(&key).copied().unwrap_or_default();
    let both = keys.into_iter().map(move |key| (key, of(found, key), of(booked, key)));
    both.filter(|(_, found, booked)| found != booked)
}
