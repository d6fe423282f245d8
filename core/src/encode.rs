//! Third pass: what changed is encoded once a cell, however many observe it. Whole cells are encoded when the
//! first client asks for them.
//!
//! Blocks are built from 32-bit words: every record of [`vyuha_protocol::snapshot`] is a whole number of them.

use vyuha_protocol::EntityKind;
use vyuha_protocol::snapshot::{BLOCK_DELTA, BLOCK_FULL, BlockHead, CellKey, Enter, Leave, Name, Update};

use crate::columns::{CHANGED, Columns, Grid, SLOT_MASK, Slots};
use crate::zone::Zone;

const HEAD_WORDS: usize = size_of::<BlockHead>() / 4;
const UPDATE_WORDS: usize = size_of::<Update>() / 4;
const _: () = assert!(size_of::<Enter>() == 12 && size_of::<Name>() == 20 && size_of::<Leave>() == 8);

/// What changed in the last tick. Cell `c`'s block is `words[start[c]..start[c + 1]]`, empty if nothing did.
pub(crate) struct Deltas {
    words: Vec<u32>,
    start: Vec<u32>,
    /// Working space: indices of those that enter a cell.
    entering: Vec<u32>,
}

impl Deltas {
    pub fn new(cells: usize) -> Deltas {
        Deltas { words: Vec::new(), start: vec![0; cells + 1], entering: Vec::new() }
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
            let run = columns.run(cell);
            let enters = run.len() as u32;
            let names = push_enters(&mut self.words, columns, slots, run);
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
        let Deltas { words, start, entering } = deltas;
        words.clear();
        let mut leaves = moves.leaves.as_slice();
        for (cell, start) in start[..grid.count()].iter_mut().enumerate() {
            let begin = words.len();
            *start = begin as u32;
            let run = columns.run(cell);
            let touched = moves.is_touched(cell);
            if run.is_empty() && !touched {
                continue;
            }
            words.resize(begin + HEAD_WORDS, 0);
            let stayed = run.start..run.end - moves.arrivals[cell] as usize;
            let updates = push_updates(words, columns, slots, stayed.clone());
            let (mut enters, mut names) = (0, 0);
            let mut left: &[Leave] = &[];
            if touched {
                entering.clear();
                for index in stayed.clone() {
                    if columns.entity[index] & CHANGED != 0 {
                        columns.entity[index] &= !CHANGED;
                        entering.push(index as u32);
                    }
                }
                entering.extend(stayed.end as u32..run.end as u32);
                enters = entering.len() as u32;
                names = push_enters(words, columns, slots, entering.iter().map(|&index| index as usize));
                (left, leaves) = leaves.split_at(moves.departures[cell] as usize);
                words.extend_from_slice(bytemuck::cast_slice(left));
            }
            if words.len() == begin + HEAD_WORDS {
                words.truncate(begin);
                continue;
            }
            let counts = [updates, enters, names, left.len() as u32];
            put_head(&mut words[begin..], grid.coord(cell).into(), BLOCK_DELTA, counts);
        }
        start[grid.count()] = words.len() as u32;
        moves.clear();
    }
}

/// Appends an update for each of a run that moved and is not told anew.
fn push_updates(words: &mut Vec<u32>, columns: &Columns, slots: &Slots, run: std::ops::Range<usize>) -> u32 {
    let begin = words.len();
    words.resize(begin + run.len() * UPDATE_WORDS, 0);
    let (records, _) = words[begin..].as_chunks_mut::<UPDATE_WORDS>();
    let mut updates = 0;
    let rows =
        columns.entity[run.clone()].iter().zip(&columns.local[run.clone()]).zip(&columns.velocity[run]);
    for ((entity, local), velocity) in rows {
        // Written whether it moved or not: the next one overwrites it if not, and no branch is mispredicted.
        records[updates] = [slots.id(entity & SLOT_MASK).0, *local];
        updates += usize::from((*velocity != 0) && (entity & CHANGED == 0));
    }
    words.truncate(begin + updates * UPDATE_WORDS);
    updates as u32
}

/// Appends an enter for each, then a name for each player among them. Returns how many names.
fn push_enters(
    words: &mut Vec<u32>,
    columns: &Columns,
    slots: &Slots,
    indices: impl Iterator<Item = usize> + Clone,
) -> u32 {
    for index in indices.clone() {
        let slot = columns.entity[index] & SLOT_MASK;
        let (kind, state) = (slots.kind[slot as usize], slots.state[slot as usize]);
        let enter = Enter { entity: slots.id(slot).0, local: columns.local[index], kind, state };
        words.extend_from_slice(&bytemuck::cast::<Enter, [u32; 3]>(enter));
    }
    let mut names = 0;
    for slot in indices.map(|index| columns.entity[index] & SLOT_MASK) {
        if EntityKind(slots.kind[slot as usize]).is_player() {
            let name = Name { entity: slots.id(slot).0, name: slots.name[slot as usize] };
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
