//! Shots: whom a straight line hits first, at this moment or as the shooter saw it.
//!
//! Whole groups of lanes are tested with a direction of 15 bits, which may only let too many pass; those that pass
//! are judged by exact integers, so that answers are exact and the same at every SIMD level.

use std::hint::select_unpredictable;

use vyuha_protocol::{CellCoord, EntityId, Pos};

use crate::batch::bits_of_lanes;
use crate::history::{LANES, Moment, MomentError, lanes_from};
use crate::integrate::is_open_between;
use crate::query::corners;
use crate::sight::first_wall;
use crate::simd::{at_level, prefetch};
use crate::zone::Zone;

/// A shot. It hits whoever's middle is as near to it as the radius, between the planes across its two ends; a
/// ray of no length, or with an end outside the map, hits nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ray {
    /// Where it begins.
    pub from: Pos,
    /// Where it ends unless it hits something before.
    pub to: Pos,
    /// The targets' radius, in units.
    pub radius_units: u32,
    /// Who cannot be hit: the shooter.
    pub ignore: Option<EntityId>,
}

/// A ray judged with the shooter's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shot {
    /// Where it goes.
    pub ray: Ray,
    /// The tick that the shooter's client had on its screen.
    pub seen_tick: u32,
}

type Hit = Option<(EntityId, Pos)>;

impl Moment<'_> {
    /// By ray, whom it hits first, and where that one stood; of several equally far ones the one with the lowest
    /// id. A wall that the ray touches before it comes to them hides them.
    pub fn rays(&self, rays: &[Ray], out: &mut Vec<Option<(EntityId, Pos)>>) {
        out.clear();
        out.resize(rays.len(), None);
        shoot(self.zone.simd, *self, rays, out);
    }
}

impl Zone {
    /// By shot, whom it hits as everybody stood in the tick that its shooter saw; see [`Moment::rays`]. A shooter
    /// that saw what is yet to come or no longer kept ([`Zone::keep_history`]) has its error, and hits nobody.
    pub fn shots(&self, shots: &[Shot], out: &mut Vec<Result<Option<(EntityId, Pos)>, MomentError>>) {
        out.clear();
        shoot_as_seen(self.simd, self, shots, out);
    }
}

