//! Worlds to measure: who stands where, and the same new inputs for everyone who is measured on it.
//!
//! The same scenario gives the same population and the same inputs on every machine.

use std::f64::consts::PI;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use thiserror::Error;
use vyuha_core::{PAIR_RADIUS_UNITS_MAX, SimdLevel, Spawn, Warm, ZONE_ENTITIES_MAX, Zone};
use vyuha_protocol::map::MAP_TILES_MAX;
use vyuha_protocol::motion::{Heading, displacement};
use vyuha_protocol::units::{UNITS_PER_METRE, metres};
use vyuha_protocol::{Displacement, EntityId, EntityKind, Pos, TileMap};

use crate::SharedMap;

/// Two entities are neighbours when they are this near, in units (30 m).
pub const NEIGHBOUR_UNITS: u32 = metres(NEIGHBOUR_METRES);
const NEIGHBOUR_METRES: u32 = 30;
/// Of how many entities one gets a new input each tick (5%).
pub const ENTITIES_PER_INPUT: u32 = 20;
/// Full speed, in units a tick: 5 m/s at 30 ticks a second.
const SPEED_UNITS: u16 = 341;
/// Entities of a cluster, and how far from its centre they stand at most, in metres.
const CLUSTER_ENTITIES: u32 = 1000;
const CLUSTER_METRES: i32 = 60;
/// Entities whose neighbours are counted for [`World::neighbours_mean`].
const SAMPLE_ENTITIES: usize = 500;

const _: () = assert!(NEIGHBOUR_UNITS <= PAIR_RADIUS_UNITS_MAX);

/// How the entities of a scenario are spread over its map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// Evenly, so that each has the wished number of neighbours.
    Uniform,
    /// One to a square metre, whatever number of neighbours was wished: 2,800 each.
    Crowd,
    /// On a map as large as the uniform one, in towns of 1,000 within 60 m.
    Clustered,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Shape; 3] = [Shape::Uniform, Shape::Crowd, Shape::Clustered];

    /// Its name, as options and charts show it.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Uniform => "uniform",
            Shape::Crowd => "crowd",
            Shape::Clustered => "clustered",
        }
    }
}

/// What is to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// How many entities, from 1 to [`ZONE_ENTITIES_MAX`].
    pub entities: u32,
    /// How many others each one has within [`NEIGHBOUR_UNITS`] on average, at least 1.
    pub neighbours: u32,
    /// How they are spread.
    pub shape: Shape,
    /// Decides places and inputs.
    pub seed: u64,
    /// The vector instructions that the zone's passes use.
    pub simd: SimdLevel,
}

/// Why a scenario cannot be built.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ScenarioError {
    /// Too few or too many entities.
    #[error("{0} entities; choose 1 to {ZONE_ENTITIES_MAX}")]
    Entities(u32),
    /// Nobody is anybody's neighbour.
    #[error("0 neighbours; choose 1 or more")]
    Neighbours,
    /// The map would be larger than one may be.
    #[error("the map would be {0} m wide, over {MAP_TILES_MAX}; choose fewer entities or more neighbours")]
    TooThin(u32),
}

/// A map, who stands on it, and whither they walk; and their inputs, tick by tick.
#[derive(Debug, Clone)]
pub struct Population {
    /// The map: open ground inside a wall.
    pub map: SharedMap,
    /// By entity: where it stands.
    pub places: Vec<Pos>,
    /// By entity: its displacement a tick, never zero.
    pub walks: Vec<Displacement>,
    random: Pcg64Mcg,
}

