//! Whatever several characters do with their things, in whatever order: each thing is in one place, nothing of value is made
//! or lost, and the ledger says what is where.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use vyuha_protocol::message::{
    AcceptTrade, AskTrade, CancelTrade, ConfirmTrade, Deposit, Drop, Equip, Input, Logout, Move, Offer,
    PickUp, Unequip, Withdraw,
};

use super::play::{
    ARROW, BOW, COIN, CROOK, FRAME, IDOL, Play, SHIELD, SWORD, carried, config, content_with_gates,
};
use crate::inventory::{PLACE_BANK, PLACE_GROUND, PLACE_INVENTORY};
use crate::ledger::Reason;
use crate::shard::*;

const SESSIONS: u32 = 3;

#[derive(Debug, Clone)]
enum Act {
    Join,
    Leave,
    Logout,
    Walk(i8, i8),
    Tick,
    /// The zone leaves the shard and comes back.
    MoveZone(u16),
    OpenDurable(bool),
    Drop(u8, u32),
    /// Of what lies on the ground, by number.
    PickUp(usize),
    Move(bool, u16, u16),
    Equip(u8),
    Unequip(u8),
    Deposit(u8, u32, u8),
    Withdraw(usize, u32, bool),
    Ask(u32),
    Accept(u32),
    Offer(u8, u32),
    /// As the trade stands, or beside it.
    Confirm(bool),
    Cancel,
    /// Confirms for everybody who can.
    ConfirmAll,
}

fn act() -> impl Strategy<Value = (u32, Act)> {
    let slot = || 0..9u8;
    let act = prop_oneof![
        6 => Just(Act::Join),
        1 => Just(Act::Leave),
        1 => Just(Act::Logout),
        10 => (any::<i8>(), any::<i8>()).prop_map(|(x, y)| Act::Walk(x, y)),
        10 => Just(Act::Tick),
        3 => (1..3u16).prop_map(Act::MoveZone),
        2 => proptest::bool::weighted(0.8).prop_map(Act::OpenDurable),
        6 => (slot(), 0..70u32).prop_map(|(slot, count)| Act::Drop(slot, count)),
        10 => (0..16usize).prop_map(Act::PickUp),
        6 => (any::<bool>(), 0..9u16, 0..9u16).prop_map(|(bank, from, to)| Act::Move(bank, from, to)),
        10 => slot().prop_map(Act::Equip),
        5 => (0..12u8).prop_map(Act::Unequip),
        8 => (slot(), 0..70u32, 0..2u8).prop_map(|(slot, count, tab)| Act::Deposit(slot, count, tab)),
        8 => (0..6usize, 0..70u32, any::<bool>()).prop_map(|(nth, count, keep)| Act::Withdraw(nth, count, keep)),
        12 => (0..SESSIONS).prop_map(Act::Ask),
        12 => (0..SESSIONS).prop_map(Act::Accept),
        16 => (slot(), 0..12u32).prop_map(|(slot, count)| Act::Offer(slot, count)),
        6 => any::<bool>().prop_map(Act::Confirm),
        1 => Just(Act::Cancel),
        14 => Just(Act::ConfirmAll),
    ];
    (0..SESSIONS, act)
}

/// A world with gates and banks in which three characters have some of everything.
fn start() -> Play {
    let mut play = Play::of(Shard::new(config(), Arc::new(content_with_gates()), &[], &[]).unwrap());
    let things =
        [(COIN, 60), (SWORD, 1), (BOW, 1), (SHIELD, 1), (ARROW, 40), (CROOK, 1), (FRAME, 1), (COIN, 50)];
    for character in 0..i64::from(SESSIONS) {
        for (slot, (kind, count)) in (0..).zip(things) {
            play.give(character, carried(20 * character + slot, character, kind, count, slot));
        }
        play.join(character as u32, character);
    }
    play.give(0, carried(15, 0, IDOL, 1, 15));
    play.shard.leave(SessionId(0), &mut play.out);
    play.absorb();
    play.join(0, 0);
    play
}

