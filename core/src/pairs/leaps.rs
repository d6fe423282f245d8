//! Pairs of which at least one leapt: it is compared with everyone around where it was and where it is.
//!
//! Each costs a look at 18 cells, whatever the zone's size.

use std::ops::Range;

use vyuha_protocol::{CellCoord, EntityId, Pos};

use super::{Leap, PairEvent, group, is_within};
use crate::batch::bits_of_lanes;
use crate::columns::{Columns, Grid, HIDDEN, LEAPT, unpack};
use crate::history::LANES;
use crate::simd::{SimdLevel, at_level};

/// The leaps of a tick.
#[derive(Default)]
pub(super) struct Leaps {
    all: Vec<Leap>,
    /// Those that were somewhere, by the number of the cell where that was.
    by_cell: Vec<(u32, Leap)>,
    /// Those that were somewhere and are elsewhere now, by id.
    moved: Vec<(EntityId, Pos)>,
}

impl Leaps {
    pub fn push(&mut self, leap: Leap) {
        self.all.push(leap);
    }

    /// Appends the events of all pairs of which at least one leapt, and forgets the leaps.
    pub fn compare(
        &mut self,
        simd: SimdLevel,
        columns: &mut Columns,
        grid: Grid,
        radius_squared: u32,
        events: &mut Vec<PairEvent>,
    ) {
        if self.all.is_empty() {
            return;
        }
        let Leaps { all, by_cell, moved } = self;
        let was = |leap: &Leap| leap.from.map(|from| (grid.index(from.cell()) as u32, *leap));
        by_cell.extend(all.iter().filter_map(was));
        by_cell.sort_unstable_by_key(|(cell, leap)| (*cell, leap.entity));
        let jumped = |leap: &Leap| leap.from.filter(|_| leap.to.is_some()).map(|from| (leap.entity, from));
        moved.extend(all.iter().filter_map(jumped));
        moved.sort_unstable_by_key(|(entity, _)| *entity);
        look_around(simd, self, columns, grid, radius_squared, events);
        columns.flags.iter_mut().for_each(|flags| *flags &= !LEAPT);
        self.all.clear();
        self.by_cell.clear();
        self.moved.clear();
    }

    /// Where an entity that leapt was, if it was anywhere.
    fn place_before(&self, entity: EntityId) -> Option<Pos> {
        let at = self.moved.binary_search_by_key(&entity, |(moved, _)| *moved).ok()?;
        Some(self.moved[at].1)
    }

    /// Those that were in some cells that are numbered one after the other.
    fn in_cells(&self, cells: Range<usize>) -> impl Iterator<Item = &Leap> {
        let begin = self.by_cell.partition_point(|(cell, _)| (*cell as usize) < cells.start);
        let rest = self.by_cell[begin..].iter();
        rest.take_while(move |(cell, _)| (*cell as usize) < cells.end).map(|(_, leap)| leap)
    }
}

at_level! {
    fn look_around(
        leaps: &Leaps,
        columns: &Columns,
        grid: Grid,
        radius_squared: u32,
        events: &mut Vec<PairEvent>,
    ) = look_around_body
}

#[inline(always)]
fn look_around_body(
    leaps: &Leaps,
    columns: &Columns,
    grid: Grid,
    radius_squared: u32,
    events: &mut Vec<PairEvent>,
) {
    let in_range = |a: Option<Pos>, b: Option<Pos>| {
        a.zip(b).is_some_and(|(a, b)| a.distance_squared(b) <= u64::from(radius_squared))
    };
    let has_leapt = |row: usize| columns.flags[row] & LEAPT != 0;
    for &Leap { entity, from, to } in &leaps.all {
        let mut tell = |other: EntityId, enters| events.push(PairEvent::new(entity.0, other.0, enters));
        if let Some(from) = from {
            for cells in rows_of_three(grid, from.cell()) {
                // Whoever walked is at most a step away from where it was: the cells around suffice.
                scan(columns, grid, cells.clone(), from, true, radius_squared, |row, now| {
                    if !has_leapt(row) && !in_range(to, Some(now)) {
                        tell(EntityId(columns.entity[row]), false);
                    }
                });
                for other in leaps.in_cells(cells) {
                    // Both are met from each other.
                    if other.entity > entity && in_range(Some(from), other.from) && !in_range(to, other.to) {
                        tell(other.entity, false);
                    }
                }
            }
        }
        if let Some(to) = to {
            for cells in rows_of_three(grid, to.cell()) {
                scan(columns, grid, cells, to, false, radius_squared, |row, now| {
                    let other = EntityId(columns.entity[row]);
                    let (told, was) = if has_leapt(row) {
                        (other <= entity, leaps.place_before(other))
                    } else {
                        (false, Some(before(now, columns.velocity[row])))
                    };
                    if !told && !in_range(from, was) {
                        tell(other, true);
                    }
                });
            }
        }
    }
}

/// The cells around one and itself, row by row.
fn rows_of_three(grid: Grid, cell: CellCoord) -> impl Iterator<Item = Range<usize>> {
    [-1, 0, 1].into_iter().map(move |dy| grid.beside(cell, (-1, dy))..grid.beside(cell, (1, dy)) + 1)
}

/// Visits the rows of some cells, numbered one after the other, that are (or, having walked, were) in range of a
/// place and not hidden; it is told where they are.
#[inline(always)]
fn scan(
    columns: &Columns,
    grid: Grid,
    cells: Range<usize>,
    centre: Pos,
    was: bool,
    radius_squared: u32,
    mut visit: impl FnMut(usize, Pos),
) {
    for cell in cells {
        let rows = columns.run(cell);
        if rows.is_empty() {
            continue;
        }
        let corner = Pos::from_cell(grid.coord(cell), 0);
        let (x, y) = (corner.x.wrapping_sub(centre.x) as i32, corner.y.wrapping_sub(centre.y) as i32);
        for at in rows.clone().step_by(LANES) {
            let (local, velocity) = (group(&columns.local, at), group(&columns.velocity, at));
            let near: [u8; LANES] = std::array::from_fn(|lane| {
                let by = unpack(if was { velocity[lane] } else { 0 });
                let x = x + (local[lane] & 0xffff) as i32 - i32::from(by.dx);
                let y = y + (local[lane] >> 16) as i32 - i32::from(by.dy);
                u8::from(is_within(x, y, radius_squared))
            });
            let mut bits = bits_of_lanes(&near) & u32::MAX >> (32 - (rows.end - at).min(LANES) as u32);
            while bits != 0 {
                let lane = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if columns.flags[at + lane] & HIDDEN != 0 {
                    continue;
                }
                visit(at + lane, Pos::from_cell(grid.coord(cell), local[lane]));
            }
        }
    }
}

/// Where somebody that walked was.
#[inline(always)]
fn before(now: Pos, velocity: u32) -> Pos {
    let by = unpack(velocity);
    Pos { x: now.x.wrapping_add_signed(-i32::from(by.dx)), y: now.y.wrapping_add_signed(-i32::from(by.dy)) }
}
