use std::sync::Arc;

use proptest::prelude::*;
use vyuha_core::{Subscriber, View};
use vyuha_protocol::snapshot::Snapshot;
use vyuha_protocol::units::metres;
use vyuha_protocol::{Displacement, TileMap};

use super::*;
use crate::content::Content;
use crate::random::Rng;

const AT: Pos = Pos { x: 100_000, y: 100_000 };
const PACE: Pace = Pace { tick_hz: 30, beat_ticks: 12 };

fn nature() -> Nature {
    Nature {
        kind: EntityKind::npc(1),
        walk_speed: 100,
        chase_speed: 300,
        wander_radius: metres(20),
        sight_radius: metres(10),
        chase_ticks: 300,
    }
}

fn east(metres_east: u32) -> Pos {
    Pos { x: AT.x + metres(metres_east), y: AT.y }
}

/// An NPC at home that has rested for long.
fn situation(mood: Mood) -> Situation {
    Situation { mood, at: AT, before: AT, home: AT, goal: AT, until_tick: 1000, tick: 1000, seen: None }
}

fn check(now: Situation, mood: Mood, walks: bool) -> Decision {
    let got = decide(&now, &nature(), PACE, &mut Rng::new(1, 1));
    assert_eq!((got.mood, got.walk != Displacement::default()), (mood, walks), "{now:?} -> {got:?}");
    got
}

#[test]
fn it_rests_and_wanders() {
    let rest = situation(Mood::Rest);
    check(Situation { tick: 999, ..rest }, Mood::Rest, false);
    let walk = check(rest, Mood::Wander, true);
    assert!(walk.goal.distance_squared(AT) <= u64::from(nature().wander_radius).pow(2));
    let wander = Situation { goal: east(5), before: east(1), until_tick: 2000, ..situation(Mood::Wander) };
    check(wander, Mood::Wander, true);
    check(Situation { goal: AT, ..wander }, Mood::Rest, false);
    check(Situation { tick: 2000, ..wander }, Mood::Rest, false);
    let blocked = check(Situation { before: AT, ..wander }, Mood::Rest, false);
    assert!((1030..1210).contains(&blocked.until_tick), "{blocked:?}");
}

#[test]
fn it_chases_whom_it_sees_for_its_time_and_keeps_off() {
    for mood in [Mood::Rest, Mood::Wander] {
        let got = check(Situation { seen: Some(east(8)), ..situation(mood) }, Mood::Chase, true);
        assert_eq!((got.until_tick, got.walk), (1300, Displacement { dx: 300, dy: 0 }));
    }
    let chase =
        Situation { until_tick: 1100, seen: Some(east(8)), before: east(2), ..situation(Mood::Chase) };
    assert_eq!(check(chase, Mood::Chase, true).until_tick, 1100);
    check(Situation { seen: Some(east(1)), ..chase }, Mood::Chase, false);
    // Near enough to have stopped, and not yet far enough to start again.
    let between = Pos { x: AT.x + KEEP_OFF_UNITS + 900, y: AT.y };
    check(Situation { seen: Some(between), ..chase }, Mood::Chase, true);
    check(Situation { seen: Some(between), before: AT, ..chase }, Mood::Chase, false);
    check(
        Situation { seen: Some(Pos { x: between.x + 200, ..between }), before: AT, ..chase },
        Mood::Chase,
        true,
    );
}

#[test]
fn it_goes_home_chasing_nobody_and_settles_if_it_cannot() {
    let away = Situation { home: east(40), before: east(1), ..situation(Mood::Chase) };
    for sets_out in
        [Situation { seen: Some(east(3)), ..away }, Situation { until_tick: 9000, seen: None, ..away }]
    {
        let got = check(sets_out, Mood::Return, true);
        assert_eq!((got.until_tick, got.goal), (1000 + RETURN_S_MAX * 30, east(40)));
    }
    let returning = Situation { until_tick: 1500, ..Situation { mood: Mood::Return, ..away } };
    assert_eq!(check(returning, Mood::Return, true).goal, east(40));
    assert_ne!(check(Situation { before: AT, ..returning }, Mood::Return, true).goal, east(40));
    check(Situation { seen: Some(east(3)), ..returning }, Mood::Return, true);
    check(Situation { home: east(9), ..returning }, Mood::Rest, false);
    assert_eq!(check(Situation { tick: 1500, ..returning }, Mood::Rest, false).home, AT);
    check(Situation { home: AT, ..away }, Mood::Rest, false);
}

/// A zone of one kind of NPC on an open field.
fn pack(sight_radius_m: u32, count: u32) -> (Zone, Npcs, Rng) {
    let mut content = Content::example();
    let zone = &mut content.zones[0];
    zone.map = Arc::new(TileMap::open(300, 300));
    zone.npcs.truncate(1);
    zone.npcs[0].count = count;
    content.npcs[zone.npcs[0].npc].sight_radius = metres(sight_radius_m);
    let (mut field, mut rng) = (Zone::new(zone.map.clone()), Rng::new(5, 5));
    let npcs = Npcs::populate(&content.npcs, zone, &mut field, &mut rng);
    (field, npcs, rng)
}

