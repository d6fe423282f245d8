//! The zone's tick by pass: inputs as the server orders them, then [`Zone::step`](vyuha_core::Zone::step).

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;
use vyuha_core::{Pass, Probe};

use crate::bandwidth::{self, Bandwidth};
use crate::progress::Progress;
use crate::scenario::{ENTITIES_PER_INPUT, Scenario, ScenarioError, World};
use crate::statistics::{Spread, spread, thousandths};

/// The name under which the orders before the step are reported.
pub const INPUTS: &str = "inputs";
/// Ticks that are run before the first that counts, at least: buffers have their size and caches are warm.
const WARM_TICKS_MIN: usize = 5;

/// The names of what is measured, in the order in which it runs.
pub fn pass_names() -> impl Iterator<Item = &'static str> {
    std::iter::once(INPUTS).chain(Pass::ALL.iter().map(|pass| pass.name()))
}

/// How many bytes a pass reads and writes for each entity, at least: what it must touch of columns and records when
/// every entity walks. What lies by cell is not counted, nor what is read again while it is still in the first-level
/// cache. None of a pass that this crate does not know.
pub fn traffic_bytes(pass: &str) -> Option<f64> {
    /// Place, displacement, id, flags and recent changes.
    const HOT: f64 = 14.0;
    /// Health, team and action.
    const WARM: f64 = 4.0;
    const INPUT: f64 = 8.0 + 4.0 + 4.0 + 4.0 + 2.0;
    Some(match pass {
        // An order; its slot's place; the id; the displacement written, the flags read and written.
        INPUTS => INPUT / ENTITIES_PER_INPUT as f64,
        // Places, displacements and flags are read, the places written.
        "integrate" => 4.0 + 4.0 + 1.0 + 4.0,
        // All columns slide.
        "regrid" => 2.0 * (HOT + WARM),
        // Places and displacements are read. What is told of pairs depends on how they walk.
        "interest" => 4.0 + 4.0,
        // All hot columns are read; an update, the flags and the recent changes are written.
        "encode" => HOT + 8.0 + 1.0 + 1.0,
        // All columns but the recent changes are read. No history is kept.
        "hash" => HOT - 1.0 + WARM,
        _ => return None,
    })
}

/// Notes the time of each pass of one tick.
#[derive(Debug, Clone)]
pub struct Laps {
    last: Instant,
    times: [Duration; Pass::ALL.len()],
}

impl Laps {
    /// The clock runs.
    pub fn start() -> Laps {
        Laps { last: Instant::now(), times: [Duration::ZERO; Pass::ALL.len()] }
    }

    /// The time since the last lap; the next one begins.
    pub fn lap_time(&mut self) -> Duration {
        let now = Instant::now();
        let time = now - self.last;
        self.last = now;
        time
    }

    /// What a pass took.
    pub fn time(&self, pass: Pass) -> Duration {
        let at = Pass::ALL.iter().position(|known| *known == pass).expect("ALL has every pass");
        self.times[at]
    }
}

impl Probe for Laps {
    fn lap(&mut self, pass: Pass) {
        let time = self.lap_time();
        let at = Pass::ALL.iter().position(|known| *known == pass).expect("ALL has every pass");
        self.times[at] += time;
    }
}

/// One tick, its inputs decided beforehand: the time of the inputs, then of each pass.
pub fn timed_tick(world: &mut World) -> [Duration; 1 + Pass::ALL.len()] {
    world.decide();
    let mut laps = Laps::start();
    world.order();
    let inputs = laps.lap_time();
    world.zone.step(&mut laps);
    let mut times = [inputs; 1 + Pass::ALL.len()];
    times[1..].copy_from_slice(&laps.times);
    times
}

/// What one pass costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PassReport {
    /// Its stable name.
    pub name: &'static str,
    /// The median of the ticks, over all entities.
    pub ns_per_entity: f64,
    /// The bytes that it must touch ([`traffic_bytes`]) over the median time, in 10^9 a second.
    pub gb_per_s: Option<f64>,
}

