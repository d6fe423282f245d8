//! The rules of the game over the zone, and the shard as a pure state machine.
//!
//! Each system is a folder that looks like every other: `mod.rs` says what it is and holds its state, `rules.rs`
//! its rules as functions of data, `rows.rs` its durable rows, `tests.rs` its tests. [`systems`] lists them all.
//! [`shard`] puts them together; [`content`] is what they play with.
//!
//! Nothing in this crate does I/O (but for [`Content::load`], before play), reads a clock or starts a thread.

pub mod bank;
pub mod character;
pub mod chat;
pub mod content;
pub mod equipment;
pub mod gates;
pub mod ground;
mod hash;
pub mod inventory;
pub mod ledger;
pub mod movement;
pub mod npc;
mod place;
pub mod presence;
mod random;
pub mod requests;
pub mod shard;
pub mod systems;
pub mod trade;

pub use character::CharacterRow;
pub use content::{Content, ContentErrors, ContentFault, ZoneContent};
pub use hash::StateHash;
pub use inventory::{INVENTORY_SLOTS, ItemRow};
pub use random::Rng;
pub use shard::{
    Counts, JoinError, LeaveCause, Left, OutMessage, Outbox, SessionId, Shard, ShardConfig, ShardError,
    ZoneSummary,
};
pub use systems::{TABLES, TickProbe};
