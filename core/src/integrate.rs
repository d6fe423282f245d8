//! First pass: every displacement is added to its place. Only where that leads to another tile are walls and
//! cell borders looked at.

use vyuha_protocol::snapshot::CellKey;
use vyuha_protocol::units::{CELL_TILES, TILE_UNITS};
use vyuha_protocol::{CellCoord, Displacement, EntityId, Pos, motion};

use crate::columns::{
    CHANGED, GONE, JUMP, PENDING, PLACE, PLACED, SLOT_MASK, add_halves, between, offset, pack, unpack,
};
use crate::regrid::Arrival;
use crate::zone::Zone;

/// Entities that are advanced at a time: what they touch stays in the first-level cache until it is settled.
const CHUNK: usize = 256;
/// The bits of a place within its cell that number its tile, on both axes. Displacements are below half a
/// cell, so these bits differ whenever a border of tile or cell was crossed.
const TILE_BITS: u32 = (CELL_TILES - 1) * TILE_UNITS * 0x1_0001;

impl Zone {
    pub(crate) fn integrate(&mut self) {
        let mut cell = Cursor { index: 0, coord: CellCoord::default() };
        let mut candidates = [0; CHUNK];
        for begin in (0..self.columns.len()).step_by(CHUNK) {
            let chunk = begin..(begin + CHUNK).min(self.columns.len());
            let found = advance(
                &mut self.columns.local[chunk.clone()],
                &mut self.columns.velocity[chunk.clone()],
                &mut self.columns.entity[chunk],
                &mut candidates,
            );
            for &offset in &candidates[..found] {
                let index = begin + offset as usize;
                if self.columns.start[cell.index + 1] as usize <= index {
                    while self.columns.start[cell.index + 1] as usize <= index {
                        cell.index += 1;
                    }
                    cell.coord = self.grid.coord(cell.index);
                }
                self.settle(index, &cell);
            }
        }
    }

    /// Decides what becomes of an entity that crossed a border or was marked to leave.
    fn settle(&mut self, index: usize, cell: &Cursor) {
        let entity = self.columns.entity[index];
        let slot = entity & SLOT_MASK;
        let id = self.slots.id(slot);
        if entity & GONE != 0 {
            self.slots.free(slot);
            self.moves.depart(cell.index, index, id, CellKey::NOWHERE);
            return;
        }
        if entity & JUMP != 0 {
            self.settle_jump(index, cell, id);
            return;
        }
        let by = unpack(self.columns.velocity[index]);
        let back = pack(Displacement { dx: by.dx.wrapping_neg(), dy: by.dy.wrapping_neg() });
        let from = Pos::from_cell(cell.coord, add_halves(self.columns.local[index], back));
        let to = if entity & PLACED == 0 { motion::step(&self.map, from, by) } else { offset(from, by) };
        let made = pack(between(from, to).expect("a step is never longer than its displacement"));
        let to_cell = to.cell();
        if to_cell == cell.coord {
            self.columns.local[index] = to.local();
            self.columns.velocity[index] = made;
        } else {
            let to_index = self.grid.index(to_cell);
            self.moves.depart(cell.index, index, id, to_cell.into());
            let entity = slot | entity & PLACED;
            self.moves.arrive(Arrival { local: to.local(), velocity: made, entity, cell: to_index as u32 });
            self.slots.place[slot as usize] = to_index as u32;
        }
    }

    fn settle_jump(&mut self, index: usize, cell: &Cursor, id: EntityId) {
        let entry = self.slots.place[id.slot() as usize] & !PENDING;
        let target = &self.pending[entry as usize];
        let to_cell = target.pos.cell();
        if to_cell == cell.coord {
            self.columns.local[index] = target.pos.local();
            self.columns.velocity[index] = target.velocity;
            self.columns.entity[index] = id.slot() | CHANGED;
            self.slots.place[id.slot() as usize] = cell.index as u32;
            self.moves.touch(cell.index);
        } else {
            // Its arrival is made with those of the spawns.
            self.moves.depart(cell.index, index, id, to_cell.into());
        }
    }
}

/// The cell that the pass has come to.
struct Cursor {
    index: usize,
    coord: CellCoord,
}

/// Advances one chunk and lists, ascending, the offsets of those that need a closer look. Returns how many.
fn advance(
    local: &mut [u32],
    velocity: &mut [u32],
    entity: &mut [u32],
    candidates: &mut [u32; CHUNK],
) -> usize {
    if entity.iter().fold(0, |flags, e| flags | e) & (PLACE | PLACED) != 0 {
        for (velocity, entity) in velocity.iter_mut().zip(&mut *entity) {
            *velocity = if *entity & (PLACE | PLACED) == PLACED { 0 } else { *velocity };
            *entity = *entity & !(PLACE | PLACED) | (*entity & PLACE) >> 1;
        }
    }
    let mut crossed = [0; CHUNK];
    for (((local, velocity), entity), crossed) in local.iter_mut().zip(velocity).zip(entity).zip(&mut crossed)
    {
        let to = add_halves(*local, *velocity);
        *crossed = (to ^ *local) & TILE_BITS | *entity & (GONE | JUMP);
        *local = to;
    }
    let mut found = 0;
    for (offset, crossed) in crossed[..local.len()].iter().enumerate() {
        candidates[found] = offset as u32;
        found += usize::from(*crossed != 0);
    }
    found
}

const _: () = assert!(PLACE >> 1 == PLACED);
const _: () = assert!(TILE_BITS == 0xf800_f800);
