//! Where everything is kept: hot and warm columns in cell order, cold ones by slot.

use std::collections::VecDeque;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use vyuha_protocol::ids::ENTITY_SLOT_BITS;
use vyuha_protocol::snapshot::CellKey;
use vyuha_protocol::text::CHARACTER_NAME_BYTES_MAX;
use vyuha_protocol::{CellCoord, Displacement, EntityId, EntityKind, Pos, TileMap};

use crate::hash::{add, subtract, warm_term};
use crate::simd::prefetch;

/// The bits of an id that number the slot.
pub(crate) const SLOT_MASK: u32 = (1 << ENTITY_SLOT_BITS) - 1;
/// The displacement made in the last step was given by `place`, so it is not kept for another.
pub(crate) const PLACED: u8 = 1;
/// The displacement was given by `place` for the coming step.
pub(crate) const PLACE: u8 = 1 << 1;
/// To be told to observers whole: it came to its cell, its state changed or it jumped within its cell.
pub(crate) const CHANGED: u8 = 1 << 2;
/// Despawned: leaves with the coming step.
pub(crate) const GONE: u8 = 1 << 3;
/// Goes with the coming step to where its entry in the pending list says.
pub(crate) const JUMP: u8 = 1 << 4;
/// With the coming step it is hidden if it was not, and shown if it was hidden.
pub(crate) const TURN: u8 = 1 << 5;
/// Observers do not have it.
pub(crate) const HIDDEN: u8 = 1 << 6;
/// Its displacement does not tell where it was for others: it was placed farther away than a step, jumped, was spawned,
/// hidden or shown. The pass over pairs, if it runs, takes it off again.
pub(crate) const LEAPT: u8 = 1 << 7;
/// The flags that are state: the others are cleared by the step.
pub(crate) const KEPT: u8 = PLACED | HIDDEN;
const _: () = assert!(TURN << 1 == HIDDEN);

/// The flags with [`TURN`] carried out.
#[inline]
pub(crate) fn turned(flags: u8) -> u8 {
    (flags ^ (flags & TURN) << 1) & !TURN
}

/// What rules of combat ask of whoever is near: kept in cell order beside the hot columns, 4 bytes an entity, so
/// that they read it in the runs in which they find the places. Only regrid and hash stream through it. No
/// observer is told of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Warm {
    /// Points of health; what 0 means is up to the rules.
    pub health: u16,
    /// Whose side it is on.
    pub team: u8,
    /// What it is doing.
    pub action: u8,
}

/// How cells are numbered: row by row, with a ring of empty cells around the map, so that a cell's eight
/// neighbours always exist and a stencil needs no test for the edge.
#[derive(Clone, Copy)]
pub(crate) struct Grid {
    pub cells: CellCoord,
    stride: u32,
}

impl Grid {
    pub fn new(map: &TileMap) -> Grid {
        Grid { cells: map.cells(), stride: u32::from(map.cells().x) + 2 }
    }

    pub fn count(self) -> usize {
        (self.stride * (u32::from(self.cells.y) + 2)) as usize
    }

    #[inline]
    pub fn index(self, cell: CellCoord) -> usize {
        ((u32::from(cell.y) + 1) * self.stride + u32::from(cell.x) + 1) as usize
    }

    /// The number of the cell so many cells beside one of the map's own, at most one along each axis.
    #[inline]
    pub fn beside(self, cell: CellCoord, (dx, dy): (i32, i32)) -> usize {
        self.index(cell).wrapping_add_signed(dy as isize * self.stride as isize + dx as isize)
    }

    /// The inverse of [`Grid::index`] for the map's own cells; those of the ring have no coordinates.
    #[inline]
    pub fn coord(self, index: usize) -> CellCoord {
        let index = index as u32;
        CellCoord { x: (index % self.stride - 1) as u16, y: (index / self.stride - 1) as u16 }
    }
}

