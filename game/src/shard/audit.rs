//! What a shard holds, in the terms of durable rows: for those who compare it with what is stored.

use super::{SessionId, Shard};
use crate::character::CharacterRow;
use crate::inventory::ItemRow;

impl Shard {
    /// Who plays: each session with its character's row as it was saved last.
    pub fn players(&self) -> impl Iterator<Item = (SessionId, &CharacterRow)> {
        self.sessions.iter().map(|(id, session)| (id, &session.character))
    }

    /// Every item that lies in a zone or is carried by who plays, as its row must be.
    pub fn items(&self) -> impl Iterator<Item = ItemRow> {
        let lying = self.zones.iter().flat_map(|zone| {
            let items = zone.ground.iter();
            items.map(|(_, item)| ItemRow::lying(item.stack, zone.id, item.at))
        });
        let carried = self.sessions.iter().flat_map(|(_, session)| {
            let slots = session.inventory.slots().iter().enumerate();
            let character = session.character_id();
            slots.filter_map(move |(slot, stack)| Some(ItemRow::carried((*stack)?, character, slot)))
        });
        lying.chain(carried)
    }
}
