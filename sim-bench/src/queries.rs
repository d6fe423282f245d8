//! What questions cost that rules ask of the zone in batches: of the last tick, and of a past one as a shooter saw it.

use std::f64::consts::{FRAC_1_SQRT_2, TAU};
use std::fmt;
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use serde::Serialize;
use vyuha_core::{COSINE_FULL, Circle, Cone, Found, Moment, MomentError, Ray, Seeker, Shot, Zone};
use vyuha_protocol::motion::Heading;
use vyuha_protocol::units::{UNITS_PER_METRE, metres};
use vyuha_protocol::{EntityId, Pos};

use crate::progress::Progress;
use crate::scenario::{Scenario, ScenarioError, World};
use crate::statistics::{Spread, spread, thousandths};

/// How long ago a past question is asked of: what a client shows whose round trip takes 150 ms.
const PAST_TICKS: u32 = 8;
/// Ticks that are run first; the history holds as many.
const WARM_TICKS: u32 = 2 * PAST_TICKS;
/// Among how many ticks the shooters' views are spread.
const SPREAD_TICKS: u32 = 4;
/// Entities whose questions make a batch: short enough that few are interrupted by whatever else the machine does.
const ENTITIES_PER_BATCH: usize = 2000;
/// Of how many entities one shoots in a tick.
const ENTITIES_PER_SHOT: usize = 10;
/// Of how many entities one has its turn to look around.
const ENTITIES_PER_TURN: usize = 12;
/// Of how many entities one is a player whom the others are after.
const ENTITIES_PER_PLAYER: u32 = 10;
/// The kind of question for which everybody is in one of two halves that mingle, instead.
const MELEE: &str = "nearest_in_melee";
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
    /// The shortest of the batches, likewise; it is told in words only, as is what follows.
    #[serde(skip)]
    pub min_ns: f64,
    /// Questions of all batches of a round.
    #[serde(skip)]
    pub questions: usize,
    /// How many entities a question found on average; of lines of sight, how many were free.
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

/// A batch of each kind, in the order in which rules ask: whoever asks, in cell order.
#[derive(Debug, Default)]
struct Batch {
    rays: Vec<Ray>,
    /// The same rays, each as its shooter saw it: the ticks differ.
    shots: Vec<Shot>,
    sight: Vec<(Pos, Pos)>,
    /// Every NPC looks for players, far and near, or the twelfth of them whose turn it is.
    far: Vec<Seeker>,
    near: Vec<Seeker>,
    turn: Vec<Seeker>,
    /// Everybody looks for the other half.
    melee: Vec<Seeker>,
    circles: Vec<Circle>,
    cones: Vec<Cone>,
    hits: Vec<Option<(EntityId, Pos)>>,
    judged: Vec<Result<Option<(EntityId, Pos)>, MomentError>>,
    sees: Vec<bool>,
    found: Found,
}

/// One kind of question: its stable name, how many a batch has, and what asks a batch and says how much it found.
type Query = (&'static str, fn(&Batch) -> usize, fn(&mut Batch, &Zone) -> usize);

/// Every kind of question.
const QUERIES: [Query; 11] = [
    (
        "ray_past",
        |b| b.rays.len(),
        |b, zone| {
            past(zone).rays(&b.rays, &mut b.hits);
            b.hits.iter().flatten().count()
        },
    ),
    (
        "shot_as_seen",
        |b| b.rays.len(),
        |b, zone| {
            zone.shots(&b.shots, &mut b.judged);
            b.judged.iter().filter(|judged| matches!(judged, Ok(Some(_)))).count()
        },
    ),
    ("nearest_hostile", |b| b.far.len(), |b, zone| seek(zone.now(), &b.far, &mut b.hits)),
    ("nearest_hostile_10m", |b| b.near.len(), |b, zone| seek(zone.now(), &b.near, &mut b.hits)),
    ("nearest_hostile_turn", |b| b.turn.len(), |b, zone| seek(zone.now(), &b.turn, &mut b.hits)),
    ("nearest_hostile_past", |b| b.far.len(), |b, zone| seek(past(zone), &b.far, &mut b.hits)),
    (
        "nearest_accepted",
        |b| b.circles.len(),
        |b, zone| {
            zone.now().nearest_within(&b.circles, |_, id, _| id.0 & 1 == 1, &mut b.hits);
            b.hits.iter().flatten().count()
        },
    ),
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
            zone.lines_of_sight(&b.sight, &mut b.sees);
            b.sees.iter().filter(|sees| **sees).count()
        },
    ),
    (MELEE, |b| b.melee.len(), |b, zone| seek(zone.now(), &b.melee, &mut b.hits)),
];

