//! How sessions come into zones: by signing in, through a gate, or from another shard.

use vyuha_core::{Spawn, Warm};
use vyuha_protocol::message::EnteredZone;
use vyuha_protocol::{CharacterId, EntityId, EntityKind, Pos};

use super::session::{Session, new_view};
use super::{Departed, JoinError, Outbox, SessionId, Shard};
use crate::character::{CharacterRow, arrival};
use crate::chat::Allowance;
use crate::gates::{Carried, gate_at};
use crate::inventory::{Inventory, ItemRow};
use crate::movement::Steering;

impl Shard {
    /// Takes a character in: answers `request` with [`EnteredZone`], and snapshots follow. `items` are the rows of
    /// its inventory.
    ///
    /// # Errors
    /// If the session cannot be: nothing was changed, and the driver answers.
    pub fn join(
        &mut self,
        session: SessionId,
        request: u32,
        character: CharacterRow,
        items: &[ItemRow],
        out: &mut Outbox,
    ) -> Result<(), JoinError> {
        let carried = Carried { character, items: items.to_vec(), request, sequence: 0, chat_ticks: 0 };
        self.take_in(session, carried, Some(request), out)
    }

    /// Takes a session in that comes from another shard: tells it so by an [`EnteredZone`] that answers no request.
    ///
    /// # Errors
    /// If the session cannot be: nothing was changed.
    pub fn arrive(
        &mut self,
        session: SessionId,
        carried: Carried,
        out: &mut Outbox,
    ) -> Result<(), JoinError> {
        self.take_in(session, carried, None, out)
    }

    /// Lets a session through the gate on which it stands, if it still does.
    pub(super) fn cross(&mut self, id: SessionId, out: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let from = &self.zones[session.zone];
        let gates = &self.content.zones[from.content].gates;
        let Some(gate) = gate_at(gates, from.place_of(session.entity)).copied() else { return };
        session.character.set_place(gate.to_zone, gate.to);
        out.transact(|transaction| transaction.put(&session.character));
        let entity = session.entity;
        let from = &mut self.zones[session.zone];
        from.zone.despawn(entity);
        from.players.remove(&entity);
        if let Some(zone) = self.zones.iter().position(|zone| zone.id == gate.to_zone) {
            session.zone = zone;
            self.appear(id, gate.to, None, out);
            return;
        }
        let Some(session) = self.sessions.remove(id) else { return };
        let character = session.character_id();
        let slots = session.inventory.slots().iter().enumerate();
        let items = slots.filter_map(|(slot, stack)| Some(ItemRow::carried((*stack)?, character, slot)));
        let carried = Carried {
            items: items.collect(),
            request: session.request,
            sequence: session.steering.accepted(),
            chat_ticks: session.allowance.whole_at_tick.saturating_sub(self.tick),
            character: session.character,
        };
        out.departed.push(Departed { session: id, carried });
    }

    fn take_in(
        &mut self,
        id: SessionId,
        carried: Carried,
        answers: Option<u32>,
        out: &mut Outbox,
    ) -> Result<(), JoinError> {
        let Carried { character, items, request, sequence, chat_ticks } = carried;
        if self.sessions.get_mut(id).is_some() {
            return Err(JoinError::SlotTaken);
        }
        if self.sessions.iter().any(|(_, other)| other.character.id == character.id) {
            return Err(JoinError::CharacterHere(character.id));
        }
        let zone = self.zones.iter().position(|zone| i64::from(zone.id.0) == character.zone);
        let zone = zone.ok_or(JoinError::ZoneElsewhere(character.zone))?;
        let inventory = Inventory::load(&self.content, CharacterId(character.id), &items)?;
        let content = &self.content.zones[self.zones[zone].content];
        let pos = arrival(&content.map, character.place(), content.spawn);
        let joined = Session {
            zone,
            entity: EntityId(0),
            character,
            inventory,
            steering: Steering::after(sequence),
            allowance: Allowance { whole_at_tick: if chat_ticks == 0 { 0 } else { self.tick + chat_ticks } },
            request,
            view: new_view(&content.kind),
        };
        self.sessions.insert(id, joined);
        self.appear(id, pos, answers, out);
        Ok(())
    }

    /// Spawns a session's character in its zone and tells the client, to whom all of it is new. What it carries is told only in
    /// answer to a request: of who walks, some of it may not be durable yet.
    fn appear(&mut self, id: SessionId, pos: Pos, answers: Option<u32>, out: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let state = &mut self.zones[session.zone];
        let content = &self.content.zones[state.content];
        session.entity = state.zone.spawn(Spawn {
            pos,
            kind: EntityKind::PLAYER,
            state: 0,
            name: &session.character.name,
            warm: Warm::default(),
        });
        session.view = new_view(&content.kind);
        state.players.insert(session.entity, id);
        let inventory = &session.inventory;
        let carried = inventory.slots().iter().enumerate().filter(|(_, stack)| stack.is_some());
        let told = carried.filter(|_| answers.is_some());
        out.send(
            id,
            &EnteredZone {
                request: answers.unwrap_or(0),
                zone: state.id.0,
                tick_hz: content.kind.tick_hz,
                speed: content.kind.player_speed,
                entity: session.entity.0,
                x: pos.x,
                y: pos.y,
                inventory: told.map(|(slot, _)| inventory.slot_message(slot)).collect(),
            },
        );
    }
}
