//! Where a gate is; how sessions go through is tested with the shard.

use vyuha_protocol::units::TILE_UNITS;
use vyuha_protocol::{Pos, ZoneId};

use super::gate_at;
use crate::content::Gate;

#[test]
fn a_gate_is_its_whole_tile_and_nothing_beside() {
    let gate = |at| Gate { at, to_zone: ZoneId(2), to: Pos::tile_centre(1, 1) };
    let gates = [gate((3, 4)), gate((9, 4))];
    let check = |x: u32, y: u32, nth: Option<usize>| {
        assert_eq!(gate_at(&gates, Pos { x, y }), nth.map(|nth| &gates[nth]), "at {x},{y}");
    };
    let (west, north) = (3 * TILE_UNITS, 4 * TILE_UNITS);
    check(west, north, Some(0));
    check(west + TILE_UNITS - 1, north + TILE_UNITS - 1, Some(0));
    check(west - 1, north, None);
    check(west + TILE_UNITS, north, None);
    check(west, north + TILE_UNITS, None);
    check(9 * TILE_UNITS + 5, north + 5, Some(1));
}
