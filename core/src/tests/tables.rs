//! Single cases at the edges.

use std::sync::Arc;

use vyuha_protocol::snapshot::{Block, CellKey, Snapshot};
use vyuha_protocol::units::{CELL_UNITS, metres};
use vyuha_protocol::{CellCoord, Displacement, EntityId, EntityKind, Pos, TileMap};

use super::{by, check_columns, npc, open_zone, tile};
use crate::{GROUP_MEMBERS_MAX, GROUP_PERIOD_TICKS, Scope, Spawn, Subscriber, View, Warm, Zone};

/// Walks one NPC from a place and lists where it is after each step.
#[track_caller]
fn check_walk(map: TileMap, from: Pos, by: Displacement, expected: &[Pos]) {
    let mut zone = Zone::new(Arc::new(map));
    let id = zone.spawn(npc(from));
    zone.walk(id, by);
    zone.step(&mut ());
    assert_eq!(zone.position(id), Some(from), "a spawn appears where it was put");
    for (tick, pos) in expected.iter().enumerate() {
        zone.step(&mut ());
        check_columns(&zone);
        assert_eq!(zone.position(id), Some(*pos), "after step {tick}");
    }
}

#[test]
fn walks_at_the_edges() {
    let c = CELL_UNITS;
    let at = |x, y| Pos { x, y };
    // Diagonally over the corner where four cells meet, each way.
    check_walk(TileMap::open(96, 96), at(c - 1, c - 1), by(1, 1), &[at(c, c), at(c + 1, c + 1)]);
    check_walk(TileMap::open(96, 96), at(c, c), by(-1, -1), &[at(c - 1, c - 1)]);
    check_walk(TileMap::open(96, 96), at(c - 1, c), by(5, -5), &[at(c + 4, c - 5)]);
    check_walk(TileMap::open(96, 96), at(c, c - 1), by(-2047, 2047), &[at(c - 2047, c + 2046)]);
    // The last cell of a map that is no multiple of 32 tiles, up to its wall: the rest is walked, then nothing.
    check_walk(
        TileMap::open(37, 33),
        tile(35, 31, 1000, 2000),
        by(600, 600),
        &[tile(35, 31, 1600, 2047), tile(35, 31, 2047, 2047), tile(35, 31, 2047, 2047)],
    );
    // A room of one tile.
    check_walk(TileMap::open(3, 3), tile(1, 1, 5, 9), by(-2047, 2047), &[tile(1, 1, 0, 2047); 3]);
    // A wall on the other side of a cell's border stops like any other, and the other axis slides on.
    let mut map = TileMap::open(96, 96);
    map.set_wall(32, 10);
    check_walk(
        map,
        tile(31, 10, 2000, 100),
        by(100, 100),
        &[tile(31, 10, 2047, 200), tile(31, 10, 2047, 300)],
    );
}

#[test]
fn too_long_a_displacement_is_confined() {
    check_walk(TileMap::open(96, 96), tile(5, 5, 0, 0), by(i16::MAX, i16::MIN), &[tile(5, 4, 2047, 1)]);
}

#[test]
fn what_is_placed_stands_still_until_it_is_placed_again() {
    let mut zone = open_zone(96, 96);
    let id = zone.spawn(npc(tile(31, 31, 0, 0)));
    zone.step(&mut ());
    // Over the border of a cell, within one, and across half a cell: by displacement; farther: by a jump.
    let places =
        [tile(32, 32, 9, 9), tile(33, 32, 0, 0), tile(48, 32, 0, 0), tile(64, 48, 0, 0), tile(2, 2, 0, 0)];
    for to in places {
        zone.place(id, to);
        assert_eq!(zone.position(id), Some(to));
        for _ in 0..3 {
            zone.step(&mut ());
            check_columns(&zone);
            assert_eq!(zone.position(id), Some(to));
        }
    }
    zone.walk(id, by(7, 0));
    zone.place(id, tile(3, 3, 0, 0));
    zone.step(&mut ());
    zone.step(&mut ());
    assert_eq!(zone.position(id), Some(tile(3, 3, 0, 0)), "placing ends a walk");
    zone.place(id, tile(4, 4, 0, 0));
    zone.walk(id, by(7, 0));
    zone.step(&mut ());
    assert_eq!(zone.position(id), Some(tile(3, 3, 7, 0)), "of walk and place the last counts");
}

