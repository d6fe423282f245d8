//! The driver of one shard: sockets, journal and telemetry around the pure state machine of `game::shard`.
//!
//! One call a tick. Nothing in it waits: what another thread should do is handed over in a bounded queue, and what
//! another thread has done is read from an atomic.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vyuha_game::shard::log::Recorded;
use vyuha_game::shard::{LeaveCause, Outbox, SessionId};
use vyuha_net::runtime::TickStart;
use vyuha_net::transport::{AdmitError, CloseCause, ConnId, Received, Transport};
use vyuha_protocol::message::{self, DecodeError};
use vyuha_protocol::{ErrorCode, frame::FrameError};
use vyuha_store::journal::{Batch, Producer, SubmitError};

use crate::doors::{Admission, Leaving, Left, Request, Requests};
use crate::sign_in::error_message;
use crate::telemetry::{Stage, Telemetry};

/// Admissions and kicks dealt with in one tick; the others wait for the next.
const REQUESTS_PER_TICK_MAX: usize = 64;
/// Batches that wait in the driver while the journal's queue is full. Durable commands are refused meanwhile, so that
/// only periodic saves and departures add to them. When even these are too many the journal is not coming back.
const BACKLOG_BATCHES_MAX: usize = 4096;

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
    /// Where the control plane hears of those who left.
    pub left: Leaving,
    /// The way into the journal.
    pub producer: Producer,
    /// Set when the node is to end: everyone is told, saved and let go.
    pub draining: Arc<AtomicBool>,
    /// Figures.
    pub telemetry: Telemetry,
}

/// One shard with all that is around it.
pub struct Driver<T> {
    parts: Parts<T>,
    outbox: Outbox,
    sessions: Vec<Option<Session>>,
    conn_of_account: HashMap<i64, ConnId>,
    serial_last: u64,
    /// Ends that this tick's reap reported; kept for its memory.
    ended: Vec<(ConnId, Option<ErrorCode>)>,
    held: VecDeque<Held>,
    batch_last: u64,
    backlog: VecDeque<Batch>,
    frame: Vec<u8>,
    drained: bool,
    /// Ticks of a drained shard without anything to do.
    idle_ticks: u32,
}

/// Who uses a connection.
struct Session {
    account: i64,
    /// Tells this session from earlier and later ones on the same connection number.
    serial: u64,
    /// The character has left; the connection lives on until its last reply is sent.
    leaving: bool,
}

