//! Where to arrive, and when to save.

use vyuha_protocol::{Pos, TileMap};

/// Where a character stands that comes to a place.
pub fn arrival(map: &TileMap, place: Pos, spawn: Pos) -> Pos {
    if map.is_open(place) { place } else { spawn }
}

/// The session slots, of `slots` in all, whose turn it is to be saved.
pub fn slots_due(tick: u64, interval_ticks: u32, slots: usize) -> impl Iterator<Item = usize> {
    let interval_ticks = u64::from(interval_ticks);
    ((tick % interval_ticks) as usize..slots).step_by(interval_ticks as usize)
}
