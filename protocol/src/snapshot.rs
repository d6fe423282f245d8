//! The snapshot: what a client is told of the world, every tick.
//!
//! The world is divided into cells of 32 m. A client is subscribed to the cells near it. A snapshot holds a
//! head, the cells that the client is no longer subscribed to, the members of groups, and blocks: a **full**
//! block states everything in a cell and replaces what was known of it; a **delta** block states what changed in
//! it since the cell's last block. Far cells are told of at a lower rate than near ones, and a cell of which
//! nothing changed has no block. The bytes of a block are the same for all who get it, but where walls hide.
//!
//! ```text
//! SnapshotHead | dropped cells: CellKey ... | group | group ... | block | block | ...
//! group: GroupHead | members: Member ... | names: Name ...
//! block: BlockHead | updates: Update ... | enters: Enter ... | names: Name ... | leaves: Leave ...
//! ```
//!
//! # How a client applies one
//! A client holds a cell from its first full block until it is dropped, and each entity in one of these cells.
//! A snapshot is applied in this order:
//!
//! 1. Dropped cells are held no longer; cells of full blocks are.
//! 2. Of all blocks, each update moves an entity that is held in the block's cell, and each enter puts an entity
//!    into the block's cell; if it is known already, its record is replaced.
//! 3. Of all blocks, each leave of an entity that is still held in the block's cell takes it out: if `to` is a
//!    cell that the client holds and that has no full block here, the entity is held in that one from now on,
//!    seen where it was seen last, until a block of that cell enters it or lets it leave; otherwise it is removed.
//!    A leave of an entity that is not held in the block's cell changes nothing: the entity came and went between
//!    two blocks, or another cell has told of it already.
//! 4. What is held in a dropped cell, or in the cell of a full block that does not name it, is removed.
//!
//! So an entity that walks from one subscribed cell into another is never absent in between, whichever of the two
//! is told of first.
//!
//! Members of a group are told with their places wherever in the zone they are, whether or not they are in a
//! block too. They are kept apart from what is held in cells: a group's records replace the group's last ones,
//! and nothing else changes them.

use bytemuck::{Pod, Zeroable};
use thiserror::Error;

use crate::units::{CellCoord, Pos};

/// The kind in a snapshot's frame.
pub const SNAPSHOT_KIND: u16 = 0x8100;

/// The head of a snapshot.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable, PartialEq, Eq)]
pub struct SnapshotHead {
    /// The zone's tick that this is the state after.
    pub tick: u32,
    /// The last input that was processed; 0 if none.
    pub input_ack: u32,
    /// Where the client's own character stands: units from the western edge.
    pub x: u32,
    /// And from the northern edge.
    pub y: u32,
    /// How many dropped cells follow.
    pub dropped: u16,
    /// How many groups follow these.
    pub groups: u16,
    /// How many blocks follow these.
    pub blocks: u16,
    /// Zero.
    pub reserved: u16,
}

/// A cell on the wire.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable, PartialEq, Eq)]
pub struct CellKey {
    /// Cells from the western edge.
    pub x: u16,
    /// Cells from the northern edge.
    pub y: u16,
}

impl CellKey {
    /// Stands for no cell: where something went that is no longer in the zone.
    pub const NOWHERE: CellKey = CellKey { x: u16::MAX, y: u16::MAX };
}

impl From<CellCoord> for CellKey {
    fn from(cell: CellCoord) -> Self {
        CellKey { x: cell.x, y: cell.y }
    }
}

impl From<CellKey> for CellCoord {
    fn from(key: CellKey) -> Self {
        CellCoord { x: key.x, y: key.y }
    }
}

/// The head of a block.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable, PartialEq, Eq)]
pub struct BlockHead {
    /// The cell.
    pub cell: CellKey,
    /// [`BLOCK_DELTA`] or [`BLOCK_FULL`].
    pub mode: u16,
    /// Zero.
    pub reserved: u16,
    /// Updates that follow.
    pub updates: u32,
    /// Enters that follow these.
    pub enters: u32,
    /// Names that follow these.
    pub names: u32,
    /// Leaves that follow these.
    pub leaves: u32,
}

