//! Past ticks, each with its own grid, so that what was in reach then is found as fast as what is in reach now.
//!
//! A tick takes 9 bytes an entity and 4 a cell. It is copied after the step, by the pass that hashes: three streams,
//! no lookups.

use std::ops::Range;

use thiserror::Error;
use vyuha_protocol::{EntityId, Pos};

use crate::columns::{Columns, Grid, Slots, Warm};
use crate::simd::{SimdLevel, at_level};
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
#[derive(Default)]
pub(crate) struct Past {
    tick: Option<u32>,
    start: Vec<u32>,
    local: Vec<u32>,
    entity: Vec<u32>,
    team: Vec<u8>,
}

impl History {
    /// The moment that the step with this number left, to be filled; none if none is kept. It holds so many rows.
    pub fn begin(&mut self, tick: u32, start: &Vec<u32>, rows: usize) -> Option<&mut Past> {
        let length = self.ring.len().max(1);
        let past = self.ring.get_mut(tick as usize % length)?;
        past.tick = Some(tick);
        past.start.clone_from(start);
        for column in [&mut past.local, &mut past.entity] {
            column.resize(rows + LANES, 0);
        }
        past.team.resize(rows, 0);
        Some(past)
    }
}

impl Past {
    /// Copies some rows.
    pub fn fill(&mut self, simd: SimdLevel, columns: &Columns, rows: Range<usize>) {
        self.local[rows.clone()].copy_from_slice(&columns.local[rows.clone()]);
        self.entity[rows.clone()].copy_from_slice(&columns.entity[rows.clone()]);
        copy_teams(simd, &mut self.team[rows.clone()], &columns.warm[rows]);
    }
}

at_level! {
    fn copy_teams(teams: &mut [u8], warm: &[Warm]) = copy_teams_body
}

#[inline(always)]
fn copy_teams_body(teams: &mut [u8], warm: &[Warm]) {
    for (team, warm) in teams.iter_mut().zip(warm) {
        *team = warm.team;
    }
}

/// The zone as it stands, or as it was after one of its last steps; see [`Zone::now`] and [`Zone::at`].
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    pub(crate) zone: &'a Zone,
    pub(crate) grid: Grid,
    pub(crate) start: &'a [u32],
    pub(crate) local: &'a [u32],
    pub(crate) entity: &'a [u32],
    pub(crate) team: Teams<'a>,
}

/// Where the teams are, row by row.
#[derive(Clone, Copy)]
pub(crate) enum Teams<'a> {
    Now(&'a [Warm]),
    Past(&'a [u8]),
}

/// Why a tick's moment cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MomentError {
    /// The step has not been made.
    #[error("tick {tick} is yet to come; the zone is at tick {now}")]
    Future {
        /// What was asked for.
        tick: u32,
        /// The zone's.
        now: u32,
    },
    /// It is farther back than the history goes.
    #[error("tick {tick} is not kept; the history holds {ticks} ticks up to {now}")]
    NotKept {
        /// What was asked for.
        tick: u32,
        /// The zone's.
        now: u32,
        /// How many are kept, counted back from the zone's.
        ticks: u32,
    },
}

impl Zone {
    /// From the next step on, keeps the last `ticks` ticks (at first none) at 9 bytes an entity and 4 a cell
    /// each; what was kept is forgotten.
    pub fn keep_history(&mut self, ticks: usize) {
        self.history.ring = std::iter::repeat_with(Past::default).take(ticks).collect();
    }

    /// The zone as it stands after its last step, without what was despawned since. It needs no history.
    pub fn now(&self) -> Moment<'_> {
        let Columns { start, local, entity, warm, .. } = &self.columns;
        Moment { zone: self, grid: self.grid, start, local, entity, team: Teams::Now(warm) }
    }

    /// The zone as it was after the step with this number, for what a client saw when it acted; everybody's team
    /// is that of then. What was despawned since is passed over in answers.
    ///
    /// # Errors
    /// If the step is yet to come or no longer kept: whoever acts on what it saw then acted too late.
    pub fn at(&self, tick: u32) -> Result<Moment<'_>, MomentError> {
        let (ring, now) = (&self.history.ring, self.tick);
        if tick > now {
            return Err(MomentError::Future { tick, now });
        }
        let past = ring.get(tick as usize % ring.len().max(1)).filter(|past| past.tick == Some(tick));
        let Some(Past { start, local, entity, team, .. }) = past else {
            return Err(MomentError::NotKept { tick, now, ticks: ring.len() as u32 });
        };
        Ok(Moment { zone: self, grid: self.grid, start, local, entity, team: Teams::Past(team) })
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

    /// The places of a group of lanes from a row on. Behind the last row they have no meaning. `rest` is where they
    /// are put together if that is necessary.
    #[inline(always)]
    pub(crate) fn local_lanes<'a>(&'a self, row: usize, rest: &'a mut [u32; LANES]) -> &'a [u32; LANES] {
        lanes_from(self.local, row, rest)
    }

    /// The same of their teams.
    #[inline(always)]
    pub(crate) fn team_lanes<'a>(&'a self, row: usize, rest: &'a mut [u32; LANES]) -> &'a [u32; LANES] {
        *rest = match self.team {
            Teams::Past(team) => lanes_from(team, row, &mut [0; LANES]).map(u32::from),
            Teams::Now(warm) => {
                lanes_from(warm, row, &mut [Warm::default(); LANES]).map(|warm| u32::from(warm.team))
            }
        };
        rest
    }
}

/// So many rows of a column, which are copied to `rest` only at its end. Behind its last row they have no meaning.
#[inline(always)]
pub(crate) fn lanes_from<'a, T: Copy, const N: usize>(
    column: &'a [T],
    row: usize,
    rest: &'a mut [T; N],
) -> &'a [T; N] {
    let column = column.get(row..).unwrap_or_default();
    if let Some(lanes) = column.first_chunk() {
        return lanes;
    }
    rest[..column.len()].copy_from_slice(column);
    rest
}
