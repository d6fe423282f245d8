//! Shots into a crowd, each judged by what its shooter saw, against a look at every entity.

use proptest::prelude::*;
use vyuha_protocol::units::{CELL_UNITS, metres};
use vyuha_protocol::{Displacement, EntityId, Pos, TileMap};

use super::questions::{Row, brute_ray, rows};
use super::{npc, open_zone, tile};
use crate::{MomentError, Ray, Shot, SimdLevel, Zone};

const KEPT: u32 = 2;
const TICKS: u32 = 4;

#[test]
fn who_saw_too_long_ago_or_too_early_is_told_so() {
    let mut zone = open_zone(64, 64);
    zone.keep_history(2);
    let target = zone.spawn(npc(tile(20, 10, 0, 0)));
    let mut out = Vec::new();
    let (from, to) = (tile(10, 10, 0, 0), tile(30, 10, 0, 0));
    let ray = Ray { from, to, radius_units: 10, ignore: None };
    let shots = [0, 1, 2, 3, 4].map(|seen_tick| Shot { ray, seen_tick });
    zone.shots(&shots[..2], &mut out);
    let too_early = |tick, now| Err(MomentError::Future { tick, now });
    let too_late = |tick, now| Err(MomentError::NotKept { tick, now, ticks: 2 });
    assert_eq!(out, [too_late(0, 0), too_early(1, 0)]);
    for _ in 0..3 {
        zone.step(&mut ());
    }
    zone.shots(&shots, &mut out);
    let hit = Ok(Some((target, tile(20, 10, 0, 0))));
    assert_eq!(out, [too_late(0, 3), too_late(1, 3), hit, hit, too_early(4, 3)]);
    assert_eq!(
        zone.at(0).err().unwrap().to_string(),
        "tick 0 is not kept; the history holds 2 ticks up to 3"
    );
}

fn near_the_corner(reach: u32) -> impl Strategy<Value = Pos> {
    let axis = move || 2 * CELL_UNITS - reach..2 * CELL_UNITS + reach;
    (axis(), axis()).prop_map(|(x, y)| Pos { x, y })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whoever_is_first_is_hit_in_a_crowd_too(
        crowd in prop::collection::vec((near_the_corner(metres(8)), -300i16..300, -300i16..300), 0..220),
        shots in prop::collection::vec(
            (
                prop_oneof![near_the_corner(metres(8)), near_the_corner(metres(60))],
                prop_oneof![near_the_corner(metres(8)), near_the_corner(metres(60))],
                prop_oneof![0u32..200, 200u32..3000, Just(metres(50)), Just(u32::MAX)],
                prop::option::of(0u32..220),
                1..TICKS + 2,
            ),
            1..24,
        ),
        gone in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        wall in any::<bool>(),
    ) {
        let mut map = TileMap::open(130, 130);
        if wall {
            map.set_wall(60, 70);
        }
        let mut zone = Zone::new(map.into());
        zone.keep_history(KEPT as usize);
        let crowd = crowd.into_iter().filter(|(pos, ..)| zone.map().is_open(*pos)).collect::<Vec<_>>();
        let mut ids = Vec::new();
        for (pos, dx, dy) in crowd {
            let id = zone.spawn(npc(pos));
            zone.walk(id, Displacement { dx, dy });
            ids.push(id);
        }
        let mut past: Vec<Vec<Row>> = vec![Vec::new()];
        for _ in 0..TICKS {
            zone.step(&mut ());
            past.push(rows(&zone));
        }
        for index in gone {
            if !ids.is_empty() {
                zone.despawn(*index.get(&ids));
            }
        }
        let shots: Vec<Shot> = shots
            .into_iter()
            .map(|(from, to, radius_units, ignore, seen_tick)| {
                let ray = Ray { from, to, radius_units, ignore: ignore.map(EntityId) };
                Shot { ray, seen_tick }
            })
            .collect();
        let expected: Vec<_> = shots
            .iter()
            .map(|Shot { ray, seen_tick }| match *seen_tick {
                tick if tick > TICKS => Err(MomentError::Future { tick, now: TICKS }),
                tick if tick + KEPT <= TICKS => Err(MomentError::NotKept { tick, now: TICKS, ticks: KEPT }),
                tick => {
                    let mut rows = past[tick as usize].clone();
                    rows.retain(|(id, ..)| zone.kind(*id).is_some());
                    Ok(brute_ray(ray, &rows, zone.map()))
                }
            })
            .collect();
        for level in SimdLevel::supported() {
            zone.set_simd(level);
            let mut out = Vec::new();
            zone.shots(&shots, &mut out);
            prop_assert_eq!(&out, &expected, "{}", level.name());
            let mut hits = Vec::new();
            for tick in TICKS - KEPT + 1..=TICKS {
                let rays: Vec<Ray> =
                    shots.iter().filter(|shot| shot.seen_tick == tick).map(|shot| shot.ray).collect();
                zone.at(tick).unwrap().rays(&rays, &mut hits);
                let expected = shots.iter().zip(&expected).filter(|(shot, _)| shot.seen_tick == tick);
                let expected: Vec<_> = expected.map(|(_, hit)| hit.unwrap()).collect();
                prop_assert_eq!(&hits, &expected, "{}", level.name());
            }
        }
    }
}
