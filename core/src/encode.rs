//! Fourth pass: what changed is encoded once a cell, however many observe it. What only some ask for (whole cells,
//! and what changed in the last few ticks) is encoded when the first client asks.
//!
//! Blocks are built from 32-bit words: every record of [`vyuha_protocol::snapshot`] is a whole number of them.

use vyuha_protocol::snapshot::{BLOCK_DELTA, BLOCK_FULL, BlockHead, CellKey, Enter, Leave, Name, Update};
use vyuha_protocol::{EntityId, EntityKind};

use crate::columns::{CHANGED, Columns, Grid, HIDDEN, PENDING, SLOT_MASK, Slots};
use crate::regrid::Moves;
use crate::simd::prefetch;
use crate::updates::{LANES, Rows, Updates, with_updates};
use crate::zone::Zone;

/// Ticks of which it is known what changed: a client that holds a cell as it was so many ticks ago needs no full
/// block.
pub(crate) const WINDOW_TICKS: u32 = 4;

const HEAD_WORDS: usize = size_of::<BlockHead>() / 4;
const UPDATE_WORDS: usize = size_of::<Update>() / 4;
const ENTER_WORDS: usize = size_of::<Enter>() / 4;
const NAME_WORDS: usize = size_of::<Name>() / 4;
const LEAVE_WORDS: usize = size_of::<Leave>() / 4;

/// What a block of a cell states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// All there is.
    Full,
    /// What changed in so many ticks, from 1 to [`WINDOW_TICKS`].
    Ticks(u32),
}

/// All blocks of the last step.
pub(crate) struct Blocks {
    deltas: Deltas,
    asked: Asked,
    /// What left its cell, tick by tick: tick `t` is at `t` modulo the length. In the order of cells.
    left: [Vec<Left>; WINDOW_TICKS as usize],
    space: Space,
}

/// What changed in the last tick. Cell `c`'s block is `words[start[c]..start[c + 1]]`, empty if nothing did.
struct Deltas {
    /// Longer than what is used of it: it is written in place, and only grows.
    words: Vec<u32>,
    start: Vec<u32>,
}

/// The blocks that somebody asked for since the last step.
struct Asked {
    words: Vec<u32>,
    /// By cell and span: one more than where its block begins, and where it ends; zero if nobody asked for it.
    place: Vec<[(u32, u32); WINDOW_TICKS as usize]>,
    cells: Vec<u32>,
}

/// An entity that left a cell.
#[derive(Clone, Copy)]
struct Left {
    cell: u32,
    entity: u32,
}

/// Working space.
#[derive(Default)]
struct Space {
    /// Indices of those that are told whole.
    entering: Vec<u32>,
    /// Their ids, sorted.
    entered: Vec<u32>,
    gone: Vec<u32>,
}

impl Blocks {
    pub fn new(cells: usize) -> Blocks {
        Blocks {
            deltas: Deltas { words: Vec::new(), start: vec![0; cells + 1] },
            asked: Asked {
                words: Vec::new(),
                place: vec![[(0, 0); WINDOW_TICKS as usize]; cells],
                cells: Vec::new(),
            },
            left: Default::default(),
            space: Space::default(),
        }
    }

    /// A cell's block, empty if it would state nothing.
    pub fn block(&mut self, zone: &ZoneParts<'_>, cell: usize, span: Span) -> &[u32] {
        if span == Span::Ticks(1) {
            let Deltas { words, start } = &self.deltas;
            return &words[start[cell] as usize..start[cell + 1] as usize];
        }
        let Blocks { asked, left, space, .. } = self;
        let kind = match span {
            Span::Full => 0,
            Span::Ticks(ticks) => ticks as usize - 1,
        };
        if asked.place[cell][kind].0 == 0 {
            if asked.place[cell] == [(0, 0); WINDOW_TICKS as usize] {
                asked.cells.push(cell as u32);
            }
            let begin = asked.words.len();
            match span {
                Span::Full => push_full(&mut asked.words, zone, cell),
                Span::Ticks(ticks) => push_window(&mut asked.words, zone, cell, ticks, left, space),
            }
            asked.place[cell][kind] = (begin as u32 + 1, asked.words.len() as u32);
        }
        let (begin, end) = asked.place[cell][kind];
        &asked.words[begin as usize - 1..end as usize]
    }
}

