//! The driver of one shard: sockets, journal and telemetry around the pure state machine of `game::shard`.
//!
//! One call a tick. Nothing in it waits: what another thread should do is handed over in a bounded queue, and what
//! another thread has done is read from an atomic.

mod entering;
mod passing;
mod zones;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vyuha_game::shard::log::Recorded;
use vyuha_game::shard::{Departed, LeaveCause, Outbox, SessionId};
use vyuha_gateway::MoveOrder;
use vyuha_net::runtime::TickStart;
use vyuha_net::transport::{CloseCause, ConnId, READ_AHEAD_BYTES_MAX, Received, Transport};
use vyuha_protocol::ErrorCode;
use vyuha_protocol::frame::{FrameError, append_frame};
use vyuha_protocol::message::{self, Acknowledge, ClientMessage, DecodeError, Message as _};
use vyuha_store::journal::{Batch, Producer, SubmitError};

use crate::doors::{Leaving, Neighbours, Notice, Request, Requests, SeatChange, Telling};
use crate::hot::HotFeed;
use crate::sessions::{Moving, Session, Sessions};
use crate::sign_in::error_message;
use crate::telemetry::{Stage, Telemetry};
use crate::topics::TopicFeed;
use zones::ZoneOut;

/// Batches that wait in the driver while the journal's queue is full. Durable commands are refused meanwhile, so that
/// only periodic saves and departures add to them. When even these are too many the journal is not coming back.
const BACKLOG_BATCHES_MAX: usize = 4096;

/// Bytes of frames of a session that goes to another shard: more is a flood. What was received beside fits too.
const MOVING_FRAMES_BYTES_MAX: usize = READ_AHEAD_BYTES_MAX / 2;

/// Ticks that a drained shard goes on, so that clients can take their last frame before the sockets go.
const DRAIN_LINGER_TICKS: u32 = 10;

/// What a driver is made of.
pub struct Parts<T> {
    /// The rules, and the record of what they are fed.
    pub shard: Recorded,
    /// The sockets.
    pub transport: T,
    /// The control plane's requests.
    pub requests: Requests,
    /// What other shards hand to this one, and the other way.
    pub neighbours: Neighbours,
    /// Where the control plane hears of those who left.
    pub left: Leaving,
    /// The way into the journal.
    pub producer: Producer,
    /// Set when the node is to end: everyone is told, saved and let go.
    pub draining: Arc<AtomicBool>,
    /// Where the control plane hears of who plays where, and what was said.
    pub hot: HotFeed,
    /// Where web clients hear of characters.
    pub topics: TopicFeed,
    /// Figures.
    pub telemetry: Telemetry,
    /// Ticks a second.
    pub tick_hz: u32,
    /// Ticks that a client is awaited whose connection broke; 0 for none.
    pub grace_ticks: u32,
    /// Bytes of a session that are kept until they are acknowledged.
    pub kept_bytes_max: usize,
}

/// One shard with all that is around it.
pub struct Driver<T> {
    parts: Parts<T>,
    outbox: Outbox,
    sessions: Sessions,
    /// Connections that this tick's reap found to be over; kept for its memory.
    over: Vec<(ConnId, Over)>,
    held: VecDeque<Held>,
    /// Sessions that go to another shard and are durable, by number, serial and account.
    passing: Vec<(SessionId, u64, i64)>,
    /// Whose session went to which shard, and in which tick: whoever asks for it here just missed it.
    passed: HashMap<i64, (u64, u16)>,
    /// What players are to be told once they were told what the tick did: who enters in it hears of that first.
    tellings: Vec<Telling>,
    /// Zones that are to go at the end of the tick.
    orders: Vec<MoveOrder>,
    /// Zones on their way out.
    zones_out: Vec<ZoneOut>,
    /// Who came for a zone that is on its way, with what is asked of them; by zone. At most as many as there are seats, and a
    /// few requests each.
    parked: Vec<(i64, Request)>,
    /// Of whom it came to be known whether they owe while they were on their way to another shard.
    owing: Vec<(i64, bool)>,
    /// The last batch that was durable when the tick began.
    durable: u64,
    batch_last: u64,
    backlog: VecDeque<Batch>,
    frame: Vec<u8>,
    drained: bool,
    ticks: u64,
    /// Ticks of a drained shard without anything to do.
    idle_ticks: u32,
}

