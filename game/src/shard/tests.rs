//! Scripts against a small world; what is answered is compared as lines of text.

mod crossing;
mod dealing;
mod economy;
mod moving;
pub(crate) mod play;
mod properties;

use std::collections::BTreeSet;

use vyuha_protocol::message::{Hello, Input, Login, Ping};
use vyuha_protocol::motion::Heading;
use vyuha_protocol::{EntityId, ErrorCode, Pos};

use super::session::Session;
use super::*;
use crate::ground::Ground;
use crate::presence::Patience;
use play::{COIN, Play, SWORD, carried, config, content};

#[test]
fn who_joins_is_told_where_it_stands_and_what_it_carries() {
    let mut play = Play::new();
    play.give(1, carried(100, 1, COIN, 7, 3));
    assert_eq!(play.join(0, 1), ["0: EnteredZone 1 at 2,2, 30 Hz, speed 341, 3=7x1"]);
    // A place in a wall, and a zone of another rate.
    play.character(2).set_place(ZoneId(2), Pos::tile_centre(0, 0));
    assert_eq!(play.join(1, 2), ["1: EnteredZone 2 at 3,3, 15 Hz, speed 682"]);
}

#[test]
fn who_cannot_be_taken_in_changes_nothing() {
    let mut play = Play::new();
    play.join(0, 1);
    play.give(2, carried(100, 2, 999, 1, 0));
    play.character(3).zone = 9;
    let before = play.shard.state_hash();
    let mut check = |session, character, expected| {
        assert_eq!(play.try_join(session, character), Err(expected));
        assert_eq!(play.shard.state_hash(), before);
    };
    check(0, 4, JoinError::SlotTaken);
    check(1, 1, JoinError::CharacterHere(1));
    check(1, 2, JoinError::Inventory(crate::inventory::ItemFault::Kind { item: 100, kind: 999 }));
    check(1, 3, JoinError::ZoneElsewhere(9));
}

#[test]
fn what_does_not_fit_is_refused_at_the_start() {
    let check = |change: fn(&mut ShardConfig), expected: ShardError| {
        let mut config = config();
        change(&mut config);
        let got = Shard::new(config, Arc::new(content()), &[], &[]).err();
        assert_eq!(got, Some(expected));
    };
    check(|config| config.zones.push(ZoneId(9)), ShardError::ZoneUnknown(ZoneId(9)));
    check(|config| config.zones.push(ZoneId(1)), ShardError::ZoneTwice(ZoneId(1)));
    check(|config| config.tick_hz = 45, ShardError::TickRate { zone: ZoneId(1), zone_hz: 30, tick_hz: 45 });
    check(|config| config.tick_hz = 0, ShardError::TickRate { zone: ZoneId(1), zone_hz: 30, tick_hz: 0 });
    check(|config| config.save_interval_ticks = 0, ShardError::SaveInterval);
    check(|config| config.item_id_stride = 0, ShardError::ItemIdStride(0));
    check(|config| config.requests_per_second_max = 0, ShardError::Requests);
    let stray = Stack { id: ItemId(1), kind: ItemKind(COIN), count: 1, wear: 0 };
    let ground = [ItemRow::lying(stray, ZoneId(3), Pos::default())];
    let got = Shard::new(config(), Arc::new(content()), &ground, &[]).err();
    assert_eq!(got, Some(ShardError::ZoneUnknown(ZoneId(3))));
}

#[test]
fn requests_must_rise_and_fit_the_stage() {
    let mut play = Play::new();
    play.join(0, 1);
    play.request = 50;
    assert_eq!(play.say(0, "one"), ["0: Said Player 1 one", "0: Done"]);
    play.request = 50;
    assert_eq!(play.say(0, "again"), ["0: refused Replayed"]);
    play.request = 40;
    assert_eq!(play.drop_items(0, 0, 1), ["0: refused Replayed"]);
    let login = Login { request: 60, account: "a".into(), password: "b".into() };
    assert_eq!(play.send(0, &login), ["0: refused OutOfOrder"]);
    assert_eq!(play.send(0, &Hello { version: 1, content_hash: [0; 32] }), ["0: refused OutOfOrder"]);
    assert_eq!(play.send(0, &Ping { stamp: 77 }), ["0: Pong 77"]);
    // A session that has not joined.
    assert_eq!(play.send(5, &Ping { stamp: 78 }), ["5: Pong 78"]);
    assert_eq!(play.say(5, "hello"), ["5: refused OutOfOrder"]);
    assert_eq!(play.send(5, &Input { sequence: 1, heading_x: 1, heading_y: 1 }), ["5: refused OutOfOrder"]);
    let counts = play.counts();
    let refused =
        |code: ErrorCode| counts.refused[ErrorCode::ALL.iter().position(|other| *other == code).unwrap()];
    assert_eq!(refused(ErrorCode::Replayed), 2);
    assert_eq!(refused(ErrorCode::OutOfOrder), 4);
    assert_eq!(counts.commands.iter().sum::<u64>(), 9);
}

