//! Fourth pass: what changed is encoded once a cell, however many observe it. What only some ask for (whole cells,
//! and what changed in the last few ticks) is encoded when the first client asks.
//!
//! Blocks are built from 32-bit words: every record of [`vyuha_protocol::snapshot`] is a whole number of them.

use vyuha_protocol::snapshot::{BLOCK_DELTA, BLOCK_FULL, BlockHead, CellKey, Enter, Leave, Name, Update};
use vyuha_protocol::{EntityId, EntityKind};

use crate::columns::{Columns, Grid, HIDDEN, PENDING, SLOT_MASK, Slots};
use crate::regrid::Moves;
use crate::simd::prefetch;
use crate::updates::{LANES, News, Rows, Updates, with_updates};
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
    news: News,
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
            news: News::default(),
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
        let Blocks { deltas, asked, left, news, .. } = blocks;
        asked.clear();
        news.take(self.simd, &columns.velocity, &mut columns.flags, &mut columns.recent);
        let left = &mut left[(*tick % WINDOW_TICKS) as usize];
        left.clear();
        deltas.make_room(grid.count(), columns.len(), news.whole.len(), moves.leaves.len());
        let mut pass = Pass { grid: *grid, columns, slots, moves, deltas, left, news };
        with_updates(self.simd, &mut pass);
        moves.clear();
    }
}

impl Deltas {
    /// For all that can be told: an update a row, those that enter, those that leave, and a head for each cell that
    /// has any; behind it for what is written in vain.
    fn make_room(&mut self, cells: usize, rows: usize, enters: usize, leaves: usize) {
        let words = (cells.min(rows + leaves) + 1) * HEAD_WORDS
            + (rows + LANES) * UPDATE_WORDS
            + enters * (ENTER_WORDS + NAME_WORDS)
            + leaves * LEAVE_WORDS;
        if self.words.len() < words {
            self.words.resize(words.next_power_of_two(), 0);
        }
    }
}

/// The pass, to be run with one way or another to write updates.
pub(crate) struct Pass<'a> {
    grid: Grid,
    columns: &'a Columns,
    slots: &'a Slots,
    moves: &'a Moves,
    deltas: &'a mut Deltas,
    left: &'a mut Vec<Left>,
    news: &'a News,
}

impl Pass<'_> {
    /// Encodes every cell. It is compiled anew for each set of vector instructions.
    #[inline(always)]
    pub fn run<U: Updates>(&mut self) {
        let Columns { entity, local, start: starts, .. } = self.columns;
        let rows = Rows { entity, local, news: self.news };
        let Deltas { words, start } = &mut *self.deltas;
        let (start, last_end) = start.split_at_mut(self.grid.count());
        let (leaves, whole) = (self.moves.leaves.as_slice(), self.news.whole.as_slice());
        let (columns, slots, moves) = (self.columns, self.slots, self.moves);
        let mut tail = Tails { columns, slots, moves, leaves, whole, left: self.left };
        let mut end = 0;
        let row = usize::from(self.grid.cells.x) + 2;
        let mut arriving = self.moves.arriving().peekable();
        for (y, (first, start)) in (0..).step_by(row).zip(start.chunks_mut(row)).enumerate() {
            // What those are that enter is kept by slot, where each is a miss of its own. They arrive nearly in the
            // order of cells.
            while let Some((id, _)) = arriving.next_if(|(_, cell)| *cell < first + 2 * row) {
                prefetch(&self.slots.kind, id.slot() as usize);
                prefetch(&self.slots.state, id.slot() as usize);
            }
            for (column, (run, start)) in starts[first..].windows(2).zip(start).enumerate() {
                *start = end as u32;
                let run = run[0] as usize..run[1] as usize;
                let touched = self.moves.is_touched(first + column);
                if run.is_empty() && !touched {
                    continue;
                }
                let block = &mut words[end..];
                let updates = U::put(rows, run.clone(), &mut block[HEAD_WORDS..]);
                let key = CellKey { x: column.wrapping_sub(1) as u16, y: y.wrapping_sub(1) as u16 };
                if touched {
                    end += tail.put(block, key, first + column, run.end, updates);
                } else if updates > 0 {
                    put_head(block, key, BLOCK_DELTA, [updates as u32, 0, 0, 0]);
                    end += HEAD_WORDS + updates * UPDATE_WORDS;
                }
            }
        }
        last_end[0] = end as u32;
        debug_assert!(tail.whole.is_empty(), "who is told whole is in a cell that was touched");
    }
}

/// What follows the updates in a block, for the cells in their order.
struct Tails<'a> {
    columns: &'a Columns,
    slots: &'a Slots,
    moves: &'a Moves,
    /// Of cells yet to come.
    leaves: &'a [Leave],
    whole: &'a [u32],
    left: &'a mut Vec<Left>,
}

impl Tails<'_> {
    /// Completes the block of a cell in which anything but walking happened, given where its rows end and how many
    /// updates it has. Returns its length, which is none if it states nothing. Apart from the loop over the cells, which is
    /// the quicker for it.
    #[inline(never)]
    fn put(
        &mut self,
        block: &mut [u32],
        key: CellKey,
        cell: usize,
        rows_end: usize,
        updates: usize,
    ) -> usize {
        let (left, leaves) = self.leaves.split_at(self.moves.told[cell] as usize);
        let enters = self.whole.iter().take_while(|row| (**row as usize) < rows_end).count();
        let (entering, whole) = self.whole.split_at(enters);
        (self.leaves, self.whole) = (leaves, whole);
        let mut tail = Tail { words: block, used: HEAD_WORDS + updates * UPDATE_WORDS };
        let indices = entering.iter().map(|&index| index as usize);
        let names = put_enters(&mut tail, self.columns, self.slots, indices);
        for leave in left {
            let to = if is_beside(key, leave.to) { leave.to } else { CellKey::NOWHERE };
            tail.put(bytemuck::cast::<Leave, [u32; LEAVE_WORDS]>(Leave { to, ..*leave }));
            self.left.push(Left { cell: cell as u32, entity: leave.entity });
        }
        let counts = [updates as u32, enters as u32, names, left.len() as u32];
        if counts == [0; 4] {
            return 0;
        }
        let used = tail.used;
        put_head(block, key, BLOCK_DELTA, counts);
        used
    }
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
