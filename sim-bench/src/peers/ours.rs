//! Ours: the zone's own passes, and its exact interest between pairs.

use std::time::{Duration, Instant};

use vyuha_core::{PairEvent, Pairs, Pass, SimdLevel, Zone};
use vyuha_protocol::{Displacement, EntityId};

use super::{Engine, Event, NEIGHBOUR_UNITS, Style, by_number};
use crate::scenario::{Population, World};
use crate::tick::Laps;

/// What the numbers compare.
pub const INTEREST: &str = "exact enter and leave by radius. Ours: the passes integrate, regrid and hash (into which the \
    copy of the history falls), then Pairs::changes between the last two ticks, told to both of a pair";

pub struct Ours {
    zone: Zone,
    ids: Vec<EntityId>,
    pairs: Pairs,
    changes: Vec<PairEvent>,
    events: Vec<Event<EntityId>>,
    by_cell: Duration,
}

impl Ours {
    pub fn new(population: &Population, simd: SimdLevel) -> Ours {
        let World { zone, ids, .. } = World::of(population.clone(), simd, 2);
        let (changes, events) = (Vec::new(), Vec::new());
        Ours { zone, ids, pairs: Pairs::default(), changes, events, by_cell: Duration::ZERO }
    }

    /// What the last tick took with clients told by cell: the passes integrate, regrid and encode.
    pub fn by_cell(&self) -> Duration {
        self.by_cell
    }

    fn interest(&mut self) {
        let Ours { zone, pairs, changes, events, .. } = self;
        let moment = |tick| zone.at(tick).expect("two ticks of history are kept");
        pairs.changes(moment(zone.tick() - 1), moment(zone.tick()), NEIGHBOUR_UNITS, changes);
        events.clear();
        for &PairEvent { pair: [a, b], enters } in &*changes {
            events.push(Event { observer: a, other: b, entered: enters });
            events.push(Event { observer: b, other: a, entered: enters });
        }
    }
}

impl Engine for Ours {
    fn name(&self) -> &'static str {
        "vyuha"
    }

    fn style(&self) -> Style {
        Style::Stateless
    }

    fn order(&mut self, inputs: &[(u32, Displacement)]) {
        for &(entity, by) in inputs {
            self.zone.walk(self.ids[entity as usize], by);
        }
    }

    fn tick(&mut self) -> Duration {
        let mut laps = Laps::start();
        self.zone.step(&mut laps);
        let moved = laps.time(Pass::Integrate) + laps.time(Pass::Regrid);
        self.by_cell = moved + laps.time(Pass::Encode);
        let begin = Instant::now();
        self.interest();
        moved + laps.time(Pass::Hash) + begin.elapsed()
    }

    fn events(&self) -> Vec<Event<u32>> {
        by_number(&self.events, &self.ids)
    }
}
