//! Through gates, within a shard and between two: whoever goes is in one place at a time, with all that is its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use vyuha_protocol::frame::{FRAME_HEAD_BYTES, first_frame};
use vyuha_protocol::message::{ClientMessage, Drop, Input, Message, Say, ServerMessage, append};
use vyuha_record::{Op, Record, transactions};

use super::play::{COIN, SWORD, carried, config, content_with_gates};
use crate::character::CharacterRow;
use crate::gates::Carried;
use crate::inventory::{PLACE_GROUND, PLACE_INVENTORY};
use crate::shard::*;

const EAST: (i8, i8) = (127, 0);
const SOUTH: (i8, i8) = (0, 127);
const PLAYERS: i64 = 3;

/// The zones dealt to shards, a store that all of them share, and who is on the way between them.
struct World {
    shards: Vec<Shard>,
    outs: Vec<Outbox>,
    /// By character: the shard where it is.
    at: BTreeMap<i64, usize>,
    way: Vec<Carried>,
    zones_on_the_way: VecDeque<Box<MovingZone>>,
    items: BTreeMap<i64, ItemRow>,
    characters: BTreeMap<i64, CharacterRow>,
    request: u32,
    /// What each character heard.
    heard: BTreeMap<i64, Vec<String>>,
}

impl World {
    fn new(shards: &[&[u16]]) -> World {
        let content = Arc::new(content_with_gates());
        let shards: Vec<Shard> = (0..)
            .zip(shards)
            .map(|(nth, zones)| {
                let zones = zones.iter().map(|&zone| ZoneId(zone)).collect();
                let config = ShardConfig { zones, next_item_id: 1000 + nth, ..config() };
                Shard::new(config, content.clone(), &[], &[]).unwrap()
            })
            .collect();
        let outs = shards.iter().map(|_| Outbox::default()).collect();
        let mut world = World {
            shards,
            outs,
            at: BTreeMap::new(),
            way: Vec::new(),
            zones_on_the_way: VecDeque::new(),
            items: BTreeMap::new(),
            characters: BTreeMap::new(),
            request: 0,
            heard: BTreeMap::new(),
        };
        for shard in 0..world.shards.len() {
            world.shards[shard].bootstrap(&mut world.outs[shard]);
        }
        for id in 0..PLAYERS {
            let place = vyuha_protocol::Pos::tile_centre(2, 2);
            let character = CharacterRow {
                id,
                account: id * 10,
                name: format!("Player {id}"),
                name_key: format!("player {id}"),
                zone: 1,
                x: i64::from(place.x),
                y: i64::from(place.y),
                created_ms: 0,
            };
            let items = [carried(10 * id, id, COIN, 60, 0), carried(10 * id + 1, id, SWORD, 1, 1)];
            world.items.extend(items.iter().map(|row| (row.id, row.clone())));
            let session = SessionId(id as u32);
            world.shards[0].join(session, 0, character.clone(), &items, &mut world.outs[0]).unwrap();
            world.characters.insert(id, character);
            world.at.insert(id, 0);
        }
        world.absorb();
        world
    }

    fn send<M: Message>(&mut self, character: i64, message: &M) {
        let Some(&shard) = self.at.get(&character) else { return };
        let mut bytes = Vec::new();
        append(&mut bytes, message);
        let message = ClientMessage::decode(M::KIND, &bytes[FRAME_HEAD_BYTES..]).unwrap();
        self.shards[shard].receive(SessionId(character as u32), message, &mut self.outs[shard]);
        self.absorb();
    }

    /// The nonce of a character's session; 0 on the way between shards.
    fn nonce(&mut self, character: i64) -> u32 {
        let Some(&shard) = self.at.get(&character) else { return 0 };
        self.shards[shard].sessions.get_mut(SessionId(character as u32)).map_or(0, |session| session.nonce)
    }

    fn steer(&mut self, character: i64, (heading_x, heading_y): (i8, i8)) {
        self.request += 1;
        self.send(character, &Input { sequence: self.request, heading_x, heading_y });
    }

    fn tick(&mut self) {
        for shard in 0..self.shards.len() {
            self.shards[shard].tick(&mut (), &mut self.outs[shard]);
            let mut snapshot = Vec::new();
            for id in 0..PLAYERS {
                self.shards[shard].write_snapshot(SessionId(id as u32), &mut snapshot);
            }
        }
        self.absorb();
    }

