//! Rows of the shapes that the game declares, and one with every column type.

use vyuha_record::{Record, Table, record};
use vyuha_store::AccountRow;

record! {
    /// As in `migrations/0001`.
    pub struct CharacterRow in "character", table 2 {
        key id: i64,
        account: i64,
        name: String,
        unique name_key: String,
        zone: i64,
        x: i64,
        y: i64,
        created_ms: i64,
    }
}

record! {
    /// As in `migrations/0001` and `0002`.
    pub struct ItemRow in "item", table 3 {
        key id: i64,
        kind: i64,
        count: i64,
        place: i64,
        owner: i64,
        slot: i64,
        x: i64,
        y: i64,
        wear: i64,
    }
}

/// The tables that migrations create.
pub const TABLES: &[Table] = &[AccountRow::TABLE, CharacterRow::TABLE, ItemRow::TABLE];

impl ItemRow {
    /// An item of which only the identity and one number matter.
    pub fn new(id: i64, count: i64) -> Self {
        Self { id, kind: 1, count, place: 0, owner: 7, slot: 0, x: 0, y: 0, wear: 0 }
    }
}
