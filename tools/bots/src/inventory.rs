//! A bot's own book of what it carries, kept by what the server acknowledged and compared with what it says later.

use std::collections::BTreeMap;

use serde::Serialize;
use thiserror::Error;
use vyuha_protocol::message::{InventorySlot, ItemSlot};

/// The number of a place in an item's slot: what is worn.
const PLACE_WORN: u8 = 2;
/// Slots of an inventory.
pub const SLOTS: usize = 28;
/// A heap's count as snapshots show it; this one stands for more, too.
const COUNT_SHOWN_MAX: u32 = u16::MAX as u32;

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Stack {
    /// The item's kind.
    pub kind: u16,
    /// How many, at least 1.
    pub count: u32,
}

/// A request that was sent and not answered yet: it may or may not have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum InFlight {
    /// An item is being picked up.
    PickUp {
        /// Its entity.
        entity: u32,
        /// Its kind.
        kind: u16,
        /// How many, as the snapshots show it: 65,535 stands for more, too.
        count: u32,
    },
    /// Items are being dropped.
    Drop {
        /// The slot.
        slot: u8,
        /// Their kind.
        kind: u16,
        /// How many.
        count: u32,
    },
    /// Something is put on, from this slot.
    Equip {
        /// The slot.
        slot: u8,
    },
    /// Something is taken off, from this equipment slot.
    Unequip {
        /// The equipment slot.
        slot: u8,
    },
    /// Items are put into the bank.
    Deposit {
        /// Their kind.
        kind: u16,
        /// How many.
        count: u32,
    },
    /// Items are taken out of the bank.
    Withdraw {
        /// Their kind.
        kind: u16,
        /// How many.
        count: u32,
    },
    /// A trade is confirmed for good.
    Trade {
        /// What is given.
        gives: Stack,
        /// What is got.
        gets: Stack,
    },
}

/// What one character was told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Book {
    /// What it carries by all that was acknowledged; `None` until it first entered.
    pub slots: Option<[Option<Stack>; SLOTS]>,
    /// What it wears, by equipment slot.
    pub worn: BTreeMap<u16, Stack>,
    /// What it put into the bank, by slot, as far as it was told.
    pub bank: BTreeMap<u16, Stack>,
    /// The request whose answer did not come; at most one.
    pub in_flight: Option<InFlight>,
    /// Items picked up, acknowledged or seen to have happened: how many of each kind.
    pub picked_up: BTreeMap<u16, u64>,
    /// Items dropped, acknowledged or seen to have happened: how many of each kind.
    pub dropped: BTreeMap<u16, u64>,
    /// Trades, acknowledged or seen to have happened.
    pub traded: u64,
    /// Requests of every kind that were acknowledged.
    pub acknowledged: u64,
}

/// What the server says is not what the book says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Mismatch {
    /// An answer to another request, or to none.
    #[error("the answer {answer} does not fit what was asked: {in_flight:?}")]
    NotAsked {
        /// The answer.
        answer: String,
        /// What was asked.
        in_flight: Option<InFlight>,
    },
    /// A slot is not what it must be after the request.
    #[error("after {in_flight:?}, slot {slot} went from {before:?} to {after:?}")]
    Slot {
        /// What was asked.
        in_flight: InFlight,
        /// The slot.
        slot: u8,
        /// What it held.
        before: Option<Stack>,
        /// What the server says it holds.
        after: Option<Stack>,
    },
    /// What is carried and worn is not what it must be after the request.
    #[error("after {in_flight:?}, {found:?} of each kind are carried and worn, not {expected:?}")]
    Totals {
        /// What was asked.
        in_flight: InFlight,
        /// How many of each kind there must be.
        expected: BTreeMap<u16, i64>,
        /// How many the server says there are.
        found: BTreeMap<u16, i64>,
    },
    /// The inventory at entry is not what was acknowledged.
    #[error("entered with slots {found}, but {acknowledged} were acknowledged, {in_flight:?} in flight")]
    Entered {
        /// What the server says.
        found: String,
        /// What the book says.
        acknowledged: String,
        /// What may have happened besides.
        in_flight: Option<InFlight>,
    },
    /// A slot's number or content is impossible.
    #[error("the server names an impossible slot: {0:?}")]
    SlotInvalid(InventorySlot),
}

