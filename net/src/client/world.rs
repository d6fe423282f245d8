//! What a client holds of the world around it, as the snapshots state it.
//!
//! Applies the rule of [`vyuha_protocol::snapshot`] and nothing else: it never guesses, interpolates or forgets.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use thiserror::Error;
use vyuha_protocol::frame::SERVER_PAYLOAD_BYTES_MAX;
use vyuha_protocol::snapshot::{Block, Enter, Group, Leave, Snapshot};
use vyuha_protocol::text::CHARACTER_NAME_BYTES_MAX;
use vyuha_protocol::{CellCoord, EntityId, EntityKind, Pos};

/// Most entities held at once: as many as one snapshot can state.
pub const ENTITIES_MAX: usize = SERVER_PAYLOAD_BYTES_MAX as usize / size_of::<Enter>();
/// Most cells held at once.
pub const CELLS_MAX: usize = 1 << 16;
/// Most groups held at once, each with at most as many members as one snapshot can state.
pub const GROUPS_MAX: usize = 64;

/// An entity in view.
#[derive(Debug, Clone, Copy)]
pub struct Entity {
    /// Which one.
    pub id: EntityId,
    /// Where it is.
    pub pos: Pos,
    /// What it is.
    pub kind: EntityKind,
    /// Of an item, how many, at most 65,535; of an NPC, 1 while it chases somebody; of a player, 0.
    pub state: u16,
    name: [u8; CHARACTER_NAME_BYTES_MAX],
    /// The cell whose blocks decide over it: the one it was seen in last, or a neighbour that it went to.
    held_in: CellCoord,
    /// The application that brought it into view.
    entered: u32,
    /// The last application that named it.
    stated: u32,
}

impl Entity {
    /// The cell that it was seen in last.
    pub fn cell(&self) -> CellCoord {
        self.pos.cell()
    }

    /// A player's name; empty for whatever has none. What is not UTF-8 is replaced.
    pub fn name(&self) -> Cow<'_, str> {
        let end = self.name.iter().position(|&b| b == 0).unwrap_or(self.name.len());
        String::from_utf8_lossy(&self.name[..end])
    }
}

/// A member of a group, as it was told last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Which one.
    pub id: EntityId,
    /// Where in the zone it is.
    pub pos: Pos,
    /// What it is.
    pub kind: EntityKind,
    /// As in [`Entity::state`].
    pub state: u16,
    /// A player's name; empty for whatever has none. What is not UTF-8 is replaced.
    pub name: String,
}

/// What a snapshot did to one entity. Each entity has at most one change a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It came into view.
    Entered(EntityId),
    /// It moved, or its kind, state or name was stated anew.
    Changed(EntityId),
    /// It went out of view, or away.
    Left(EntityId),
}

/// Which entities a view holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Watch {
    /// All of them.
    #[default]
    All,
    /// Items on the ground alone, for programs that run thousands of clients and look at nothing else: what is said of
    /// others is passed over, unchecked.
    Items,
}

/// How many entities a snapshot changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Entities that came into view.
    pub entered: u32,
    /// Entities that moved or were stated anew.
    pub changed: u32,
    /// Entities that went out of view.
    pub left: u32,
    /// Updates for entities not held in the cell, and names of entities not held: they change nothing.
    pub strays: u32,
}

/// Why a snapshot could not be applied. The view is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WorldError {
    /// More entities than a view holds.
    #[error("the server shows more than {ENTITIES_MAX} entities at once")]
    TooManyEntities,
    /// More cells than a view holds.
    #[error("the server shows more than {CELLS_MAX} cells at once")]
    TooManyCells,
    /// More groups than a view holds.
    #[error("the server tells of more than {GROUPS_MAX} groups at once")]
    TooManyGroups,
}

/// The entities in view, at most [`ENTITIES_MAX`] of 44 bytes each, and the members of groups.
#[derive(Debug, Default)]
pub struct World {
    watch: Watch,
    entities: HashMap<EntityId, Entity, ahash::RandomState>,
    /// The cells that the client holds.
    cells: HashSet<CellCoord, ahash::RandomState>,
    groups: BTreeMap<u32, Vec<GroupMember>>,
    changes: Vec<Change>,
    /// Cells that state or drop all they hold in the snapshot at hand; kept for its capacity.
    cleared: Vec<CellCoord>,
    applications: u32,
}

