//! Pairs that both walked, or stood.
//!
//! Half the neighbourhood of each cell is looked at, so that each pair is met once. Nearly all pairs are far
//! from the border of the radius, before and after. The broad phase, a coarse comparison in 16-bit lanes, finds
//! the few that may have crossed it and never misses one; the narrow phase compares these exactly.
//!
//! A coarse coordinate is the low 16 bits of a place in quanta of 4 units, so it wraps after 4 cells. A
//! difference is right up to 2 cells, far more than a pair in range before or after can be apart. Those farther
//! apart may look near, which only costs an exact comparison.

use std::ops::Range;

use vyuha_protocol::CellCoord;

use super::{PairEvent, group, is_within};
use crate::columns::{Columns, Grid, HIDDEN, LEAPT, unpack};
use crate::history::LANES;
use crate::simd::at_level;

/// Bits that a coarse coordinate leaves off.
const COARSE_SHIFT: u32 = 2;
/// Observers that are compared at a time: a bit each.
const OBSERVERS: usize = u16::BITS as usize;
/// Groups of candidates that are compared at a time: what lies around a cell of 20 or so.
const GROUPS: usize = 8;
/// Groups with hits that are gathered for the narrow phase: enough that its loops are long and foreseen.
const SUSPECTS: usize = 128;
/// Lanes whose hits are looked at together: 64 bits.
const WORD: usize = 64 / OBSERVERS;
/// By lane, a bit for each lane before it.
const BEFORE: [u16; LANES] = {
    let mut before = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        before[lane] = (1 << lane) - 1;
        lane += 1;
    }
    before
};
/// From an index on that many lanes before the middle, all bits of so many lanes and none of the others.
static FIRST_LANES: [u16; 2 * LANES] = {
    let mut first = [0; 2 * LANES];
    let mut lane = 0;
    while lane < LANES {
        first[lane] = u16::MAX;
        lane += 1;
    }
    first
};

const _: () = assert!(OBSERVERS == LANES, "`BEFORE` takes the first group of candidates for the observers");

/// Coarse places, now and a tick ago.
#[derive(Default)]
struct Coarse<C> {
    x: C,
    y: C,
    was_x: C,
    was_y: C,
}

/// The places in two rows of cells, worked out once for all neighbours: 16 bytes for each entity of the fullest
/// row. Behind the last of each there is room for a group of lanes.
#[derive(Default)]
pub(super) struct Strips {
    /// Where the second one begins.
    half: usize,
    coarse: Coarse<Vec<u16>>,
    /// The first row of each in the columns.
    begin: [usize; 2],
}

/// Rows of the columns, and what is added to one, modulo 2^64, to get its place in the strips.
#[derive(Clone)]
struct Part {
    rows: Range<usize>,
    shift: usize,
}

/// Where a coarse distance squared does not decide: up to `low` it is in range, from `high` on out of it.
#[derive(Clone, Copy)]
struct Band {
    low: i16,
    high: i16,
}

impl Band {
    /// Four times a coarse difference is less than 4 units off on each axis, so a distance less than 6; and a
    /// coarse square is less than 2 too low, because it is the sum of two that are rounded down.
    fn new(radius_units: u32) -> Band {
        let square = |units: u32| (u64::from(units).pow(2) >> (2 * COARSE_SHIFT + 16)) as i16;
        Band { low: square(radius_units.saturating_sub(6)) - 2, high: square(radius_units + 6) + 1 }
    }
}

/// Some observers and a group of candidates, by their first rows and their places in the strips.
#[derive(Clone, Copy, Default)]
struct Suspects {
    /// By lane a bit for each observer with whom that candidate may have crossed the radius.
    hits: [u16; LANES],
    observer: u32,
    candidate: u32,
    observer_place: u32,
    candidate_place: u32,
}

/// One walk over the cells.
struct Walk<'a> {
    columns: &'a Columns,
    band: Band,
    radius_squared: u32,
    suspects: [Suspects; SUSPECTS + GROUPS],
    count: usize,
    /// Working space of the narrow phase: hits, and which of the suspects' words they are.
    words: [(u64, usize); (SUSPECTS + GROUPS) * LANES / WORD],
    events: &'a mut Vec<PairEvent>,
}

