//! Pairs that both walked, or stood.
//!
//! Half the neighbourhood of each cell is looked at, so that each pair is met once. Nearly all pairs are far
//! from the border of the radius, before and after. A coarse comparison in 16-bit lanes finds the few that may
//! have crossed it and never misses one; these are then compared exactly.
//!
//! A coarse coordinate is the low 16 bits of a place in quanta of 4 units, so it wraps after 4 cells. A
//! difference is right where it fits 16 bits: that is up to 2 cells, far more than a pair in range before or
//! after can be apart. Those farther apart may look near, which only costs an exact comparison.

use std::ops::Range;

use vyuha_protocol::CellCoord;

use super::{PairEvent, group, is_within};
use crate::columns::{Columns, Grid, HIDDEN, LEAPT, unpack};
use crate::history::LANES;
use crate::simd::at_level;

/// Bits that a coarse coordinate leaves off.
const COARSE_SHIFT: u32 = 2;
/// Observers that are compared at a time: a bit each in [`Hits`].
const OBSERVERS: usize = u16::BITS as usize;
/// Candidates that are compared at a time: in all 5 KiB, which stay in the first-level cache.
const CANDIDATES: usize = 512;
/// Candidates of an inner loop: the widest vector.
const WIDTH: usize = 32;
/// Candidates whose hits are looked at together: 64 bits.
const WORD: usize = 64 / OBSERVERS;

/// Coarse places, now and a tick ago.
#[derive(Clone, Copy)]
struct Coarse<const N: usize> {
    x: [u16; N],
    y: [u16; N],
    was_x: [u16; N],
    was_y: [u16; N],
}

/// Where a coarse distance squared does not decide: below `low` it is in range, above `high` out of it.
#[derive(Clone, Copy)]
struct Band {
    low: i16,
    high: i16,
}

impl Band {
    /// Four times a coarse difference is less than 4 units off on each axis, so a distance less than 6; and a
    /// coarse square is up to 2 too low, because it is the sum of two that are rounded down.
    fn new(radius_units: u32) -> Band {
        let square = |units: u32| (u64::from(units).pow(2) >> (2 * COARSE_SHIFT + 16)) as i16;
        Band { low: square(radius_units.saturating_sub(6)) - 1, high: square(radius_units + 6) }
    }
}

/// Half of a cell's neighbourhood: all pairs with the rest are met from there.
const STENCIL: [(i32, i32); 5] = [(0, 0), (1, 0), (-1, 1), (0, 1), (1, 1)];

/// Entities of one cell among the candidates.
#[derive(Clone, Copy, Default)]
struct Piece {
    /// Its first lane.
    lane: usize,
    /// Its first row.
    row: usize,
    /// Which cell, counted from that of the observers.
    beside: (i32, i32),
}

/// As many of the candidates for a cell's observers as are compared at a time.
struct Candidates {
    /// What is behind the last candidate has no meaning.
    coarse: Coarse<{ CANDIDATES + LANES }>,
    pieces: [Piece; STENCIL.len()],
    used: usize,
    length: usize,
}

/// By candidate, a bit for each observer with whom it may have crossed the radius.
type Hits = [u16; CANDIDATES];

at_level! {
    /// Appends the events of all pairs of which none leapt.
    pub(super) fn compare(
        columns: &Columns,
        grid: Grid,
        radius_units: u32,
        events: &mut Vec<PairEvent>,
    ) = compare_body
}

#[inline(always)]
fn compare_body(columns: &Columns, grid: Grid, radius_units: u32, events: &mut Vec<PairEvent>) {
    let band = Band::new(radius_units);
    let empty = [0; CANDIDATES + LANES];
    let coarse = Coarse { x: empty, y: empty, was_x: empty, was_y: empty };
    let mut candidates = Candidates { coarse, pieces: Default::default(), used: 0, length: 0 };
    let mut hits = [0; CANDIDATES];
    for (y, x) in (0..grid.cells.y).flat_map(|y| (0..grid.cells.x).map(move |x| (y, x))) {
        let cell = CellCoord { x, y };
        let own = columns.run(grid.index(cell));
        if own.is_empty() {
            continue;
        }
        let mut runs = STENCIL.map(|beside| columns.run(grid.beside(cell, beside)));
        while candidates.fill(columns, cell, &mut runs) {
            for first in own.clone().step_by(OBSERVERS) {
                let observers = first..own.end.min(first + OBSERVERS);
                let lanes = candidates.unmet(first);
                find(
                    &candidates,
                    lanes.clone(),
                    &coarse_group(columns, first, cell),
                    observers.len(),
                    band,
                    &mut hits,
                );
                candidates.confine(first, lanes.clone(), &mut hits);
                candidates.judge(columns, first, lanes, &hits, radius_units * radius_units, events);
            }
        }
    }
}