impl World {
    /// An empty view that holds what it is told to.
    pub fn watching(watch: Watch) -> World {
        World { watch, ..World::default() }
    }

    /// Applies a snapshot. [`World::changes`] then tells what it did.
    pub fn apply(&mut self, snapshot: &Snapshot) -> Result<Applied, WorldError> {
        // After a wrap, what was last named 2^32 snapshots ago passes for named now: 4.5 years at 30 Hz.
        self.applications = self.applications.wrapping_add(1);
        self.changes.clear();
        self.cleared.clear();
        self.cleared.extend(snapshot.dropped.iter().map(CellCoord::from));
        for cell in &self.cleared {
            self.cells.remove(cell);
        }
        for group in snapshot.groups() {
            self.replace_group(&group)?;
        }
        let mut strays = 0;
        for block in snapshot.blocks() {
            strays += self.state(&block)?;
        }
        let mut retracted = false;
        for block in snapshot.blocks() {
            for leave in block.leaves.iter() {
                retracted |= self.leave(block.cell, leave);
            }
        }
        retracted |= self.remove_cleared(snapshot.dropped.len());
        if retracted {
            let entities = &self.entities;
            self.changes.retain(|change| match change {
                Change::Entered(id) | Change::Changed(id) => entities.contains_key(id),
                Change::Left(_) => true,
            });
        }
        let mut applied = Applied { strays, ..Applied::default() };
        for change in &self.changes {
            match change {
                Change::Entered(_) => applied.entered += 1,
                Change::Changed(_) => applied.changed += 1,
                Change::Left(_) => applied.left += 1,
            }
        }
        Ok(applied)
    }

    /// What the last snapshot did, each entity at most once.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// An entity in view.
    pub fn get(&self, id: EntityId) -> Option<&Entity> {
        self.entities.get(&id)
    }

    /// How many entities are in view.
    pub fn len(&self) -> usize {
        self.entities.len()
    }

