//! Snapshots as a server writes them, for tests.

use vyuha_protocol::Pos;
use vyuha_protocol::frame::append_frame;
use vyuha_protocol::snapshot::{
    BLOCK_DELTA, BLOCK_FULL, BlockHead, CellKey, Enter, GroupHead, Leave, Member, Name, SNAPSHOT_KIND,
    SnapshotHead, Update,
};

/// A block to be written.
#[derive(Debug, Clone, Default)]
pub struct BlockScript {
    pub cell: (u16, u16),
    pub full: bool,
    pub updates: Vec<Update>,
    pub enters: Vec<Enter>,
    pub names: Vec<Name>,
    pub leaves: Vec<Leave>,
}

/// A group to be written.
#[derive(Debug, Clone, Default)]
pub struct GroupScript {
    pub group: u32,
    pub members: Vec<Member>,
    pub names: Vec<Name>,
}

/// A snapshot to be written.
#[derive(Debug, Clone, Default)]
pub struct SnapshotScript {
    pub tick: u32,
    pub input_ack: u32,
    pub pos: Pos,
    pub dropped: Vec<(u16, u16)>,
    pub groups: Vec<GroupScript>,
    pub blocks: Vec<BlockScript>,
}

fn key((x, y): (u16, u16)) -> CellKey {
    CellKey { x, y }
}

impl SnapshotScript {
    pub fn payload(&self) -> Vec<u8> {
        let head = SnapshotHead {
            tick: self.tick,
            input_ack: self.input_ack,
            x: self.pos.x,
            y: self.pos.y,
            dropped: self.dropped.len() as u16,
            groups: self.groups.len() as u16,
            blocks: self.blocks.len() as u16,
            reserved: 0,
        };
        let mut bytes = bytemuck::bytes_of(&head).to_vec();
        for &cell in &self.dropped {
            bytes.extend_from_slice(bytemuck::bytes_of(&key(cell)));
        }
        for group in &self.groups {
            let (members, names) = (group.members.len() as u32, group.names.len() as u32);
            bytes.extend_from_slice(bytemuck::bytes_of(&GroupHead { group: group.group, members, names }));
            bytes.extend_from_slice(bytemuck::cast_slice(&group.members));
            bytes.extend_from_slice(bytemuck::cast_slice(&group.names));
        }
        for block in &self.blocks {
            let head = BlockHead {
                cell: key(block.cell),
                mode: if block.full { BLOCK_FULL } else { BLOCK_DELTA },
                reserved: 0,
                updates: block.updates.len() as u32,
                enters: block.enters.len() as u32,
                names: block.names.len() as u32,
                leaves: block.leaves.len() as u32,
            };
            bytes.extend_from_slice(bytemuck::bytes_of(&head));
            bytes.extend_from_slice(bytemuck::cast_slice(&block.updates));
            bytes.extend_from_slice(bytemuck::cast_slice(&block.enters));
            bytes.extend_from_slice(bytemuck::cast_slice(&block.names));
            bytes.extend_from_slice(bytemuck::cast_slice(&block.leaves));
        }
        bytes
    }

    pub fn append(&self, out: &mut Vec<u8>) {
        append_frame(out, SNAPSHOT_KIND, |out| out.extend_from_slice(&self.payload()));
    }
}