impl Book {
    /// Takes the inventory that the server names at entry. It must be what was acknowledged, or that with the request in
    /// flight carried out. Whatever it is, it counts from then on.
    pub fn entered(&mut self, inventory: &[InventorySlot], worn: &[ItemSlot]) -> Result<(), Mismatch> {
        let in_flight = self.in_flight.take();
        let before = self.totals();
        let found = slots(inventory)?;
        let worn =
            worn.iter().map(|slot| (slot.slot, Stack { kind: slot.kind, count: slot.count })).collect();
        let same_worn = self.worn == worn;
        self.worn = worn;
        let Some(known) = self.slots.replace(found) else { return Ok(()) };
        let changed: Vec<usize> = (0..SLOTS).filter(|&slot| known[slot] != found[slot]).collect();
        match (changed[..].as_ref(), in_flight) {
            ([], _) if same_worn => Ok(()),
            (_, Some(request)) if request.gains().is_some() => {
                if matches!(request, InFlight::Deposit { .. } | InFlight::Withdraw { .. }) {
                    // Where it lies in the bank was not heard.
                    self.bank.clear();
                }
                self.check_totals(request, before)
            }
            (&[slot], Some(request))
                if same_worn && carried_out(request, slot as u8, known[slot], found[slot]) =>
            {
                self.credit(request, known[slot], found[slot]);
                Ok(())
            }
            _ => Err(Mismatch::Entered { found: listed(&found), acknowledged: listed(&known), in_flight }),
        }
    }

    /// Notes a request before it is sent.
    pub fn ask(&mut self, request: InFlight) {
        self.in_flight = Some(request);
    }

    /// Takes the answer to a pick-up.
    pub fn picked_up(&mut self, entity: u32, slot: InventorySlot) -> Result<(), Mismatch> {
        match self.in_flight.take() {
            Some(request @ InFlight::PickUp { entity: asked, .. }) if asked == entity => {
                self.answered(request, slot)
            }
            in_flight => Err(Mismatch::NotAsked { answer: format!("picked up {entity}"), in_flight }),
        }
    }

    /// Takes the answer to a drop.
    pub fn dropped(&mut self, slot: InventorySlot) -> Result<(), Mismatch> {
        match self.in_flight.take() {
            Some(request @ InFlight::Drop { .. }) => self.answered(request, slot),
            in_flight => Err(Mismatch::NotAsked { answer: format!("dropped from {}", slot.slot), in_flight }),
        }
    }

    /// Takes the answer to what puts on, takes off, deposits or withdraws.
    pub fn rearranged(&mut self, slots: &[ItemSlot]) -> Result<(), Mismatch> {
        match self.in_flight.take() {
            Some(
                request @ (InFlight::Equip { .. }
                | InFlight::Unequip { .. }
                | InFlight::Deposit { .. }
                | InFlight::Withdraw { .. }),
            ) => self.changed(request, slots),
            in_flight => Err(Mismatch::NotAsked { answer: format!("changed {slots:?}"), in_flight }),
        }
    }

    /// Takes the end of a trade that took place.
    pub fn traded(&mut self, slots: &[ItemSlot]) -> Result<(), Mismatch> {
        match self.in_flight.take() {
            Some(request @ InFlight::Trade { .. }) => self.changed(request, slots),
            in_flight => Err(Mismatch::NotAsked { answer: format!("traded {slots:?}"), in_flight }),
        }
    }

    /// Takes a refusal: nothing changed.
    pub fn refused(&mut self) {
        self.in_flight = None;
    }

    /// Free slots; none before the first entry.
    pub fn free(&self) -> usize {
        self.slots.iter().flatten().filter(|slot| slot.is_none()).count()
    }

    /// The slots that hold something.
    pub fn held(&self) -> impl Iterator<Item = (u8, Stack)> {
        self.slots.iter().flatten().zip(0..).filter_map(|(stack, slot)| stack.map(|stack| (slot, stack)))
    }

