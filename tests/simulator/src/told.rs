//! What clients were told, and what must therefore be so: after a crash, and whenever somebody signs in.

use std::collections::{BTreeMap, BTreeSet};

use vyuha_game::inventory::{PLACE_BANK, PLACE_EQUIPMENT, PLACE_INVENTORY};
use vyuha_protocol::message::{InventorySlot, ItemSlot};

use crate::Violation;
use crate::truth::{Slots, Truth};

/// A request: whose, in which life of that client, and its number.
pub type RequestKey = (usize, u32, u32);
/// A zone and a place in it.
type Place = (i64, i64, i64);

/// What was told of every character.
#[derive(Default)]
pub struct Told(BTreeMap<i64, Character>);

/// What the player of a character knows.
#[derive(Default)]
struct Character {
    /// What it has, with all that was acknowledged.
    slots: Option<Slots>,
    /// A request that may have been carried out. There is one at a time, so that there are two states to expect.
    open: Option<(RequestKey, Request)>,
    /// Whether requests were carried out whose answers came never or late.
    settled: BTreeMap<RequestKey, bool>,
    /// What it had whenever it was let in.
    admissions: Vec<Slots>,
    /// How many zones it had been in when it was let in last.
    zones_before: usize,
    /// Where it stands, since it logged out.
    saved: Option<Place>,
    /// The zone where it rests, since another shard took it in.
    rests_in: Option<i64>,
}

/// What changes what a character has.
#[derive(Debug, Clone)]
pub enum Request {
    /// Something from the ground.
    PickUp,
    /// So many of a slot.
    Drop {
        /// The slot.
        slot: u8,
        /// How many.
        count: u32,
    },
    /// What is in a slot is put on.
    Equip {
        /// The slot.
        slot: u8,
    },
    /// What is worn there is taken off.
    Unequip {
        /// The equipment slot.
        slot: u8,
    },
    /// So many of a slot, into the bank.
    Deposit {
        /// The slot.
        slot: u8,
        /// How many.
        count: u32,
    },
    /// So many of a slot of the bank.
    Withdraw {
        /// The bank's slot.
        slot: u16,
        /// How many.
        count: u32,
    },
    /// The last confirmation of a trade: how many of each kind are given, and got.
    Trade {
        /// What goes.
        gives: BTreeMap<u16, u32>,
        /// What comes.
        gets: BTreeMap<u16, u32>,
    },
}

impl Character {
    /// Whether the open request was carried out, if a character carries this; `None` if it cannot carry this.
    fn explains(&self, found: &Slots) -> Option<bool> {
        match &self.slots {
            Some(slots) if slots != found => self.follows(found).then_some(true),
            _ => Some(false),
        }
    }

    /// Whether a character may have this because the open request was carried out.
    fn follows(&self, found: &Slots) -> bool {
        let (Some(slots), Some((_, request))) = (&self.slots, &self.open) else { return false };
        let keys = slots.keys().chain(found.keys()).copied();
        let changed: BTreeSet<(i64, i64)> = keys.filter(|key| slots.get(key) != found.get(key)).collect();
        let bag = |slot: &u8| (PLACE_INVENTORY, i64::from(*slot));
        let taken = |key, count| found.get(&key).copied() == without(slots.get(&key).copied(), count);
        let same_in_all = || totals(slots, |_| true) == totals(found, |_| true);
        match request {
            Request::Trade { gives, gets } => {
                let carried = |place| place == PLACE_INVENTORY;
                let (mut before, mut after) = (totals(slots, carried), totals(found, carried));
                add(&mut before, gets);
                add(&mut after, gives);
                before == after && changed.iter().all(|(place, _)| carried(*place))
            }
            Request::Drop { slot, count } => {
                taken(bag(slot), *count) && changed.iter().all(|key| *key == bag(slot))
            }
            Request::PickUp => {
                let mut changed = changed.iter();
                let (Some(key), None) = (changed.next(), changed.next()) else { return false };
                let more = match (slots.get(key), found.get(key)) {
                    (None, after) => after.is_some(),
                    (Some((kind, count)), Some((found, more))) => kind == found && more > count,
                    (Some(_), None) => false,
                };
                key.0 == PLACE_INVENTORY && more
            }
            Request::Equip { slot } => {
                let put_on = slots.get(&bag(slot));
                let is_worn =
                    |stack| found.iter().any(|((place, _), worn)| *place == PLACE_EQUIPMENT && worn == stack);
                same_in_all()
                    && put_on.is_some_and(is_worn)
                    && changed.iter().all(|key| *key == bag(slot) || key.0 == PLACE_EQUIPMENT)
            }
            Request::Unequip { slot } => {
                let worn = (PLACE_EQUIPMENT, i64::from(*slot));
                same_in_all()
                    && slots.contains_key(&worn)
                    && !found.contains_key(&worn)
                    && changed.iter().all(|key| *key == worn || key.0 == PLACE_INVENTORY)
            }
            Request::Deposit { slot, count } => {
                same_in_all()
                    && taken(bag(slot), *count)
                    && changed.iter().all(|key| *key == bag(slot) || key.0 == PLACE_BANK)
            }
            Request::Withdraw { slot, count } => {
                let banked = (PLACE_BANK, i64::from(*slot));
                same_in_all()
                    && taken(banked, *count)
                    && changed.iter().all(|key| *key == banked || key.0 == PLACE_INVENTORY)
            }
        }
    }
}

