//! First pass: every displacement is added to its place. Only where that leads to another tile are walls and
//! cell borders looked at.

use vyuha_protocol::snapshot::CellKey;
use vyuha_protocol::units::{CELL_TILES, TILE_UNITS};
use vyuha_protocol::{CellCoord, Displacement, EntityId, Pos, TileMap, motion};

use crate::columns::{
    CHANGED, GONE, Grid, JUMP, PENDING, PLACE, PLACED, add_halves, between, offset, pack, unpack,
};
use crate::pairs::{Leap, is_leap};
use crate::query::cells_between;
use crate::regrid::Arrival;
use crate::simd::{at_level, bits_of};
use crate::zone::Zone;

/// Entities that are advanced at a time: what they touch stays in the first-level cache until it is settled.
const CHUNK: usize = 256;
/// The bits of a place within its cell that number its tile, on both axes. Displacements are below half a
/// cell, so these bits differ whenever a border of tile or cell was crossed.
const TILE_BITS: u32 = (CELL_TILES - 1) * TILE_UNITS * 0x1_0001;

/// A bit for each of a chunk that needs a closer look.
type Crossed = [u64; CHUNK / 64];

impl Zone {
    pub(crate) fn integrate(&mut self) {
        let mut cell = 0;
        for begin in (0..self.columns.len()).step_by(CHUNK) {
            let chunk = begin..(begin + CHUNK).min(self.columns.len());
            let crossed = advance(
                self.simd,
                &mut self.columns.local[chunk.clone()],
                &mut self.columns.velocity[chunk.clone()],
                &mut self.columns.flags[chunk],
            );
            for (word, mut bits) in crossed.into_iter().enumerate() {
                while bits != 0 {
                    let index = begin + word * 64 + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    while self.columns.start[cell + 1] as usize <= index {
                        cell += 1;
                    }
                    if !self.is_free_within(index, cell) {
                        self.settle(index, cell);
                    }
                }
            }
        }
    }

    /// Whether an entity that came to another tile is still in its cell and no wall is near what it crossed:
    /// then it stands where it should already. This is what nearly all that are looked at come to.
    #[inline]
    fn is_free_within(&self, index: usize, cell: usize) -> bool {
        let (to, velocity) = (self.columns.local[index], self.columns.velocity[index]);
        let by = unpack(velocity);
        let from = add_halves(to, pack(Displacement { dx: by.dx.wrapping_neg(), dy: by.dy.wrapping_neg() }));
        // An axis left the cell if what was added to it took it round.
        let left = |to: u32, from: u32, by: i16| (to as u16 >= from as u16) != (by >= 0);
        let left = left(to, from, by.dx) || left(to >> 16, from >> 16, by.dy);
        // As `motion::step` looks: first along x in the row that it comes from, then along y.
        let walled = self.walled[cell] >> block(to, from) | self.walled[cell] >> block(to, to);
        let marked = self.columns.flags[index] & (GONE | JUMP) != 0;
        !left && walled & 1 == 0 && !marked
    }

    /// Decides what becomes of an entity that crossed a border or was marked to leave.
    fn settle(&mut self, index: usize, cell: usize) {
        let flags = self.columns.flags[index];
        let id = EntityId(self.columns.entity[index]);
        let coord = self.grid.coord(cell);
        let by = unpack(self.columns.velocity[index]);
        let back = pack(Displacement { dx: by.dx.wrapping_neg(), dy: by.dy.wrapping_neg() });
        let from = Pos::from_cell(coord, add_halves(self.columns.local[index], back));
        if flags & GONE != 0 {
            self.pairs.leap(Leap { entity: id, from: Some(from), to: None });
            self.slots.free(id.slot());
            self.moves.depart(cell, index, id, CellKey::NOWHERE);
            return;
        }
        if flags & JUMP != 0 {
            self.settle_jump(index, cell, id, from);
            return;
        }
        let to = if flags & PLACED == 0 { motion::step(&self.map, from, by) } else { offset(from, by) };
        let made = pack(between(from, to).expect("a step is never longer than its displacement"));
        let to_cell = to.cell();
        if to_cell == coord {
            self.columns.local[index] = to.local();
            self.columns.velocity[index] = made;
        } else {
            let to_index = self.grid.index(to_cell);
            self.moves.depart(cell, index, id, to_cell.into());
            let mut flags = flags & PLACED;
            if is_leap(unpack(made)) {
                self.pairs.leap(Leap { entity: id, from: Some(from), to: Some(to) });
                flags |= self.pairs.mark();
            }
            let into = to_index as u32;
            self.moves.arrive(Arrival { local: to.local(), velocity: made, entity: id, flags, cell: into });
            self.slots.place[id.slot() as usize] = into;
        }
    }

