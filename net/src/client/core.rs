//! The protocol's client side without I/O.

use std::sync::Arc;

use vyuha_protocol::frame::{
    CLIENT_PAYLOAD_BYTES_MAX, FRAME_HEAD_BYTES, Frame, SERVER_PAYLOAD_BYTES_MAX, first_frame,
};
use vyuha_protocol::message::{
    self, Acknowledge, ArchivedInventorySlot, ArchivedItemSlot, CharacterSummary, CreateCharacter, Hello,
    Input, InventorySlot, ItemSlot, ListCharacters, Login, Logout, Message, Ping, RedeemTicket,
    RegisterAccount, Resume, Say, SelectCharacter, ServerMessage,
};
use vyuha_protocol::motion::Heading;
use vyuha_protocol::snapshot::{SNAPSHOT_KIND, Snapshot};
use vyuha_protocol::{AccountId, CharacterId, EntityId, ErrorCode, PROTOCOL_VERSION, Pos, RequestId, ZoneId};

use super::predictor::Predictor;
use super::world::{Watch, World};
use super::{ClientContent, EnteredZone, Event, Fault, SendError, SnapshotSummary};

/// Most received bytes that wait to be taken as events: the longest frame and one more read.
pub const RECEIVED_BYTES_MAX: usize = SERVER_PAYLOAD_BYTES_MAX as usize + FRAME_HEAD_BYTES + (1 << 16);
/// Most bytes that wait to be sent.
pub const OUTGOING_BYTES_MAX: usize = 1 << 16;
/// Most requests that may wait for their answer.
pub const REQUESTS_PENDING_MAX: usize = 64;
/// Bytes of numbered messages after which they are acknowledged, with the next snapshot.
const ACKNOWLEDGE_BYTES: usize = 1 << 10;
/// Inputs that are sent again when a session goes on: as many as a server queues.
const INPUTS_SENT_AGAIN_MAX: usize = 8;
/// A buffer that grew beyond this is given back once it is empty: a crowd passes.
const BUFFER_KEPT_BYTES: usize = 1 << 14;

/// One connection's protocol state: bytes in, events out, requests appended to a buffer.
///
/// Every method that sends appends a whole frame to [`ClientCore::outgoing`] or, with a [`SendError`], nothing. It does not
/// judge whether the server will take the message at this stage. Memory: the stated bounds of its buffers, the
/// world view's entities and [`super::INPUTS_PENDING_MAX`] inputs.
#[derive(Debug)]
pub struct ClientCore {
    content: Arc<ClientContent>,
    received: Vec<u8>,
    /// Bytes of `received` that were taken as events.
    taken: usize,
    outgoing: Vec<u8>,
    request_last: u32,
    requests: Vec<OpenRequest>,
    session: Option<Session>,
    /// What the session's commands about items carry.
    pub(super) nonce: u32,
    /// The server was asked to take the session up again and has not answered.
    resuming: bool,
    zone: Option<Zone>,
    watch: Watch,
    world: World,
    /// Set once nothing more can follow.
    end: Option<End>,
}

#[derive(Debug)]
struct OpenRequest {
    request: RequestId,
    /// The kind of its answer.
    answer: u16,
    /// To be sent again where the first one was lost.
    frame: Vec<u8>,
}

/// What is known of a session that outlives its connections.
#[derive(Debug)]
struct Session {
    ticket: [u8; 16],
    /// Numbered messages that were taken as events.
    received: u32,
    unacknowledged_bytes: usize,
}

#[derive(Debug)]
struct Zone {
    predictor: Predictor,
    tick_last: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    /// The server said that it closes.
    Closed,
    Fault(Fault),
}

impl ClientCore {
    /// A connection on which nothing was said yet.
    pub fn new(content: Arc<ClientContent>) -> ClientCore {
        ClientCore {
            content,
            received: Vec::new(),
            taken: 0,
            outgoing: Vec::new(),
            request_last: 0,
            requests: Vec::new(),
            session: None,
            nonce: 0,
            resuming: false,
            zone: None,
            watch: Watch::All,
            world: World::default(),
            end: None,
        }
    }

    /// Lets the world view hold only a part of what the server shows, from the next zone on.
    pub fn watch(&mut self, watch: Watch) {
        self.watch = watch;
    }

