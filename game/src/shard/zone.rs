//! A zone as the shard holds it: the core's columns and what the systems keep beside them.

use std::collections::BTreeMap;

use vyuha_core::{SimdLevel, Zone};
use vyuha_protocol::{EntityId, Pos, ZoneId};

use super::SessionId;
use crate::content::{Content, ZoneContent};
use crate::ground::Ground;
use crate::npc::Npcs;
use crate::random::Rng;

pub(super) struct ZoneState {
    pub id: ZoneId,
    /// Where in the content's zones it is.
    pub content: usize,
    pub zone: Zone,
    pub rng: Rng,
    pub npcs: Npcs,
    pub ground: Ground,
    pub players: BTreeMap<EntityId, SessionId>,
    pub walkers: Walkers,
    /// The node's ticks to one step of the zone.
    pub ticks_per_step: u64,
    /// Ticks by which its steps are out of step with the shard's own count.
    pub phase: u64,
    /// How often it went from one shard to another.
    pub moves: u32,
    pub stepped: bool,
    /// Whether it was never played: nothing of it is stored.
    pub is_new: bool,
}

/// Working space of the pass that moves characters: who they are, where they stand and where they go.
#[derive(Default)]
pub(super) struct Walkers {
    pub ids: Vec<EntityId>,
    pub from: Vec<Option<Pos>>,
    pub to: Vec<(EntityId, Pos)>,
}

impl ZoneState {
    pub fn new(content: &Content, at: usize, ticks_per_step: u64, seed: u64, simd: SimdLevel) -> ZoneState {
        let ZoneContent { id, map, .. } = &content.zones[at];
        let mut zone = Zone::new(map.clone());
        zone.set_simd(simd);
        let mut rng = Rng::new(seed, u64::from(id.0));
        let npcs = Npcs::populate(&content.npcs, &content.zones[at], &mut zone, &mut rng);
        ZoneState {
            id: *id,
            content: at,
            zone,
            rng,
            npcs,
            ground: Ground::default(),
            players: BTreeMap::new(),
            walkers: Walkers::default(),
            ticks_per_step,
            phase: 0,
            moves: 0,
            stepped: false,
            is_new: true,
        }
    }

    /// Ticks since it stepped last, when the shard is at a tick.
    pub fn ticks_since_step(&self, tick: u64) -> u64 {
        (tick + self.phase) % self.ticks_per_step
    }

    /// Where a character stands.
    pub fn place_of(&self, entity: EntityId) -> Pos {
        self.zone.position(entity).expect("a session's entity lives as long as the session")
    }
}