at_level! {
    /// Appends the events of all pairs of which none leapt.
    pub(super) fn compare(
        strips: &mut Strips,
        columns: &Columns,
        grid: Grid,
        radius_units: u32,
        events: &mut Vec<PairEvent>,
    ) = compare_body
}

#[inline(always)]
fn compare_body(
    strips: &mut Strips,
    columns: &Columns,
    grid: Grid,
    radius_units: u32,
    events: &mut Vec<PairEvent>,
) {
    let mut walk = Walk {
        columns,
        band: Band::new(radius_units),
        radius_squared: radius_units * radius_units,
        suspects: [Suspects::default(); SUSPECTS + GROUPS],
        count: 0,
        words: [(0, 0); (SUSPECTS + GROUPS) * LANES / WORD],
        events,
    };
    strips.fit(columns, grid);
    strips.fill(columns, grid, 0);
    for y in 0..grid.cells.y {
        strips.fill(columns, grid, y + 1);
        let (here, next) = (strips.shift(y), strips.shift(y + 1));
        for x in 0..grid.cells.x {
            let cell = grid.index(CellCoord { x, y });
            let own = columns.run(cell);
            if own.is_empty() {
                continue;
            }
            let south = grid.beside(CellCoord { x, y }, (0, 1));
            let east_end = columns.run(cell + 1).end;
            let below = Part { rows: columns.run(south - 1).start..columns.run(south + 1).end, shift: next };
            for first in own.clone().step_by(OBSERVERS) {
                let observers = Part { rows: first..own.end.min(first + OBSERVERS), shift: here };
                // In their own cell they meet those behind them, then those to the east and to the south.
                walk.meet(strips, &observers, &Part { rows: first..east_end, shift: here }, &below);
            }
        }
        walk.narrow(strips);
    }
}

impl Strips {
    /// Makes room for the fullest row of cells.
    #[inline(always)]
    fn fit(&mut self, columns: &Columns, grid: Grid) {
        let length = |y| {
            let run = |x| columns.run(grid.index(CellCoord { x, y }));
            run(grid.cells.x - 1).end - run(0).start
        };
        self.half = (0..grid.cells.y).map(length).max().unwrap_or(0) + LANES;
        let Coarse { x, y, was_x, was_y } = &mut self.coarse;
        for column in [x, y, was_x, was_y] {
            column.resize(2 * self.half, 0);
        }
    }

    /// Works out the places in a row of cells; below the last there is nobody.
    #[inline(always)]
    fn fill(&mut self, columns: &Columns, grid: Grid, y: u16) {
        let run = |x| columns.run(grid.index(CellCoord { x, y }));
        self.begin[usize::from(y % 2)] = run(0).start;
        if y == grid.cells.y {
            return;
        }
        let shift = self.shift(y);
        let Coarse { x: xs, y: ys, was_x: was_xs, was_y: was_ys } = &mut self.coarse;
        let coarse = |places: [u32; LANES]| places.map(|at| (at >> COARSE_SHIFT) as u16);
        for x in 0..grid.cells.x {
            let corner = (u32::from(x) << 16, u32::from(y) << 16);
            for row in run(x).step_by(LANES) {
                let (local, velocity) = (group(&columns.local, row), group(&columns.velocity, row));
                let now_x = local.map(|local| corner.0 | local & 0xffff);
                let now_y = local.map(|local| corner.1 | local >> 16);
                let was = |now: [u32; LANES], by: fn(u32) -> u32| -> [u32; LANES] {
                    std::array::from_fn(|lane| now[lane].wrapping_sub(by(velocity[lane])))
                };
                let was_x = was(now_x, |velocity| i32::from(velocity as i16) as u32);
                let was_y = was(now_y, |velocity| (velocity as i32 >> 16) as u32);
                let at = row.wrapping_add(shift);
                xs[at..][..LANES].copy_from_slice(&coarse(now_x));
                ys[at..][..LANES].copy_from_slice(&coarse(now_y));
                was_xs[at..][..LANES].copy_from_slice(&coarse(was_x));
                was_ys[at..][..LANES].copy_from_slice(&coarse(was_y));
            }
        }
    }

