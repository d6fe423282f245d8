//! Shots: whom a straight line hits first, at this moment or as the shooter saw it.
//!
//! Rays are followed a volley at a time: first the groups of rows that each may hit are listed, then they are
//! looked at one after another, so that neither waits for the other. Whole groups of lanes are tested with a direction of 15 bits, which may only let too many pass; those that pass
//! are judged by exact integers, so that answers are exact and the same at every SIMD level.

use vyuha_protocol::{CellCoord, EntityId, Pos};

use crate::batch::bits_of_lanes;
use crate::history::{LANES, Moment, MomentError};
use crate::integrate::is_open_between;
use crate::query::cells_between;
use crate::sight::first_wall;
use crate::simd::at_level;
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
    let mut volley = Volley::default();
    for (rays, hits) in rays.chunks(VOLLEY).zip(out.chunks_mut(VOLLEY)) {
        for (at, ray) in rays.iter().enumerate() {
            volley.aim::<N>(at, moment, ray, false);
        }
        volley.look::<N>();
        for (hit, path) in hits.iter_mut().zip(&volley.paths) {
            *hit = path.as_ref().and_then(Path::hit);
        }
    }
    for (ray, hit) in rays.iter().zip(out) {
        volley.confirm::<N>(moment, ray, hit);
    }
}

at_level! {
    fn shoot_as_seen(zone: &Zone, shots: &[Shot], out: &mut Vec<Result<Hit, MomentError>>)
        = (shoot_as_seen_with::<Plain>, shoot_as_seen_with::<x86::Avx2>, shoot_as_seen_with::<x86::Avx512>)
}

#[inline(always)]
fn shoot_as_seen_with<N: Near>(zone: &Zone, shots: &[Shot], out: &mut Vec<Result<Hit, MomentError>>) {
    let mut volley = Volley::default();
    for shots in shots.chunks(VOLLEY) {
        for (at, shot) in shots.iter().enumerate() {
            match zone.at(shot.seen_tick) {
                Ok(moment) => volley.aim::<N>(at, moment, &shot.ray, false),
                Err(_) => volley.paths[at] = None,
            }
        }
        volley.look::<N>();
        for (shot, path) in shots.iter().zip(&volley.paths) {
            out.push(zone.at(shot.seen_tick).map(|_| path.as_ref().and_then(Path::hit)));
        }
    }
    for (shot, hit) in shots.iter().zip(out) {
        if let (Ok(hit), Ok(moment)) = (hit, zone.at(shot.seen_tick)) {
            volley.confirm::<N>(moment, &shot.ray, hit);
        }
    }
}

/// Rays that are followed at once, so that what one reads is on its way while the others are aimed.
const VOLLEY: usize = 16;
/// Groups that are looked at in one go.
const GROUPS: usize = 8 * VOLLEY;
/// The bits of a rounded direction's axes, without the sign.
const DIRECTION_BITS: u32 = 14;
/// The middle of a cell: what takes places in it to signed differences from there, half by half.
const MIDDLE: u32 = 0x8000_8000;
/// From a cell's middle to its side.
const HALF: i64 = 1 << 15;
/// A reach up to which products and sums of them fit 32 bits, modulo 2^32.
const REACH_MAX: i64 = 1 << 28;

/// Rays on their way.
struct Volley<'a> {
    paths: [Option<Path<'a>>; VOLLEY],
    groups: [Group; GROUPS],
    length: usize,
}

/// A group of rows that a ray may hit.
#[derive(Clone, Copy, Default)]
struct Group {
    row: u32,
    /// Which ray, and which lanes are rows of the cell.
    path: u16,
    lanes: u16,
    cell: CellCoord,
    /// What is added to the cross products before they are compared; see [`Near`].
    shift: u32,
}

/// A ray made ready, and what it has hit so far.
struct Path<'a> {
    moment: Moment<'a>,
    from: Pos,
    to: Pos,
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
    ignore: Option<EntityId>,
    /// Whether only those count who still are.
    living: bool,
    best: Hit,
    /// What is to be beaten: how far along the ray, times its length, and of equally far ones the id.
    bound: (i64, EntityId),
}

impl Default for Volley<'_> {
    fn default() -> Self {
        Volley { paths: [const { None }; VOLLEY], groups: [Group::default(); GROUPS], length: 0 }
    }
}