at_level! {
    fn shoot(moment: Moment<'_>, rays: &[Ray], out: &mut [Hit])
        = (shoot_with::<Plain>, shoot_with::<x86::Avx2>, shoot_with::<x86::Avx512>)
}

#[inline(always)]
fn shoot_with<N: Near>(moment: Moment<'_>, rays: &[Ray], out: &mut [Hit]) {
    for (at, (ray, hit)) in rays.iter().zip(out).enumerate() {
        if let Some(coming) = rays.get(at + AHEAD) {
            fetch_rows(moment, coming);
        }
        *hit = shoot_one::<N>(moment, ray);
    }
}

at_level! {
    fn shoot_as_seen(zone: &Zone, shots: &[Shot], out: &mut Vec<Result<Hit, MomentError>>)
        = (shoot_as_seen_with::<Plain>, shoot_as_seen_with::<x86::Avx2>, shoot_as_seen_with::<x86::Avx512>)
}

#[inline(always)]
fn shoot_as_seen_with<N: Near>(zone: &Zone, shots: &[Shot], out: &mut Vec<Result<Hit, MomentError>>) {
    for (at, Shot { ray, seen_tick }) in shots.iter().enumerate() {
        let coming = |ahead: usize| {
            let shot = shots.get(at + ahead)?;
            Some((zone.at(shot.seen_tick).ok()?, &shot.ray))
        };
        if let Some((moment, ray)) = coming(2 * AHEAD) {
            fetch_starts(moment, ray);
        }
        if let Some((moment, ray)) = coming(AHEAD) {
            fetch_rows(moment, ray);
        }
        out.push(zone.at(*seen_tick).map(|moment| shoot_one::<N>(moment, ray)));
    }
}

/// So many rays before it is followed, a ray's rows are asked for; so many before that, where they begin.
const AHEAD: usize = 6;

/// The westernmost of the first four cells that a ray is followed through, north and south.
#[inline(always)]
fn first_cells(moment: Moment<'_>, ray: &Ray) -> [usize; 2] {
    let Ray { from, to, radius_units, .. } = *ray;
    let low = |from: u32, to: u32| from.min(to).saturating_sub(radius_units);
    let first = Pos { x: low(from.x, to.x), y: low(from.y, to.y) }.cell();
    [moment.grid.index(first), moment.grid.beside(first, (0, 1))]
}

#[inline(always)]
fn fetch_starts(moment: Moment<'_>, ray: &Ray) {
    for cell in first_cells(moment, ray) {
        prefetch(moment.start, cell);
    }
}

#[inline(always)]
fn fetch_rows(moment: Moment<'_>, ray: &Ray) {
    for cell in first_cells(moment, ray) {
        if let Some(begin) = moment.start.get(cell) {
            for group in 0..SPAN_ROWS / LANES {
                prefetch(moment.local, *begin as usize + group * LANES);
                prefetch(moment.entity, *begin as usize + group * LANES);
            }
        }
    }
}

#[inline(always)]
fn shoot_one<N: Near>(moment: Moment<'_>, ray: &Ray) -> Hit {
    if ray.from == ray.to || !moment.holds(ray.from) || !moment.holds(ray.to) {
        return None;
    }
    let mut path = Path::new(ray);
    path.follow::<N, false>(moment);
    if path.best.0 == NOBODY {
        return None;
    }
    if moment.slots().resolve(path.bound.1).is_none() {
        return shoot_at_the_living::<N>(moment, ray);
    }
    path.hit(moment)
}

/// Whom a ray hits if whom it would hit first is no more, which is looked up for that one only.
#[cold]
#[inline(never)]
fn shoot_at_the_living<N: Near>(moment: Moment<'_>, ray: &Ray) -> Hit {
    let mut path = Path::new(ray);
    path.follow::<N, true>(moment);
    path.hit(moment)
}

/// Rows that are looked at before a branch on how many there are: more than two cells mostly have.
const SPAN_ROWS: usize = 3 * LANES;
/// The bits of a rounded direction's axes, without the sign.
const DIRECTION_BITS: u32 = 14;
/// The middle of a cell: what takes places in it to signed differences from there, half by half.
const MIDDLE: u32 = 0x8000_8000;
/// From a cell's middle to its side.
const HALF: i64 = 1 << 15;
/// A reach up to which products and sums of them fit 32 bits, modulo 2^32.
const REACH_MAX: i64 = 1 << 28;
/// No row.
const NOBODY: u32 = u32::MAX;

/// A ray made ready, and what it has hit so far.
struct Path {
    ray: Ray,
    by: (i64, i64),
    /// The square of the length.
    whole: i64,
    /// The square of the cross product of the ray and a target's place, at the most.
    reach_squared: u128,
    /// The direction with the low bits cut off, so that no axis has more than [`DIRECTION_BITS`].
    direction: (i16, i16),
    /// The cross product of the rounded direction and a target's place, at the most; [`REACH_MAX`] stands for
    /// anything more, and lets everybody pass.
    reach: i64,
    /// The best so far: its row, [`NOBODY`] at first, and the cell.
    best: (u32, CellCoord),
    /// What is to be beaten: how far along the ray, times its length, and of equally far ones the id.
    bound: (i64, EntityId),
}

/// The rows of two cells beside one another.
#[derive(Clone, Copy)]
struct Span {
    begin: u32,
    /// How many there are, and how many of them are the first cell's.
    rows: u32,
    first: u32,
    cell: CellCoord,
}

impl Path {
    #[inline(always)]
    fn new(ray: &Ray) -> Path {
        let Ray { from, to, radius_units, .. } = *ray;
        let by = (i64::from(to.x) - i64::from(from.x), i64::from(to.y) - i64::from(from.y));
        let (dx, dy) = (from.x.abs_diff(to.x), from.y.abs_diff(to.y));
        let (long, short) = (i64::from(dx.max(dy)), i64::from(dx.min(dy)));
        // Up to a twelfth above the length, and never below.
        let length = long + short * 27 / 64 + 1;
        let cut = (i64::BITS - long.leading_zeros()).saturating_sub(DIRECTION_BITS);
        // What was cut off is below one on each axis, so it moves the product by less than the sum of the target's
        // distances on both axes.
        let radius = i64::from(radius_units);
        let reach = ((radius * length) >> cut) + 1 + (length + radius) * 3 / 2;
        let whole = by.0 * by.0 + by.1 * by.1;
        Path {
            ray: *ray,
            by,
            whole,
            reach_squared: u128::from(u64::from(radius_units).pow(2)) * whole as u128,
            direction: ((by.0 >> cut) as i16, (by.1 >> cut) as i16),
            reach: reach.min(REACH_MAX),
            best: (NOBODY, CellCoord::default()),
            bound: (whole, EntityId(u32::MAX)),
        }
    }

    /// Looks at all rows that it may hit; with `LIVING` only those count who still are.
    #[inline(always)]
    fn follow<N: Near, const LIVING: bool>(&mut self, moment: Moment<'_>) {
        let Ray { from, to, radius_units, .. } = self.ray;
        let low = Pos {
            x: from.x.min(to.x).saturating_sub(radius_units),
            y: from.y.min(to.y).saturating_sub(radius_units),
        };
        let high = Pos {
            x: from.x.max(to.x).saturating_add(radius_units),
            y: from.y.max(to.y).saturating_add(radius_units),
        };
        let (first, last) = corners(moment.grid, low, high);
        // Four cells at a time, which is all of most rays. Which of them count and how many rows they have is hardly
        // ever foreseen, so there is no branch on it.
        let mut y = first.y;
        while y <= last.y {
            let mut x = first.x;
            while x <= last.x {
                let cells = 1 + u16::from(x < last.x);
                let above = Span::of(moment, CellCoord { x, y }, cells, true);
                let below = Span::of(moment, CellCoord { x, y: y + 1 }, cells, y < last.y);
                self.look::<N, LIVING>(moment, [above, below]);
                x += 2;
            }
            y += 2;
        }
    }

    /// Looks at the rows of two spans. Those that pass the test of either are met in one loop: how often it goes round
    /// is not foreseen, so two would cost twice.
    #[inline(always)]
    fn look<N: Near, const LIVING: bool>(&mut self, moment: Moment<'_>, mut spans: [Span; 2]) {
        let tests = spans.map(|span| self.test(span.cell));
        loop {
            let near = |at: usize| N::near(moment.local, spans[at], tests[at]) & low_bits(spans[at].rows);
            let mut lanes = u128::from(near(0)) | u128::from(near(1)) << u64::BITS;
            while lanes != 0 {
                let lane = lanes.trailing_zeros();
                let span = select_unpredictable(lane < u64::BITS, spans[0], spans[1]);
                self.meet::<LIVING>(moment, span, lane % u64::BITS);
                lanes &= lanes - 1;
            }
            if spans[0].rows.max(spans[1].rows) <= SPAN_ROWS as u32 {
                return;
            }
            spans = spans.map(Span::rest);
        }
    }

    /// What is asked of the rows of a span that begins with this cell.
    #[inline(always)]
    fn test(&self, cell: CellCoord) -> Test {
        let middle = Pos::from_cell(cell, MIDDLE);
        let east = i64::from(middle.x) - i64::from(self.ray.from.x);
        let south = i64::from(middle.y) - i64::from(self.ray.from.y);
        let (dx, dy) = (i64::from(self.direction.0), i64::from(self.direction.1));
        let off = east * dy - south * dx;
        let (shift, width) = if self.reach == REACH_MAX {
            (0, u32::MAX)
        } else {
            (off.wrapping_add(self.reach) as u32, 2 * self.reach as u32)
        };
        Test { direction: self.direction, shift, width }
    }

    /// Takes a row for the best so far if it is.
    #[inline(always)]
    fn meet<const LIVING: bool>(&mut self, moment: Moment<'_>, span: Span, lane: u32) {
        let row = span.begin + lane;
        let cell = CellCoord { x: span.cell.x + u16::from(lane >= span.first), ..span.cell };
        let id = EntityId(moment.entity[row as usize]);
        let pos = Pos::from_cell(cell, moment.local[row as usize]);
        let x = i64::from(pos.x) - i64::from(self.ray.from.x);
        let y = i64::from(pos.y) - i64::from(self.ray.from.y);
        // How far along the ray it is and how far off, both times the ray's length.
        let (along, off) = (x * self.by.0 + y * self.by.1, x * self.by.1 - y * self.by.0);
        let better = u8::from(along >= 0)
            & u8::from((along, id) <= self.bound)
            & u8::from(u128::from(off.unsigned_abs()).pow(2) <= self.reach_squared)
            & u8::from(Some(id) != self.ray.ignore);
        let better = better != 0 && (!LIVING || moment.slots().resolve(id).is_some());
        self.bound = select_unpredictable(better, (along, id), self.bound);
        self.best = select_unpredictable(better, (row, cell), self.best);
    }

    /// The best, unless a wall is before it.
    #[inline(always)]
    fn hit(&self, moment: Moment<'_>) -> Hit {
        let (row, cell) = self.best;
        if row == NOBODY {
            return None;
        }
        let Ray { from, to, .. } = self.ray;
        if is_walled(moment.zone, from, to, self.bound.0, self.whole) {
            return None;
        }
        Some((self.bound.1, Pos::from_cell(cell, moment.local[row as usize])))
    }
}

/// Whether a wall touches a line before a place so far along it, times its length, whose square is `whole`. Apart, and by
/// value, so that a [`Path`] can be in registers.
#[inline(never)]
fn is_walled(zone: &Zone, from: Pos, to: Pos, along: i64, whole: i64) -> bool {
    !is_open_between(&zone.walled, zone.grid, from, to)
        && first_wall(&zone.map, from, to).is_some_and(|wall| {
            let behind = along as u128 * u128::from(wall.whole);
            behind >= u128::from(wall.part) * whole as u128
        })
}

impl Span {
    /// The rows of one or two cells, or none. The ring around the map has cells without rows.
    #[inline(always)]
    fn of(moment: Moment<'_>, cell: CellCoord, cells: u16, counts: bool) -> Span {
        let index = moment.grid.index(cell);
        let starts = &moment.start[index..index + 3];
        let begin = starts[0];
        let rows = starts[usize::from(cells)] - begin;
        Span { begin, rows: select_unpredictable(counts, rows, 0), first: starts[1] - begin, cell }
    }

    /// Without the first [`SPAN_ROWS`] rows, where there are so many.
    fn rest(self) -> Span {
        let looked_at = self.rows.min(SPAN_ROWS as u32);
        Span {
            begin: self.begin + looked_at,
            rows: self.rows - looked_at,
            first: self.first.saturating_sub(looked_at),
            cell: self.cell,
        }
    }
}

/// As many bits, or all that a span is looked at for.
#[inline(always)]
fn low_bits(rows: u32) -> u64 {
    (1 << rows.min(SPAN_ROWS as u32)) - 1
}

/// What is asked of each row: whether its cross product with the direction, measured from the middle of the span's
/// first cell, is at most `width` after `shift` was added to it, modulo 2^32.
#[derive(Clone, Copy)]
struct Test {
    direction: (i16, i16),
    shift: u32,
    width: u32,
}

impl Test {
    /// What is added for rows of the span's second cell.
    #[inline(always)]
    fn step(self) -> i32 {
        2 * HALF as i32 * i32::from(self.direction.1)
    }
}

/// Tests rows.
trait Near {
    /// A bit for each of the span's first [`SPAN_ROWS`] rows that passes. Bits behind the last row have no meaning.
    fn near(local: &[u32], span: Span, test: Test) -> u64;
}

/// Without instructions of its own.
struct Plain;

impl Near for Plain {
    #[inline(always)]
    fn near(local: &[u32], span: Span, test: Test) -> u64 {
        let (dx, dy) = (i32::from(test.direction.0), i32::from(test.direction.1));
        let groups = (span.rows as usize).min(SPAN_ROWS).div_ceil(LANES);
        (0..groups).fold(0, |bits, group| {
            let begin = group * LANES;
            let mut rest = [0; LANES];
            let locals = lanes_from(local, span.begin as usize + begin, &mut rest);
            let mut passed = [0; LANES];
            for lane in 0..LANES {
                let local = locals[lane] ^ MIDDLE;
                let (x, y) = (i32::from(local as i16), i32::from((local >> 16) as i16));
                let step = if (begin + lane) as u32 >= span.first { test.step() } else { 0 };
                let off = (x * dy - y * dx).wrapping_add(step) as u32;
                passed[lane] = u8::from(off.wrapping_add(test.shift) <= test.width);
            }
            bits | u64::from(bits_of_lanes(&passed)) << begin
        })
    }
}

/// The same in a few instructions, which the compiler does not find.
#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(clippy::wildcard_imports, reason = "many intrinsics, whose names tell what they are")]
    use std::arch::x86_64::*;

    use super::{LANES, MIDDLE, Near, SPAN_ROWS, Span, Test, lanes_from, low_bits};

    /// What a place in a cell is multiplied by, half by half.
    #[inline(always)]
    fn factors(test: Test) -> i32 {
        i32::from(test.direction.1) & 0xffff | i32::from(-test.direction.0) << 16
    }

    pub struct Avx512;

    impl Near for Avx512 {
        #[inline(always)]
        fn near(local: &[u32], span: Span, test: Test) -> u64 {
            // SAFETY: only `at_level` names this type, where the processor was found to have the instructions.
            unsafe { near_avx512(local, span, test) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn near_avx512(local: &[u32], span: Span, test: Test) -> u64 {
        assert!(span.begin as usize + span.rows as usize <= local.len());
        let used = low_bits(span.rows);
        let mut bits = 0;
        for begin in (0..SPAN_ROWS).step_by(LANES) {
            let used = (used >> begin) as u16;
            // SAFETY: a masked load touches rows of the span alone.
            let local = unsafe {
                let first = local.as_ptr().wrapping_add(span.begin as usize + begin);
                _mm512_maskz_loadu_epi32(used, first.cast())
            };
            let local = _mm512_xor_si512(local, _mm512_set1_epi32(MIDDLE as i32));
            let off = _mm512_madd_epi16(local, _mm512_set1_epi32(factors(test)));
            let off = _mm512_add_epi32(off, _mm512_set1_epi32(test.shift as i32));
            let second = (u64::MAX << span.first.min(63) >> begin) as u16;
            let off = _mm512_mask_add_epi32(off, second, off, _mm512_set1_epi32(test.step()));
            let near = _mm512_mask_cmple_epu32_mask(used, off, _mm512_set1_epi32(test.width as i32));
            bits |= u64::from(near) << begin;
        }
        bits
    }

    pub struct Avx2;

    impl Near for Avx2 {
        #[inline(always)]
        fn near(local: &[u32], span: Span, test: Test) -> u64 {
            let mut rest = [0; SPAN_ROWS];
            // SAFETY: only `at_level` names this type, where the processor was found to have the instructions.
            unsafe { near_avx2(lanes_from(local, span.begin as usize, &mut rest), span.first, test) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn near_avx2(locals: &[u32; SPAN_ROWS], first: u32, test: Test) -> u64 {
        let mut bits = 0;
        let mut number = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        for begin in (0..SPAN_ROWS).step_by(8) {
            // SAFETY: half of a group of the rows.
            let local = unsafe { _mm256_loadu_si256(locals.as_ptr().add(begin).cast()) };
            let local = _mm256_xor_si256(local, _mm256_set1_epi32(MIDDLE as i32));
            let off = _mm256_madd_epi16(local, _mm256_set1_epi32(factors(test)));
            let off = _mm256_add_epi32(off, _mm256_set1_epi32(test.shift as i32));
            let second = _mm256_cmpgt_epi32(number, _mm256_set1_epi32(first.min(63) as i32 - 1));
            let off = _mm256_add_epi32(off, _mm256_and_si256(second, _mm256_set1_epi32(test.step())));
            let least = _mm256_min_epu32(off, _mm256_set1_epi32(test.width as i32));
            let near = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(least, off)));
            bits |= u64::from(near as u8) << begin;
            number = _mm256_add_epi32(number, _mm256_set1_epi32(8));
        }
        bits
    }
}