    /// Whether nothing is in view.
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    /// Every entity in view, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Entity> {
        self.entities.values()
    }

    /// The players in view, the client's own character among them, in no order.
    pub fn players(&self) -> impl Iterator<Item = &Entity> {
        self.iter().filter(|entity| entity.kind.is_player())
    }

    /// The entities at most `radius` position units from a place, in no order. Looks at every entity in view.
    pub fn near(&self, pos: Pos, radius: u32) -> impl Iterator<Item = &Entity> {
        let radius_squared = u64::from(radius) * u64::from(radius);
        self.iter().filter(move |entity| entity.pos.distance_squared(pos) <= radius_squared)
    }

    /// The items on the ground at most `radius` position units from a place, in no order.
    pub fn items_near(&self, pos: Pos, radius: u32) -> impl Iterator<Item = &Entity> {
        self.near(pos, radius).filter(|entity| entity.kind.as_item().is_some())
    }

    /// The groups that the client is told of, each with all its members.
    pub fn groups(&self) -> impl Iterator<Item = (u32, &[GroupMember])> {
        self.groups.iter().map(|(group, members)| (*group, members.as_slice()))
    }

    fn replace_group(&mut self, group: &Group<'_>) -> Result<(), WorldError> {
        if group.members.is_empty() {
            self.groups.remove(&group.group);
            return Ok(());
        }
        if self.groups.len() == GROUPS_MAX && !self.groups.contains_key(&group.group) {
            return Err(WorldError::TooManyGroups);
        }
        let names: BTreeMap<u32, String> =
            group.names.iter().map(|name| (name.entity, name.text())).collect();
        let members = group.members.iter().map(|member| GroupMember {
            id: EntityId(member.entity),
            pos: Pos { x: member.x, y: member.y },
            kind: EntityKind(member.kind),
            state: member.state,
            name: names.get(&member.entity).cloned().unwrap_or_default(),
        });
        self.groups.insert(group.group, members.collect());
        Ok(())
    }

    /// Takes in what a block states, but for its leaves. Returns how much of it strays.
    fn state(&mut self, block: &Block<'_>) -> Result<u32, WorldError> {
        if block.full {
            self.cleared.push(block.cell);
            if self.cells.insert(block.cell) && self.cells.len() > CELLS_MAX {
                return Err(WorldError::TooManyCells);
            }
        }
        // Items do not move, and players alone have names.
        if self.watch == Watch::Items {
            for enter in block.enters.iter().filter(|enter| EntityKind(enter.kind).as_item().is_some()) {
                self.enter(block.cell, &enter)?;
            }
            return Ok(0);
        }
        let mut strays = 0;
        for update in block.updates.iter() {
            strays += u32::from(!self.move_within(EntityId(update.entity), block.cell, update.local));
        }
        for enter in block.enters.iter() {
            self.enter(block.cell, &enter)?;
        }
        for name in block.names.iter() {
            match self.entities.get_mut(&EntityId(name.entity)) {
                Some(entity) => entity.name = name.name,
                None => strays += 1,
            }
        }
        Ok(strays)
    }

    /// Takes an entity out of a cell if it is held there. Returns whether it is gone and this same snapshot had
    /// named it.
    fn leave(&mut self, cell: CellCoord, leave: Leave) -> bool {
        let Entry::Occupied(mut held) = self.entities.entry(EntityId(leave.entity)) else { return false };
        if held.get().held_in != cell {
            return false;
        }
        let to = leave.to.into();
        // A full block of that cell in this same snapshot would have named it.
        if self.cells.contains(&to) && !self.cleared.contains(&to) {
            held.get_mut().held_in = to;
            return false;
        }
        note_left(&mut self.changes, self.applications, &held.remove())
    }

    /// Moves an entity that is held in the cell; false if it is not.
    fn move_within(&mut self, id: EntityId, cell: CellCoord, local: u32) -> bool {
        let Some(entity) = self.entities.get_mut(&id).filter(|entity| entity.held_in == cell) else {
            return false;
        };
        entity.pos = Pos::from_cell(cell, local);
        if entity.stated != self.applications {
            entity.stated = self.applications;
            self.changes.push(Change::Changed(id));
        }
        true
    }

    fn enter(&mut self, cell: CellCoord, enter: &Enter) -> Result<(), WorldError> {
        let id = EntityId(enter.entity);
        let stated = Entity {
            id,
            pos: Pos::from_cell(cell, enter.local),
            kind: EntityKind(enter.kind),
            state: enter.state,
            name: [0; CHARACTER_NAME_BYTES_MAX],
            held_in: cell,
            entered: self.applications,
            stated: self.applications,
        };
        if let Some(entity) = self.entities.get_mut(&id) {
            if entity.stated != self.applications {
                self.changes.push(Change::Changed(id));
            }
            *entity = Entity { entered: entity.entered, ..stated };
            return Ok(());
        }
        if self.entities.len() == ENTITIES_MAX {
            return Err(WorldError::TooManyEntities);
        }
        self.entities.insert(id, stated);
        self.changes.push(Change::Entered(id));
        Ok(())
    }

    /// Removes what is held in the first `dropped` of the cleared cells, and in the others, which are full, without
    /// being named there. Returns whether this same snapshot had named something of it.
    fn remove_cleared(&mut self, dropped: usize) -> bool {
        if self.cleared.is_empty() {
            return false;
        }
        let (dropped, full) = self.cleared.split_at_mut(dropped);
        dropped.sort_unstable();
        full.sort_unstable();
        let (dropped, full, applications) = (&*dropped, &*full, self.applications);
        let gone = self.entities.extract_if(|_, entity| {
            dropped.binary_search(&entity.held_in).is_ok()
                || entity.stated != applications && full.binary_search(&entity.held_in).is_ok()
        });
        let mut retracted = false;
        for (_, entity) in gone {
            retracted |= note_left(&mut self.changes, applications, &entity);
        }
        retracted
    }
}

/// Notes that an entity is gone, if it was in view before this application. Returns whether the application had
/// named it, so that another change of it was noted.
fn note_left(changes: &mut Vec<Change>, applications: u32, entity: &Entity) -> bool {
    if entity.entered != applications {
        changes.push(Change::Left(entity.id));
    }
    entity.stated == applications
}