impl<'a> Volley<'a> {
    /// Lists the groups that a ray may hit.
    #[inline(always)]
    fn aim<N: Near>(&mut self, at: usize, moment: Moment<'a>, ray: &Ray, living: bool) {
        let Ray { from, to, radius_units, .. } = *ray;
        if from == to || !moment.holds(from) || !moment.holds(to) {
            self.paths[at] = None;
            return;
        }
        let path = Path::new(moment, ray, living);
        let (direction, reach) = (path.direction, path.reach);
        self.paths[at] = Some(path);
        let low = Pos {
            x: from.x.min(to.x).saturating_sub(radius_units),
            y: from.y.min(to.y).saturating_sub(radius_units),
        };
        let high = Pos {
            x: from.x.max(to.x).saturating_add(radius_units),
            y: from.y.max(to.y).saturating_add(radius_units),
        };
        let (dx, dy) = (i64::from(direction.0), i64::from(direction.1));
        let reach_of_cell = reach + HALF * (dx.abs() + dy.abs());
        for cell in cells_between(moment.grid, low, high) {
            let middle = Pos::from_cell(cell, MIDDLE);
            let x = i64::from(middle.x) - i64::from(from.x);
            let y = i64::from(middle.y) - i64::from(from.y);
            let off = x * dy - y * dx;
            // Whoever is too far off has no rows here; so there is no branch.
            let near = (off.abs() <= reach_of_cell) | (reach == REACH_MAX);
            let mut rows = moment.rows(cell);
            rows.end = if near { rows.end } else { rows.start };
            let off = if reach == REACH_MAX { 0 } else { off };
            let shift = off.wrapping_add(reach) as u32;
            loop {
                if self.length + 2 > GROUPS {
                    self.look::<N>();
                }
                for _ in 0..2 {
                    let lanes = ((1u32 << rows.len().min(LANES)) - 1) as u16;
                    self.groups[self.length] =
                        Group { row: rows.start as u32, path: at as u16, lanes, cell, shift };
                    self.length += usize::from(lanes != 0);
                    rows.start += rows.len().min(LANES);
                }
                if rows.is_empty() {
                    break;
                }
            }
        }
    }

    /// Looks at the groups that are listed.
    #[inline(always)]
    fn look<N: Near>(&mut self) {
        for group in &self.groups[..self.length] {
            let Some(path) = &mut self.paths[usize::from(group.path)] else { continue };
            let locals = path.moment.local_lanes(group.row as usize);
            let width = if path.reach == REACH_MAX { u32::MAX } else { 2 * path.reach as u32 };
            let mut bits = N::near(&locals, path.direction, group.shift, width) & u32::from(group.lanes);
            while bits != 0 {
                let lane = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                path.meet(group.row as usize + lane, Pos::from_cell(group.cell, locals[lane]));
            }
        }
        self.length = 0;
    }

    /// Shoots again, at the living only, if whom a ray hit is no more. Who lives is looked up far apart: done for a
    /// whole batch at its end, the lookups wait for one another least.
    #[inline(always)]
    fn confirm<N: Near>(&mut self, moment: Moment<'a>, ray: &Ray, hit: &mut Hit) {
        if hit.is_some_and(|(id, _)| moment.slots().resolve(id).is_none()) {
            self.aim::<N>(0, moment, ray, true);
            self.look::<N>();
            *hit = self.paths[0].as_ref().and_then(Path::hit);
        }
    }
}