    /// Lets the one who waits longest arrive.
    fn arrive(&mut self) {
        if self.way.is_empty() {
            return;
        }
        let zone = self.way[0].zone();
        let Some(shard) = self.shards.iter().position(|shard| shard.has_zone(zone)) else { return };
        let carried = self.way.remove(0);
        let id = carried.character.id;
        self.shards[shard].arrive(SessionId(id as u32), carried, &mut self.outs[shard]).unwrap();
        assert_eq!(self.at.insert(id, shard), None);
        self.absorb();
    }

    /// Lets a zone leave its shard, or the one that is on the way longest come to a shard.
    fn move_zone(&mut self, zone: Option<u16>, to: usize) {
        if let Some(zone) = zone {
            let zones = self.shards.iter_mut().zip(&mut self.outs);
            let moving: Vec<_> = zones.filter_map(|(shard, out)| shard.detach(ZoneId(zone), out)).collect();
            for (number, _) in moving.iter().flat_map(|moving| moving.sessions()) {
                self.at.remove(&i64::from(number.0));
            }
            self.zones_on_the_way.extend(moving);
        } else if let Some(moving) = self.zones_on_the_way.pop_front() {
            let numbers: Vec<SessionId> = moving.sessions().map(|(number, _)| number).collect();
            self.at.extend(numbers.iter().map(|number| (i64::from(number.0), to)));
            self.shards[to].attach(moving, &numbers, 0).unwrap();
        }
        self.absorb();
    }

    fn absorb(&mut self) {
        for (shard, out) in self.outs.iter_mut().enumerate() {
            for op in transactions(&out.transactions).flat_map(|transaction| transaction.unwrap()) {
                match op.unwrap() {
                    Op::Put { table, row } if table == ItemRow::TABLE.id => {
                        let row = ItemRow::decode(row).unwrap();
                        self.items.insert(row.id, row);
                    }
                    Op::Delete { table, key } if table == ItemRow::TABLE.id => {
                        let id = i64::from_le_bytes(key.try_into().unwrap());
                        self.items.remove(&id);
                    }
                    Op::Put { table, row } if table == CharacterRow::TABLE.id => {
                        let row = CharacterRow::decode(row).unwrap();
                        self.characters.insert(row.id, row);
                    }
                    _ => {}
                }
            }
            for message in &out.messages {
                let frame = first_frame(out.frame(message), u32::MAX).unwrap().unwrap();
                let text = match ServerMessage::decode(frame.kind, frame.payload).unwrap() {
                    ServerMessage::EnteredZone(m) => format!("zone {} for {}", m.zone, m.request),
                    ServerMessage::Said(m) => m.text.to_string(),
                    ServerMessage::Error(m) => format!("error {}", m.code),
                    other => other.name().to_owned(),
                };
                self.heard.entry(i64::from(message.session.0)).or_default().push(text);
            }
            for departed in out.departed.drain(..) {
                let id = departed.carried.character.id;
                assert_eq!(self.at.remove(&id), Some(shard));
                assert_eq!(self.characters[&id], departed.carried.character, "its place is stored");
                self.way.push(departed.carried);
            }
            assert!(out.left.is_empty());
            out.clear();
        }
    }

    /// The rows that would describe what is in play now.
    fn live(&self) -> Vec<ItemRow> {
        let mut rows: Vec<ItemRow> = self.way.iter().flat_map(|carried| carried.items.clone()).collect();
        let on_the_way = self.zones_on_the_way.iter().map(|moving| &moving.state);
        for zone in self.shards.iter().flat_map(|shard| &shard.zones).chain(on_the_way) {
            rows.extend(zone.ground.iter().map(|(_, item)| ItemRow::lying(item.stack, zone.id, item.at)));
        }
        let on_the_way = self.zones_on_the_way.iter().flat_map(|moving| &moving.sessions);
        let here = self.shards.iter().flat_map(|shard| shard.sessions.iter().map(|(_, session)| session));
        for session in here.chain(on_the_way.map(|(_, session)| &**session)) {
            rows.extend(session.belongings.rows(session.character_id()));
        }
        rows
    }

    fn check(&self) {
        let live = self.live();
        let by_id: BTreeMap<i64, ItemRow> = live.iter().map(|row| (row.id, row.clone())).collect();
        assert_eq!(by_id.len(), live.len(), "an id is in two places");
        assert_eq!(by_id, self.items);
        let mut everywhere: BTreeSet<i64> = self.way.iter().map(|carried| carried.character.id).collect();
        let on_the_way = self.zones_on_the_way.iter().flat_map(|moving| &moving.sessions);
        for (_, session) in on_the_way {
            assert!(everywhere.insert(session.character.id), "a character is in two places");
            assert_eq!(self.characters[&session.character.id], session.character, "its place is stored");
        }
        for shard in &self.shards {
            for (id, session) in shard.sessions.iter() {
                assert!(everywhere.insert(session.character.id), "a character is in two places");
                assert_eq!(shard.zones[session.zone].players.get(&session.entity), Some(&id));
            }
            let players: usize = shard.zones.iter().map(|zone| zone.players.len()).sum();
            assert_eq!(players, shard.sessions.iter().count());
        }
        assert_eq!(everywhere.len() as i64, PLAYERS);
        assert!(live.iter().all(|row| row.place == PLACE_GROUND || row.place == PLACE_INVENTORY));
    }
}

