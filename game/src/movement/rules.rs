//! Where headings lead.

use vyuha_protocol::motion::{Heading, displacement, step};
use vyuha_protocol::{Pos, TileMap};

/// The place after a step in each heading, at a speed in units a step.
pub fn walk(map: &TileMap, from: Pos, headings: impl IntoIterator<Item = Heading>, speed: u16) -> Pos {
    headings.into_iter().fold(from, |at, heading| step(map, at, displacement(heading, speed)))
}
