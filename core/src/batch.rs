//! Batched questions to a [`Moment`], present or past: circles, cones and who is nearest.
//!
//! Every answer is exact and the same at every SIMD level: whole groups of lanes are tested with integers, and
//! only what passed is looked at one by one. An answer's buffer is cleared first and can be used again.

use std::ops::Range;

use vyuha_protocol::motion::Heading;
use vyuha_protocol::{CellCoord, EntityId, EntityKind, Pos};

use crate::history::{LANES, Moment};
use crate::query::{cells_near, distance_squared_to_cell};
use crate::simd::at_level;

/// All places within a distance of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circle {
    /// The middle; if it is outside the map, nothing is in the circle.
    pub centre: Pos,
    /// The distance, in units; it belongs to the circle.
    pub radius_units: u32,
}

/// Full value of [`Cone::cosine`].
pub const COSINE_FULL: i16 = i16::MAX;

/// The places of a circle that lie in a direction from its middle. The middle itself belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cone {
    /// The apex and the reach.
    pub circle: Circle,
    /// The direction of the axis; if it has none, nothing but the apex is in the cone.
    pub axis: Heading,
    /// The cosine of the angle between the axis and the cone's edge, in parts of [`COSINE_FULL`].
    pub cosine: i16,
}

/// The answers to a batch of questions that may each find several.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Found {
    entities: Vec<(EntityId, Pos)>,
    ends: Vec<usize>,
}

impl Found {
    /// What the question at an index found, in cell order.
    ///
    /// # Panics
    /// If there was no such question.
    pub fn of(&self, question: usize) -> &[(EntityId, Pos)] {
        let begin = question.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.entities[begin..self.ends[question]]
    }
}

/// Whether a nearest one will do: the question's index, the entity and its kind.
type Accept<'a> = &'a dyn Fn(usize, EntityId, EntityKind) -> bool;

impl Moment<'_> {
    /// By circle, all in it.
    pub fn all_within(&self, circles: &[Circle], out: &mut Found) {
        out.entities.clear();
        out.ends.clear();
        gather(self.zone.simd, *self, circles, out);
    }

    /// By cone, all in it.
    pub fn all_in_cones(&self, cones: &[Cone], out: &mut Found) {
        out.entities.clear();
        out.ends.clear();
        sweep(self.zone.simd, *self, cones, out);
    }

    /// By circle, the nearest to its middle that `accept` accepts (told the circle's index, the entity and its
    /// kind, which is how hostile ones are told from others); of several equally near ones the one with the
    /// lowest id. `accept` is asked only of those that are nearer than the best so far.
    pub fn nearest_within(
        &self,
        circles: &[Circle],
        accept: impl Fn(usize, EntityId, EntityKind) -> bool,
        out: &mut Vec<Option<(EntityId, Pos)>>,
    ) {
        out.clear();
        seek(self.zone.simd, *self, circles, &accept, out);
    }

    /// The kind of an entity whose id is still valid.
    #[inline(always)]
    fn living_kind(&self, id: EntityId) -> Option<EntityKind> {
        self.slots().resolve(id).map(|_| EntityKind(self.slots().kind[id.slot() as usize]))
    }

    /// Tests a cell's rows a group at a time and visits those that pass, with the measure that they were found
    /// to have. `test` is given the vector from `origin` to the row's place.
    #[inline(always)]
    fn scan<M: Copy + Default>(
        &self,
        cell: CellCoord,
        origin: Pos,
        test: impl Fn(i32, i32) -> (M, bool),
        mut visit: impl FnMut(EntityId, Pos, M),
    ) {
        let rows = self.rows(cell);
        let corner = Pos::from_cell(cell, 0);
        let x = corner.x.wrapping_sub(origin.x) as i32;
        let y = corner.y.wrapping_sub(origin.y) as i32;
        for at in rows.clone().step_by(LANES) {
            let mut rest = [0; LANES];
            let group = self.local_lanes(at, &mut rest);
            let (mut measures, mut passed) = ([M::default(); LANES], [0u8; LANES]);
            #[allow(
                clippy::needless_range_loop,
                reason = "zipped, the compiler does not see that all have 16"
            )]
            for lane in 0..LANES {
                let local = group[lane];
                let (found, pass) = test(x + (local & 0xffff) as i32, y + (local >> 16) as i32);
                measures[lane] = found;
                passed[lane] = u8::from(pass);
            }
            let mut bits = bits_of_lanes(&passed);
            bits &= u32::MAX >> (32 - (rows.end - at).min(LANES) as u32);
            while bits != 0 {
                let lane = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                visit(EntityId(self.entity[at + lane]), Pos::from_cell(cell, group[lane]), measures[lane]);
            }
        }
    }

    /// The rows of a cell.
    #[inline(always)]
    pub(crate) fn rows(&self, cell: CellCoord) -> Range<usize> {
        let index = self.grid.index(cell);
        self.start[index] as usize..self.start[index + 1] as usize
    }

    #[inline(always)]
    fn gather_one(&self, circle: Circle, mut visit: impl FnMut(EntityId, Pos)) {
        if !self.holds(circle.centre) {
            return;
        }
        let bound = u64::from(circle.radius_units).pow(2);
        for cell in cells_near(self.grid, circle.centre, circle.radius_units) {
            if distance_squared_to_cell(circle.centre, cell) > bound {
                continue;
            }
            self.scan(
                cell,
                circle.centre,
                |x, y| ((), length_squared(x, y) <= bound),
                |id, pos, ()| {
                    if self.living_kind(id).is_some() {
                        visit(id, pos);
                    }
                },
            );
        }
    }
}

