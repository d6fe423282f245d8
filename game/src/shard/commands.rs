//! What clients ask for. Each command is judged whole before anything changes; what is refused changes nothing
//! but the last request's id.

use vyuha_protocol::message::{ClientMessage, Done, Dropped, LoggedOut, PickedUp, Pong, Said};
use vyuha_protocol::motion::Heading;
use vyuha_protocol::{EntityId, ErrorCode};

use super::session::new_view;
use super::{LeaveCause, Outbox, SessionId, Shard};
use crate::chat;
use crate::ground::within_reach;
use crate::inventory::{ItemRow, Removal, Stack, placement, removal};
use crate::movement::Received;

impl Shard {
    /// Acts on a message of a session, at once; only inputs wait for their tick.
    pub fn receive(&mut self, session: SessionId, message: ClientMessage<'_>, out: &mut Outbox) {
        use ClientMessage as Client;
        out.count_command(&message);
        let request = match message {
            Client::Ping(ping) => return out.send(session, &Pong { stamp: ping.stamp.to_native() }),
            Client::Input(input) => {
                let heading = Heading { x: input.heading_x, y: input.heading_y };
                return self.steer(session, input.sequence.to_native(), heading, out);
            }
            // Acknowledgements are for the driver, which keeps what is to be acknowledged.
            Client::Hello(_) | Client::Resume(_) | Client::Acknowledge(_) => {
                return out.refuse(session, 0, ErrorCode::OutOfOrder);
            }
            Client::RegisterAccount(asked) => asked.request,
            Client::Login(asked) => asked.request,
            Client::RedeemTicket(asked) => asked.request,
            Client::ListCharacters(asked) => asked.request,
            Client::CreateCharacter(asked) => asked.request,
            Client::SelectCharacter(asked) => asked.request,
            Client::Say(asked) => asked.request,
            Client::PickUp(asked) => asked.request,
            Client::Drop(asked) => asked.request,
            Client::Logout(asked) => asked.request,
        }
        .to_native();

        let result = self.check_request(session, request).and_then(|()| match message {
            Client::Say(asked) => self.say(session, request, asked.text.as_str(), out),
            Client::PickUp(asked) => self.pick_up(session, request, EntityId(asked.entity.to_native()), out),
            Client::Drop(asked) => {
                self.drop_items(session, request, usize::from(asked.slot), asked.count.to_native(), out)
            }
            Client::Logout(_) => {
                self.end(session, LeaveCause::LoggedOut, out);
                out.send_durable(session, &LoggedOut { request });
                Ok(())
            }
            _ => Err(ErrorCode::OutOfOrder),
        });
        if let Err(code) = result {
            out.refuse(session, request, code);
        }
    }

    /// Begins to tell a session of its zone anew, as to a client that knows nothing of it. The last request that was received
    /// of it comes back; `None` if there is no such session.
    pub fn tell_anew(&mut self, session: SessionId) -> Option<u32> {
        let told = self.sessions.get_mut(session)?;
        told.view = new_view(&self.content.zones[self.zones[told.zone].content].kind);
        Some(told.request)
    }

    fn steer(&mut self, session: SessionId, sequence: u32, heading: Heading, out: &mut Outbox) {
        let Some(steered) = self.sessions.get_mut(session) else {
            return out.refuse(session, 0, ErrorCode::OutOfOrder);
        };
        match steered.steering.receive(sequence, heading) {
            Received::Queued { skipped, dropped } => {
                out.counts.inputs_skipped += u64::from(skipped);
                out.counts.inputs_dropped += u64::from(dropped);
            }
            Received::Replayed => out.count_refused(ErrorCode::Replayed),
        }
    }

    fn check_request(&mut self, session: SessionId, request: u32) -> Result<(), ErrorCode> {
        let asking = self.sessions.playing(session)?;
        if request <= asking.request {
            return Err(ErrorCode::Replayed);
        }
        asking.request = request;
        Ok(())
    }

    fn say(
        &mut self,
        speaker: SessionId,
        request: u32,
        text: &str,
        out: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        let speaking = self.sessions.playing(speaker)?;
        chat::speak(&mut speaking.allowance, text, self.tick, self.config.tick_hz)?;
        let zone = &self.zones[speaking.zone];
        let hearing_radius = self.content.zones[zone.content].kind.hearing_radius;
        let at = zone.place_of(speaking.entity);
        let (name, text) = (speaking.character.name.clone(), text.to_owned());
        let said = out.write(&Said { entity: speaking.entity.0, name, text });
        // The speaker hears itself even before the zone has taken it in.
        out.address(speaker, said.clone(), false);
        zone.zone.within(at, hearing_radius, |entity, _| {
            if let Some(&listener) = zone.players.get(&entity)
                && listener != speaker
            {
                out.address(listener, said.clone(), false);
            }
        });
        out.send(speaker, &Done { request });
        Ok(())
    }

    fn pick_up(
        &mut self,
        session: SessionId,
        request: u32,
        entity: EntityId,
        out: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        if !self.durable_open {
            return Err(ErrorCode::JournalBusy);
        }
        let taking = self.sessions.playing(session)?;
        let zone = &mut self.zones[taking.zone];
        let item = *zone.ground.get(entity).ok_or(ErrorCode::ItemGone)?;
        let at = zone.place_of(taking.entity);
        if !within_reach(at, item.at, self.content.zones[zone.content].kind.reach) {
            return Err(ErrorCode::TooFar);
        }
        let taken = item.stack;
        let stack_max =
            self.content.item(taken.kind).expect("only kinds of the content are loaded").stack_max;
        let slot = placement(taking.inventory.slots(), taken.kind, taken.count, stack_max)?;

        let joined = match taking.inventory.slots()[slot] {
            Some(stack) => Stack { count: stack.count + taken.count, ..stack },
            None => taken,
        };
        taking.inventory.set(slot, Some(joined));
        zone.ground.take(&mut zone.zone, entity);
        out.transact(|transaction| {
            if joined.id != taken.id {
                transaction.delete(&ItemRow::lying(taken, zone.id, item.at));
            }
            transaction.put(&ItemRow::carried(joined, taking.character_id(), slot));
        });
        let slot = taking.inventory.slot_message(slot);
        out.send_durable(session, &PickedUp { request, entity: entity.0, slot });
        Ok(())
    }

    fn drop_items(
        &mut self,
        session: SessionId,
        request: u32,
        slot: usize,
        count: u32,
        out: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        if !self.durable_open {
            return Err(ErrorCode::JournalBusy);
        }
        let dropping = self.sessions.playing(session)?;
        let removal = removal(dropping.inventory.slots(), slot, count)?;
        let zone = &mut self.zones[dropping.zone];
        if zone.ground.count() >= self.content.zones[zone.content].kind.ground_items_max as usize {
            return Err(ErrorCode::GroundFull);
        }

        let at = zone.place_of(dropping.entity);
        let (rest, dropped) = match removal {
            Removal::Whole(stack) => (None, stack),
            Removal::Part { rest } => {
                let id = self.item_ids.issue();
                (Some(rest), Stack { id, kind: rest.kind, count })
            }
        };
        dropping.inventory.set(slot, rest);
        let entity = zone.ground.lay(&mut zone.zone, dropped, at);
        out.transact(|transaction| {
            if let Some(rest) = rest {
                transaction.put(&ItemRow::carried(rest, dropping.character_id(), slot));
            }
            transaction.put(&ItemRow::lying(dropped, zone.id, at));
        });
        let slot = dropping.inventory.slot_message(slot);
        out.send_durable(session, &Dropped { request, entity: entity.0, slot });
        Ok(())
    }
}
