//! Exact interest between pairs: who came into whose range from one moment to another, and who left it.
//!
//! It keeps nothing from call to call. Of each moment's grid only half the neighbourhood of a cell is looked at,
//! so that each pair is met once; a pair in range in one moment and not in the other is an event. Spawns,
//! despawns and jumps need no rule of their own, and the two moments may be any number of ticks apart.

use vyuha_protocol::units::CELL_UNITS;
use vyuha_protocol::{CellCoord, EntityId, Pos};

use crate::batch::length_squared;
use crate::columns::{Grid, SLOT_MASK};
use crate::history::Moment;
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

/// Working space of the pass: 16 bytes a slot and 12 an entity.
#[derive(Default)]
pub struct Pairs {
    /// By slot: who was there in the other moment, and where.
    by_slot: Vec<Option<(EntityId, Pos)>>,
    /// By row of the one moment: where that entity was in the other.
    other: Vec<Option<Pos>>,
}

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
        self.other.clear();
        self.other.extend(one.entity[..rows].iter().map(|id| {
            let there = self.by_slot[(id & SLOT_MASK) as usize];
            there.filter(|(there, _)| there.0 == *id).map(|(_, pos)| pos)
        }));
    }
}

at_level! {
    fn only_in_one(
        one: Moment<'_>,
        other: &[Option<Pos>],
        radius_squared: u64,
        enters: bool,
        out: &mut Vec<PairEvent>,
    ) = only_in_one_body
}

#[inline(always)]
fn only_in_one_body(
    one: Moment<'_>,
    other: &[Option<Pos>],
    radius_squared: u64,
    enters: bool,
    out: &mut Vec<PairEvent>,
) {
    let Grid { cells, .. } = one.grid;
    for cell in (0..cells.y).flat_map(|y| (0..cells.x).map(move |x| CellCoord { x, y })) {
        let rows = one.rows(cell);
        for row in rows.clone() {
            let here = Pos::from_cell(cell, one.local[row]);
            // The cell itself behind the row, then those to the east, south-west, south and south-east.
            for (dx, dy) in [(0, 0), (1, 0), (-1, 1), (0, 1), (1, 1)] {
                let beside = CellCoord { x: cell.x.wrapping_add_signed(dx), y: cell.y + dy };
                if beside.x >= cells.x || beside.y >= cells.y {
                    continue;
                }
                let partners = if beside == cell { row + 1..rows.end } else { one.rows(beside) };
                let test = |x, y| ((), length_squared(x, y) <= radius_squared);
                one.scan_rows(beside, partners, here, test, |partner, ()| {
                    let in_both = matches!((other[row], other[partner]), (Some(a), Some(b))
                        if a.distance_squared(b) <= radius_squared);
                    if !in_both {
                        let (a, b) = (EntityId(one.entity[row]), EntityId(one.entity[partner]));
                        out.push(PairEvent { pair: [a.min(b), a.max(b)], enters });
                    }
                });
            }
        }
    }
}
