//! Questions in batches, of the present and the past, against a look at every entity.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;
use vyuha_protocol::motion::Heading;
use vyuha_protocol::units::{TILE_UNITS, metres};
use vyuha_protocol::{Displacement, EntityId, EntityKind, Pos, TileMap};

use super::{npc, open_zone, tile};
use crate::{
    COSINE_FULL, Circle, Cone, Found, Moment, MomentError, Ray, Seeker, SimdLevel, Spawn, Warm, Zone,
};

const SIDE: u32 = 100;
const KEPT: usize = 3;

pub(super) type Row = (EntityId, Pos, EntityKind, u8);

/// Whom a ray hits. Where a line meets its first wall is tested where that is found.
pub(super) fn brute_ray(ray: &Ray, rows: &[Row], map: &TileMap) -> Option<(EntityId, Pos)> {
    let by = (i128::from(ray.to.x) - i128::from(ray.from.x), i128::from(ray.to.y) - i128::from(ray.from.y));
    let whole = by.0 * by.0 + by.1 * by.1;
    let hits = rows.iter().filter(|(id, ..)| Some(*id) != ray.ignore).filter_map(|(id, pos, ..)| {
        let at = (i128::from(pos.x) - i128::from(ray.from.x), i128::from(pos.y) - i128::from(ray.from.y));
        let (along, off) = (at.0 * by.0 + at.1 * by.1, at.0 * by.1 - at.1 * by.0);
        let near = off * off <= i128::from(ray.radius_units).pow(2) * whole;
        (whole > 0 && near && (0..=whole).contains(&along)).then_some((along, *id, *pos))
    });
    let (along, id, pos) = hits.min_by_key(|(along, id, _)| (*along, *id))?;
    let wall = crate::sight::first_wall(map, ray.from, ray.to);
    let hidden = wall.is_some_and(|wall| along * i128::from(wall.whole) >= i128::from(wall.part) * whole);
    (!hidden).then_some((id, pos))
}

/// Whether a place is in a cone, unless it is so near its edge that floating point cannot tell.
fn brute_cone(cone: &Cone, pos: Pos) -> Option<bool> {
    let axis = (f64::from(cone.axis.x), f64::from(cone.axis.y));
    let centre = cone.circle.centre;
    let to = (f64::from(pos.x) - f64::from(centre.x), f64::from(pos.y) - f64::from(centre.y));
    let lengths = to.0.hypot(to.1) * axis.0.hypot(axis.1);
    if lengths == 0.0 {
        return Some(to == (0.0, 0.0));
    }
    let inside = (to.0 * axis.0 + to.1 * axis.1) / lengths - f64::from(cone.cosine) / f64::from(COSINE_FULL);
    (inside.abs() > 1e-9).then_some(inside > 0.0)
}

fn place() -> impl Strategy<Value = Pos> {
    (2048..(SIDE - 1) * TILE_UNITS, 2048..(SIDE - 1) * TILE_UNITS).prop_map(|(x, y)| Pos { x, y })
}

fn circle() -> impl Strategy<Value = Circle> {
    let radius = prop_oneof![0..metres(10), metres(10)..metres(200), Just(u32::MAX)];
    let centre = prop_oneof![9 => place(), 1 => (any::<u32>(), any::<u32>()).prop_map(|(x, y)| Pos { x, y })];
    (centre, radius).prop_map(|(centre, radius_units)| Circle { centre, radius_units })
}

fn ray() -> impl Strategy<Value = Ray> {
    let radius = prop_oneof![0..metres(1), 0..metres(20), Just(u32::MAX)];
    (place(), place(), radius, prop::option::of(0u32..40)).prop_map(|(from, to, radius_units, ignore)| Ray {
        from,
        to,
        radius_units,
        ignore: ignore.map(EntityId),
    })
}

pub(super) fn rows(zone: &Zone) -> Vec<Row> {
    zone.entities().map(|(id, pos, kind, _)| (id, pos, kind, zone.warm(id).unwrap().team)).collect()
}

fn on_map(pos: Pos) -> bool {
    pos.x < metres(128) && pos.y < metres(128)
}