#[test]
fn a_voice_carries_as_far_as_the_zone_says() {
    let mut play = Play::new();
    // The hearing radius is 10 m.
    for (character, tile) in [(1, 2), (2, 12), (3, 13)] {
        play.character(character).set_place(ZoneId(1), Pos::tile_centre(tile, 2));
        play.join(character as u32 - 1, character);
    }
    play.character(4).zone = 2;
    play.join(3, 4);
    play.tick();
    assert_eq!(play.say(0, "hello"), ["0: Said Player 1 hello", "1: Said Player 1 hello", "0: Done"]);
    assert_eq!(play.say(0, "\u{7}"), ["0: refused TextInvalid"]);
    for _ in 0..4 {
        play.say(0, "more");
    }
    assert_eq!(play.say(0, "too much"), ["0: refused ChatTooFast"]);
    assert_eq!(play.say(2, "me too"), ["2: Said Player 3 me too", "1: Said Player 3 me too", "2: Done"]);
}

#[test]
fn items_go_to_the_ground_and_back() {
    let mut play = Play::new();
    play.give(1, carried(100, 1, COIN, 7, 3));
    play.join(0, 1);
    assert_eq!(play.drop_items(0, 3, 8), ["0: refused CountInvalid"]);
    assert_eq!(play.drop_items(0, 4, 1), ["0: refused SlotEmpty"]);
    assert_eq!(play.drop_items(0, 3, 2), ["0: Dropped 3=5x1 durably"]);
    assert_eq!(play.rows(), ["100: 5x1 carried by 1 in 3", "1000: 2x1 in zone 1 at 2,2"]);
    assert_eq!(play.drop_items(0, 3, 5), ["0: Dropped 3=empty durably"]);
    assert_eq!(play.rows(), ["100: 5x1 in zone 1 at 2,2", "1000: 2x1 in zone 1 at 2,2"]);
    let (whole, part) = (play.lying(100), play.lying(1000));
    assert_eq!(play.pick_up(0, part), ["0: PickedUp 0=2x1 durably"]);
    assert_eq!(play.pick_up(0, whole), ["0: PickedUp 0=7x1 durably"]);
    assert_eq!(play.rows(), ["1000: 7x1 carried by 1 in 0"]);
    assert_eq!(play.pick_up(0, whole), ["0: refused ItemGone"]);
    let player = play.shard.sessions.iter().next().unwrap().1.entity;
    assert_eq!(play.pick_up(0, player), ["0: refused ItemGone"]);
}

#[test]
fn of_two_in_one_tick_the_first_has_it_and_who_is_far_has_nothing() {
    let mut play = Play::new();
    play.give(1, carried(100, 1, SWORD, 1, 0));
    play.character(3).set_place(ZoneId(1), Pos::tile_centre(10, 2));
    play.character(4).zone = 2;
    for character in 1..=4 {
        play.join(character as u32 - 1, character);
    }
    play.drop_items(0, 0, 1);
    let sword = play.lying(100);
    assert_eq!(play.pick_up(2, sword), ["2: refused TooFar"]);
    assert_eq!(play.pick_up(3, sword), ["3: refused ItemGone"]);
    assert_eq!(play.pick_up(1, sword), ["1: PickedUp 0=1x2 durably"]);
    assert_eq!(play.pick_up(0, sword), ["0: refused ItemGone"]);
    assert_eq!(play.rows(), ["100: 1x2 carried by 2 in 0"]);
}