/// A block that states what changed since the cell's last block.
pub const BLOCK_DELTA: u16 = 0;
/// A block that states all there is in its cell.
pub const BLOCK_FULL: u16 = 1;

/// An entity moved within its cell.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable, PartialEq, Eq)]
pub struct Update {
    /// The entity.
    pub entity: u32,
    /// Where in the cell: x in the low half, y in the high half.
    pub local: u32,
}

/// An entity is in this cell that was not there before, or its kind or state changed.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable, PartialEq, Eq)]
pub struct Enter {
    /// The entity.
    pub entity: u32,
    /// Where in the cell: x in the low half, y in the high half.
    pub local: u32,
    /// An [`crate::EntityKind`].
    pub kind: u16,
    /// Of an item, how many, at most 65,535; of an NPC, 1 while it chases somebody; of a player, 0.
    pub state: u16,
}

/// The name of a player among the block's enters or the group's members.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable, PartialEq, Eq)]
pub struct Name {
    /// The entity.
    pub entity: u32,
    /// UTF-8, filled up with zero bytes.
    pub name: [u8; crate::text::CHARACTER_NAME_BYTES_MAX],
}

impl Name {
    /// The record of a name of at most 16 bytes; a longer one is cut.
    pub fn new(entity: u32, text: &str) -> Name {
        let mut name = [0; crate::text::CHARACTER_NAME_BYTES_MAX];
        let bytes = &text.as_bytes()[..text.len().min(name.len())];
        name[..bytes.len()].copy_from_slice(bytes);
        Name { entity, name }
    }

    /// The name as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        let end = self.name.iter().position(|&b| b == 0).unwrap_or(self.name.len());
        String::from_utf8_lossy(&self.name[..end]).into_owned()
    }
}

/// An entity is no longer in this cell.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable, PartialEq, Eq)]
pub struct Leave {
    /// The entity.
    pub entity: u32,
    /// The neighbouring cell that it is in by now; [`CellKey::NOWHERE`] if it is in none of these.
    pub to: CellKey,
}

/// The group of a zone's landmarks, which every client there is told of.
pub const GROUP_LANDMARKS: u32 = 1;

/// The head of a group's members: all of them, in place of those that were told last.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable, PartialEq, Eq)]
pub struct GroupHead {
    /// The group's number in its zone, from 1; [`GROUP_LANDMARKS`] is one.
    pub group: u32,
    /// Members that follow; 0: the client is no longer told of the group, or nobody is in it.
    pub members: u32,
    /// Names that follow these.
    pub names: u32,
}

/// A member of a group, wherever in the zone it is.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable, PartialEq, Eq)]
pub struct Member {
    /// The entity.
    pub entity: u32,
    /// Where it is: units from the western edge.
    pub x: u32,
    /// And from the northern edge.
    pub y: u32,
    /// An [`crate::EntityKind`].
    pub kind: u16,
    /// As in [`Enter::state`].
    pub state: u16,
}

/// A run of records within a payload, read in place whatever its alignment.
#[derive(Clone, Copy)]
pub struct Records<'a, T> {
    bytes: &'a [u8],
    record: std::marker::PhantomData<T>,
}

impl<'a, T: Pod> Records<'a, T> {
    /// The records in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + 'a {
        self.bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / size_of::<T>()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// One block of a snapshot.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    /// The cell.
    pub cell: CellCoord,
    /// Whether it states all there is.
    pub full: bool,
    /// What moved.
    pub updates: Records<'a, Update>,
    /// What came in.
    pub enters: Records<'a, Enter>,
    /// What the players among them are called.
    pub names: Records<'a, Name>,
    /// What went away.
    pub leaves: Records<'a, Leave>,
}

/// One group of a snapshot.
#[derive(Clone, Copy)]
pub struct Group<'a> {
    /// Its number in its zone.
    pub group: u32,
    /// All its members.
    pub members: Records<'a, Member>,
    /// What the players among them are called.
    pub names: Records<'a, Name>,
}

/// Why a snapshot's payload was refused.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum SnapshotError {
    /// The payload ends before what its heads announce.
    #[error("the snapshot ends before what it announces")]
    Truncated,
    /// The payload goes on after what its heads announce.
    #[error("the snapshot goes on after what it announces")]
    Trailing,
    /// A block is neither full nor delta, or a reserved field is not zero.
    #[error("the snapshot has a block of an unknown mode, or a reserved field that is not zero")]
    Mode,
}

