//! Ours: the zone's own passes, and the exact interest that its queries give.

use std::time::{Duration, Instant};

use vyuha_core::{Pass, SimdLevel, Zone};
use vyuha_protocol::{Displacement, EntityId};

use super::grid::compare_lists;
use super::{Engine, Event, NEIGHBOUR_UNITS, Style, by_number};
use crate::scenario::{Population, World};
use crate::tick::Laps;

/// What the numbers compare.
pub const INTEREST: &str = "exact enter and leave by radius. Ours: the passes integrate and regrid, then Zone::within for \
    each entity and sorted lists (the zone has no pass of exact interest; it tells clients by cell)";

pub struct Ours {
    zone: Zone,
    ids: Vec<EntityId>,
    seen: Vec<Vec<EntityId>>,
    near: Vec<EntityId>,
    events: Vec<Event<EntityId>>,
    by_cell: Duration,
}

impl Ours {
    pub fn new(population: &Population, simd: SimdLevel) -> Ours {
        let World { zone, ids, .. } = World::of(population.clone(), simd);
        let seen = vec![Vec::new(); ids.len()];
        let mut ours =
            Ours { zone, ids, seen, near: Vec::new(), events: Vec::new(), by_cell: Duration::ZERO };
        ours.interest();
        ours
    }

    /// What the last tick took with clients told by cell: the passes integrate, regrid and encode.
    pub fn by_cell(&self) -> Duration {
        self.by_cell
    }

    fn interest(&mut self) {
        let Ours { zone, seen, near, events, .. } = self;
        events.clear();
        // In cell order, so that what is read for one is still in the cache for the next.
        for (me, pos, _, _) in zone.entities() {
            near.clear();
            zone.within(pos, NEIGHBOUR_UNITS, |other, _| near.push(other));
            near.retain(|other| *other != me);
            near.sort_unstable();
            let seen = &mut seen[me.slot() as usize];
            compare_lists(me, seen, near, events);
            std::mem::swap(seen, near);
        }
    }
}

impl Engine for Ours {
    fn name(&self) -> &'static str {
        "vyuha"
    }

    fn style(&self) -> Style {
        Style::Tuned
    }

    fn order(&mut self, inputs: &[(u32, Displacement)]) {
        for &(entity, by) in inputs {
            self.zone.walk(self.ids[entity as usize], by);
        }
    }

    fn tick(&mut self) -> Duration {
        let mut laps = Laps::start();
        self.zone.step(&mut laps);
        let passes = laps.time(Pass::Integrate) + laps.time(Pass::Regrid);
        self.by_cell = passes + laps.time(Pass::Encode);
        let begin = Instant::now();
        self.interest();
        passes + begin.elapsed()
    }

    fn events(&self) -> Vec<Event<u32>> {
        by_number(&self.events, &self.ids)
    }
}
