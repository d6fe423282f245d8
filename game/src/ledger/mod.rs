//! The ledger: a row for each movement of items from one holder to another, written in the transaction that moves them and
//! never changed.
//!
//! - Rows are keyed by source, transaction and index. A source is one run of one shard, so that no key is ever used twice.
//! - What comes into being comes from nowhere. So for each holder and kind, what came in less what went out is what is there;
//!   and the movements of an item that does not stack are a chain from where it began to where it is.
//! - A rearrangement within one holder is no movement.
//! - The time of a row is that of the simulation: when the shard began, and its ticks since.

mod rows;
mod rules;

#[cfg(test)]
mod tests;

use vyuha_protocol::{CharacterId, ZoneId};
use vyuha_record::Transaction;

use crate::inventory::{PLACE_BANK, PLACE_EQUIPMENT, PLACE_GROUND, PLACE_INVENTORY, Stack};

pub use rows::LedgerRow;
pub use rules::{Balances, Carried, Finding, Tally, scan};

/// [`LedgerRow::from_place`] of what comes into being.
pub const PLACE_NOWHERE: i64 = -1;

/// Why items moved. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// They were there before there was a ledger.
    Opening = 0,
    /// They were laid out.
    Litter = 1,
    /// They were picked up.
    PickUp = 2,
    /// They were dropped.
    Drop = 3,
    /// They were put on.
    Equip = 4,
    /// They were taken off.
    Unequip = 5,
    /// They were put into the bank.
    Deposit = 6,
    /// They were taken out of the bank.
    Withdraw = 7,
    /// They were traded.
    Trade = 8,
    /// Their character went for good, and they with it.
    Purge = 9,
}

impl Reason {
    /// The word for a stored number.
    pub fn word(number: i64) -> &'static str {
        match number {
            0 => "opening",
            1 => "litter",
            2 => "pick up",
            3 => "drop",
            4 => "equip",
            5 => "unequip",
            6 => "deposit",
            7 => "withdraw",
            8 => "trade",
            9 => "purge",
            _ => "unknown",
        }
    }
}

/// Who or what holds items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Nobody: they come into being.
    Nowhere,
    /// A character that carries them.
    Inventory(CharacterId),
    /// The ground of a zone.
    Ground(ZoneId),
    /// A character that wears them.
    Equipment(CharacterId),
    /// A character's bank.
    Bank(CharacterId),
}

impl Holder {
    /// The place and owner that stand for it in rows.
    pub fn place_and_owner(self) -> (i64, i64) {
        match self {
            Holder::Nowhere => (PLACE_NOWHERE, 0),
            Holder::Inventory(character) => (PLACE_INVENTORY, character.0),
            Holder::Ground(zone) => (PLACE_GROUND, i64::from(zone.0)),
            Holder::Equipment(character) => (PLACE_EQUIPMENT, character.0),
            Holder::Bank(character) => (PLACE_BANK, character.0),
        }
    }
}

/// A movement of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Movement {
    /// Why.
    pub reason: Reason,
    /// What moved, and how many.
    pub stack: Stack,
    /// From where.
    pub from: Holder,
    /// To where.
    pub to: Holder,
    /// With whom it was traded.
    pub counterparty: Option<CharacterId>,
}

/// A shard's pen: numbers its transactions.
#[derive(Debug)]
pub struct Ledger {
    source: i64,
    seq: i64,
    began_ms: i64,
    tick_hz: u16,
}

impl Ledger {
    /// The ledger of a source that has written nothing yet. `began_ms` is when its shard began, in milliseconds since 1970.
    pub fn new(source: i64, began_ms: i64, tick_hz: u16) -> Ledger {
        Ledger { source, seq: 0, began_ms, tick_hz }
    }

    /// Begins the entries of one transaction.
    pub fn posting(&mut self, tick: u64) -> Posting {
        self.seq += 1;
        let at_ms = self.began_ms + (tick * 1000 / u64::from(self.tick_hz)) as i64;
        Posting { source: self.source, seq: self.seq, index: 0, at_ms }
    }

    /// Transactions that were begun.
    pub fn seq(&self) -> i64 {
        self.seq
    }
}

/// The entries of one transaction.
#[derive(Debug)]
pub struct Posting {
    source: i64,
    seq: i64,
    index: i64,
    at_ms: i64,
}

impl Posting {
    /// Writes a movement.
    pub fn moved(&mut self, transaction: &mut Transaction<'_>, movement: &Movement) {
        let (from_place, from_owner) = movement.from.place_and_owner();
        let (to_place, to_owner) = movement.to.place_and_owner();
        transaction.put(&LedgerRow {
            source: self.source,
            seq: self.seq,
            idx: self.index,
            at_ms: self.at_ms,
            reason: movement.reason as i64,
            item: movement.stack.id.0,
            kind: i64::from(movement.stack.kind.0),
            count: i64::from(movement.stack.count),
            from_place,
            from_owner,
            to_place,
            to_owner,
            counterparty: movement.counterparty.map_or(0, |character| character.0),
        });
        self.index += 1;
    }
}