/// What of a zone a block is made from.
#[derive(Clone, Copy)]
pub(crate) struct ZoneParts<'a> {
    pub tick: u32,
    pub grid: Grid,
    pub columns: &'a Columns,
    pub slots: &'a Slots,
}

impl Asked {
    fn clear(&mut self) {
        self.words.clear();
        for cell in self.cells.drain(..) {
            self.place[cell as usize] = [(0, 0); WINDOW_TICKS as usize];
        }
    }
}

impl Zone {
    pub(crate) fn encode(&mut self) {
        let Zone { tick, grid, columns, slots, moves, blocks, .. } = self;
        let Blocks { deltas, asked, left, space } = blocks;
        asked.clear();
        let left = &mut left[(*tick % WINDOW_TICKS) as usize];
        left.clear();
        let mut pass = Pass { grid: *grid, columns, slots, moves, deltas, left, space };
        with_updates(self.simd, &mut pass);
        moves.clear();
    }
}

/// The pass, to be run with one way or another to write updates.
pub(crate) struct Pass<'a> {
    grid: Grid,
    columns: &'a mut Columns,
    slots: &'a Slots,
    moves: &'a Moves,
    deltas: &'a mut Deltas,
    left: &'a mut Vec<Left>,
    space: &'a mut Space,
}

impl Pass<'_> {
    /// Encodes every cell. It is compiled anew for each set of vector instructions.
    #[inline(always)]
    pub fn run<U: Updates>(&mut self) {
        let Deltas { words, start } = &mut *self.deltas;
        let mut leaves = self.moves.leaves.as_slice();
        let mut end = 0;
        let row = usize::from(self.grid.cells.x) + 2;
        let mut arriving = self.moves.arriving().peekable();
        for first in (0..self.grid.count()).step_by(row) {
            let y = (first / row).wrapping_sub(1) as u16;
            // What those are that enter is kept by slot, where each is a miss of its own. They arrive nearly in the
            // order of cells.
            while let Some((id, _)) = arriving.next_if(|(_, cell)| *cell < first + 2 * row) {
                prefetch(&self.slots.kind, id.slot() as usize);
                prefetch(&self.slots.state, id.slot() as usize);
            }
            for column in 0..row {
                let cell = first + column;
                let begin = end;
                start[cell] = begin as u32;
                let run = self.columns.run(cell);
                let touched = self.moves.is_touched(cell);
                if run.is_empty() && !touched {
                    continue;
                }
                let room = HEAD_WORDS + (run.len() + LANES) * UPDATE_WORDS;
                let block = grown(words, begin, room);
                let rows = Rows {
                    entity: &self.columns.entity,
                    local: &self.columns.local,
                    velocity: &self.columns.velocity,
                    flags: &self.columns.flags,
                    recent: &mut self.columns.recent,
                };
                let updates = U::put(rows, run.clone(), &mut block[HEAD_WORDS..]);
                end += HEAD_WORDS + updates * UPDATE_WORDS;
                let key = CellKey { x: column.wrapping_sub(1) as u16, y };
                let mut counts = [updates as u32, 0, 0, 0];
                if touched {
                    let left: &[Leave];
                    (left, leaves) = leaves.split_at(self.moves.told[cell] as usize);
                    let entering = &mut self.space.entering;
                    entering.clear();
                    take_changed(&mut self.columns.flags[run.clone()], run.start, entering);
                    let room = entering.len() * (ENTER_WORDS + NAME_WORDS) + left.len() * LEAVE_WORDS;
                    let mut tail = Tail { words: grown(words, end, room), used: 0 };
                    let indices = entering.iter().map(|&index| index as usize);
                    let names = put_enters(&mut tail, self.columns, self.slots, indices);
                    for leave in left {
                        let to = if is_beside(key, leave.to) { leave.to } else { CellKey::NOWHERE };
                        tail.put(bytemuck::cast::<Leave, [u32; LEAVE_WORDS]>(Leave { to, ..*leave }));
                        self.left.push(Left { cell: cell as u32, entity: leave.entity });
                    }
                    end += tail.used;
                    counts = [counts[0], entering.len() as u32, names, left.len() as u32];
                }
                if counts == [0; 4] {
                    end = begin;
                } else {
                    put_head(&mut words[begin..], key, BLOCK_DELTA, counts);
                }
            }
        }
        start[self.grid.count()] = end as u32;
    }
}

