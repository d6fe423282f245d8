//! flecs, by its Rust binding: components in a world, cached queries.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use flecs_ecs::prelude::{Component, EntityViewGet as _, IdOperations as _, Query, QueryAPI as _, World};
use vyuha_protocol::{Displacement, Pos};

use super::grid::{DenseGrid, HashedGrid, Track, compare_lists, compare_sets};
use super::{Engine, Event, Style, by_number, walk};
use crate::SharedMap;
use crate::scenario::Population;

#[derive(Component)]
struct Position(Pos);
#[derive(Component)]
struct Before(Pos);
#[derive(Component)]
struct Walk(Displacement);
#[derive(Component)]
struct SeenSet(HashSet<u64>);
#[derive(Component)]
struct SeenList(Vec<u64>);

pub struct Flecs {
    style: Style,
    map: SharedMap,
    walkers: Query<(&'static mut Position, &'static mut Walk)>,
    tracked: Query<(&'static mut Position, &'static mut Before, &'static mut Walk)>,
    places: Query<&'static Position>,
    tracks_of: Query<(&'static Position, &'static Before)>,
    by_sets: Query<(&'static Position, &'static mut SeenSet)>,
    by_lists: Query<(&'static Position, &'static mut SeenList)>,
    entities: Vec<u64>,
    hashed: HashedGrid<u64>,
    dense: DenseGrid<(u64, Pos)>,
    tracks: DenseGrid<Track<u64>>,
    near: Vec<u64>,
    events: Vec<Event<u64>>,
    // Last, so that the queries are dropped before their world.
    world: World,
}

impl Flecs {
    pub fn new(population: &Population, style: Style) -> Flecs {
        let map = population.map.clone();
        let world = World::new();
        let all = population.places.iter().zip(&population.walks);
        let entities = all.map(|(&pos, &by)| {
            let entity = world.entity().set(Position(pos)).set(Walk(by));
            let entity = match style {
                Style::Idiomatic => entity.set(SeenSet(HashSet::new())),
                Style::Tuned => entity.set(SeenList(Vec::new())),
                Style::Stateless => entity.set(Before(pos)),
            };
            *entity.id()
        });
        let entities = entities.collect();
        let mut engine = Flecs {
            style,
            walkers: world.new_query(),
            tracked: world.new_query(),
            places: world.new_query(),
            tracks_of: world.new_query(),
            by_sets: world.new_query(),
            by_lists: world.new_query(),
            entities,
            hashed: HashedGrid::new(),
            dense: DenseGrid::new(&map),
            tracks: DenseGrid::new(&map),
            map,
            near: Vec::new(),
            events: Vec::new(),
            world,
        };
        match style {
            Style::Idiomatic => engine.interest_by_sets(),
            Style::Tuned => engine.interest_by_lists(),
            Style::Stateless => {}
        }
        engine
    }

    fn move_all(&mut self) {
        let map = &self.map;
        self.walkers.each(|(pos, by)| walk(map, &mut pos.0, &mut by.0));
    }

    fn interest_by_sets(&mut self) {
        let Flecs { places, by_sets, hashed, events, world, .. } = self;
        hashed.clear();
        places.each_entity(|entity, pos| hashed.put(pos.0, *entity.id()));
        events.clear();
        by_sets.each_entity(|entity, (pos, seen)| {
            let me = *entity.id();
            let place = |other: u64| world.entity_from_id(other).try_get::<&Position>(|at| at.0);
            let near = hashed.near(pos.0, me, place);
            compare_sets(me, &seen.0, &near, events);
            seen.0 = near;
        });
    }

    fn interest_by_lists(&mut self) {
        let Flecs { places, by_lists, dense, near, events, .. } = self;
        dense.clear();
        places.each_entity(|entity, pos| dense.put(pos.0, (*entity.id(), pos.0)));
        events.clear();
        by_lists.each_entity(|entity, (pos, seen)| {
            let me = *entity.id();
            dense.near(pos.0, me, near);
            compare_lists(me, &seen.0, near, events);
            std::mem::swap(&mut seen.0, near);
        });
    }

    fn tick_stateless(&mut self) {
        let Flecs { map, tracked, tracks_of, tracks, events, .. } = self;
        tracked.each(|(pos, before, by)| {
            before.0 = pos.0;
            walk(map, &mut pos.0, &mut by.0);
        });
        tracks.clear();
        tracks_of.each_entity(|entity, (pos, before)| {
            tracks.put(pos.0, Track { entity: *entity.id(), now: pos.0, before: before.0 });
        });
        events.clear();
        tracks_of.each_entity(|entity, (pos, before)| {
            tracks.changes(Track { entity: *entity.id(), now: pos.0, before: before.0 }, events);
        });
    }
}

impl Engine for Flecs {
    fn name(&self) -> &'static str {
        "flecs"
    }

    fn style(&self) -> Style {
        self.style
    }

    fn order(&mut self, inputs: &[(u32, Displacement)]) {
        for &(entity, by) in inputs {
            self.world.entity_from_id(self.entities[entity as usize]).get::<&mut Walk>(|walk| walk.0 = by);
        }
    }

    fn tick(&mut self) -> Duration {
        let begin = Instant::now();
        match self.style {
            Style::Idiomatic => {
                self.move_all();
                self.interest_by_sets();
            }
            Style::Tuned => {
                self.move_all();
                self.interest_by_lists();
            }
            Style::Stateless => self.tick_stateless(),
        }
        begin.elapsed()
    }

    fn events(&self) -> Vec<Event<u32>> {
        by_number(&self.events, &self.entities)
    }
}