/// How many there are of each kind in these places.
fn totals(slots: &Slots, counts: impl Fn(i64) -> bool) -> BTreeMap<u16, u32> {
    let mut totals = BTreeMap::new();
    for (_, (kind, count)) in slots.iter().filter(|((place, _), _)| counts(*place)) {
        *totals.entry(*kind).or_default() += count;
    }
    totals
}

fn add(totals: &mut BTreeMap<u16, u32>, more: &BTreeMap<u16, u32>) {
    for (kind, count) in more {
        *totals.entry(*kind).or_default() += count;
    }
}

/// A slot after so many were taken from it.
fn without(slot: Option<(u16, u32)>, count: u32) -> Option<(u16, u32)> {
    slot.filter(|(_, had)| *had > count).map(|(kind, had)| (kind, had - count))
}

impl Told {
    /// What a character carries, as far as its player knows; none while one request is open, or it never played.
    pub fn slots(&self, character: i64) -> Option<&Slots> {
        let known = self.0.get(&character)?;
        known.slots.as_ref().filter(|_| known.open.is_none())
    }

    /// A request is being sent.
    pub fn asked(&mut self, character: i64, key: RequestKey, request: Request) {
        self.of(character).open = Some((key, request));
    }

    /// A request was carried out, durably: the slots are as it says.
    pub fn acknowledged(
        &mut self,
        character: i64,
        key: RequestKey,
        told: &[ItemSlot],
    ) -> Result<(), Violation> {
        let known = self.of(character);
        if known.open.as_ref().is_none_or(|(open, _)| *open != key) {
            let was_done = known.settled.remove(&key);
            return Violation::unless(was_done != Some(false), || {
                format!(
                    "request {key:?} of character {character} is acknowledged, but was not carried out when it was let in again"
                )
            });
        }
        let mut slots = known.slots.clone().expect("who asks has been told what it has");
        for slot in told {
            let key = (slot.place.into(), slot.slot.into());
            match slot.count {
                0 => slots.remove(&key),
                count => slots.insert(key, (slot.kind, count)),
            };
        }
        Violation::unless(known.follows(&slots), || {
            format!(
                "character {character} is told of {told:?}, which does not follow from what it carried and asked"
            )
        })?;
        (known.slots, known.open) = (Some(slots), None);
        Ok(())
    }

    /// A request was refused: it changed nothing.
    pub fn refused(&mut self, character: i64, key: RequestKey) -> Result<(), Violation> {
        let known = self.of(character);
        if known.open.as_ref().is_some_and(|(open, _)| *open == key) {
            known.open = None;
        }
        let was_done = known.settled.remove(&key);
        Violation::unless(was_done != Some(true), || {
            format!(
                "request {key:?} of character {character} is refused, but was carried out when it was let in again"
            )
        })
    }