/// Takes the mark off those that are marked [`CHANGED`], and appends the indices of those that are not hidden. Most
/// rows are not marked.
#[inline]
fn take_changed(flags: &mut [u8], first: usize, out: &mut Vec<u32>) {
    const MARKS: u64 = 0x0101_0101_0101_0101 * CHANGED as u64;
    let mut take = |at: usize, flags: &mut [u8]| {
        for (flags, index) in flags.iter_mut().zip(first + at..) {
            if *flags & CHANGED != 0 {
                *flags &= !CHANGED;
                if *flags & HIDDEN == 0 {
                    out.push(index as u32);
                }
            }
        }
    };
    let whole = flags.len() / 8 * 8;
    let (eights, rest) = flags.as_chunks_mut::<8>();
    for (eight, at) in eights.iter_mut().zip((0..).step_by(8)) {
        if u64::from_le_bytes(*eight) & MARKS != 0 {
            take(at, eight);
        }
    }
    take(whole, rest);
}

/// Where words are put one after the other.
pub(crate) trait Put {
    fn put<const N: usize>(&mut self, words: [u32; N]);
}

impl Put for Vec<u32> {
    fn put<const N: usize>(&mut self, words: [u32; N]) {
        self.extend_from_slice(&words);
    }
}

impl Put for Vec<u8> {
    fn put<const N: usize>(&mut self, words: [u32; N]) {
        self.extend_from_slice(bytemuck::cast_slice(&words));
    }
}

/// Room that was made before.
struct Tail<'a> {
    words: &'a mut [u32],
    used: usize,
}

impl Put for Tail<'_> {
    #[inline]
    fn put<const N: usize>(&mut self, words: [u32; N]) {
        self.words[self.used..self.used + N].copy_from_slice(&words);
        self.used += N;
    }
}

/// The `length` words from `begin` on.
#[inline]
fn grown(words: &mut Vec<u32>, begin: usize, length: usize) -> &mut [u32] {
    if words.len() < begin + length {
        words.resize((begin + length).next_power_of_two(), 0);
    }
    &mut words[begin..begin + length]
}

/// Whether two cells are neighbours. Of what goes farther, by a jump, nobody is told where it went.
fn is_beside(a: CellKey, b: CellKey) -> bool {
    a != b && a.x.abs_diff(b.x) <= 1 && a.y.abs_diff(b.y) <= 1
}

fn push_full(words: &mut Vec<u32>, zone: &ZoneParts<'_>, cell: usize) {
    let begin = words.len();
    words.resize(begin + HEAD_WORDS, 0);
    let shown = zone.columns.run(cell).filter(|&index| zone.columns.flags[index] & HIDDEN == 0);
    let enters = shown.clone().count() as u32;
    let names = put_enters(words, zone.columns, zone.slots, shown);
    let key = CellKey::from(zone.grid.coord(cell));
    put_head(&mut words[begin..], key, BLOCK_FULL, [0, enters, names, 0]);
}

