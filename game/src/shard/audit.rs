//! What a shard holds, in the terms of durable rows: for those who compare it with what is stored.

use super::{SessionId, Shard};
use crate::character::CharacterRow;
use crate::inventory::ItemRow;

impl Shard {
    /// Who plays: each session with its character's row as it was saved last.
    pub fn players(&self) -> impl Iterator<Item = (SessionId, &CharacterRow)> {
        self.sessions.iter().map(|(id, session)| (id, &session.character))
    }

    /// Every item that lies in a zone or is owned by who plays, as its row must be.
    pub fn items(&self) -> impl Iterator<Item = ItemRow> {
        let lying = self.zones.iter().flat_map(|zone| {
            let items = zone.ground.iter();
            items.map(|(_, item)| ItemRow::lying(item.stack, zone.id, item.at))
        });
        let owned = self.sessions.iter();
        let owned = owned.flat_map(|(_, session)| session.belongings.rows(session.character_id()));
        lying.chain(owned)
    }
}
