//! From one entity to many, thin and crowded.

use std::sync::Arc;

use vyuha_protocol::units::{UNITS_PER_METRE, metres};
use vyuha_protocol::{EntityId, Pos, TileMap, motion};

use super::mirror::Mirror;
use super::model::Model;
use super::{by, check_columns, npc};
use crate::columns::between;
use crate::{Scope, SimdLevel, Subscriber, Zone};

/// A plain linear congruential generator (Knuth, MMIX): tests only need spread.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.0 >> 32) * u64::from(bound)) >> 32) as u32
    }
}

/// `count` walkers within a square of `side_metres` of a map, for a few steps, with a client in the middle.
fn check_crowd(count: usize, map_tiles: u32, side_metres: u32) {
    let map = TileMap::open(map_tiles, map_tiles);
    let mut random = Random(count as u64);
    let (mut zone, mut model) = (Zone::new(Arc::new(map.clone())), Model::new(map));
    let mut ids: Vec<EntityId> = Vec::new();
    for _ in 0..count {
        let mut axis = || metres(1) + random.below(side_metres * UNITS_PER_METRE);
        let spawn = npc(Pos { x: axis(), y: axis() });
        let id = zone.spawn(spawn);
        model.spawn(id, spawn);
        let mut axis = || random.below(683) as i16 - 341;
        let by = by(axis(), axis());
        zone.walk(id, by);
        model.walk(id, by);
        ids.push(id);
    }
    let mut mirror = Mirror::new(Scope::every_tick(metres(40)));
    let centre = Pos { x: metres(side_metres / 2), y: metres(side_metres / 2) };
    for tick in 0..4 {
        for id in ids.iter().copied().skip(tick).step_by(97) {
            let by = by(0, 341);
            zone.walk(id, by);
            model.walk(id, by);
        }
        zone.step(&mut ());
        model.step();
        check_columns(&zone);
        assert_eq!(zone.state_hash(), model.hash(zone.grid));
        let to = Subscriber { centre, input_ack: 0, bytes_max: 1 << 30 };
        mirror.serve(&mut zone, &model, &to);
    }
}

#[test]
fn one_entity() {
    check_crowd(1, 64, 60);
}

#[test]
fn ten_thousand_in_a_hundred_metres_square() {
    check_crowd(10_000, 130, 100);
}

#[test]
fn ten_thousand_in_one_cell() {
    check_crowd(10_000, 40, 30);
}

#[test]
fn two_hundred_thousand() {
    check_crowd(200_000, 1500, 1400);
}

/// Too many for the model: each is looked for where the law of motion has it, and the columns are checked.
#[test]
fn a_million() {
    const SIDE_TILES: u32 = 8000;
    let map = TileMap::open(SIDE_TILES, SIDE_TILES);
    let mut zone = Zone::new(Arc::new(map.clone()));
    let mut random = Random(1);
    let mut axis = || metres(1) + random.below(metres(SIDE_TILES - 2));
    let places: Vec<Pos> = (0..1_000_000).map(|_| Pos { x: axis(), y: axis() }).collect();
    let ids: Vec<EntityId> = places.iter().map(|&pos| zone.spawn(npc(pos))).collect();
    let mut axis = || random.below(683) as i16 - 341;
    let walks: Vec<_> = ids.iter().map(|&id| (id, by(axis(), axis()))).collect();
    zone.walk_all(&walks);
    for _ in 0..3 {
        zone.step(&mut ());
    }
    check_columns(&zone);
    let mut positions = Vec::new();
    zone.positions(&ids, &mut positions);
    for ((from, (_, by)), position) in places.iter().zip(&walks).zip(positions) {
        let once = motion::step(&map, *from, *by);
        // What a wall left of the first step is what the second was made with.
        let made = between(*from, once).unwrap();
        assert_eq!(position, Some(motion::step(&map, once, made)), "from {from:?} by {by:?}");
    }
}

#[test]
fn a_zone_fills_and_empties() {
    let mut zone = super::open_zone(300, 300);
    let mut random = Random(1);
    let mut ids = Vec::new();
    for round in 0..30 {
        let mut axis = || metres(1) + random.below(metres(298));
        if round % 3 == 2 {
            let kept = ids.split_off(ids.len() / 3);
            ids.drain(..).for_each(|id| assert!(zone.despawn(id)));
            ids = kept;
        } else {
            ids.extend((0..2000).map(|_| zone.spawn(npc(Pos { x: axis(), y: axis() }))));
        }
        zone.step(&mut ());
        check_columns(&zone);
        assert_eq!(zone.len(), ids.len());
    }
    ids.drain(..).for_each(|id| assert!(zone.despawn(id)));
    zone.step(&mut ());
    check_columns(&zone);
    assert_eq!((zone.len(), zone.state_hash()), (0, 0));
}

/// One log of orders, long enough for whole vectors and their remainders, under every level.
#[test]
fn one_log_of_orders_gives_one_hash_at_every_level() {
    let run = |level: SimdLevel| {
        let mut map = TileMap::open(300, 200);
        let mut random = Random(7);
        for _ in 0..2000 {
            map.set_wall(random.below(300), random.below(200));
        }
        let mut zone = Zone::new(Arc::new(map));
        zone.set_simd(level);
        assert_eq!(zone.simd(), level);
        let mut ids = Vec::new();
        let mut trace = Vec::new();
        for tick in 0..60 {
            for _ in 0..200 {
                let pos = Pos { x: random.below(metres(300)), y: random.below(metres(200)) };
                let (dx, dy) = (random.below(4095) as i32 - 2047, random.below(4095) as i32 - 2047);
                if zone.map().is_open(pos) {
                    ids.push(zone.spawn(npc(pos)));
                }
                let id = ids[random.below(ids.len() as u32) as usize];
                match random.below(20) {
                    0 => drop(zone.despawn(id)),
                    1 => zone.set_state(id, tick),
                    2 if zone.map().is_open(pos) => zone.place(id, pos),
                    _ => zone.walk(id, by(dx as i16, dy as i16)),
                }
            }
            zone.step(&mut ());
            trace.push(zone.state_hash());
        }
        check_columns(&zone);
        trace
    };
    let scalar = run(SimdLevel::SCALAR);
    for level in SimdLevel::supported() {
        assert_eq!(run(level), scalar, "{}", level.name());
    }
}