/// Plays an act; how many were answered by the end of a trade that took place comes back.
fn perform(play: &mut Play, session: u32, act: &Act) -> usize {
    let id = SessionId(session);
    let (request, nonce) = play.stamp(session);
    let answers = match *act {
        Act::Join => {
            let free = play.shard.sessions.get_mut(id).is_none();
            let joined = play.try_join(session, i64::from(session));
            assert_eq!(joined.is_ok(), free);
            joined.unwrap_or_default()
        }
        Act::Leave => {
            play.shard.leave(id, &mut play.out);
            play.absorb()
        }
        Act::Logout => play.send(session, &Logout { request }),
        Act::Walk(heading_x, heading_y) => {
            play.send(session, &Input { sequence: request, heading_x, heading_y })
        }
        Act::Tick => {
            play.tick();
            Vec::new()
        }
        Act::MoveZone(zone) => {
            let moving = play.shard.detach(ZoneId(zone), &mut play.out).expect("the shard has it");
            play.absorb();
            let numbers: Vec<SessionId> = moving.sessions().map(|(number, _)| number).collect();
            play.shard.attach(moving, &numbers, 0).expect("its numbers are free");
            Vec::new()
        }
        Act::OpenDurable(open) => {
            play.shard.set_durable_open(open);
            Vec::new()
        }
        Act::Drop(slot, count) => play.send(session, &Drop { request, nonce, slot, count }),
        Act::PickUp(nth) => {
            let ground = play.shard.zones.iter().flat_map(|zone| zone.ground.iter());
            let entities: Vec<u32> = ground.map(|(entity, _)| entity.0).collect();
            let entity = entities.get(nth % entities.len().max(1)).copied().unwrap_or(u32::MAX);
            play.send(session, &PickUp { request, nonce, entity })
        }
        Act::Move(bank, from, to) => {
            let place = if bank { PLACE_BANK } else { PLACE_INVENTORY } as u8;
            play.send(session, &Move { request, nonce, place, from, to })
        }
        Act::Equip(slot) => play.send(session, &Equip { request, nonce, slot }),
        Act::Unequip(slot) => play.send(session, &Unequip { request, nonce, slot }),
        Act::Deposit(slot, count, tab) => play.send(session, &Deposit { request, nonce, slot, count, tab }),
        Act::Withdraw(nth, count, keep) => {
            let banked = play.shard.sessions.get_mut(id).map(|session| {
                session.belongings.bank.iter().map(|(slot, _)| slot as u16).collect::<Vec<_>>()
            });
            let banked = banked.unwrap_or_default();
            let slot = banked.get(nth % banked.len().max(1)).copied().unwrap_or(399);
            play.send(session, &Withdraw { request, nonce, slot, count, keep })
        }
        Act::Ask(other) => {
            let entity = play.entity(other);
            play.send(session, &AskTrade { request, entity })
        }
        Act::Accept(other) => {
            let entity = play.entity(other);
            play.send(session, &AcceptTrade { request, entity })
        }
        Act::Offer(slot, count) => play.send(session, &Offer { request, nonce, slot, count }),
        Act::Confirm(right) => confirm(play, session, right),
        Act::Cancel => play.send(session, &CancelTrade { request }),
        Act::ConfirmAll => (0..2 * SESSIONS).flat_map(|nth| confirm(play, nth % SESSIONS, true)).collect(),
    };
    answers.iter().filter(|answer| answer.contains("TradeDone")).count() / 2
}

fn confirm(play: &mut Play, session: u32, right: bool) -> Vec<String> {
    let side = play.shard.trades.side(SessionId(session));
    let (revision, step) = side.map_or((1, 1), |side| (side.revision, side.step + 1));
    let (request, nonce) = play.stamp(session);
    let revision = if right { revision } else { revision - 1 };
    play.send(session, &ConfirmTrade { request, nonce, revision, step })
}