/// How a connection ended.
#[derive(Clone, Copy)]
enum Over {
    /// What came over it ends the session too.
    Refused(ErrorCode),
    /// The transport gave it up.
    Closed(CloseCause),
}

/// What waits until a batch is durable.
#[derive(Default)]
struct Held {
    batch: u64,
    /// Replies to sessions, by number and serial.
    replies: Vec<(SessionId, u64, Vec<u8>)>,
    /// Sessions to be ended after these.
    closing: Vec<(SessionId, u64)>,
    /// Sessions that go to another shard, by number, serial and account.
    departing: Vec<(SessionId, u64, i64)>,
    /// Accounts whose sessions are over.
    left: Vec<i64>,
}

/// Why a shard cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The journal stopped.
    #[error("the journal takes nothing more: {0}")]
    Journal(SubmitError),
    /// The journal is alive but has taken nothing for too long.
    #[error(
        "the journal has not taken a batch for {BACKLOG_BATCHES_MAX} ticks: look at the disk of data.dir"
    )]
    JournalStuck,
}

impl<T: Transport> Driver<T> {
    /// A driver before its first tick. What the shard puts into a new world is journalled with that.
    pub fn new(mut parts: Parts<T>) -> Driver<T> {
        let mut outbox = Outbox::default();
        parts.shard.bootstrap(&mut outbox);
        Driver {
            parts,
            outbox,
            sessions: Sessions::default(),
            over: Vec::new(),
            held: VecDeque::new(),
            passing: Vec::new(),
            passed: HashMap::new(),
            orders: Vec::new(),
            tellings: Vec::new(),
            zones_out: Vec::new(),
            parked: Vec::new(),
            owing: Vec::new(),
            durable: 0,
            batch_last: 0,
            backlog: VecDeque::new(),
            frame: Vec::new(),
            drained: false,
            ticks: 0,
            idle_ticks: 0,
        }
    }

    /// One tick. `Ok(false)` once the node is ending and everything here is done.
    pub fn tick(&mut self, start: &TickStart) -> Result<bool, DriverError> {
        self.parts.telemetry.begin(start);
        self.ticks += 1;
        self.answer_doors();
        self.release_durable();
        self.receive();
        self.pass_on();
        self.hand_zones_on();
        while let Some(id) = self.sessions.overdue(self.ticks) {
            self.end(id, None);
        }
        let draining = self.parts.draining.load(Ordering::Relaxed);
        if draining && !self.drained {
            self.drained = true;
            for id in self.sessions.ids() {
                // Who is logging out gets that answer.
                if self.sessions.get(id).is_some_and(|session| !session.leaving) {
                    self.end(id, Some(ErrorCode::ShuttingDown));
                }
            }
        }
        self.parts.telemetry.lap(Stage::Receive);
        self.parts.shard.tick(&mut self.parts.telemetry, &mut self.outbox);
        let Driver { parts: Parts { shard, hot, topics, .. }, sessions, outbox, .. } = self;
        hot.tell(self.ticks, shard, sessions.numbers(), outbox);
        topics.tell_places(self.ticks, |account| shard.whereabouts(sessions.of_account(account)?));
        self.hand_out_or_give_up()?;
        for telling in std::mem::take(&mut self.tellings) {
            self.tell(&telling);
        }
        // Of who went on the control plane hears once the other shard can see them.
        if self.parts.neighbours.is_handed() {
            self.parts.left.tell();
        }
        self.parts.telemetry.lap(Stage::HandOut);
        self.prepare_zones();
        let Driver { parts: Parts { shard, transport, .. }, sessions, .. } = self;
        transport.flush(&mut |conn, out| {
            if let Some(id) = sessions.of_conn(conn) {
                shard.write_snapshot(id, out);
            }
        });
        self.parts.telemetry.lap(Stage::Send);
        self.take_zones_out()?;
        let sessions = self.sessions.count();
        self.parts.telemetry.end(&self.parts.shard, sessions, self.parts.transport.stats());
        let busy = !self.held.is_empty()
            || !self.backlog.is_empty()
            || !self.parts.requests.is_empty()
            || !self.parts.neighbours.is_empty()
            || !self.parts.left.is_empty()
            || !self.zones_out.is_empty()
            || !self.parked.is_empty()
            || sessions > 0;
        if !draining || busy {
            self.idle_ticks = 0;
        } else {
            self.idle_ticks += 1;
        }
        Ok(self.idle_ticks < DRAIN_LINGER_TICKS)
    }

