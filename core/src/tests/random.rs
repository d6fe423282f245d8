//! Random orders, views, skipped ticks and byte bounds.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use vyuha_protocol::units::{CELL_UNITS, metres};
use vyuha_protocol::{CellCoord, Displacement, EntityId, EntityKind, Pos, TileMap, motion};

use super::mirror::Mirror;
use super::model::{GROUPS, Model};
use super::{check_columns, tile};
use crate::{Scope, SimdLevel, Spawn, Subscriber, Warm, Zone};

#[derive(Debug, Clone)]
enum Order {
    Spawn { at: (u32, u32), what: u16, state: u16, team: u8 },
    Despawn(usize),
    Walk(usize, i16, i16),
    Inputs(usize, Vec<(i16, i16)>),
    Jump(usize, (u32, u32)),
    State(usize, u16),
    Warm(usize, Warm),
    Hidden(usize, bool),
    Group(usize, u32),
}

/// A tick: orders, then by client whether it is served, its bound and where it looks from.
type Tick = (Vec<Order>, Vec<(bool, usize, (u32, u32))>);

const WIDTH: u32 = 107;
const HEIGHT: u32 = 75;

/// Places, most of them near the borders of cells.
fn place() -> impl Strategy<Value = (u32, u32)> {
    let axis = |tiles: u32| {
        let near_border = (1..=tiles / 32, 0u32..600).prop_map(move |(cell, at)| {
            (cell * CELL_UNITS + at).saturating_sub(300).min(tiles * 2048 - 2049)
        });
        prop_oneof![near_border, 2048..(tiles - 1) * 2048]
    };
    (axis(WIDTH), axis(HEIGHT))
}

fn order() -> impl Strategy<Value = Order> {
    let step = || prop_oneof![Just(0i16), -2047i16..=2047, -50i16..=50];
    prop_oneof![
        3 => (place(), 0u16..4, 0u16..3, any::<u8>())
            .prop_map(|(at, what, state, team)| Order::Spawn { at, what, state, team }),
        1 => any::<usize>().prop_map(Order::Despawn),
        4 => (any::<usize>(), step(), step()).prop_map(|(who, dx, dy)| Order::Walk(who, dx, dy)),
        4 => (any::<usize>(), prop::collection::vec((step(), step()), 1..5))
            .prop_map(|(who, steps)| Order::Inputs(who, steps)),
        1 => (any::<usize>(), place()).prop_map(|(who, to)| Order::Jump(who, to)),
        1 => (any::<usize>(), 0u16..3).prop_map(|(who, state)| Order::State(who, state)),
        1 => (any::<usize>(), any::<u16>(), any::<u8>(), any::<u8>())
            .prop_map(|(who, health, team, action)| Order::Warm(who, Warm { health, team, action })),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(who, hidden)| Order::Hidden(who, hidden)),
        1 => (any::<usize>(), 0..=GROUPS).prop_map(|(who, group)| Order::Group(who, group)),
    ]
}

fn ticks() -> impl Strategy<Value = Vec<Tick>> {
    let bound = prop_oneof![Just(1usize << 24), 0usize..600];
    let client = (prop::bool::weighted(0.85), bound, place());
    prop::collection::vec((prop::collection::vec(order(), 0..14), prop::collection::vec(client, 4)), 1..40)
}

fn maze() -> impl Strategy<Value = TileMap> {
    prop::collection::vec((1..WIDTH - 1, 1..HEIGHT - 1), 0..600).prop_map(|walls| {
        let mut map = TileMap::open(WIDTH, HEIGHT);
        for (x, y) in walls {
            map.set_wall(x, y);
        }
        map
    })
}

/// Every tick in one cell, with lower rates farther away, and where walls hide.
fn scopes() -> [Scope; 4] {
    [
        Scope::every_tick(0),
        Scope { half_rate_units: 0, quarter_rate_units: metres(5), ..Scope::every_tick(metres(9)) },
        Scope { half_rate_units: metres(8), quarter_rate_units: metres(20), ..Scope::every_tick(metres(40)) },
        Scope { walls_hide: true, ..Scope::every_tick(metres(24)) },
    ]
}

/// Zone and model, given the same orders.
struct Pair {
    zone: Zone,
    model: Model,
}

impl Pair {
    fn new(map: TileMap) -> Pair {
        Pair { zone: Zone::new(Arc::new(map.clone())), model: Model::new(map) }
    }

    fn pick(&self, who: usize) -> Option<EntityId> {
        self.model.living.keys().nth(who % self.model.living.len().max(1)).copied()
    }

