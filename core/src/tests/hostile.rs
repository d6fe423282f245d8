//! The nearest of another team, where many crowd and many are equally far, against a look at every entity.

use proptest::prelude::*;
use vyuha_protocol::units::{TILE_UNITS, metres};
use vyuha_protocol::{EntityId, Pos};

use super::{npc, open_zone, tile};
use crate::{Circle, Seeker, SimdLevel, Spawn, Warm, Zone};

fn of_team(pos: Pos, team: u8) -> Spawn<'static> {
    Spawn { warm: Warm { team, ..Warm::default() }, ..npc(pos) }
}

#[track_caller]
fn check(zone: &mut Zone, seekers: &[Seeker]) {
    let rows: Vec<_> = zone.entities().map(|(id, pos, ..)| (id, pos, zone.warm(id).unwrap().team)).collect();
    let expected: Vec<_> = seekers
        .iter()
        .map(|Seeker { circle, team }| {
            let hostile = rows.iter().filter(|row| row.2 != *team);
            let ranked = hostile.map(|(id, pos, _)| (pos.distance_squared(circle.centre), *id, *pos));
            let near = ranked.filter(|row| row.0 <= u64::from(circle.radius_units).pow(2));
            near.min_by_key(|row| (row.0, row.1)).map(|(_, id, pos)| (id, pos))
        })
        .collect();
    for level in SimdLevel::supported() {
        zone.set_simd(level);
        let mut found = Vec::new();
        for moment in [zone.now(), zone.at(zone.tick()).unwrap()] {
            moment.nearest_hostiles(seekers, &mut found);
            assert_eq!(found, expected, "{}", level.name());
        }
    }
}

#[test]
fn the_lowest_id_of_equally_near_ones_and_nobody_of_the_own_team() {
    let mut zone = open_zone(96, 96);
    zone.keep_history(1);
    let place = |dx: i32, dy: i32| Pos {
        x: (40 * TILE_UNITS).strict_add_signed(dx),
        y: (40 * TILE_UNITS).strict_add_signed(dy),
    };
    let friend = zone.spawn(of_team(place(0, 0), 1));
    let first = zone.spawn(of_team(place(0, 500), 2));
    for (dx, dy) in [(500, 0), (-500, 0), (300, 400), (0, -500), (499, 0)] {
        zone.spawn(of_team(place(dx, dy), if dx == 499 { 1 } else { 2 }));
    }
    zone.step(&mut ());
    let nearest = |zone: &Zone, radius_units: u32, team: u8| {
        let mut found = Vec::new();
        zone.now().nearest_hostiles(
            &[Seeker { circle: Circle { centre: place(0, 0), radius_units }, team }],
            &mut found,
        );
        found[0].map(|(id, _)| id)
    };
    for level in SimdLevel::supported() {
        zone.set_simd(level);
        assert_eq!(nearest(&zone, 500, 1), Some(first), "the radius belongs to the circle");
        assert_eq!(nearest(&zone, 499, 1), None);
        assert_eq!(nearest(&zone, u32::MAX, 3), Some(friend));
    }
    zone.despawn(first);
    assert_eq!(nearest(&zone, 500, 1), Some(EntityId(2)), "nobody finds what is gone");
    zone.warm_mut(EntityId(2)).unwrap().team = 1;
    assert_eq!(nearest(&zone, 500, 1), Some(EntityId(3)), "teams are those of now");
}

#[test]
fn nobody_is_found_from_outside_the_map() {
    let mut zone = open_zone(40, 40);
    zone.spawn(of_team(tile(20, 20, 0, 0), 1));
    zone.step(&mut ());
    let mut found = Vec::new();
    let far = Circle { centre: Pos { x: u32::MAX, y: 0 }, radius_units: u32::MAX };
    zone.now().nearest_hostiles(&[Seeker { circle: far, team: 0 }], &mut found);
    assert_eq!(found, [None]);
    zone.now().nearest_hostiles(&[], &mut found);
    assert_eq!(found, []);
    // The map ends between them.
    let seeker = |x| Seeker { circle: Circle { centre: Pos { x, y: 0 }, radius_units: metres(90) }, team: 0 };
    zone.now().nearest_hostiles(&[seeker(metres(63)), seeker(metres(64)), seeker(metres(97))], &mut found);
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false]);
}

proptest! {
    #[test]
    fn the_radius_is_exact(dx in 0u32..40_000, dy in 0u32..40_000, x in 0u32..70_000, y in 0u32..70_000) {
        let mut zone = open_zone(96, 96);
        zone.keep_history(1);
        let centre = Pos { x: metres(16) + x, y: metres(16) + y };
        let pos = Pos { x: centre.x + dx, y: centre.y + dy };
        zone.spawn(of_team(pos, 1));
        zone.step(&mut ());
        let root = pos.distance_squared(centre).isqrt() as u32;
        let seeker = |radius_units| Seeker { circle: Circle { centre, radius_units }, team: 0 };
        check(&mut zone, &[root.saturating_sub(1), root, root + 1].map(seeker));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn in_a_crowd_too(
        // Few and many, on a coarse grid and on a fine one: within a grain of one another, and equally far.
        (count, step) in (prop_oneof![0usize..40, 200usize..900], prop_oneof![Just(1u32), Just(7), Just(700)]),
        teams in 1u8..4,
        seed: u32,
        askers in prop::collection::vec((0u32..60, 0u32..60, 0u8..4, prop_oneof![
            Just(0u32), 1u32..2000, metres(5)..metres(20), Just(metres(16)), Just(metres(90)), Just(u32::MAX),
        ]), 1..30),
        gone in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut zone = open_zone(130, 130);
        zone.keep_history(1);
        let mut random = seed | 1;
        let mut below = |bound: u32| {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            random % bound
        };
        // About the corner of four cells.
        let corner = metres(64) - 30 * step;
        let ids: Vec<EntityId> = (0..count)
            .map(|_| {
                let pos = Pos { x: corner + below(60) * step, y: corner + below(60) * step };
                zone.spawn(of_team(pos, below(u32::from(teams)) as u8))
            })
            .collect();
        zone.step(&mut ());
        for index in gone {
            if !ids.is_empty() {
                zone.despawn(*index.get(&ids));
            }
        }
        let seekers: Vec<Seeker> = askers
            .into_iter()
            .map(|(x, y, team, radius_units)| {
                let centre = Pos { x: corner + x * step, y: corner + y * step };
                Seeker { circle: Circle { centre, radius_units }, team }
            })
            .collect();
        let mut sorted = seekers.clone();
        sorted.sort_by_key(|seeker| (seeker.circle.centre.cell().y, seeker.circle.centre.cell().x));
        check(&mut zone, &seekers);
        check(&mut zone, &sorted);
        // All of one team, so that the others are sifted out beforehand.
        for seeker in &mut sorted {
            seeker.team = 1;
        }
        check(&mut zone, &sorted);
    }
}
