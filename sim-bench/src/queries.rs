//! What questions cost that rules ask of the zone in batches: of the last tick, and of a past one as a shooter saw it.

use std::fmt;
use std::time::Instant;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use serde::Serialize;
use vyuha_core::{Circle, Cone, Found, Moment, Ray, Zone, lines_of_sight};
use vyuha_protocol::motion::Heading;
use vyuha_protocol::units::{UNITS_PER_METRE, metres};
use vyuha_protocol::{EntityId, Pos};

use crate::progress::Progress;
use crate::scenario::{Scenario, ScenarioError, World};
use crate::statistics::{spread, thousandths};

/// How long ago a past question is asked of: what a client shows whose round trip takes 150 ms.
const PAST_TICKS: u32 = 8;
/// Ticks that are run first; the history holds as many.
const WARM_TICKS: u32 = 2 * PAST_TICKS;
/// Of how many entities one shoots in a tick.
const ENTITIES_PER_SHOT: usize = 10;
const SHOT_METRES: f64 = 30.0;
/// The targets' radius (50 cm).
const TARGET_UNITS: u32 = UNITS_PER_METRE / 2;

/// What one kind of question costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueryReport {
    /// Its stable name.
    pub name: &'static str,
    /// The median of the batches, over the questions of a batch.
    pub ns: f64,
    /// Questions of a batch; it is told in words only.
    #[serde(skip)]
    pub questions: usize,
    /// How many entities a question found on average (lines of sight: how many were free); in words only.
    #[serde(skip)]
    pub found: f64,
}

/// What questions cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueriesReport {
    /// How many entities.
    pub entities: u32,
    /// The instruction set of the kernels.
    pub simd: &'static str,
    /// By kind of question.
    pub queries: Vec<QueryReport>,
}

/// The batches of one tick, in the order in which rules ask: whoever asks, in cell order.
pub struct Batches {
    rays: Vec<Ray>,
    sight: Vec<(Pos, Pos)>,
    seekers: [Vec<Circle>; 2],
    circles: Vec<Circle>,
    cones: Vec<Cone>,
    hits: Vec<Option<(EntityId, Pos)>>,
    sees: Vec<bool>,
    found: Found,
}

/// One kind of question: its stable name, how many a batch has, and what asks a batch and says how much it found.
type Query = (&'static str, fn(&Batches) -> usize, fn(&mut Batches, &Zone) -> usize);

/// Every kind of question.
pub const QUERIES: [Query; 7] = [
    ("ray_past", |b| b.rays.len(), |b, zone| b.shoot(past(zone))),
    ("nearest_hostile", |b| b.seekers[1].len(), |b, zone| b.seek(1, past(zone))),
    ("nearest_hostile_10m", |b| b.seekers[0].len(), |b, zone| b.seek(0, past(zone))),
    ("nearest_hostile_past", |b| b.seekers[1].len(), |b, zone| b.seek(1, past(zone))),
    (
        "within_past",
        |b| b.circles.len(),
        |b, zone| {
            past(zone).all_within(&b.circles, &mut b.found);
            (0..b.circles.len()).map(|at| b.found.of(at).len()).sum()
        },
    ),
    (
        "cone_past",
        |b| b.cones.len(),
        |b, zone| {
            past(zone).all_in_cones(&b.cones, &mut b.found);
            (0..b.cones.len()).map(|at| b.found.of(at).len()).sum()
        },
    ),
    (
        "line_of_sight",
        |b| b.sight.len(),
        |b, zone| {
            lines_of_sight(zone.map(), &b.sight, &mut b.sees);
            b.sees.iter().filter(|sees| **sees).count()
        },
    ),
];

fn past(zone: &Zone) -> Moment<'_> {
    zone.at(zone.tick() - PAST_TICKS).expect("the history holds it")
}

