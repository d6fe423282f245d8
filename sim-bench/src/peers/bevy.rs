//! bevy_ecs: components, resources and systems in one schedule.

#![allow(clippy::needless_pass_by_value, reason = "a system takes its parameters by value")]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bevy_ecs::prelude::{
    Component, Entity, IntoScheduleConfigs as _, Local, Query, Res, ResMut, Resource, Schedule, World,
};
use vyuha_protocol::{Displacement, Pos};

use super::grid::{DenseGrid, HashedGrid, Track, compare_lists, compare_sets};
use super::{Engine, Event, Style, by_number, walk};
use crate::SharedMap;
use crate::scenario::Population;

#[derive(Component, Clone, Copy)]
struct Position(Pos);
#[derive(Component, Clone, Copy)]
struct Before(Pos);
#[derive(Component)]
struct Walk(Displacement);
#[derive(Component, Default)]
struct SeenSet(HashSet<Entity>);
#[derive(Component, Default)]
struct SeenList(Vec<Entity>);

#[derive(Resource)]
struct Ground(SharedMap);
#[derive(Resource)]
struct Hashed(HashedGrid<Entity>);
#[derive(Resource)]
struct Dense(DenseGrid<(Entity, Pos)>);
#[derive(Resource)]
struct Tracks(DenseGrid<Track<Entity>>);
#[derive(Resource, Default)]
struct Events(Vec<Event<Entity>>);

fn move_all(mut walkers: Query<(&mut Position, &mut Walk)>, ground: Res<Ground>) {
    for (mut pos, mut by) in &mut walkers {
        let (mut to, mut made) = (pos.0, by.0);
        walk(&ground.0, &mut to, &mut made);
        pos.0 = to;
        by.0 = made;
    }
}

fn move_tracked(mut walkers: Query<(&mut Position, &mut Before, &mut Walk)>, ground: Res<Ground>) {
    for (mut pos, mut before, mut by) in &mut walkers {
        before.0 = pos.0;
        walk(&ground.0, &mut pos.0, &mut by.0);
    }
}

fn fill_hashed(entities: Query<(Entity, &Position)>, mut grid: ResMut<Hashed>) {
    grid.0.clear();
    for (entity, pos) in &entities {
        grid.0.put(pos.0, entity);
    }
}

fn fill_dense(entities: Query<(Entity, &Position)>, mut grid: ResMut<Dense>) {
    let grid = &mut grid.0;
    grid.clear();
    for (entity, pos) in &entities {
        grid.put(pos.0, (entity, pos.0));
    }
}

fn fill_tracks(entities: Query<(Entity, &Position, &Before)>, mut grid: ResMut<Tracks>) {
    let grid = &mut grid.0;
    grid.clear();
    for (entity, pos, before) in &entities {
        grid.put(pos.0, Track { entity, now: pos.0, before: before.0 });
    }
}

fn interest_by_sets(
    mut observers: Query<(Entity, &Position, &mut SeenSet)>,
    places: Query<&Position>,
    grid: Res<Hashed>,
    mut events: ResMut<Events>,
) {
    events.0.clear();
    for (entity, pos, mut seen) in &mut observers {
        let near = grid.0.near(pos.0, entity, |other| places.get(other).ok().map(|at| at.0));
        compare_sets(entity, &seen.0, &near, &mut events.0);
        seen.0 = near;
    }
}

fn interest_by_lists(
    mut observers: Query<(Entity, &Position, &mut SeenList)>,
    grid: Res<Dense>,
    mut events: ResMut<Events>,
    mut near: Local<Vec<Entity>>,
) {
    let events = &mut events.0;
    events.clear();
    for (entity, pos, mut seen) in &mut observers {
        grid.0.near(pos.0, entity, &mut near);
        compare_lists(entity, &seen.0, &near, events);
        std::mem::swap(&mut seen.0, &mut *near);
    }
}

fn interest_by_tracks(
    observers: Query<(Entity, &Position, &Before)>,
    grid: Res<Tracks>,
    mut events: ResMut<Events>,
) {
    let events = &mut events.0;
    events.clear();
    for (entity, pos, before) in &observers {
        grid.0.changes(Track { entity, now: pos.0, before: before.0 }, events);
    }
}

pub struct Bevy {
    style: Style,
    world: World,
    schedule: Schedule,
    entities: Vec<Entity>,
}

impl Bevy {
    pub fn new(population: &Population, style: Style) -> Bevy {
        let mut world = World::new();
        world.insert_resource(Ground(population.map.clone()));
        world.insert_resource(Events::default());
        let mut prime = Schedule::default();
        let mut schedule = Schedule::default();
        match style {
            Style::Idiomatic => {
                world.insert_resource(Hashed(HashedGrid::new()));
                prime.add_systems((fill_hashed, interest_by_sets).chain());
                schedule.add_systems((move_all, fill_hashed, interest_by_sets).chain());
            }
            Style::Tuned => {
                world.insert_resource(Dense(DenseGrid::new(&population.map)));
                prime.add_systems((fill_dense, interest_by_lists).chain());
                schedule.add_systems((move_all, fill_dense, interest_by_lists).chain());
            }
            Style::Stateless => {
                world.insert_resource(Tracks(DenseGrid::new(&population.map)));
                schedule.add_systems((move_tracked, fill_tracks, interest_by_tracks).chain());
            }
        }
        let all = population.places.iter().zip(&population.walks);
        let entities = all.map(|(&pos, &by)| {
            let entity = world.spawn((Position(pos), Walk(by)));
            match style {
                Style::Idiomatic => { entity }.insert(SeenSet::default()).id(),
                Style::Tuned => { entity }.insert(SeenList::default()).id(),
                Style::Stateless => { entity }.insert(Before(pos)).id(),
            }
        });
        let entities = entities.collect();
        prime.run(&mut world);
        Bevy { style, world, schedule, entities }
    }
}

impl Engine for Bevy {
    fn name(&self) -> &'static str {
        "bevy_ecs"
    }

    fn style(&self) -> Style {
        self.style
    }

    fn order(&mut self, inputs: &[(u32, Displacement)]) {
        for &(entity, by) in inputs {
            let mut walk =
                self.world.get_mut::<Walk>(self.entities[entity as usize]).expect("everyone walks");
            walk.0 = by;
        }
    }

    fn tick(&mut self) -> Duration {
        let begin = Instant::now();
        self.schedule.run(&mut self.world);
        begin.elapsed()
    }

    fn events(&self) -> Vec<Event<u32>> {
        by_number(&self.world.resource::<Events>().0, &self.entities)
    }
}
