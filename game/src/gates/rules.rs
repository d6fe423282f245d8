//! Where gates are.

use vyuha_protocol::Pos;

use crate::content::Gate;

/// The gate on whose tile a place lies.
pub fn gate_at(gates: &[Gate], at: Pos) -> Option<&Gate> {
    let tile = at.tile();
    gates.iter().find(|gate| gate.at == tile)
}
