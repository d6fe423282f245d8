//! A playing client that costs little, so that one core can run thousands: it walks by the law of motion, checks
//! every snapshot's head against it, and keeps nothing else of what it is shown.
//!
//! What it does not check, a load's [watchers](crate::LoadOptions::watchers) do.

use std::sync::Arc;

use rand::RngExt as _;
use rand_pcg::Pcg32;
use thiserror::Error;
use vyuha_net::client::{ClientContent, EnteredZone};
use vyuha_protocol::frame::FrameError;
use vyuha_protocol::message::{
    self, Acknowledge, DecodeError, Hello, Logout, Message as _, Ping, Resume, Say, ServerMessage,
};
use vyuha_protocol::motion::{HEADING_FULL, Heading, displacement, step};
use vyuha_protocol::snapshot::SnapshotHead;
use vyuha_protocol::units::Displacement;
use vyuha_protocol::{ErrorCode, PROTOCOL_VERSION, Pos, TileMap, ZoneId};

use crate::bot::{ANSWER_NS_MAX, SECOND_NS};
use crate::measure::Window;
use crate::play::{CHATTER_STEPS, CROWD_RADIUS, TEXTS, happens};
use crate::role::Role;
use crate::stream::{Piece, Stream};

/// Steps that may wait to be acknowledged: 2.1 s at 30 Hz. A power of two.
const PENDING_MAX: u32 = 64;
/// Steps straight on before it turns.
const LEG_STEPS: std::ops::Range<u16> = 20..120;
/// Between two pings, of who plays and of who is idle.
const PING_NS: u64 = SECOND_NS;
const IDLE_PING_NS: u64 = 10 * SECOND_NS;
/// Bytes of an input's frame.
const INPUT_BYTES: usize = 14;

/// A character that walks.
pub struct Lean {
    stream: Stream,
    role: Role,
    content: Arc<ClientContent>,
    map: Arc<TileMap>,
    zone: ZoneId,
    tick_hz: u16,
    /// It went through a gate, and what the server makes of its inputs since is not known yet.
    crossed: bool,
    rng: Pcg32,
    /// Where it is predicted to stand.
    pos: Pos,
    speed: u16,
    heading: Heading,
    displacement: Displacement,
    /// Steps left in that heading.
    leg_steps: u16,
    /// The last input.
    sequence: u32,
    acknowledged: u32,
    /// Where it stood after the last input that is acknowledged.
    acknowledged_pos: Pos,
    tick_last: Option<u32>,
    /// When the last snapshot came, or the character entered.
    heard_ns: u64,
    /// When the next ping is due.
    ping_ns: u64,
    request_last: u32,
    /// A text, or the wish to leave, that was not answered yet, and when it was sent.
    open: Option<(Request, u32, u64)>,
    /// What takes the session up.
    ticket: Option<[u8; 16]>,
    /// Numbered messages received.
    received: u32,
    /// Since when it tries to take the session up, if it does.
    resuming_ns: Option<u64>,
    /// It has the session again, and has not said so yet.
    resumed: bool,
    /// Up to this input some may have been lost with a connection.
    unsure_until: u32,
    /// The inputs that are not acknowledged, by sequence number.
    pending: [Pending; PENDING_MAX as usize],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Say,
    Leave,
}

#[derive(Debug, Clone, Copy, Default)]
struct Pending {
    /// Where it is predicted to lead.
    pos: Pos,
    sent_us: u32,
    heading: Heading,
}

/// How it goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// It plays.
    Plays,
    /// It was let go, as it had asked.
    LoggedOut,
    /// The server closed the connection.
    Closed(Option<ErrorCode>, String),
}