#[test]
fn ids_that_are_no_longer_valid_are_ignored() {
    let mut zone = open_zone(40, 40);
    let unknown = EntityId::new(5, 0);
    let gone = zone.spawn(npc(tile(2, 2, 0, 0)));
    zone.step(&mut ());
    assert!(zone.despawn(gone));
    for id in [unknown, gone] {
        zone.walk(id, by(1, 1));
        zone.place(id, tile(3, 3, 0, 0));
        zone.set_state(id, 9);
        zone.set_hidden(id, true);
        assert!(!zone.despawn(id));
        assert_eq!((zone.position(id), zone.kind(id), zone.state(id)), (None, None, None));
        assert_eq!((zone.warm(id), zone.is_hidden(id)), (None, None));
        assert_eq!(zone.warm_mut(id), None);
    }
    assert_eq!((zone.len(), zone.entities().count()), (0, 0));
    zone.step(&mut ());
    check_columns(&zone);
}

#[test]
fn what_is_spawned_and_despawned_between_two_steps_was_never_there() {
    let mut zone = open_zone(96, 96);
    let stays = zone.spawn(npc(tile(2, 2, 0, 0)));
    zone.step(&mut ());
    let hash = zone.state_hash();
    let brief = zone.spawn(npc(tile(3, 3, 0, 0)));
    zone.place(stays, tile(80, 80, 0, 0));
    assert!(zone.despawn(brief) && zone.despawn(stays));
    assert!(zone.is_empty());
    zone.step(&mut ());
    check_columns(&zone);
    assert_eq!((zone.len(), zone.state_hash()), (0, 0));
    assert_ne!(hash, 0);
}

#[test]
fn of_equally_near_ones_the_lowest_id_is_the_nearest() {
    let mut zone = open_zone(96, 96);
    let centre = Pos { x: CELL_UNITS + 50, y: CELL_UNITS + 50 };
    let mut beside = |dx: i32, dy: i32| {
        let (x, y) = (centre.x.wrapping_add_signed(dx), centre.y.wrapping_add_signed(dy));
        zone.spawn(npc(Pos { x, y }))
    };
    // In the cells around and in its own, exactly as far as the nearest places of the cells around.
    let places = [(-51, 0), (0, -51), (51, 0), (0, 51), (-51, 0), (30, 0)];
    let ids: Vec<EntityId> = places.map(|(dx, dy)| beside(dx, dy)).to_vec();
    // Ids rise in the order of spawning, so each refusal leaves the next; the last is nearer than all.
    zone.step(&mut ());
    let nearest = |radius, refused: &[EntityId]| {
        zone.nearest(centre, radius, |id| !refused.contains(&id)).map(|(id, _)| id)
    };
    assert_eq!(nearest(100, &[]), Some(ids[5]));
    for refused in 0..5 {
        let mut out = ids[..refused].to_vec();
        out.push(ids[5]);
        assert_eq!(nearest(51, &out), Some(ids[refused]), "without {refused}");
        assert_eq!(nearest(50, &out), None);
    }
    assert_eq!(nearest(u32::MAX, &ids), None);
    assert_eq!(nearest(0, &[]), None);
}

#[test]
#[should_panic(expected = "is blocked or outside the map")]
fn nothing_is_spawned_in_a_wall() {
    open_zone(40, 40).spawn(npc(tile(0, 5, 0, 0)));
}

#[test]
fn the_hash_covers_every_part_of_the_state() {
    let run = |orders: &dyn Fn(&mut Zone, EntityId)| {
        let mut zone = open_zone(96, 96);
        let id = zone.spawn(Spawn {
            pos: tile(5, 5, 0, 0),
            kind: EntityKind::npc(3),
            state: 0,
            name: "",
            warm: Warm::default(),
        });
        zone.spawn(npc(tile(50, 50, 0, 0)));
        zone.step(&mut ());
        orders(&mut zone, id);
        zone.step(&mut ());
        zone.state_hash()
    };
    let hashes = [
        run(&|_, _| {}),
        run(&|zone, id| zone.set_state(id, 1)),
        run(&|zone, id| zone.place(id, tile(5, 5, 1, 0))),
        run(&|zone, id| zone.place(id, tile(5, 5, 0, 1))),
        run(&|zone, id| zone.walk(id, by(1, 0))),
        run(&|zone, id| zone.place(id, tile(37, 5, 0, 0))), // another cell, the same place within it
        run(&|zone, id| zone.warm_mut(id).unwrap().health = 1),
        run(&|zone, id| zone.warm_mut(id).unwrap().team = 1),
        run(&|zone, id| zone.warm_mut(id).unwrap().action = 1),
        run(&|zone, id| zone.set_hidden(id, true)),
        run(&|zone, id| assert!(zone.despawn(id))),
        run(&|zone, _| {
            zone.spawn(npc(tile(5, 5, 0, 0)));
        }),
        run(&|zone, id| {
            // The same in all but its kind, and by that in its id.
            zone.despawn(id);
            zone.spawn(npc(tile(5, 5, 0, 0)));
        }),
    ];
    let distinct: std::collections::BTreeSet<u64> = hashes.into_iter().collect();
    assert_eq!(distinct.len(), hashes.len());
}