#[test]
fn a_full_inventory_and_a_full_ground_take_no_more() {
    let mut play = Play::new();
    (0..28).for_each(|slot| play.give(1, carried(100 + slot, 1, SWORD, 1, slot)));
    play.give(2, carried(200, 2, COIN, 90, 0));
    play.give(2, carried(201, 2, COIN, 20, 1));
    play.give(2, carried(202, 2, SWORD, 1, 2));
    play.join(0, 1);
    play.join(1, 2);
    play.drop_items(1, 2, 1);
    let sword = play.lying(202);
    let before = (play.rows(), play.shard.zones[0].ground.count());
    assert_eq!(play.pick_up(0, sword), ["0: refused InventoryFull"]);
    assert_eq!((play.rows(), play.shard.zones[0].ground.count()), before);
    // The kind's ground_items_max is 12; one lies there.
    for slot in 0..11 {
        assert_eq!(play.drop_items(0, slot, 1), [format!("0: Dropped {slot}=empty durably")]);
    }
    let before = play.rows();
    assert_eq!(play.drop_items(0, 11, 1), ["0: refused GroundFull"]);
    assert_eq!(play.rows(), before);
    // A stack holds at most 100: 20 do not join 90, so they keep their slot when they come back.
    play.pick_up(0, sword);
    assert_eq!(play.drop_items(1, 1, 20), ["1: Dropped 1=empty durably"]);
    let coins = play.lying(201);
    assert_eq!(play.pick_up(1, coins), ["1: PickedUp 1=20x1 durably"]);
}

#[test]
fn nothing_durable_is_taken_while_the_journal_is_full() {
    let mut play = Play::new();
    play.give(1, carried(100, 1, COIN, 7, 0));
    play.join(0, 1);
    play.drop_items(0, 0, 1);
    let coin = play.lying(1000);
    play.shard.set_durable_open(false);
    let before = play.rows();
    assert_eq!(play.drop_items(0, 0, 1), ["0: refused JournalBusy"]);
    assert_eq!(play.pick_up(0, coin), ["0: refused JournalBusy"]);
    (0..400).for_each(|_| play.tick());
    assert_eq!(play.rows(), before, "no litter either");
    play.shard.set_durable_open(true);
    assert_eq!(play.pick_up(0, coin), ["0: PickedUp 0=7x1 durably"]);
}

#[test]
fn characters_are_saved_when_they_moved_and_when_they_leave() {
    let mut play = Play::new();
    play.join(0, 1);
    play.join(1, 2);
    play.characters_saved.clear();
    (0..100).for_each(|_| play.tick());
    assert_eq!(play.characters_saved, [] as [(u64, i64, Pos); 0], "nobody moved");
    play.send(1, &Input { sequence: 1, heading_x: 127, heading_y: 0 });
    (0..100).for_each(|_| play.tick());
    let moved = Pos { x: Pos::tile_centre(2, 2).x + 341, ..Pos::tile_centre(2, 2) };
    // Ticks 101 to 200 at an interval of 20: the next whose remainder is the slot.
    assert_eq!(play.characters_saved, [(101, 2, moved)]);
    play.characters_saved.clear();
    assert_eq!(play.logout(1), ["1: LoggedOut durably", "1 left: LoggedOut, character 2 of account 20"]);
    play.shard.leave(SessionId(0), &mut play.out);
    assert_eq!(play.absorb(), ["0 left: Disconnected, character 1 of account 10"]);
    assert_eq!(play.characters_saved, [(200, 2, moved), (200, 1, Pos::tile_centre(2, 2))]);
    play.shard.leave(SessionId(0), &mut play.out);
    play.shard.leave(SessionId(99), &mut play.out);
    assert_eq!(play.absorb(), [] as [&str; 0]);
    assert_eq!(play.shard.zones().map(|zone| zone.players).sum::<usize>(), 0);
}

