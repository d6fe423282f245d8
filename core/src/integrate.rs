//! First pass: every displacement is added to its place. Only where that leads to another tile are walls and
//! cell borders looked at.

use std::ops::Range;

use vyuha_protocol::snapshot::CellKey;
use vyuha_protocol::units::{CELL_TILES, TILE_UNITS};
use vyuha_protocol::{CellCoord, EntityId, Pos, TileMap, motion};

use crate::columns::{
    CHANGED, Columns, GONE, Grid, HIDDEN, JUMP, KEPT, LEAPT, PENDING, PLACE, PLACED, TURN, between, offset,
    pack, subtract_halves, turned, unpack,
};
use crate::history::{LANES, lanes_from};
use crate::pairs::Leap;
use crate::query::cells_between;
use crate::regrid::{Arrival, ones};
use crate::simd::{at_level, bits_of, prefetch};
use crate::zone::Zone;

/// Entities that are advanced at a time.
const CHUNK: usize = 256;
/// The bits of a place within its cell that number its tile, on both axes. Displacements are below half a
/// cell, so these bits differ whenever a border of tile or cell was crossed.
const TILE_BITS: u32 = (CELL_TILES - 1) * TILE_UNITS * 0x1_0001;

/// Flags that need a closer look.
const MARKED: u8 = GONE | JUMP | TURN | LEAPT;

/// How many are looked at while the next one's rows are fetched.
const AHEAD: usize = 16;

/// For each of a chunk 1 if it needs a closer look, and room for a group behind them.
type Closer = [u8; CHUNK + LANES];

impl Zone {
    pub(crate) fn integrate(&mut self) {
        let mut closer = std::mem::take(&mut self.closer);
        let mut walled = 0;
        for begin in (0..self.columns.len()).step_by(CHUNK) {
            let chunk = begin..(begin + CHUNK).min(self.columns.len());
            let mut marks = [0; CHUNK + LANES];
            advance(
                self.simd,
                &mut self.columns.local[chunk.clone()],
                &mut self.columns.velocity[chunk.clone()],
                &mut self.columns.flags[chunk.clone()],
                &mut marks,
            );
            self.look_for_walls(&chunk, &mut walled, &mut marks);
            let (words, _) = marks.as_chunks();
            for (word, marks) in words.iter().enumerate() {
                closer.extend(ones(begin / 64 + word, bits_of(marks)).map(|index| index as u32));
            }
        }
        let mut cell = 0;
        for (at, &index) in closer.iter().enumerate() {
            if let Some(&ahead) = closer.get(at + AHEAD) {
                self.fetch(ahead as usize);
            }
            let index = index as usize;
            cell = self.columns.cell_of(index, cell);
            self.settle(index, cell);
        }
        closer.clear();
        self.closer = closer;
    }

    fn fetch(&self, index: usize) {
        let Columns { local, velocity, entity, flags, warm, .. } = &self.columns;
        prefetch(local, index);
        prefetch(velocity, index);
        prefetch(entity, index);
        prefetch(flags, index);
        prefetch(warm, index);
    }

    /// In cells with walls, those that came to another tile near one are looked at as well. `walled` numbers the first
    /// such cell that does not end before the chunk.
    fn look_for_walls(&self, chunk: &Range<usize>, walled: &mut usize, closer: &mut Closer) {
        while let Some(&cell) = self.walled_cells.get(*walled) {
            let run = self.columns.run(cell as usize);
            if run.start >= chunk.end {
                break;
            }
            let rows = run.start.max(chunk.start)..run.end.min(chunk.end);
            let Columns { local, velocity, .. } = &self.columns;
            let first = rows.start - chunk.start;
            near_walls(self.simd, local, velocity, rows, self.walled[cell as usize], &mut closer[first..]);
            if run.end > chunk.end {
                break;
            }
            *walled += 1;
        }
    }

