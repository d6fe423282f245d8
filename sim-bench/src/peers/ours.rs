//! Ours: the zone's own passes.

use std::time::{Duration, Instant};

use vyuha_core::{PairEvent, Pass, SimdLevel, Zone};
use vyuha_protocol::{Displacement, EntityId};

use super::{Engine, Event, Style, by_number};
use crate::scenario::{Population, World};
use crate::tick::Laps;

/// What the numbers compare.
pub const INTEREST: &str = "exact enter and leave by radius. Ours: the passes integrate, regrid and \
    interest, told to both of a pair";

pub struct Ours {
    zone: Zone,
    ids: Vec<EntityId>,
    events: Vec<Event<EntityId>>,
    by_cell: Duration,
}

impl Ours {
    pub fn new(population: &Population, simd: SimdLevel) -> Ours {
        let World { zone, ids, .. } = World::of(population.clone(), simd);
        Ours { zone, ids, events: Vec::new(), by_cell: Duration::ZERO }
    }

    /// What the last tick took with clients told by cell: the passes integrate, regrid and encode.
    pub fn by_cell(&self) -> Duration {
        self.by_cell
    }

    /// Tells both of a pair.
    fn tell(&mut self) {
        let Ours { zone, events, .. } = self;
        events.clear();
        let told = |observer: usize| {
            move |event: &PairEvent| Event {
                observer: event.pair[observer],
                other: event.pair[1 - observer],
                entered: event.enters,
            }
        };
        events.extend(zone.pair_events().iter().map(told(0)));
        events.extend(zone.pair_events().iter().map(told(1)));
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
        self.tell();
        moved + laps.time(Pass::Interest) + begin.elapsed()
    }

    fn events(&self) -> Vec<Event<u32>> {
        by_number(&self.events, &self.ids)
    }
}
