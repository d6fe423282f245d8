//! The same work on other engines' entity stores, interleaved with ours in one run.
//!
//! The work: everyone walks by [`vyuha_protocol::motion::step`], the grid is brought up to date, and each entity is
//! told who came within [`NEIGHBOUR_UNITS`] and who left. All start from the same population, get the same inputs
//! (handed over before the clock runs), and must find the same events in every tick, or the run fails.
//!
//! Each peer comes in three styles ([`Style`]). Two more differences to keep in mind: peers keep no columns beside
//! what this work needs, and none of them encodes, hashes or keeps a history; of ours only the passes that do this
//! work are counted.

mod bevy;
mod flecs;
mod grid;
mod hecs;
mod ours;

use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use vyuha_protocol::{Displacement, Pos, TileMap, motion};

use crate::progress::Progress;
use crate::scenario::{Population, Scenario, ScenarioError};
use crate::statistics::{spread, thousandths};
use ours::Ours;

pub use crate::scenario::NEIGHBOUR_UNITS;

/// Ticks before the first that counts.
const WARM_ROUNDS: usize = 3;

/// How the work is written on a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// As users of the engine write it: a hash map of cells, a hash set of who is seen, and the engine is asked for
    /// each candidate's place.
    Idiomatic,
    /// Dense cells that hold places beside handles, sorted lists of who is seen, no branch that mispredicts.
    Tuned,
    /// Dense cells, and nothing kept of who is seen: in range now and not a tick ago, or the reverse.
    Stateless,
}

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Style::Idiomatic => "idiomatic",
            Style::Tuned => "tuned",
            Style::Stateless => "stateless",
        })
    }
}

/// `other` came into or left the range of `observer`, by their engine's handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Event<E> {
    observer: E,
    other: E,
    entered: bool,
}

/// Somebody who does the work.
trait Engine {
    fn name(&self) -> &'static str;
    fn style(&self) -> Style;
    /// New displacements; not timed.
    fn order(&mut self, inputs: &[(u32, Displacement)]);
    /// One tick, and how long it took.
    fn tick(&mut self) -> Duration;
    /// The last tick's events by entity of the population, in any order; not timed.
    fn events(&self) -> Vec<Event<u32>>;
}

/// One step by the law of motion; what a wall leaves of the displacement is what the walker goes on with.
#[inline]
fn walk(map: &TileMap, pos: &mut Pos, by: &mut Displacement) {
    let to = motion::step(map, *pos, *by);
    let made = |from: u32, to: u32| to.wrapping_sub(from) as i16;
    *by = Displacement { dx: made(pos.x, to.x), dy: made(pos.y, to.y) };
    *pos = to;
}

#[inline]
fn is_near(a: Pos, b: Pos) -> bool {
    a.distance_squared(b) <= u64::from(NEIGHBOUR_UNITS).pow(2)
}

/// Events by entity of the population instead of the engine's handles.
fn by_number<E: Copy + Eq + Hash>(events: &[Event<E>], handles: &[E]) -> Vec<Event<u32>> {
    let numbers: std::collections::HashMap<E, u32> = handles.iter().copied().zip(0..).collect();
    let numbered = |event: &Event<E>| Event {
        observer: numbers[&event.observer],
        other: numbers[&event.other],
        entered: event.entered,
    };
    events.iter().map(numbered).collect()
}

/// Every peer in every style on this population.
fn peers(population: &Population) -> Vec<Box<dyn Engine>> {
    let mut engines: Vec<Box<dyn Engine>> = Vec::new();
    for style in [Style::Tuned, Style::Stateless, Style::Idiomatic] {
        engines.push(Box::new(bevy::Bevy::new(population, style)));
        engines.push(Box::new(hecs::Hecs::new(population, style)));
        engines.push(Box::new(flecs::Flecs::new(population, style)));
    }
    engines
}

/// A peer beside ours.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeerReport {
    /// The engine.
    pub name: &'static str,
    /// How the work is written on it.
    pub style: Style,
    /// Its median time over that of ours.
    pub ratio: f64,
    /// Its median time, over all entities.
    #[serde(skip)]
    pub ns_per_entity: f64,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeersReport {
    /// How many entities.
    pub entities: u32,
    /// Every peer in every style.
    pub peers: Vec<PeerReport>,
    /// Ours: the median time, over all entities.
    #[serde(skip)]
    pub ours_ns_per_entity: f64,
    /// Ours as the server does it, where clients are told by cell and nobody's neighbours are listed; no peer does that.
    #[serde(skip)]
    pub by_cell_ns_per_entity: f64,
    /// How many events an entity and tick everyone found.
    #[serde(skip)]
    pub events_per_entity: f64,
}

/// Why there is no comparison.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PeersError {
    /// The scenario cannot be built.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// Somebody did other work.
    #[error("in tick {tick} {name} ({style}) found {found} events that differ from the {expected} of ours")]
    Differs {
        /// Counted from the first.
        tick: usize,
        /// The peer.
        name: &'static str,
        /// Its style.
        style: Style,
        /// How many it found.
        found: usize,
        /// How many ours found.
        expected: usize,
    },
}