    /// See [`Part::shift`].
    #[inline(always)]
    fn shift(&self, y: u16) -> usize {
        let strip = usize::from(y % 2);
        (strip * self.half).wrapping_sub(self.begin[strip])
    }
}

impl Walk<'_> {
    /// The broad phase for some observers and their candidates, the first of whom are the observers themselves.
    #[inline(always)]
    fn meet(&mut self, strips: &Strips, observers: &Part, beside: &Part, below: &Part) {
        let place = observers.rows.start.wrapping_add(observers.shift);
        let Coarse { x, y, was_x, was_y } = &strips.coarse;
        let (x, y) = (group_at(x, place), group_at(y, place));
        let from = Coarse { x, y, was_x: group_at(was_x, place), was_y: group_at(was_y, place) };
        let observers_count = observers.rows.len().min(OBSERVERS);
        let split = beside.rows.len().div_ceil(LANES);
        let groups = split + below.rows.len().div_ceil(LANES);
        let mut unmet = BEFORE;
        for first in (0..groups).step_by(GROUPS) {
            if self.count >= SUSPECTS {
                self.narrow(strips);
            }
            let (mut rows, mut places, mut lengths) = ([0; GROUPS], [0; GROUPS], [0; GROUPS]);
            for at in 0..GROUPS {
                let (part, from) = if first + at < split { (beside, 0) } else { (below, split) };
                let row = part.rows.start + (first + at - from) * LANES;
                (rows[at], places[at]) = (row, row.wrapping_add(part.shift));
                lengths[at] = part.rows.end.wrapping_sub(row).min(LANES);
            }
            let used = (groups - first).min(GROUPS);
            let mut hits = [[0; LANES]; GROUPS];
            match used {
                1 => find::<1>(strips, &places, &from, observers_count, self.band, &mut hits),
                2 => find::<2>(strips, &places, &from, observers_count, self.band, &mut hits),
                3 => find::<3>(strips, &places, &from, observers_count, self.band, &mut hits),
                4 => find::<4>(strips, &places, &from, observers_count, self.band, &mut hits),
                5 => find::<5>(strips, &places, &from, observers_count, self.band, &mut hits),
                6 => find::<6>(strips, &places, &from, observers_count, self.band, &mut hits),
                7 => find::<7>(strips, &places, &from, observers_count, self.band, &mut hits),
                _ => find::<GROUPS>(strips, &places, &from, observers_count, self.band, &mut hits),
            }
            hits[0] = both(&hits[0], &unmet);
            unmet = [u16::MAX; LANES];
            let mut count = self.count;
            for at in 0..used {
                let used =
                    FIRST_LANES[LANES - lengths[at]..].first_chunk().expect("a length is at most LANES");
                let hits = both(&hits[at], used);
                // Written whether there is a hit or not: about one in three has one, and no branch foresees which.
                self.suspects[count] = Suspects {
                    hits,
                    observer: observers.rows.start as u32,
                    candidate: rows[at] as u32,
                    observer_place: place as u32,
                    candidate_place: places[at] as u32,
                };
                count += usize::from(hits.iter().fold(0, |all, hits| all | hits) != 0);
            }
            self.count = count;
        }
    }

    /// The narrow phase: compares exactly those pairs that were hit, and forgets them.
    #[inline(always)]
    fn narrow(&mut self, strips: &Strips) {
        let Walk { columns, radius_squared, suspects, count, words, events, .. } = self;
        let mut found = 0;
        for (at, suspects) in suspects[..*count].iter().enumerate() {
            for (word, hits) in suspects.hits.as_chunks::<WORD>().0.iter().enumerate() {
                let [a, b, c, d] = hits.map(u64::from);
                let bits = a | b << 16 | c << 32 | d << 48;
                words[found] = (bits, at * (LANES / WORD) + word);
                found += usize::from(bits != 0);
            }
        }
        *count = 0;
        for (mut bits, word) in words[..found].iter().copied() {
            let suspects = &suspects[word / (LANES / WORD)];
            let first_lane = (word % (LANES / WORD) * WORD) as u32;
            // Most words have one hit.
            loop {
                let (observer, lane) = (bits.trailing_zeros() % 16, first_lane + bits.trailing_zeros() / 16);
                let rows = [suspects.observer + observer, suspects.candidate + lane];
                let places = [suspects.observer_place + observer, suspects.candidate_place + lane];
                judge(strips, columns, *radius_squared, rows, places, events);
                bits &= bits - 1;
                if bits == 0 {
                    break;
                }
            }
        }
    }
}

