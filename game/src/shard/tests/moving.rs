//! Zones that change shards: whoever plays in them is told the same, byte by byte, as where no zone ever moves.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vyuha_protocol::frame::FRAME_HEAD_BYTES;
use vyuha_protocol::message::{ClientMessage, Drop, Input, Logout, Message, PickUp, Say, append};
use vyuha_record::{Op, Record, transactions};

use super::play::{COIN, Play, SWORD, carried, config, content};
use crate::character::CharacterRow;
use crate::shard::*;

const PLAYERS: i64 = 4;

/// Two shards with a zone each at first, whose item ids are dealt out in one order wherever the zones are.
struct World {
    shards: Vec<Shard>,
    outs: Vec<Outbox>,
    next_item_id: i64,
    sessions_begun: u32,
    /// By character: its shard and its number there.
    at: BTreeMap<i64, (usize, SessionId)>,
    items: BTreeMap<i64, ItemRow>,
    characters: BTreeMap<i64, CharacterRow>,
    /// What each character was sent since it was looked at.
    told: BTreeMap<i64, Vec<(Vec<u8>, bool)>>,
}

#[derive(Debug, Clone)]
enum Act {
    Join(i64),
    Leave(i64),
    Steer(i64, i8, i8),
    Say(i64),
    Drop(i64, u8, u32),
    PickUp(i64, usize),
    Logout(i64),
    TellAnew(i64),
    /// A zone goes to a shard, if it is not there.
    Move(u16, usize),
    Tick,
}

fn act() -> impl Strategy<Value = Act> {
    let player = || 0..PLAYERS;
    prop_oneof![
        8 => player().prop_map(Act::Join),
        1 => player().prop_map(Act::Leave),
        20 => (player(), any::<i8>(), any::<i8>()).prop_map(|(player, x, y)| Act::Steer(player, x, y)),
        4 => player().prop_map(Act::Say),
        6 => (player(), 0..3u8, 0..5u32).prop_map(|(player, slot, count)| Act::Drop(player, slot, count)),
        6 => (player(), 0..20usize).prop_map(|(player, nth)| Act::PickUp(player, nth)),
        1 => player().prop_map(Act::Logout),
        1 => player().prop_map(Act::TellAnew),
        6 => (1..3u16, 0..2usize).prop_map(|(zone, to)| Act::Move(zone, to)),
        30 => Just(Act::Tick),
    ]
}

impl World {
    fn new() -> World {
        let content = Arc::new(content());
        let shard = |zone| {
            // Every tick, so that when is saved does not depend on a session's number.
            let config = ShardConfig { zones: vec![ZoneId(zone)], save_interval_ticks: 1, ..config() };
            Shard::new(config, content.clone(), &[], &[]).unwrap()
        };
        let mut world = World {
            shards: vec![shard(1), shard(2)],
            outs: vec![Outbox::default(), Outbox::default()],
            next_item_id: 1000,
            sessions_begun: 0,
            at: BTreeMap::new(),
            items: BTreeMap::new(),
            characters: BTreeMap::new(),
            told: BTreeMap::new(),
        };
        for shard in 0..2 {
            world.call(shard, Shard::bootstrap);
        }
        world
    }