/// The coarse places of a group of rows of a cell.
#[inline(always)]
fn coarse_group(columns: &Columns, row: usize, cell: CellCoord) -> Coarse<LANES> {
    let (local, velocity) = (group(&columns.local, row), group(&columns.velocity, row));
    let axis = |cell: u16, at: fn(u32) -> u32, by: fn(u32) -> i16| -> ([u16; LANES], [u16; LANES]) {
        let corner = cell << (16 - COARSE_SHIFT);
        let now = local.map(|local| corner.wrapping_add((at(local) >> COARSE_SHIFT) as u16));
        let was = std::array::from_fn(|lane| {
            let was = at(local[lane]) as i32 - i32::from(by(velocity[lane]));
            corner.wrapping_add((was >> COARSE_SHIFT) as u16)
        });
        (now, was)
    };
    let (x, was_x) = axis(cell.x, |local| local & 0xffff, |velocity| velocity as i16);
    let (y, was_y) = axis(cell.y, |local| local >> 16, |velocity| (velocity >> 16) as i16);
    Coarse { x, y, was_x, was_y }
}

/// Compares observers with candidates. The inner loop is over lanes, so that it vectorises at every level.
#[inline(always)]
fn find(
    candidates: &Candidates,
    lanes: Range<usize>,
    observers: &Coarse<LANES>,
    count: usize,
    band: Band,
    hits: &mut Hits,
) {
    let Coarse { x, y, was_x, was_y } = &candidates.coarse;
    let chunks = lanes.start / WIDTH..lanes.end.div_ceil(WIDTH);
    let chunk =
        |column: &'_ [u16; CANDIDATES + LANES], at: usize| -> [u16; WIDTH] { column.as_chunks().0[at] };
    let (hits, _) = hits.as_chunks_mut::<WIDTH>();
    for at in chunks {
        let (x, y, was_x, was_y) = (chunk(x, at), chunk(y, at), chunk(was_x, at), chunk(was_y, at));
        let mut found = [0; WIDTH];
        for observer in 0..count {
            let from = |column: &[u16; LANES]| column[observer];
            let (to_x, to_y) = (from(&observers.x), from(&observers.y));
            let (to_was_x, to_was_y) = (from(&observers.was_x), from(&observers.was_y));
            let bit = 1 << observer;
            for lane in 0..WIDTH {
                let now = square(x[lane], to_x).wrapping_add(square(y[lane], to_y));
                let was = square(was_x[lane], to_was_x).wrapping_add(square(was_y[lane], to_was_y));
                let may_differ = (now.max(was) >= band.low) & (now.min(was) <= band.high);
                found[lane] |= if may_differ { bit } else { 0 };
            }
        }
        hits[at] = found;
    }
}

/// The upper half of a difference squared.
#[inline(always)]
fn square(a: u16, b: u16) -> i16 {
    let apart = i32::from(a.wrapping_sub(b) as i16);
    (apart * apart >> 16) as i16
}

impl Candidates {
    /// Takes the next of the runs' rows, and says whether there were any.
    #[inline(always)]
    fn fill(&mut self, columns: &Columns, cell: CellCoord, runs: &mut [Range<usize>; STENCIL.len()]) -> bool {
        (self.used, self.length) = (0, 0);
        for (run, beside) in runs.iter_mut().zip(STENCIL) {
            if run.start == run.end || self.length == CANDIDATES {
                continue;
            }
            self.pieces[self.used] = Piece { lane: self.length, row: run.start, beside };
            self.used += 1;
            let x = cell.x.wrapping_add_signed(beside.0 as i16);
            let in_cell = CellCoord { x, y: cell.y + beside.1 as u16 };
            while run.start < run.end && self.length < CANDIDATES {
                let Coarse { x, y, was_x, was_y } = coarse_group(columns, run.start, in_cell);
                self.coarse.x[self.length..][..LANES].copy_from_slice(&x);
                self.coarse.y[self.length..][..LANES].copy_from_slice(&y);
                self.coarse.was_x[self.length..][..LANES].copy_from_slice(&was_x);
                self.coarse.was_y[self.length..][..LANES].copy_from_slice(&was_y);
                let taken = run.len().min(LANES).min(CANDIDATES - self.length);
                self.length += taken;
                run.start += taken;
            }
        }
        self.length > 0
    }