    fn settle_jump(&mut self, index: usize, cell: usize, id: EntityId, from: Pos) {
        let entry = self.slots.place[id.slot() as usize] & !PENDING;
        let target = &self.pending[entry as usize];
        let to_cell = target.pos.cell();
        self.pairs.leap(Leap { entity: id, from: Some(from), to: Some(target.pos) });
        if to_cell == self.grid.coord(cell) {
            self.columns.local[index] = target.pos.local();
            self.columns.velocity[index] = target.velocity;
            self.columns.flags[index] = CHANGED | self.pairs.mark();
            self.slots.place[id.slot() as usize] = cell as u32;
            self.moves.touch(cell);
        } else {
            // Its arrival is made with those of the spawns.
            self.moves.depart(cell, index, id, to_cell.into());
        }
    }
}

/// Blocks along the side of a cell: 64 of them, a bit each.
const BLOCKS: u32 = 8;
const BLOCK_TILES: u32 = CELL_TILES / BLOCKS;

/// The number of the block in which the x of one place within a cell and the y of another lie.
#[inline]
fn block(x: u32, y: u32) -> u32 {
    const SHIFT: u32 = (BLOCK_TILES * TILE_UNITS).ilog2();
    ((x & 0xffff) >> SHIFT) | ((y >> 16 >> SHIFT) * BLOCKS)
}

/// By cell: which blocks of 4 m x 4 m have a wall, so that open ground is known without a look at the map, most
/// of which is not in a cache. 8 bytes a cell.
pub(crate) fn walled_blocks(map: &TileMap, grid: Grid) -> Vec<u64> {
    let mut walled = vec![u64::MAX; grid.count()];
    let side = |cells: u16| 0..u32::from(cells) * BLOCKS;
    for (y, x) in side(grid.cells.y).flat_map(|y| side(grid.cells.x).map(move |x| (y, x))) {
        let cell = CellCoord { x: (x / BLOCKS) as u16, y: (y / BLOCKS) as u16 };
        let mut tiles = (0..BLOCK_TILES * BLOCK_TILES)
            .map(|tile| (x * BLOCK_TILES + tile % BLOCK_TILES, y * BLOCK_TILES + tile / BLOCK_TILES));
        if !tiles.any(|(x, y)| map.is_wall(x, y)) {
            walled[grid.index(cell)] &= !(1 << (y % BLOCKS * BLOCKS + x % BLOCKS));
        }
    }
    walled
}

/// Whether no block that touches the rectangle between two places has a wall. It may say no of open ground.
pub(crate) fn is_open_between(walled: &[u64], grid: Grid, a: Pos, b: Pos) -> bool {
    let (low, high) = (Pos { x: a.x.min(b.x), y: a.y.min(b.y) }, Pos { x: a.x.max(b.x), y: a.y.max(b.y) });
    let last = high.cell();
    if last.x >= grid.cells.x || last.y >= grid.cells.y {
        return false;
    }
    cells_between(grid, low, high).all(|cell| {
        let (corner, end) = (Pos::from_cell(cell, 0), Pos::from_cell(cell, u32::MAX));
        let first = block(low.x.max(corner.x), low.y.max(corner.y) << 16);
        let last = block(high.x.min(end.x), high.y.min(end.y) << 16);
        // All blocks from the first to the last, row by row, but for those beside their columns.
        let columns = (0xff << (first % BLOCKS)) & (0xff >> (BLOCKS - 1 - last % BLOCKS)) & 0xffu64;
        let rows = (u64::MAX << (first / BLOCKS * BLOCKS)) & (u64::MAX >> (63 - (last | (BLOCKS - 1))));
        walled[grid.index(cell)] & rows & (columns * 0x0101_0101_0101_0101) == 0
    })
}

at_level! {
    /// Advances one chunk and tells which of it need a closer look.
    fn advance(local: &mut [u32], velocity: &mut [u32], flags: &mut [u8]) -> Crossed = advance_body
}

#[inline(always)]
fn advance_body(local: &mut [u32], velocity: &mut [u32], flags: &mut [u8]) -> Crossed {
    if flags.iter().fold(0, |all, flags| all | flags) & (PLACE | PLACED) != 0 {
        for (velocity, flags) in velocity.iter_mut().zip(&mut *flags) {
            *velocity = if *flags & (PLACE | PLACED) == PLACED { 0 } else { *velocity };
            *flags = *flags & !(PLACE | PLACED) | (*flags & PLACE) >> 1;
        }
    }
    let mut crossed = [0; CHUNK];
    for (((local, velocity), flags), crossed) in local.iter_mut().zip(velocity).zip(flags).zip(&mut crossed) {
        let to = add_halves(*local, *velocity);
        *crossed = u8::from((to ^ *local) & TILE_BITS | u32::from(*flags & (GONE | JUMP)) != 0);
        *local = to;
    }
    let (words, _) = crossed.as_chunks::<64>();
    std::array::from_fn(|word| bits_of(&words[word]))
}

const _: () = assert!(PLACE >> 1 == PLACED);
const _: () = assert!(TILE_BITS == 0xf800_f800);
