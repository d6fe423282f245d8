//! Whatever several clients do, in whatever order: nothing of value is made or lost, what is stored is what is,
//! two shards agree to the bit, and nobody is too fast.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use vyuha_protocol::message::{ClientMessage, Drop, Input, Logout, Message, PickUp, Say, append};
use vyuha_protocol::units::metres;
use vyuha_protocol::{EntityId, Pos, frame};

use super::play::{COIN, Play, SWORD, carried};
use crate::ground::within_reach;
use crate::inventory::{PLACE_GROUND, PLACE_INVENTORY};
use crate::shard::*;

const SESSIONS: u32 = 4;

#[derive(Debug, Clone)]
enum Act {
    Join(u32),
    Leave(u32),
    /// Steers, some inputs after the last one.
    Steer(u32, u32, i8, i8),
    Say(u32, String),
    Drop(u32, u8, u32),
    /// Picks up one of the items on the ground, by number; of those within reach, or of all.
    PickUp(u32, usize, bool),
    Logout(u32),
    /// Whatever bytes are a message.
    Frame(u32, u16, Vec<u8>),
    OpenDurable(bool),
    Tick,
}

fn act() -> impl Strategy<Value = Act> {
    let session = || 0..SESSIONS;
    let any_frame = (0..ClientMessage::ALL.len()).prop_flat_map(|at| {
        let (_, kind, _, _, fixed_bytes) = ClientMessage::ALL[at];
        (Just(kind), proptest::collection::vec(any::<u8>(), fixed_bytes..fixed_bytes + 9))
    });
    prop_oneof![
        8 => session().prop_map(Act::Join),
        2 => session().prop_map(Act::Leave),
        30 => (session(), 0..3u32, any::<i8>(), any::<i8>()).prop_map(|(session, skip, x, y)| Act::Steer(session, skip, x, y)),
        4 => (session(), "[a-z]{0,30}").prop_map(|(session, text)| Act::Say(session, text)),
        30 => (session(), 0..4u8, 0..5u32).prop_map(|(session, slot, count)| Act::Drop(session, slot, count)),
        40 => (session(), 0..16usize, proptest::bool::weighted(0.8))
            .prop_map(|(session, nth, near)| Act::PickUp(session, nth, near)),
        2 => session().prop_map(Act::Logout),
        2 => (session(), any_frame).prop_map(|(session, (kind, payload))| Act::Frame(session, kind, payload)),
        3 => proptest::bool::weighted(0.8).prop_map(Act::OpenDurable),
        40 => Just(Act::Tick),
    ]
}

/// A world with everybody in it, and items in every inventory and on the ground.
fn start() -> Play {
    let mut play = Play::new();
    for character in 0..i64::from(SESSIONS) {
        let id = 10 * character;
        play.give(character, carried(id, character, COIN, 60, 0));
        play.give(character, carried(id + 1, character, SWORD, 1, 1));
        play.give(character, carried(id + 2, character, COIN, 5, 2));
    }
    play.shard.bootstrap(&mut play.out);
    for session in 0..SESSIONS {
        play.join(session, i64::from(session));
    }
    play
}

/// Plays an act and returns what came of it, byte for byte, before the twin of the store takes it in.
fn perform(play: &mut Play, act: &Act) -> (Vec<u8>, Vec<u8>, Vec<OutMessage>) {
    match act {
        Act::Join(session) => {
            let free = play.shard.sessions.get_mut(SessionId(*session)).is_none();
            assert_eq!(play.try_join(*session, i64::from(*session)).is_ok(), free);
        }
        Act::Leave(session) => play.shard.leave(SessionId(*session), &mut play.out),
        Act::Steer(session, skip, heading_x, heading_y) => {
            let sequence = play.next_request() * 3 + skip;
            receive(play, *session, &Input { sequence, heading_x: *heading_x, heading_y: *heading_y });
        }
        Act::Say(session, text) => {
            let request = play.next_request();
            receive(play, *session, &Say { request, text: text.clone() });
        }
        Act::Drop(session, slot, count) => {
            let (request, nonce) = play.stamp(*session);
            receive(play, *session, &Drop { request, nonce, slot: *slot, count: *count });
        }
        Act::PickUp(session, nth, near) => {
            let at = play
                .shard
                .sessions
                .get_mut(SessionId(*session))
                .map(|session| (session.zone, session.entity));
            let at = at.map_or(Pos::default(), |(zone, entity)| play.shard.zones[zone].place_of(entity));
            let ground = play.shard.zones.iter().flat_map(|zone| zone.ground.iter());
            let ground = ground.filter(|(_, item)| !near || within_reach(at, item.at, metres(3)));
            let ground: Vec<EntityId> = ground.map(|(entity, _)| entity).collect();
            let entity = ground.get(nth % ground.len().max(1)).map_or(u32::MAX, |entity| entity.0);
            let (request, nonce) = play.stamp(*session);
            receive(play, *session, &PickUp { request, nonce, entity });
        }
        Act::Logout(session) => {
            let request = play.next_request();
            receive(play, *session, &Logout { request });
        }
        Act::Frame(session, kind, payload) => {
            if let Ok(message) = ClientMessage::decode(*kind, payload) {
                play.shard.receive(SessionId(*session), message, &mut play.out);
            }
        }
        Act::OpenDurable(open) => play.shard.set_durable_open(*open),
        Act::Tick => play.shard.tick(&mut (), &mut play.out),
    }
    (play.out.bytes.clone(), play.out.transactions.clone(), play.out.messages.clone())
}

