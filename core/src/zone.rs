//! The zone's own face: orders between steps, and the list of passes that a step runs.

use std::sync::Arc;

use vyuha_protocol::snapshot::Name;
use vyuha_protocol::{EntityId, EntityKind, Pos, TileMap};

use crate::columns::{CHANGED, Columns, GONE, Grid, HIDDEN, PENDING, Slots, TURN, Warm, turned};
use crate::encode::Blocks;
use crate::groups::Groups;
use crate::history::History;
use crate::integrate::walled_blocks;
use crate::orders::Seat;
use crate::pairs::Pairs;
use crate::regrid::{Moves, Pending};
use crate::screen::Marks;
use crate::simd::SimdLevel;
use crate::visible::Sight;

/// Most entities that a zone can hold at once.
pub const ZONE_ENTITIES_MAX: usize = 1 << vyuha_protocol::ids::ENTITY_SLOT_BITS;

/// All that stands and moves on one map.
pub struct Zone {
    pub(crate) map: Arc<TileMap>,
    pub(crate) grid: Grid,
    /// By cell: where the map has walls, roughly; see [`walled_blocks`].
    pub(crate) walled: Vec<u64>,
    /// Where that is not 0.
    pub(crate) walled_cells: Vec<u32>,
    pub(crate) tick: u32,
    pub(crate) columns: Columns,
    pub(crate) slots: Slots,
    /// Working space of `integrate`: who needs a closer look.
    pub(crate) closer: Vec<u32>,
    /// What appears with the coming step: spawns, and jumps too far for a displacement.
    pub(crate) pending: Vec<Pending>,
    pub(crate) moves: Moves,
    pub(crate) blocks: Blocks,
    pub(crate) pairs: Pairs,
    pub(crate) hash: u64,
    pub(crate) simd: SimdLevel,
    pub(crate) history: History,
    pub(crate) groups: Groups,
    pub(crate) sight: Sight,
    /// Working space of `write_snapshot`: a bit a cell around a client, and marks on whom it knows.
    pub(crate) near: Vec<u64>,
    pub(crate) marks: Marks,
}

/// A new entity.
#[derive(Debug, Clone, Copy)]
pub struct Spawn<'a> {
    /// Where: an open place.
    pub pos: Pos,
    /// What it is.
    pub kind: EntityKind,
    /// What clients are told beside its kind; see [`vyuha_protocol::snapshot::Enter::state`].
    pub state: u16,
    /// A player's name, at most 16 bytes (a longer one is cut); it is told for players only.
    pub name: &'a str,
    /// What rules of combat ask of it.
    pub warm: Warm,
}

/// A pass of [`Zone::step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Displacements are added to places; walls stop.
    Integrate,
    /// Those that came to another cell are moved in the columns; spawns and despawns take effect.
    Regrid,
    /// Who came into whose range and who left it, if the zone watches pairs.
    Interest,
    /// What changed is encoded, once a cell.
    Encode,
    /// The history, if one is kept, is extended, and everything that is state is hashed.
    Hash,
}

impl Pass {
    /// Every pass, in the order in which they run.
    pub const ALL: [Pass; 5] = [Pass::Integrate, Pass::Regrid, Pass::Interest, Pass::Encode, Pass::Hash];

    /// The pass's stable name, as metrics show it.
    pub fn name(self) -> &'static str {
        match self {
            Pass::Integrate => "integrate",
            Pass::Regrid => "regrid",
            Pass::Interest => "interest",
            Pass::Encode => "encode",
            Pass::Hash => "hash",
        }
    }
}

/// Is told when a pass is over. The driver's reads a clock; `()` does nothing.
pub trait Probe {
    /// `pass` just ended.
    fn lap(&mut self, pass: Pass);
}

impl Probe for () {
    fn lap(&mut self, _: Pass) {}
}

/// Where an entity's flags and warm columns are: those of one that jumps stay in the columns until the step.
enum Home {
    Column(usize),
    Pending(usize),
}

impl Zone {
    /// An empty zone, at tick 0, that uses the widest vector instructions there are.
    pub fn new(map: Arc<TileMap>) -> Zone {
        let grid = Grid::new(&map);
        let cells = grid.count();
        let walled = walled_blocks(&map, grid);
        Zone {
            walled_cells: (0..cells as u32).filter(|cell| walled[*cell as usize] != 0).collect(),
            walled,
            map,
            grid,
            tick: 0,
            columns: Columns::new(cells),
            slots: Slots::default(),
            closer: Vec::new(),
            pending: Vec::new(),
            moves: Moves::new(cells),
            blocks: Blocks::new(cells),
            pairs: Pairs::default(),
            hash: 0,
            simd: SimdLevel::detect(),
            history: History::default(),
            groups: Groups::default(),
            sight: Sight::default(),
            near: Vec::new(),
            marks: Marks::default(),
        }
    }

    /// Lets the passes use these vector instructions; what they compute does not depend on it.
    pub fn set_simd(&mut self, level: SimdLevel) {
        self.simd = level;
    }

    /// The vector instructions that the passes use.
    pub fn simd(&self) -> SimdLevel {
        self.simd
    }

    /// The zone's map.
    pub fn map(&self) -> &TileMap {
        &self.map
    }

    /// How many steps were made.
    pub fn tick(&self) -> u32 {
        self.tick
    }

