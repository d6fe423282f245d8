//! Walking from zone to zone.
//!
//! - A character whose steps of a tick end on a gate's tile stands, before the next tick's steps, where the gate leads; its
//!   place there is journalled with that.
//! - Within a shard its session goes on. If the zone is another shard's, the session is carried out of this one: it is in no
//!   shard until the driver hands it to that one.
//! - Items that are carried, the last request and the last input are the same on both sides.

mod rules;
#[cfg(test)]
mod tests;

use vyuha_protocol::ZoneId;

use crate::character::CharacterRow;
use crate::inventory::ItemRow;

pub use rules::gate_at;

/// A session between shards: all that is the game's of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Carried {
    /// The character, at the place to which it goes.
    pub character: CharacterRow,
    /// What it owns.
    pub items: Vec<ItemRow>,
    /// The last request that was received.
    pub request: u32,
    /// What its commands about items carry.
    pub nonce: u32,
    /// The last input that was accepted; those that were not carried out yet are left out.
    pub sequence: u32,
    /// Ticks until its chat allowance is whole.
    pub chat_ticks: u64,
    /// Whether its profile owes.
    pub owes: bool,
}

impl Carried {
    /// The zone that it goes to.
    pub fn zone(&self) -> ZoneId {
        ZoneId(self.character.zone as u16)
    }
}
