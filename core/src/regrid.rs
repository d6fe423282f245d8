//! Second pass: those that came to another cell move there, in place. Spawns and jumps arrive, and despawns and
//! jumps depart, in the same sweep. Between two places where something left or arrived, all entities slide by
//! the same distance: only these segments are moved, without a second copy of the columns and without a sort.
//!
//! Within a cell those that stayed keep their order, and arrivals come after them.

use vyuha_protocol::snapshot::{CellKey, Leave};
use vyuha_protocol::{EntityId, Pos};

use crate::columns::{CHANGED, Columns, DEAD, HIDDEN, PENDING, Warm, turned};
use crate::pairs::Leap;
use crate::zone::Zone;

/// An entity that appears with the coming step.
pub(crate) struct Pending {
    pub pos: Pos,
    pub velocity: u32,
    pub slot: u32,
    /// The cell that it jumps from; none for a spawn.
    pub from: Option<u32>,
    /// Of a jump: not before the step, until which the columns have them; then those of its row after it.
    pub flags: u8,
    pub warm: Warm,
}

/// An entity on its way into a cell.
pub(crate) struct Arrival {
    pub local: u32,
    pub velocity: u32,
    pub entity: EntityId,
    pub flags: u8,
    pub warm: Warm,
    pub cell: u32,
}

/// Entities that slide together.
struct Segment {
    begin: u32,
    end: u32,
    by: i32,
}

/// What leaves, arrives or is to be told anew in one tick, until it is encoded.
pub(crate) struct Moves {
    /// Indices of those that leave their cell, ascending.
    leaving: Vec<u32>,
    /// What observers are told to leave, cell by cell.
    pub leaves: Vec<Leave>,
    arriving: Vec<Arrival>,
    /// By cell: how many leave it, how many observers are told of, how many arrive, and where the next one goes.
    departures: Vec<u32>,
    pub told: Vec<u32>,
    pub arrivals: Vec<u32>,
    next: Vec<u32>,
    /// A bit a cell in which anything but walking within it happened.
    touched: Vec<u64>,
    segments: Vec<Segment>,
}

impl Moves {
    pub fn new(cells: usize) -> Moves {
        Moves {
            leaving: Vec::new(),
            leaves: Vec::new(),
            arriving: Vec::new(),
            departures: vec![0; cells],
            told: vec![0; cells],
            arrivals: vec![0; cells],
            next: vec![0; cells],
            touched: vec![0; cells.div_ceil(64)],
            segments: Vec::new(),
        }
    }

    #[inline]
    pub fn touch(&mut self, cell: usize) {
        self.touched[cell / 64] |= 1 << (cell % 64);
    }

    #[inline]
    pub fn is_touched(&self, cell: usize) -> bool {
        self.touched[cell / 64] >> (cell % 64) & 1 == 1
    }

    /// The entity at an index leaves its cell. Called in the order of the columns.
    pub fn depart(&mut self, cell: usize, index: usize) {
        self.touch(cell);
        self.departures[cell] += 1;
        self.leaving.push(index as u32);
    }

    /// Observers are told that an entity leaves their cell. Called in the order of cells.
    pub fn tell(&mut self, cell: usize, entity: EntityId, to: CellKey) {
        self.touch(cell);
        self.told[cell] += 1;
        self.leaves.push(Leave { entity: entity.0, to });
    }

    /// Those on their way into a cell, and which: walkers in the order of the cells from which they come, then
    /// others.
    pub fn arriving(&self) -> impl Iterator<Item = (EntityId, usize)> {
        self.arriving.iter().map(|arrival| (arrival.entity, arrival.cell as usize))
    }

    pub fn arrive(&mut self, arrival: Arrival) {
        self.touch(arrival.cell as usize);
        self.arrivals[arrival.cell as usize] += 1;
        self.arriving.push(arrival);
    }

    /// Forgets everything, at a cost by cells touched.
    pub fn clear(&mut self) {
        for (word, bits) in self.touched.iter_mut().enumerate() {
            for cell in ones(word, *bits) {
                self.departures[cell] = 0;
                self.told[cell] = 0;
                self.arrivals[cell] = 0;
            }
            *bits = 0;
        }
        self.leaving.clear();
        self.leaves.clear();
        self.arriving.clear();
    }
}