/// Hands a message in and leaves what comes of it in the outbox.
fn receive<M: Message>(play: &mut Play, session: u32, message: &M) {
    let mut bytes = Vec::new();
    append(&mut bytes, message);
    let message = ClientMessage::decode(M::KIND, &bytes[frame::FRAME_HEAD_BYTES..]).unwrap();
    play.shard.receive(SessionId(session), message, &mut play.out);
}

/// The rows that would describe what is in play now.
fn live_rows(shard: &Shard) -> Vec<ItemRow> {
    let mut rows = Vec::new();
    for zone in &shard.zones {
        rows.extend(zone.ground.iter().map(|(_, item)| ItemRow::lying(item.stack, zone.id, item.at)));
    }
    for (_, session) in shard.sessions.iter() {
        rows.extend(session.belongings.rows(session.character_id()));
    }
    rows
}

fn counts_by_kind(rows: impl Iterator<Item = ItemRow>) -> BTreeMap<i64, i64> {
    let mut counts = BTreeMap::new();
    rows.for_each(|row| *counts.entry(row.kind).or_default() += row.count);
    counts
}

/// What is stored, but for what the absent carry, is what is in play; and each id is in one place.
fn check_stored(play: &Play) {
    let present: BTreeSet<i64> =
        play.shard.sessions.iter().map(|(_, session)| session.character.id).collect();
    let in_play = |row: &&ItemRow| row.place == PLACE_GROUND || present.contains(&row.owner);
    let stored: BTreeMap<i64, ItemRow> =
        play.items.values().filter(in_play).map(|row| (row.id, row.clone())).collect();
    let live = live_rows(&play.shard);
    let by_id: BTreeMap<i64, ItemRow> = live.iter().map(|row| (row.id, row.clone())).collect();
    assert_eq!(by_id.len(), live.len(), "an id is in two places: {live:?}");
    assert_eq!(by_id, stored);
    let mut places = BTreeSet::new();
    for row in play.items.values().filter(|row| row.place == PLACE_INVENTORY) {
        assert!(places.insert((row.owner, row.slot)), "two items in a slot: {row:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_of_value_is_made_or_lost_and_what_is_stored_is_what_is(acts in proptest::collection::vec(act(), 1..400)) {
        let mut play = start();
        play.absorb();
        let mut counts = counts_by_kind(play.items.values().cloned());
        for act in &acts {
            let ids: BTreeSet<i64> = play.items.keys().copied().collect();
            perform(&mut play, act);
            play.absorb();
            if matches!(act, Act::Tick) {
                // Only the litter is new, one heap a zone at most.
                let new = play.items.values().filter(|row| !ids.contains(&row.id)).cloned();
                let new: Vec<ItemRow> = new.collect();
                prop_assert!(new.len() <= 1 && new.iter().all(|row| row.place == PLACE_GROUND));
                for (kind, count) in counts_by_kind(new.into_iter()) {
                    *counts.entry(kind).or_default() += count;
                }
            }
            prop_assert_eq!(&counts_by_kind(play.items.values().cloned()), &counts, "after {:?}", act);
            check_stored(&play);
        }
    }

    #[test]
    fn two_shards_that_are_fed_the_same_agree(acts in proptest::collection::vec(act(), 1..400)) {
        let (mut one, mut other) = (start(), start());
        let mut hashes = BTreeSet::new();
        for act in &acts {
            prop_assert_eq!(perform(&mut one, act), perform(&mut other, act));
            one.absorb();
            other.absorb();
            let hash = one.shard.state_hash();
            prop_assert_eq!(hash, other.shard.state_hash());
            if !matches!(act, Act::Tick) {
                continue;
            }
            prop_assert!(hashes.insert(hash), "the hash did not change with a tick");
            for session in 0..SESSIONS {
                let (mut bytes, mut other_bytes) = (Vec::new(), Vec::new());
                let wrote = one.shard.write_snapshot(SessionId(session), &mut bytes);
                prop_assert_eq!(wrote, other.shard.write_snapshot(SessionId(session), &mut other_bytes));
                prop_assert_eq!(wrote, !bytes.is_empty());
                prop_assert_eq!(bytes, other_bytes);
            }
        }
    }

    #[test]
    fn nobody_is_faster_than_the_zone_allows(acts in proptest::collection::vec(act(), 1..400)) {
        let mut play = start();
        // Where each session came in, and how many ticks ago.
        let mut since: BTreeMap<SessionId, (Pos, u64)> = BTreeMap::new();
        for act in &acts {
            perform(&mut play, act);
            play.absorb();
            let here: Vec<(SessionId, Pos)> = play.shard.sessions.iter().map(|(id, session)| {
                (id, play.shard.zones[session.zone].place_of(session.entity))
            }).collect();
            since.retain(|id, _| here.iter().any(|(other, _)| id == other));
            for (id, at) in here {
                let (from, ticks) = since.entry(id).or_insert((at, 0));
                *ticks += u64::from(matches!(act, Act::Tick));
                prop_assert!(from.distance_squared(at) <= (*ticks * 341).pow(2));
            }
        }
    }
}
