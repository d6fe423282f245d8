//! How sessions come into zones: by signing in, through a gate, or from another shard.

use vyuha_core::{Spawn, Warm};
use vyuha_protocol::message::EnteredZone;
use vyuha_protocol::{CharacterId, EntityId, EntityKind, ErrorCode, Pos};

use super::session::{Session, new_view};
use super::{Departed, JoinError, Outbox, SessionId, Shard};
use crate::character::{Belongings, CharacterRow, arrival};
use crate::chat::Allowance;
use crate::gates::{Carried, gate_at};
use crate::hash::StateHash;
use crate::inventory::{ItemRow, PLACE_EQUIPMENT, Stack, item_slot};
use crate::movement::Steering;
use crate::presence::Presence;
use crate::requests::Budget;

impl Shard {
    /// Takes a character in: answers `request` with [`EnteredZone`], and snapshots follow. `items` are the rows of
    /// what it owns.
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
        let items = items.to_vec();
        let carried =
            Carried { character, items, request, nonce: 0, sequence: 0, chat_ticks: 0, owes: false };
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
        self.end_trade(id, ErrorCode::TooFar, out);
        self.trades.forget(id);
        let Some(session) = self.sessions.get_mut(id) else { return };
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
        let carried = Carried {
            items: session.belongings.rows(session.character_id()),
            request: session.request,
            nonce: session.nonce,
            sequence: session.steering.accepted(),
            chat_ticks: session.allowance.whole_at_tick.saturating_sub(self.tick),
            owes: session.owes,
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
        let Carried { character, items, request, nonce, sequence, chat_ticks, owes } = carried;
        if self.sessions.get_mut(id).is_some() {
            return Err(JoinError::SlotTaken);
        }
        if self.sessions.iter().any(|(_, other)| other.character.id == character.id) {
            return Err(JoinError::CharacterHere(character.id));
        }
        let zone = self.zones.iter().position(|zone| i64::from(zone.id.0) == character.zone);
        let zone = zone.ok_or(JoinError::ZoneElsewhere(character.zone))?;
        let belongings = Belongings::load(&self.content, CharacterId(character.id), &items)?;
        let nonce = if answers.is_some() { self.issue_nonce() } else { nonce };
        let content = &self.content.zones[self.zones[zone].content];
        let pos = arrival(&content.map, character.place(), content.spawn);
        let joined = Session {
            zone,
            entity: EntityId(0),
            character,
            belongings,
            steering: Steering::after(sequence),
            allowance: Allowance { whole_at_tick: if chat_ticks == 0 { 0 } else { self.tick + chat_ticks } },
            budget: Budget::default(),
            presence: Presence::new(self.tick),
            request,
            owes,
            nonce,
            view: new_view(&content.kind),
        };
        self.sessions.put(id, Box::new(joined));
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
            state: session.presence.state(),
            name: &session.character.name,
            warm: Warm::default(),
        });
        session.view = new_view(&content.kind);
        state.players.insert(session.entity, id);
        out.entered.push(id);
        let Belongings { inventory, equipment, .. } = &session.belongings;
        let told = |slots: &[Option<Stack>]| -> Vec<usize> {
            let taken = slots.iter().enumerate().filter(|(_, stack)| stack.is_some() && answers.is_some());
            taken.map(|(slot, _)| slot).collect()
        };
        let (carried, worn) = (told(inventory.slots()), told(equipment.slots()));
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
                inventory: carried.into_iter().map(|slot| inventory.slot_message(slot)).collect(),
                worn: worn
                    .into_iter()
                    .map(|slot| item_slot(PLACE_EQUIPMENT, slot, equipment.slots()[slot]))
                    .collect(),
                nonce: session.nonce,
            },
        );
    }

    /// A number that no other session of this shard's run has had, and of another run hardly any.
    fn issue_nonce(&mut self) -> u32 {
        self.sessions_begun = self.sessions_begun.wrapping_add(1);
        let mut run = StateHash::default();
        run.write(self.config.seed);
        run.write(self.config.next_item_id as u64);
        (run.finish() as u32).wrapping_add(self.sessions_begun)
    }
}