/// The numbers of the bits that are set in a word of many.
pub(crate) fn ones(word: usize, mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = bits.trailing_zeros() as usize;
        bits &= bits.checked_sub(1)?;
        Some(word * 64 + bit)
    })
}

impl Zone {
    pub(crate) fn regrid(&mut self) {
        self.admit_pending();
        self.moves.apply(&mut self.columns);
    }

    fn admit_pending(&mut self) {
        for (entry, pending) in self.pending.drain(..).enumerate() {
            let place = self.slots.place[pending.slot as usize];
            if place == PENDING | entry as u32 {
                let cell = self.grid.index(pending.pos.cell()) as u32;
                let (local, velocity) = (pending.pos.local(), pending.velocity);
                let entity = self.slots.id(pending.slot);
                self.slots.relocate(entity, place, cell);
                let mut flags = pending.flags;
                if pending.from.is_none() {
                    flags = turned(flags) & HIDDEN;
                    if flags == 0 {
                        self.pairs.leap(Leap { entity, from: None, to: Some(pending.pos) });
                        flags = self.pairs.mark();
                    }
                }
                let warm = pending.warm;
                self.moves.arrive(Arrival { local, velocity, entity, flags, warm, cell });
            } else if place == DEAD && pending.from.is_none() {
                self.slots.free(pending.slot);
            }
        }
    }
}

impl Moves {
    /// Brings the columns into the order of the tick.
    fn apply(&mut self, columns: &mut Columns) {
        let before = columns.len();
        let after = before - self.leaving.len() + self.arriving.len();
        columns.resize(before.max(after));
        self.plan(&mut columns.start, before as u32);
        // A segment never slides over the target of another. Those that slide down go first to last, those that
        // slide up last to first, so that none is overwritten before it has moved.
        for run in self.segments.chunk_by(|a, b| (a.by < 0) == (b.by < 0)) {
            if run[0].by < 0 {
                for segment in run {
                    segment.slide(columns);
                }
            } else {
                for segment in run.iter().rev() {
                    segment.slide(columns);
                }
            }
        }
        for arrival in &self.arriving {
            let next = &mut self.next[arrival.cell as usize];
            let index = *next as usize;
            *next += 1;
            columns.local[index] = arrival.local;
            columns.velocity[index] = arrival.velocity;
            columns.entity[index] = arrival.entity.0;
            columns.flags[index] = arrival.flags | CHANGED;
            columns.warm[index] = arrival.warm;
            columns.recent[index] = 0;
        }
        columns.resize(after);
    }

    /// Lists the segments, moves the cells' beginnings, and notes where each cell's arrivals go.
    fn plan(&mut self, start: &mut [u32], before: u32) {
        let Moves { leaving, departures, arrivals, next, touched, segments, .. } = self;
        let mut leaving = leaving.iter();
        segments.clear();
        let mut push = |begin: u32, end: u32, by: i32| {
            if begin < end && by != 0 {
                segments.push(Segment { begin, end, by });
            }
        };
        let shift = |starts: &mut [u32], by: i32| {
            if by != 0 {
                for start in starts {
                    *start = start.wrapping_add_signed(by);
                }
            }
        };
        let (mut kept, mut by, mut shifted) = (0, 0, 0);
        let cells = touched.iter().enumerate().flat_map(|(word, bits)| ones(word, *bits));
        for cell in cells {
            shift(&mut start[shifted..=cell], by);
            shifted = cell + 1;
            for &index in leaving.by_ref().take(departures[cell] as usize) {
                push(kept, index, by);
                kept = index + 1;
                by -= 1;
            }
            if arrivals[cell] > 0 {
                let end = start[cell + 1];
                push(kept, end, by);
                kept = end;
                next[cell] = end.wrapping_add_signed(by);
                by += arrivals[cell] as i32;
            }
        }
        shift(&mut start[shifted..], by);
        push(kept, before, by);
    }
}

impl Segment {
    fn slide(&self, columns: &mut Columns) {
        let from = self.begin as usize..self.end as usize;
        let to = self.begin.wrapping_add_signed(self.by) as usize;
        columns.local.copy_within(from.clone(), to);
        columns.velocity.copy_within(from.clone(), to);
        columns.entity.copy_within(from.clone(), to);
        columns.flags.copy_within(from.clone(), to);
        columns.warm.copy_within(from.clone(), to);
        columns.recent.copy_within(from, to);
    }
}
