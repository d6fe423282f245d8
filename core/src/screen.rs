//! What a client is told of a cell where walls hide: those who stand on tiles that the client's own tile sees, and
//! nobody else. So no block can be shared, and each client's is made for it, at about 20 ns for each who stands in
//! the cell.

use vyuha_protocol::ids::ENTITY_SLOT_BITS;
use vyuha_protocol::snapshot::{BLOCK_DELTA, BLOCK_FULL, BlockHead, CellKey, Leave, Update};
use vyuha_protocol::{CellCoord, Pos};

use crate::columns::{HIDDEN, SLOT_MASK};
use crate::encode::{Span, ZoneParts, moved_in, put_enters, told_in};
use crate::visible::Field;

/// Working space of a zone.
#[derive(Default)]
pub(crate) struct Marks {
    /// Counts the blocks made.
    serial: u64,
    /// By slot: the block for which its entity is known and not yet seen, and the entity's generation.
    by_slot: Vec<u64>,
    /// The indices of those seen, and whether they are known.
    rows: Vec<(u32, bool)>,
    moving: Vec<Update>,
    /// The indices of those that enter.
    entering: Vec<u32>,
}

/// What one client sees.
pub(crate) struct Screen<'a> {
    pub field: Field<'a>,
    /// How far off others are seen at first, and how far off they are lost, in tiles.
    pub gain_tiles: u32,
    pub lose_tiles: u32,
    pub marks: &'a mut Marks,
}

impl Marks {
    /// Makes room for all slots of a zone.
    pub fn fit(&mut self, slots: usize) {
        fit(&mut self.by_slot, slots, 0);
    }
}

/// Makes room for so many.
fn fit<T: Copy>(rows: &mut Vec<T>, length: usize, with: T) {
    if rows.len() < length {
        rows.resize(length, with);
    }
}

impl Screen<'_> {
    /// Appends a cell's block for the client, which knows the entities of `known` to be in the cell, and appends to
    /// `seen` the entities that it knows there afterwards. Appends no block if it would state nothing.
    pub fn put_block(
        &mut self,
        zone: &ZoneParts<'_>,
        cell: CellCoord,
        span: Span,
        known: &[u32],
        seen: &mut Vec<u32>,
        out: &mut Vec<u8>,
    ) {
        let Marks { serial, by_slot, rows, moving, entering } = &mut *self.marks;
        let columns = zone.columns;
        *serial += 1;
        let mark_of = |id: u32| *serial << (32 - ENTITY_SLOT_BITS) | u64::from(id >> ENTITY_SLOT_BITS);
        let (known, moved, told) = match span {
            Span::Full => (&[][..], 0, 0),
            Span::Ticks(ticks) => (known, moved_in(ticks), told_in(ticks)),
        };
        for &id in known {
            by_slot[(id & SLOT_MASK) as usize] = mark_of(id);
        }
        let begin = out.len();
        out.resize(begin + size_of::<BlockHead>(), 0);
        // Whom a client sees follows no pattern: each is written down, and kept by how far the end is moved on.
        let run = columns.run(zone.grid.index(cell));
        let run = if self.field.shows_any_of(cell) { run } else { 0..0 };
        let mut shown = 0;
        fit(rows, run.len(), (0, false));
        for index in run {
            let entity = columns.entity[index];
            let is_known = by_slot[(entity & SLOT_MASK) as usize] == mark_of(entity);
            let within = if is_known { self.lose_tiles } else { self.gain_tiles };
            let is_seen = self.field.shows(Pos::from_cell(cell, columns.local[index]), within);
            rows[shown] = (index as u32, is_known);
            shown += usize::from(is_seen && columns.flags[index] & HIDDEN == 0);
        }
        let (mut updates, mut enters) = (0, 0);
        fit(moving, shown, Update { entity: 0, local: 0 });
        fit(entering, shown, 0);
        for &(index, is_known) in &rows[..shown] {
            let (entity, local) = (columns.entity[index as usize], columns.local[index as usize]);
            let recent = columns.recent[index as usize];
            let enter = !is_known || recent & told != 0;
            (moving[updates], entering[enters]) = (Update { entity, local }, index);
            updates += usize::from(!enter && recent & moved != 0);
            enters += usize::from(enter);
            let mark = &mut by_slot[(entity & SLOT_MASK) as usize];
            *mark = if is_known { 0 } else { *mark };
            seen.push(entity);
        }
        out.extend_from_slice(bytemuck::cast_slice(&moving[..updates]));
        let entering = entering[..enters].iter().map(|&index| index as usize);
        let names = put_enters(out, columns, zone.slots, entering);
        let mut leaves = 0;
        for &entity in known.iter().filter(|&&id| by_slot[(id & SLOT_MASK) as usize] == mark_of(id)) {
            out.extend_from_slice(bytemuck::bytes_of(&Leave { entity, to: CellKey::NOWHERE }));
            leaves += 1;
        }
        let (updates, enters) = (updates as u32, enters as u32);
        if span != Span::Full && [updates, enters, leaves] == [0; 3] {
            out.truncate(begin);
            return;
        }
        let mode = if span == Span::Full { BLOCK_FULL } else { BLOCK_DELTA };
        let head = BlockHead { cell: cell.into(), mode, reserved: 0, updates, enters, names, leaves };
        out[begin..begin + size_of::<BlockHead>()].copy_from_slice(bytemuck::bytes_of(&head));
    }
}