    /// A character is let in with these rows: every session that it had is over.
    ///
    /// `zones` is how many zones it had been in.
    pub fn admitted(
        &mut self,
        character: i64,
        found: &Slots,
        place: Place,
        zones: usize,
    ) -> Result<(), Violation> {
        let known = self.of(character);
        known.zones_before = zones;
        let saved = known.saved.take();
        Violation::unless(saved.is_none_or(|saved| saved == place), || {
            format!("character {character} logged out at {saved:?} and is let in at {place:?}")
        })?;
        let explained = known.explains(found).ok_or_else(|| {
            Violation::new(format!(
                "character {character} is let in with {}; it was told of {}, with {:?} open",
                listed(found),
                known.slots.as_ref().map(listed).unwrap_or_default(),
                known.open
            ))
        })?;
        // A trade of like for like leaves nothing to tell by.
        let is_told_apart = explained || !known.follows(found);
        if let Some((key, _)) = known.open.take()
            && is_told_apart
        {
            known.settled.insert(key, explained);
        }
        known.slots = Some(found.clone());
        known.rests_in = None;
        known.admissions.push(found.clone());
        Ok(())
    }

    /// A client is told what its character carries and wears, which was so when it was let in. The number of that admission, or
    /// of a later one, comes back.
    pub fn entered(
        &mut self,
        character: i64,
        carried: &[InventorySlot],
        worn: &[ItemSlot],
    ) -> Result<usize, Violation> {
        let carried =
            carried.iter().map(|slot| ((PLACE_INVENTORY, i64::from(slot.slot)), (slot.kind, slot.count)));
        let worn = worn.iter().map(|slot| ((PLACE_EQUIPMENT, i64::from(slot.slot)), (slot.kind, slot.count)));
        let slots: Slots = carried.chain(worn).collect();
        let known = self.of(character);
        let on_it = |all: &Slots| -> Slots {
            all.iter()
                .filter(|((place, _), _)| *place != PLACE_BANK)
                .map(|(key, stack)| (*key, *stack))
                .collect()
        };
        Violation::unless(known.admissions.iter().any(|all| on_it(all) == slots), || {
            format!(
                "the player of character {character} is told of {}, with which it was never let in",
                listed(&slots)
            )
        })?;
        Ok(known.admissions.len())
    }

    /// A client is told that its character went to a zone of another shard, which must be durable.
    pub fn crossed(
        &mut self,
        character: i64,
        admission: usize,
        zone: i64,
        truth: &Truth,
    ) -> Result<(), Violation> {
        let known = self.of(character);
        let zones = &truth.zones_of(character)[known.zones_before..];
        Violation::unless(known.admissions.len() != admission || zones.contains(&zone), || {
            format!(
                "character {character} is told that it went to zone {zone} on another shard, which is not durable"
            )
        })
    }

    /// A character that was let in by this number logged out; this is its row.
    pub fn logged_out(&mut self, character: i64, admission: usize, place: Place) {
        let known = self.of(character);
        if known.admissions.len() == admission {
            known.saved = Some(place);
        }
    }

    /// A character that was let in by this number stands still in a zone to which another shard took it, or moves again.
    pub fn rests(&mut self, character: i64, admission: usize, zone: Option<i64>) {
        let known = self.of(character);
        if known.admissions.len() == admission {
            known.rests_in = zone;
        }
    }

    /// Whether all that was told is so by what is durable.
    pub fn check(&self, truth: &Truth) -> Result<(), Violation> {
        for (&id, known) in &self.0 {
            let found = truth.belongings(id);
            Violation::unless(known.explains(&found).is_some(), || {
                format!(
                    "after recovery character {id} has {}; it was told of {}, with {:?} open",
                    listed(&found),
                    known.slots.as_ref().map(listed).unwrap_or_default(),
                    known.open
                )
            })?;
            let row = truth.character(id);
            let place = (row.zone, row.x, row.y);
            Violation::unless(known.saved.is_none_or(|saved| saved == place), || {
                format!(
                    "after recovery character {id} stands at {place:?}, but logged out at {:?}",
                    known.saved
                )
            })?;
            Violation::unless(known.rests_in.is_none_or(|zone| zone == row.zone), || {
                format!(
                    "after recovery character {id} is in zone {}, but was told of {:?}",
                    row.zone, known.rests_in
                )
            })?;
        }
        Ok(())
    }

    fn of(&mut self, character: i64) -> &mut Character {
        self.0.entry(character).or_default()
    }
}

/// What is in which place and slot.
pub fn listed(slots: &Slots) -> String {
    let listed: Vec<String> =
        slots.iter().map(|((place, slot), (kind, count))| format!("{place}/{slot}={count}x{kind}")).collect();
    format!("[{}]", listed.join(" "))
}