    fn give(&mut self, order: &Order) {
        match order {
            Order::Spawn { at, what, state, team } => {
                let pos = Pos { x: at.0, y: at.1 };
                if !self.model.map.is_open(pos) {
                    return;
                }
                let warm = Warm { team: *team, ..Warm::default() };
                let name = if *what == 0 { "Abe" } else { "" };
                let spawn = Spawn { pos, kind: EntityKind(*what), state: *state, name, warm };
                let id = self.zone.spawn(spawn);
                self.model.spawn(id, spawn);
            }
            Order::Despawn(who) => {
                let Some(id) = self.pick(*who) else { return };
                assert!(self.zone.despawn(id));
                assert!(!self.zone.despawn(id), "only once");
                self.model.despawn(id);
                assert_eq!(
                    (self.zone.position(id), self.zone.kind(id), self.zone.state(id)),
                    (None, None, None)
                );
                assert_eq!((self.zone.warm(id), self.zone.is_hidden(id)), (None, None));
            }
            Order::Walk(who, dx, dy) => {
                let Some(id) = self.pick(*who) else { return };
                let by = Displacement { dx: *dx, dy: *dy };
                self.zone.walk(id, by);
                self.model.walk(id, by);
            }
            Order::Inputs(who, steps) => {
                let Some(id) = self.pick(*who) else { return };
                for (dx, dy) in steps {
                    let from = self.zone.position(id).unwrap();
                    let to = motion::step(&self.model.map, from, Displacement { dx: *dx, dy: *dy });
                    self.zone.place(id, to);
                    self.model.place(id, to);
                }
            }
            Order::Jump(who, to) => {
                let Some(id) = self.pick(*who) else { return };
                let to = Pos { x: to.0, y: to.1 };
                if self.model.map.is_open(to) {
                    self.zone.place(id, to);
                    self.model.place(id, to);
                }
            }
            Order::Warm(who, warm) => {
                let Some(id) = self.pick(*who) else { return };
                *self.zone.warm_mut(id).unwrap() = *warm;
                self.model.living.get_mut(&id).unwrap().warm = *warm;
            }
            Order::Hidden(who, hidden) => {
                let Some(id) = self.pick(*who) else { return };
                self.zone.set_hidden(id, *hidden);
                self.model.living.get_mut(&id).unwrap().hidden = *hidden;
            }
            Order::Group(who, group) => {
                let Some(id) = self.pick(*who) else { return };
                assert!(self.zone.set_group(id, *group));
                self.model.set_group(id, *group);
            }
            Order::State(who, state) => {
                let Some(id) = self.pick(*who) else { return };
                self.zone.set_state(id, *state);
                self.model.set_state(id, *state);
            }
        }
    }

    fn check_orders(&self) {
        assert_eq!(self.zone.len(), self.model.living.len());
        for (id, entity) in &self.model.living {
            assert_eq!(self.zone.position(*id), Some(self.model.ordered_pos(*id)));
            assert_eq!(self.zone.kind(*id), Some(entity.kind));
            assert_eq!(self.zone.state(*id), Some(entity.state));
            assert_eq!(self.zone.warm(*id), Some(entity.warm));
            assert_eq!(self.zone.is_hidden(*id), Some(entity.hidden));
        }
    }

    fn step(&mut self) {
        self.zone.step(&mut ());
        self.model.step();
        check_columns(&self.zone);
        assert_eq!(self.zone.state_hash(), self.model.hash(self.zone.grid));
        let listed: Vec<_> = self.zone.entities().collect();
        let cells: Vec<(u16, u16)> = listed.iter().map(|(_, pos, ..)| (pos.cell().y, pos.cell().x)).collect();
        assert!(cells.is_sorted());
        assert_eq!(listed.len(), self.model.shown.len());
        for (id, pos, kind, state) in listed {
            let entity = &self.model.shown[&id];
            assert_eq!((pos, kind, state), (entity.pos, entity.kind, entity.state), "{id}");
        }
    }

