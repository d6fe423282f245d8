//! Candidates laid out for those that ask from one cell, and how an answer is made of them.

use std::ops::Range;

use vyuha_protocol::map::MAP_TILES_MAX;
use vyuha_protocol::units::{CELL_UNITS, TILE_UNITS};
use vyuha_protocol::{CellCoord, EntityId, Pos};

use super::scan::{self, Scan, key};
use super::{Found, RUN_CELLS, Seeker, bound_of, reaches};
use crate::batch::Circle;
use crate::history::{LANES, Moment};
use crate::query::corners;
use crate::simd::at_level;
use crate::zone::ZONE_ENTITIES_MAX;

/// Candidates of a block: a candidate's number is the low byte of its key.
pub(super) const BLOCK: usize = 1 << u8::BITS;
pub(super) const NUMBER: u32 = BLOCK as u32 - 1;
/// Rounded places differ by less than this on each axis, so that the sum of two squares fits 31 bits.
pub(super) const ROUNDED_MAX: u32 = 1 << 15;
/// No two places of a map are farther apart on an axis.
pub(super) const MAP_UNITS_MAX: u32 = MAP_TILES_MAX * TILE_UNITS;
/// Where lanes without a candidate stand: the differences to an asker's place are modulo 2^16, and on
/// both axes farther than any that is looked at.
pub(super) const NOWHERE: u32 = 0x8000_8000;
/// The bits of a mark that number the row; those above are the team.
pub(super) const ROW_BITS: u32 = 24;
const _: () = assert!(ZONE_ENTITIES_MAX <= 1 << ROW_BITS);

/// Candidates near a cell, and lanes behind the last so that groups can be written and read whole.
#[repr(align(64))]
pub(super) struct Block {
    /// The rounded place, measured from the corner of the askers' first cell, x in the low half and y in the high half.
    pub place: [u32; BLOCK + LANES],
    /// The team above the row.
    pub mark: [u32; BLOCK + LANES],
    pub length: usize,
}

/// How places are rounded: down to a grain, measured from a corner.
#[derive(Clone, Copy)]
pub(super) struct Rounding {
    pub corner: Pos,
    pub grain_bits: u32,
}

/// What a radius comes to by rounded places, in square grains. Rounding moves two places by less than the root of
/// two grains towards or away from each other.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    pub radius_units: u32,
    /// A key below this is certainly within the radius.
    pub inner: u32,
    /// A key above this is certainly outside.
    pub outer: u32,
    /// Of two within the radius whose keys differ by more than this the one with the lower key is nearer.
    pub slack: u32,
}

/// Which rows of a cell belong in a block, and how their places are rounded. Places are as in a block.
#[derive(Clone, Copy)]
pub(super) struct Sieve {
    pub rounding: Rounding,
    pub low: u32,
    pub high: u32,
    /// The team that is left out, or [`NO_TEAM`].
    pub friends: u32,
}

/// Rows of up to three cells side by side, which follow one another.
#[derive(Clone, Copy)]
pub(super) struct Span {
    /// The first of them.
    pub cell: CellCoord,
    pub begin: u32,
    /// Where the second's and the third's rows begin.
    pub second: u32,
    pub third: u32,
    pub end: u32,
}

/// No more, so that no branch has to foresee in which cell a group of lanes ends.
const CELLS_OF_A_SPAN: u16 = 3;

impl Span {
    /// The cells from one on, but not beyond a column of cells.
    #[inline(always)]
    fn new(moment: Moment<'_>, cell: CellCoord, last_x: u16) -> Span {
        let first = moment.grid.index(cell);
        let cells = usize::from((last_x - cell.x + 1).min(CELLS_OF_A_SPAN));
        let begins = |cells: usize| moment.start[first + cells];
        Span { cell, begin: begins(0), second: begins(1), third: begins(cells.min(2)), end: begins(cells) }
    }
}

/// More than any team.
pub(super) const NO_TEAM: u32 = 1 << u8::BITS;

