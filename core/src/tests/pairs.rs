//! Interest between pairs against a comparison of all with all.

use std::sync::Arc;

use proptest::prelude::*;
use vyuha_protocol::units::{CELL_UNITS, STEP_UNITS_MAX, UNITS_PER_METRE, metres};
use vyuha_protocol::{EntityId, Pos, TileMap};

use super::sizes::Random;
use super::{by, check_columns, npc, open_zone, tile};
use crate::{PAIR_RADIUS_UNITS_MAX, PairEvent, SimdLevel, Zone};

/// Where everyone is who is not hidden.
fn places(zone: &Zone) -> Vec<(EntityId, Pos)> {
    let shown = zone.entities().filter(|(id, ..)| zone.is_hidden(*id) == Some(false));
    let mut places: Vec<_> = shown.map(|(id, pos, ..)| (id, pos)).collect();
    places.sort_unstable_by_key(|(id, _)| *id);
    places
}

/// By the definition; who is absent is in nobody's range.
fn changes(before: &[(EntityId, Pos)], after: &[(EntityId, Pos)], radius: u32) -> Vec<PairEvent> {
    let mut ids: Vec<EntityId> = before.iter().chain(after).map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    let at = |places: &[(EntityId, Pos)], id: EntityId| {
        places.binary_search_by_key(&id, |(id, _)| *id).ok().map(|at| places[at].1)
    };
    let tracks: Vec<_> = ids.into_iter().map(|id| (id, at(before, id), at(after, id))).collect();
    let in_range = |a: Option<Pos>, b: Option<Pos>| {
        a.zip(b).is_some_and(|(a, b)| a.distance_squared(b) <= u64::from(radius).pow(2))
    };
    let mut events = Vec::new();
    for (number, (a, a_before, a_after)) in tracks.iter().enumerate() {
        for (b, b_before, b_after) in &tracks[number + 1..] {
            let enters = in_range(*a_after, *b_after);
            if enters != in_range(*a_before, *b_before) {
                events.push(PairEvent { pair: [*a, *b], enters });
            }
        }
    }
    events
}

/// The same zone once for each level, all given the same orders.
struct Zones {
    zones: Vec<Zone>,
    radius: u32,
}

impl Zones {
    fn new(map: TileMap, radius: u32) -> Zones {
        let map = Arc::new(map);
        let zone = |level| {
            let mut zone = Zone::new(map.clone());
            zone.set_simd(level);
            zone.watch_pairs(Some(radius));
            zone
        };
        Zones { zones: SimdLevel::supported().map(zone).collect(), radius }
    }

    fn order<R>(&mut self, order: impl Fn(&mut Zone) -> R) -> R {
        self.zones.iter_mut().map(order).last().unwrap()
    }

    /// Steps and returns what changed.
    #[track_caller]
    fn step(&mut self) -> Vec<PairEvent> {
        let before = places(&self.zones[0]);
        self.step_from(&before)
    }

    /// The same after orders to despawn, which take effect on what is listed at once.
    #[track_caller]
    fn step_from(&mut self, before: &[(EntityId, Pos)]) -> Vec<PairEvent> {
        self.order(|zone| zone.step(&mut ()));
        let expected = changes(before, &places(&self.zones[0]), self.radius);
        let listed = self.zones[0].pair_events().to_vec();
        for zone in &self.zones {
            check_columns(zone);
            assert_eq!(zone.pair_events(), listed, "{}", zone.simd().name());
        }
        let mut found = listed;
        found.sort_unstable();
        assert_eq!(found, expected);
        expected
    }
}

#[derive(Debug, Clone)]
enum Order {
    Spawn((u32, u32)),
    Despawn(usize),
    Walk(usize, i16, i16),
    /// To a place so far from where it is.
    Place(usize, i32, i32),
    Jump(usize, (u32, u32)),
    Hide(usize, bool),
}

const WIDTH: u32 = 107;
const HEIGHT: u32 = 75;

/// Places, many of them near the borders of cells.
fn place() -> impl Strategy<Value = (u32, u32)> {
    let axis = |tiles: u32| {
        let near_border = (1..=tiles / 32, 0u32..600)
            .prop_map(move |(cell, at)| (cell * CELL_UNITS + at - 300).min((tiles - 1) * 2048 - 1));
        prop_oneof![near_border, 2048..(tiles - 1) * 2048]
    };
    (axis(WIDTH), axis(HEIGHT))
}

fn order() -> impl Strategy<Value = Order> {
    let step = || prop_oneof![Just(-2047i16), Just(2047), -2047i16..=2047, -50i16..=50];
    let aside = || prop_oneof![-2100..=2100, -40_000..=40_000, Just(-32_768), Just(32_767)];
    prop_oneof![
        2 => place().prop_map(Order::Spawn),
        1 => any::<usize>().prop_map(Order::Despawn),
        5 => (any::<usize>(), step(), step()).prop_map(|(who, dx, dy)| Order::Walk(who, dx, dy)),
        2 => (any::<usize>(), aside(), aside()).prop_map(|(who, dx, dy)| Order::Place(who, dx, dy)),
        1 => (any::<usize>(), place()).prop_map(|(who, to)| Order::Jump(who, to)),
        2 => any::<(usize, bool)>().prop_map(|(who, hidden)| Order::Hide(who, hidden)),
    ]
}