/// What waits until a batch is durable.
#[derive(Default)]
struct Held {
    batch: u64,
    /// Replies to sessions, by connection and serial.
    replies: Vec<(ConnId, u64, Vec<u8>)>,
    /// Connections to be closed after these.
    closing: Vec<(ConnId, u64)>,
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
            sessions: Vec::new(),
            conn_of_account: HashMap::new(),
            serial_last: 0,
            ended: Vec::new(),
            held: VecDeque::new(),
            batch_last: 0,
            backlog: VecDeque::new(),
            frame: Vec::new(),
            drained: false,
            idle_ticks: 0,
        }
    }

    /// One tick. `Ok(false)` once the node is ending and everything here is done.
    pub fn tick(&mut self, start: &TickStart) -> Result<bool, DriverError> {
        self.parts.telemetry.begin(start);
        self.answer_doors();
        self.release_durable();
        self.receive();
        let draining = self.parts.draining.load(Ordering::Relaxed);
        if draining && !self.drained {
            self.drained = true;
            for slot in 0..self.sessions.len() {
                // Who is logging out gets that answer.
                if matches!(&self.sessions[slot], Some(session) if !session.leaving) {
                    self.end(ConnId(slot as u32), Some(ErrorCode::ShuttingDown));
                    self.parts.transport.close(ConnId(slot as u32));
                }
            }
        }
        self.parts.telemetry.lap(Stage::Receive);
        self.parts.shard.tick(&mut self.parts.telemetry, &mut self.outbox);
        if let Err(error) = self.hand_out() {
            self.give_up();
            return Err(error);
        }
        self.parts.left.tell();
        self.parts.telemetry.lap(Stage::HandOut);
        let Parts { shard, transport, .. } = &mut self.parts;
        transport.flush(&mut |conn, out| {
            shard.write_snapshot(SessionId(conn.0), out);
        });
        self.parts.telemetry.lap(Stage::Send);
        let sessions = self.sessions.iter().flatten().count();
        self.parts.telemetry.end(&self.parts.shard, sessions, self.parts.transport.stats());
        let busy = !self.held.is_empty()
            || !self.backlog.is_empty()
            || !self.parts.requests.is_empty()
            || !self.parts.left.is_empty()
            || sessions > 0;
        if !draining || busy {
            self.idle_ticks = 0;
        } else {
            self.idle_ticks += 1;
        }
        Ok(self.idle_ticks < DRAIN_LINGER_TICKS)
    }

    /// Everyone who knocked, as far as one tick goes.
    fn answer_doors(&mut self) {
        for _ in 0..REQUESTS_PER_TICK_MAX {
            match self.parts.requests.next() {
                Some(Request::Admit(admission)) => self.admit(*admission),
                Some(Request::Kick { account, code }) => {
                    if let Some(conn) = self.conn_of_account.get(&account).copied() {
                        self.end(conn, Some(code));
                        self.parts.transport.close(conn);
                    }
                }
                None => break,
            }
        }
    }

    fn admit(&mut self, admission: Admission) {
        let Admission { stream, received, request, character, items } = admission;
        let account = character.account;
        let conn = match self.parts.transport.admit(stream, &received) {
            Ok(conn) => conn,
            Err(error) => {
                // The socket is closed with the error; the seat is free as if the session had come and gone.
                if !matches!(error, AdmitError::Full { .. }) {
                    tracing::warn!(%error, account, "a connection could not be taken over");
                }
                self.parts.telemetry.refused(ErrorCode::ServerFull);
                self.forget(account);
                return;
            }
        };
        let slot = conn.0 as usize;
        if self.sessions.len() <= slot {
            self.sessions.resize_with(slot + 1, || None);
        }
        self.serial_last += 1;
        let joined = self.parts.shard.join(SessionId(conn.0), request, character, &items, &mut self.outbox);
        let playing = joined.is_ok() && !self.drained;
        self.sessions[slot] = Some(Session { account, serial: self.serial_last, leaving: joined.is_err() });
        self.conn_of_account.insert(account, conn);
        if let Err(error) = &joined {
            tracing::error!(%error, account, "a character could not enter its zone");
            self.say(conn, ErrorCode::Unavailable);
            self.sessions[slot] = None;
            self.conn_of_account.remove(&account);
            self.forget(account);
        } else if self.drained {
            self.end(conn, Some(ErrorCode::ShuttingDown));
        }
        if !playing {
            self.parts.transport.close(conn);
        }
    }

    /// The account's seat is free; nothing of it waits for the journal.
    fn forget(&mut self, account: i64) {
        self.parts.left.push(Left { account });
    }

    /// Sends the replies whose transactions are on disk, and lets go of those who left.
    fn release_durable(&mut self) {
        let durable = self.parts.producer.durable();
        while self.held.front().is_some_and(|held| held.batch <= durable) {
            let Some(held) = self.held.pop_front() else { break };
            for (conn, serial, frame) in held.replies {
                if self.is_current(conn, serial) {
                    self.parts.transport.queue(conn, &frame);
                }
            }
            for (conn, serial) in held.closing {
                if self.is_current(conn, serial) {
                    self.parts.transport.close(conn);
                    self.sessions[conn.0 as usize] = None;
                }
            }
            for account in held.left {
                self.forget(account);
            }
        }
    }

    fn is_current(&self, conn: ConnId, serial: u64) -> bool {
        matches!(self.sessions.get(conn.0 as usize), Some(Some(session)) if session.serial == serial)
    }

    /// Reads what arrived and lets the shard act on it.
    fn receive(&mut self) {
        let Driver { parts, outbox, sessions, ended, .. } = self;
        let Parts { shard, transport, telemetry, .. } = parts;
        transport.reap(&mut |conn, received| match received {
            Received::Frame { kind, payload } => {
                let playing = matches!(&sessions[conn.0 as usize], Some(session) if !session.leaving);
                if !playing || ended.last().is_some_and(|(last, _)| *last == conn) {
                    return;
                }
                match shard.receive(SessionId(conn.0), kind, payload, outbox) {
                    Ok(()) => {}
                    Err(DecodeError::UnknownKind(_)) => ended.push((conn, Some(ErrorCode::UnknownKind))),
                    Err(DecodeError::Malformed(_)) => ended.push((conn, Some(ErrorCode::Malformed))),
                }
            }
            Received::Closed(cause) => {
                telemetry.closed(cause.name());
                // The last report of a connection that ended itself for bad bytes in this very tick adds nothing.
                if ended.last().is_none_or(|(last, _)| *last != conn) {
                    ended.push((conn, farewell_code(cause)));
                }
            }
        });
        let mut ended = std::mem::take(&mut self.ended);
        for (conn, code) in ended.drain(..) {
            self.end(conn, code);
            // Without effect where the transport ended it.
            self.parts.transport.close(conn);
        }
        self.ended = ended;
    }

    /// Ends a session: tells the client why, as far as it listens, and takes its character out of the world. The
    /// caller closes the connection.
    fn end(&mut self, conn: ConnId, code: Option<ErrorCode>) {
        let Some(session) = self.sessions.get_mut(conn.0 as usize).and_then(Option::take) else { return };
        if self.conn_of_account.get(&session.account) == Some(&conn) {
            self.conn_of_account.remove(&session.account);
        }
        if !session.leaving {
            self.parts.shard.leave(SessionId(conn.0), &mut self.outbox);
        }
        if let Some(code) = code {
            self.say(conn, code);
        }
    }

    /// Lets everyone go at once: nothing can be made durable any more, so nothing more is acknowledged or saved.
    fn give_up(&mut self) {
        for slot in 0..self.sessions.len() {
            let conn = ConnId(slot as u32);
            if self.sessions[slot].take().is_some() {
                self.say(conn, ErrorCode::Unavailable);
                self.parts.transport.close(conn);
            }
        }
        self.parts.transport.flush(&mut |_, _| {});
    }

    /// Tells a client why its connection ends.
    fn say(&mut self, conn: ConnId, code: ErrorCode) {
        self.parts.telemetry.refused(code);
        self.frame.clear();
        message::append(&mut self.frame, &error_message(0, code, true));
        self.parts.transport.queue(conn, &self.frame);
    }

    /// Hands what the shard produced to the journal and to the sockets.
    fn hand_out(&mut self) -> Result<(), DriverError> {
        let mut held = Held::default();
        for message in &self.outbox.messages {
            let conn = ConnId(message.session.0);
            let frame = self.outbox.frame(message);
            // Who was told in this tick why the connection ends hears nothing after that.
            let Some(Some(session)) = self.sessions.get(conn.0 as usize) else { continue };
            if message.durable {
                held.replies.push((conn, session.serial, frame.to_vec()));
            } else {
                self.parts.transport.queue(conn, frame);
            }
        }
        for left in &self.outbox.left {
            held.left.push(left.account);
            let conn = ConnId(left.session.0);
            // A session that logged out stays until its answer is sent; one that was ended is gone already.
            if left.cause == LeaveCause::LoggedOut
                && let Some(Some(session)) = self.sessions.get_mut(conn.0 as usize)
            {
                session.leaving = true;
                held.closing.push((conn, session.serial));
                self.conn_of_account.remove(&left.account);
            }
        }
        self.parts.telemetry.count(&self.outbox.counts);
        if !self.outbox.transactions.is_empty() {
            self.batch_last += 1;
            let bytes = std::mem::take(&mut self.outbox.transactions);
            self.backlog.push_back(Batch { number: self.batch_last, bytes });
        }
        if !held.replies.is_empty() || !held.left.is_empty() {
            held.batch = self.batch_last;
            self.held.push_back(held);
        }
        self.outbox.clear();
        self.submit()
    }

    /// Hands the journal what it takes. While something is left, durable commands are refused.
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
        self.parts.shard.set_durable_open(self.backlog.is_empty());
        Ok(())
    }
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