#[test]
fn a_new_world_is_littered_once_and_refilled_slowly() {
    let mut play = Play::new();
    play.shard.bootstrap(&mut play.out);
    play.absorb();
    assert_eq!(play.shard.zones().map(|zone| zone.items).collect::<Vec<_>>(), [5, 0]);
    let stored: Vec<ItemRow> = play.items.values().cloned().collect();
    assert_eq!(stored.iter().map(|row| row.id).collect::<Vec<_>>(), [1000, 1003, 1006, 1009, 1012]);

    assert_eq!(play.zones_known, [(1, 5), (2, 0)]);

    // Started again from four of them, one of which lies in a wall now.
    let mut ground = stored[..4].to_vec();
    (ground[0].x, ground[0].y) = (0, 0);
    let mut play = Play::with_ground(&ground);
    play.shard.bootstrap(&mut play.out);
    play.absorb();
    assert_eq!(
        play.rows(),
        ["1000: 3x1 in zone 1 at 2,2"],
        "the one that had to be moved is saved, no other"
    );
    assert_eq!(play.shard.zones().map(|zone| zone.items).collect::<Vec<_>>(), [4, 0]);
    (0..59).for_each(|_| play.tick());
    assert_eq!(play.items.len(), 1);
    play.tick();
    assert_eq!(play.items.len(), 2, "the interval is 2 s");
    (0..600).for_each(|_| play.tick());
    assert_eq!(play.items.len(), 2, "there are as many as the content says");

    // Started again when everything was taken: what was taken does not come back.
    let mut play = Play::with_ground(&[]);
    play.shard.bootstrap(&mut play.out);
    play.absorb();
    assert_eq!(play.items.len(), 0);
}

#[test]
fn zones_step_at_their_own_rate_and_snapshots_follow() {
    let mut play = Play::new();
    play.character(2).zone = 2;
    play.join(0, 1);
    play.join(1, 2);
    let mut bytes = Vec::new();
    assert!(!play.shard.write_snapshot(SessionId(0), &mut bytes), "nothing stepped yet");
    let mut stepped = Vec::new();
    for tick in 1..=4 {
        for session in 0..2 {
            play.send(session, &Input { sequence: tick, heading_x: 0, heading_y: 127 });
        }
        play.tick();
        stepped.push([0, 1, 7].map(|session| play.shard.write_snapshot(SessionId(session), &mut bytes)));
    }
    assert_eq!(
        stepped,
        [[true, false, false], [true, true, false], [true, false, false], [true, true, false]]
    );
    let mut heads = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some(frame) = vyuha_protocol::frame::first_frame(rest, 1 << 20).unwrap() {
        assert_eq!(frame.kind, SNAPSHOT_KIND);
        let head = vyuha_protocol::snapshot::Snapshot::read(frame.payload).unwrap().head;
        heads.push((head.tick, head.input_ack, head.y));
        rest = &rest[frame.bytes()..];
    }
    let start = Pos::tile_centre(2, 2).y;
    assert_eq!(
        heads,
        [
            (1, 1, start + 341),
            (2, 2, start + 682),
            (1, 1, start + 682),
            (3, 3, start + 1023),
            (4, 4, start + 1364),
            (2, 2, start + 1364),
        ]
    );
}

#[test]
fn the_hash_covers_all_that_is_state() {
    let hash_after = |change: fn(&mut Shard)| {
        let mut play = Play::new();
        play.give(1, carried(100, 1, COIN, 7, 3));
        play.join(0, 1);
        play.shard.bootstrap(&mut play.out);
        play.tick();
        change(&mut play.shard);
        play.shard.state_hash()
    };
    let changes: [fn(&mut Shard); 20] = [
        |_| (),
        |shard| shard.tick += 1,
        |shard| shard.durable_open = false,
        |shard| _ = shard.item_ids.issue(),
        |shard| _ = shard.zones[0].rng.below(2),
        |shard| shard.zones[0].players.clear(),
        |shard| shard.zones[0].ground = Ground::default(),
        |shard| shard.zones[1].zone.step(&mut ()),
        |shard| playing(shard).belongings.inventory.set(3, None),
        |shard| playing(shard).belongings.equipment.set(3, Some(stack())),
        |shard| _ = playing(shard).belongings.bank.set(3, Some(stack())),
        |shard| playing(shard).nonce += 1,
        |shard| shard.sessions_begun += 1,
        |shard| _ = shard.ledger.posting(0),
        |shard| shard.trades.ask(SessionId(0), SessionId(1)).unwrap(),
        |shard| _ = playing(shard).steering.receive(1, Heading::default()),
        |shard| playing(shard).allowance.whole_at_tick += 100,
        |shard| playing(shard).request += 1,
        |shard| playing(shard).budget.spent += 1,
        |shard| playing(shard).presence.is_away = true,
    ];
    let hashes: BTreeSet<u64> = changes.iter().map(|change| hash_after(*change)).collect();
    assert_eq!(hashes.len(), changes.len());
    assert_eq!(hash_after(|_| ()), hash_after(|_| ()));
}

fn stack() -> Stack {
    Stack { id: ItemId(5), kind: ItemKind(COIN), count: 1, wear: 0 }
}

