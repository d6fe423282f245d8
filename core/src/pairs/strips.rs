//! Two rows of cells, laid out for the comparison of walkers.
//!
//! A coarse coordinate is the low 16 bits of a place in quanta of 4 units, so it wraps after 4 cells. A
//! difference is right up to 2 cells, and nobody who is met is farther. In the middle of their step two may have been a
//! step farther: their difference then wraps to one that is less by that, far more than any radius.

use vyuha_protocol::CellCoord;
use vyuha_protocol::units::STEP_UNITS_MAX;

use super::near::GROUP;
use crate::columns::{Columns, Grid, HIDDEN, LEAPT};
use crate::history::LANES;

/// Bits that a coarse coordinate leaves off.
pub(super) const COARSE_SHIFT: u32 = 2;

/// The bits of a coarse place within its cell, on both axes; those above them number the cell.
const COARSE_MASK: u32 = (0xffff >> COARSE_SHIFT) * 0x1_0001;
const CELL_SHIFT: u32 = 16 - COARSE_SHIFT;

/// What coarse places do not tell of an entity: how it walked, what they leave off, and whether it is passed over,
/// because it leapt or is hidden.
#[derive(Clone, Copy)]
pub(super) struct Fine(pub u32);

/// Everyone in a row of cells and in the next one, in the order of the columns: 12 bytes each.
#[derive(Default)]
pub(super) struct Strips {
    /// The row of the columns that lies at place 0.
    base: usize,
    /// Coarse places in the middle of the last step, by at most one quantum off. Behind the last there is room for a
    /// group.
    pub x: Vec<u16>,
    pub y: Vec<u16>,
    /// Coarse places after it, x in the low half and y in the high half, each with its [`Fine`].
    pub exact: Vec<[u32; 2]>,
    /// By cell of each of the two, with one more at both ends: no walker in it made a longer step, in units.
    steps: [Vec<u32>; 2],
}

/// A column of which a group of lanes can be read from each row on.
struct Padded<'a, T> {
    column: &'a [T],
    /// The rows from this one on, less than a group, are here as well, and zeros behind them.
    last: usize,
    rest: [T; 2 * LANES],
}

impl<'a, T: Copy + Default> Padded<'a, T> {
    #[inline(always)]
    fn new(column: &'a [T]) -> Padded<'a, T> {
        let last = column.len().saturating_sub(LANES);
        let mut rest = [T::default(); 2 * LANES];
        rest[..column.len() - last].copy_from_slice(&column[last..]);
        Padded { column, last, rest }
    }

    /// In place: copied they would go through memory.
    #[inline(always)]
    fn group(&self, row: usize) -> &[T; LANES] {
        let group = self.column[row..].first_chunk();
        group.unwrap_or_else(|| self.rest[row - self.last..].first_chunk().expect("two groups"))
    }
}

impl Fine {
    /// Bits of each axis of a step: those of one that is no leap, with a sign.
    pub const STEP_BITS: u32 = 12;
    const STEP_MASK: u32 = (1 << Fine::STEP_BITS) - 1;
    pub const REST_MASK: u32 = (1 << COARSE_SHIFT) - 1;
    const PASSED_OVER: u32 = 1 << 31;

    #[inline(always)]
    fn new(local: u32, dx: i32, dy: i32, passed_over: bool) -> Fine {
        let step = (dx as u32 & Fine::STEP_MASK) | (dy as u32 & Fine::STEP_MASK) << Fine::STEP_BITS;
        let rest = local & (Fine::REST_MASK * 0x1_0001);
        let rest = (rest | rest >> (16 - COARSE_SHIFT)) & (Fine::REST_MASK << COARSE_SHIFT | Fine::REST_MASK);
        let passed_over = if passed_over { Fine::PASSED_OVER } else { 0 };
        Fine(step | rest << (2 * Fine::STEP_BITS) | passed_over)
    }

    /// Along x and along y.
    #[inline(always)]
    pub fn step(self) -> (i32, i32) {
        let above = u32::BITS - Fine::STEP_BITS;
        let axis = |bits: u32| (bits << above) as i32 >> above;
        (axis(self.0), axis(self.0 >> Fine::STEP_BITS))
    }

    /// The bits of the place that the coarse one leaves off.
    #[inline(always)]
    pub fn rest(self) -> (i32, i32) {
        let rest = self.0 >> (2 * Fine::STEP_BITS);
        ((rest & Fine::REST_MASK) as i32, (rest >> COARSE_SHIFT & Fine::REST_MASK) as i32)
    }

    #[inline(always)]
    pub fn is_passed_over(self) -> bool {
        self.0 & Fine::PASSED_OVER != 0
    }
}

/// What a length bound counts, to a unit.
const LENGTH_PARTS: u32 = 64;

/// At least the length of a vector and at most three parts in a hundred more: the larger of the two chords from
/// the length along an axis to that half way to the diagonal, and on to that along the diagonal.
#[inline(always)]
fn length_bound(x: i32, y: i32) -> u32 {
    let (x, y) = (x.unsigned_abs(), y.unsigned_abs());
    let (long, short) = (x.max(y), x.min(y));
    (LENGTH_PARTS * long + 13 * short).max(55 * long + 36 * short)
}

const _: () = assert!(STEP_UNITS_MAX < 1 << (Fine::STEP_BITS - 1));
const _: () = assert!(2 * (Fine::STEP_BITS + COARSE_SHIFT) < Fine::PASSED_OVER.ilog2() + 1);

impl Strips {
    /// Makes room for the two fullest rows of cells that touch.
    #[inline(always)]
    pub fn begin(&mut self, columns: &Columns, grid: Grid) {
        let length = |y| Strips::row_of_cells(columns, grid, y).len();
        let fullest =
            (0..grid.cells.y).map(|y| length(y) + if y + 1 < grid.cells.y { length(y + 1) } else { 0 });
        let room = fullest.max().unwrap_or(0) + GROUP;
        if self.exact.len() < room {
            self.x.resize(room, 0);
            self.y.resize(room, 0);
            self.exact.resize(room, [0; 2]);
        }
        self.base = 0;
        for steps in &mut self.steps {
            steps.clear();
            steps.resize(usize::from(grid.cells.x) + 2, 0);
        }
        self.fill(columns, grid, 0);
    }