    /// Decides what becomes of an entity that crossed a border or was marked.
    fn settle(&mut self, index: usize, cell: usize) {
        let id = EntityId(self.columns.entity[index]);
        let before = self.columns.flags[index];
        let coord = self.grid.coord(cell);
        let (local, velocity) = (self.columns.local[index], self.columns.velocity[index]);
        let by = unpack(velocity);
        let from = Pos::from_cell(coord, subtract_halves(local, velocity));
        if before & GONE != 0 {
            self.leap(id, before, from, None);
            self.slots.free(id.slot());
            self.depart(index, cell, before, CellKey::NOWHERE);
            return;
        }
        if before & JUMP != 0 {
            self.settle_jump(index, cell, before, from);
            return;
        }
        let (mut to, mut made) = (offset(from, by), velocity);
        if before & PLACED == 0 && !self.is_open_step(from, to) {
            to = motion::step(&self.map, from, by);
            made = pack(between(from, to).expect("a step is never longer than its displacement"));
        }
        let mark = if before & (LEAPT | TURN) == 0 { 0 } else { self.leap(id, before, from, Some(to)) };
        let flags = turned(before) & !LEAPT | mark;
        let to_cell = to.cell();
        if to_cell == coord {
            self.columns.local[index] = to.local();
            self.columns.velocity[index] = made;
            self.columns.flags[index] = flags;
            self.tell_turn(index, cell, before);
        } else {
            let to_index = self.grid.index(to_cell);
            self.depart(index, cell, before, to_cell.into());
            let (flags, warm, into) = (flags & KEPT | mark, self.columns.warm[index], to_index as u32);
            self.moves.arrive(Arrival {
                local: to.local(),
                velocity: made,
                entity: id,
                flags,
                warm,
                cell: into,
            });
            self.slots.relocate(id, cell as u32, into);
        }
    }

    /// Whether no wall is near what [`motion::step`] looks at. It may say no of open ground.
    #[inline]
    fn is_open_step(&self, from: Pos, to: Pos) -> bool {
        // First along x in the row that it comes from, then along y.
        let is_open = |at: Pos| {
            let local = at.local();
            self.walled[self.grid.index(at.cell())] >> block(local, local) & 1 == 0
        };
        is_open(Pos { x: to.x, y: from.y }) && is_open(to)
    }

    fn settle_jump(&mut self, index: usize, cell: usize, before: u8, from: Pos) {
        let id = EntityId(self.columns.entity[index]);
        let place = self.slots.place[id.slot() as usize];
        let entry = (place & !PENDING) as usize;
        let to = self.pending[entry].pos;
        let mark = self.leap(id, before, from, Some(to));
        if to.cell() == self.grid.coord(cell) {
            self.columns.local[index] = to.local();
            self.columns.velocity[index] = self.pending[entry].velocity;
            self.columns.flags[index] = turned(before) & HIDDEN | CHANGED | mark;
            self.slots.relocate(id, place, cell as u32);
            self.moves.touch(cell);
            self.tell_turn(index, cell, before);
        } else {
            // Its arrival is made with those of the spawns.
            let target = &mut self.pending[entry];
            (target.flags, target.warm) = (turned(before) & HIDDEN | mark, self.columns.warm[index]);
            self.depart(index, cell, before, to.cell().into());
        }
    }

    /// An entity is where it is by other means than a step, or others see it no more or again: whatever pairs it
    /// makes and breaks by that is found apart from those of walkers. Returns the mark of its row.
    fn leap(&mut self, entity: EntityId, before: u8, from: Pos, to: Option<Pos>) -> u8 {
        let from = (before & HIDDEN == 0).then_some(from);
        let to = to.filter(|_| turned(before) & HIDDEN == 0);
        if from.is_none() && to.is_none() {
            return 0;
        }
        self.pairs.leap(Leap { entity, from, to });
        self.pairs.mark()
    }

    /// The entity at an index leaves its cell: whoever has it is told where to, unless it is hidden from now on.
    fn depart(&mut self, index: usize, cell: usize, before: u8, to: CellKey) {
        self.moves.depart(cell, index);
        if before & HIDDEN == 0 {
            let to = if turned(before) & HIDDEN == 0 { to } else { CellKey::NOWHERE };
            self.moves.tell(cell, EntityId(self.columns.entity[index]), to);
        }
    }