impl Scenario {
    /// Places everyone.
    pub fn populate(&self) -> Result<Population, ScenarioError> {
        if self.entities == 0 || self.entities as usize > ZONE_ENTITIES_MAX {
            return Err(ScenarioError::Entities(self.entities));
        }
        if self.neighbours == 0 {
            return Err(ScenarioError::Neighbours);
        }
        let square_metres = match self.shape {
            Shape::Crowd => 1.0,
            Shape::Uniform | Shape::Clustered => {
                PI * f64::from(NEIGHBOUR_METRES.pow(2)) / f64::from(self.neighbours)
            }
        };
        let inner = (f64::from(self.entities) * square_metres).sqrt().ceil() as u32;
        // The walls take a metre on each side.
        let side = inner + 2;
        if side > MAP_TILES_MAX {
            return Err(ScenarioError::TooThin(side));
        }
        let mut random = Pcg64Mcg::seed_from_u64(self.seed);
        let inner = inner * UNITS_PER_METRE;
        let anywhere = |random: &mut Pcg64Mcg| Pos {
            x: metres(1) + random.random_range(0..inner),
            y: metres(1) + random.random_range(0..inner),
        };
        let places = if self.shape == Shape::Clustered {
            let towns = self.entities.div_ceil(CLUSTER_ENTITIES);
            let towns: Vec<Pos> = (0..towns).map(|_| anywhere(&mut random)).collect();
            let half = CLUSTER_METRES * UNITS_PER_METRE as i32 / 2;
            // The sum of two: denser towards the centre.
            let mut aside = |at: u32| {
                let by = random.random_range(-half..=half) + random.random_range(-half..=half);
                at.saturating_add_signed(by).clamp(metres(1), metres(1) + inner - 1)
            };
            let mut near = |town: Pos| Pos { x: aside(town.x), y: aside(town.y) };
            (0..self.entities as usize).map(|entity| near(towns[entity % towns.len()])).collect()
        } else {
            (0..self.entities).map(|_| anywhere(&mut random)).collect()
        };
        let walks = (0..self.entities).map(|_| walk(&mut random)).collect();
        Ok(Population { map: TileMap::open(side, side).into(), places, walks, random })
    }
}

impl Population {
    /// Replaces `inputs` by the next tick's: entity and new displacement. Of several for one entity the last counts.
    pub fn inputs(&mut self, inputs: &mut Vec<(u32, Displacement)>) {
        inputs.clear();
        let entities = self.places.len() as u32;
        for _ in 0..entities.div_ceil(ENTITIES_PER_INPUT) {
            inputs.push((self.random.random_range(0..entities), walk(&mut self.random)));
        }
    }
}

/// A displacement in some direction, at some speed but zero.
fn walk(random: &mut Pcg64Mcg) -> Displacement {
    loop {
        let heading = Heading { x: random.random_range(-127..=127), y: random.random_range(-127..=127) };
        let by = displacement(heading, SPEED_UNITS);
        if by != Displacement::default() {
            return by;
        }
    }
}

/// A zone with a population on it, one step old.
pub struct World {
    /// The zone.
    pub zone: Zone,
    /// By entity of the population: its id.
    pub ids: Vec<EntityId>,
    population: Population,
    inputs: Vec<(u32, Displacement)>,
    orders: Vec<(EntityId, Displacement)>,
}

impl World {
    /// Builds the scenario's zone.
    pub fn new(scenario: &Scenario) -> Result<World, ScenarioError> {
        Ok(World::of(scenario.populate()?, scenario.simd))
    }

    /// Builds a zone of a population, in which each is told who comes within [`NEIGHBOUR_UNITS`] and who leaves.
    pub fn of(population: Population, simd: SimdLevel) -> World {
        let mut zone = Zone::new(population.map.clone());
        zone.set_simd(simd);
        let spawn = |(&pos, &by): (&Pos, &Displacement)| {
            let id = zone.spawn(Spawn {
                pos,
                kind: EntityKind::npc(1),
                state: 0,
                name: "",
                warm: Warm::default(),
            });
            zone.walk(id, by);
            id
        };
        let ids = population.places.iter().zip(&population.walks).map(spawn).collect();
        zone.step(&mut ());
        // Not before: in a crowd of a million each comes into the range of thousands at once.
        zone.watch_pairs(Some(NEIGHBOUR_UNITS));
        World { zone, ids, population, inputs: Vec::new(), orders: Vec::new() }
    }

    /// Decides the coming tick's inputs, which is no part of a tick.
    pub fn decide(&mut self) {
        self.population.inputs(&mut self.inputs);
        self.orders.clear();
        let order = |&(entity, by): &(u32, Displacement)| (self.ids[entity as usize], by);
        self.orders.extend(self.inputs.iter().map(order));
    }

    /// Hands the inputs that were decided to the zone, as the server does before its step.
    pub fn order(&mut self) {
        self.zone.walk_all(&self.orders);
    }