    fn row_of_cells(columns: &Columns, grid: Grid, y: u16) -> std::ops::Range<usize> {
        let run = |x| columns.run(grid.index(CellCoord { x, y }));
        run(0).start..run(grid.cells.x - 1).end
    }

    /// Forgets whoever lies north of a row of cells, and lays out the one south of it.
    #[inline(always)]
    pub fn advance(&mut self, columns: &Columns, grid: Grid, y: u16) {
        let here = Strips::row_of_cells(columns, grid, y);
        let kept = here.start - self.base..here.end - self.base;
        self.x.copy_within(kept.clone(), 0);
        self.y.copy_within(kept.clone(), 0);
        self.exact.copy_within(kept, 0);
        self.base = here.start;
        self.steps.swap(0, 1);
        if y + 1 < grid.cells.y {
            self.fill(columns, grid, y + 1);
        } else {
            self.steps[1].fill(0);
        }
    }

    #[inline(always)]
    fn fill(&mut self, columns: &Columns, grid: Grid, row_of_cells: u16) {
        let Columns { local, velocity, flags, .. } = columns;
        let (locals, velocities, flags) = (Padded::new(local), Padded::new(velocity), Padded::new(flags));
        for cell in 0..grid.cells.x {
            let rows = columns.run(grid.index(CellCoord { x: cell, y: row_of_cells }));
            // What a cell adds to places in it.
            let corner =
                (u32::from(cell) << CELL_SHIFT & 0xffff) | u32::from(row_of_cells) << (CELL_SHIFT + 16);
            let begin = self.place(rows.start);
            let end = begin + rows.len().next_multiple_of(LANES);
            let (xs, _) = self.x[begin..end].as_chunks_mut::<LANES>();
            let (ys, _) = self.y[begin..end].as_chunks_mut::<LANES>();
            let (exact, _) = self.exact[begin..end].as_chunks_mut::<LANES>();
            let mut longest = [0; LANES];
            for (((row, xs), ys), exact) in rows.step_by(LANES).zip(xs).zip(ys).zip(exact) {
                let (local, velocity) = (locals.group(row), velocities.group(row));
                let flags = flags.group(row);
                let (mut places, mut fine) = ([0; LANES], [0; LANES]);
                let (mut x, mut y) = ([0; LANES], [0; LANES]);
                for lane in 0..LANES {
                    places[lane] = local[lane] >> COARSE_SHIFT & COARSE_MASK | corner;
                    let (dx, dy) = (i32::from(velocity[lane] as i16), velocity[lane] as i32 >> 16);
                    let half = |by: i32| (by >> (COARSE_SHIFT + 1)) as u16;
                    x[lane] = (places[lane] as u16).wrapping_sub(half(dx));
                    y[lane] = ((places[lane] >> 16) as u16).wrapping_sub(half(dy));
                    let passed_over = flags[lane] & (LEAPT | HIDDEN) != 0;
                    fine[lane] = Fine::new(local[lane], dx, dy, passed_over).0;
                    let length = if passed_over { 0 } else { length_bound(dx, dy) };
                    longest[lane] = longest[lane].max(length);
                }
                (*xs, *ys) = (x, y);
                for lane in 0..LANES {
                    exact[lane] = [places[lane], fine[lane]];
                }
            }
            let longest = longest.into_iter().fold(0, u32::max);
            self.steps[1][usize::from(cell) + 1] = longest / LENGTH_PARTS + 1;
        }
    }

    /// Where a row of the columns lies.
    #[inline(always)]
    pub fn place(&self, row: usize) -> usize {
        row - self.base
    }

    /// The inverse of [`Strips::place`].
    #[inline(always)]
    pub fn row(&self, place: usize) -> usize {
        place + self.base
    }

    /// How much the distance of a walker in a cell of the first row to one of whom it meets can have changed at most,
    /// in units.
    #[inline(always)]
    pub fn change_max(&self, x: u16) -> u32 {
        let x = usize::from(x);
        let [here, next] = self.steps.each_ref().map(|steps| &steps[x..x + 3]);
        here[1] + here[1].max(here[2]).max(next[0]).max(next[1]).max(next[2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STEP: i32 = STEP_UNITS_MAX as i32;

    proptest! {
        #[test]
        fn a_length_bound_is_hardly_more_than_the_length(x in -STEP..=STEP, y in -STEP..=STEP) {
            let length = f64::from(x).hypot(f64::from(y)) * f64::from(LENGTH_PARTS);
            let bound = f64::from(length_bound(x, y));
            prop_assert!((length..=1.03 * length).contains(&bound), "{} of {}", bound, length);
        }

        #[test]
        fn fine_parts_come_out_as_they_were_put_in(
            local: u32, dx in -STEP..=STEP, dy in -STEP..=STEP, passed_over: bool,
        ) {
            let fine = Fine::new(local, dx, dy, passed_over);
            prop_assert_eq!(fine.step(), (dx, dy));
            prop_assert_eq!(fine.rest(), ((local & 3) as i32, (local >> 16 & 3) as i32));
            prop_assert_eq!(fine.is_passed_over(), passed_over);
        }
    }
}