    /// Observers of the cell in which an entity stays are told if it is hidden or shown from now on.
    fn tell_turn(&mut self, index: usize, cell: usize, before: u8) {
        if before & TURN == 0 {
            return;
        }
        if before & HIDDEN == 0 {
            self.moves.tell(cell, EntityId(self.columns.entity[index]), CellKey::NOWHERE);
        } else {
            self.columns.flags[index] |= CHANGED;
            self.moves.touch(cell);
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
#[inline]
pub(crate) fn is_open_between(walled: &[u64], grid: Grid, a: Pos, b: Pos) -> bool {
    let (low, high) = (Pos { x: a.x.min(b.x), y: a.y.min(b.y) }, Pos { x: a.x.max(b.x), y: a.y.max(b.y) });
    let last = high.cell();
    if last.x >= grid.cells.x || last.y >= grid.cells.y {
        return false;
    }
    let first = low.cell();
    if last.x - first.x <= 1 && last.y - first.y <= 1 {
        // The corners lie in all cells that there are: mostly none has a wall.
        let (north, south) = (grid.index(first), grid.index(CellCoord { x: first.x, ..last }));
        let east = usize::from(last.x - first.x);
        if walled[north] | walled[north + east] | walled[south] | walled[south + east] == 0 {
            return true;
        }
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
    /// Advances one chunk and tells which of it left their cell or are [`MARKED`].
    fn advance(local: &mut [u32], velocity: &mut [u32], flags: &mut [u8], closer: &mut Closer) = advance_body
}

#[inline(always)]
fn advance_body(local: &mut [u32], velocity: &mut [u32], flags: &mut [u8], closer: &mut Closer) {
    if flags.iter().fold(0, |all, flags| all | flags) & (PLACE | PLACED) != 0 {
        for (velocity, flags) in velocity.iter_mut().zip(&mut *flags) {
            *velocity = if *flags & (PLACE | PLACED) == PLACED { 0 } else { *velocity };
            *flags = *flags & !(PLACE | PLACED) | (*flags & PLACE) >> 1;
        }
    }
    for (((local, velocity), flags), closer) in local.iter_mut().zip(velocity).zip(flags).zip(closer) {
        // Each half plus its signed displacement: whoever stays in its cell has nothing above 16 bits.
        let x = (*local & 0xffff).wrapping_add_signed((*velocity << 16) as i32 >> 16);
        let y = (*local >> 16).wrapping_add_signed(*velocity as i32 >> 16);
        *closer = u8::from((x | y) >> 16 | u32::from(*flags & MARKED) != 0);
        *local = x & 0xffff | y << 16;
    }
}

at_level! {
    /// Tells which of some advanced rows of a cell came to another tile and may have a wall near what they crossed,
    /// given [`walled_blocks`] of the cell.
    fn near_walls(local: &[u32], velocity: &[u32], rows: Range<usize>, walls: u64, closer: &mut [u8]) = near_walls_body
}

#[inline(always)]
fn near_walls_body(local: &[u32], velocity: &[u32], rows: Range<usize>, walls: u64, closer: &mut [u8]) {
    for (row, closer) in rows.clone().step_by(LANES).zip(closer.chunks_mut(LANES)) {
        let closer: &mut [u8; LANES] = closer.first_chunk_mut().expect("there is room for a group");
        let (mut rest_of_local, mut rest_of_velocity) = ([0; LANES], [0; LANES]);
        let local = lanes_from(local, row, &mut rest_of_local);
        let velocity = lanes_from(velocity, row, &mut rest_of_velocity);
        for lane in 0..LANES {
            let to = local[lane];
            let from = subtract_halves(to, velocity[lane]);
            let crossed = (from ^ to) & TILE_BITS != 0;
            // As `motion::step` looks: first along x in the row that it comes from, then along y.
            let walled = walls >> block(to, from) | walls >> block(to, to);
            closer[lane] |= u8::from(crossed) & walled as u8 & u8::from(lane < rows.end - row);
        }
    }
}

const _: () = assert!(PLACE >> 1 == PLACED);
const _: () = assert!(TILE_BITS == 0xf800_f800);
