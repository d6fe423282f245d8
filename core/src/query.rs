//! Questions that rules ask of the zone. They are answered as of the last step, without what was despawned
//! since.

use vyuha_protocol::{CellCoord, EntityId, EntityKind, Pos};

use crate::columns::{GONE, Grid};
use crate::zone::Zone;

impl Zone {
    /// Visits all within a radius in units (inclusive), in cell order.
    pub fn within(&self, centre: Pos, radius_units: u32, mut visit: impl FnMut(EntityId, Pos)) {
        let radius_squared = u64::from(radius_units).pow(2);
        for cell in cells_near(self.grid, centre, radius_units) {
            for (id, pos) in self.standing_in(cell) {
                if pos.distance_squared(centre) <= radius_squared {
                    visit(id, pos);
                }
            }
        }
    }

    /// The nearest within a radius in units (inclusive) that `accept` accepts; of several equally near ones the
    /// one with the lowest id. `accept` is asked only of those that are nearer than the best so far.
    pub fn nearest(
        &self,
        centre: Pos,
        radius_units: u32,
        accept: impl Fn(EntityId) -> bool,
    ) -> Option<(EntityId, Pos)> {
        let mut best = None;
        let mut bound = (u64::from(radius_units).pow(2), EntityId(u32::MAX));
        let mut look = |cell: CellCoord| {
            if distance_squared_to_cell(centre, cell) > bound.0 {
                return;
            }
            for (id, pos) in self.standing_in(cell) {
                let rank = (pos.distance_squared(centre), id);
                if rank <= bound && accept(id) {
                    bound = rank;
                    best = Some((id, pos));
                }
            }
        };
        // Its own cell first: what is found there spares most of the others.
        let own = centre.cell();
        if own.x < self.grid.cells.x && own.y < self.grid.cells.y {
            look(own);
        }
        cells_near(self.grid, centre, radius_units).filter(|&cell| cell != own).for_each(look);
        best
    }

    /// Everything, in cell order: id, place, kind and state.
    pub fn entities(&self) -> impl Iterator<Item = (EntityId, Pos, EntityKind, u16)> {
        let cells = self.grid.cells;
        let cells = (0..cells.y).flat_map(move |y| (0..cells.x).map(move |x| CellCoord { x, y }));
        cells.flat_map(|cell| self.standing_in(cell)).map(|(id, pos)| {
            let slot = id.slot() as usize;
            (id, pos, EntityKind(self.slots.kind[slot]), self.slots.state[slot])
        })
    }

    fn standing_in(&self, cell: CellCoord) -> impl Iterator<Item = (EntityId, Pos)> {
        let run = self.columns.run(self.grid.index(cell));
        let columns = &self.columns;
        let rows =
            columns.entity[run.clone()].iter().zip(&columns.local[run.clone()]).zip(&columns.flags[run]);
        rows.filter(|(_, flags)| **flags & GONE == 0)
            .map(move |((entity, local), _)| (EntityId(*entity), Pos::from_cell(cell, *local)))
    }
}

/// The map's cells that a square of the radius around a place touches, row by row.
#[inline]
pub(crate) fn cells_near(grid: Grid, centre: Pos, radius_units: u32) -> CellsBetween {
    let low = Pos { x: centre.x.saturating_sub(radius_units), y: centre.y.saturating_sub(radius_units) };
    let high = Pos { x: centre.x.saturating_add(radius_units), y: centre.y.saturating_add(radius_units) };
    cells_between(grid, low, high)
}

/// The map's cells that a rectangle touches, given by its north-western and south-eastern corners, row by row.
#[inline]
pub(crate) fn cells_between(grid: Grid, low: Pos, high: Pos) -> CellsBetween {
    let (first, last) = corners(grid, low, high);
    let next = (first.x <= last.x && first.y <= last.y).then_some(first);
    CellsBetween { next, first_x: first.x, last }
}

/// The first and the last of the map's cells that a rectangle touches. The first lies behind the last if there are
/// none.
#[inline(always)]
pub(crate) fn corners(grid: Grid, low: Pos, high: Pos) -> (CellCoord, CellCoord) {
    let last = |high: u32, cells: u16| ((high >> 16) as u16).min(cells - 1);
    (low.cell(), CellCoord { x: last(high.x, grid.cells.x), y: last(high.y, grid.cells.y) })
}

/// A rectangle of cells. Written out because the vector kernels that walk it must be inlined whole.
pub(crate) struct CellsBetween {
    next: Option<CellCoord>,
    first_x: u16,
    last: CellCoord,
}

impl Iterator for CellsBetween {
    type Item = CellCoord;

    #[inline(always)]
    fn next(&mut self) -> Option<CellCoord> {
        let cell = self.next?;
        self.next = if cell.x < self.last.x {
            Some(CellCoord { x: cell.x + 1, y: cell.y })
        } else if cell.y < self.last.y {
            Some(CellCoord { x: self.first_x, y: cell.y + 1 })
        } else {
            None
        };
        Some(cell)
    }
}

/// Square of the distance from a place to the nearest place of a cell, in units squared.
#[inline]
pub(crate) fn distance_squared_to_cell(from: Pos, cell: CellCoord) -> u64 {
    let axis = |at: u32, cell: u16| {
        let first = u32::from(cell) << 16;
        u64::from(first.saturating_sub(at).max(at.saturating_sub(first | 0xffff)))
    };
    axis(from.x, cell.x).pow(2) + axis(from.y, cell.y).pow(2)
}
