//! Groups whose members are told to whoever watches the group, wherever in the zone they are, hidden ones and ones
//! behind walls too. A group is encoded once for all who watch it, and at a lower rate than cells.
//!
//! Who is in which group is no part of the state that is hashed: it follows from the game's own.

use std::collections::BTreeMap;

use vyuha_protocol::snapshot::{GroupHead, Member, Name};
use vyuha_protocol::{EntityId, EntityKind};

use crate::zone::Zone;

/// Ticks after which a group whose members moved is told anew. One that somebody came into or went out of is told
/// with the next tick.
pub const GROUP_PERIOD_TICKS: u32 = 8;
/// Most members of a group.
pub const GROUP_MEMBERS_MAX: usize = 100;

/// Who is in a group, and what is told of it.
struct Group {
    /// Sorted.
    members: Vec<EntityId>,
    /// Whether somebody came in or went out since it was encoded.
    changed: bool,
    /// Head, members and names as they are told, and the tick since which they are told so.
    words: Vec<u32>,
    told_tick: u32,
}

/// All groups that have members.
#[derive(Default)]
pub(crate) struct Groups {
    by_number: BTreeMap<u32, Group>,
    of: BTreeMap<EntityId, u32>,
    /// Working space.
    fresh: Vec<u32>,
}

/// A group that a client is told of.
#[derive(Debug)]
pub(crate) struct Watched {
    pub number: u32,
    /// As of which tick it was told; none if the client holds no members.
    told_tick: Option<u32>,
}

impl Watched {
    pub fn new(number: u32) -> Watched {
        Watched { number, told_tick: None }
    }
}

impl Groups {
    /// The words that a client that watches a group is to be told, if any.
    pub fn news(&self, watched: &mut Watched, out: &mut Vec<u8>) -> bool {
        let now = self.by_number.get(&watched.number).filter(|group| !group.words.is_empty());
        let told_tick = now.map(|group| group.told_tick);
        if std::mem::replace(&mut watched.told_tick, told_tick) == told_tick {
            return false;
        }
        let none = GroupHead { group: watched.number, members: 0, names: 0 };
        out.extend_from_slice(
            now.map_or(bytemuck::bytes_of(&none), |group| bytemuck::cast_slice(&group.words)),
        );
        true
    }

    /// Takes an entity out of its group.
    pub fn leave(&mut self, id: EntityId) {
        let Some(number) = self.of.remove(&id) else { return };
        let group = self.by_number.get_mut(&number).expect("whoever is in a group is one of its members");
        group.members.retain(|member| *member != id);
        group.changed = true;
    }
}

impl Zone {
    /// Puts an entity into a group, numbered from 1, and takes it out of the one it was in; 0 is no group. Clients
    /// that watch the group are told with the next step. `false`, and nothing changed, if the id is invalid or the
    /// group has [`GROUP_MEMBERS_MAX`] members.
    pub fn set_group(&mut self, id: EntityId, group: u32) -> bool {
        let Groups { by_number, of, .. } = &mut self.groups;
        if self.slots.resolve(id).is_none() {
            return false;
        }
        if of.get(&id).copied().unwrap_or(0) == group {
            return true;
        }
        if by_number.get(&group).is_some_and(|group| group.members.len() == GROUP_MEMBERS_MAX) {
            return false;
        }
        self.groups.leave(id);
        if group != 0 {
            let new = || Group { members: Vec::new(), changed: true, words: Vec::new(), told_tick: 0 };
            let entry = self.groups.by_number.entry(group).or_insert_with(new);
            entry.changed = true;
            entry.members.insert(entry.members.partition_point(|member| *member < id), id);
            self.groups.of.insert(id, group);
        }
        true
    }

    /// Encodes the groups whose turn it is.
    pub(crate) fn encode_groups(&mut self) {
        let mut groups = std::mem::take(&mut self.groups);
        let tick = self.tick;
        groups.by_number.retain(|number, group| {
            let is_due = tick.wrapping_add(*number) % GROUP_PERIOD_TICKS == 0;
            if std::mem::take(&mut group.changed) || is_due {
                self.put_group(*number, &group.members, &mut groups.fresh);
                if groups.fresh != group.words {
                    std::mem::swap(&mut groups.fresh, &mut group.words);
                    group.told_tick = tick;
                }
            }
            !group.members.is_empty()
        });
        self.groups = groups;
    }

    fn put_group(&self, group: u32, members: &[EntityId], words: &mut Vec<u32>) {
        const HEAD_WORDS: usize = size_of::<GroupHead>() / 4;
        words.clear();
        words.resize(HEAD_WORDS, 0);
        let mut names = 0;
        for &id in members {
            let pos = self.position(id).expect("whoever is despawned leaves its group");
            let slot = id.slot() as usize;
            let (kind, state) = (self.slots.kind[slot], self.slots.state[slot]);
            names += u32::from(EntityKind(kind).is_player());
            let member = Member { entity: id.0, x: pos.x, y: pos.y, kind, state };
            words.extend_from_slice(bytemuck::cast_slice(&[member]));
        }
        for id in members {
            let slot = id.slot() as usize;
            if EntityKind(self.slots.kind[slot]).is_player() {
                words.extend_from_slice(bytemuck::cast_slice(&[Name {
                    entity: id.0,
                    name: self.slots.name[slot],
                }]));
            }
        }
        let head = GroupHead { group, members: members.len() as u32, names };
        words[..HEAD_WORDS].copy_from_slice(bytemuck::cast_slice(&[head]));
    }
}
