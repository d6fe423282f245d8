//! Batches of orders against the same orders one by one.

use std::sync::Arc;

use proptest::prelude::*;
use vyuha_protocol::units::metres;
use vyuha_protocol::{Displacement, EntityId, Pos, TileMap};

use super::{check_columns, npc};
use crate::Zone;

const SIDE_TILES: u32 = 75;

/// A place that is open on an open map.
fn place() -> impl Strategy<Value = Pos> {
    let axis = || metres(1)..metres(SIDE_TILES - 1);
    (axis(), axis()).prop_map(|(x, y)| Pos { x, y })
}

fn displacement() -> impl Strategy<Value = Displacement> {
    (any::<i16>(), any::<i16>()).prop_map(|(dx, dy)| Displacement { dx, dy })
}

#[derive(Debug, Clone)]
enum Batch {
    Walk(Vec<(usize, Displacement)>),
    /// By how far from where each is.
    Step(Vec<(usize, (i32, i32))>),
    Place(Vec<(usize, Pos)>),
    Spawn(Pos),
    Despawn(usize),
}

/// Longer than a window, and often with several orders to one entity.
fn batch() -> impl Strategy<Value = Batch> {
    let many = 0..100;
    prop_oneof![
        4 => prop::collection::vec((0usize..30, displacement()), many.clone()).prop_map(Batch::Walk),
        4 => prop::collection::vec((0usize..30, (-3000i32..3000, -3000i32..3000)), many.clone())
            .prop_map(Batch::Step),
        2 => prop::collection::vec((0usize..30, place()), many).prop_map(Batch::Place),
        1 => place().prop_map(Batch::Spawn),
        1 => (0usize..30).prop_map(Batch::Despawn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_does_what_its_orders_do_one_by_one(
        population in prop::collection::vec(place(), 0..40),
        ticks in prop::collection::vec(prop::collection::vec(batch(), 0..5), 1..12),
    ) {
        let map = Arc::new(TileMap::open(SIDE_TILES, SIDE_TILES));
        let (mut one_by_one, mut batched) = (Zone::new(Arc::clone(&map)), Zone::new(map));
        let mut ids = Vec::new();
        let spawn = |one_by_one: &mut Zone, batched: &mut Zone, pos| {
            let id = one_by_one.spawn(npc(pos));
            assert_eq!(batched.spawn(npc(pos)), id);
            id
        };
        ids.extend(population.into_iter().map(|pos| spawn(&mut one_by_one, &mut batched, pos)));
        for batches in ticks {
            for batch in batches {
                // One past the last is an id that was never given.
                let id = |who: usize, ids: &Vec<EntityId>| *ids.get(who).unwrap_or(&EntityId::new(900, 3));
                match batch {
                    Batch::Walk(orders) => {
                        let orders: Vec<_> = orders.iter().map(|(who, by)| (id(*who, &ids), *by)).collect();
                        for (id, by) in &orders {
one_by_one.walk(*id, *by);
}
                        batched.walk_all(&orders);
                    }
                    Batch::Step(orders) => {
                        let confine = |at: u32, by: i32| {
                            at.saturating_add_signed(by).clamp(metres(1), metres(SIDE_TILES - 1) - 1)
                        };
                        let to = |(who, (dx, dy)): &(usize, (i32, i32))| {
                            let from = one_by_one.position(id(*who, &ids))?;
                            Some((id(*who, &ids), Pos { x: confine(from.x, *dx), y: confine(from.y, *dy) }))
                        };
                        let orders: Vec<_> = orders.iter().filter_map(to).collect();
                        for (id, to) in &orders {
one_by_one.place(*id, *to);
}
                        batched.place_all(&orders);
                    }
                    Batch::Place(orders) => {
                        let orders: Vec<_> = orders.iter().map(|(who, to)| (id(*who, &ids), *to)).collect();
                        for (id, to) in &orders {
one_by_one.place(*id, *to);
}
                        batched.place_all(&orders);
                    }
                    Batch::Spawn(pos) => ids.push(spawn(&mut one_by_one, &mut batched, pos)),
                    Batch::Despawn(who) => {
                        prop_assert_eq!(one_by_one.despawn(id(who, &ids)), batched.despawn(id(who, &ids)));
                    }
                }
                let mut positions = Vec::new();
                batched.positions(&ids, &mut positions);
                let expected: Vec<_> = ids.iter().map(|id| one_by_one.position(*id)).collect();
                prop_assert_eq!(positions, expected);
            }
            one_by_one.step(&mut ());
            batched.step(&mut ());
            check_columns(&batched);
            prop_assert_eq!(one_by_one.state_hash(), batched.state_hash());
        }
    }
}
