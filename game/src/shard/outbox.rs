//! What a shard hands its driver: messages, transactions, sessions that ended, counts. Reused from tick to tick:
//! once it has grown to a busy tick's size it allocates no more.

use std::ops::Range;

use vyuha_protocol::message::{ClientMessage, Error, Message, append};
use vyuha_protocol::{ErrorCode, ZoneId};
use vyuha_record::Transaction;

use super::SessionId;
use crate::gates::Carried;

/// What came of the calls since the driver cleared it.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The messages, in order; those to one session must stay in order among the durable ones, and among the others.
    pub messages: Vec<OutMessage>,
    /// What the messages' ranges point into: whole frames.
    pub bytes: Vec<u8>,
    /// What must be journalled, in order: transactions as [`vyuha_record::transactions`] reads them.
    pub transactions: Vec<u8>,
    /// The sessions that ended.
    pub left: Vec<Left>,
    /// The sessions that go to another shard.
    pub departed: Vec<Departed>,
    /// The sessions that came into a zone, by signing in or by walking; some may have left it since.
    pub entered: Vec<SessionId>,
    /// What was said, once each, whoever heard it.
    pub spoken: Vec<Spoken>,
    /// What was counted.
    pub counts: Counts,
}

/// A frame for a session. Several may share one range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutMessage {
    /// Whom it is for.
    pub session: SessionId,
    /// Where its frame is in [`Outbox::bytes`].
    pub range: Range<usize>,
    /// Whether it must wait until every transaction that stands in the same outbox is durable.
    pub durable: bool,
}

/// A session that ended. Its slot is free at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The session.
    pub session: SessionId,
    /// The character that it played.
    pub character: i64,
    /// The character's account.
    pub account: i64,
    /// Why.
    pub cause: LeaveCause,
}

/// A session that goes to another shard. It is in no shard until it is handed to that one, which must not be before every
/// transaction that stands in the same outbox is durable. Its slot is free at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Departed {
    /// The session.
    pub session: SessionId,
    /// What is the game's of it.
    pub carried: Carried,
}

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    /// Where.
    pub zone: ZoneId,
    /// By whom.
    pub character: i64,
    /// The name of who.
    pub name: String,
    /// What.
    pub text: String,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaveCause {
    /// The client asked for it; its answer waits for the character's row.
    LoggedOut,
    /// Nobody was there for too long; that it is told waits for the character's row.
    Away,
    /// The driver said so: the connection broke or was ended.
    Disconnected,
}

/// How many kinds of message come from clients.
const CLIENT_KINDS: usize = ClientMessage::<'static>::ALL.len();

/// What happened since the outbox was cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Messages received, in the order of [`ClientMessage::ALL`].
    pub commands: [u64; CLIENT_KINDS],
    /// Refusals, in the order of [`ErrorCode::ALL`]. Replayed inputs are among the `Replayed`, though no answer tells
    /// of them.
    pub refused: [u64; ErrorCode::ALL.len()],
    /// Inputs that were left out by the client.
    pub inputs_skipped: u64,
    /// Inputs that came when the session's queue was full, each at the cost of the oldest.
    pub inputs_dropped: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Counts { commands: [0; _], refused: [0; _], inputs_skipped: 0, inputs_dropped: 0 }
    }
}

impl Outbox {
    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.bytes.clear();
        self.transactions.clear();
        self.left.clear();
        self.departed.clear();
        self.entered.clear();
        self.spoken.clear();
        self.counts = Counts::default();
    }

    /// A message's frame.
    pub fn frame(&self, message: &OutMessage) -> &[u8] {
        &self.bytes[message.range.clone()]
    }

    /// Writes a frame, for any number of sessions.
    pub(super) fn write<M: Message>(&mut self, message: &M) -> Range<usize> {
        let start = self.bytes.len();
        append(&mut self.bytes, message);
        start..self.bytes.len()
    }

    /// Addresses a frame to a session.
    pub(super) fn address(&mut self, session: SessionId, range: Range<usize>, durable: bool) {
        self.messages.push(OutMessage { session, range, durable });
    }

    /// Sends a message at once.
    pub(super) fn send<M: Message>(&mut self, session: SessionId, message: &M) {
        let range = self.write(message);
        self.address(session, range, false);
    }

    /// Sends a message once the transactions so far are durable.
    pub(super) fn send_durable<M: Message>(&mut self, session: SessionId, message: &M) {
        let range = self.write(message);
        self.address(session, range, true);
    }

    /// Refuses a request.
    pub(super) fn refuse(&mut self, session: SessionId, request: u32, code: ErrorCode) {
        self.count_refused(code);
        let text = code.text().to_owned();
        self.send(session, &Error { request, code: code as u16, closing: false, text });
    }

    /// Tells a session that it is over, once the transactions so far are durable.
    pub(super) fn close_durable(&mut self, session: SessionId, code: ErrorCode) {
        self.count_refused(code);
        let text = code.text().to_owned();
        self.send_durable(session, &Error { request: 0, code: code as u16, closing: true, text });
    }

    /// Counts a message of a client.
    pub fn count_command(&mut self, message: &ClientMessage<'_>) {
        let at = ClientMessage::ALL.iter().position(|(name, ..)| *name == message.name());
        self.counts.commands[at.expect("ALL holds every message")] += 1;
    }

    pub(super) fn count_refused(&mut self, code: ErrorCode) {
        let at = ErrorCode::ALL.binary_search_by_key(&(code as u16), |code| *code as u16);
        self.counts.refused[at.expect("ALL holds every code, rising")] += 1;
    }

    /// Writes a transaction; one to which nothing was put leaves nothing behind.
    pub(super) fn transact(&mut self, write: impl FnOnce(&mut Transaction<'_>)) {
        let mut transaction = Transaction::begin(&mut self.transactions);
        write(&mut transaction);
        transaction.commit();
    }
}