    /// How many ids are valid: whatever was spawned and not despawned.
    pub fn len(&self) -> usize {
        self.slots.live
    }

    /// Whether no id is valid.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an entity. Its id is valid at once; queries and clients see it after the next step.
    ///
    /// # Panics
    /// If the place is blocked or outside the map, or the zone holds [`ZONE_ENTITIES_MAX`] entities.
    pub fn spawn(&mut self, spawn: Spawn<'_>) -> EntityId {
        self.assert_open(spawn.pos);
        let place = PENDING | self.pending.len() as u32;
        let name = Name::new(0, spawn.name).name;
        let slot = self.slots.take(place, spawn.kind, spawn.state, name);
        let (pos, warm) = (spawn.pos, spawn.warm);
        self.pending.push(Pending { pos, velocity: 0, slot, from: None, flags: 0, warm });
        self.slots.id(slot)
    }

    /// Removes an entity, and says whether there was one. Its id is invalid at once, and queries pass it over;
    /// clients are told with the next step.
    pub fn despawn(&mut self, id: EntityId) -> bool {
        let Some((flags, _)) = self.row_mut(id) else { return false };
        *flags |= GONE;
        self.groups.leave(id);
        self.slots.kill(id.slot());
        true
    }

    /// What an entity is.
    pub fn kind(&self, id: EntityId) -> Option<EntityKind> {
        self.slots.resolve(id).map(|_| EntityKind(self.slots.kind[id.slot() as usize]))
    }

    /// An entity's state.
    pub fn state(&self, id: EntityId) -> Option<u16> {
        self.slots.resolve(id).map(|_| self.slots.state[id.slot() as usize])
    }

    /// Changes an entity's state; clients are told with the next step, by a fresh `Enter` in its cell. Nothing
    /// happens if that is its state already or the id is invalid.
    pub fn set_state(&mut self, id: EntityId, state: u16) {
        let Some(seat) = self.seat(id) else { return };
        if !self.slots.set_state(id.slot(), state) {
            return;
        }
        if let Seat::Column { cell, index } = seat {
            self.columns.flags[index] |= CHANGED;
            self.moves.touch(cell);
        }
    }

    /// What rules of combat ask of an entity.
    pub fn warm(&self, id: EntityId) -> Option<Warm> {
        self.row(id).map(|(_, warm)| *warm)
    }

    /// The same, to be changed. It takes effect at once; no client is told.
    pub fn warm_mut(&mut self, id: EntityId) -> Option<&mut Warm> {
        self.row_mut(id).map(|(_, warm)| warm)
    }

    /// Hides an entity from all clients, or shows it again, with the next step: they are told that it leaves to
    /// nowhere, then nothing of it, then that it enters. Queries find it all the same. Nothing happens if that is
    /// how it is already or the id is invalid.
    pub fn set_hidden(&mut self, id: EntityId, hidden: bool) {
        let Some((flags, _)) = self.row_mut(id) else { return };
        *flags &= !TURN;
        if (*flags & HIDDEN != 0) != hidden {
            *flags |= TURN;
        }
    }

    /// Whether an entity is hidden, or will be with the next step.
    pub fn is_hidden(&self, id: EntityId) -> Option<bool> {
        self.row(id).map(|(flags, _)| turned(*flags) & HIDDEN != 0)
    }

    /// Runs the passes; what was ordered since the last step takes effect.
    pub fn step(&mut self, probe: &mut impl Probe) {
        self.tick = self.tick.wrapping_add(1);
        self.integrate();
        probe.lap(Pass::Integrate);
        self.regrid();
        probe.lap(Pass::Regrid);
        self.watch();
        probe.lap(Pass::Interest);
        self.encode();
        self.encode_groups();
        probe.lap(Pass::Encode);
        self.record_and_hash();
        probe.lap(Pass::Hash);
    }

    /// A hash over everything that was state after the last step: each entity's id, cell, place, displacement,
    /// kind, state, warm columns and whether it is hidden, whatever their order in memory. It is a pass of the
    /// step; reading it costs nothing.
    pub fn state_hash(&self) -> u64 {
        self.hash
    }

    /// An entity's flags and warm columns.
    fn row(&self, id: EntityId) -> Option<(&u8, &Warm)> {
        Some(match self.home(id)? {
            Home::Column(index) => (&self.columns.flags[index], &self.columns.warm[index]),
            Home::Pending(entry) => (&self.pending[entry].flags, &self.pending[entry].warm),
        })
    }

    fn row_mut(&mut self, id: EntityId) -> Option<(&mut u8, &mut Warm)> {
        Some(match self.home(id)? {
            Home::Column(index) => (&mut self.columns.flags[index], &mut self.columns.warm[index]),
            Home::Pending(entry) => {
                let Pending { flags, warm, .. } = &mut self.pending[entry];
                (flags, warm)
            }
        })
    }

    fn home(&self, id: EntityId) -> Option<Home> {
        Some(match self.seat(id)? {
            Seat::Column { index, .. } => Home::Column(index),
            Seat::Pending(entry) => match self.pending[entry].from {
                Some(cell) => Home::Column(self.columns.find(cell as usize, id)?),
                None => Home::Pending(entry),
            },
        })
    }

    pub(crate) fn assert_open(&self, pos: Pos) {
        assert!(self.map.is_open(pos), "{pos:?} is blocked or outside the map");
    }
}