/// The names of what is asked, in the order of the report.
pub fn query_names() -> impl Iterator<Item = &'static str> {
    QUERIES.iter().map(|(name, ..)| *name)
}

/// Players are of team 1, NPCs of team 0.
fn player_or_npc(id: EntityId) -> u8 {
    u8::from(id.slot().is_multiple_of(ENTITIES_PER_PLAYER))
}

fn half(id: EntityId) -> u8 {
    (id.slot() & 1) as u8
}

fn side_with(world: &mut World, team: fn(EntityId) -> u8) {
    for id in &world.ids {
        world.zone.warm_mut(*id).expect("nobody is despawned").team = team(*id);
    }
}

fn seek(moment: Moment<'_>, seekers: &[Seeker], hits: &mut Vec<Option<(EntityId, Pos)>>) -> usize {
    moment.nearest_hostiles(seekers, hits);
    hits.iter().flatten().count()
}

fn past(zone: &Zone) -> Moment<'_> {
    zone.at(zone.tick() - PAST_TICKS).expect("the history holds it")
}

impl Batch {
    /// The questions of all who stand in a world.
    fn all(world: &World, seed: u64) -> Vec<Batch> {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let standing: Vec<_> = world.zone.entities().map(|(id, pos, ..)| (id, pos)).collect();
        let batch = |standing: &[(EntityId, Pos)]| Batch::of(standing, &mut random);
        standing.chunks(ENTITIES_PER_BATCH).map(batch).collect()
    }

    fn of(standing: &[(EntityId, Pos)], random: &mut Pcg64Mcg) -> Batch {
        let mut batch = Batch::default();
        for (at, &(id, pos)) in standing.iter().enumerate() {
            let seeker = |metres_far, team| Seeker {
                circle: Circle { centre: pos, radius_units: metres(metres_far) },
                team,
            };
            batch.melee.push(seeker(20, half(id)));
            if player_or_npc(id) == 0 {
                batch.far.push(seeker(20, 0));
                batch.near.push(seeker(10, 0));
                if at % ENTITIES_PER_TURN == 0 {
                    batch.turn.push(seeker(20, 0));
                }
            }
            if at % ENTITIES_PER_SHOT == 0 {
                batch.shoot(id, pos, random.random_range(0.0..TAU));
            }
        }
        batch
    }

    fn shoot(&mut self, id: EntityId, from: Pos, angle: f64) {
        let (sin, cos) = angle.sin_cos();
        let aside = |at: u32, part: f64| {
            at.saturating_add_signed((part * SHOT_METRES * f64::from(UNITS_PER_METRE)) as i32)
        };
        let to = Pos { x: aside(from.x, cos), y: aside(from.y, sin) };
        let circle = Circle { centre: from, radius_units: metres(10) };
        let axis = Heading { x: (cos * 100.0) as i8, y: (sin * 100.0) as i8 };
        let ray = Ray { from, to, radius_units: TARGET_UNITS, ignore: Some(id) };
        let seen_tick = WARM_TICKS - PAST_TICKS + self.rays.len() as u32 % SPREAD_TICKS;
        self.rays.push(ray);
        self.shots.push(Shot { ray, seen_tick });
        self.sight.push((from, to));
        self.circles.push(circle);
        self.cones.push(Cone { circle, axis, cosine: (f64::from(COSINE_FULL) * FRAC_1_SQRT_2) as i16 });
    }
}

/// A world's questions, ready to be asked again and again.
pub struct Questions {
    world: World,
    batches: Vec<Batch>,
    /// Whether the teams are those of [`MELEE`].
    melee: bool,
}