    /// Takes bytes from the server. Take the events in between: more than [`RECEIVED_BYTES_MAX`] waiting bytes are a
    /// fault.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match self.end {
            Some(End::Closed) => return Ok(()),
            Some(End::Fault(fault)) => return Err(fault),
            None => {}
        }
        if self.taken > 0 {
            self.received.drain(..self.taken);
            self.taken = 0;
        }
        if self.received.len() + bytes.len() > RECEIVED_BYTES_MAX {
            self.end = Some(End::Fault(Fault::ReceivedFull));
            return Err(Fault::ReceivedFull);
        }
        self.received.extend_from_slice(bytes);
        Ok(())
    }

    /// The next event, or `None` until more bytes come, and for good once the server closed. A fault is final.
    pub fn next_event(&mut self) -> Result<Option<Event>, Fault> {
        match self.end {
            Some(End::Closed) => return Ok(None),
            Some(End::Fault(fault)) => return Err(fault),
            None => {}
        }
        // The buffer is set aside so that a frame can be read in place while the rest of the state changes.
        let received = std::mem::take(&mut self.received);
        let event = match first_frame(&received[self.taken..], SERVER_PAYLOAD_BYTES_MAX) {
            Ok(Some(frame)) => {
                self.taken += frame.bytes();
                self.take(frame).map(Some)
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error.into()),
        };
        self.received = received;
        if self.taken == self.received.len() {
            self.received.clear();
            self.taken = 0;
            give_back(&mut self.received);
        }
        if let Err(fault) = event {
            self.end = Some(End::Fault(fault));
        }
        event
    }

    /// The bytes to be sent.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// Notes that the first `bytes` of [`ClientCore::outgoing`] were sent.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn mark_sent(&mut self, bytes: usize) {
        self.outgoing.drain(..bytes);
        give_back(&mut self.outgoing);
    }

    /// Ends it in favour of a program that reads on by itself: the bytes that were received and not taken as events, and the
    /// number of the last request. What waits to be sent is lost.
    pub fn into_unread(mut self) -> (Vec<u8>, u32) {
        self.received.drain(..self.taken);
        (self.received, self.request_last)
    }

    /// What is in view; empty until a character entered a zone.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The prediction of the character's own place, once it entered a zone.
    pub fn predictor(&self) -> Option<&Predictor> {
        self.zone.as_ref().map(|zone| &zone.predictor)
    }

    /// Requests that wait for their answer.
    pub fn requests_pending(&self) -> impl Iterator<Item = RequestId> {
        self.requests.iter().map(|open| open.request)
    }

    /// Opens the connection; answered by [`Event::Welcome`].
    pub fn hello(&mut self) -> Result<(), SendError> {
        self.send(&Hello { version: PROTOCOL_VERSION, content_hash: self.content.hash })
    }

    /// Takes up the session on a new connection, in place of all that opens one and signs in. What was not sent or not taken
    /// as an event is dropped: the server is asked for it. Answered by [`Event::Resumed`], after which no event is missing or
    /// comes twice and every open request is answered; or by [`Event::Refused`] or [`Event::Closed`] with
    /// [`ErrorCode::ResumeRefused`], after which the session and its open requests are forgotten.
    pub fn resume(&mut self) -> Result<(), SendError> {
        let Some(Session { ticket, received, .. }) = self.session else { return Err(SendError::NoSession) };
        if let Some(End::Fault(_)) = self.end {
            return Err(SendError::Over);
        }
        self.end = None;
        self.received.clear();
        self.taken = 0;
        self.outgoing.clear();
        self.resuming = true;
        self.hello()?;
        self.send(&Resume { ticket, received })
    }

    /// What takes the session up, if there is one: the newest ticket, and how many numbered messages were taken as events.
    pub fn session(&self) -> Option<([u8; 16], u32)> {
        self.session.as_ref().map(|session| (session.ticket, session.received))
    }

    /// Whether there is a session that can be taken up on a new connection, as far as is known here.
    pub fn can_resume(&self) -> bool {
        self.session.is_some()
    }

    /// Registers an account; answered by [`Event::Registered`].
    pub fn register(&mut self, account: &str, password: &str) -> Result<RequestId, SendError> {
        self.request(message::AccountRegistered::KIND, |request| RegisterAccount {
            request,
            account: account.to_owned(),
            password: password.to_owned(),
        })
    }

    /// Signs in; answered by [`Event::LoggedIn`].
    pub fn log_in(&mut self, account: &str, password: &str) -> Result<RequestId, SendError> {
        self.request(message::LoggedIn::KIND, |request| Login {
            request,
            account: account.to_owned(),
            password: password.to_owned(),
        })
    }

    /// Signs in with a ticket of the HTTP API; answered by [`Event::LoggedIn`].
    pub fn redeem_ticket(&mut self, ticket: &str) -> Result<RequestId, SendError> {
        self.request(message::LoggedIn::KIND, |request| RedeemTicket { request, ticket: ticket.to_owned() })
    }

    /// Asks for the account's characters; answered by [`Event::Characters`].
    pub fn list_characters(&mut self) -> Result<RequestId, SendError> {
        self.request(message::Characters::KIND, |request| ListCharacters { request })
    }

    /// Creates a character; answered by [`Event::CharacterCreated`].
    pub fn create_character(&mut self, name: &str) -> Result<RequestId, SendError> {
        self.request(message::CharacterCreated::KIND, |request| CreateCharacter {
            request,
            name: name.to_owned(),
        })
    }

    /// Enters the world; answered by [`Event::EnteredZone`].
    pub fn select_character(&mut self, character: CharacterId) -> Result<RequestId, SendError> {
        self.request(message::EnteredZone::KIND, |request| SelectCharacter {
            request,
            character: character.0,
        })
    }

    /// Takes one step: one a tick of the zone. Returns its sequence number and where it is predicted to lead.
    pub fn input(&mut self, heading: Heading) -> Result<(u32, Pos), SendError> {
        self.check_room()?;
        if self.resuming {
            return Err(SendError::Resuming);
        }
        let zone = self.zone.as_mut().ok_or(SendError::NotInZone)?;
        let (sequence, pos) = zone.predictor.step(heading).ok_or(SendError::TooManyInputs)?;
        message::append(&mut self.outgoing, &Input { sequence, heading_x: heading.x, heading_y: heading.y });
        Ok((sequence, pos))
    }

    /// Says something to those near; answered by [`Event::Done`].
    pub fn say(&mut self, text: &str) -> Result<RequestId, SendError> {
        self.request(message::Done::KIND, |request| Say { request, text: text.to_owned() })
    }

    /// Asks for a sign of life; answered by [`Event::Pong`] with the same stamp.
    pub fn ping(&mut self, stamp: u64) -> Result<(), SendError> {
        self.send(&Ping { stamp })
    }

    /// Leaves in good order; answered by [`Event::LoggedOut`] once the character is saved.
    pub fn log_out(&mut self) -> Result<RequestId, SendError> {
        self.request(message::LoggedOut::KIND, |request| Logout { request })
    }

    /// Appends any message as it is, whatever its numbers: what tests of a server need. Answers to requests that were sent
    /// in this way are faults, refusals are not.
    pub fn send<M: Message>(&mut self, message: &M) -> Result<(), SendError> {
        self.check_room()?;
        let before = self.outgoing.len();
        message::append(&mut self.outgoing, message);
        if self.outgoing.len() - before > FRAME_HEAD_BYTES + CLIENT_PAYLOAD_BYTES_MAX as usize {
            self.outgoing.truncate(before);
            return Err(SendError::TooLong);
        }
        Ok(())
    }

    fn check_room(&self) -> Result<(), SendError> {
        if self.end.is_some() {
            return Err(SendError::Over);
        }
        if self.outgoing.len() > OUTGOING_BYTES_MAX { Err(SendError::OutgoingFull) } else { Ok(()) }
    }

    pub(super) fn request<M: Message>(
        &mut self,
        answer: u16,
        message: impl FnOnce(u32) -> M,
    ) -> Result<RequestId, SendError> {
        if self.requests.len() == REQUESTS_PENDING_MAX {
            return Err(SendError::TooManyRequests);
        }
        let request = self.request_last.checked_add(1).ok_or(SendError::Over)?;
        let before = self.outgoing.len();
        self.send(&message(request))?;
        let frame = self.outgoing[before..].to_vec();
        if self.resuming {
            // Those that were lost go before it.
            self.outgoing.truncate(before);
        }
        self.request_last = request;
        self.requests.push(OpenRequest { request: RequestId(request), answer, frame });
        Ok(RequestId(request))
    }

    /// Closes the open request that a message answers.
    fn answered<M: Message>(&mut self, request: u32) -> Result<RequestId, Fault> {
        let request = RequestId(request);
        let at = self.requests.iter().position(|open| (open.request, open.answer) == (request, M::KIND));
        let at = at.ok_or(Fault::NotAsked { message: M::NAME, request })?;
        self.requests.remove(at);
        Ok(request)
    }

    /// Counts a numbered message.
    fn count(&mut self, bytes: usize) {
        if let Some(session) = &mut self.session {
            session.received += 1;
            session.unacknowledged_bytes += bytes;
        }
    }

    fn acknowledge(&mut self) -> Result<(), SendError> {
        let Some(session) = &mut self.session else { return Ok(()) };
        session.unacknowledged_bytes = 0;
        let received = session.received;
        self.send(&Acknowledge { received })
    }

    /// The session goes on: what the server did not get is sent again.
    fn resumed(&mut self, ticket: [u8; 16], request_last: u32) -> Result<(), Fault> {
        let session = self.session.as_mut().filter(|_| self.resuming).ok_or(Fault::OutOfOrder("Resumed"))?;
        session.ticket = ticket;
        self.resuming = false;
        self.world = World::watching(self.watch);
        // Only a ping stands in the way: the buffer was emptied for the new connection, and these fit.
        self.acknowledge().map_err(|_| Fault::OutOfOrder("Resumed"))?;
        for open in self.requests.iter().filter(|open| open.request.0 > request_last) {
            self.outgoing.extend_from_slice(&open.frame);
        }
        if let Some(zone) = &self.zone {
            for (sequence, heading) in zone.predictor.last_pending(INPUTS_SENT_AGAIN_MAX) {
                let again = Input { sequence, heading_x: heading.x, heading_y: heading.y };
                message::append(&mut self.outgoing, &again);
            }
        }
        Ok(())
    }

    fn take(&mut self, frame: Frame) -> Result<Event, Fault> {
        if frame.kind == SNAPSHOT_KIND {
            let taken = self.apply(&Snapshot::read(frame.payload)?)?;
            if self.session.as_ref().is_some_and(|session| session.unacknowledged_bytes >= ACKNOWLEDGE_BYTES)
            {
                // Where there is no room the next one says it.
                let _ = self.acknowledge();
            }
            return Ok(Event::Snapshot(taken));
        }
        let message = ServerMessage::decode(frame.kind, frame.payload)?;
        let is_last = matches!(message, ServerMessage::Error(m) if m.closing);
        if message::is_numbered(frame.kind) && !is_last {
            self.count(frame.bytes());
        }
        Ok(match message {
            ServerMessage::Ticket(m) => {
                self.session = Some(Session { ticket: m.ticket, received: 0, unacknowledged_bytes: 0 });
                Event::SessionBegun
            }
            ServerMessage::Resumed(m) => {
                self.resumed(m.ticket, m.request.into())?;
                Event::Resumed
            }
            ServerMessage::Welcome(m) => {
                Event::Welcome { version: m.version.into(), build: m.build.to_string() }
            }
            ServerMessage::AccountRegistered(m) => {
                Event::Registered { request: self.answered::<message::AccountRegistered>(m.request.into())? }
            }
            ServerMessage::LoggedIn(m) => Event::LoggedIn {
                request: self.answered::<message::LoggedIn>(m.request.into())?,
                account: AccountId(m.account.into()),
            },
            ServerMessage::Characters(m) => Event::Characters {
                request: self.answered::<message::Characters>(m.request.into())?,
                characters: m
                    .characters
                    .iter()
                    .map(|c| CharacterSummary {
                        character: c.character.into(),
                        name: c.name.to_string(),
                        zone: c.zone.into(),
                    })
                    .collect(),
            },
            ServerMessage::CharacterCreated(m) => Event::CharacterCreated {
                request: self.answered::<message::CharacterCreated>(m.request.into())?,
                character: CharacterId(m.character.into()),
            },
            ServerMessage::EnteredZone(m) => {
                let entered = EnteredZone {
                    request: match u32::from(m.request) {
                        // It walked there.
                        0 if self.zone.is_some() => RequestId(0),
                        request => self.answered::<message::EnteredZone>(request)?,
                    },
                    zone: ZoneId(m.zone.into()),
                    tick_hz: m.tick_hz.into(),
                    speed: m.speed.into(),
                    entity: EntityId(m.entity.into()),
                    pos: Pos { x: m.x.into(), y: m.y.into() },
                    inventory: m.inventory.iter().map(slot).collect(),
                    worn: m.worn.iter().map(item_slot).collect(),
                };
                self.nonce = m.nonce.into();
                self.enter(&entered)?;
                Event::EnteredZone(entered)
            }
            ServerMessage::Done(m) => {
                Event::Done { request: self.answered::<message::Done>(m.request.into())? }
            }
            ServerMessage::Away(m) => Event::Away { away: m.away, closing_s: m.closing_s.into() },
            ServerMessage::Said(m) => Event::Said {
                entity: EntityId(m.entity.into()),
                name: m.name.to_string(),
                text: m.text.to_string(),
            },
            ServerMessage::PickedUp(m) => Event::PickedUp {
                request: self.answered::<message::PickedUp>(m.request.into())?,
                entity: EntityId(m.entity.into()),
                slot: slot(&m.slot),
            },
            ServerMessage::Dropped(m) => Event::Dropped {
                request: self.answered::<message::Dropped>(m.request.into())?,
                entity: EntityId(m.entity.into()),
                slot: slot(&m.slot),
            },
            ServerMessage::SlotsChanged(m) => Event::SlotsChanged {
                request: match u32::from(m.request) {
                    0 => RequestId(0),
                    request => self.answered::<message::SlotsChanged>(request)?,
                },
                slots: m.slots.iter().map(item_slot).collect(),
            },
            ServerMessage::BankOpened(m) => Event::BankOpened {
                request: self.answered::<message::BankOpened>(m.request.into())?,
                slots: m.slots.iter().map(item_slot).collect(),
            },
            ServerMessage::TradeAsked(m) => {
                Event::TradeAsked { entity: EntityId(m.entity.into()), name: m.name.to_string() }
            }
            ServerMessage::TradeChanged(m) => Event::TradeChanged {
                partner: EntityId(m.partner.into()),
                revision: m.revision.into(),
                yours: m.yours.iter().map(item_slot).collect(),
                theirs: m.theirs.iter().map(item_slot).collect(),
                your_step: m.your_step,
                their_step: m.their_step,
            },
            ServerMessage::TradeDone(m) => {
                Event::TradeDone { slots: m.slots.iter().map(item_slot).collect() }
            }
            ServerMessage::TradeEnded(m) => Event::TradeEnded { code: ErrorCode::from_number(m.code.into()) },
            ServerMessage::Pong(m) => Event::Pong { stamp: m.stamp.into() },
            ServerMessage::LoggedOut(m) => {
                let request = self.answered::<message::LoggedOut>(m.request.into())?;
                self.end = Some(End::Closed);
                self.session = None;
                Event::LoggedOut { request }
            }
            ServerMessage::Error(m) => {
                let request = RequestId(m.request.into());
                let (code, text) = (ErrorCode::from_number(m.code.into()), m.text.to_string());
                self.requests.retain(|open| open.request != request);
                if self.resuming && code == Some(ErrorCode::ResumeRefused) {
                    self.resuming = false;
                    self.session = None;
                    self.zone = None;
                    self.requests.clear();
                }
                if m.closing {
                    self.end = Some(End::Closed);
                    Event::Closed { code, text }
                } else {
                    Event::Refused { request, code, text }
                }
            }
        })
    }

    fn enter(&mut self, entered: &EnteredZone) -> Result<(), Fault> {
        let map = self.content.maps.get(&entered.zone).ok_or(Fault::ZoneUnknown(entered.zone))?;
        let predictor = Predictor::new(map.clone(), entered.speed, entered.pos)
            .filter(|_| entered.tick_hz > 0)
            .ok_or(Fault::ZoneInvalid(entered.zone))?;
        let predictor = match self.zone.take() {
            Some(before) if entered.request == RequestId(0) => predictor.going_on(before.predictor),
            _ => predictor,
        };
        self.world = World::watching(self.watch);
        self.zone = Some(Zone { predictor, tick_last: None });
        Ok(())
    }

    fn apply(&mut self, snapshot: &Snapshot) -> Result<SnapshotSummary, Fault> {
        let zone = self.zone.as_mut().ok_or(Fault::OutOfOrder("Snapshot"))?;
        let tick = snapshot.head.tick;
        if let Some(last) = zone.tick_last.replace(tick).filter(|&last| tick <= last) {
            return Err(Fault::TickNotRising { tick, last });
        }
        let applied = self.world.apply(snapshot)?;
        let reconciled = zone.predictor.reconcile(snapshot.head.input_ack, snapshot.pos())?;
        Ok(SnapshotSummary {
            tick,
            input_ack: snapshot.head.input_ack,
            pos: snapshot.pos(),
            correction: reconciled.correction,
            entered: applied.entered,
            changed: applied.changed,
            left: applied.left,
            strays: applied.strays,
        })
    }
}

fn slot(slot: &ArchivedInventorySlot) -> InventorySlot {
    InventorySlot { slot: slot.slot, kind: slot.kind.into(), count: slot.count.into() }
}

fn item_slot(slot: &ArchivedItemSlot) -> ItemSlot {
    ItemSlot {
        place: slot.place,
        slot: slot.slot.into(),
        kind: slot.kind.into(),
        count: slot.count.into(),
        wear: slot.wear.into(),
        item: slot.item.into(),
    }
}

/// Frees what an empty buffer holds beyond what is kept.
fn give_back(buffer: &mut Vec<u8>) {
    if buffer.is_empty() {
        buffer.shrink_to(BUFFER_KEPT_BYTES);
    }
}
