//! Where entities are and whither they are to go, one by one and in batches. What orders say takes effect with the
//! step.
//!
//! A question or an order to one entity follows three pointers through memory: its slot tells the cell, the cell its run, and the
//! run is searched. In a zone larger than a cache each is a miss of its own, so a batch follows them in stages: while one
//! order is carried out, memory answers for those that come after it.

use vyuha_protocol::units::STEP_UNITS_MAX;
use vyuha_protocol::{Displacement, EntityId, Pos};

use crate::columns::{JUMP, LEAPT, PENDING, PLACE, PLACED, Warm, between, offset, pack, unpack};
use crate::pairs::is_leap;
use crate::regrid::Pending;
use crate::simd::prefetch;
use crate::zone::Zone;

/// Orders of a batch that are in one stage: with those in the others enough to keep memory busy, and so few that what they
/// fetch stays in the first-level cache until it is used.
const STAGE: usize = 8;
/// How long before it is carried out an order is first looked at.
const LEAD: usize = 3 * STAGE;
/// Rows of a column of ids in a cache line.
const LINE: usize = 16;

/// Where an entity is kept just now.
#[derive(Clone, Copy)]
pub(crate) enum Seat {
    Column { cell: usize, index: usize },
    Pending(usize),
}

impl Zone {
    /// Lets an entity walk with a displacement a tick, each axis confined to ±[`STEP_UNITS_MAX`], until told
    /// otherwise. Each step obeys [`vyuha_protocol::motion::step`]; what a wall leaves of an axis is what the
    /// entity goes on with, so that it soon stands still on that axis.
    ///
    /// Of several `walk` and `place` between two steps the last counts; only after a jump (see [`Zone::place`])
    /// or a spawn a walk tells how to go on from there. Nothing happens if the id is invalid.
    pub fn walk(&mut self, id: EntityId, by: Displacement) {
        self.walk_from(self.seat(id), by);
    }

    /// The same as [`Zone::walk`] for each in turn, and faster.
    pub fn walk_all(&mut self, orders: &[(EntityId, Displacement)]) {
        for at in 0..orders.len() + LEAD {
            self.fetch_ahead(orders, at, |(id, _)| *id, &self.columns.velocity);
            if let Some((id, by)) = at.checked_sub(LEAD).map(|at| orders[at]) {
                self.walk_from(self.seat(id), by);
            }
        }
    }

    fn walk_from(&mut self, seat: Option<Seat>, by: Displacement) {
        let max = STEP_UNITS_MAX as i16;
        let by = Displacement { dx: by.dx.clamp(-max, max), dy: by.dy.clamp(-max, max) };
        match seat {
            Some(Seat::Column { index, .. }) => {
                self.columns.velocity[index] = pack(by);
                self.columns.flags[index] &= !(PLACE | PLACED | LEAPT);
            }
            Some(Seat::Pending(entry)) => self.pending[entry].velocity = pack(by),
            None => {}
        }
    }

    /// Gives the place where an entity is after the next step; it stands there until it is placed again or told
    /// to walk. Walls are not looked at again, so this is for a place that [`vyuha_protocol::motion::step`]
    /// gave. A place more than 16 m away on an axis is a jump, of any distance; clients see an entity leave and
    /// enter. Nothing happens if the id is invalid.
    ///
    /// # Panics
    /// If the place is blocked or outside the map.
    pub fn place(&mut self, id: EntityId, to: Pos) {
        self.place_from(self.seat(id), id, to);
    }

    /// The same as [`Zone::place`] for each in turn, and faster.
    ///
    /// # Panics
    /// If a place is blocked or outside the map.
    pub fn place_all(&mut self, orders: &[(EntityId, Pos)]) {
        for at in 0..orders.len() + LEAD {
            self.fetch_ahead(orders, at, |(id, _)| *id, &self.columns.local);
            if let Some((id, to)) = at.checked_sub(LEAD).map(|at| orders[at]) {
                self.place_from(self.seat(id), id, to);
            }
        }
    }