impl Grid {
    /// Every cell's key in the order of their numbers. Those of the ring have no meaning.
    pub fn keys(self) -> impl Iterator<Item = CellKey> {
        let side = |cells: u16| (0..cells + 2).map(|at| at.wrapping_sub(1));
        side(self.cells.y).flat_map(move |y| side(self.cells.x).map(move |x| CellKey { x, y }))
    }
}

/// The columns in cell order. Entities of cell `c` lie at `start[c]..start[c + 1]`.
pub(crate) struct Columns {
    /// The place within the cell, x in the low half and y in the high half.
    pub local: Vec<u32>,
    /// The displacement of a tick, dx in the low half and dy in the high half.
    pub velocity: Vec<u32>,
    /// The id: what observers are told, so that to encode it nothing is looked up by slot.
    pub entity: Vec<u32>,
    /// [`PLACED`] and its like; all but [`KEPT`] are cleared by the step.
    pub flags: Vec<u8>,
    pub warm: Vec<Warm>,
    /// Of each of the last four ticks a bit: in the low half whether it moved, in the high half whether observers
    /// were told it whole. The lowest bits are the last tick's. It follows from the rest and is no state.
    pub recent: Vec<u8>,
    /// Where each cell's entities begin; one more entry than there are cells.
    pub start: Vec<u32>,
}

impl Columns {
    pub fn new(cells: usize) -> Columns {
        Columns {
            local: Vec::new(),
            velocity: Vec::new(),
            entity: Vec::new(),
            flags: Vec::new(),
            warm: Vec::new(),
            recent: Vec::new(),
            start: vec![0; cells + 1],
        }
    }

    pub fn len(&self) -> usize {
        self.entity.len()
    }

    pub fn resize(&mut self, length: usize) {
        self.local.resize(length, 0);
        self.velocity.resize(length, 0);
        self.entity.resize(length, 0);
        self.flags.resize(length, 0);
        self.warm.resize(length, Warm::default());
        self.recent.resize(length, 0);
    }

    /// Where a cell's entities lie.
    #[inline]
    pub fn run(&self, cell: usize) -> Range<usize> {
        self.start[cell] as usize..self.start[cell + 1] as usize
    }

    /// The cell of a row, given one that does not lie behind it.
    #[inline]
    pub fn cell_of(&self, row: usize, mut cell: usize) -> usize {
        const BLOCK: usize = 16;
        // Several ends at a time, because nothing foresees how many there are to go.
        while let Some(ends) = self.start.get(cell + 1..).and_then(<[u32]>::first_chunk::<BLOCK>) {
            let ended = ends.iter().map(|end| u32::from(*end as usize <= row)).sum::<u32>() as usize;
            cell += ended;
            if ended < BLOCK {
                return cell;
            }
        }
        cell + self.start[cell + 1..].iter().take_while(|end| **end as usize <= row).count()
    }

    /// The index of an entity, if it stands in a cell.
    #[inline]
    pub fn find(&self, cell: usize, id: EntityId) -> Option<usize> {
        const BLOCK: usize = 16;
        let run = self.run(cell);
        let Some(last) = self.entity.len().checked_sub(BLOCK) else {
            return self.entity.iter().position(|entity| *entity == id.0).filter(|at| run.contains(at));
        };
        // Whole blocks, which may reach beyond the run: an id is nowhere else. So a block's sum is the number of
        // the lane that hit, counted from 1, or 0; unlike a search this compiles to vectors.
        run.step_by(BLOCK).find_map(|at| {
            let begin = at.min(last);
            let block: &[u32; BLOCK] =
                self.entity[begin..].first_chunk().expect("a block fits before the end");
            let lanes = block.iter().zip(1..).map(|(entity, lane)| if *entity == id.0 { lane } else { 0u32 });
            let hit = lanes.sum::<u32>() as usize;
            (hit != 0).then(|| begin + hit - 1)
        })
    }
}

/// [`Slots::place`] of a slot that nobody has.
pub(crate) const DEAD: u32 = u32::MAX;
/// Set in [`Slots::place`] of an entity that appears with the coming step; the other bits number its entry in
/// the pending list.
pub(crate) const PENDING: u32 = 1 << 31;