/// A bit for each lane, set where it is 1.
#[inline(always)]
pub(crate) fn bits_of_lanes(lanes: &[u8; LANES]) -> u32 {
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let (eights, _) = lanes.as_chunks::<8>();
    let byte = |eight: [u8; 8]| (u64::from_le_bytes(eight).wrapping_mul(GATHER) >> 56) as u32;
    byte(eights[0]) | byte(eights[1]) << 8
}

#[inline(always)]
pub(crate) fn length_squared(x: i32, y: i32) -> u64 {
    let square = |axis: i32| u64::from(axis.unsigned_abs()) * u64::from(axis.unsigned_abs());
    square(x) + square(y)
}

at_level! {
    fn gather(moment: Moment<'_>, circles: &[Circle], out: &mut Found) = gather_body
}

#[inline(always)]
fn gather_body(moment: Moment<'_>, circles: &[Circle], out: &mut Found) {
    for circle in circles {
        moment.gather_one(*circle, |id, pos| out.entities.push((id, pos)));
        out.ends.push(out.entities.len());
    }
}

at_level! {
    fn sweep(moment: Moment<'_>, cones: &[Cone], out: &mut Found) = sweep_body
}

#[inline(always)]
fn sweep_body(moment: Moment<'_>, cones: &[Cone], out: &mut Found) {
    for cone in cones {
        moment.gather_one(cone.circle, |id, pos| {
            if cone.opens_to(pos) {
                out.entities.push((id, pos));
            }
        });
        out.ends.push(out.entities.len());
    }
}

impl Cone {
    /// Whether a place lies within the angle: `a . e >= cosine |a| |e|`, squared where both sides have a sign.
    fn opens_to(&self, pos: Pos) -> bool {
        let axis = (i64::from(self.axis.x), i64::from(self.axis.y));
        let along = (
            i64::from(pos.x) - i64::from(self.circle.centre.x),
            i64::from(pos.y) - i64::from(self.circle.centre.y),
        );
        if along == (0, 0) {
            return true;
        }
        if axis == (0, 0) {
            return false;
        }
        let dot = i128::from(axis.0 * along.0 + axis.1 * along.1);
        let lengths = i128::from(axis.0 * axis.0 + axis.1 * axis.1)
            * (i128::from(along.0).pow(2) + i128::from(along.1).pow(2));
        let of_axis = dot * dot * i128::from(COSINE_FULL).pow(2);
        let of_edge = lengths * i128::from(self.cosine).pow(2);
        if self.cosine >= 0 { dot >= 0 && of_axis >= of_edge } else { dot >= 0 || of_axis <= of_edge }
    }
}

at_level! {
    fn seek(
        moment: Moment<'_>,
        circles: &[Circle],
        accept: Accept<'_>,
        out: &mut Vec<Option<(EntityId, Pos)>>,
    ) = seek_body
}

#[inline(always)]
fn seek_body(
    moment: Moment<'_>,
    circles: &[Circle],
    accept: Accept<'_>,
    out: &mut Vec<Option<(EntityId, Pos)>>,
) {
    for (question, circle) in circles.iter().enumerate() {
        if !moment.holds(circle.centre) {
            out.push(None);
            continue;
        }
        let mut best = None;
        let mut bound = (u64::from(circle.radius_units).pow(2), EntityId(u32::MAX));
        // Its own cell first: what is found there spares most of the others.
        let own = circle.centre.cell();
        let others = cells_near(moment.grid, circle.centre, circle.radius_units).filter(|&cell| cell != own);
        for cell in std::iter::once(own).chain(others) {
            let limit = bound.0;
            if distance_squared_to_cell(circle.centre, cell) > limit {
                continue;
            }
            let test = |x, y| {
                let squared = length_squared(x, y);
                (squared, squared <= limit)
            };
            moment.scan(cell, circle.centre, test, |id, pos, squared| {
                if (squared, id) <= bound
                    && moment.living_kind(id).is_some_and(|kind| accept(question, id, kind))
                {
                    bound = (squared, id);
                    best = Some((id, pos));
                }
            });
        }
        out.push(best);
    }
}