    fn check_queries(&self, centre: Pos, radius: u32) {
        let near = |pos: Pos| pos.distance_squared(centre) <= u64::from(radius).pow(2);
        let alive = |id: &EntityId| self.model.living.contains_key(id);
        let real: BTreeSet<(EntityId, (u32, u32))> = self
            .model
            .shown
            .iter()
            .filter(|(id, entity)| alive(id) && near(entity.pos))
            .map(|(id, entity)| (*id, (entity.pos.x, entity.pos.y)))
            .collect();
        let mut found = Vec::new();
        self.zone.within(centre, radius, |id, pos| found.push((id, (pos.x, pos.y))));
        assert_eq!(found.len(), real.len());
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), real);
        let accept = |id: EntityId| self.zone.kind(id) == Some(EntityKind::npc(1));
        let nearest = real
            .iter()
            .filter(|(id, _)| accept(*id))
            .min_by_key(|(id, (x, y))| (Pos { x: *x, y: *y }.distance_squared(centre), *id));
        let expected = nearest.map(|(id, (x, y))| (*id, Pos { x: *x, y: *y }));
        assert_eq!(self.zone.nearest(centre, radius, accept), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_zone_does_as_the_model_and_clients_hold_exactly_their_cells(map in maze(), ticks in ticks()) {
        let mut pair = Pair::new(map);
        let mut mirrors = scopes().map(Mirror::new);
        for (number, (orders, clients)) in ticks.iter().enumerate() {
            for order in orders {
                pair.give(order);
            }
            pair.check_orders();
            pair.check_queries(Pos { x: clients[0].2.0, y: clients[0].2.1 }, metres(number as u32));
            pair.step();
            for (mirror, (served, bytes_max, at)) in mirrors.iter_mut().zip(clients) {
                // One client follows the first entity, the others look from anywhere or stay for a while.
                let follows = pair.model.shown.values().next().filter(|_| bytes_max % 3 == 0);
                let centre = follows.map_or(Pos { x: at.0 & !0xffff, y: at.1 }, |entity| entity.pos);
                let to = Subscriber { centre, input_ack: number as u32, bytes_max: *bytes_max };
                if *served {
                    mirror.serve(&mut pair.zone, &pair.model, &to);
                }
            }
        }
    }

    #[test]
    fn the_same_orders_give_the_same_bytes_and_hash_at_every_level(map in maze(), ticks in ticks()) {
        let run = |level: SimdLevel| {
            let mut pair = Pair::new(map.clone());
            pair.zone.set_simd(level);
            let mut view = crate::View::new(metres(30));
            let mut trace = Vec::new();
            let mut bytes = Vec::new();
            for (orders, clients) in &ticks {
                for order in orders {
                    pair.give(order);
                }
                pair.step();
                let to = Subscriber { centre: tile(40, 40, 0, 0), input_ack: 0, bytes_max: clients[0].1 };
                pair.zone.write_snapshot(&mut view, &to, &mut bytes);
                trace.push(pair.zone.state_hash());
            }
            (trace, bytes)
        };
        let scalar = run(SimdLevel::SCALAR);
        for level in SimdLevel::supported() {
            prop_assert_eq!(&run(level), &scalar, "{}", level.name());
        }
    }

    #[test]
    fn subscriptions_are_the_cells_in_reach(at in place(), radius in 0u32..metres(90), moves in
        prop::collection::vec((-3000i32..3000, -3000i32..3000), 0..40)) {
        let mut zone = Zone::new(Arc::new(TileMap::open(WIDTH, HEIGHT)));
        let mut model = Model::new(TileMap::open(WIDTH, HEIGHT));
        let mut mirror = Mirror::new(Scope::every_tick(radius));
        let mut centre = Pos { x: at.0, y: at.1 };
        for (dx, dy) in moves {
            centre.x = centre.x.saturating_add_signed(dx);
            centre.y = centre.y.saturating_add_signed(dy);
            zone.step(&mut ());
            model.step();
            let to = Subscriber { centre, input_ack: 0, bytes_max: 1 << 24 };
            mirror.serve(&mut zone, &model, &to);
        }
    }
}

#[test]
fn a_client_that_walks_along_a_border_is_not_sent_the_same_cells_again() {
    let mut zone = super::open_zone(96, 96);
    let mut model = Model::new(TileMap::open(96, 96));
    let mut mirror = Mirror::new(Scope::every_tick(metres(10)));
    let mut lengths = Vec::new();
    for tick in 0..40u32 {
        zone.step(&mut ());
        model.step();
        let x = 2 * CELL_UNITS - metres(10) + if tick % 2 == 0 { metres(1) } else { 0 } - 500;
        let to = Subscriber { centre: Pos { x, y: metres(48) }, input_ack: 0, bytes_max: 1 << 24 };
        lengths.push(mirror.serve(&mut zone, &model, &to));
    }
    let cells = mirror.view.held().map(|(cell, _)| cell).collect::<BTreeSet<CellCoord>>();
    assert_eq!(cells, BTreeSet::from([CellCoord { x: 1, y: 1 }, CellCoord { x: 2, y: 1 }]));
    assert!(lengths[2..].iter().all(|&length| length == 24), "{lengths:?}");
}
