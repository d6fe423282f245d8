//! The row of a character.

use vyuha_protocol::{Pos, ZoneId};
use vyuha_record::record;

record! {
    /// A character of an account.
    pub struct CharacterRow in "character", table 2 {
        /// The character's id.
        key id: i64,
        /// The account that it belongs to.
        account: i64,
        /// Its name, as it was chosen.
        name: String,
        /// Its name in lower case: no two characters share one.
        unique name_key: String,
        /// The zone it stands in.
        zone: i64,
        /// Units from the zone's western edge.
        x: i64,
        /// Units from the zone's northern edge.
        y: i64,
        /// When it was created, in milliseconds since 1970.
        created_ms: i64,
    }
}

impl CharacterRow {
    /// Where it stands; a place outside any map is as good as a blocked one.
    pub fn place(&self) -> Pos {
        let units = |units: i64| u32::try_from(units).unwrap_or(u32::MAX);
        Pos { x: units(self.x), y: units(self.y) }
    }

    /// Moves it.
    pub fn set_place(&mut self, zone: ZoneId, at: Pos) {
        (self.zone, self.x, self.y) = (i64::from(zone.0), i64::from(at.x), i64::from(at.y));
    }
}
