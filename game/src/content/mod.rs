//! The world as data: what `world.toml`, `items.toml`, `npcs.toml` and the tile maps say, checked whole.
//!
//! Content that was loaded is sound: every reference is met, every number is in its range, every spawn point is
//! open. So nothing that plays it has to check it again. Content never changes while a node runs.

mod faults;
mod items;
mod load;
mod reader;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use include_dir::{Dir, include_dir};
use vyuha_core::Scope;
use vyuha_protocol::units::UNITS_PER_METRE;
use vyuha_protocol::{ItemKind, Pos, TileMap, ZoneId};

pub use faults::{ContentErrors, ContentFault};
pub(crate) use items::SHIELD_SLOT;
pub use items::{Bonuses, EQUIPMENT_SLOTS, ItemContent, Wearable};

static EXAMPLE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../content");

/// Most a stack can hold, whatever its kind.
pub const STACK_MAX: u32 = 1_000_000;
/// Most NPCs of one kind in a zone.
pub const NPC_COUNT_MAX: u32 = 50_000;
/// Longest random walk from a zone's spawn point to where a new character begins, in metres.
pub const SPAWN_STROLL_M_MAX: u32 = 1000;
/// Most items on a zone's ground, whatever its kind.
pub const GROUND_ITEMS_MAX: u32 = 100_000;

/// Everything that the world is made of.
#[derive(Debug, Clone)]
pub struct Content {
    /// The zones, by rising id.
    pub zones: Vec<ZoneContent>,
    /// The items, by rising id.
    pub items: Vec<ItemContent>,
    /// Grams that a character can carry and wear together without anything that helps it.
    pub carry_g_max: u32,
    /// The NPCs, by rising id.
    pub npcs: Vec<NpcContent>,
    /// SHA-256 of every file that was read: for each, by rising path, the length of the path and of the file (u64,
    /// little-endian) and the bytes of both.
    pub hash: [u8; 32],
}

/// A zone of the world.
#[derive(Debug, Clone)]
pub struct ZoneContent {
    /// Its number, from 1.
    pub id: ZoneId,
    /// Its name, for people.
    pub name: String,
    /// What is the same for all zones of its kind.
    pub kind: ZoneKind,
    /// Where one can walk.
    pub map: Arc<TileMap>,
    /// What it looks like, for clients that draw it: the map file's character of each tile, row by row from the
    /// north-west.
    pub tiles: Arc<[u8]>,
    /// Where characters go whose place is blocked.
    pub spawn: Pos,
    /// Where new characters begin, in turn; empty for where `spawn` is.
    pub begins: Vec<Pos>,
    /// How long a random walk from there is, in metres, at whose end a new character begins; 0 for right there.
    pub spawn_stroll_m: u32,
    /// Whether new characters may begin here.
    pub start: bool,
    /// Who lives in it.
    pub npcs: Vec<NpcSpawn>,
    /// What lies in it.
    pub ground: Vec<GroundSpawn>,
    /// Where one walks out of it.
    pub gates: Vec<Gate>,
    /// Where a bank is used: within the kind's reach of any of these.
    pub banks: Vec<Pos>,
}

/// A tile from which one comes into another zone, or elsewhere in the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    /// The tile, east and south.
    pub at: (u32, u32),
    /// The zone that it leads to.
    pub to_zone: ZoneId,
    /// Where one comes out: open ground that is no gate.
    pub to: Pos,
}

/// What is the same for all zones of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneKind {
    /// How zones name it.
    pub key: String,
    /// Steps a second, 1 to 120.
    pub tick_hz: u16,
    /// Units a step of a player at full deflection, at least 1.
    pub player_speed: u16,
    /// What is sent to a player, and how often.
    pub view: Scope,
    /// Units within which a voice is heard.
    pub hearing_radius: u32,
    /// Units within which an item can be picked up.
    pub reach: u32,
    /// Most items on its ground.
    pub ground_items_max: u32,
    /// Seconds between two looks whether litter is missing.
    pub litter_interval_s: u32,
}

/// How many of an NPC live in a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NpcSpawn {
    /// Where in [`Content::npcs`] the kind is.
    pub npc: usize,
    /// How many.
    pub count: u32,
}

/// What lies on a zone's ground when the world begins, and comes back slowly when it is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroundSpawn {
    /// The item.
    pub kind: ItemKind,
    /// How many in a heap, at most what fits into a stack.
    pub count: u32,
    /// How many heaps.
    pub number: u32,
}

/// A kind of NPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NpcContent {
    /// Its number, 1 to 32,767.
    pub id: u16,
    /// How content names it.
    pub key: String,
    /// Its name, for people.
    pub name: String,
    /// Centimetres a second when it wanders.
    pub walk_speed_cm_s: u32,
    /// Units from its home within which it wanders.
    pub wander_radius: u32,
    /// Units within which it sees a player; 0 if it chases nobody.
    pub sight_radius: u32,
    /// Centimetres a second when it chases.
    pub chase_speed_cm_s: u32,
    /// Seconds that it chases before it goes home.
    pub chase_time_s: u32,
    /// Whether everybody in its zone is told where it is.
    pub landmark: bool,
}

impl Content {
    /// The example world that is part of the program.
    ///
    /// # Panics
    /// Never in a build that passed its tests: they load it.
    pub fn example() -> Content {
        load::load(&|path| match EXAMPLE.get_file(path) {
            Some(file) => String::from_utf8(file.contents().to_vec()).map_err(|fault| fault.to_string()),
            None => Err("the file is missing".to_owned()),
        })
        .unwrap_or_else(|faults| panic!("{faults}"))
    }

    /// The content of a folder.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn load(folder: &Path) -> Result<Content, ContentErrors> {
        load::load(&|path| {
            std::fs::read_to_string(folder.join(path)).map_err(|fault| format!("cannot be read: {fault}"))
        })
    }

    /// The content of texts by path.
    #[cfg(test)]
    pub(crate) fn from_texts(texts: &[(&str, &str)]) -> Result<Content, ContentErrors> {
        load::load(&|path| match texts.iter().find(|(name, _)| *name == path) {
            Some((_, text)) => Ok((*text).to_owned()),
            None => Err("the file is missing".to_owned()),
        })
    }

    /// The zone of an id.
    pub fn zone(&self, id: ZoneId) -> Option<&ZoneContent> {
        self.zones.binary_search_by_key(&id, |zone| zone.id).ok().map(|at| &self.zones[at])
    }

    /// The item of a kind.
    pub fn item(&self, kind: ItemKind) -> Option<&ItemContent> {
        self.items.binary_search_by_key(&kind, |item| item.id).ok().map(|at| &self.items[at])
    }

    /// The zones where new characters may begin, at least one.
    pub fn start_zones(&self) -> impl Iterator<Item = &ZoneContent> {
        self.zones.iter().filter(|zone| zone.start)
    }
}

impl ZoneContent {
    /// Where the zone's newcomer begins whose turn it is.
    pub fn begin(&self, turn: usize) -> Pos {
        if self.begins.is_empty() { self.spawn } else { self.begins[turn % self.begins.len()] }
    }

    /// How many heaps lie on its ground when nothing was taken.
    pub fn litter_target(&self) -> u32 {
        self.ground.iter().map(|spawn| spawn.number).sum()
    }
}

/// The units a step of a speed at a tick rate, rounded down.
pub fn units_per_step(speed_cm_s: u32, tick_hz: u16) -> u32 {
    speed_cm_s * UNITS_PER_METRE / (100 * u32::from(tick_hz))
}