#[test]
fn of_the_hidden_observers_are_told_that_it_left_and_nothing_until_it_is_shown() {
    const WEST: CellKey = CellKey { x: 0, y: 0 };
    const EAST: CellKey = CellKey { x: 1, y: 0 };
    // What is ordered before each step, then what observers of all cells are told of it.
    type Case = (&'static str, fn(&mut Zone, EntityId), &'static [(CellKey, Option<CellKey>)]);
    let cases: [Case; 11] = [
        ("hidden", |zone, id| zone.set_hidden(id, true), &[(WEST, Some(CellKey::NOWHERE))]),
        ("changed", |zone, id| zone.set_state(id, 1), &[]),
        ("over a border", |zone, id| zone.place(id, tile(33, 5, 0, 0)), &[]),
        ("jumps", |zone, id| zone.place(id, tile(2, 2, 0, 0)), &[]),
        ("shown", |zone, id| zone.set_hidden(id, false), &[(WEST, None)]),
        (
            "hidden on its way",
            |zone, id| {
                zone.place(id, tile(33, 5, 0, 0));
                zone.set_hidden(id, true);
            },
            &[(WEST, Some(CellKey::NOWHERE))],
        ),
        (
            "shown on its way",
            |zone, id| {
                zone.place(id, tile(3, 5, 0, 0));
                zone.set_hidden(id, false);
            },
            &[(WEST, None)],
        ),
        (
            "not hidden after all",
            |zone, id| {
                zone.set_hidden(id, true);
                zone.set_hidden(id, false);
            },
            &[],
        ),
        (
            "shown over a border",
            |zone, id| zone.place(id, tile(33, 5, 0, 0)),
            &[(WEST, Some(EAST)), (EAST, None)],
        ),
        ("hidden again", |zone, id| zone.set_hidden(id, true), &[(EAST, Some(CellKey::NOWHERE))]),
        ("despawned", |zone, id| assert!(zone.despawn(id)), &[]),
    ];
    let mut zone = open_zone(96, 96);
    let id = zone.spawn(npc(tile(5, 5, 0, 0)));
    let mut view = View::new(CELL_UNITS * 3);
    let to = Subscriber { centre: tile(20, 20, 0, 0), input_ack: 0, bytes_max: 1 << 20 };
    zone.step(&mut ());
    zone.write_snapshot(&mut view, &to, &mut Vec::new());
    for (name, order, expected) in cases {
        order(&mut zone, id);
        zone.step(&mut ());
        let mut bytes = Vec::new();
        zone.write_snapshot(&mut view, &to, &mut bytes);
        let mut told = Vec::new();
        for block in Snapshot::read(&bytes).unwrap().blocks() {
            let key = CellKey::from(block.cell);
            assert!(block.updates.is_empty(), "{name}");
            told.extend(block.leaves.iter().map(|leave| (key, Some(leave.to))));
            told.extend(block.enters.iter().map(|_| (key, None)));
        }
        assert_eq!(told, expected, "{name}");
    }
}

#[test]
fn what_is_spawned_hidden_is_told_to_nobody() {
    let mut zone = open_zone(40, 40);
    let id = zone.spawn(npc(tile(5, 5, 0, 0)));
    zone.set_hidden(id, true);
    for _ in 0..2 {
        zone.step(&mut ());
        let to = Subscriber { centre: tile(5, 5, 0, 0), input_ack: 0, bytes_max: 4096 };
        let mut bytes = Vec::new();
        zone.write_snapshot(&mut View::new(0), &to, &mut bytes);
        let snapshot = Snapshot::read(&bytes).unwrap();
        assert!(snapshot.blocks().all(|block| block.enters.is_empty()));
        assert_eq!(zone.is_hidden(id), Some(true));
    }
}