/// Walks the first player from zone 1 through both gates and back.
fn check_walk(shards: &[&[u16]]) {
    let mut world = World::new(shards);
    world.heard.clear();
    for _ in 0..40 {
        world.steer(0, EAST);
        world.tick();
        if world.heard.contains_key(&0) {
            break;
        }
        world.arrive();
    }
    world.arrive();
    world.tick();
    assert_eq!(world.heard[&0], ["zone 2 for 0"]);
    let session = |world: &mut World, id: u32| {
        let shard = world.at[&i64::from(id)];
        let zone = world.shards[shard].sessions.get_mut(SessionId(id)).unwrap().zone;
        world.shards[shard].zones[zone].id
    };
    assert_eq!(session(&mut world, 0), ZoneId(2));
    // Requests go on where they were.
    world.request += 1;
    let request = world.request;
    world.send(0, &Say { request, text: "here".into() });
    world.send(0, &Say { request, text: "again".into() });
    assert_eq!(world.heard[&0][1..], ["here", "Done", "error 7"]);
    world.heard.clear();
    for _ in 0..60 {
        world.steer(0, SOUTH);
        world.tick();
        world.arrive();
    }
    assert_eq!(world.heard[&0], ["zone 1 for 0"]);
    assert_eq!(session(&mut world, 0), ZoneId(1));
    world.check();
}

#[test]
fn a_gate_leads_to_a_zone_of_the_same_shard() {
    check_walk(&[&[1, 2]]);
}

#[test]
fn a_gate_leads_to_a_zone_of_another_shard() {
    check_walk(&[&[1], &[2]]);
}

#[test]
fn who_left_before_the_gate_opened_is_gone_and_nobody_goes_instead() {
    let mut world = World::new(&[&[1, 2]]);
    while world.shards[0].at_gates.is_empty() {
        world.steer(0, EAST);
        world.tick();
    }
    world.shards[0].leave(SessionId(0), &mut world.outs[0]);
    world.outs[0].clear();
    let (mut row, items) = (world.characters[&0].clone(), Vec::new());
    row.id = 77;
    world.shards[0].join(SessionId(0), 0, row, &items, &mut world.outs[0]).unwrap();
    world.outs[0].clear();
    world.tick();
    let session = world.shards[0].sessions.get_mut(SessionId(0)).unwrap();
    assert_eq!(session.zone, 0, "it stands at the spawn point, not on the gate");
}

#[test]
fn who_stands_on_a_gate_when_the_zone_moves_goes_through() {
    let mut world = World::new(&[&[1], &[2]]);
    while world.shards[0].at_gates.is_empty() {
        world.steer(0, EAST);
        world.tick();
    }
    world.move_zone(Some(1), 1);
    world.move_zone(None, 1);
    world.heard.clear();
    world.tick();
    assert_eq!(world.heard[&0], ["zone 2 for 0"]);
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whoever_walks_where_nothing_is_made_or_lost(
        acts in prop::collection::vec((0..11u8, 0..PLAYERS, 0..4u8), 1..400), together: bool,
    ) {
        let mut world = World::new(if together { &[&[1, 2], &[]] } else { &[&[1], &[2]] });
        let mut headings = [EAST; PLAYERS as usize];
        for (act, player, which) in acts {
            match act {
                0 => headings[player as usize] = [EAST, SOUTH, (-127, 0), (0, -127)][usize::from(which)],
                1 => {
                    world.request += 1;
                    let nonce = world.nonce(player);
                    world.send(player, &Drop { request: world.request, nonce, slot: which % 2, count: 1 });
                }
                2 => world.arrive(),
                3 => {
                    let zone = u16::from(which / 2) + 1;
                    world.move_zone((player == 0).then_some(zone), usize::from(which % 2));
                }
                _ => {
                    (0..PLAYERS).for_each(|player| world.steer(player, headings[player as usize]));
                    world.tick();
                }
            }
            world.check();
        }
    }
}
