//! What a client is told of a cell where walls hide: those who stand on tiles that the client's own tile sees, and
//! nobody else. So no block can be shared, and each client's is made for it, at a few nanoseconds for each who
//! stands in the cell.

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
    /// Indices of those that enter.
    entering: Vec<u32>,
}

/// What one client sees.
pub(crate) struct Screen<'a> {
    pub field: Field<'a>,
    /// How far off others are seen at first, and how far off they are lost, in tiles an axis.
    pub gain_tiles: u32,
    pub lose_tiles: u32,
    pub marks: &'a mut Marks,
}

impl Marks {
    /// Makes room for all slots of a zone.
    pub fn fit(&mut self, slots: usize) {
        if self.by_slot.len() < slots {
            self.by_slot.resize(slots, 0);
        }
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
        let Marks { serial, by_slot, entering } = &mut *self.marks;
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
        entering.clear();
        let mut updates = 0;
        for index in columns.run(zone.grid.index(cell)) {
            if columns.flags[index] & HIDDEN != 0 {
                continue;
            }
            let (entity, local) = (columns.entity[index], columns.local[index]);
            let mark = &mut by_slot[(entity & SLOT_MASK) as usize];
            let is_known = *mark == mark_of(entity);
            let within = if is_known { self.lose_tiles } else { self.gain_tiles };
            if !self.field.shows(Pos::from_cell(cell, local), within) {
                continue;
            }
            seen.push(entity);
            let recent = columns.recent[index];
            if !is_known || recent & told != 0 {
                entering.push(index as u32);
            } else if recent & moved != 0 {
                out.extend_from_slice(bytemuck::bytes_of(&Update { entity, local }));
                updates += 1;
            }
            if is_known {
                *mark = 0;
            }
        }
        let names = put_enters(out, columns, zone.slots, entering.iter().map(|&index| index as usize));
        let mut leaves = 0;
        for &entity in known.iter().filter(|&&id| by_slot[(id & SLOT_MASK) as usize] == mark_of(id)) {
            out.extend_from_slice(bytemuck::bytes_of(&Leave { entity, to: CellKey::NOWHERE }));
            leaves += 1;
        }
        let enters = entering.len() as u32;
        if span != Span::Full && [updates, enters, leaves] == [0; 3] {
            out.truncate(begin);
            return;
        }
        let mode = if span == Span::Full { BLOCK_FULL } else { BLOCK_DELTA };
        let head = BlockHead { cell: cell.into(), mode, reserved: 0, updates, enters, names, leaves };
        out[begin..begin + size_of::<BlockHead>()].copy_from_slice(bytemuck::bytes_of(&head));
    }
}