/// A client in a corridor, and others about a room with a door to it; who hides comes into the corridor.
#[test]
fn no_byte_tells_of_those_behind_walls() {
    let mut map = TileMap::open(40, 40);
    for at in 10..=20 {
        for (x, y) in [(at, 10), (at, 20), (10, at), (20, at)] {
            map.set_wall(x, y);
        }
    }
    map.set_wall(15, 5); // a pillar
    let mut zone = Zone::new(Arc::new(map));
    // Ids that no count, place or state is likely to look like.
    let others: Vec<EntityId> = (0..1 << 17).map(|_| zone.spawn(npc(tile(5, 15, 0, 0)))).collect();
    for id in others {
        assert!(zone.despawn(id));
    }
    let viewer = zone.spawn(npc(tile(5, 15, 0, 0)));
    let inside = zone.spawn(npc(tile(12, 15, 0, 0)));
    let beside = zone.spawn(npc(tile(5, 20, 0, 0)));
    let behind = zone.spawn(npc(tile(25, 15, 0, 0)));
    let far = zone.spawn(npc(tile(5, 38, 0, 0)));
    let scope = Scope { walls_hide: true, ..Scope::every_tick(metres(20)) };
    let mut view = View::of(scope);
    let mut told = |zone: &mut Zone| {
        zone.step(&mut ());
        let mut bytes = Vec::new();
        let to = Subscriber { centre: zone.position(viewer).unwrap(), input_ack: 0, bytes_max: 4096 };
        zone.write_snapshot(&mut view, &to, &mut bytes);
        // Nobody's id is at any place of the payload, whatever a record there might mean, but of those told.
        let holds = |id: EntityId| bytes.windows(4).any(|window| window == id.0.to_le_bytes());
        let snapshot = Snapshot::read(&bytes).unwrap();
        let ids = |block: &Block<'_>| {
            let enters = block.enters.iter().map(|enter| enter.entity);
            let updates = block.updates.iter().map(|update| update.entity);
            let leaves = block.leaves.iter().map(|leave| leave.entity);
            (enters.collect::<Vec<_>>(), updates.collect::<Vec<_>>(), leaves.collect::<Vec<_>>())
        };
        let blocks: Vec<_> = snapshot.blocks().map(|block| ids(&block)).collect();
        for id in [inside, behind, far] {
            let named = blocks.iter().any(|(a, b, c)| [a, b, c].iter().any(|ids| ids.contains(&id.0)));
            assert!(named || !holds(id), "{id} is among the bytes");
        }
        blocks.into_iter().next().unwrap_or_default()
    };
    assert_eq!(told(&mut zone), (vec![viewer.0, beside.0], vec![], vec![]));
    for id in [inside, beside, behind] {
        zone.walk(id, by(0, 7));
    }
    zone.set_state(inside, 3);
    assert_eq!(told(&mut zone), (vec![], vec![beside.0], vec![]));
    assert_eq!(told(&mut zone), (vec![], vec![beside.0], vec![]));
    // Into sight and out of it again, by a way that nobody sees.
    zone.walk(beside, by(0, 0));
    zone.place(inside, tile(6, 15, 0, 0));
    assert_eq!(told(&mut zone), (vec![inside.0], vec![], vec![]));
    zone.place(inside, tile(12, 15, 0, 0));
    assert_eq!(told(&mut zone), (vec![], vec![], vec![inside.0]));
    assert_eq!(told(&mut zone), (vec![], vec![], vec![]));
    // The viewer goes to look.
    zone.place(viewer, tile(25, 18, 0, 0));
    let (enters, updates, leaves) = told(&mut zone);
    assert_eq!((enters.contains(&behind.0), updates, leaves), (true, vec![], vec![beside.0]));
    zone.set_hidden(behind, true);
    assert_eq!(told(&mut zone).2, [behind.0]);
    assert_eq!(told(&mut zone), (vec![], vec![], vec![]));
}