#[test]
fn everybody_is_told_where_landmarks_are() {
    let mut content = Content::example();
    let zone = &mut content.zones[0];
    zone.map = Arc::new(TileMap::open(300, 300));
    zone.npcs.truncate(2);
    for (spawn, count) in zone.npcs.iter_mut().zip([7, 3]) {
        spawn.count = count;
    }
    let landmark = zone.npcs[1].npc;
    content.npcs[landmark].landmark = true;
    let (mut field, mut rng) = (Zone::new(zone.map.clone()), Rng::new(5, 5));
    let npcs = Npcs::populate(&content.npcs, zone, &mut field, &mut rng);
    field.step(&mut ());
    let mut view = View::new(0);
    assert!(view.watch(GROUP_LANDMARKS));
    let mut bytes = Vec::new();
    let to = Subscriber { centre: Pos::tile_centre(1, 1), input_ack: 0, bytes_max: 1 << 20 };
    field.write_snapshot(&mut view, &to, &mut bytes);
    let groups: Vec<_> = Snapshot::read(&bytes).unwrap().groups().collect();
    assert_eq!((groups.len(), groups[0].group), (1, GROUP_LANDMARKS));
    let told: Vec<(u32, Pos)> =
        groups[0].members.iter().map(|member| (member.entity, Pos { x: member.x, y: member.y })).collect();
    let real = npcs.entity[7..].iter().map(|id| (id.0, field.position(*id).unwrap()));
    assert_eq!(told, real.collect::<Vec<_>>());
}

#[test]
fn each_tick_has_an_equal_share_and_each_npc_one_turn_a_beat() {
    let (mut zone, mut npcs, mut rng) = pack(0, 100);
    npcs.until_tick.fill(0);
    for tick in 0..12 {
        let thought_before = npcs.mood.iter().filter(|mood| **mood != Mood::Rest).count();
        npcs.think(tick, &mut zone, &mut rng);
        let thought = npcs.mood.iter().filter(|mood| **mood != Mood::Rest).count() - thought_before;
        assert!((8..=9).contains(&thought), "{thought} at {tick}");
    }
    assert!(npcs.mood.iter().all(|mood| *mood == Mood::Wander));
}

#[test]
fn those_who_chase_nobody_stay_about_their_homes() {
    let (mut zone, mut npcs, mut rng) = pack(0, 50);
    let homes = npcs.home.clone();
    let radius = u64::from(npcs.natures[0].wander_radius);
    let mut moved = 0;
    for _ in 0..30 * 60 {
        npcs.think(zone.tick(), &mut zone, &mut rng);
        zone.step(&mut ());
        for (entity, home) in npcs.entity.iter().zip(&homes) {
            let distance_squared = zone.position(*entity).unwrap().distance_squared(*home);
            assert!(distance_squared <= radius * radius);
            moved += u32::from(distance_squared > 0);
        }
    }
    assert_eq!(npcs.home, homes);
    assert!(moved > 30 * 60 * 50 / 2, "{moved}");
}

#[test]
fn a_chaser_comes_near_shows_it_and_goes_home_again() {
    let (mut zone, mut npcs, mut rng) = pack(20, 1);
    let (npc, home) = (npcs.entity[0], npcs.home[0]);
    let place = Pos { x: home.x + metres(9), y: home.y };
    let player = zone.spawn(Spawn {
        pos: place,
        kind: EntityKind::PLAYER,
        state: 0,
        name: "Abe",
        warm: Warm::default(),
    });
    zone.step(&mut ());
    let mut nearest = u64::MAX;
    let mut states = Vec::new();
    for _ in 0..30 * 60 {
        npcs.think(zone.tick(), &mut zone, &mut rng);
        zone.step(&mut ());
        nearest = nearest.min(zone.position(npc).unwrap().distance_squared(place));
        if states.last() != zone.state(npc).as_ref() {
            states.extend(zone.state(npc));
        }
        if states == [0, 1, 0] {
            zone.despawn(player);
        }
    }
    let nearest = nearest.isqrt();
    assert!((metres(14) / 10..=metres(17) / 10).contains(&(nearest as u32)), "{nearest}");
    assert_eq!(states, [0, 1, 0]);
    assert!(
        zone.position(npc).unwrap().distance_squared(home) <= u64::from(npcs.natures[0].wander_radius).pow(2)
    );
}

#[test]
fn the_hash_covers_every_column() {
    let changes: [fn(&mut Npcs); 8] = [
        |_| (),
        |npcs| npcs.entity[1].0 += 1,
        |npcs| npcs.nature[1] += 1,
        |npcs| npcs.mood[1] = Mood::Wander,
        |npcs| npcs.home[1].x += 1,
        |npcs| npcs.goal[1].y += 1,
        |npcs| npcs.before[1].x += 1,
        |npcs| npcs.until_tick[1] += 1,
    ];
    let hash_after = |change: &fn(&mut Npcs)| {
        let (_, mut npcs, _) = pack(0, 3);
        change(&mut npcs);
        let mut hash = StateHash::default();
        npcs.hash_into(&mut hash);
        hash.finish()
    };
    let hashes: std::collections::BTreeSet<u64> = changes.iter().map(hash_after).collect();
    assert_eq!(hashes.len(), changes.len());
}

proptest! {
    #[test]
    fn an_approach_never_passes_its_goal(
        dx in -60_000i32..60_000, dy in -60_000i32..60_000, speed in 1u16..=2047, keep_off in 0u32..5000, beat in 1u32..40,
    ) {
        let goal = Pos { x: AT.x.wrapping_add_signed(dx), y: AT.y.wrapping_add_signed(dy) };
        let step = approach(AT, goal, speed, keep_off, beat);
        prop_assert!(i64::from(step.dx).pow(2) + i64::from(step.dy).pow(2) <= i64::from(speed).pow(2));
        let after = |axis: u32, step: i16| axis.wrapping_add_signed(i32::from(step) * beat as i32);
        let there = Pos { x: after(AT.x, step.dx), y: after(AT.y, step.dy) };
        prop_assert!(there.distance_squared(goal) <= AT.distance_squared(goal));
        if AT.distance_squared(goal) >= u64::from(keep_off).pow(2) {
            // Rounding toward zero keeps it short of the circle.
            prop_assert!(there.distance_squared(goal).isqrt() + 1 >= u64::from(keep_off));
        }
    }
}