#[track_caller]
fn check(
    zone: &mut Zone,
    moment: for<'a> fn(&'a Zone, u32) -> Moment<'a>,
    (tick, rows): (u32, &[Row]),
    circles: &[Circle],
    rays: &[Ray],
    cones: &[Cone],
) {
    let near = |circle: &Circle| {
        let circle = *circle;
        rows.iter().filter(move |(_, pos, ..)| {
            on_map(circle.centre)
                && pos.distance_squared(circle.centre) <= u64::from(circle.radius_units).pow(2)
        })
    };
    for level in SimdLevel::supported() {
        zone.set_simd(level);
        let moment = moment(zone, tick);
        let mut all: Vec<_> = moment.entities().collect();
        all.sort_by_key(|(id, _)| *id);
        let mut expected: Vec<_> = rows.iter().map(|(id, pos, ..)| (*id, *pos)).collect();
        expected.sort_by_key(|(id, _)| *id);
        assert_eq!(all, expected);
        let mut found = Found::default();
        moment.all_within(circles, &mut found);
        for (question, circle) in circles.iter().enumerate() {
            let mut got = found.of(question).to_vec();
            got.sort_by_key(|(id, _)| *id);
            let mut expected: Vec<_> = near(circle).map(|(id, pos, ..)| (*id, *pos)).collect();
            expected.sort_by_key(|(id, _)| *id);
            assert_eq!(got, expected, "{circle:?}");
        }
        let mut nearest = Vec::new();
        let hostile = |question: usize, id: EntityId, kind: EntityKind| {
            kind == EntityKind((question % 3) as u16) && !id.0.is_multiple_of(5)
        };
        moment.nearest_within(circles, hostile, &mut nearest);
        for (question, circle) in circles.iter().enumerate() {
            let expected = near(circle)
                .filter(|(id, _, kind, _)| hostile(question, *id, *kind))
                .min_by_key(|(id, pos, ..)| (pos.distance_squared(circle.centre), *id));
            assert_eq!(nearest[question], expected.map(|(id, pos, ..)| (*id, *pos)), "{circle:?}");
        }
        let seekers: Vec<Seeker> = circles
            .iter()
            .enumerate()
            .map(|(question, circle)| Seeker { circle: *circle, team: (question % 4) as u8 })
            .collect();
        let mut hostiles = Vec::new();
        moment.nearest_hostiles(&seekers, &mut hostiles);
        for (seeker, found) in seekers.iter().zip(&hostiles) {
            let expected = near(&seeker.circle)
                .filter(|(.., team)| *team != seeker.team)
                .min_by_key(|(id, pos, ..)| (pos.distance_squared(seeker.circle.centre), *id));
            assert_eq!(*found, expected.map(|(id, pos, ..)| (*id, *pos)), "{seeker:?}");
        }
        let mut hits = Vec::new();
        moment.rays(rays, &mut hits);
        for (ray, hit) in rays.iter().zip(&hits) {
            assert_eq!(*hit, brute_ray(ray, rows, zone.map()), "{ray:?}");
        }
        moment.all_in_cones(cones, &mut found);
        for (question, cone) in cones.iter().enumerate() {
            let got: BTreeSet<EntityId> = found.of(question).iter().map(|(id, _)| *id).collect();
            assert_eq!(got.len(), found.of(question).len());
            let near: Vec<_> = near(&cone.circle).collect();
            assert!(got.iter().all(|id| near.iter().any(|row| row.0 == *id)), "{cone:?}");
            for (id, pos, ..) in near {
                let inside = brute_cone(cone, *pos);
                assert!(inside.is_none_or(|inside| inside == got.contains(id)), "{id} {pos:?} {cone:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_those_of_a_look_at_everything(
        walls in prop::collection::vec((1..SIDE - 1, 1..SIDE - 1), 0..60),
        spawns in prop::collection::vec((place(), 0u16..3, -2047i16..=2047, -2047i16..=2047), 0..90),
        gone in prop::collection::vec(any::<usize>(), 0..6),
        circles in prop::collection::vec(circle(), 1..5),
        rays in prop::collection::vec(ray(), 1..9),
        cones in prop::collection::vec((circle(), -127i8..=127, -127i8..=127, -32767i16..=32767), 1..4),
    ) {
        let mut map = TileMap::open(SIDE, SIDE);
        for (x, y) in walls {
            map.set_wall(x, y);
        }
        let cones: Vec<Cone> = cones
            .into_iter()
            .map(|(circle, x, y, cosine)| Cone { circle, axis: Heading { x, y }, cosine })
            .collect();
        let mut zone = Zone::new(Arc::new(map));
        zone.keep_history(KEPT);
        let mut ids = Vec::new();
        for (pos, kind, dx, dy) in spawns {
            if zone.map().is_open(pos) {
                let id = zone.spawn(Spawn { pos, kind: EntityKind(kind), state: 0, name: "", warm: Warm { team: kind as u8, ..Warm::default() } });
                zone.walk(id, Displacement { dx, dy });
                ids.push(id);
            }
        }
        let mut past: VecDeque<(u32, Vec<Row>)> = VecDeque::new();
        for tick in 1..=5u32 {
            zone.step(&mut ());
            past.push_back((tick, rows(&zone)));
            if let Some(id) = ids.get(tick as usize) {
                zone.warm_mut(*id).unwrap().team += 1;
            }
        }
        for who in gone {
            if !ids.is_empty() {
                zone.despawn(ids.swap_remove(who % ids.len()));
            }
        }
        for (tick, rows) in &mut past {
            if *tick + (KEPT as u32) <= 5 {
                let refused = MomentError::NotKept { tick: *tick, now: 5, ticks: KEPT as u32 };
                prop_assert_eq!(zone.at(*tick).err(), Some(refused));
                continue;
            }
            rows.retain(|(id, ..)| zone.kind(*id).is_some());
            check(&mut zone, |zone, tick| zone.at(tick).unwrap(), (*tick, rows), &circles, &rays, &cones);
        }
        let now = rows(&zone);
        check(&mut zone, |zone, _| zone.now(), (5, &now), &circles, &rays, &cones);
        prop_assert_eq!(zone.at(6).err(), Some(MomentError::Future { tick: 6, now: 5 }));
    }
}

#[test]
fn a_shot_is_judged_by_where_its_target_was() {
    let mut zone = open_zone(96, 96);
    zone.keep_history(8);
    let shooter = zone.spawn(npc(tile(10, 10, 0, 0)));
    let target = zone.spawn(npc(tile(20, 10, 0, 0)));
    let behind = zone.spawn(npc(tile(30, 10, 0, 100)));
    zone.step(&mut ());
    zone.walk(target, Displacement { dx: 0, dy: 2000 });
    zone.step(&mut ());
    let shot = |zone: &Zone, tick: u32, to: Pos, radius_units: u32| {
        let mut out = Vec::new();
        let ray = Ray { from: tile(10, 10, 0, 0), to, radius_units, ignore: Some(shooter) };
        zone.at(tick).unwrap().rays(&[ray], &mut out);
        out[0].map(|(id, _)| id)
    };
    assert_eq!(shot(&zone, 1, tile(40, 10, 0, 0), 500), Some(target));
    assert_eq!(shot(&zone, 2, tile(40, 10, 0, 0), 500), Some(behind), "the target has stepped aside");
    assert_eq!(shot(&zone, 2, tile(40, 10, 0, 0), 99), None);
    assert_eq!(shot(&zone, 2, tile(40, 10, 0, 0), 100), Some(behind), "the radius is part of the target");
    assert_eq!(shot(&zone, 1, tile(20, 10, 0, 0), 0), Some(target), "the end is part of the ray");
    assert_eq!(shot(&zone, 1, tile(19, 10, 2047, 0), 500), None, "too short");
    assert_eq!(shot(&zone, 1, tile(10, 10, 0, 0), 500), None, "no length");
    assert_eq!(shot(&zone, 1, Pos { x: u32::MAX, y: 0 }, 500), None, "off the map");
    assert!(zone.at(0).is_err() && zone.at(3).is_err());
    zone.despawn(target);
    assert_eq!(shot(&zone, 1, tile(40, 10, 0, 0), 500), Some(behind), "nobody hits what is gone");
}

#[test]
fn walls_hide_what_is_behind_them() {
    let mut map = TileMap::open(96, 96);
    map.set_wall(15, 10);
    let mut zone = Zone::new(Arc::new(map));
    zone.keep_history(1);
    let near = zone.spawn(npc(tile(14, 10, 2047, 0)));
    let far = zone.spawn(npc(tile(20, 10, 0, 0)));
    let beside = zone.spawn(npc(tile(20, 11, 0, 0)));
    zone.step(&mut ());
    let mut out = Vec::new();
    let ray = |y: u32, ignore: EntityId| {
        let (from, to) = (tile(10, y, 0, 0), tile(30, y, 0, 0));
        Ray { from, to, radius_units: 10, ignore: Some(ignore) }
    };
    let rays = [ray(10, beside), ray(10, near), ray(11, far)];
    zone.at(1).unwrap().rays(&rays, &mut out);
    assert_eq!(
        out.iter().map(|hit| hit.map(|(id, _)| id)).collect::<Vec<_>>(),
        [Some(near), None, Some(beside)]
    );
    let mut sees = Vec::new();
    let lines = rays.map(|ray| (ray.from, ray.to));
    zone.lines_of_sight(&lines, &mut sees);
    assert_eq!(sees, [false, false, true]);
}