    /// How many others stand within [`NEIGHBOUR_UNITS`] of one, on average over a sample.
    pub fn neighbours_mean(&self) -> f64 {
        let stride = self.ids.len().div_ceil(SAMPLE_ENTITIES);
        let (mut sampled, mut neighbours) = (0, 0);
        for id in self.ids.iter().step_by(stride) {
            let centre = self.zone.position(*id).expect("nobody is despawned");
            sampled += 1;
            self.zone.within(centre, NEIGHBOUR_UNITS, |other, _| neighbours += u32::from(other != *id));
        }
        f64::from(neighbours) / f64::from(sampled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(entities: u32, shape: Shape) -> Scenario {
        Scenario { entities, neighbours: 40, shape, seed: 1, simd: SimdLevel::detect() }
    }

    fn hashes(scenario: &Scenario) -> Vec<u64> {
        let mut world = World::new(scenario).unwrap();
        let tick = |_| {
            world.decide();
            world.order();
            world.zone.step(&mut ());
            world.zone.state_hash()
        };
        (0..20).map(tick).collect()
    }

    #[test]
    fn a_scenario_runs_the_same_with_all_vectors_and_another_seed_otherwise() {
        for shape in Shape::ALL {
            let scenario = scenario(2000, shape);
            let first = hashes(&scenario);
            assert_eq!(first, hashes(&scenario), "{shape:?}");
            for simd in SimdLevel::supported() {
                assert_eq!(first, hashes(&Scenario { simd, ..scenario }), "{shape:?}, {}", simd.name());
            }
            assert_ne!(first, hashes(&Scenario { seed: 2, ..scenario }), "{shape:?}");
            assert!(first.windows(2).all(|pair| pair[0] != pair[1]), "{shape:?}: it stands still");
        }
    }

    #[test]
    fn shapes_are_as_dense_as_they_say() {
        // At the edge of the map there are fewer; a large map has little of it.
        for (shape, neighbours) in
            [(Shape::Uniform, 36.0..41.0), (Shape::Crowd, 2000.0..2828.0), (Shape::Clustered, 150.0..900.0)]
        {
            let mean = World::new(&scenario(20_000, shape)).unwrap().neighbours_mean();
            assert!(neighbours.contains(&mean), "{shape:?}: {mean}");
        }
        let thin = Scenario { neighbours: 10, ..scenario(20_000, Shape::Uniform) };
        let mean = World::new(&thin).unwrap().neighbours_mean();
        assert!((9.0..10.5).contains(&mean), "{mean}");
    }

    #[test]
    fn everyone_moves_but_for_the_few_at_the_wall() {
        for shape in Shape::ALL {
            let mut world = World::new(&scenario(5000, shape)).unwrap();
            let places = |world: &World| -> Vec<Option<Pos>> {
                world.ids.iter().map(|id| world.zone.position(*id)).collect()
            };
            for _ in 0..30 {
                world.decide();
                world.order();
                world.zone.step(&mut ());
            }
            let before = places(&world);
            world.zone.step(&mut ());
            let still =
                before.iter().zip(places(&world)).filter(|(before, after)| **before == *after).count();
            assert!(still < 100, "{shape:?}: {still} stand still");
        }
    }

    #[test]
    fn one_in_twenty_gets_an_input_and_always_one() {
        for (entities, expected) in [(1, 1), (20, 1), (21, 2), (1000, 50)] {
            let mut population = scenario(entities, Shape::Uniform).populate().unwrap();
            let mut inputs = Vec::new();
            population.inputs(&mut inputs);
            assert_eq!(inputs.len(), expected);
            assert!(inputs.iter().all(|(entity, _)| *entity < entities));
        }
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let refused = |entities, neighbours, shape| {
            Scenario { neighbours, ..scenario(entities, shape) }.populate().err().unwrap()
        };
        let many = ZONE_ENTITIES_MAX as u32 + 1;
        assert_eq!(refused(0, 40, Shape::Uniform), ScenarioError::Entities(0));
        assert_eq!(refused(many, 40, Shape::Crowd), ScenarioError::Entities(many));
        assert_eq!(refused(10, 0, Shape::Crowd), ScenarioError::Neighbours);
        assert!(matches!(refused(10_000_000, 1, Shape::Uniform), ScenarioError::TooThin(_)));
    }
}
