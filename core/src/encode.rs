//! Third pass: what changed is encoded once a cell, however many observe it. Whole cells are encoded when the
//! first client asks for them.
//!
//! Blocks are built from 32-bit words: every record of [`vyuha_protocol::snapshot`] is a whole number of them.

use std::ops::Range;

use vyuha_protocol::EntityKind;
use vyuha_protocol::snapshot::{BLOCK_DELTA, BLOCK_FULL, BlockHead, CellKey, Enter, Leave, Name, Update};

use crate::columns::{CHANGED, Columns, Grid, HIDDEN, SLOT_MASK, Slots};
use crate::zone::Zone;

const HEAD_WORDS: usize = size_of::<BlockHead>() / 4;
const UPDATE_WORDS: usize = size_of::<Update>() / 4;
const _: () = assert!(size_of::<Enter>() == 12 && size_of::<Name>() == 20 && size_of::<Leave>() == 8);

/// What changed in the last tick. Cell `c`'s block is `words[start[c]..start[c + 1]]`, empty if nothing did.
pub(crate) struct Deltas {
    /// Longer than what is used of it: it is written in place, and only grows.
    words: Vec<u32>,
    start: Vec<u32>,
    /// Working space: indices of those that enter a cell, and what of a block is not updates.
    entering: Vec<u32>,
    tail: Vec<u32>,
}

impl Deltas {
    pub fn new(cells: usize) -> Deltas {
        Deltas { words: Vec::new(), start: vec![0; cells + 1], entering: Vec::new(), tail: Vec::new() }
    }

    pub fn block(&self, cell: usize) -> &[u32] {
        &self.words[self.start[cell] as usize..self.start[cell + 1] as usize]
    }
}

/// The whole contents of those cells that somebody asked for since the last step.
pub(crate) struct Fulls {
    words: Vec<u32>,
    /// By cell: where its block lies; empty if nobody asked for it.
    place: Vec<(u32, u32)>,
    asked: Vec<u32>,
}

impl Fulls {
    pub fn new(cells: usize) -> Fulls {
        Fulls { words: Vec::new(), place: vec![(0, 0); cells], asked: Vec::new() }
    }

    fn clear(&mut self) {
        self.words.clear();
        for cell in self.asked.drain(..) {
            self.place[cell as usize] = (0, 0);
        }
    }

    /// The block that states all there is in a cell.
    pub fn block(&mut self, grid: Grid, columns: &Columns, slots: &Slots, cell: usize) -> &[u32] {
        if self.place[cell] == (0, 0) {
            let begin = self.words.len();
            self.words.resize(begin + HEAD_WORDS, 0);
            let shown = columns.run(cell).filter(|&index| columns.flags[index] & HIDDEN == 0);
            let enters = shown.clone().count() as u32;
            let names = push_enters(&mut self.words, columns, slots, shown);
            let key = CellKey::from(grid.coord(cell));
            put_head(&mut self.words[begin..], key, BLOCK_FULL, [0, enters, names, 0]);
            self.place[cell] = (begin as u32, self.words.len() as u32);
            self.asked.push(cell as u32);
        }
        let (begin, end) = self.place[cell];
        &self.words[begin as usize..end as usize]
    }
}

impl Zone {
    pub(crate) fn encode(&mut self) {
        let Zone { grid, columns, slots, moves, deltas, fulls, .. } = self;
        fulls.clear();
        let Deltas { words, start, entering, tail } = deltas;
        let mut leaves = moves.leaves.as_slice();
        let mut end = 0;
        let mut cell = 0;
        for key in grid.keys() {
            let begin = end;
            start[cell] = begin as u32;
            let run = columns.run(cell);
            let touched = moves.is_touched(cell);
            if run.is_empty() && !touched {
                cell += 1;
                continue;
            }
            let stayed = run.start..run.end - moves.arrivals[cell] as usize;
            let block = grown(words, begin, HEAD_WORDS + stayed.len() * UPDATE_WORDS);
            let updates = put_updates(&mut block[HEAD_WORDS..], columns, stayed.clone());
            end += HEAD_WORDS + updates * UPDATE_WORDS;
            let mut counts = [updates as u32, 0, 0, 0];
            if touched {
                entering.clear();
                for index in stayed.clone() {
                    if columns.flags[index] & CHANGED != 0 {
                        columns.flags[index] &= !CHANGED;
                        if columns.flags[index] & HIDDEN == 0 {
                            entering.push(index as u32);
                        }
                    }
                }
                let arrived = stayed.end as u32..run.end as u32;
                entering.extend(arrived.filter(|&index| columns.flags[index as usize] & HIDDEN == 0));
                tail.clear();
                let names = push_enters(tail, columns, slots, entering.iter().map(|&index| index as usize));
                let left: &[Leave];
                (left, leaves) = leaves.split_at(moves.told[cell] as usize);
                tail.extend_from_slice(bytemuck::cast_slice(left));
                grown(words, end, tail.len()).copy_from_slice(tail);
                end += tail.len();
                counts = [counts[0], entering.len() as u32, names, left.len() as u32];
            }
            if counts == [0; 4] {
                end = begin;
            } else {
                put_head(&mut words[begin..], key, BLOCK_DELTA, counts);
            }
            cell += 1;
        }
        start[grid.count()] = end as u32;
        moves.clear();
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

/// Puts an update for each of a run that moved and is not told anew. Returns how many.
#[inline]
fn put_updates(words: &mut [u32], columns: &Columns, run: Range<usize>) -> usize {
    let (records, _) = words.as_chunks_mut::<UPDATE_WORDS>();
    let mut updates = 0;
    let (entity, local) = (columns.entity[run.clone()].iter(), &columns.local[run.clone()]);
    let rows = entity.zip(local).zip(&columns.velocity[run.clone()]).zip(&columns.flags[run]);
    for (((entity, local), velocity), flags) in rows {
        // Written whether it moved or not: the next one overwrites it if not, and no branch is mispredicted.
        records[updates] = [*entity, *local];
        updates += usize::from(*velocity != 0 && flags & (CHANGED | HIDDEN) == 0);
    }
    updates
}

/// Appends an enter for each, then a name for each player among them. Returns how many names.
fn push_enters(
    words: &mut Vec<u32>,
    columns: &Columns,
    slots: &Slots,
    indices: impl Iterator<Item = usize> + Clone,
) -> u32 {
    for index in indices.clone() {
        let entity = columns.entity[index];
        let slot = (entity & SLOT_MASK) as usize;
        let enter =
            Enter { entity, local: columns.local[index], kind: slots.kind[slot], state: slots.state[slot] };
        words.extend_from_slice(&bytemuck::cast::<Enter, [u32; 3]>(enter));
    }
    let mut names = 0;
    for entity in indices.map(|index| columns.entity[index]) {
        let slot = (entity & SLOT_MASK) as usize;
        if EntityKind(slots.kind[slot]).is_player() {
            let name = Name { entity, name: slots.name[slot] };
            words.extend_from_slice(&bytemuck::cast::<Name, [u32; 5]>(name));
            names += 1;
        }
    }
    names
}

fn put_head(block: &mut [u32], cell: CellKey, mode: u16, counts: [u32; 4]) {
    let [updates, enters, names, leaves] = counts;
    let head = BlockHead { cell, mode, reserved: 0, updates, enters, names, leaves };
    block[..HEAD_WORDS].copy_from_slice(&bytemuck::cast::<BlockHead, [u32; HEAD_WORDS]>(head));
}