/// Freed slots that wait before the first is used again, so that a generation comes round only after
/// 256 x 256 entities were despawned.
const FREE_SLOTS_KEPT: usize = 256;

/// What is kept by slot.
#[derive(Default)]
pub(crate) struct Slots {
    /// The cell's number, or [`PENDING`] and an index, or [`DEAD`]. Changed by [`Slots::relocate`] only.
    pub place: Vec<u32>,
    pub generation: Vec<u8>,
    pub kind: Vec<u16>,
    pub state: Vec<u16>,
    pub name: Vec<[u8; CHARACTER_NAME_BYTES_MAX]>,
    pub live: usize,
    /// Those that can be taken again, the first freed first.
    pub free: VecDeque<u32>,
    /// What the state hash has of the slots: the terms of each entity's cell and of its kind and state. So little
    /// of it changes in a tick that it is kept up to date rather than summed anew.
    pub sum: (u32, u32),
}

impl Slots {
    /// Takes a slot for a new entity, oldest freed first.
    ///
    /// # Panics
    /// If all 2^24 slots are taken.
    pub fn take(&mut self, place: u32, kind: EntityKind, state: u16, name: [u8; 16]) -> u32 {
        self.live += 1;
        let reused = if self.free.len() > FREE_SLOTS_KEPT { self.free.pop_front() } else { None };
        let slot = reused.unwrap_or_else(|| {
            let slot = self.place.len() as u32;
            assert!(slot <= SLOT_MASK, "a zone holds at most 2^{ENTITY_SLOT_BITS} entities");
            self.place.push(DEAD);
            self.generation.push(0);
            self.kind.push(0);
            self.state.push(0);
            self.name.push(name);
            slot
        });
        let at = slot as usize;
        self.kind[at] = kind.0;
        self.state[at] = state;
        self.name[at] = name;
        self.sum = add(self.sum, self.look_term(slot));
        self.relocate(self.id(slot), DEAD, place);
        slot
    }

    /// From one place on an entity is kept at another.
    #[inline]
    pub fn relocate(&mut self, id: EntityId, from: u32, to: u32) {
        self.place[id.slot() as usize] = to;
        let term = |place: u32| if place & PENDING == 0 { warm_term(id.0, place, 0, 0) } else { (0, 0) };
        self.sum = add(subtract(self.sum, term(from)), term(to));
    }

    /// Changes an entity's state, and says whether that is another one.
    pub fn set_state(&mut self, slot: u32, state: u16) -> bool {
        self.sum = subtract(self.sum, self.look_term(slot));
        let before = std::mem::replace(&mut self.state[slot as usize], state);
        self.sum = add(self.sum, self.look_term(slot));
        before != state
    }

    fn look_term(&self, slot: u32) -> (u32, u32) {
        warm_term(self.id(slot).0, 0, self.kind[slot as usize], self.state[slot as usize])
    }

    /// From now on the slot's id is invalid. The slot itself is held back until [`Slots::free`], because the
    /// columns show the entity until the step.
    pub fn kill(&mut self, slot: u32) {
        self.live -= 1;
        self.sum = subtract(self.sum, self.look_term(slot));
        self.relocate(self.id(slot), self.place[slot as usize], DEAD);
    }

    /// Lets a dead slot be taken again.
    pub fn free(&mut self, slot: u32) {
        let generation = &mut self.generation[slot as usize];
        *generation = generation.wrapping_add(1);
        self.free.push_back(slot);
    }

    /// The place of an entity, unless it is dead.
    #[inline]
    pub fn resolve(&self, id: EntityId) -> Option<u32> {
        let slot = id.slot() as usize;
        let place = *self.place.get(slot)?;
        (place != DEAD && self.generation[slot] == id.generation()).then_some(place)
    }

    /// Asks memory for what [`Slots::resolve`] reads.
    #[inline(always)]
    pub fn fetch(&self, id: EntityId) {
        prefetch(&self.place, id.slot() as usize);
        prefetch(&self.generation, id.slot() as usize);
    }