    /// Sends the replies whose transactions are on disk, and lets go of those who left.
    fn release_durable(&mut self) {
        self.durable = self.parts.producer.durable();
        self.parts.topics.set_durable(self.durable);
        while self.held.front().is_some_and(|held| held.batch <= self.durable) {
            let Some(held) = self.held.pop_front() else { break };
            for (id, serial, frame) in held.replies {
                if self.is_current(id, serial) {
                    deliver(&mut self.sessions, &mut self.parts, id, &frame);
                }
            }
            for (id, serial) in held.closing {
                if self.is_current(id, serial)
                    && let Some(conn) = self.sessions.remove(id).and_then(|session| session.conn)
                {
                    self.parts.transport.close(conn);
                }
            }
            self.passing.extend(held.departing);
            for account in held.left {
                self.forget(account);
            }
        }
    }

    fn is_current(&self, id: SessionId, serial: u64) -> bool {
        self.sessions.get(id).is_some_and(|session| session.serial == serial)
    }

    /// Reads what arrived and lets the shard act on it.
    fn receive(&mut self) {
        let Driver { parts, outbox, sessions, over, .. } = self;
        let Parts { shard, transport, telemetry, left, .. } = parts;
        transport.reap(&mut |conn, received| {
            // The reports of a connection follow each other.
            let is_over = over.last().is_some_and(|(last, _)| *last == conn);
            match received {
                Received::Frame { kind, payload } => {
                    let Some(id) = sessions.of_conn(conn).filter(|_| !is_over) else { return };
                    let Some(session) = sessions.get_mut(id).filter(|session| !session.leaving) else {
                        return;
                    };
                    let taken = if kind == Acknowledge::KIND {
                        acknowledge(session, payload, outbox, left)
                    } else if let Some(moving) = &mut session.moving {
                        append_frame(&mut moving.frames, kind, |frames| frames.extend_from_slice(payload));
                        let room = moving.frames.len() <= MOVING_FRAMES_BYTES_MAX;
                        if room { Ok(()) } else { Err(ErrorCode::Flood) }
                    } else {
                        shard.receive(id, kind, payload, outbox).map_err(|error| match error {
                            DecodeError::UnknownKind(_) => ErrorCode::UnknownKind,
                            DecodeError::Malformed(_) => ErrorCode::Malformed,
                        })
                    };
                    if let Err(code) = taken {
                        over.push((conn, Over::Refused(code)));
                    }
                }
                Received::Closed(cause) => {
                    telemetry.closed(cause.name());
                    // The last report of one that ended itself for bad bytes in this very tick adds nothing.
                    if !is_over {
                        over.push((conn, Over::Closed(cause)));
                    }
                }
            }
        });
        let mut over = std::mem::take(&mut self.over);
        for (conn, how) in over.drain(..) {
            let Some(id) = self.sessions.of_conn(conn) else { continue };
            match how {
                Over::Refused(code) => self.end(id, Some(code)),
                // Bytes that break a TLS session can be anybody's on the way, and must do no more than a reset.
                Over::Closed(CloseCause::Peer | CloseCause::Reset | CloseCause::Tls | CloseCause::Idle)
                    if self.awaits(id) =>
                {
                    if let Over::Closed(CloseCause::Idle) = how {
                        self.say(conn, ErrorCode::IdleTimeout);
                    }
                    self.sessions.await_until(id, self.ticks + u64::from(self.parts.grace_ticks));
                }
                Over::Closed(cause) => self.end(id, farewell_code(cause)),
            }
        }
        self.over = over;
    }