/// What a tick costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TickReport {
    /// How many entities.
    pub entities: u32,
    /// The instruction set of the kernels.
    pub simd: &'static str,
    /// The whole tick, inputs and all passes, in microseconds.
    pub whole_us: Spread,
    /// The median of the whole, over all entities.
    pub ns_per_entity: f64,
    /// By pass.
    pub passes: Vec<PassReport>,
    /// What the machine reads and writes as fast as it can.
    pub memory_gb_per_s: Bandwidth,
    /// What the scenario turned out to be; it is told in words only.
    #[serde(skip)]
    pub neighbours_mean: f64,
}

/// Runs a scenario for `ticks` ticks after some that do not count, and measures the machine's memory after it.
///
/// # Panics
/// If `ticks` is 0.
pub fn measure(scenario: &Scenario, ticks: usize) -> Result<TickReport, ScenarioError> {
    let mut world = World::new(scenario)?;
    let warm = WARM_TICKS_MIN.max(ticks / 10);
    let mut progress = Progress::new(format!("{} entities, tick", scenario.entities), warm + ticks);
    let mut series = vec![Vec::with_capacity(ticks); 1 + Pass::ALL.len()];
    let mut whole_us = Vec::with_capacity(ticks);
    for tick in 0..warm + ticks {
        let times = timed_tick(&mut world);
        if tick >= warm {
            whole_us.push(times.iter().sum::<Duration>().as_secs_f64() * 1e6);
            for (series, time) in series.iter_mut().zip(times) {
                series.push(time.as_secs_f64() * 1e9 / f64::from(scenario.entities));
            }
        }
        progress.at(tick + 1);
    }
    let passes = pass_names().zip(&series).map(|(name, series)| {
        let ns_per_entity = spread(series).p50;
        let gb_per_s = traffic_bytes(name).filter(|_| ns_per_entity > 0.0).map(|bytes| bytes / ns_per_entity);
        PassReport { name, ns_per_entity: thousandths(ns_per_entity), gb_per_s: gb_per_s.map(thousandths) }
    });
    let Spread { min, p50, p99 } = spread(&whole_us);
    Ok(TickReport {
        entities: scenario.entities,
        simd: world.zone.simd().name(),
        whole_us: Spread { min: thousandths(min), p50: thousandths(p50), p99: thousandths(p99) },
        ns_per_entity: thousandths(p50 * 1e3 / f64::from(scenario.entities)),
        passes: passes.collect(),
        neighbours_mean: world.neighbours_mean(),
        memory_gb_per_s: bandwidth::measure(),
    })
}

impl fmt::Display for TickReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TickReport { entities, simd, whole_us, ns_per_entity, passes, memory_gb_per_s, .. } = self;
        writeln!(
            f,
            "{entities} entities, {:.1} neighbours each within 30 m, all walking, 5% with a new input a tick; {simd}",
            self.neighbours_mean
        )?;
        writeln!(
            f,
            "whole tick   {:10.1} us at best, {:.1} in the median, {:.1} for 99 of 100; {ns_per_entity:.2} ns an entity",
            whole_us.min, whole_us.p50, whole_us.p99
        )?;
        for PassReport { name, ns_per_entity, gb_per_s } in passes {
            write!(f, "  {name:<10} {ns_per_entity:10.3} ns an entity")?;
            match gb_per_s {
                Some(gb_per_s) => writeln!(f, " {gb_per_s:8.1} GB/s of columns and records")?,
                None => writeln!(f)?,
            }
        }
        let Bandwidth { l2, l3, dram } = memory_gb_per_s;
        write!(f, "read and write at the most: {l2:.0} GB/s in L2, {l3:.0} in L3, {dram:.0} in memory")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Shape;
    use vyuha_core::SimdLevel;

    #[test]
    fn every_pass_has_its_traffic() {
        for name in pass_names() {
            assert!(traffic_bytes(name).is_some(), "state in traffic_bytes what {name} reads and writes");
        }
        assert_eq!(traffic_bytes("nothing"), None);
    }

    #[test]
    fn the_passes_make_up_the_whole() {
        let simd = SimdLevel::SCALAR;
        let scenario = Scenario { entities: 3000, neighbours: 40, shape: Shape::Uniform, seed: 1, simd };
        let mut world = World::new(&scenario).unwrap();
        let begin = Instant::now();
        let whole: Duration = timed_tick(&mut world).iter().sum();
        assert!(whole > Duration::ZERO && whole <= begin.elapsed());
        assert_eq!(world.zone.tick(), 2, "one step to appear and one to be timed");
    }
}
