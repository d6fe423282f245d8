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

/// The only part of a shard that is of no zone: its tick, the next item id, the ledger's transactions, how many
/// sessions began, whether durable commands are taken, trades, who stands on a gate, which number each session has.
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
        let mut trades = StateHash::default();
        self.trades.hash_into(&mut trades);
        let begun = u64::from(self.sessions_begun) << 1 | u64::from(self.durable_open);
        let mut own =
            vec![self.tick, self.item_ids.next as u64, self.ledger.seq() as u64, begun, trades.finish()];
        own.extend(self.at_gates.iter().map(|session| u64::from(session.0)));
        own.push(self.sessions.len() as u64);
        for (slot, session) in self.sessions.iter() {
            own.extend([u64::from(slot.0) << 32 | u64::from(session.entity.0), session.zone as u64]);
        }
        hashes.push(joined(&own));
        for zone in &self.zones {
            self.hash_zone(zone, hashes);
        }
    }

    /// A hash of all that is in a zone, which is the same in whatever shard it is; `None` if it is not in this one.
    pub fn zone_hash(&self, zone: ZoneId) -> Option<u64> {
        let zone = self.zones.iter().find(|own| own.id == zone)?;
        let mut hashes = Vec::new();
        self.hash_zone(zone, &mut hashes);
        Some(joined(&hashes))
    }

    /// Appends the hash of each of [`columns`].
    fn hash_zone(&self, zone: &ZoneState, hashes: &mut Vec<u64>) {
        zone.hash_columns(self.tick, hashes);
        let (mut players, mut sessions) = (StateHash::default(), StateHash::default());
        for (entity, number) in &zone.players {
            let session = self.sessions.get(*number).expect("every player of a zone has a session");
            players.write(u64::from(entity.0));
            players.write(session.character.id as u64);
            session.hash_into(self.tick, &mut sessions);
        }
        hashes.extend([players.finish(), sessions.finish()]);
    }

    /// A hash of the whole state, but for what clients were told of it.
    pub fn state_hash(&self) -> u64 {
        let mut hashes = Vec::new();
        self.hash_parts(&mut hashes);
        joined(&hashes)
    }
}

impl ZoneState {
    /// Appends the hash of each of [`columns`] but for the last two, which are not the zone's to know.
    fn hash_columns(&self, tick: u64, hashes: &mut Vec<u64>) {
        let zone = &self.zone;
        let step = u64::from(self.id.0) << 32 | u64::from(zone.tick());
        hashes.push(joined(&[step, self.ticks_since_step(tick), zone.state_hash()]));
        hashes.extend(zone.column_hashes());
        let (mut npcs, mut ground) = (StateHash::default(), StateHash::default());
        self.npcs.hash_into(&mut npcs);
        self.ground.hash_into(&mut ground);
        hashes.extend([self.rng.fingerprint(), npcs.finish(), ground.finish()]);
    }
}