    /// The id of the entity that the columns show for a slot.
    #[inline]
    pub fn id(&self, slot: u32) -> EntityId {
        EntityId::new(slot, self.generation[slot as usize])
    }
}

#[inline]
pub(crate) fn pack(by: Displacement) -> u32 {
    u32::from(by.dx as u16) | u32::from(by.dy as u16) << 16
}

#[inline]
pub(crate) fn unpack(velocity: u32) -> Displacement {
    Displacement { dx: velocity as i16, dy: (velocity >> 16) as i16 }
}

/// Subtracts both halves, each modulo 2^16.
#[inline]
pub(crate) fn subtract_halves(a: u32, b: u32) -> u32 {
    (a.wrapping_sub(b) & 0xffff) | (a & 0xffff_0000).wrapping_sub(b & 0xffff_0000)
}

/// A place moved by a displacement.
#[inline]
pub(crate) fn offset(from: Pos, by: Displacement) -> Pos {
    Pos { x: from.x.wrapping_add_signed(by.dx.into()), y: from.y.wrapping_add_signed(by.dy.into()) }
}

/// The displacement from one place to another, if each axis fits 16 bits.
#[inline]
pub(crate) fn between(from: Pos, to: Pos) -> Option<Displacement> {
    let axis = |from: u32, to: u32| i16::try_from(i64::from(to) - i64::from(from)).ok();
    Some(Displacement { dx: axis(from.x, to.x)?, dy: axis(from.y, to.y)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cells_are_numbered_within_a_ring() {
        let grid = Grid::new(&TileMap::open(70, 33));
        assert_eq!((grid.cells, grid.count()), (CellCoord { x: 3, y: 2 }, 5 * 4));
        for (y, x) in (0..2).flat_map(|y| (0..3).map(move |x| (y, x))) {
            let cell = CellCoord { x, y };
            assert_eq!(grid.coord(grid.index(cell)), cell);
        }
        assert_eq!((grid.index(CellCoord { x: 0, y: 0 }), grid.index(CellCoord { x: 2, y: 1 })), (6, 13));
    }

    #[test]
    fn an_entity_is_found_wherever_it_lies_in_its_run() {
        for length in [1, 15, 16, 17, 40] {
            let mut columns = Columns::new(3);
            columns.resize(length + 7);
            for (i, entity) in columns.entity.iter_mut().enumerate() {
                *entity = 1000 + i as u32;
            }
            columns.start = vec![0, 5, 5 + length as u32, 7 + length as u32];
            for i in 5..5 + length {
                assert_eq!(columns.find(1, EntityId(1000 + i as u32)), Some(i));
            }
        }
    }

    #[test]
    fn freed_slots_wait_and_come_back_with_a_raised_generation() {
        let mut slots = Slots::default();
        let take = |slots: &mut Slots| slots.take(0, EntityKind(1), 0, [0; 16]);
        for slot in 0..=FREE_SLOTS_KEPT as u32 {
            assert_eq!(take(&mut slots), slot);
        }
        for slot in 0..=FREE_SLOTS_KEPT as u32 {
            let id = slots.id(slot);
            slots.kill(slot);
            slots.free(slot);
            assert_eq!(slots.resolve(id), None);
        }
        assert_eq!(slots.live, 0);
        assert_eq!(take(&mut slots), 0);
        assert_eq!((slots.id(0), slots.resolve(EntityId::new(0, 0))), (EntityId::new(0, 1), None));
        assert_eq!(take(&mut slots), FREE_SLOTS_KEPT as u32 + 1, "the others wait");
    }

    proptest! {
        #[test]
        fn halves_are_subtracted_apart(x: u16, y: u16, dx: i16, dy: i16) {
            let local = u32::from(x) | u32::from(y) << 16;
            let rest = subtract_halves(local, pack(Displacement { dx, dy }));
            prop_assert_eq!(rest as u16, x.wrapping_sub_signed(dx));
            prop_assert_eq!((rest >> 16) as u16, y.wrapping_sub_signed(dy));
            prop_assert_eq!(unpack(pack(Displacement { dx, dy })), Displacement { dx, dy });
        }
    }
}
