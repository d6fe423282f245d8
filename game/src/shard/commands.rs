//! What clients ask for. Each command is judged whole before anything changes; what is refused changes nothing
//! but the last request's id.

use vyuha_protocol::message::{Away, ClientMessage, Done, LoggedOut, Pong, Said};
use vyuha_protocol::motion::Heading;
use vyuha_protocol::{EntityId, ErrorCode};

use super::session::new_view;
use super::{LeaveCause, Outbox, SessionId, Shard, Spoken};
use crate::chat;
use crate::movement::Received;
use crate::presence::Presence;
use crate::requests;

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
            Client::Move(asked) => asked.request,
            Client::Equip(asked) => asked.request,
            Client::Unequip(asked) => asked.request,
            Client::OpenBank(asked) => asked.request,
            Client::Deposit(asked) => asked.request,
            Client::Withdraw(asked) => asked.request,
            Client::AskTrade(asked) => asked.request,
            Client::AcceptTrade(asked) => asked.request,
            Client::Offer(asked) => asked.request,
            Client::ConfirmTrade(asked) => asked.request,
            Client::CancelTrade(asked) => asked.request,
        }
        .to_native();

        let is_leaving = matches!(message, Client::Logout(_));
        let checked = self.check_request(session, request, is_leaving);
        if checked.is_ok() {
            self.welcome_back(session, out);
        }
        let result = checked.and_then(|()| match message {
            Client::Say(asked) => self.say(session, request, asked.text.as_str(), out),
            Client::Logout(_) => {
                self.end(session, LeaveCause::LoggedOut, out);
                out.send_durable(session, &LoggedOut { request });
                Ok(())
            }
            Client::OpenBank(_) => self.open_bank(session, request, out),
            Client::AskTrade(asked) => {
                self.ask_trade(session, request, EntityId(asked.entity.to_native()), out)
            }
            Client::AcceptTrade(asked) => {
                self.accept_trade(session, request, EntityId(asked.entity.to_native()), out)
            }
            Client::CancelTrade(_) => self.cancel_trade(session, request, out),
            message => self.handle(session, request, message, out),
        });
        if let Err(code) = result {
            out.refuse(session, request, code);
        }
    }

    /// Acts on a command that moves items or prepares it.
    fn handle(
        &mut self,
        session: SessionId,
        request: u32,
        message: ClientMessage<'_>,
        out: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        use ClientMessage as Client;
        let nonce = match message {
            Client::PickUp(asked) => asked.nonce,
            Client::Drop(asked) => asked.nonce,
            Client::Move(asked) => asked.nonce,
            Client::Equip(asked) => asked.nonce,
            Client::Unequip(asked) => asked.nonce,
            Client::Deposit(asked) => asked.nonce,
            Client::Withdraw(asked) => asked.nonce,
            Client::Offer(asked) => asked.nonce,
            Client::ConfirmTrade(asked) => asked.nonce,
            _ => return Err(ErrorCode::OutOfOrder),
        };
        self.check_durable(session, nonce.to_native())?;
        match message {
            Client::PickUp(asked) => self.pick_up(session, request, EntityId(asked.entity.to_native()), out),
            Client::Drop(asked) => {
                self.drop_items(session, request, asked.slot.into(), asked.count.to_native(), out)
            }
            Client::Move(asked) => {
                let slots = [asked.from, asked.to].map(|slot| usize::from(slot.to_native()));
                self.move_item(session, request, asked.place.into(), slots, out)
            }
            Client::Equip(asked) => self.equip(session, request, asked.slot.into(), out),
            Client::Unequip(asked) => self.unequip(session, request, asked.slot.into(), out),
            Client::Deposit(asked) => {
                let what = (asked.slot.into(), asked.count.to_native());
                self.deposit(session, request, what, asked.tab.into(), out)
            }
            Client::Withdraw(asked) => {
                let what = (asked.slot.to_native().into(), asked.count.to_native());
                self.withdraw(session, request, what, asked.keep, out)
            }
            Client::Offer(asked) => self.offer(session, request, asked.slot, asked.count.to_native(), out),
            Client::ConfirmTrade(asked) => {
                self.confirm_trade(session, request, asked.revision.to_native(), asked.step, out)
            }
            _ => Err(ErrorCode::OutOfOrder),
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
                if heading != (Heading { x: 0, y: 0 }) {
                    self.welcome_back(session, out);
                }
            }
            Received::Replayed => out.count_refused(ErrorCode::Replayed),
        }
    }

    /// Takes note of a sign of a session's player.
    fn welcome_back(&mut self, id: SessionId, out: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let before = std::mem::replace(&mut session.presence, Presence::new(self.tick));
        if before.is_away {
            let state = session.presence.state();
            self.zones[session.zone].zone.set_state(session.entity, state);
            out.send(id, &Away { away: false, closing_s: 0 });
        }
    }

    /// Judges a request before it is looked at; `always` is for what no rate may keep a client from.
    fn check_request(&mut self, session: SessionId, request: u32, always: bool) -> Result<(), ErrorCode> {
        let (tick, tick_hz) = (self.tick, self.config.tick_hz);
        let per_second_max = self.config.requests_per_second_max;
        let asking = self.sessions.playing(session)?;
        if request <= asking.request {
            return Err(ErrorCode::Replayed);
        }
        asking.request = request;
        match requests::spend(&mut asking.budget, tick, tick_hz, per_second_max) {
            Err(_) if always => Ok(()),
            spent => spent,
        }
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
        let character = speaking.character.id;
        out.spoken.push(Spoken { zone: zone.id, character, name: name.clone(), text: text.clone() });
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

    /// Refuses commands of another session, and all that must be durable while nothing can be.
    fn check_durable(&mut self, session: SessionId, nonce: u32) -> Result<(), ErrorCode> {
        if self.sessions.playing(session)?.nonce != nonce {
            return Err(ErrorCode::NonceStale);
        }
        if self.durable_open { Ok(()) } else { Err(ErrorCode::JournalBusy) }
    }
}