impl Batches {
    /// The questions of those who stand in a world that has made its ticks.
    pub fn of(world: &World, seed: u64) -> Batches {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut batches = Batches {
            rays: Vec::new(),
            sight: Vec::new(),
            seekers: [Vec::new(), Vec::new()],
            circles: Vec::new(),
            cones: Vec::new(),
            hits: Vec::new(),
            sees: Vec::new(),
            found: Found::default(),
        };
        for (at, (id, pos, ..)) in world.zone.entities().enumerate() {
            for (seekers, radius_units) in batches.seekers.iter_mut().zip([metres(10), metres(20)]) {
                seekers.push(Circle { centre: pos, radius_units });
            }
            if at % ENTITIES_PER_SHOT != 0 {
                continue;
            }
            let (sin, cos) = random.random_range(0.0..std::f64::consts::TAU).sin_cos();
            let aside = |at: u32, part: f64| {
                let by = (part * SHOT_METRES * f64::from(UNITS_PER_METRE)) as i32;
                at.saturating_add_signed(by)
            };
            let to = Pos { x: aside(pos.x, cos), y: aside(pos.y, sin) };
            let circle = Circle { centre: pos, radius_units: metres(10) };
            let axis = Heading { x: (cos * 100.0) as i8, y: (sin * 100.0) as i8 };
            batches.rays.push(Ray { from: pos, to, radius_units: TARGET_UNITS, ignore: Some(id) });
            batches.sight.push((pos, to));
            batches.circles.push(circle);
            batches.cones.push(Cone { circle, axis, cosine: 23_170 });
        }
        batches
    }

    fn shoot(&mut self, moment: Moment<'_>) -> usize {
        moment.rays(&self.rays, &mut self.hits);
        self.hits.iter().flatten().count()
    }

    fn seek(&mut self, radius: usize, moment: Moment<'_>) -> usize {
        let circles = &self.seekers[radius];
        moment.nearest_within(circles, |_, id, _| id.0 & 1 == 1, &mut self.hits);
        self.hits.iter().flatten().count()
    }
}

/// Builds a scenario's world and lets it run until it has a past.
pub fn world(scenario: &Scenario) -> Result<World, ScenarioError> {
    let mut world = World::of(scenario.populate()?, scenario.simd);
    world.zone.keep_history(WARM_TICKS as usize);
    for _ in 0..WARM_TICKS {
        world.decide();
        world.order();
        world.zone.step(&mut ());
    }
    Ok(world)
}

/// Asks each kind of question in `rounds` batches, one of each kind a round.
///
/// # Panics
/// If `rounds` is 0.
pub fn measure(scenario: &Scenario, rounds: usize) -> Result<QueriesReport, ScenarioError> {
    let world = world(scenario)?;
    let mut batches = Batches::of(&world, scenario.seed);
    let mut progress = Progress::new(format!("{} entities, queries", scenario.entities), rounds);
    let mut series = vec![Vec::with_capacity(rounds); QUERIES.len()];
    let mut founds = [0.0; QUERIES.len()];
    // The first round fills buffers and caches and does not count.
    for round in 0..=rounds {
        for (at, (_, questions, ask)) in QUERIES.iter().enumerate() {
            let begin = Instant::now();
            let found = ask(&mut batches, &world.zone);
            let ns = begin.elapsed().as_secs_f64() * 1e9;
            let questions = questions(&batches) as f64;
            founds[at] = found as f64 / questions;
            if round > 0 {
                series[at].push(ns / questions);
            }
        }
        progress.at(round);
    }
    let queries = QUERIES.iter().zip(&series).zip(founds).map(|(((name, questions, _), series), found)| {
        QueryReport { name, ns: thousandths(spread(series).p50), questions: questions(&batches), found }
    });
    Ok(QueriesReport {
        entities: scenario.entities,
        simd: world.zone.simd().name(),
        queries: queries.collect(),
    })
}

impl fmt::Display for QueriesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entities; {}; a question in a batch:", self.entities, self.simd)?;
        for QueryReport { name, ns, questions, found } in &self.queries {
            write!(f, "\n  {name:<20} {ns:8.1} ns, {questions} in a batch, {found:.2} found each")?;
        }
        Ok(())
    }
}