impl Questions {
    /// Builds a scenario's world of players and NPCs, and lets it run until it has a past.
    pub fn new(scenario: &Scenario) -> Result<Questions, ScenarioError> {
        let mut world = World::of(scenario.populate()?, scenario.simd);
        world.zone.keep_history(WARM_TICKS as usize);
        side_with(&mut world, player_or_npc);
        while world.zone.tick() < WARM_TICKS {
            world.decide();
            world.order();
            world.zone.step(&mut ());
        }
        let batches = Batch::all(&world, scenario.seed);
        Ok(Questions { world, batches, melee: false })
    }

    /// How many there are of a kind, by its place in [`query_names`].
    pub fn count(&self, kind: usize) -> usize {
        self.batches.iter().map(QUERIES[kind].1).sum()
    }

    /// Asks every batch of a kind, and says what each took and how much it found; none of those without a question.
    pub fn ask(&mut self, kind: usize) -> impl Iterator<Item = (Asked, usize)> {
        let (name, questions, ask) = QUERIES[kind];
        let melee = name == MELEE;
        if self.melee != melee {
            self.melee = melee;
            side_with(&mut self.world, if melee { half } else { player_or_npc });
        }
        let zone = &self.world.zone;
        self.batches.iter_mut().filter(move |batch| questions(batch) > 0).map(move |batch| {
            let begin = Instant::now();
            let found = ask(batch, zone);
            (Asked { took: begin.elapsed(), questions: questions(batch) }, found)
        })
    }
}

/// What a batch took.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// From the first question to the last answer.
    pub took: Duration,
    /// How many they were.
    pub questions: usize,
}

/// Asks every batch of each kind `rounds` times, one kind after another in each round.
///
/// # Panics
/// If `rounds` is 0.
pub fn measure(scenario: &Scenario, rounds: usize) -> Result<QueriesReport, ScenarioError> {
    let mut questions = Questions::new(scenario)?;
    let mut progress = Progress::new(format!("{} entities, queries", scenario.entities), rounds);
    let mut series = vec![Vec::new(); QUERIES.len()];
    let mut founds = [0; QUERIES.len()];
    // The first round fills buffers and caches and does not count.
    for round in 0..=rounds {
        for kind in 0..QUERIES.len() {
            founds[kind] = 0;
            for (Asked { took, questions }, found) in questions.ask(kind) {
                founds[kind] += found;
                if round > 0 {
                    series[kind].push(took.as_secs_f64() * 1e9 / questions as f64);
                }
            }
        }
        progress.at(round);
    }
    let report = |(kind, name): (usize, &'static str)| {
        let count = questions.count(kind);
        let Spread { min, p50, .. } = spread(&series[kind]);
        let (ns, min_ns) = (thousandths(p50), thousandths(min));
        QueryReport { name, ns, min_ns, questions: count, found: founds[kind] as f64 / count as f64 }
    };
    Ok(QueriesReport {
        entities: scenario.entities,
        simd: questions.world.zone.simd().name(),
        queries: query_names().enumerate().map(report).collect(),
    })
}

impl fmt::Display for QueriesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entities, {}; a question, in batches:", self.entities, self.simd)?;
        for QueryReport { name, ns, min_ns, questions, found } in &self.queries {
            write!(
                f,
                "\n  {name:<20} {ns:7.1} ns in the median, {min_ns:7.1} at best; {questions} asked, {found:.2} found each"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Shape;
    use vyuha_core::SimdLevel;

    #[test]
    fn every_level_finds_the_same_and_every_kind_something() {
        let found = |simd| {
            let scenario = Scenario { entities: 3000, neighbours: 40, shape: Shape::Uniform, seed: 1, simd };
            let report = measure(&scenario, 1).unwrap();
            report.queries.into_iter().map(|query| (query.name, query.questions, query.found)).collect()
        };
        let expected: Vec<_> = found(SimdLevel::SCALAR);
        assert!(expected.iter().all(|(_, questions, found)| *questions > 0 && *found > 0.0), "{expected:?}");
        for simd in SimdLevel::supported() {
            assert_eq!(found(simd), expected, "{}", simd.name());
        }
    }
}
