//! Interest between pairs against a comparison of all with all.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use vyuha_protocol::units::{CELL_UNITS, metres};
use vyuha_protocol::{Displacement, EntityId, Pos};

use super::{npc, open_zone, tile};
use crate::{PAIR_RADIUS_UNITS_MAX, PairEvent, Pairs, SimdLevel, Zone};

fn places(zone: &Zone) -> BTreeMap<EntityId, Pos> {
    zone.entities().map(|(id, pos, ..)| (id, pos)).collect()
}

fn in_range(places: &BTreeMap<EntityId, Pos>, radius: u32) -> BTreeSet<[EntityId; 2]> {
    let pairs = places.iter().flat_map(|a| places.range(a.0..).skip(1).map(move |b| (a, b)));
    pairs
        .filter(|((_, a), (_, b))| a.distance_squared(**b) <= u64::from(radius).pow(2))
        .map(|((a, _), (b, _))| [*a, *b])
        .collect()
}

#[track_caller]
fn check(zone: &mut Zone, before: u32, radius: u32, expected: &[PairEvent]) {
    for level in SimdLevel::supported() {
        zone.set_simd(level);
        let (before, now) = (zone.at(before).unwrap(), zone.at(zone.tick()).unwrap());
        let mut events = Vec::new();
        Pairs::default().changes(before, now, radius, &mut events);
        events.sort();
        assert_eq!(events, expected, "{}", level.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_pair_is_told_when_it_comes_into_range_and_leaves_it(
        spawns in prop::collection::vec((1u32..120, 1u32..70, -2047i16..=2047, -2047i16..=2047), 0..70),
        orders in prop::collection::vec(prop::collection::vec((any::<usize>(), 0u8..4, 1u32..120, 1u32..70), 0..8), 1..6),
        radius in prop_oneof![0..metres(5), 0..=PAIR_RADIUS_UNITS_MAX, Just(PAIR_RADIUS_UNITS_MAX)],
    ) {
        let mut zone = open_zone(122, 72);
        zone.keep_history(4);
        let mut ids = Vec::new();
        for (x, y, dx, dy) in spawns {
            let id = zone.spawn(npc(tile(x, y, 5, 5)));
            zone.walk(id, Displacement { dx, dy });
            ids.push(id);
        }
        zone.step(&mut ());
        let mut past = vec![places(&zone)];
        for orders in orders {
            for (who, what, x, y) in orders {
                if ids.is_empty() || what == 0 {
                    ids.push(zone.spawn(npc(tile(x, y, 900, 1))));
                    continue;
                }
                let who = who % ids.len();
                match what {
                    1 => assert!(zone.despawn(ids.swap_remove(who))),
                    2 => zone.place(ids[who], tile(x, y, 0, 2047)),
                    _ => zone.walk(ids[who], Displacement { dx: x as i16, dy: -(y as i16) }),
                }
            }
            zone.step(&mut ());
            past.push(places(&zone));
            // From the tick before, and over one that was skipped.
            for back in [1, 2].into_iter().filter(|back| *back < past.len()) {
                let was = in_range(&past[past.len() - 1 - back], radius);
                let is = in_range(&past[past.len() - 1], radius);
                let event = |enters| move |pair: &[EntityId; 2]| PairEvent { pair: *pair, enters };
                let mut expected: Vec<PairEvent> = is.difference(&was).map(event(true)).collect();
                expected.extend(was.difference(&is).map(event(false)));
                expected.sort();
                let tick = zone.tick() - back as u32;
                check(&mut zone, tick, radius, &expected);
            }
        }
    }
}

#[test]
fn the_radius_is_inclusive_and_reaches_over_a_whole_cell() {
    let mut zone = open_zone(200, 96);
    zone.keep_history(2);
    let at = |x: u32, y: u32| npc(Pos { x, y });
    let (y, reach) = (CELL_UNITS + 7, PAIR_RADIUS_UNITS_MAX);
    zone.step(&mut ());
    let a = zone.spawn(at(CELL_UNITS + 9, y));
    let b = zone.spawn(at(CELL_UNITS + 9 + reach, y));
    zone.spawn(at(CELL_UNITS + 9 + 2 * reach + 1, y));
    zone.step(&mut ());
    check(&mut zone, 1, u32::MAX, &[PairEvent { pair: [a, b], enters: true }]);
    zone.walk(b, Displacement { dx: 1, dy: 0 });
    zone.step(&mut ());
    let c = zone.entities().map(|(id, ..)| id).max().unwrap();
    let entered = PairEvent { pair: [b, c], enters: true };
    check(&mut zone, 2, reach, &[PairEvent { pair: [a, b], enters: false }, entered]);
}
