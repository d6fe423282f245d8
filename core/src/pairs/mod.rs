//! Third pass: exact interest between pairs, for zones that ask for it ([`Zone::watch_pairs`]).
//!
//! It keeps nothing from tick to tick. Whoever walked was, a tick ago, where it is now less its displacement, so
//! a pair that is in range now and was not then, or the reverse, is an event, found in one walk over the cells
//! ([`walkers`]). Whoever came or went otherwise (spawns, despawns, jumps, places farther away than a step) is a
//! [`Leap`], passed over by that walk and compared with those around the two places ([`leaps`]).
//!
//! What this never does is decide who may know of whom.

mod crossing;
mod leaps;
mod near;
mod strips;
mod walkers;

use vyuha_protocol::units::{CELL_UNITS, STEP_UNITS_MAX};
use vyuha_protocol::{Displacement, EntityId, Pos};

use crate::columns::LEAPT;
use crate::history::LANES;
use crate::zone::Zone;
use leaps::Leaps;
use strips::Strips;

/// Largest radius of [`Zone::watch_pairs`], in units: 30 m and a little. Two that both walk are then never in
/// range before or after a step without standing, after it, in cells that touch.
pub const PAIR_RADIUS_UNITS_MAX: u32 = CELL_UNITS - 2 * STEP_UNITS_MAX as u32;

/// Two entities came into each other's range or left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PairEvent {
    /// The lower id first. Each is an observer of the other.
    pub pair: [EntityId; 2],
    /// Whether they came into range.
    pub enters: bool,
}

impl PairEvent {
    fn new(a: u32, b: u32, enters: bool) -> PairEvent {
        PairEvent { pair: [EntityId(a.min(b)), EntityId(a.max(b))], enters }
    }
}

/// Somebody who came, went or moved by other means than a step. Who is hidden is nowhere.
#[derive(Clone, Copy)]
pub(crate) struct Leap {
    pub entity: EntityId,
    /// Where it was; who was spawned or is shown again was nowhere.
    pub from: Option<Pos>,
    /// Where it is; who was despawned or hidden is nowhere.
    pub to: Option<Pos>,
}

/// What the pass knows and finds. 12 bytes an event, 60 a leap.
#[derive(Default)]
pub(crate) struct Pairs {
    radius_units: Option<u32>,
    strips: Strips,
    leaps: Leaps,
    events: Vec<PairEvent>,
}

impl Pairs {
    /// Takes note of a leap before the pass. If the entity has a row after the step, it is to be marked.
    pub fn leap(&mut self, leap: Leap) {
        if self.radius_units.is_some() {
            self.leaps.push(leap);
        }
    }

    /// The flag of a row whose entity leapt.
    pub fn mark(&self) -> u8 {
        if self.radius_units.is_some() { LEAPT } else { 0 }
    }
}

/// Whether a displacement is longer than a step on an axis, so that it counts as a leap.
#[inline]
pub(crate) fn is_leap(by: Displacement) -> bool {
    by.dx.unsigned_abs().max(by.dy.unsigned_abs()) > STEP_UNITS_MAX
}

impl Zone {
    /// From the next step on lists which pairs come within a radius in units (inclusive) of each other and which
    /// leave it; none stops that. Nothing is told of pairs that are in range already.
    ///
    /// # Panics
    /// If the radius is above [`PAIR_RADIUS_UNITS_MAX`].
    pub fn watch_pairs(&mut self, radius_units: Option<u32>) {
        let max = PAIR_RADIUS_UNITS_MAX;
        assert!(radius_units.is_none_or(|radius| radius <= max), "a radius of pairs is at most {max} units");
        self.pairs.radius_units = radius_units;
        self.pairs.events.clear();
    }

    /// What the last step changed, each pair at most once, in an order that is the same at every SIMD level.
    /// Spawned ones were out of everyone's range before, despawned ones (whose ids are invalid by now) are so
    /// after, and hidden ones are so as long as they are hidden.
    pub fn pair_events(&self) -> &[PairEvent] {
        &self.pairs.events
    }

    pub(crate) fn watch(&mut self) {
        let Pairs { radius_units: Some(radius_units), strips, leaps, events } = &mut self.pairs else {
            return;
        };
        let radius_squared = *radius_units * *radius_units;
        events.clear();
        walkers::compare(self.simd, strips, &self.columns, self.grid, *radius_units, events);
        leaps.compare(self.simd, &mut self.columns, self.grid, radius_squared, events);
    }
}

/// Whether a vector is no longer than a radius, given its square. It stays within 32 bits, so that twice as many
/// lanes fit a vector as with 64.
#[inline(always)]
fn is_within(x: i32, y: i32, radius_squared: u32) -> bool {
    // The largest radius is below 2^16: a longer axis may be shortened to that.
    let square = |axis: i32| axis.unsigned_abs().min(0xffff).pow(2);
    let (x, y) = (square(x), square(y));
    (y <= radius_squared) & (x <= radius_squared.wrapping_sub(y))
}

const _: () = assert!(PAIR_RADIUS_UNITS_MAX < 0xffff);

/// A group of rows of a column; behind the column's last row it is filled up with zeros.
#[inline(always)]
fn group<T: Copy + Default>(column: &[T], at: usize) -> [T; LANES] {
    let rest = &column[at..];
    rest.first_chunk().copied().unwrap_or_else(|| filled_up(rest))
}

/// Only at the end of the columns.
#[cold]
#[inline(never)]
fn filled_up<T: Copy + Default>(rest: &[T]) -> [T; LANES] {
    let mut group = [T::default(); LANES];
    group[..rest.len()].copy_from_slice(rest);
    group
}
