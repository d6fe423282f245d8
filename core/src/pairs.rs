//! Exact interest between pairs: who came into whose range from one moment to another, and who left it.
//!
//! It keeps nothing from call to call. Of each moment's grid only half the neighbourhood of a cell is looked at,
//! so that each pair is met once; a pair in range in one moment and not in the other is an event. Spawns,
//! despawns and jumps need no rule of their own, and the two moments may be any number of ticks apart.

use vyuha_protocol::units::CELL_UNITS;
use vyuha_protocol::{CellCoord, EntityId, Pos};

use crate::batch::{bits_of_lanes, length_squared};
use crate::columns::{Grid, SLOT_MASK};
use crate::history::{LANES, Moment};
use crate::simd::at_level;

/// Largest radius of [`Pairs::changes`], in units: a cell's side.
pub const PAIR_RADIUS_UNITS_MAX: u32 = CELL_UNITS;

/// Two entities came into each other's range or left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PairEvent {
    /// The lower id first. Each is an observer of the other.
    pub pair: [EntityId; 2],
    /// Whether they came into range.
    pub enters: bool,
}

/// Working space of the pass: 16 bytes a slot and 8 an entity.
#[derive(Default)]
pub struct Pairs {
    /// By slot: who was there in the other moment, and where.
    by_slot: Vec<Option<(EntityId, Pos)>>,
    other: Other,
}

/// By row of the one moment, where that entity was in the other: [`ABSENT`] on both axes if it was not. There
/// are more rows at the end, so that a whole group of lanes is read wherever a run ends.
#[derive(Default)]
struct Other {
    x: Vec<i32>,
    y: Vec<i32>,
}

/// Far from everything, and from its opposite, but not so far that a distance squared would overflow.
const ABSENT: i32 = 1 << 29;

impl Pairs {
    /// Lists what changed between two moments of one zone for all pairs within a radius in units (inclusive; at
    /// most [`PAIR_RADIUS_UNITS_MAX`], and a larger one is shortened to it): first what entered, then what left.
    /// Everything counts that was there then, whether its id is still valid or not.
    pub fn changes(
        &mut self,
        before: Moment<'_>,
        now: Moment<'_>,
        radius_units: u32,
        out: &mut Vec<PairEvent>,
    ) {
        let radius_squared = u64::from(radius_units.min(PAIR_RADIUS_UNITS_MAX)).pow(2);
        out.clear();
        for (one, other, enters) in [(now, before, true), (before, now, false)] {
            self.align(one, other);
            only_in_one(now.zone.simd, one, &self.other, radius_squared, enters, out);
        }
    }

    /// Brings the places of the other moment into the order of the one.
    fn align(&mut self, one: Moment<'_>, other: Moment<'_>) {
        self.by_slot.clear();
        self.by_slot.resize(one.slots().place.len(), None);
        for (key, ends) in other.grid.keys().zip(other.start.windows(2)) {
            for row in ends[0] as usize..ends[1] as usize {
                let id = other.entity[row];
                let pos = Pos::from_cell(key.into(), other.local[row]);
                self.by_slot[(id & SLOT_MASK) as usize] = Some((EntityId(id), pos));
            }
        }
        let rows = one.start.last().map_or(0, |end| *end as usize);
        let Other { x, y } = &mut self.other;
        x.clear();
        y.clear();
        for id in &one.entity[..rows] {
            let there = self.by_slot[(id & SLOT_MASK) as usize].filter(|(there, _)| there.0 == *id);
            x.push(there.map_or(ABSENT, |(_, pos)| pos.x as i32));
            y.push(there.map_or(ABSENT, |(_, pos)| pos.y as i32));
        }
        x.resize(rows + LANES, ABSENT);
        y.resize(rows + LANES, ABSENT);
    }
}

at_level! {
    fn only_in_one(
        one: Moment<'_>,
        other: &Other,
        radius_squared: u64,
        enters: bool,
        out: &mut Vec<PairEvent>,
    ) = only_in_one_body
}

#[inline(always)]
fn only_in_one_body(
    one: Moment<'_>,
    other: &Other,
    radius_squared: u64,
    enters: bool,
    out: &mut Vec<PairEvent>,
) {
    let Grid { cells, .. } = one.grid;
    for cell in (0..cells.y).flat_map(|y| (0..cells.x).map(move |x| CellCoord { x, y })) {
        let rows = one.rows(cell);
        for row in rows.clone() {
            // The cell itself behind the row, then those to the east, south-west, south and south-east.
            for (dx, dy) in [(0, 0), (1, 0), (-1, 1), (0, 1), (1, 1)] {
                let beside = CellCoord { x: cell.x.wrapping_add_signed(dx), y: cell.y + dy };
                if beside.x >= cells.x || beside.y >= cells.y {
                    continue;
                }
                let partners = if beside == cell { row + 1..rows.end } else { one.rows(beside) };
                // How far the other cell's corner is from the row's place.
                let local = one.local[row];
                let x = i32::from(dx) * CELL_UNITS as i32 - (local & 0xffff) as i32;
                let y = i32::from(dy) * CELL_UNITS as i32 - (local >> 16) as i32;
                // Two that are both absent are not in range of one another.
                let side = |axis: i32| if axis == ABSENT { -ABSENT } else { axis };
                let (other_x, other_y) = (side(other.x[row]), side(other.y[row]));
                for at in partners.clone().step_by(LANES) {
                    let group = |column| -> &[i32; LANES] { first_lanes(column, at) };
                    let (then_x, then_y) = (group(&other.x), group(&other.y));
                    let places: &[u32; LANES] = first_lanes(one.local, at);
                    let mut changed = [0u8; LANES];
                    #[allow(
                        clippy::needless_range_loop,
                        reason = "so that the compiler sees that all have 16"
                    )]
                    for lane in 0..LANES {
                        let place = places[lane];
                        let apart = length_squared(x + (place & 0xffff) as i32, y + (place >> 16) as i32);
                        let other_apart = length_squared(then_x[lane] - other_x, then_y[lane] - other_y);
                        changed[lane] =
                            u8::from(apart <= radius_squared) & u8::from(other_apart > radius_squared);
                    }
                    let mut bits = bits_of_lanes(&changed);
                    bits &= u32::MAX >> (32 - (partners.end - at).min(LANES) as u32);
                    while bits != 0 {
                        let partner = at + bits.trailing_zeros() as usize;
                        bits &= bits - 1;
                        let (a, b) = (EntityId(one.entity[row]), EntityId(one.entity[partner]));
                        out.push(PairEvent { pair: [a.min(b), a.max(b)], enters });
                    }
                }
            }
        }
    }
}

/// A group of lanes of a column that goes on behind its last row.
#[inline(always)]
fn first_lanes<T>(column: &[T], at: usize) -> &[T; LANES] {
    column[at..].first_chunk().expect("rows behind the last")
}
