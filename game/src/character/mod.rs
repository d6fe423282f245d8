//! Where characters stand, and when that is saved.
//!
//! - A new character begins near its zone's spawn point, each elsewhere.
//! - A character that comes to a place that is blocked or outside the map is put at the zone's spawn point.
//! - Its row is saved once an interval if it stands elsewhere than the row says, and when it leaves. Sessions
//!   take turns, so that no tick saves them all. A restart puts it where it was last saved.

mod belongings;
mod rows;
mod rules;
#[cfg(test)]
mod tests;

pub use belongings::{Belongings, stack_max};
pub use rows::CharacterRow;
pub use rules::{arrival, newcomer_place, slots_due};