    /// Calls a shard and takes in what comes of it.
    fn call<T>(&mut self, shard: usize, call: impl FnOnce(&mut Shard, &mut Outbox) -> T) -> T {
        let (called, out) = (&mut self.shards[shard], &mut self.outs[shard]);
        (called.item_ids.next, called.sessions_begun) = (self.next_item_id, self.sessions_begun);
        let result = call(called, out);
        (self.next_item_id, self.sessions_begun) = (called.item_ids.next, called.sessions_begun);
        for op in transactions(&out.transactions).flat_map(|transaction| transaction.unwrap()) {
            match op.unwrap() {
                Op::Put { table, row } if table == ItemRow::TABLE.id => {
                    let row = ItemRow::decode(row).unwrap();
                    self.items.insert(row.id, row);
                }
                Op::Delete { table, key } if table == ItemRow::TABLE.id => {
                    self.items.remove(&i64::from_le_bytes(key.try_into().unwrap())).unwrap();
                }
                Op::Put { table, row } if table == CharacterRow::TABLE.id => {
                    let row = CharacterRow::decode(row).unwrap();
                    self.characters.insert(row.id, row);
                }
                _ => {}
            }
        }
        for message in &out.messages {
            let of = |at: &(usize, SessionId)| *at == (shard, message.session);
            let whom = self.at.iter().find(|(_, at)| of(at)).map(|(character, _)| *character);
            let told = self.told.entry(whom.expect("only who plays is told")).or_default();
            told.push((out.frame(message).to_vec(), message.durable));
        }
        for left in out.left.drain(..) {
            assert_eq!(self.at.remove(&left.character), Some((shard, left.session)));
        }
        out.clear();
        result
    }

    fn send<M: Message>(&mut self, character: i64, message: &M) {
        let Some(&(shard, number)) = self.at.get(&character) else { return };
        let mut bytes = Vec::new();
        append(&mut bytes, message);
        let message = ClientMessage::decode(M::KIND, &bytes[FRAME_HEAD_BYTES..]).unwrap();
        self.call(shard, |shard, out| shard.receive(number, message, out));
    }

    /// The nonce of a character's session; 0 if it has none.
    fn nonce(&self, character: i64) -> u32 {
        let at = self.at.get(&character);
        let session = at.and_then(|(shard, number)| self.shards[*shard].sessions.get(*number));
        session.map_or(0, |session| session.nonce)
    }

    /// The lowest number that is free in a shard.
    fn free_number(&self, shard: usize) -> SessionId {
        let numbers = (0..).map(SessionId);
        numbers.into_iter().find(|number| self.shards[shard].sessions.get(*number).is_none()).unwrap()
    }

    fn shard_of(&self, zone: ZoneId) -> usize {
        self.shards.iter().position(|shard| shard.has_zone(zone)).unwrap()
    }

    fn perform(&mut self, act: &Act, request: u32) {
        match *act {
            Act::Join(id) if !self.at.contains_key(&id) => {
                let mut new = Play::new().character(id).clone();
                new.zone = 1 + id % 2;
                let row = self.characters.get(&id).cloned().unwrap_or(new);
                if !self.characters.contains_key(&id) {
                    let items = [carried(10 * id, id, COIN, 60, 0), carried(10 * id + 1, id, SWORD, 1, 1)];
                    self.items.extend(items.into_iter().map(|row| (row.id, row)));
                }
                self.characters.insert(id, row.clone());
                let own =
                    |item: &&ItemRow| item.owner == id && item.place == crate::inventory::PLACE_INVENTORY;
                let items: Vec<ItemRow> = self.items.values().filter(own).cloned().collect();
                let shard = self.shard_of(ZoneId(row.zone as u16));
                let number = self.free_number(shard);
                self.at.insert(id, (shard, number));
                self.call(shard, |shard, out| shard.join(number, 0, row, &items, out)).unwrap();
            }
            Act::Join(_) => {}
            Act::Leave(id) => {
                if let Some(&(shard, number)) = self.at.get(&id) {
                    self.call(shard, |shard, out| shard.leave(number, out));
                }
            }
            Act::Steer(id, heading_x, heading_y) => {
                self.send(id, &Input { sequence: request, heading_x, heading_y });
            }
            Act::Say(id) => self.send(id, &Say { request, text: format!("said {request}") }),
            Act::Drop(id, slot, count) => {
                let nonce = self.nonce(id);
                self.send(id, &Drop { request, nonce, slot, count });
            }
            Act::PickUp(id, nth) => {
                let Some((shard, number)) = self.at.get(&id) else { return };
                let shard = &self.shards[*shard];
                let zone = &shard.zones[shard.sessions.get(*number).unwrap().zone];
                let entity = zone.ground.iter().nth(nth).map_or(u32::MAX, |(entity, _)| entity.0);
                let nonce = self.nonce(id);
                self.send(id, &PickUp { request, nonce, entity });
            }
            Act::Logout(id) => {
                // Who has left is not told; that is the driver's.
                if let Some(&(shard, number)) = self.at.get(&id) {
                    self.call(shard, |shard, out| {
                        let mut bytes = Vec::new();
                        append(&mut bytes, &Logout { request });
                        let message =
                            ClientMessage::decode(Logout::KIND, &bytes[FRAME_HEAD_BYTES..]).unwrap();
                        shard.receive(number, message, out);
                    });
                }
            }
            Act::TellAnew(id) => {
                if let Some(&(shard, number)) = self.at.get(&id) {
                    self.shards[shard].tell_anew(number).unwrap();
                }
            }
            Act::Move(zone, to) => self.move_zone(ZoneId(zone), to),
            Act::Tick => (0..2).for_each(|shard| self.call(shard, |shard, out| shard.tick(&mut (), out))),
        }
    }