/// A snapshot's payload, read in place.
pub struct Snapshot<'a> {
    /// The head.
    pub head: SnapshotHead,
    /// The cells that the client is no longer subscribed to.
    pub dropped: Records<'a, CellKey>,
    groups: &'a [u8],
    blocks: &'a [u8],
}

impl<'a> Snapshot<'a> {
    /// Validates a payload whole; whatever it hands out afterwards is in bounds.
    pub fn read(payload: &'a [u8]) -> Result<Snapshot<'a>, SnapshotError> {
        let mut rest = payload;
        let head: SnapshotHead = take_one(&mut rest)?;
        if head.reserved != 0 {
            return Err(SnapshotError::Mode);
        }
        let dropped = take(&mut rest, head.dropped as u32)?;
        let groups = rest;
        for _ in 0..head.groups {
            take_group(&mut rest)?;
        }
        let snapshot = Snapshot { head, dropped, groups, blocks: rest };
        for _ in 0..head.blocks {
            take_block(&mut rest)?;
        }
        if rest.is_empty() { Ok(snapshot) } else { Err(SnapshotError::Trailing) }
    }

    /// The client's own place.
    pub fn pos(&self) -> Pos {
        Pos { x: self.head.x, y: self.head.y }
    }

    /// The groups in order.
    pub fn groups(&self) -> impl Iterator<Item = Group<'a>> + use<'a> {
        let mut rest = self.groups;
        // `read` validated every group, so none is cut short here.
        (0..self.head.groups).map_while(move |_| take_group(&mut rest).ok())
    }

    /// The blocks in order: the nearest cells first.
    pub fn blocks(&self) -> impl Iterator<Item = Block<'a>> + use<'a> {
        let mut rest = self.blocks;
        // `read` validated every block, so none is cut short here.
        (0..self.head.blocks).map_while(move |_| take_block(&mut rest).ok())
    }
}

fn take<'a, T: Pod>(rest: &mut &'a [u8], count: u32) -> Result<Records<'a, T>, SnapshotError> {
    let length = (count as usize).checked_mul(size_of::<T>()).ok_or(SnapshotError::Truncated)?;
    let (bytes, after) = rest.split_at_checked(length).ok_or(SnapshotError::Truncated)?;
    *rest = after;
    Ok(Records { bytes, record: std::marker::PhantomData })
}

fn take_one<T: Pod>(rest: &mut &[u8]) -> Result<T, SnapshotError> {
    Ok(bytemuck::pod_read_unaligned(take::<T>(rest, 1)?.bytes))
}

fn take_group<'a>(rest: &mut &'a [u8]) -> Result<Group<'a>, SnapshotError> {
    let head: GroupHead = take_one(rest)?;
    Ok(Group { group: head.group, members: take(rest, head.members)?, names: take(rest, head.names)? })
}

