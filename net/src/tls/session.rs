//! The server's side of one TLS session, without a socket.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};
use thiserror::Error;

/// Longest TLS record: head, 16 KiB, and what sealing adds at the most.
const RECORD_BYTES_MAX: usize = 5 + (16 << 10) + 256;
/// Most bytes that a session keeps of a record which has not come whole, and of a handshake message that was cut into
/// several records.
pub const PARTIAL_BYTES_MAX: usize = RECORD_BYTES_MAX;
/// What one record adds to 16 KiB or less: head, type and tag.
pub(crate) const OVERHEAD_BYTES: usize = 5 + 1 + 16;
/// Plaintext of one record.
const FRAGMENT_BYTES_MAX: usize = 16 << 10;
/// Room for the alert that closes a session.
const ALERT_BYTES_MAX: usize = 64;

/// Why a session cannot go on.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The peer broke the protocol, or what it sent was tampered with: it speaks no TLS, an older one, or its record
    /// does not open.
    #[error("the peer's TLS: {0}")]
    Peer(#[from] rustls::Error),
    /// A message that comes in pieces is longer than any that is meant well.
    #[error("more than {PARTIAL_BYTES_MAX} bytes are still no whole TLS message")]
    TooLong,
    /// Nothing can be sealed: the handshake is not over, or the session is.
    #[error("the TLS session is not open")]
    NotOpen,
}

/// What came of bytes that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Whole records among them, whatever was in those: each costs about as much to open as a frame's worth of work.
    pub records: u32,
    /// The peer has said that this was all (`close_notify`).
    pub is_closed_by_peer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Our `close_notify` was sealed.
    Closed,
    /// An error was reported: nothing can be opened or sealed any more.
    Broken,
}

/// The server's side of one TLS session: what arrives is opened, what is to be sent is sealed.
///
/// Memory: about 3.5 KiB for keys and state, and while a record has not come whole, what came of it, at most
/// [`PARTIAL_BYTES_MAX`] (the allocation may be twice that).
pub struct Session {
    connection: UnbufferedServerConnection,
    /// What the connection has not taken: a record that is not whole.
    partial: Vec<u8>,
    /// Plaintext that waits to be sealed together with what follows; the transport bounds it.
    pub(crate) queued: Vec<u8>,
    state: State,
}