impl Rounding {
    /// As fine as can be for those that ask from a run of cells, given its corner, and look as far as a radius.
    pub fn new(corner: Pos, radius_units: u32) -> Rounding {
        // To the far side of the farthest cell that is looked at.
        let far = radius_units.min(MAP_UNITS_MAX) + (1 + u32::from(RUN_CELLS)) * CELL_UNITS;
        Rounding { corner, grain_bits: u32::BITS - (far / ROUNDED_MAX).leading_zeros() }
    }

    /// A place near the askers.
    #[inline(always)]
    pub fn round(self, pos: Pos) -> u32 {
        let axis = |at: u32, corner: u32| (at.wrapping_sub(corner) as i32 >> self.grain_bits) as u32 & 0xffff;
        axis(pos.x, self.corner.x) | axis(pos.y, self.corner.y) << 16
    }

    /// What the next cell to the east adds to a rounded place.
    #[inline(always)]
    pub fn cell_width(self) -> u32 {
        CELL_UNITS >> self.grain_bits
    }

    #[inline(always)]
    pub fn sieve(self, low: Pos, high: Pos, friends: Option<u8>) -> Sieve {
        // Outside of the map is as good as anywhere far.
        let near = |at: u32, corner: u32| at.min(corner.saturating_add(MAP_UNITS_MAX));
        let high = Pos { x: near(high.x, self.corner.x), y: near(high.y, self.corner.y) };
        let friends = friends.map_or(NO_TEAM, u32::from);
        Sieve { rounding: self, low: self.round(low), high: self.round(high), friends }
    }

    /// The corner of the cell in which a rounded place lies.
    #[inline(always)]
    pub fn cell(self, place: u32) -> CellCoord {
        let axis = |at: u32, place: u32| at.wrapping_add_signed(i32::from(place as i16) << self.grain_bits);
        Pos { x: axis(self.corner.x, place), y: axis(self.corner.y, place >> 16) }.cell()
    }

    #[inline(always)]
    pub fn reach(self, radius_units: u32) -> Reach {
        let squared = u64::from(radius_units).pow(2) >> (2 * self.grain_bits);
        // Above the root of two, twice, times a distance in grains.
        let error = 3 * (u64::from(radius_units >> self.grain_bits) + 1) + 2;
        let fit = |limit: u64| u32::try_from(limit).unwrap_or(u32::MAX);
        Reach {
            radius_units,
            inner: fit(squared.saturating_sub(error + u64::from(NUMBER))),
            outer: fit(squared + error) | NUMBER,
            slack: fit(2 * error + 8 + u64::from(NUMBER)),
        }
    }
}

impl Default for Block {
    fn default() -> Block {
        Block { place: [0; BLOCK + LANES], mark: [0; BLOCK + LANES], length: 0 }
    }
}

impl Block {
    /// Fills the last group.
    #[inline(always)]
    pub fn close(&mut self) {
        lanes_at_mut(&mut self.place, self.length).fill(NOWHERE);
    }

    /// The same by exact places.
    #[inline(never)]
    pub fn compare(&self, moment: Moment<'_>, seeker: &Seeker, rounding: Rounding, found: &mut Found) {
        let mut bound = bound_of(seeker, found);
        let mut outer = rounding.reach((bound.0.isqrt() as u32).saturating_add(1)).outer;
        let centre = rounding.round(seeker.circle.centre);
        for number in 0..self.length {
            let key = key(self.place[number], centre);
            if key > outer || self.mark[number] >> ROW_BITS == u32::from(seeker.team) {
                continue;
            }
            let (id, pos) = self.candidate(number, moment, rounding);
            let rank = (pos.distance_squared(seeker.circle.centre), id);
            if rank <= bound && moment.slots().resolve(id).is_some() {
                bound = rank;
                outer = rounding.reach((bound.0.isqrt() as u32).saturating_add(1)).outer;
                *found = Some((id, pos));
            }
        }
    }

    /// The entity of a candidate, and where it is.
    #[inline(always)]
    pub fn candidate(&self, number: usize, moment: Moment<'_>, rounding: Rounding) -> (EntityId, Pos) {
        let row = (self.mark[number] & ((1 << ROW_BITS) - 1)) as usize;
        let cell = rounding.cell(self.place[number]);
        (EntityId(moment.entity[row]), Pos::from_cell(cell, moment.local[row]))
    }
}

