//! What a shard is told, and why it may refuse.

use vyuha_core::SimdLevel;
use vyuha_protocol::ZoneId;

use crate::inventory::ItemFault;
use crate::presence::Patience;

/// What a shard is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardConfig {
    /// The zones that it owns.
    pub zones: Vec<ZoneId>,
    /// The node's ticks a second; each zone's rate must divide it.
    pub tick_hz: u16,
    /// Ticks between two saves of a character, from 1.
    pub save_interval_ticks: u32,
    /// Most bytes of one snapshot's payload.
    pub snapshot_bytes_max: usize,
    /// Most requests of one session in a second, from 1.
    pub requests_per_second_max: u32,
    /// How long players may give no sign of themselves.
    pub patience: Patience,
    /// Seed of everything that is random here. A zone's numbers depend on it and on the zone alone.
    pub seed: u64,
    /// When the shard begins, in milliseconds since 1970: what the ledger's times count from.
    pub began_ms: i64,
    /// The first id that the shard gives to a new item. It also stands for this run of the shard in the ledger.
    pub next_item_id: i64,
    /// The distance to the next one, from 1: with as many as there are shards, each starting at another, no two
    /// give the same.
    pub item_id_stride: i64,
    /// The vector instructions of the zones' passes. Nothing that comes of them depends on it.
    pub simd: SimdLevel,
}

/// Why a shard cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// The content has no such zone.
    #[error("the content has no zone {0}; give the shard zones that world.toml has")]
    ZoneUnknown(ZoneId),
    /// A zone is listed twice.
    #[error("zone {0} is listed twice; list it once")]
    ZoneTwice(ZoneId),
    /// A zone's rate does not divide the node's.
    #[error(
        "zone {zone} steps {zone_hz} times a second, which does not divide the node's {tick_hz}; change either"
    )]
    TickRate {
        /// The zone.
        zone: ZoneId,
        /// Its steps a second.
        zone_hz: u16,
        /// The node's ticks a second.
        tick_hz: u16,
    },
    /// The save interval is 0.
    #[error("the save interval is 0 ticks; make it at least 1")]
    SaveInterval,
    /// Sessions could make no request.
    #[error("sessions may make 0 requests a second; let them make at least 1")]
    Requests,
    /// The stride of item ids is below 1.
    #[error("the stride of item ids is {0}; make it at least 1")]
    ItemIdStride(i64),
    /// A stored item on the ground cannot be played with.
    #[error("an item on the ground cannot be loaded: {0}")]
    Ground(#[from] ItemFault),
}

/// Why a character cannot be taken in. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The session's slot is taken.
    #[error("the session's slot is taken; end the session before the slot is used again")]
    SlotTaken,
    /// The character is here already.
    #[error("character {0} is here already; end its session first")]
    CharacterHere(i64),
    /// The character's zone is not of this shard.
    #[error("zone {0} is not of this shard; hand the session to the shard that owns it")]
    ZoneElsewhere(i64),
    /// A stored item that it owns cannot be played with.
    #[error("what the character owns cannot be loaded: {0}")]
    Inventory(#[from] ItemFault),
}