/// What contradicts the protocol.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Contradiction {
    /// The stream of frames is broken.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A payload is no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A snapshot is not newer than the one before.
    #[error("snapshot of tick {tick} came after that of tick {last}")]
    TickNotRising {
        /// The snapshot's tick.
        tick: u32,
        /// The one before.
        last: u32,
    },
    /// An input is acknowledged that was not sent, or was acknowledged before.
    #[error("input {ack} is acknowledged; {acknowledged} was before, and {sent} was sent last")]
    Ack {
        /// The acknowledged input.
        ack: u32,
        /// The one acknowledged before.
        acknowledged: u32,
        /// The last one sent.
        sent: u32,
    },
    /// The character stands in a wall.
    #[error("the server places the character in a wall at {},{}", .0.x, .0.y)]
    Blocked(Pos),
    /// An answer to what was not asked.
    #[error("{0} answers request {1}, which is not open")]
    NotAsked(&'static str, u32),
    /// A request was refused that ought not to be.
    #[error("refused: {0}")]
    Refused(String),
    /// A message that does not belong here.
    #[error("{0} came to a character that plays")]
    OutOfPlace(&'static str),
}

impl Lean {
    /// A character that has just entered its zone; `request_last` is the number of the connection's last request.
    pub fn new(
        entered: &EnteredZone,
        content: Arc<ClientContent>,
        map: Arc<TileMap>,
        role: Role,
        request_last: u32,
        rng: Pcg32,
        now_ns: u64,
    ) -> Lean {
        Lean {
            stream: Stream::default(),
            role,
            content,
            map,
            zone: entered.zone,
            tick_hz: entered.tick_hz,
            crossed: false,
            rng,
            pos: entered.pos,
            speed: entered.speed,
            heading: Heading::default(),
            displacement: Displacement::default(),
            leg_steps: 0,
            sequence: 0,
            acknowledged: 0,
            acknowledged_pos: entered.pos,
            tick_last: None,
            heard_ns: now_ns,
            ping_ns: now_ns,
            request_last,
            open: None,
            ticket: None,
            received: 0,
            resuming_ns: None,
            resumed: false,
            unsure_until: 0,
            pending: [Pending::default(); PENDING_MAX as usize],
        }
    }

    /// What takes the session up: its ticket, and how many numbered messages were received.
    pub fn set_session(&mut self, session: Option<([u8; 16], u32)>) {
        if let Some((ticket, received)) = session {
            (self.ticket, self.received) = (Some(ticket), received);
        }
    }

    /// Whether it could break off now.
    pub fn can_resume(&self) -> bool {
        self.ticket.is_some() && self.resuming_ns.is_none() && self.open.is_none()
    }

    /// The first words of a connection that is to take the session up.
    pub fn resume(&mut self, out: &mut Vec<u8>, now_ns: u64) {
        let Some(ticket) = self.ticket else { return };
        self.stream = Stream::default();
        self.resuming_ns = Some(now_ns);
        message::append(out, &Hello { version: PROTOCOL_VERSION, content_hash: self.content.hash });
        message::append(out, &Resume { ticket, received: self.received });
    }

    /// The zone that it is in, and that zone's steps a second.
    pub fn place(&self) -> (ZoneId, u16) {
        (self.zone, self.tick_hz)
    }

    /// Whether all that should have come has come.
    pub fn check_answers(&self, now_ns: u64) -> Result<(), String> {
        let late = |since_ns: u64| now_ns.saturating_sub(since_ns) > ANSWER_NS_MAX;
        if late(self.heard_ns) {
            return Err("no snapshot came for 10 s".into());
        }
        match self.open {
            Some((request, _, since_ns)) if late(since_ns) => {
                Err(format!("{request:?} was not answered within 10 s"))
            }
            _ => Ok(()),
        }
    }

    /// One step: walks, and does what a player does now and then. `gathering` is where its zone's crowd meets.
    pub fn step(&mut self, out: &mut Vec<u8>, window: &mut Window, gathering: Option<Pos>, now_ns: u64) {
        if self.resuming_ns.is_some() {
            return;
        }
        if std::mem::take(&mut self.resumed) {
            message::append(out, &Acknowledge { received: self.received });
        }
        if self.sequence - self.acknowledged < PENDING_MAX && self.role != Role::Idle {
            if self.leg_steps == 0 {
                self.turn(gathering);
            }
            self.leg_steps -= 1;
            let from = self.pos;
            self.pos = step(&self.map, from, self.displacement);
            if self.pos.x != from.x.wrapping_add_signed(self.displacement.dx.into())
                || self.pos.y != from.y.wrapping_add_signed(self.displacement.dy.into())
            {
                // A wall: elsewhere, with the next step.
                self.leg_steps = 0;
            }
            self.sequence += 1;
            self.pending[(self.sequence % PENDING_MAX) as usize] =
                Pending { pos: self.pos, sent_us: (now_ns / 1000) as u32, heading: self.heading };
            out.extend_from_slice(&input_frame(self.sequence, self.heading));
            window.inputs += 1;
        }
        if now_ns >= self.ping_ns {
            message::append(out, &Ping { stamp: now_ns });
            self.ping_ns = now_ns + if self.role == Role::Idle { IDLE_PING_NS } else { PING_NS };
        }
        if self.role == Role::Chatter && self.open.is_none() && self.rng.random_ratio(1, CHATTER_STEPS) {
            let text = TEXTS[self.rng.random_range(0..TEXTS.len())].to_owned();
            let request = self.request(Request::Say, now_ns);
            message::append(out, &Say { request, text });
            window.commands += 1;
        }
    }

    /// One step of leaving: asks to, once nothing else is open.
    pub fn leave(&mut self, out: &mut Vec<u8>, window: &mut Window, now_ns: u64) {
        if self.open.is_none() && self.resuming_ns.is_none() {
            let request = self.request(Request::Leave, now_ns);
            message::append(out, &Logout { request });
            window.commands += 1;
        }
    }

    fn request(&mut self, request: Request, now_ns: u64) -> u32 {
        self.request_last += 1;
        self.open = Some((request, self.request_last, now_ns));
        self.request_last
    }

    /// Chooses another heading.
    fn turn(&mut self, gathering: Option<Pos>) {
        self.leg_steps = self.rng.random_range(LEG_STEPS);
        let too_far = u64::from(CROWD_RADIUS) * u64::from(CROWD_RADIUS);
        self.heading = match gathering {
            Some(place) if self.role == Role::Crowd && self.pos.distance_squared(place) > too_far => {
                // Around what is in the way, sooner or later: the heading is a little off, and so is the leg.
                self.leg_steps = self.rng.random_range(5..40);
                self.toward(place)
            }
            _ => Heading { x: self.rng.random_range(-127..=127), y: self.rng.random_range(-127..=127) },
        };
        self.displacement = displacement(self.heading, self.speed);
    }

    fn toward(&mut self, place: Pos) -> Heading {
        let dx = i64::from(place.x) - i64::from(self.pos.x);
        let dy = i64::from(place.y) - i64::from(self.pos.y);
        let scale = dx.abs().max(dy.abs()).max(1);
        let full = i64::from(HEADING_FULL);
        let mut axis = |d: i64| (d * full / scale + self.rng.random_range(-60..=60)).clamp(-full, full) as i8;
        Heading { x: axis(dx), y: axis(dy) }
    }

    /// Takes what the server says. Whatever follows its end is not looked at. An error of the stream is final, and says
    /// so; others are not.
    pub fn take(
        &mut self,
        bytes: &[u8],
        window: &mut Window,
        now_ns: u64,
        wrong: &mut dyn FnMut(Contradiction),
    ) -> Result<Fate, Contradiction> {
        let mut stream = std::mem::take(&mut self.stream);
        let mut fate = Fate::Plays;
        let read = stream.read(bytes, |piece| {
            if fate != Fate::Plays {
                return Ok(());
            }
            let taken = match piece {
                Piece::Snapshot(head) => {
                    self.take_snapshot(bytemuck::pod_read_unaligned(head), window, now_ns)
                }
                Piece::Message { kind, payload } => {
                    let message = ServerMessage::decode(kind, payload)?;
                    let is_last = matches!(message, ServerMessage::Error(error) if error.closing);
                    self.received += u32::from(message::is_numbered(kind) && !is_last);
                    self.take_message(&message, window, now_ns, &mut fate)
                }
            };
            if let Err(contradiction) = taken {
                wrong(contradiction);
            }
            Ok(())
        });
        self.stream = stream;
        read.map(|()| fate)
    }

    fn take_snapshot(
        &mut self,
        head: SnapshotHead,
        window: &mut Window,
        now_ns: u64,
    ) -> Result<(), Contradiction> {
        window.snapshots += 1;
        if let Some(last) = self.tick_last.replace(head.tick) {
            if head.tick <= last {
                return Err(Contradiction::TickNotRising { tick: head.tick, last });
            }
            window.snapshot_gap.record(now_ns - self.heard_ns);
        }
        self.heard_ns = now_ns;
        let (ack, acknowledged, sent) = (head.input_ack, self.acknowledged, self.sequence);
        if !(acknowledged..=sent).contains(&ack) {
            return Err(Contradiction::Ack { ack, acknowledged, sent });
        }
        let now_us = (now_ns / 1000) as u32;
        for sequence in acknowledged + 1..=ack {
            let sent_us = self.pending[(sequence % PENDING_MAX) as usize].sent_us;
            window.input_to_snapshot.record(u64::from(now_us.wrapping_sub(sent_us)) * 1000);
        }
        let expected = if ack == acknowledged {
            self.acknowledged_pos
        } else {
            self.pending[(ack % PENDING_MAX) as usize].pos
        };
        self.acknowledged = ack;
        self.acknowledged_pos = Pos { x: head.x, y: head.y };
        if std::mem::take(&mut self.crossed) || acknowledged < self.unsure_until {
            // What was under way when it came to a gate leads on from behind that; of what was when it broke off, some is lost.
            let corrections = window.corrections;
            let reconciled = self.reconcile(window);
            window.corrections = corrections;
            return reconciled;
        }
        if expected == self.acknowledged_pos { Ok(()) } else { self.reconcile(window) }
    }

    /// Goes on from where the server says the character stood after the last acknowledged input.
    fn reconcile(&mut self, window: &mut Window) -> Result<(), Contradiction> {
        let place = self.acknowledged_pos;
        if !self.map.is_open(place) {
            return Err(Contradiction::Blocked(place));
        }
        let predicted = self.pos;
        self.pos = place;
        for sequence in self.acknowledged + 1..=self.sequence {
            let pending = &mut self.pending[(sequence % PENDING_MAX) as usize];
            self.pos = step(&self.map, self.pos, displacement(pending.heading, self.speed));
            pending.pos = self.pos;
        }
        window.corrections += u64::from(self.pos != predicted);
        Ok(())
    }

    fn take_message(
        &mut self,
        message: &ServerMessage<'_>,
        window: &mut Window,
        now_ns: u64,
        fate: &mut Fate,
    ) -> Result<(), Contradiction> {
        match message {
            ServerMessage::Pong(pong) => {
                window.rtt.record(now_ns.saturating_sub(pong.stamp.into()));
                Ok(())
            }
            ServerMessage::Said(_) => {
                window.heard += 1;
                Ok(())
            }
            ServerMessage::Done(done) => {
                self.answered(Request::Say, message::Done::NAME, done.request.into())
            }
            ServerMessage::LoggedOut(out) => {
                *fate = Fate::LoggedOut;
                self.answered(Request::Leave, message::LoggedOut::NAME, out.request.into())
            }
            ServerMessage::Error(error) => {
                let code = ErrorCode::from_number(error.code.into());
                if error.closing {
                    *fate = Fate::Closed(code, error.text.to_string());
                    return Ok(());
                }
                if self.resuming_ns.is_some() {
                    *fate = Fate::Closed(code, error.text.to_string());
                    return Ok(());
                }
                self.open.take_if(|(_, request, _)| u32::from(error.request) == *request);
                window.refused(code);
                if code.is_some_and(happens) {
                    Ok(())
                } else {
                    Err(Contradiction::Refused(error.text.to_string()))
                }
            }
            ServerMessage::Ticket(ticket) => {
                self.set_session(Some((ticket.ticket, 0)));
                Ok(())
            }
            ServerMessage::Away(_) => Ok(()),
            ServerMessage::Welcome(_) if self.resuming_ns.is_some() => Ok(()),
            ServerMessage::Resumed(resumed) if self.resuming_ns.is_some() => {
                if let Some(since_ns) = self.resuming_ns.take() {
                    window.resumed.record(now_ns - since_ns);
                }
                self.ticket = Some(resumed.ticket);
                (self.resumed, self.unsure_until) = (true, self.sequence);
                Ok(())
            }
            ServerMessage::EnteredZone(entered) if u32::from(entered.request) == 0 => {
                let zone = ZoneId(entered.zone.into());
                let map = self.content.maps.get(&zone).cloned();
                self.map = map.ok_or(Contradiction::OutOfPlace("a zone without a map"))?;
                (self.zone, self.tick_hz) = (zone, entered.tick_hz.into());
                self.speed = entered.speed.into();
                self.pos = Pos { x: entered.x.into(), y: entered.y.into() };
                (self.acknowledged_pos, self.tick_last) = (self.pos, None);
                (self.leg_steps, self.crossed) = (0, true);
                Ok(())
            }
            _ => Err(Contradiction::OutOfPlace("an answer to another stage")),
        }
    }

    fn answered(&mut self, what: Request, name: &'static str, request: u32) -> Result<(), Contradiction> {
        match self.open.take_if(|(open, number, _)| (*open, *number) == (what, request)) {
            Some(_) => Ok(()),
            None => Err(Contradiction::NotAsked(name, request)),
        }
    }
}

/// The frame of an input, written in place.
fn input_frame(sequence: u32, heading: Heading) -> [u8; INPUT_BYTES] {
    let [a, b, c, d] = sequence.to_le_bytes();
    let kind = message::Input::KIND.to_le_bytes();
    [6, 0, 0, 0, kind[0], kind[1], 0, 0, a, b, c, d, heading.x as u8, heading.y as u8]
}

#[cfg(test)]
mod tests;
