//! Past ticks, each with its own grid, so that what was in reach then is found as fast as what is in reach now.
//!
//! A tick takes 8 bytes an entity and 4 a cell. It is copied after the step: two streams, no lookups.

use vyuha_protocol::{EntityId, Pos};

use crate::columns::{Columns, Grid, Slots};
use crate::zone::Zone;

/// Rows behind the last that can be read as well, so that a whole group of lanes is read wherever a run ends.
pub(crate) const LANES: usize = 16;

/// The last ticks.
#[derive(Default)]
pub(crate) struct History {
    /// Tick `t` lies at `t` modulo the length.
    ring: Vec<Past>,
}

/// The zone after one step.
pub(crate) struct Past {
    tick: Option<u32>,
    start: Vec<u32>,
    local: Vec<u32>,
    entity: Vec<u32>,
}

impl History {
    pub fn record(&mut self, tick: u32, columns: &Columns) {
        let length = self.ring.len();
        if length == 0 {
            return;
        }
        let past = &mut self.ring[tick as usize % length];
        past.tick = Some(tick);
        past.start.clone_from(&columns.start);
        for (past, now) in [(&mut past.local, &columns.local), (&mut past.entity, &columns.entity)] {
            past.clear();
            past.extend_from_slice(now);
            past.resize(now.len() + LANES, 0);
        }
    }
}

/// The zone as it was after one of its last steps; see [`Zone::at`].
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    pub(crate) zone: &'a Zone,
    pub(crate) grid: Grid,
    pub(crate) start: &'a [u32],
    pub(crate) local: &'a [u32],
    pub(crate) entity: &'a [u32],
}

impl Zone {
    /// From the next step on, keeps the last `ticks` ticks (at first none) at 8 bytes an entity and 4 a cell
    /// each; what was kept is forgotten.
    pub fn keep_history(&mut self, ticks: usize) {
        let past = || Past { tick: None, start: Vec::new(), local: Vec::new(), entity: Vec::new() };
        self.history.ring = std::iter::repeat_with(past).take(ticks).collect();
    }

    /// The zone as it was after the step with this number; none if that is not kept. What was despawned since is
    /// passed over in answers.
    pub fn at(&self, tick: u32) -> Option<Moment<'_>> {
        let ring = &self.history.ring;
        let past = ring.get(tick as usize % ring.len().max(1)).filter(|past| past.tick == Some(tick))?;
        let Past { start, local, entity, .. } = past;
        Some(Moment { zone: self, grid: self.grid, start, local, entity })
    }
}

impl Moment<'_> {
    /// Every entity of that moment whose id is still valid, in cell order.
    pub fn entities(&self) -> impl Iterator<Item = (EntityId, Pos)> {
        let cells = self.grid.keys().zip(self.start.windows(2));
        let rows = cells.flat_map(move |(key, ends)| {
            (ends[0] as usize..ends[1] as usize)
                .map(move |row| (EntityId(self.entity[row]), Pos::from_cell(key.into(), self.local[row])))
        });
        rows.filter(move |(id, _)| self.slots().resolve(*id).is_some())
    }

    /// Whether a place lies on the grid, so that differences to places in cells fit 28 bits and a sign.
    #[inline]
    pub(crate) fn holds(&self, pos: Pos) -> bool {
        pos.cell().x < self.grid.cells.x && pos.cell().y < self.grid.cells.y
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.zone.slots
    }
}
