//! The hashes of a shard's state: one for each part, so that whoever finds two runs to differ can say in what, and one
//! over all of them.
//!
//! Taking them costs about as much as the hash pass of every zone, and a few nanoseconds an NPC and a session; a tick that
//! nobody records takes none.

use vyuha_core::COLUMNS;
use vyuha_protocol::ZoneId;

use super::Shard;
use super::zone::ZoneState;
use crate::hash::StateHash;

/// The only part of a shard that is of no zone: its tick, the next item id, whether durable commands are taken,
/// who stands on a gate.
const OF_SHARD: &str = "shard";
/// Of a zone, before the core's columns: its tick and the hash that the core took in its last step.
const OF_STEP: &str = "step";
/// Of a zone, after the core's columns: what the systems keep beside them, and the sessions that play in it.
const OF_SYSTEMS: [&str; 5] = ["random", "npcs", "ground", "players", "sessions"];

/// A part of a shard's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The zone that it is of; none for what is the shard's own.
    pub zone: Option<ZoneId>,
    /// What it is: one of [`columns`], or `shard`.
    pub column: &'static str,
}

/// The names of the parts of a zone, in the order of their hashes.
pub fn columns() -> impl Iterator<Item = &'static str> {
    std::iter::once(OF_STEP).chain(COLUMNS).chain(OF_SYSTEMS)
}

/// One hash over several.
pub fn joined(hashes: &[u64]) -> u64 {
    let mut hash = StateHash::default();
    for part in hashes {
        hash.write(*part);
    }
    hash.finish()
}

impl Shard {
    /// The parts of the state, in the order of their hashes: the shard's own, then zone by zone.
    pub fn parts(&self) -> Vec<Part> {
        let of_zone = |id| columns().map(move |column| Part { zone: Some(id), column });
        let own = Part { zone: None, column: OF_SHARD };
        std::iter::once(own).chain(self.zones.iter().flat_map(|zone| of_zone(zone.id))).collect()
    }

    /// Fills `hashes` with one for each of [`Shard::parts`]. Together they cover all that is state; what clients were
    /// told of it is none.
    pub fn hash_parts(&self, hashes: &mut Vec<u64>) {
        hashes.clear();
        let mut own = vec![self.tick, self.item_ids.next as u64, u64::from(self.durable_open)];
        own.extend(self.at_gates.iter().map(|session| u64::from(session.0)));
        hashes.push(joined(&own));
        let mut sessions = vec![StateHash::default(); self.zones.len()];
        for (slot, session) in self.sessions.iter() {
            let hash = &mut sessions[session.zone];
            hash.write(u64::from(slot.0));
            session.hash_into(hash);
        }
        for (zone, sessions) in self.zones.iter().zip(sessions) {
            zone.hash_columns(hashes);
            hashes.push(sessions.finish());
        }
    }

    /// A hash of the whole state, but for what clients were told of it.
    pub fn state_hash(&self) -> u64 {
        let mut hashes = Vec::new();
        self.hash_parts(&mut hashes);
        joined(&hashes)
    }
}

impl ZoneState {
    /// Appends the hash of each of [`columns`] but for the last, which is not the zone's to know.
    fn hash_columns(&self, hashes: &mut Vec<u64>) {
        let zone = &self.zone;
        hashes.push(joined(&[u64::from(self.id.0) << 32 | u64::from(zone.tick()), zone.state_hash()]));
        hashes.extend(zone.column_hashes());
        let (mut npcs, mut ground, mut players) = Default::default();
        self.npcs.hash_into(&mut npcs);
        self.ground.hash_into(&mut ground);
        for (entity, session) in &self.players {
            StateHash::write(&mut players, u64::from(entity.0) << 32 | u64::from(session.0));
        }
        hashes.extend([self.rng.fingerprint(), npcs.finish(), ground.finish(), players.finish()]);
    }
}