#[test]
fn groups_have_their_bounds() {
    let mut zone = open_zone(96, 96);
    let ids: Vec<EntityId> = (0..=GROUP_MEMBERS_MAX).map(|_| zone.spawn(npc(tile(5, 5, 0, 0)))).collect();
    let (last, first) = ids.split_last().unwrap();
    assert!(first.iter().all(|id| zone.set_group(*id, 9)));
    assert!(!zone.set_group(*last, 9), "it is full");
    assert!(zone.set_group(first[0], 9), "it is in there already");
    assert!(zone.set_group(*last, 8) && !zone.set_group(*last, 9) && zone.set_group(first[0], 8));
    assert!(zone.set_group(*last, 9));
    assert!(zone.despawn(*last) && !zone.set_group(*last, 8));
    assert!(zone.set_group(first[0], 0) && zone.set_group(first[1], 7));
    zone.step(&mut ());
    let mut view = View::new(0);
    assert!((2..10).all(|group| view.watch(group)) && view.watch(9) && !view.watch(1));
    let to = Subscriber { centre: tile(90, 90, 0, 0), input_ack: 0, bytes_max: 4096 };
    let mut told = |zone: &mut Zone| -> Vec<(u32, usize)> {
        let mut bytes = Vec::new();
        zone.write_snapshot(&mut view, &to, &mut bytes);
        let snapshot = Snapshot::read(&bytes).unwrap();
        snapshot.groups().map(|group| (group.group, group.members.len())).collect()
    };
    assert_eq!(told(&mut zone), [(7, 1), (9, GROUP_MEMBERS_MAX - 2)]);
    assert!(zone.set_group(first[1], 0));
    zone.step(&mut ());
    assert_eq!(told(&mut zone), [(7, 0)], "nobody is left in it");
    for _ in 0..2 * GROUP_PERIOD_TICKS {
        zone.step(&mut ());
        assert_eq!(told(&mut zone), [], "nobody moved");
    }
    zone.walk(first[5], by(1, 0));
    let mut news = 0;
    for _ in 0..3 * GROUP_PERIOD_TICKS {
        zone.step(&mut ());
        news += told(&mut zone).len();
    }
    assert_eq!(news, 3);
}

#[test]
fn a_block_says_what_happened_in_its_cell() {
    let mut zone = open_zone(96, 96);
    let walker = zone.spawn(npc(tile(5, 5, 0, 0)));
    let still = zone.spawn(npc(tile(6, 5, 0, 0)));
    let crosser = zone.spawn(npc(tile(31, 5, 2000, 0)));
    let player = zone.spawn(Spawn {
        pos: tile(7, 5, 0, 0),
        kind: EntityKind::PLAYER,
        state: 0,
        name: "Abe",
        warm: Warm::default(),
    });
    let jumper = zone.spawn(npc(tile(2, 2, 0, 0)));
    let goner = zone.spawn(npc(tile(2, 3, 0, 0)));
    let mut view = View::new(0);
    let to = Subscriber { centre: tile(5, 5, 0, 0), input_ack: 8, bytes_max: 4096 };
    let mut first = Vec::new();
    zone.step(&mut ());
    zone.write_snapshot(&mut view, &to, &mut first);
    let block = Snapshot::read(&first).unwrap().blocks().next().unwrap();
    assert!(block.full);
    assert_eq!((block.enters.len(), block.names.len()), (6, 1));

    zone.walk(walker, by(-3, 4));
    zone.walk(crosser, by(100, 0));
    zone.set_state(player, 2);
    zone.place(jumper, tile(25, 25, 0, 0)); // a jump within the cell
    zone.despawn(goner);
    zone.step(&mut ());
    let mut second = Vec::new();
    zone.write_snapshot(&mut view, &to, &mut second);
    let snapshot = Snapshot::read(&second).unwrap();
    let blocks: Vec<_> = snapshot.blocks().collect();
    assert_eq!(blocks.len(), 1);
    assert!(!blocks[0].full && blocks[0].cell == CellCoord { x: 0, y: 0 });
    let updates: Vec<_> = blocks[0].updates.iter().map(|update| (update.entity, update.local)).collect();
    assert_eq!(updates, [(walker.0, tile(4, 5, 2045, 4).local())]);
    let enters: Vec<_> =
        blocks[0].enters.iter().map(|enter| (enter.entity, enter.local, enter.state)).collect();
    let (there, landed) = (tile(7, 5, 0, 0).local(), tile(25, 25, 0, 0).local());
    assert_eq!(enters, [(player.0, there, 2), (jumper.0, landed, 0)]);
    let names: Vec<_> = blocks[0].names.iter().map(|name| (name.entity, name.text())).collect();
    assert_eq!(names, [(player.0, "Abe".to_owned())]);
    let leaves: Vec<_> = blocks[0].leaves.iter().map(|leave| (leave.entity, leave.to)).collect();
    assert_eq!(leaves, [(crosser.0, CellKey { x: 1, y: 0 }), (goner.0, CellKey::NOWHERE)]);
    assert!(zone.position(still).is_some());

    zone.walk(walker, by(0, 0));
    zone.walk(crosser, by(0, 0));
    zone.step(&mut ());
    let mut third = Vec::new();
    zone.write_snapshot(&mut view, &to, &mut third);
    assert_eq!(Snapshot::read(&third).unwrap().head.blocks, 0, "nothing new, nothing sent");
}