/// What must hold after every act.
fn check(play: &Play) {
    let mut live = Vec::new();
    for zone in &play.shard.zones {
        live.extend(zone.ground.iter().map(|(_, item)| ItemRow::lying(item.stack, zone.id, item.at)));
    }
    let mut present = BTreeSet::new();
    for (id, session) in play.shard.sessions.iter() {
        live.extend(session.belongings.rows(session.character_id()));
        present.insert(session.character.id);
        if let Some(side) = play.shard.trades.side(id) {
            for (&slot, &count) in &side.offers {
                let held = session.belongings.inventory.slots()[usize::from(slot)];
                assert!(held.is_some_and(|stack| stack.count >= count), "what is offered is not there");
            }
            let other = play.shard.trades.side(side.partner).unwrap();
            assert_eq!((other.partner, other.revision), (id, side.revision));
        }
    }
    for (one, other) in play.shard.trades.pairs() {
        assert!(play.shard.sessions.iter().filter(|(id, _)| [one, other].contains(id)).count() == 2);
    }
    let ids: BTreeMap<i64, ItemRow> = live.iter().map(|row| (row.id, row.clone())).collect();
    assert_eq!(ids.len(), live.len(), "an id is in two places: {live:?}");
    let stored = play.items.values().filter(|row| row.place == PLACE_GROUND || present.contains(&row.owner));
    let stored: BTreeMap<i64, ItemRow> = stored.map(|row| (row.id, row.clone())).collect();
    assert_eq!(ids, stored, "what is stored is not what is");
    let mut slots = BTreeSet::new();
    for row in play.items.values().filter(|row| row.place != PLACE_GROUND) {
        assert!(slots.insert((row.place, row.owner, row.slot)), "two in a slot: {row:?}");
        assert!(row.count > 0 || row.place == PLACE_BANK, "an empty stack: {row:?}");
    }
}

#[test]
fn whatever_is_dealt_nothing_is_made_or_lost() {
    let cases = ProptestConfig { source_file: Some(file!()), ..ProptestConfig::with_cases(64) };
    let (trades, banked, worn) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let dealt = TestRunner::new(cases).run(&proptest::collection::vec(act(), 1..300), |acts| {
        let mut play = start();
        let counts = |play: &Play| {
            let mut counts = BTreeMap::new();
            play.items.values().for_each(|row| *counts.entry(row.kind).or_insert(0) += row.count);
            counts
        };
        let mut before = counts(&play);
        let laid = |play: &Play| play.ledger.rows().filter(|row| row.reason == Reason::Litter as i64).count();
        let mut litter = laid(&play);
        for (nth, (session, act)) in acts.iter().enumerate() {
            trades.set(trades.get() + perform(&mut play, *session, act));
            check(&play);
            if nth % 8 == 0 {
                play.ledger.check(&play.items);
            }
            let after = counts(&play);
            let now = laid(&play);
            prop_assert!(after == before || now > litter, "{act:?} by {session}: {before:?} to {after:?}");
            (before, litter) = (after, now);
        }
        let of = |reason| play.ledger.rows().filter(|row| row.reason == reason as i64).count();
        banked.set(banked.get() + of(Reason::Withdraw));
        worn.set(worn.get() + of(Reason::Equip));
        play.ledger.check(&play.items);
        // What does not stack has a history without a gap: where each movement ended the next one begins.
        let mut at: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for row in play.ledger.rows().filter(|row| ![COIN, ARROW].map(i64::from).contains(&row.kind)) {
            if let Some(at) = at.insert(row.item, (row.to_place, row.to_owner)) {
                prop_assert_eq!(at, (row.from_place, row.from_owner), "{:?}", row);
            }
        }
        for (item, at) in at {
            let row = &play.items[&item];
            prop_assert_eq!(at, (row.place, row.owner));
        }
        Ok(())
    });
    dealt.unwrap();
    let reached = [trades.get(), banked.get(), worn.get()];
    // Some dozens of each in the mean; which acts there are is chance.
    assert!(reached.iter().all(|&times| times > 0), "something never happened: {reached:?}");
}
