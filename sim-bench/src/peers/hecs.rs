//! hecs: components in a world, loops in one function.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ::hecs::{Entity, World};
use vyuha_protocol::{Displacement, Pos};

use super::grid::{DenseGrid, HashedGrid, Track, compare_lists, compare_sets};
use super::{Engine, Event, Style, by_number, walk};
use crate::SharedMap;
use crate::scenario::Population;

struct Position(Pos);
struct Before(Pos);
struct Walk(Displacement);
struct SeenSet(HashSet<Entity>);
struct SeenList(Vec<Entity>);

pub struct Hecs {
    style: Style,
    map: SharedMap,
    world: World,
    entities: Vec<Entity>,
    hashed: HashedGrid<Entity>,
    dense: DenseGrid<(Entity, Pos)>,
    tracks: DenseGrid<Track<Entity>>,
    near: Vec<Entity>,
    events: Vec<Event<Entity>>,
}

impl Hecs {
    pub fn new(population: &Population, style: Style) -> Hecs {
        let map = population.map.clone();
        let mut world = World::new();
        let all = population.places.iter().zip(&population.walks);
        let entities = all.map(|(&pos, &by)| match style {
            Style::Idiomatic => world.spawn((Position(pos), Walk(by), SeenSet(HashSet::new()))),
            Style::Tuned => world.spawn((Position(pos), Walk(by), SeenList(Vec::new()))),
            Style::Stateless => world.spawn((Position(pos), Walk(by), Before(pos))),
        });
        let entities = entities.collect();
        let mut engine = Hecs {
            style,
            world,
            entities,
            hashed: HashedGrid::new(),
            dense: DenseGrid::new(&map),
            tracks: DenseGrid::new(&map),
            map,
            near: Vec::new(),
            events: Vec::new(),
        };
        match style {
            Style::Idiomatic => engine.interest_by_sets(),
            Style::Tuned => engine.interest_by_lists(),
            Style::Stateless => {}
        }
        engine
    }

    fn move_all(&mut self) {
        for (pos, by) in self.world.query_mut::<(&mut Position, &mut Walk)>() {
            walk(&self.map, &mut pos.0, &mut by.0);
        }
    }

    fn interest_by_sets(&mut self) {
        self.hashed.clear();
        for (entity, pos) in self.world.query_mut::<(Entity, &Position)>() {
            self.hashed.put(pos.0, entity);
        }
        self.events.clear();
        let mut observers = self.world.query::<(Entity, &Position, &mut SeenSet)>();
        let mut places = self.world.query::<&Position>();
        let places = places.view();
        for (entity, pos, seen) in &mut observers {
            let near = self.hashed.near(pos.0, entity, |other| places.get(other).map(|at| at.0));
            compare_sets(entity, &seen.0, &near, &mut self.events);
            seen.0 = near;
        }
    }

    fn interest_by_lists(&mut self) {
        self.dense.clear();
        for (entity, pos) in self.world.query_mut::<(Entity, &Position)>() {
            self.dense.put(pos.0, (entity, pos.0));
        }
        self.events.clear();
        for (entity, pos, seen) in self.world.query_mut::<(Entity, &Position, &mut SeenList)>() {
            self.dense.near(pos.0, entity, &mut self.near);
            compare_lists(entity, &seen.0, &self.near, &mut self.events);
            std::mem::swap(&mut seen.0, &mut self.near);
        }
    }

    fn tick_stateless(&mut self) {
        for (pos, before, by) in self.world.query_mut::<(&mut Position, &mut Before, &mut Walk)>() {
            before.0 = pos.0;
            walk(&self.map, &mut pos.0, &mut by.0);
        }
        self.tracks.clear();
        for (entity, pos, before) in self.world.query_mut::<(Entity, &Position, &Before)>() {
            self.tracks.put(pos.0, Track { entity, now: pos.0, before: before.0 });
        }
        self.events.clear();
        for (entity, pos, before) in self.world.query_mut::<(Entity, &Position, &Before)>() {
            self.tracks.changes(Track { entity, now: pos.0, before: before.0 }, &mut self.events);
        }
    }
}

impl Engine for Hecs {
    fn name(&self) -> &'static str {
        "hecs"
    }

    fn style(&self) -> Style {
        self.style
    }

    fn order(&mut self, inputs: &[(u32, Displacement)]) {
        for &(entity, by) in inputs {
            let walk = self.world.query_one_mut::<&mut Walk>(self.entities[entity as usize]);
            walk.expect("everyone walks").0 = by;
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