    /// Whether a session outlives its connection.
    fn awaits(&self, id: SessionId) -> bool {
        let can_resume = |session: &Session| !session.leaving && session.mailbox.is_whole();
        self.parts.grace_ticks > 0 && !self.drained && self.sessions.get(id).is_some_and(can_resume)
    }

    /// Ends a session: tells the client why, as far as it listens, and takes its character out of the world.
    fn end(&mut self, id: SessionId, code: Option<ErrorCode>) {
        let Some(session) = self.sessions.remove(id) else { return };
        if !session.leaving && session.moving.is_none() {
            self.parts.shard.leave(id, &mut self.outbox);
        }
        let Some(conn) = session.conn else { return };
        if let Some(code) = code {
            self.say(conn, code);
        }
        // Without effect where the transport ended it.
        self.parts.transport.close(conn);
    }

    /// Lets everyone go at once: nothing can be made durable any more, so nothing more is acknowledged or saved.
    fn give_up(&mut self) {
        for id in self.sessions.ids() {
            if let Some(conn) = self.sessions.remove(id).and_then(|session| session.conn) {
                self.turn_away(conn, ErrorCode::Unavailable);
            }
        }
        self.parts.transport.flush(&mut |_, _| {});
    }

    /// Tells players something. Who is on the way to another shard is left out: it could not be told in order.
    fn tell(&mut self, Telling { account, frames }: &Telling) {
        let told = match account {
            Some(account) => self.sessions.of_account(*account).into_iter().collect(),
            None => self.sessions.ids(),
        };
        for id in told {
            if self.sessions.get(id).is_some_and(|session| !session.leaving && session.moving.is_none()) {
                for frame in frames.iter() {
                    deliver(&mut self.sessions, &mut self.parts, id, frame);
                }
            }
        }
    }

    /// Tells a client why its connection ends.
    fn say(&mut self, conn: ConnId, code: ErrorCode) {
        self.parts.telemetry.refused(code);
        self.frame.clear();
        message::append(&mut self.frame, &error_message(0, code, true));
        self.parts.transport.queue(conn, &self.frame);
    }

    /// Ends a connection that is no session's.
    fn turn_away(&mut self, conn: ConnId, code: ErrorCode) {
        self.say(conn, code);
        self.parts.transport.close(conn);
    }

    /// [`Driver::hand_out`]; where that fails, everyone is let go.
    fn hand_out_or_give_up(&mut self) -> Result<(), DriverError> {
        self.hand_out().inspect_err(|_| self.give_up())
    }

