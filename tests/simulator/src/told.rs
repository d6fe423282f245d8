//! What clients were told, and what must therefore be so: after a crash, and whenever somebody signs in.

use std::collections::BTreeMap;

use vyuha_game::INVENTORY_SLOTS;
use vyuha_protocol::message::InventorySlot;

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
    /// What it carries, with all that was acknowledged.
    slots: Option<Slots>,
    /// A request that may have been carried out. There is one at a time, so that there are two states to expect.
    open: Option<(RequestKey, Request)>,
    /// Whether requests were carried out whose answers came never or late.
    settled: BTreeMap<RequestKey, bool>,
    /// What it carried whenever it was let in.
    admissions: Vec<Slots>,
    /// How many zones it had been in when it was let in last.
    zones_before: usize,
    /// Where it stands, since it logged out.
    saved: Option<Place>,
    /// The zone where it rests, since another shard took it in.
    rests_in: Option<i64>,
}

/// What changes what is carried.
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

    /// Whether a character may carry this because the open request was carried out.
    fn follows(&self, found: &Slots) -> bool {
        let (Some(slots), Some((_, request))) = (&self.slots, &self.open) else { return false };
        if let Request::Trade { gives, gets } = request {
            let (mut before, mut after) = (totals(slots), totals(found));
            add(&mut before, gets);
            add(&mut after, gives);
            return before == after;
        }
        let differences: Vec<usize> = (0..slots.len()).filter(|&slot| slots[slot] != found[slot]).collect();
        let [slot] = differences[..] else { return false };
        match (request, slots[slot], found[slot]) {
            (Request::Drop { slot: of, count }, before, after) => {
                usize::from(*of) == slot && after == without(before, *count)
            }
            (Request::PickUp, None, after) => after.is_some(),
            (Request::PickUp, Some((kind, count)), Some((found, more))) => kind == found && more > count,
            (Request::PickUp | Request::Trade { .. }, ..) => false,
        }
    }
}

/// How many there are of each kind.
fn totals(slots: &Slots) -> BTreeMap<u16, u32> {
    let mut totals = BTreeMap::new();
    for (kind, count) in slots.iter().flatten() {
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
        told: &[InventorySlot],
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
        let mut slots = known.slots.expect("who asks has been told what it carries");
        for slot in told {
            slots[usize::from(slot.slot)] = (slot.count > 0).then_some((slot.kind, slot.count));
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
        known.slots = Some(*found);
        known.rests_in = None;
        known.admissions.push(*found);
        Ok(())
    }

    /// A client is told what its character carries, which was so when it was let in. The number of that admission, or of a
    /// later one, comes back.
    pub fn entered(&mut self, character: i64, told: &[InventorySlot]) -> Result<usize, Violation> {
        let mut slots: Slots = [None; INVENTORY_SLOTS];
        for slot in told {
            slots[usize::from(slot.slot)] = Some((slot.kind, slot.count));
        }
        let known = self.of(character);
        Violation::unless(known.admissions.contains(&slots), || {
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
            let found = truth.inventory(id);
            Violation::unless(known.explains(&found).is_some(), || {
                format!(
                    "after recovery character {id} carries {}; it was told of {}, with {:?} open",
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

/// What is in which slot.
pub fn listed(slots: &Slots) -> String {
    let full = slots.iter().enumerate().filter_map(|(slot, stack)| Some((slot, (*stack)?)));
    let listed: Vec<String> = full.map(|(slot, (kind, count))| format!("{slot}={count}x{kind}")).collect();
    format!("[{}]", listed.join(" "))
}