fn take_block<'a>(rest: &mut &'a [u8]) -> Result<Block<'a>, SnapshotError> {
    let head: BlockHead = take_one(rest)?;
    if head.mode > BLOCK_FULL || head.reserved != 0 {
        return Err(SnapshotError::Mode);
    }
    Ok(Block {
        cell: head.cell.into(),
        full: head.mode == BLOCK_FULL,
        updates: take(rest, head.updates)?,
        enters: take(rest, head.enters)?,
        names: take(rest, head.names)?,
        leaves: take(rest, head.leaves)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MEMBERS: [Member; 2] = [
        Member { entity: 21, x: 1 << 20, y: 3, kind: 0, state: 0 },
        Member { entity: 22, x: 4, y: 5, kind: 9, state: 1 },
    ];

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        let head = SnapshotHead {
            tick: 7,
            input_ack: 3,
            x: 70_000,
            y: 5,
            dropped: 1,
            groups: 2,
            blocks: 2,
            reserved: 0,
        };
        bytes.extend_from_slice(bytemuck::bytes_of(&head));
        bytes.extend_from_slice(bytemuck::bytes_of(&CellKey { x: 9, y: 8 }));
        bytes.extend_from_slice(bytemuck::bytes_of(&GroupHead { group: 5, members: 2, names: 1 }));
        for member in MEMBERS {
            bytes.extend_from_slice(bytemuck::bytes_of(&member));
        }
        bytes.extend_from_slice(bytemuck::bytes_of(&Name::new(21, "Kim")));
        bytes.extend_from_slice(bytemuck::bytes_of(&GroupHead { group: 6, members: 0, names: 0 }));
        let cell = CellKey { x: 1, y: 0 };
        let block =
            BlockHead { cell, mode: BLOCK_FULL, reserved: 0, updates: 0, enters: 2, names: 1, leaves: 0 };
        bytes.extend_from_slice(bytemuck::bytes_of(&block));
        bytes.extend_from_slice(bytemuck::bytes_of(&Enter { entity: 1, local: 2, kind: 0, state: 0 }));
        bytes.extend_from_slice(bytemuck::bytes_of(&Enter { entity: 4, local: 5, kind: 6, state: 7 }));
        bytes.extend_from_slice(bytemuck::bytes_of(&Name::new(1, "Abe")));
        let block = BlockHead {
            cell: CellKey { x: 2, y: 0 },
            mode: BLOCK_DELTA,
            updates: 1,
            enters: 0,
            names: 0,
            leaves: 1,
            ..block
        };
        bytes.extend_from_slice(bytemuck::bytes_of(&block));
        bytes.extend_from_slice(bytemuck::bytes_of(&Update { entity: 11, local: 12 }));
        bytes.extend_from_slice(bytemuck::bytes_of(&Leave { entity: 13, to: CellKey::NOWHERE }));
        bytes
    }

    #[test]
    fn a_snapshot_is_read_as_written_at_any_alignment() {
        for offset in 0..4 {
            let mut bytes = vec![0; offset];
            bytes.extend(sample());
            let snapshot = Snapshot::read(&bytes[offset..]).unwrap();
            assert_eq!((snapshot.head.tick, snapshot.pos()), (7, Pos { x: 70_000, y: 5 }));
            assert_eq!(snapshot.dropped.iter().collect::<Vec<_>>(), [CellKey { x: 9, y: 8 }]);
            let groups: Vec<Group> = snapshot.groups().collect();
            assert_eq!(groups.iter().map(|group| group.group).collect::<Vec<_>>(), [5, 6]);
            assert_eq!(groups[0].members.iter().collect::<Vec<_>>(), MEMBERS);
            assert_eq!(groups[0].names.iter().next().unwrap().text(), "Kim");
            assert!(groups[1].members.is_empty() && groups[1].names.is_empty());
            let blocks: Vec<Block> = snapshot.blocks().collect();
            assert!(blocks[0].full && !blocks[1].full);
            assert_eq!(blocks[0].enters.iter().map(|e| e.entity).collect::<Vec<_>>(), [1, 4]);
            assert_eq!(blocks[0].names.iter().next().unwrap().text(), "Abe");
            assert_eq!(blocks[1].updates.iter().next(), Some(Update { entity: 11, local: 12 }));
            assert_eq!(blocks[1].leaves.iter().next().unwrap().to, CellKey::NOWHERE);
        }
    }

    #[test]
    fn cut_and_lengthened_snapshots_are_refused() {
        let whole = sample();
        for cut in 0..whole.len() {
            assert_eq!(Snapshot::read(&whole[..cut]).err(), Some(SnapshotError::Truncated), "cut to {cut}");
        }
        let longer = [whole, vec![0]].concat();
        assert_eq!(Snapshot::read(&longer).err(), Some(SnapshotError::Trailing));
    }

    proptest! {
        #[test]
        fn damaged_snapshots_never_panic(at in 0usize..400, value: u8) {
            let mut bytes = sample();
            let at = at % bytes.len();
            bytes[at] = value;
            if let Ok(snapshot) = Snapshot::read(&bytes) {
                for group in snapshot.groups() {
                    let _ = group.members.iter().count() + group.names.len();
                }
                for block in snapshot.blocks() {
                    block.names.iter().for_each(|name| drop(name.text()));
                    let _ = block.updates.iter().count() + block.leaves.len();
                }
            }
        }
    }
}
