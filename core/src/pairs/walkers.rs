//! Pairs that both walked, or stood.
//!
//! Half the neighbourhood of each cell is looked at, so that each pair is met once. A pair that crossed the radius in
//! this step was, in the middle of it, no farther from the radius than half of what both together can have walked. The
//! broad phase, a coarse comparison of places in 16-bit lanes, finds all pairs of which that holds, about one in two hundred;
//! the narrow phase compares these exactly, as they are and as they were.

use std::ops::Range;

use vyuha_protocol::CellCoord;

use super::PairEvent;
use super::crossing::{self, Crossed, Hits, Judge};
use super::near::{self, Band, GROUP, Lanes};
use super::strips::Strips;
use crate::columns::{Columns, Grid};
use crate::simd::at_level;

/// Groups of candidates that are compared at a time: what lies around a cell of 20 or so.
const GROUPS: usize = 4;
/// Observers that are compared with them at a time.
const OBSERVERS: usize = GROUP;
/// Groups with hits that are gathered for the narrow phase: enough that its loops are long and foreseen.
const HITS: usize = 256;
/// Those of one comparison fit as well.
const HITS_MAX: usize = HITS + OBSERVERS * GROUPS;

/// A group of candidates.
#[derive(Clone, Copy)]
struct Group {
    /// Where it begins in the strips.
    place: usize,
    /// Which of the lanes belong to it.
    lanes: u32,
}

/// One walk over the cells.
struct Walk<'a> {
    columns: &'a Columns,
    radius_squared: u32,
    hits: Hits<HITS_MAX>,
    crossed: Crossed<HITS_MAX>,
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
    ) = (
        compare_with::<near::Plain, crossing::Plain>,
        compare_with::<near::Avx2, crossing::Plain>,
        compare_with::<near::Avx512, crossing::Avx512>
    )
}

#[inline(always)]
fn compare_with<L: Lanes, J: Judge>(
    strips: &mut Strips,
    columns: &Columns,
    grid: Grid,
    radius_units: u32,
    events: &mut Vec<PairEvent>,
) {
    let mut walk = Walk {
        columns,
        radius_squared: radius_units * radius_units,
        hits: Hits { count: 0, lanes: [0; HITS_MAX], places: [0; HITS_MAX] },
        crossed: Crossed { count: 0, a: [0; HITS_MAX], b: [0; HITS_MAX], enters: [0; HITS_MAX] },
        events,
    };
    strips.begin(columns, grid);
    for y in 0..grid.cells.y {
        strips.advance(columns, grid, y);
        for x in 0..grid.cells.x {
            let cell = grid.index(CellCoord { x, y });
            let own = columns.run(cell);
            if own.is_empty() {
                continue;
            }
            // In their own cell they meet those behind them, then those to the east and to the south.
            let south = grid.beside(CellCoord { x, y }, (0, 1));
            let below = columns.run(south - 1).start..columns.run(south + 1).end;
            let below = (strips.place(below.start), below.len());
            // From the middle of the step the distance changed by at most half of that, to either end.
            let band = Band::new(radius_units, strips.change_max(x).div_ceil(2));
            for first in own.clone().step_by(OBSERVERS) {
                let beside = (strips.place(first), columns.run(cell + 1).end - first);
                walk.meet::<L, J>(strips, (own.end - first).min(OBSERVERS), beside, below, band);
            }
        }
        walk.narrow::<J>(strips, 1);
    }
}

impl Walk<'_> {
    /// The broad phase for some observers and two runs of candidates, given by where they begin in the strips and how
    /// many they are. The first of all are the observers themselves.
    #[inline(always)]
    fn meet<L: Lanes, J: Judge>(
        &mut self,
        strips: &Strips,
        observers: usize,
        beside: (usize, usize),
        below: (usize, usize),
        band: Band,
    ) {
        let split = beside.1.div_ceil(GROUP);
        let count = split + below.1.div_ceil(GROUP);
        for first in (0..count).step_by(GROUPS) {
            self.narrow::<J>(strips, HITS);
            // Those from the first on, and behind the last some without a lane.
            let group = |at: usize| {
                let at = first + at;
                let ((place, length), at) = if at < split { (beside, at) } else { (below, at - split) };
                let rest = length.saturating_sub(at * GROUP).min(GROUP);
                Group { place: place + at * GROUP, lanes: ((1u64 << rest) - 1) as u32 }
            };
            let (observers, own) = (beside.0..beside.0 + observers, first == 0);
            match count - first {
                1 => self.find::<L, 1>(strips, group, observers, own, band),
                2 => self.find::<L, 2>(strips, group, observers, own, band),
                3 => self.find::<L, 3>(strips, group, observers, own, band),
                _ => self.find::<L, GROUPS>(strips, group, observers, own, band),
            }
        }
    }

    /// The narrow phase: compares exactly those pairs that were hit, and forgets them.
    #[inline(always)]
    fn narrow<J: Judge>(&mut self, strips: &Strips, hits_min: usize) {
        let Walk { columns, radius_squared, hits, crossed, events } = self;
        while hits.count >= hits_min {
            J::judge(strips, *radius_squared, hits, crossed);
            for at in 0..crossed.count {
                let entity = |place: u32| columns.entity[strips.row(place as usize)];
                events.push(PairEvent::new(
                    entity(crossed.a[at]),
                    entity(crossed.b[at]),
                    crossed.enters[at] != 0,
                ));
            }
        }
    }

    /// Compares observers with groups of candidates. The compiler knows how many groups there are, so that it keeps
    /// them in registers. If the first group begins with the observers themselves, each meets only those behind it.
    #[inline(always)]
    fn find<L: Lanes, const N: usize>(
        &mut self,
        strips: &Strips,
        group: impl Fn(usize) -> Group,
        observers: Range<usize>,
        own: bool,
        band: Band,
    ) {
        assert!(self.hits.count < HITS && observers.len() <= OBSERVERS && N <= GROUPS);
        let groups: [Group; N] = std::array::from_fn(group);
        let load = |column: &[u16]| -> [L; N] {
            std::array::from_fn(|at| {
                L::load(column[groups[at].place..].first_chunk().expect("there is room behind the last"))
            })
        };
        let (x, y) = (load(&strips.x), load(&strips.y));
        let places: [u64; N] =
            std::array::from_fn(|at| (groups[at].place as u64) << 32 | observers.start as u64);
        let from = strips.x[observers.clone()].iter().zip(&strips.y[observers]);
        let mut unmet = if own { u64::MAX - 1 } else { u64::MAX };
        let mut count = self.hits.count;
        for (at, (from_x, from_y)) in (0..).zip(from) {
            let from = [L::splat(*from_x), L::splat(*from_y)];
            for number in 0..N {
                let mut lanes = L::near(x[number], y[number], from, band) & groups[number].lanes;
                if number == 0 {
                    lanes &= unmet as u32;
                }
                // Written whether there is a hit or not, which no branch foresees.
                // SAFETY: fewer than `HITS` were there, and each of at most `OBSERVERS` adds at most `GROUPS`. With
                // checks the pass takes a twentieth longer.
                unsafe {
                    *self.hits.lanes.get_unchecked_mut(count) = lanes;
                    *self.hits.places.get_unchecked_mut(count) = places[number] + at;
                }
                count += usize::from(lanes != 0);
            }
            unmet = if own { unmet << 1 } else { unmet };
        }
        self.hits.count = count;
    }
}