at_level! {
    /// Lays out the cells that a rectangle touches, and says whether there was room.
    pub(super) fn fill(block: &mut Block, moment: Moment<'_>, low: Pos, high: Pos, sieve: Sieve) -> bool
        = (fill_with::<scan::Plain>, fill_with::<scan::Avx2>, fill_with::<scan::Avx512>)
}

#[inline(always)]
fn fill_with<S: Scan>(block: &mut Block, moment: Moment<'_>, low: Pos, high: Pos, sieve: Sieve) -> bool {
    block.length = 0;
    let (first, last) = corners(moment.grid, low, high);
    let mut fits = true;
    // Loops, because closures are not compiled for the level.
    let mut y = first.y;
    while fits && y <= last.y {
        let mut x = first.x;
        while fits && x <= last.x {
            fits = S::push(block, moment, Span::new(moment, CellCoord { x, y }, last.x), sieve);
            x += CELLS_OF_A_SPAN;
        }
        y += 1;
    }
    block.close();
    fits
}

at_level! {
    /// Lays out rows of one cell, at most a block.
    pub(super) fn fill_from_cell(
        block: &mut Block,
        moment: Moment<'_>,
        cell: CellCoord,
        rows: Range<usize>,
        sieve: Sieve,
    ) = (
        fill_from_cell_with::<scan::Plain>,
        fill_from_cell_with::<scan::Avx2>,
        fill_from_cell_with::<scan::Avx512>
    )
}

#[inline(always)]
fn fill_from_cell_with<S: Scan>(
    block: &mut Block,
    moment: Moment<'_>,
    cell: CellCoord,
    rows: Range<usize>,
    sieve: Sieve,
) {
    block.length = 0;
    let end = rows.end as u32;
    S::push(block, moment, Span { cell, begin: rows.start as u32, second: end, third: end, end }, sieve);
    block.close();
}

at_level! {
    /// Replaces what seekers found so far where there is somebody better in a block; if it is all of one cell, for
    /// those that the cell can matter to.
    pub(super) fn answer(
        block: &Block,
        moment: Moment<'_>,
        seekers: &[Seeker],
        rounding: Rounding,
        cell: Option<CellCoord>,
        out: &mut [Found],
    ) = (answer_with::<scan::Plain>, answer_with::<scan::Avx2>, answer_with::<scan::Avx512>)
}

#[inline(always)]
fn answer_with<S: Scan>(
    block: &Block,
    moment: Moment<'_>,
    seekers: &[Seeker],
    rounding: Rounding,
    cell: Option<CellCoord>,
    out: &mut [Found],
) {
    if block.length == 0 {
        return;
    }
    let mut reach = rounding.reach(seekers[0].circle.radius_units);
    for (seeker, found) in seekers.iter().zip(&mut *out) {
        if cell.is_some_and(|cell| !reaches(seeker, found, cell)) {
            continue;
        }
        let Circle { centre, radius_units } = seeker.circle;
        if radius_units != reach.radius_units {
            reach = rounding.reach(radius_units);
        }
        let least = S::least(block, rounding.round(centre), seeker.team, reach.slack);
        if least.key > reach.outer {
            continue;
        }
        if found.is_none() && least.key < reach.inner && least.alone {
            let nearest = block.candidate((least.key & NUMBER) as usize, moment, rounding);
            moment.slots().fetch(nearest.0);
            *found = Some(nearest);
        } else {
            block.compare(moment, seeker, rounding, found);
        }
    }
    // Whether they still are is looked up far apart, and was asked for above.
    for (seeker, found) in seekers.iter().zip(out) {
        if found.is_some_and(|(id, _)| moment.slots().resolve(id).is_none()) {
            *found = None;
            block.compare(moment, seeker, rounding, found);
        }
    }
}

#[inline(always)]
pub(super) fn lanes_at(column: &[u32], at: usize) -> &[u32; LANES] {
    column[at..].first_chunk().expect("lanes behind the last candidate")
}

#[inline(always)]
pub(super) fn lanes_at_mut(column: &mut [u32], at: usize) -> &mut [u32; LANES] {
    column[at..].first_chunk_mut().expect("lanes behind the last candidate")
}