impl Session {
    /// A session on which nothing was said yet.
    ///
    /// # Errors
    /// If the configuration cannot be used.
    pub fn new(config: Arc<ServerConfig>) -> Result<Session, TlsError> {
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Session { connection, partial: Vec::new(), queued: Vec::new(), state: State::Open })
    }

    /// Whether the handshake is not over yet.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Takes what arrived, which is scrambled by it. Appends what it says to `plain`, and what must be sent back to
    /// `reply`, which after an error is the alert that tells the peer.
    ///
    /// # Errors
    /// If the session is over for what the peer sent. Whatever arrives after an error is an error again.
    pub fn open(
        &mut self,
        sealed: &mut [u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<Opened, TlsError> {
        if self.state == State::Broken {
            return Err(TlsError::NotOpen);
        }
        let opened = if self.partial.is_empty() {
            self.open_all(sealed, plain, reply).map(|(opened, taken)| (opened, sealed[taken..].to_vec()))
        } else {
            let mut joined = std::mem::take(&mut self.partial);
            joined.extend_from_slice(sealed);
            self.open_all(&mut joined, plain, reply).map(|(opened, taken)| {
                joined.drain(..taken);
                (opened, joined)
            })
        };
        let (opened, rest) = opened.inspect_err(|_| self.state = State::Broken)?;
        if opened.is_closed_by_peer {
            return Ok(opened);
        }
        if rest.len() > PARTIAL_BYTES_MAX {
            self.state = State::Broken;
            return Err(TlsError::TooLong);
        }
        self.partial = rest;
        Ok(opened)
    }

    /// Opens every whole record; how many bytes those were.
    fn open_all(
        &mut self,
        sealed: &mut [u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<(Opened, usize), TlsError> {
        let mut taken = 0;
        let mut opened = Opened { records: count_records(sealed), is_closed_by_peer: false };
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(&mut sealed[taken..]);
            let mut is_over = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        plain.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                    // Nearly always all there was; what is to be sent back goes with what is sealed next.
                    is_over = taken + discard == sealed.len();
                }
                Ok(ConnectionState::EncodeTlsData(data)) => append(data, reply),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => opened.is_closed_by_peer = true,
                Ok(_) => is_over = true,
                Err(error) => {
                    taken += discard;
                    // The alert that says why, if there is one, comes before all else.
                    let alert = self.connection.process_tls_records(&mut sealed[taken..]).state;
                    if let Ok(ConnectionState::EncodeTlsData(data)) = alert {
                        append(data, reply);
                    }
                    return Err(error.into());
                }
            }
            taken += discard;
            if is_over {
                return Ok((opened, taken));
            }
        }
    }

    /// Appends `plain`, sealed: one record for each 16 KiB of it.
    ///
    /// # Errors
    /// If the handshake is not over, or the session is.
    pub fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) -> Result<(), TlsError> {
        if plain.is_empty() {
            return Ok(());
        }
        let mut room = plain.len() + OVERHEAD_BYTES * plain.len().div_ceil(FRAGMENT_BYTES_MAX);
        self.write(sealed, |traffic, sealed| {
            let begin = sealed.len();
            loop {
                sealed.resize(begin + room, 0);
                match traffic.encrypt(plain, &mut sealed[begin..]) {
                    Ok(written) => {
                        sealed.truncate(begin + written);
                        return Ok(());
                    }
                    // New keys are announced in the same breath.
                    Err(EncryptError::InsufficientSize(needed)) if needed.required_size > room => {
                        room = needed.required_size;
                    }
                    Err(_) => {
                        sealed.truncate(begin);
                        return Err(TlsError::NotOpen);
                    }
                }
            }
        })
    }

    /// Appends what tells the peer that nothing follows (`close_notify`). Nothing can be sealed after it.
    ///
    /// # Errors
    /// As [`Session::seal`].
    pub fn close(&mut self, sealed: &mut Vec<u8>) -> Result<(), TlsError> {
        self.write(sealed, |traffic, sealed| {
            let begin = sealed.len();
            sealed.resize(begin + ALERT_BYTES_MAX, 0);
            let written = traffic.queue_close_notify(&mut sealed[begin..]);
            sealed.truncate(begin + written.as_ref().map_or(0, |written| *written));
            written.map(drop).map_err(|_| TlsError::NotOpen)
        })?;
        self.state = State::Closed;
        Ok(())
    }

    fn write(
        &mut self,
        sealed: &mut Vec<u8>,
        write: impl FnOnce(&mut Traffic<'_>, &mut Vec<u8>) -> Result<(), TlsError>,
    ) -> Result<(), TlsError> {
        if self.state != State::Open {
            return Err(TlsError::NotOpen);
        }
        loop {
            // Of an incomplete record nothing is taken, but the connection counts on seeing it again.
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(&mut self.partial);
            match state? {
                ConnectionState::WriteTraffic(mut traffic) => return write(&mut traffic, sealed),
                ConnectionState::EncodeTlsData(data) => append(data, sealed),
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => {}
                _ => return Err(TlsError::NotOpen),
            }
            self.partial.drain(..discard);
        }
    }
}

/// Whole records at the head of these bytes, by what their heads say.
fn count_records(mut bytes: &[u8]) -> u32 {
    let mut records = 0;
    while let [_, _, _, high, low, rest @ ..] = bytes
        && let Some(rest) = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..)
    {
        records += 1;
        bytes = rest;
    }
    records
}

type Traffic<'c> = rustls::unbuffered::WriteTraffic<'c, rustls::server::ServerConnectionData>;

/// Appends a record that the connection has made.
fn append<Data>(mut data: EncodeTlsData<'_, Data>, to: &mut Vec<u8>) {
    let begin = to.len();
    if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
        to.resize(begin + needed.required_size, 0);
        let written = data.encode(&mut to[begin..]).unwrap_or(0);
        to.truncate(begin + written);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Session { partial, state, .. } = self;
        f.debug_struct("Session").field("partial_bytes", &partial.len()).field("state", state).finish()
    }
}