    fn changed(&mut self, request: InFlight, changed: &[ItemSlot]) -> Result<(), Mismatch> {
        let before = self.totals();
        for changed in changed {
            let held = (changed.count > 0).then_some(Stack { kind: changed.kind, count: changed.count });
            match changed.place {
                0 => {
                    let (slot, kind, count) = (changed.slot as u8, changed.kind, changed.count);
                    let slot = InventorySlot { slot, kind, count };
                    self.slots.get_or_insert_default()[usize::from(slot.slot) % SLOTS] = stack(slot)?;
                }
                place => {
                    let kept = if place == PLACE_WORN { &mut self.worn } else { &mut self.bank };
                    match held {
                        Some(stack) => kept.insert(changed.slot, stack),
                        None => kept.remove(&changed.slot),
                    };
                }
            }
        }
        self.acknowledged += 1;
        self.check_totals(request, before)
    }

    /// How many of each kind are carried and worn.
    fn totals(&self) -> BTreeMap<u16, i64> {
        let mut totals = BTreeMap::new();
        let held = self.slots.iter().flatten().flatten().chain(self.worn.values());
        held.for_each(|stack| *totals.entry(stack.kind).or_default() += i64::from(stack.count));
        totals
    }

    /// Compares with what a request makes of what there was.
    fn check_totals(&mut self, request: InFlight, before: BTreeMap<u16, i64>) -> Result<(), Mismatch> {
        let mut expected = before;
        for (kind, count) in request.gains().into_iter().flatten() {
            *expected.entry(kind).or_default() += count;
        }
        expected.retain(|_, count| *count != 0);
        let found = self.totals();
        if found != expected {
            return Err(Mismatch::Totals { in_flight: request, expected, found });
        }
        self.traded += u64::from(matches!(request, InFlight::Trade { .. }));
        Ok(())
    }

    fn answered(&mut self, request: InFlight, slot: InventorySlot) -> Result<(), Mismatch> {
        let after = stack(slot)?;
        let slots = self.slots.get_or_insert_default();
        let before = std::mem::replace(&mut slots[slot.slot as usize], after);
        if !carried_out(request, slot.slot, before, after) {
            return Err(Mismatch::Slot { in_flight: request, slot: slot.slot, before, after });
        }
        self.acknowledged += 1;
        self.credit(request, before, after);
        Ok(())
    }

    fn credit(&mut self, request: InFlight, before: Option<Stack>, after: Option<Stack>) {
        let count = |stack: Option<Stack>| stack.map_or(0, |stack| u64::from(stack.count));
        let moved = count(before).abs_diff(count(after));
        match request {
            InFlight::PickUp { kind, .. } => *self.picked_up.entry(kind).or_default() += moved,
            InFlight::Drop { kind, .. } => *self.dropped.entry(kind).or_default() += moved,
            _ => {}
        }
    }
}

/// Whether a slot's change is what a request does.
fn carried_out(request: InFlight, slot: u8, before: Option<Stack>, after: Option<Stack>) -> bool {
    match request {
        InFlight::PickUp { kind, count, .. } => {
            let (had, has) = match (before, after) {
                (None, Some(after)) if after.kind == kind => (0, after.count),
                (Some(before), Some(after)) if before.kind == kind && after.kind == kind => {
                    (before.count, after.count)
                }
                _ => return false,
            };
            let gained = has.checked_sub(had);
            gained == Some(count) || count == COUNT_SHOWN_MAX && gained > Some(count)
        }
        InFlight::Drop { slot: from, kind, count } => {
            let Some(before) = before.filter(|before| from == slot && before.kind == kind) else {
                return false;
            };
            let left = before.count.checked_sub(count).map(|count| Stack { kind, count });
            left.is_some() && left.filter(|left| left.count > 0) == after
        }
        _ => false,
    }
}

impl InFlight {
    /// What is carried and worn more or less once it is carried out, by kind, where that is known beforehand.
    fn gains(self) -> Option<[(u16, i64); 2]> {
        match self {
            InFlight::PickUp { .. } | InFlight::Drop { .. } => None,
            InFlight::Equip { .. } | InFlight::Unequip { .. } => Some([(0, 0); 2]),
            InFlight::Deposit { kind, count } => Some([(kind, -i64::from(count)), (0, 0)]),
            InFlight::Withdraw { kind, count } => Some([(kind, i64::from(count)), (0, 0)]),
            InFlight::Trade { gives, gets } => {
                Some([(gives.kind, -i64::from(gives.count)), (gets.kind, i64::from(gets.count))])
            }
        }
    }
}

