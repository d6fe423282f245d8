//! One connection: whose it is, and what is on its way to it.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::name::Topic;

/// Messages that may wait for one connection.
pub const QUEUE_MESSAGES_MAX: usize = 512;
/// Of those, what they may be long together, in bytes.
pub const QUEUE_BYTES_MAX: usize = 64 << 10;
/// Requests of one connection at once; those that were spent come back one by one.
pub const REQUESTS_AT_ONCE: i64 = 64;
/// How long one takes to come back, in milliseconds.
const REQUEST_MS: i64 = 100;

/// Called when there is something to take.
pub type Wake = Box<dyn Fn() + Send>;

/// Why a connection is closed. Each has a close code of the range that RFC 6455 leaves to applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// It did not read what it asked for.
    SlowSubscriber,
    /// Its session is over.
    SessionEnded,
    /// Its access token is too old, and no fresh one was shown.
    TokenExpired,
    /// It showed no access token in time, or not a good one, or another account's.
    Unauthorized,
    /// It sent what is no message.
    Malformed,
    /// It asks too often.
    Flood,
    /// It has not been heard of for too long.
    Silent,
    /// Its account has too many.
    TooManyConnections,
    /// The server ends.
    ShuttingDown,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [CloseReason; 9] = [
        CloseReason::SlowSubscriber,
        CloseReason::SessionEnded,
        CloseReason::TokenExpired,
        CloseReason::Unauthorized,
        CloseReason::Malformed,
        CloseReason::Flood,
        CloseReason::Silent,
        CloseReason::TooManyConnections,
        CloseReason::ShuttingDown,
    ];

    /// The close frame's code.
    pub const fn status(self) -> u16 {
        4001 + self as u16
    }

    /// The close frame's text: a code that never changes its meaning.
    pub const fn code(self) -> &'static str {
        match self {
            CloseReason::SlowSubscriber => "slow_subscriber",
            CloseReason::SessionEnded => "session_ended",
            CloseReason::TokenExpired => "token_expired",
            CloseReason::Unauthorized => "unauthorized",
            CloseReason::Malformed => "malformed",
            CloseReason::Flood => "too_many_requests",
            CloseReason::Silent => "silent",
            CloseReason::TooManyConnections => "too_many_connections",
            CloseReason::ShuttingDown => "shutting_down",
        }
    }
}

/// Whose a connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account.
    pub account: i64,
    /// The session.
    pub session: String,
    /// When the token is no good any more, milliseconds since 1970 UTC; none for a session that is shown by a cookie.
    pub expires_ms: Option<i64>,
}

/// What is next for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// This goes out.
    Message(Bytes),
    /// It is closed; nothing goes out any more.
    Close(CloseReason),
    /// Nothing waits.
    Nothing,
}

/// See the module.
pub struct Connection {
    /// Where it comes from.
    pub site: String,
    /// Whose it is, once that is known.
    pub identity: Option<Identity>,
    /// What it hears.
    pub topics: Vec<Topic>,
    /// Why it is to be closed.
    pub closing: Option<CloseReason>,
    queue: VecDeque<Bytes>,
    queue_bytes: usize,
    /// When all requests that were spent have come back, milliseconds since 1970 UTC.
    regained_ms: i64,
    wake: Wake,
}

impl Connection {
    pub fn new(site: &str, now_ms: i64, wake: Wake) -> Connection {
        Connection {
            site: site.to_owned(),
            identity: None,
            topics: Vec::new(),
            closing: None,
            queue: VecDeque::new(),
            queue_bytes: 0,
            regained_ms: now_ms,
            wake,
        }
    }

    pub fn account(&self) -> Option<i64> {
        self.identity.as_ref().map(|identity| identity.account)
    }

    /// Spends a request; whether there was one.
    pub fn allows(&mut self, now_ms: i64) -> bool {
        let spent_ms = (self.regained_ms - now_ms).max(0) + REQUEST_MS;
        self.regained_ms = now_ms + spent_ms;
        spent_ms <= REQUESTS_AT_ONCE * REQUEST_MS
    }

    /// Queues a message; false where there is no room for it.
    pub fn push(&mut self, message: Bytes) -> bool {
        if self.closing.is_some() {
            return true;
        }
        if self.queue.len() >= QUEUE_MESSAGES_MAX || self.queue_bytes + message.len() > QUEUE_BYTES_MAX {
            return false;
        }
        self.queue_bytes += message.len();
        self.queue.push_back(message);
        (self.wake)();
        true
    }

    pub fn take(&mut self) -> Taken {
        if let Some(reason) = self.closing {
            return Taken::Close(reason);
        }
        let Some(message) = self.queue.pop_front() else { return Taken::Nothing };
        self.queue_bytes -= message.len();
        Taken::Message(message)
    }

    pub fn close(&mut self, reason: CloseReason) {
        if self.closing.is_none() {
            self.closing = Some(reason);
            (self.queue, self.queue_bytes) = (VecDeque::new(), 0);
            (self.wake)();
        }
    }
}