/// Lets everyone make one tick in turn, for some rounds after a few that do not count.
///
/// # Panics
/// If `rounds` is 0.
pub fn measure(scenario: &Scenario, rounds: usize) -> Result<PeersReport, PeersError> {
    let mut population = scenario.populate()?;
    let mut ours = Ours::new(&population, scenario.simd);
    let mut peers = peers(&population);
    let ns_per_entity = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(scenario.entities);
    let (mut ours_ns, mut by_cell_ns) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    let mut peers_ns = vec![Vec::with_capacity(rounds); peers.len()];
    let what = format!("{} entities, tick of a peer", scenario.entities);
    let mut progress = Progress::new(what, peers.len() * (WARM_ROUNDS + rounds));
    let mut inputs = Vec::new();
    let mut events = 0;
    for round in 0..WARM_ROUNDS + rounds {
        let counts = round >= WARM_ROUNDS;
        population.inputs(&mut inputs);
        ours.order(&inputs);
        let time = ours.tick();
        let mut expected = ours.events();
        expected.sort_unstable();
        if counts {
            ours_ns.push(ns_per_entity(time));
            by_cell_ns.push(ns_per_entity(ours.by_cell()));
            events += expected.len();
        }
        for (at, peer) in peers.iter_mut().enumerate() {
            peer.order(&inputs);
            let time = peer.tick();
            let mut found = peer.events();
            found.sort_unstable();
            if found != expected {
                let (name, style) = (peer.name(), peer.style());
                let (found, expected) = (found.len(), expected.len());
                return Err(PeersError::Differs { tick: round + 1, name, style, found, expected });
            }
            if counts {
                peers_ns[at].push(ns_per_entity(time));
            }
            progress.at(round * peers_ns.len() + at + 1);
        }
    }
    let ours = spread(&ours_ns).p50;
    let peers = peers.iter().zip(&peers_ns).map(|(peer, series)| {
        let ns_per_entity = spread(series).p50;
        PeerReport {
            name: peer.name(),
            style: peer.style(),
            ratio: thousandths(ns_per_entity / ours),
            ns_per_entity,
        }
    });
    Ok(PeersReport {
        entities: scenario.entities,
        peers: peers.collect(),
        ours_ns_per_entity: ours,
        by_cell_ns_per_entity: spread(&by_cell_ns).p50,
        events_per_entity: events as f64 / (rounds as f64 * f64::from(scenario.entities)),
    })
}

impl fmt::Display for PeersReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PeersReport { entities, peers, ours_ns_per_entity, by_cell_ns_per_entity, events_per_entity } =
            self;
        writeln!(
            f,
            "{entities} entities; all found the same {events_per_entity:.3} events an entity and tick"
        )?;
        writeln!(f, "interest compared: {}", ours::INTEREST)?;
        write!(f, "{:<9} {:<10} {ours_ns_per_entity:10.2} ns an entity", "vyuha", "")?;
        for PeerReport { name, style, ratio, ns_per_entity } in peers {
            write!(f, "\n{name:<9} {style:<10} {ns_per_entity:10.2} ns an entity {ratio:8.2}x")?;
        }
        write!(
            f,
            "\nas the server does it, told by cell (in no ratio above): {by_cell_ns_per_entity:.2} ns an entity"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Shape;
    use vyuha_core::SimdLevel;

    /// By the definition: all pairs, with nobody's grid.
    fn brute_force(now: &[Pos], before: &[Pos]) -> Vec<Event<u32>> {
        let mut events = Vec::new();
        for (observer, other) in (0..now.len()).flat_map(|a| (0..now.len()).map(move |b| (a, b))) {
            let entered = is_near(now[observer], now[other]);
            if observer != other && entered != is_near(before[observer], before[other]) {
                events.push(Event { observer: observer as u32, other: other as u32, entered });
            }
        }
        events
    }

    #[test]
    fn everyone_finds_the_events_of_the_definition() {
        let simd = SimdLevel::detect();
        for (entities, neighbours, shape, ticks) in [
            (1, 40, Shape::Uniform, 40),
            (300, 10, Shape::Uniform, 40),
            (500, 40, Shape::Uniform, 40),
            (1500, 40, Shape::Crowd, 5),
            (400, 40, Shape::Clustered, 40),
        ] {
            let mut population = Scenario { entities, neighbours, shape, seed: 7, simd }.populate().unwrap();
            let mut engines = peers(&population);
            engines.push(Box::new(Ours::new(&population, simd)));
            let (mut places, mut walks) = (population.places.clone(), population.walks.clone());
            let mut inputs = Vec::new();
            let mut events = 0;
            for tick in 0..ticks {
                population.inputs(&mut inputs);
                let before = places.clone();
                for &(entity, by) in &inputs {
                    walks[entity as usize] = by;
                }
                for (pos, by) in places.iter_mut().zip(&mut walks) {
                    walk(&population.map, pos, by);
                }
                let expected = brute_force(&places, &before);
                events += expected.len();
                for engine in &mut engines {
                    engine.order(&inputs);
                    engine.tick();
                    let mut found = engine.events();
                    found.sort_unstable();
                    let (name, style) = (engine.name(), engine.style());
                    assert!(found == expected, "{name}, {style}, {shape:?}, tick {tick}");
                }
            }
            assert!(entities == 1 || events > 100, "{shape:?}: {events} events");
        }
    }

    #[test]
    fn a_comparison_is_reported() {
        let simd = SimdLevel::SCALAR;
        let scenario = Scenario { entities: 500, neighbours: 40, shape: Shape::Uniform, seed: 1, simd };
        let report = measure(&scenario, 3).unwrap();
        assert_eq!(report.peers.len(), 9);
        assert!(report.ours_ns_per_entity > 0.0 && report.events_per_entity > 0.0);
        assert!(report.peers.iter().all(|peer| peer.ratio > 0.0));
        assert_eq!(report.to_string().lines().count(), 4 + 9);
    }
}