    fn move_zone(&mut self, zone: ZoneId, to: usize) {
        let from = self.shard_of(zone);
        if from == to {
            return;
        }
        let before = self.shards[from].zone_hash(zone).unwrap();
        let moving = self.call(from, |shard, out| shard.detach(zone, out)).unwrap();
        assert!(!self.shards[from].has_zone(zone) && self.shards[from].zone_hash(zone).is_none());
        let mut free = (0..).map(SessionId);
        let mut numbers = Vec::new();
        for (number, account) in moving.sessions() {
            let new = free.find(|number| self.shards[to].sessions.get(*number).is_none()).unwrap();
            assert_eq!(self.at.insert(account / 10, (to, new)), Some((from, number)));
            numbers.push(new);
        }
        self.shards[to].attach(moving, &numbers, 0).unwrap();
        assert_eq!(self.shards[to].zone_hash(zone), Some(before));
    }

    /// What every character is sent of the zone as it is now.
    fn snapshots(&mut self) -> BTreeMap<i64, Vec<u8>> {
        let at = self.at.iter().map(|(character, at)| (*character, *at)).collect::<Vec<_>>();
        let snapshots = at.into_iter().map(|(character, (shard, number))| {
            let mut bytes = Vec::new();
            let wrote = self.shards[shard].write_snapshot(number, &mut bytes);
            assert_eq!(wrote, !bytes.is_empty());
            (character, bytes)
        });
        snapshots.collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nobody_can_tell_that_zones_move(acts in prop::collection::vec(act(), 1..400)) {
        let (mut still, mut moving) = (World::new(), World::new());
        for (act, request) in acts.iter().zip(1..) {
            moving.perform(act, request);
            if !matches!(act, Act::Move(..)) {
                still.perform(act, request);
            }
            prop_assert_eq!(std::mem::take(&mut still.told), std::mem::take(&mut moving.told), "at {:?}", act);
            prop_assert_eq!(&still.items, &moving.items);
            prop_assert_eq!(&still.characters, &moving.characters);
            for zone in [1, 2].map(ZoneId) {
                let hash = |world: &World| world.shards[world.shard_of(zone)].zone_hash(zone);
                prop_assert_eq!(hash(&still), hash(&moving), "zone {} after {:?}", zone, act);
            }
            if matches!(act, Act::Tick) {
                prop_assert_eq!(still.snapshots(), moving.snapshots());
            }
        }
    }
}

#[test]
fn a_zone_goes_on_as_it_was_in_a_shard_of_another_age() {
    for (age, other_age) in [(11, 4), (10, 4), (10, 5), (11, 5)] {
        let mut world = World::new();
        world.perform(&Act::Join(0), 1);
        // Zone 2 steps every other tick.
        world.perform(&Act::Join(1), 2);
        (3..8).for_each(|request| world.perform(&Act::Say(1), request));
        for (shard, ticks) in [(0, other_age), (1, age)] {
            (0..ticks).for_each(|_| world.call(shard, |shard, out| shard.tick(&mut (), out)));
        }
        world.told.clear();
        world.move_zone(ZoneId(2), 0);
        let stepped = |world: &World| world.shards[0].zones[1].stepped;
        let steps: Vec<bool> = (0..4)
            .map(|_| {
                world.call(0, |shard, out| shard.tick(&mut (), out));
                stepped(&world)
            })
            .collect();
        let in_turn = [age % 2 == 1, age % 2 == 0, age % 2 == 1, age % 2 == 0];
        assert_eq!(steps, in_turn, "from tick {age} to tick {other_age}");
        // The allowance was used up, and grows as fast as it would have.
        let allowed = (age + 4) / 30;
        world.perform(&Act::Say(1), 20);
        let refused = world.told[&1].iter().all(|(frame, _)| !frame.windows(4).any(|text| text == b"said"));
        assert_eq!(refused, allowed == 0);
    }
}

#[test]
fn what_cannot_be_taken_in_changes_nothing() {
    let mut world = World::new();
    world.perform(&Act::Join(0), 1);
    world.perform(&Act::Join(1), 2);
    world.perform(&Act::Join(3), 3);
    let mut check = |numbers: &[u32], expected| {
        let mut out = Outbox::default();
        let mut other = World::new();
        for id in [1, 3] {
            other.perform(&Act::Join(id), 1);
        }
        let moving = other.shards[1].detach(ZoneId(2), &mut out).unwrap();
        let numbers: Vec<SessionId> = numbers.iter().copied().map(SessionId).collect();
        let before = world.shards[0].state_hash();
        assert_eq!(world.shards[0].attach(moving, &numbers, 0), Err(expected));
        assert_eq!(world.shards[0].state_hash(), before);
    };
    for numbers in [&[][..], &[1], &[1, 1], &[0, 1], &[1, 2, 3]] {
        check(numbers, AttachError::Numbers);
    }
    let mut out = Outbox::default();
    assert!(world.shards[0].detach(ZoneId(2), &mut out).is_none());
    let moving = World::new().shards[0].detach(ZoneId(1), &mut out).unwrap();
    assert_eq!((moving.id(), moving.moves(), moving.sessions().len()), (ZoneId(1), 1, 0));
    assert_eq!(world.shards[0].attach(moving, &[], 0), Err(AttachError::HereAlready(ZoneId(1))));
}

#[test]
fn steps_of_the_ticks_that_a_zone_missed_are_not_lost() {
    // Somebody who walks on and on has saved no step up; the last input that is processed in the first tick after the move.
    let walked = |still_ticks| {
        let mut world = World::new();
        world.perform(&Act::Join(0), 1);
        let steer = |world: &mut World, sequences: std::ops::RangeInclusive<u32>| {
            for sequence in sequences {
                world.perform(&Act::Steer(0, 127, 0), sequence);
            }
        };
        for sequence in 1..=4 {
            steer(&mut world, sequence..=sequence);
            world.perform(&Act::Tick, 0);
        }
        let moving = world.call(0, |shard, out| shard.detach(ZoneId(1), out)).unwrap();
        world.shards[1].attach(moving, &[SessionId(0)], still_ticks).unwrap();
        world.at.insert(0, (1, SessionId(0)));
        steer(&mut world, 5..=12);
        world.perform(&Act::Tick, 0);
        world.shards[1].sessions.get(SessionId(0)).unwrap().steering.processed()
    };
    assert_eq!([0, 1, 2, 3, 1000].map(walked), [5, 6, 7, 8, 8]);
}