impl<'a> Path<'a> {
    #[inline(always)]
    fn new(moment: Moment<'a>, ray: &Ray, living: bool) -> Path<'a> {
        let Ray { from, to, radius_units, ignore } = *ray;
        let by = (i64::from(to.x) - i64::from(from.x), i64::from(to.y) - i64::from(from.y));
        let (long, short) = (by.0.abs().max(by.1.abs()), by.0.abs().min(by.1.abs()));
        // Up to a twelfth above the length, and never below.
        let length = long + short * 27 / 64 + 1;
        let cut = (i64::BITS - long.leading_zeros()).saturating_sub(DIRECTION_BITS);
        // What was cut off is below one on each axis, so it moves the product by less than the sum of the target's
        // distances on both axes.
        let radius = i64::from(radius_units);
        let reach = (radius.saturating_mul(length) >> cut) + 1 + (length + radius) * 3 / 2;
        let whole = by.0 * by.0 + by.1 * by.1;
        Path {
            moment,
            from,
            to,
            by,
            whole,
            reach_squared: u128::from(u64::from(radius_units).pow(2)) * whole as u128,
            direction: ((by.0 >> cut) as i16, (by.1 >> cut) as i16),
            reach: reach.min(REACH_MAX),
            ignore,
            living,
            best: None,
            bound: (whole, EntityId(u32::MAX)),
        }
    }

    /// Takes a row for the best so far if it is.
    #[inline(always)]
    fn meet(&mut self, row: usize, pos: Pos) {
        let id = EntityId(self.moment.entity[row]);
        let (x, y) = (i64::from(pos.x) - i64::from(self.from.x), i64::from(pos.y) - i64::from(self.from.y));
        // How far along the ray it is and how far off, both times the ray's length.
        let (along, off) = (x * self.by.0 + y * self.by.1, x * self.by.1 - y * self.by.0);
        if along >= 0
            && (along, id) <= self.bound
            && u128::from(off.unsigned_abs()).pow(2) <= self.reach_squared
            && Some(id) != self.ignore
            && (!self.living || self.moment.slots().resolve(id).is_some())
        {
            self.bound = (along, id);
            self.best = Some((id, pos));
        }
    }

    /// The best, unless a wall is before it.
    #[inline(always)]
    fn hit(&self) -> Hit {
        let zone = self.moment.zone;
        self.best.filter(|_| {
            is_open_between(&zone.walled, zone.grid, self.from, self.to)
                || first_wall(&zone.map, self.from, self.to).is_none_or(|wall| {
                    let before = self.bound.0 as u128 * u128::from(wall.whole);
                    before < u128::from(wall.part) * self.whole as u128
                })
        })
    }
}

/// Tests a group of lanes.
trait Near {
    /// A bit for each lane whose cross product with the direction, measured from the cell's middle, is at most
    /// `width` after `shift` was added to it, modulo 2^32.
    fn near(locals: &[u32; LANES], direction: (i16, i16), shift: u32, width: u32) -> u32;
}

/// Without instructions of its own.
struct Plain;

impl Near for Plain {
    #[inline(always)]
    fn near(locals: &[u32; LANES], direction: (i16, i16), shift: u32, width: u32) -> u32 {
        let (dx, dy) = (i32::from(direction.0), i32::from(direction.1));
        let mut passed = [0; LANES];
        for lane in 0..LANES {
            let local = locals[lane] ^ MIDDLE;
            let (x, y) = (i32::from(local as i16), i32::from((local >> 16) as i16));
            let shifted = ((x * dy - y * dx) as u32).wrapping_add(shift);
            passed[lane] = u8::from(shifted <= width);
        }
        bits_of_lanes(&passed)
    }
}

/// The same in a few instructions, which the compiler does not find.
#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(clippy::wildcard_imports, reason = "many intrinsics, whose names tell what they are")]
    use std::arch::x86_64::*;

    use super::{LANES, MIDDLE, Near};

    /// What a place in a cell is multiplied by, half by half.
    #[inline(always)]
    fn factors(direction: (i16, i16)) -> i32 {
        i32::from(direction.1) & 0xffff | i32::from(-direction.0) << 16
    }

    pub struct Avx512;

    impl Near for Avx512 {
        #[inline(always)]
        fn near(locals: &[u32; LANES], direction: (i16, i16), shift: u32, width: u32) -> u32 {
            // SAFETY: only `at_level` names this type, where the processor was found to have the instructions.
            unsafe { near_avx512(locals, factors(direction), shift, width) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn near_avx512(locals: &[u32; LANES], factors: i32, shift: u32, width: u32) -> u32 {
        // SAFETY: it is a whole group.
        let local = unsafe { _mm512_loadu_si512(locals.as_ptr().cast()) };
        let local = _mm512_xor_si512(local, _mm512_set1_epi32(MIDDLE as i32));
        let off = _mm512_madd_epi16(local, _mm512_set1_epi32(factors));
        let shifted = _mm512_add_epi32(off, _mm512_set1_epi32(shift as i32));
        _mm512_cmple_epu32_mask(shifted, _mm512_set1_epi32(width as i32)).into()
    }

    pub struct Avx2;

    impl Near for Avx2 {
        #[inline(always)]
        fn near(locals: &[u32; LANES], direction: (i16, i16), shift: u32, width: u32) -> u32 {
            // SAFETY: only `at_level` names this type, where the processor was found to have the instructions.
            unsafe { near_avx2(locals, factors(direction), shift, width) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn near_avx2(locals: &[u32; LANES], factors: i32, shift: u32, width: u32) -> u32 {
        let half = |at: usize| {
            // SAFETY: each is half of a group.
            let local = unsafe { _mm256_loadu_si256(locals.as_ptr().add(at).cast()) };
            let local = _mm256_xor_si256(local, _mm256_set1_epi32(MIDDLE as i32));
            let off = _mm256_madd_epi16(local, _mm256_set1_epi32(factors));
            let shifted = _mm256_add_epi32(off, _mm256_set1_epi32(shift as i32));
            let least = _mm256_min_epu32(shifted, _mm256_set1_epi32(width as i32));
            _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(least, shifted))) as u32
        };
        half(0) | half(8) << 8
    }
}