fn maze() -> impl Strategy<Value = TileMap> {
    prop::collection::vec((1..WIDTH - 1, 1..HEIGHT - 1), 0..300).prop_map(|walls| {
        let mut map = TileMap::open(WIDTH, HEIGHT);
        for (x, y) in walls {
            map.set_wall(x, y);
        }
        map
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_pair_is_told_once_when_it_comes_into_range_and_leaves_it(
        map in maze(),
        spawns in prop::collection::vec((place(), -2047i16..=2047, -2047i16..=2047), 0..90),
        ticks in prop::collection::vec(prop::collection::vec(order(), 0..14), 1..8),
        radius in prop_oneof![0..metres(5), 0..=PAIR_RADIUS_UNITS_MAX, Just(PAIR_RADIUS_UNITS_MAX)],
    ) {
        let mut zones = Zones::new(map.clone(), radius);
        let mut ids = Vec::new();
        for ((x, y), dx, dy) in spawns {
            if map.is_open(Pos { x, y }) {
                let id = zones.order(|zone| zone.spawn(npc(Pos { x, y })));
                zones.order(|zone| zone.walk(id, by(dx, dy)));
                ids.push(id);
            }
        }
        zones.step();
        for orders in ticks {
            let before = places(&zones.zones[0]);
            for order in orders {
                let pick = |who: usize| ids.get(who % ids.len().max(1)).copied();
                match order {
                    Order::Spawn((x, y)) if map.is_open(Pos { x, y }) => {
                        ids.push(zones.order(|zone| zone.spawn(npc(Pos { x, y }))));
                    }
                    Order::Despawn(who) if !ids.is_empty() => {
                        let id = ids.swap_remove(who % ids.len());
                        assert!(zones.order(|zone| zone.despawn(id)));
                    }
                    Order::Spawn(_) | Order::Despawn(_) => {}
                    Order::Walk(who, dx, dy) => {
                        if let Some(id) = pick(who) {
                            zones.order(|zone| zone.walk(id, by(dx, dy)));
                        }
                    }
                    Order::Place(who, dx, dy) => {
                        let Some(id) = pick(who) else { continue };
                        let from = zones.zones[0].position(id).unwrap();
                        let to = Pos { x: from.x.wrapping_add_signed(dx), y: from.y.wrapping_add_signed(dy) };
                        if map.is_open(to) {
                            zones.order(|zone| zone.place(id, to));
                        }
                    }
                    Order::Hide(who, hidden) => {
                        if let Some(id) = pick(who) {
                            zones.order(|zone| zone.set_hidden(id, hidden));
                        }
                    }
                    Order::Jump(who, (x, y)) => {
                        if let Some(id) = pick(who).filter(|_| map.is_open(Pos { x, y })) {
                            zones.order(|zone| zone.place(id, Pos { x, y }));
                        }
                    }
                }
            }
            zones.step_from(&before);
        }
    }

    /// Two that walk as fast as they can, at about the radius from each other.
    #[test]
    fn no_pair_is_missed_at_the_border_of_the_radius(
        at in place(),
        angle in (-1000i64..=1000, -1000i64..=1000),
        off in -4i64..=4,
        walks in prop::array::uniform4(prop_oneof![Just(-2047i16), Just(2047), -2047i16..=2047, -3i16..=3]),
        radius in prop_oneof![0..metres(1), 0..=PAIR_RADIUS_UNITS_MAX, Just(PAIR_RADIUS_UNITS_MAX)],
    ) {
        let length = (angle.0.pow(2) + angle.1.pow(2)).isqrt().max(1);
        let far = |axis: i64| axis * (i64::from(radius) + off) / length;
        let at = Pos { x: at.0 + metres(64), y: at.1 + metres(64) };
        let other = Pos {
            x: (i64::from(at.x) + far(angle.0)) as u32,
            y: (i64::from(at.y) + far(angle.1)) as u32,
        };
        let mut zones = Zones::new(TileMap::open(300, 300), radius);
        let ids = [at, other].map(|pos| zones.order(|zone| zone.spawn(npc(pos))));
        zones.step();
        for back in [1, -1, 1] {
            zones.order(|zone| zone.walk(ids[0], by(walks[0] * back, walks[1] * back)));
            zones.order(|zone| zone.walk(ids[1], by(walks[2] * back, walks[3] * back)));
            zones.step();
        }
    }
}

#[test]
fn the_radius_is_inclusive() {
    let mut zones = Zones::new(TileMap::open(200, 96), PAIR_RADIUS_UNITS_MAX);
    let (x, y, reach) = (CELL_UNITS + 9, CELL_UNITS + 7, PAIR_RADIUS_UNITS_MAX);
    let [a, b, c] =
        [x, x + reach, x + 2 * reach + 1].map(|x| zones.order(|zone| zone.spawn(npc(Pos { x, y }))));
    let event = |a, b, enters| PairEvent { pair: [a, b], enters };
    assert_eq!(zones.step(), [event(a, b, true)]);
    zones.order(|zone| zone.walk(b, by(1, 0)));
    assert_eq!(zones.step(), [event(a, b, false), event(b, c, true)]);
}

#[test]
fn two_that_run_from_each_other_over_two_borders_are_told_to_leave() {
    // After the step they are as far apart as two can be that were in range before it.
    let (reach, step) = (PAIR_RADIUS_UNITS_MAX, STEP_UNITS_MAX);
    let mut zones = Zones::new(TileMap::open(200, 96), reach);
    let (x, y) = (CELL_UNITS + u32::from(step) - 1, metres(40));
    let [a, b] = [x, x + reach].map(|x| zones.order(|zone| zone.spawn(npc(Pos { x, y }))));
    zones.step();
    zones.order(|zone| zone.walk(a, by(-(step as i16), 0)));
    zones.order(|zone| zone.walk(b, by(step as i16, 0)));
    assert_eq!(zones.step(), [PairEvent { pair: [a, b], enters: false }]);
    let cells = [a, b].map(|id| zones.zones[0].position(id).unwrap().cell().x);
    assert_eq!(cells, [0, 1]);
}

/// Many walkers within a square, of whom some appear, vanish or jump.
fn check_crowd(count: u32, side_metres: u32) {
    let mut random = Random(u64::from(count));
    let mut zones = Zones::new(TileMap::open(side_metres + 2, side_metres + 2), metres(30));
    let mut anywhere = move || {
        let mut axis = || metres(1) + random.below(side_metres * UNITS_PER_METRE);
        Pos { x: axis(), y: axis() }
    };
    let mut random = Random(1);
    let mut walk = || {
        let mut axis = || random.below(683) as i16 - 341;
        by(axis(), axis())
    };
    let mut ids = Vec::new();
    for _ in 0..count {
        let (pos, by) = (anywhere(), walk());
        ids.push(zones.order(|zone| {
            let id = zone.spawn(npc(pos));
            zone.walk(id, by);
            id
        }));
    }
    zones.order(|zone| zone.step(&mut ()));
    let before = places(&zones.zones[0]);
    for (number, id) in ids.iter_mut().enumerate().step_by(20) {
        let to = anywhere();
        match number / 20 % 4 {
            0 => {
                zones.order(|zone| zone.despawn(*id));
            }
            1 => *id = zones.order(|zone| zone.spawn(npc(to))),
            2 => zones.order(|zone| zone.place(*id, to)),
            _ => zones.order(|zone| zone.walk(*id, by(0, 2047))),
        }
    }
    assert!(zones.step_from(&before).len() > count as usize);
}

#[test]
fn three_thousand_in_one_cell() {
    check_crowd(3000, 29);
}

#[test]
fn ten_thousand_in_a_hundred_metres_square() {
    check_crowd(10_000, 100);
}

#[test]
fn a_zone_that_does_not_watch_lists_nothing_and_one_that_begins_lists_only_changes() {
    let mut zone = open_zone(64, 64);
    let spawn = |zone: &mut Zone, x| zone.spawn(npc(tile(x, 5, 0, 0)));
    let a = spawn(&mut zone, 5);
    zone.step(&mut ());
    let b = spawn(&mut zone, 6);
    zone.step(&mut ());
    assert_eq!(zone.pair_events(), []);
    zone.watch_pairs(Some(metres(10)));
    zone.step(&mut ());
    assert_eq!(zone.pair_events(), [], "they were in range before");
    let c = spawn(&mut zone, 7);
    zone.step(&mut ());
    let event = |a, b, enters| PairEvent { pair: [a, b], enters };
    let mut found = zone.pair_events().to_vec();
    found.sort_unstable();
    assert_eq!(found, [event(a, c, true), event(b, c, true)]);
    zone.watch_pairs(None);
    assert_eq!(zone.pair_events(), []);
    zone.despawn(c);
    zone.step(&mut ());
    assert_eq!(zone.pair_events(), []);
    // What happened meanwhile is no business of the next that watches.
    zone.watch_pairs(Some(metres(10)));
    zone.step(&mut ());
    assert_eq!(zone.pair_events(), []);
    check_columns(&zone);
}

#[test]
#[should_panic(expected = "at most")]
fn a_radius_that_the_walk_could_miss_is_refused() {
    open_zone(64, 64).watch_pairs(Some(PAIR_RADIUS_UNITS_MAX + 1));
}