/// Appends what changed in a cell in the last ticks; nothing if nothing did.
fn push_window(
    words: &mut Vec<u32>,
    zone: &ZoneParts<'_>,
    cell: usize,
    ticks: u32,
    left: &[Vec<Left>; WINDOW_TICKS as usize],
    space: &mut Space,
) {
    let ZoneParts { tick, grid, columns, slots } = *zone;
    let Space { entering, entered, gone, .. } = space;
    let begin = words.len();
    words.resize(begin + HEAD_WORDS, 0);
    let (moved, told) = (moved_in(ticks), told_in(ticks));
    entering.clear();
    let is_shown = |index: usize| columns.flags[index] & HIDDEN == 0;
    for index in columns.run(cell).filter(|&index| is_shown(index)) {
        let recent = columns.recent[index];
        if recent & told != 0 {
            entering.push(index as u32);
        } else if recent & moved != 0 {
            words.extend_from_slice(&[columns.entity[index], columns.local[index]]);
        }
    }
    let updates = ((words.len() - begin - HEAD_WORDS) / UPDATE_WORDS) as u32;
    let names = put_enters(words, columns, slots, entering.iter().map(|&index| index as usize));

    // Whoever left and came back is among those that enter.
    entered.clear();
    entered.extend(entering.iter().map(|&index| columns.entity[index as usize]));
    entered.sort_unstable();
    gone.clear();
    for ago in 0..ticks {
        let left = &left[(tick.wrapping_sub(ago) % WINDOW_TICKS) as usize];
        let first = left.partition_point(|left| (left.cell as usize) < cell);
        let here = left[first..].iter().take_while(|left| left.cell as usize == cell);
        gone.extend(here.map(|left| left.entity).filter(|entity| entered.binary_search(entity).is_err()));
    }
    gone.sort_unstable();
    gone.dedup();
    let key = CellKey::from(grid.coord(cell));
    for &entity in &*gone {
        let now = slots.resolve(EntityId(entity)).filter(|place| place & PENDING == 0);
        // Where somebody hidden went is nobody's business.
        let now = now
            .map(|place| place as usize)
            .filter(|&place| columns.find(place, EntityId(entity)).is_some_and(is_shown));
        let now = now.map(|place| CellKey::from(grid.coord(place)));
        let to = now.filter(|to| is_beside(key, *to)).unwrap_or(CellKey::NOWHERE);
        words.put(bytemuck::cast::<Leave, [u32; LEAVE_WORDS]>(Leave { entity, to }));
    }
    let counts = [updates, entering.len() as u32, names, gone.len() as u32];
    if counts == [0; 4] {
        words.truncate(begin);
    } else {
        put_head(&mut words[begin..], key, BLOCK_DELTA, counts);
    }
}

/// The bits of [`Columns::recent`] that say that an entity moved in one of the last ticks.
pub(crate) fn moved_in(ticks: u32) -> u8 {
    (1 << ticks) - 1
}

/// The bits that say that it was to be told whole in one of them.
pub(crate) fn told_in(ticks: u32) -> u8 {
    moved_in(ticks) << WINDOW_TICKS
}

const _: () = assert!(2 * WINDOW_TICKS == u8::BITS);

/// Appends an enter for each, then a name for each player among them. Returns how many names.
#[inline]
pub(crate) fn put_enters(
    out: &mut impl Put,
    columns: &Columns,
    slots: &Slots,
    indices: impl Iterator<Item = usize> + Clone,
) -> u32 {
    let mut names = 0;
    for index in indices.clone() {
        let entity = columns.entity[index];
        let slot = (entity & SLOT_MASK) as usize;
        let (kind, state) = (slots.kind[slot], slots.state[slot]);
        names += u32::from(EntityKind(kind).is_player());
        let enter = Enter { entity, local: columns.local[index], kind, state };
        out.put(bytemuck::cast::<Enter, [u32; ENTER_WORDS]>(enter));
    }
    if names > 0 {
        for entity in indices.map(|index| columns.entity[index]) {
            let slot = (entity & SLOT_MASK) as usize;
            if EntityKind(slots.kind[slot]).is_player() {
                let name = Name { entity, name: slots.name[slot] };
                out.put(bytemuck::cast::<Name, [u32; NAME_WORDS]>(name));
            }
        }
    }
    names
}

#[inline]
fn put_head(block: &mut [u32], cell: CellKey, mode: u16, counts: [u32; 4]) {
    let [updates, enters, names, leaves] = counts;
    let head = BlockHead { cell, mode, reserved: 0, updates, enters, names, leaves };
    block[..HEAD_WORDS].copy_from_slice(&bytemuck::cast::<BlockHead, [u32; HEAD_WORDS]>(head));
}