fn playing(shard: &mut Shard) -> &mut Session {
    shard.sessions.get_mut(SessionId(0)).unwrap()
}

#[test]
fn the_example_world_runs() {
    let content = Arc::new(Content::example());
    let config = ShardConfig { zones: content.zones.iter().map(|zone| zone.id).collect(), ..config() };
    let mut play = Play::of(Shard::new(config, content, &[], &[]).unwrap());
    play.shard.bootstrap(&mut play.out);
    play.absorb();
    for zone in play.shard.zones() {
        assert!(zone.npcs >= 1000 && zone.items >= 300, "zone {}", zone.id);
    }
    (0..90).for_each(|_| play.tick());
    assert_eq!(play.shard.tick_number(), 90);
}

/// Who is away after so many seconds without a sign, and who is gone, as each client is told.
#[test]
fn who_gives_no_sign_is_marked_away_and_then_saved_and_gone() {
    let patience = Patience { away_ticks: 90, leave_ticks: 300 };
    let content = Arc::new(content());
    let config = ShardConfig { patience, ..config() };
    let mut play = Play::of(Shard::new(config, content, &[], &[]).unwrap());
    play.join(0, 1);
    play.join(1, 2);
    let mut told = Vec::new();
    for tick in 1..=330 {
        play.shard.tick(&mut (), &mut play.out);
        told.extend(play.absorb().into_iter().map(|told| (tick, told)));
        // Signs of life, but of nobody.
        play.send(0, &Ping { stamp: 1 });
        play.send(0, &Input { sequence: tick, heading_x: 0, heading_y: 0 });
        if tick == 150 {
            assert_eq!(
                play.shard.sessions.iter().map(|(_, session)| session.presence.state()).sum::<u16>(),
                2
            );
            assert_eq!(play.send(1, &Input { sequence: 1, heading_x: 0, heading_y: -1 }), ["1: Back"]);
            let entity = play.shard.sessions.get_mut(SessionId(1)).unwrap().entity;
            assert_eq!(play.shard.zones[0].zone.state(entity), Some(0));
        }
    }
    let told: Vec<(u32, &str)> = told.iter().map(|(tick, told)| (*tick, told.as_str())).collect();
    let expected = [
        (90, "0: Away, 7 s left"),
        (91, "1: Away, 7 s left"),
        (241, "1: Away, 7 s left"),
        (300, "0: closed AwayTooLong durably"),
        (300, "0 left: Away, character 1 of account 10"),
    ];
    assert_eq!(told, expected);
    assert_eq!(play.characters_saved.last().map(|(tick, id, _)| (*tick, *id)), Some((300, 1)));
    assert_eq!(play.say(0, "still here"), ["0: refused OutOfOrder"]);
}

#[test]
fn a_request_is_a_sign_of_a_player_and_what_is_refused_as_replayed_is_none() {
    let mut play = Play::new();
    play.join(0, 1);
    play.say(0, "here");
    (0..630).for_each(|_| play.tick());
    play.request = 1;
    assert_eq!(play.say(0, "again"), ["0: refused Replayed"]);
    play.request = 9;
    assert_eq!(play.pick_up(0, EntityId(0)), ["0: Back", "0: refused ItemGone"]);
}

#[test]
fn requests_over_the_rate_do_nothing_but_leaving_is_allowed() {
    let config = ShardConfig { requests_per_second_max: 3, ..config() };
    let mut play = Play::of(Shard::new(config, Arc::new(content()), &[], &[]).unwrap());
    play.give(1, carried(100, 1, COIN, 7, 0));
    play.join(0, 1);
    for left in [6, 5, 4] {
        assert_eq!(play.drop_items(0, 0, 1), [format!("0: Dropped 0={left}x1 durably")]);
    }
    let before = play.rows();
    assert_eq!(play.drop_items(0, 0, 1), ["0: refused RequestsTooFast"]);
    assert_eq!(play.say(0, "so many"), ["0: refused RequestsTooFast"]);
    assert_eq!(play.rows(), before);
    (0..10).for_each(|_| play.tick());
    assert_eq!(play.drop_items(0, 0, 1), ["0: Dropped 0=3x1 durably"]);
    assert_eq!(play.drop_items(0, 0, 1), ["0: refused RequestsTooFast"]);
    assert_eq!(play.logout(0).first().map(String::as_str), Some("0: LoggedOut durably"));
}