    /// Hands what the shard produced to the journal and to the sockets.
    fn hand_out(&mut self) -> Result<(), DriverError> {
        let mut held = Held::default();
        for message in &self.outbox.messages {
            let frame = self.outbox.frame(message);
            // Who was told in this tick why the session ends hears nothing after that.
            let Some(session) = self.sessions.get(message.session) else { continue };
            if message.durable {
                held.replies.push((message.session, session.serial, frame.to_vec()));
            } else {
                deliver(&mut self.sessions, &mut self.parts, message.session, frame);
            }
        }
        for left in &self.outbox.left {
            held.left.push(left.account);
            // A session that ended by itself stays until it is told; one that was ended here is gone already.
            if left.cause != LeaveCause::Disconnected
                && let Some(session) = self.sessions.get(left.session)
            {
                held.closing.push((left.session, session.serial));
                self.sessions.set_leaving(left.session);
            }
        }
        for departed in self.outbox.departed.drain(..) {
            let Departed { session: id, carried } = departed;
            let account = carried.character.account;
            let Some(session) = self.sessions.get_mut(id) else {
                held.left.push(account);
                continue;
            };
            held.departing.push((id, session.serial, account));
            session.moving = Some(Box::new(Moving { carried: Some(carried), ..Moving::default() }));
        }
        self.sessions.free_ended();
        self.parts.telemetry.count(&self.outbox.counts);
        if !self.outbox.transactions.is_empty() {
            self.batch_last += 1;
            let bytes = std::mem::take(&mut self.outbox.transactions);
            self.parts.topics.tell_batch(self.batch_last, &bytes);
            self.backlog.push_back(Batch { number: self.batch_last, bytes });
        }
        if !held.replies.is_empty() || !held.left.is_empty() || !held.departing.is_empty() {
            held.batch = self.batch_last;
            self.held.push_back(held);
        }
        self.outbox.clear();
        self.submit()
    }

    /// Hands the journal what it takes. While something is left, or it holds more than it may, durable commands are
    /// refused.
    fn submit(&mut self) -> Result<(), DriverError> {
        while let Some(batch) = self.backlog.pop_front() {
            match self.parts.producer.submit(batch) {
                Ok(()) => {}
                Err(SubmitError::Full(batch)) => {
                    self.backlog.push_front(batch);
                    break;
                }
                Err(error) => return Err(DriverError::Journal(error)),
            }
        }
        if self.backlog.len() > BACKLOG_BATCHES_MAX {
            return Err(DriverError::JournalStuck);
        }
        let open = self.backlog.is_empty() && !self.parts.producer.is_over_bound();
        self.parts.shard.set_durable_open(open);
        Ok(())
    }
}

/// Sends a session a frame, and keeps it as long as it may have to be sent again. A session that is awaited but past its bound
/// cannot be taken up any more; it ends when its time is over.
fn deliver<T: Transport>(sessions: &mut Sessions, parts: &mut Parts<T>, id: SessionId, frame: &[u8]) {
    let Some(session) = sessions.get_mut(id) else { return };
    if parts.grace_ticks > 0 {
        session.mailbox.push(frame, parts.kept_bytes_max);
    }
    if let Some(conn) = session.conn {
        parts.transport.queue(conn, frame);
    }
}

/// Takes a client's word for what it received.
fn acknowledge(
    session: &mut Session,
    payload: &[u8],
    outbox: &mut Outbox,
    notices: &mut Leaving,
) -> Result<(), ErrorCode> {
    let message = ClientMessage::decode(Acknowledge::KIND, payload).map_err(|_| ErrorCode::Malformed)?;
    outbox.count_command(&message);
    let ClientMessage::Acknowledge(message) = message else { return Err(ErrorCode::Malformed) };
    session.mailbox.acknowledge(message.received.into()).map_err(|_| ErrorCode::Malformed)?;
    if let Some(ticket) = session.ticket_unconfirmed.take() {
        notices.push(Notice { account: session.account, change: SeatChange::Confirmed(ticket) });
    }
    Ok(())
}

/// What a client is told whose connection the transport gave up; nothing where nobody is left to tell.
fn farewell_code(cause: CloseCause) -> Option<ErrorCode> {
    match cause {
        CloseCause::Peer | CloseCause::Reset | CloseCause::Tls | CloseCause::ByServer => None,
        CloseCause::Malformed(FrameError::TooLarge { .. }) => Some(ErrorCode::FrameTooLarge),
        CloseCause::Malformed(FrameError::Reserved) => Some(ErrorCode::Malformed),
        CloseCause::Flood => Some(ErrorCode::Flood),
        CloseCause::Idle => Some(ErrorCode::IdleTimeout),
        CloseCause::Slow => Some(ErrorCode::SlowClient),
    }
}