    /// Where an entity is; if it was spawned or placed since the last step, where it will be after the next.
    pub fn position(&self, id: EntityId) -> Option<Pos> {
        self.seat(id).map(|seat| self.position_at(seat))
    }

    /// Appends what [`Zone::position`] says of each in turn, and is faster.
    pub fn positions(&self, ids: &[EntityId], out: &mut Vec<Option<Pos>>) {
        for at in 0..ids.len() + LEAD {
            self.fetch_ahead(ids, at, |id| *id, &self.columns.local);
            out.extend(at.checked_sub(LEAD).map(|at| self.position(ids[at])));
        }
    }

    fn position_at(&self, seat: Seat) -> Pos {
        match seat {
            Seat::Column { cell, index } => {
                let pos = Pos::from_cell(self.grid.coord(cell), self.columns.local[index]);
                if self.columns.flags[index] & PLACE == 0 {
                    pos
                } else {
                    offset(pos, unpack(self.columns.velocity[index]))
                }
            }
            Seat::Pending(entry) => self.pending[entry].pos,
        }
    }

    fn place_from(&mut self, seat: Option<Seat>, id: EntityId, to: Pos) {
        self.assert_open(to);
        match seat {
            Some(Seat::Column { cell, index }) => {
                let from = Pos::from_cell(self.grid.coord(cell), self.columns.local[index]);
                let flags = &mut self.columns.flags[index];
                if let Some(by) = between(from, to) {
                    self.columns.velocity[index] = pack(by);
                    *flags = *flags & !LEAPT | PLACE | if is_leap(by) { LEAPT } else { 0 };
                } else {
                    *flags |= JUMP;
                    let slot = id.slot();
                    self.slots.relocate(id, cell as u32, PENDING | self.pending.len() as u32);
                    let (from, warm) = (Some(cell as u32), Warm::default());
                    self.pending.push(Pending { pos: to, velocity: 0, slot, from, flags: 0, warm });
                }
            }
            Some(Seat::Pending(entry)) => {
                let pending = &mut self.pending[entry];
                pending.pos = to;
                pending.velocity = 0;
            }
            None => {}
        }
    }

    pub(crate) fn seat(&self, id: EntityId) -> Option<Seat> {
        let slot = id.slot() as usize;
        let place = *self.slots.place.get(slot)?;
        if place & PENDING != 0 {
            return self.slots.resolve(id).map(|place| Seat::Pending((place & !PENDING) as usize));
        }
        // The cell holds it if the id is valid: its generation need not be fetched.
        let cell = place as usize;
        let index = self.columns.find(cell, id);
        debug_assert_eq!(index.is_some(), self.slots.resolve(id).is_some(), "{id} in cell {cell}");
        Some(Seat::Column { cell, index: index? })
    }

    /// Of those that come after an order of a batch fetches what the next stage of each needs: its slot's place, then
    /// where its cell's run begins, then the ids, the flags and another column of the run.
    #[inline(always)]
    fn fetch_ahead<T>(&self, orders: &[T], at: usize, id: impl Fn(&T) -> EntityId, column: &[u32]) {
        let (columns, places) = (&self.columns, &self.slots.place);
        let slot = |at: usize| orders.get(at).map(|order| id(order).slot() as usize);
        let cell = |at: usize| {
            let place = *places.get(slot(at)?)?;
            (place & PENDING == 0).then_some(place as usize)
        };
        if let Some(slot) = slot(at) {
            prefetch(places, slot);
        }
        if let Some(cell) = at.checked_sub(STAGE).and_then(cell) {
            prefetch(&columns.start, cell);
        }
        if let Some(cell) = at.checked_sub(2 * STAGE).and_then(cell) {
            let begin = columns.start[cell] as usize;
            for begin in [begin, begin + LINE] {
                prefetch(&columns.entity, begin);
                prefetch(column, begin);
            }
            prefetch(&columns.flags, begin);
        }
    }
}