/// Tells of a pair, given by rows and by places in the strips, if it came into range or left it.
#[inline(always)]
fn judge(
    strips: &Strips,
    columns: &Columns,
    radius_squared: u32,
    rows: [u32; 2],
    places: [u32; 2],
    events: &mut Vec<PairEvent>,
) {
    let ([a, b], [a_place, b_place]) = (rows.map(|row| row as usize), places.map(|place| place as usize));
    // Coarse and fine bits together are right up to 2 cells, and that is as far as candidates are.
    let apart = |coarse: &[u16], local: fn(u32) -> u32| {
        let whole = |place: usize, row: usize| {
            u32::from(coarse[place]) << COARSE_SHIFT | local(columns.local[row]) & 3
        };
        ((whole(b_place, b).wrapping_sub(whole(a_place, a))) << 14) as i32 >> 14
    };
    let x = apart(&strips.coarse.x, |local| local);
    let y = apart(&strips.coarse.y, |local| local >> 16);
    let (a_by, b_by) = (unpack(columns.velocity[a]), unpack(columns.velocity[b]));
    let was_x = x - i32::from(b_by.dx) + i32::from(a_by.dx);
    let was_y = y - i32::from(b_by.dy) + i32::from(a_by.dy);
    let enters = is_within(x, y, radius_squared);
    let leapt = (columns.flags[a] | columns.flags[b]) & (LEAPT | HIDDEN) != 0;
    if enters != is_within(was_x, was_y, radius_squared) && !leapt {
        events.push(PairEvent::new(columns.entity[a], columns.entity[b], enters));
    }
}

/// Compares observers with groups of candidates. The inner loop is over lanes, so that it vectorises at every level;
/// the compiler knows how many groups there are, so that it keeps them in registers.
#[inline(always)]
fn find<const N: usize>(
    strips: &Strips,
    places: &[usize; GROUPS],
    from: &Coarse<[u16; LANES]>,
    observers_count: usize,
    band: Band,
    hits: &mut [[u16; LANES]; GROUPS],
) {
    let Coarse { x, y, was_x, was_y } = &strips.coarse;
    let groups =
        |column: &[u16]| -> [[u16; LANES]; N] { std::array::from_fn(|at| group_at(column, places[at])) };
    let (x, y, was_x, was_y) = (groups(x), groups(y), groups(was_x), groups(was_y));
    let mut found = [[0u16; LANES]; N];
    for at in 0..observers_count {
        let bit = 1 << at;
        for group in 0..N {
            for lane in 0..LANES {
                let now = square(from.x[at], x[group][lane]).wrapping_add(square(from.y[at], y[group][lane]));
                let was = square(from.was_x[at], was_x[group][lane])
                    .wrapping_add(square(from.was_y[at], was_y[group][lane]));
                let may_differ = (now.max(was) > band.low) & (now.min(was) < band.high);
                let found = &mut found[group][lane];
                *found = if may_differ { found.wrapping_add(bit) } else { *found };
            }
        }
    }
    hits[..N].copy_from_slice(&found);
}

#[inline(always)]
fn group_at(column: &[u16], place: usize) -> [u16; LANES] {
    *column[place..].first_chunk().expect("there is room behind the last")
}

/// The upper half of a difference squared.
#[inline(always)]
fn square(a: u16, b: u16) -> i16 {
    let apart = i32::from(a.wrapping_sub(b) as i16);
    ((apart * apart) >> 16) as i16
}

/// The bits that both have.
#[inline(always)]
fn both(a: &[u16; LANES], b: &[u16; LANES]) -> [u16; LANES] {
    std::array::from_fn(|lane| a[lane] & b[lane])
}