    /// The lanes in which observers from a row on may meet somebody new: in their own cell they meet those behind
    /// them.
    #[inline(always)]
    fn unmet(&self, first: usize) -> Range<usize> {
        let begin = match self.pieces[0] {
            Piece { row, beside: (0, 0), .. } => (first + 1).saturating_sub(row).min(self.own_length()),
            _ => 0,
        };
        begin / WIDTH * WIDTH..self.length
    }

    /// How many of the candidates are of the observers' own cell.
    #[inline(always)]
    fn own_length(&self) -> usize {
        match self.pieces {
            [Piece { beside: (0, 0), .. }, next, ..] if self.used > 1 => next.lane,
            [Piece { beside: (0, 0), .. }, ..] => self.length,
            _ => 0,
        }
    }

    /// Drops the hits in lanes that have no candidate, and those of pairs that the other one meets.
    #[inline(always)]
    fn confine(&self, first: usize, lanes: Range<usize>, hits: &mut Hits) {
        for lane in lanes.start..self.own_length().min((first + OBSERVERS).saturating_sub(self.pieces[0].row))
        {
            // Those before this one, a bit each.
            let before = (self.pieces[0].row + lane).saturating_sub(first);
            hits[lane] &= (1 << before) - 1;
        }
        hits[self.length..self.length.next_multiple_of(WORD)].fill(0);
    }

    /// Compares exactly those pairs that were hit.
    #[inline(always)]
    fn judge(
        &self,
        columns: &Columns,
        first: usize,
        lanes: Range<usize>,
        hits: &Hits,
        radius_squared: u32,
        events: &mut Vec<PairEvent>,
    ) {
        let (words, _) = hits.as_chunks::<WORD>();
        let word = |at: usize| words[at].iter().rev().fold(0u64, |word, hits| word << 16 | u64::from(*hits));
        let mut found = [0u16; CANDIDATES / WORD];
        let mut count = 0;
        for at in lanes.start / WORD..lanes.end.div_ceil(WORD) {
            // Written whether there is a hit or not: about one in four has one, and no branch foresees which.
            found[count] = at as u16;
            count += usize::from(word(at) != 0);
        }
        for at in &found[..count] {
            let mut bits = word(usize::from(*at));
            while bits != 0 {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let lane = usize::from(*at) * WORD + bit / OBSERVERS;
                self.judge_pair(columns, first + bit % OBSERVERS, lane, radius_squared, events);
            }
        }
    }

    #[inline(always)]
    fn judge_pair(
        &self,
        columns: &Columns,
        observer: usize,
        lane: usize,
        radius_squared: u32,
        events: &mut Vec<PairEvent>,
    ) {
        let pieces = &self.pieces[..self.used];
        let piece = pieces[pieces[1..].iter().map(|piece| usize::from(piece.lane <= lane)).sum::<usize>()];
        let candidate = piece.row + lane - piece.lane;
        let (from, to) = (columns.local[observer], columns.local[candidate]);
        let x = (piece.beside.0 << 16) + (to & 0xffff) as i32 - (from & 0xffff) as i32;
        let y = (piece.beside.1 << 16) + (to >> 16) as i32 - (from >> 16) as i32;
        let (from_by, to_by) = (unpack(columns.velocity[observer]), unpack(columns.velocity[candidate]));
        let was_x = x - i32::from(to_by.dx) + i32::from(from_by.dx);
        let was_y = y - i32::from(to_by.dy) + i32::from(from_by.dy);
        let enters = is_within(x, y, radius_squared);
        let leapt = (columns.flags[observer] | columns.flags[candidate]) & (LEAPT | HIDDEN) != 0;
        if enters != is_within(was_x, was_y, radius_squared) && !leapt {
            events.push(PairEvent::new(columns.entity[observer], columns.entity[candidate], enters));
        }
    }
}
