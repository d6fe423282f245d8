//! Where to arrive, and when to save.

use vyuha_protocol::motion::{Heading, displacement, step};
use vyuha_protocol::units::{STEP_UNITS_MAX, metres};
use vyuha_protocol::{CharacterId, Pos, TileMap};

use crate::random::Rng;

/// Metres between two turns of a newcomer's walk.
const LEG_M: u32 = 25;

/// Where a character stands that comes to a place.
pub fn arrival(map: &TileMap, place: Pos, spawn: Pos) -> Pos {
    if map.is_open(place) { place } else { spawn }
}

/// Where a new character begins: at the end of a walk of `stroll_m` metres from the spawn point, with random turns
/// that its id decides. So newcomers are not all in one place, and none is where it could not walk away from.
pub fn newcomer_place(map: &TileMap, spawn: Pos, stroll_m: u32, character: CharacterId) -> Pos {
    let mut rng = Rng::new(character.0 as u64, 0);
    let mut at = spawn;
    for leg in 0..stroll_m.div_ceil(LEG_M) {
        let heading = Heading { x: rng.between(-127, 127) as i8, y: rng.between(-127, 127) as i8 };
        let leg_m = LEG_M.min(stroll_m - leg * LEG_M);
        for _ in 0..metres(leg_m) / u32::from(STEP_UNITS_MAX) {
            at = step(map, at, displacement(heading, STEP_UNITS_MAX));
        }
    }
    at
}

/// The session slots, of `slots` in all, whose turn it is to be saved.
pub fn slots_due(tick: u64, interval_ticks: u32, slots: usize) -> impl Iterator<Item = usize> {
    let interval_ticks = u64::from(interval_ticks);
    ((tick % interval_ticks) as usize..slots).step_by(interval_ticks as usize)
}
