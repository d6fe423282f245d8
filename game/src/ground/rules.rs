//! Who reaches what, and what is laid out anew.

use vyuha_protocol::{ItemKind, Pos};

use crate::content::GroundSpawn;
use crate::random::Rng;

/// Whether a place is within reach, in units.
pub fn within_reach(from: Pos, to: Pos, reach: u32) -> bool {
    from.distance_squared(to) <= u64::from(reach).pow(2)
}

/// The kind and count of one more heap, as often as the content has heaps of it; `None` if it has none at all.
pub fn litter(spawns: &[GroundSpawn], rng: &mut Rng) -> Option<(ItemKind, u32)> {
    let mut pick = rng.below(spawns.iter().map(|spawn| spawn.number).sum());
    for spawn in spawns {
        if pick < spawn.number {
            return Some((spawn.kind, spawn.count));
        }
        pick -= spawn.number;
    }
    None
}