/// A slot as the server names it.
fn stack(slot: InventorySlot) -> Result<Option<Stack>, Mismatch> {
    if slot.slot as usize >= SLOTS {
        return Err(Mismatch::SlotInvalid(slot));
    }
    Ok((slot.count > 0).then_some(Stack { kind: slot.kind, count: slot.count }))
}

fn slots(inventory: &[InventorySlot]) -> Result<[Option<Stack>; SLOTS], Mismatch> {
    let mut slots = [None; SLOTS];
    for &slot in inventory {
        let stack = stack(slot)?;
        if stack.is_none() || std::mem::replace(&mut slots[slot.slot as usize], stack).is_some() {
            return Err(Mismatch::SlotInvalid(slot));
        }
    }
    Ok(slots)
}

fn listed(slots: &[Option<Stack>; SLOTS]) -> String {
    let held = slots.iter().enumerate().filter_map(|(slot, stack)| Some((slot, (*stack)?)));
    let words: Vec<String> =
        held.map(|(slot, stack)| format!("{slot}:{}x{}", stack.kind, stack.count)).collect();
    format!("[{}]", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICK_UP: InFlight = InFlight::PickUp { entity: 9, kind: 4, count: 30 };
    const DROP: InFlight = InFlight::Drop { slot: 2, kind: 4, count: 10 };

    fn slot(slot: u8, kind: u16, count: u32) -> InventorySlot {
        InventorySlot { slot, kind, count }
    }

    fn book() -> Book {
        let mut book = Book::default();
        book.entered(&[slot(2, 4, 20), slot(5, 7, 1)], &[]).unwrap();
        book
    }

    #[test]
    fn answers_are_judged_by_what_was_asked() {
        let picked_up = |to| {
            let mut book = book();
            book.ask(PICK_UP);
            (book.picked_up(9, to).is_ok(), book.in_flight, book.picked_up.get(&4).copied())
        };
        assert_eq!(picked_up(slot(2, 4, 50)), (true, None, Some(30)));
        assert_eq!(picked_up(slot(0, 4, 30)), (true, None, Some(30)));
        for wrong in
            [slot(2, 4, 30), slot(2, 4, 49), slot(0, 4, 29), slot(5, 4, 30), slot(0, 5, 30), slot(0, 0, 0)]
        {
            assert_eq!(picked_up(wrong), (false, None, None), "{wrong:?}");
        }
        assert!(book().picked_up(9, slot(28, 4, 30)).is_err());

        let dropped = |count, slot| {
            let mut book = book();
            book.ask(InFlight::Drop { slot: 2, kind: 4, count });
            (book.dropped(slot).is_ok(), book.dropped.get(&4).copied())
        };
        assert_eq!(dropped(10, slot(2, 4, 10)), (true, Some(10)));
        assert_eq!(dropped(20, slot(2, 0, 0)), (true, Some(20)));
        for (count, wrong) in
            [(10, slot(2, 4, 11)), (10, slot(3, 4, 10)), (20, slot(2, 4, 20)), (21, slot(2, 0, 0))]
        {
            assert_eq!(dropped(count, wrong), (false, None), "{wrong:?}");
        }
    }

    #[test]
    fn an_answer_to_another_request_is_a_mismatch() {
        let mut book = book();
        assert!(book.dropped(slot(2, 4, 10)).is_err());
        book.ask(DROP);
        assert!(book.picked_up(9, slot(2, 4, 50)).is_err());
        book.ask(PICK_UP);
        assert!(book.picked_up(8, slot(2, 4, 50)).is_err());
        book.ask(PICK_UP);
        book.refused();
        assert_eq!(book.entered(&[slot(2, 4, 20), slot(5, 7, 1)], &[]), Ok(()));
    }

    #[test]
    fn a_heap_shown_as_the_most_may_be_more() {
        let mut book = book();
        book.ask(InFlight::PickUp { entity: 9, kind: 1, count: 65_535 });
        assert_eq!(book.picked_up(9, slot(0, 1, 70_000)), Ok(()));
        assert_eq!(book.picked_up[&1], 70_000);
    }

    #[test]
    fn an_entry_must_show_what_was_acknowledged_with_or_without_what_was_in_flight() {
        let enter = |in_flight: Option<InFlight>, inventory: &[InventorySlot]| {
            let mut book = book();
            book.in_flight = in_flight;
            let fits = book.entered(inventory, &[]).is_ok();
            assert_eq!(book.in_flight, None);
            assert_eq!(book.held().count(), inventory.len());
            fits
        };
        let same = [slot(2, 4, 20), slot(5, 7, 1)];
        let less = [slot(2, 4, 10), slot(5, 7, 1)];
        let more = [slot(2, 4, 50), slot(5, 7, 1)];
        assert!(enter(None, &same) && enter(Some(DROP), &same) && enter(Some(PICK_UP), &same));
        assert!(enter(Some(DROP), &less) && enter(Some(PICK_UP), &more));
        assert!(!enter(None, &less) && !enter(None, &more));
        assert!(!enter(Some(PICK_UP), &less) && !enter(Some(DROP), &more));
        // Both lost and gained at once.
        assert!(!enter(Some(PICK_UP), &[slot(2, 4, 50)]));
    }

    fn item(place: u8, slot: u16, kind: u16, count: u32) -> ItemSlot {
        ItemSlot { place, slot, kind, count, wear: 0, item: 1 }
    }

    #[test]
    fn what_is_worn_banked_and_traded_is_judged_by_what_is_carried_and_worn_in_all() {
        let check = |request: InFlight, told: &[ItemSlot], fits: bool| {
            let mut book = book();
            book.ask(request);
            let got = match request {
                InFlight::Trade { .. } => book.traded(told),
                _ => book.rearranged(told),
            };
            assert_eq!((got.is_ok(), book.in_flight), (fits, None), "{request:?}, {told:?}: {got:?}");
        };
        let equip = InFlight::Equip { slot: 5 };
        check(equip, &[item(0, 5, 0, 0), item(2, 0, 7, 1)], true);
        check(equip, &[item(2, 0, 7, 1)], false);
        check(equip, &[item(0, 5, 0, 0)], false);
        let deposit = InFlight::Deposit { kind: 4, count: 15 };
        check(deposit, &[item(0, 2, 4, 5), item(3, 0, 4, 70)], true);
        check(deposit, &[item(0, 2, 4, 6), item(3, 0, 4, 14)], false);
        check(InFlight::Withdraw { kind: 9, count: 2 }, &[item(0, 0, 9, 2), item(3, 1, 0, 0)], true);
        check(InFlight::Withdraw { kind: 9, count: 2 }, &[item(0, 0, 9, 3)], false);
        let (gives, gets) = (Stack { kind: 4, count: 20 }, Stack { kind: 8, count: 3 });
        let trade = InFlight::Trade { gives, gets };
        check(trade, &[item(0, 2, 8, 3)], true);
        check(trade, &[item(0, 2, 0, 0)], false);
        check(trade, &[item(0, 3, 8, 3)], false);
        assert!(book().traded(&[]).is_err());
        assert!(book().rearranged(&[]).is_err());
    }

    #[test]
    fn an_entry_after_a_trade_that_was_not_heard_of_shows_it_or_nothing_of_it() {
        let (gives, gets) = (Stack { kind: 4, count: 20 }, Stack { kind: 8, count: 3 });
        let enter = |inventory: &[InventorySlot], worn: &[ItemSlot]| {
            let mut book = book();
            book.ask(InFlight::Trade { gives, gets });
            book.entered(inventory, worn).map(|()| book.traded)
        };
        assert_eq!(enter(&[slot(2, 4, 20), slot(5, 7, 1)], &[]), Ok(0));
        assert_eq!(enter(&[slot(0, 8, 3), slot(5, 7, 1)], &[]), Ok(1));
        assert!(enter(&[slot(5, 7, 1)], &[]).is_err(), "given, and nothing got");
        assert!(
            enter(&[slot(2, 4, 20), slot(0, 8, 3), slot(5, 7, 1)], &[]).is_err(),
            "got, and nothing given"
        );
        assert!(enter(&[slot(2, 4, 20)], &[]).is_err());
        assert!(enter(&[slot(2, 4, 20), slot(5, 7, 1)], &[item(2, 0, 7, 1)]).is_err(), "worn out of nowhere");
    }
}
