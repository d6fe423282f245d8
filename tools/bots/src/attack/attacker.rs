//! One attacker: a connection that is made, misused and made again.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rand::RngExt as _;
use rand_pcg::Pcg32;
use rustix::io::{Errno, read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use vyuha_protocol::frame::{SERVER_PAYLOAD_BYTES_MAX, first_frame};
use vyuha_protocol::message::{Hello, Login, Ping, ServerMessage, append};
use vyuha_protocol::{ErrorCode, PROTOCOL_VERSION};

use super::kind::Kind;
use super::{AttackOptions, Tally};

/// How long an attacker waits before it connects anew; half of it to one and a half.
const PAUSE: Duration = Duration::from_secs(1);
/// The same of one that does nothing but connect.
const STORM_PAUSE: Duration = Duration::from_millis(200);
/// Between two bytes of one that is slow on purpose.
const LORIS_PAUSE: Duration = Duration::from_secs(1);
/// Random bytes, and pings, that are sent at once.
const GARBAGE_BYTES: usize = 512;
const PINGS: usize = 100;
/// Most that is kept of what the server says.
const RECEIVED_BYTES_MAX: usize = 4096;

/// A client that means no good.
pub(super) struct Attacker {
    kind: Kind,
    target: SocketAddr,
    source: Option<Ipv4Addr>,
    content_hash: [u8; 32],
    rng: Pcg32,
    connection: Option<Connection>,
    /// When it connects next, or a slow one sends its next byte.
    due: Duration,
}

struct Connection {
    socket: OwnedFd,
    since: Duration,
    /// What it says of itself, not all of which is sent.
    said: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
    welcomed: bool,
}

impl Attacker {
    pub fn new(index: u32, options: &AttackOptions) -> Attacker {
        let nth = index % options.sources;
        let source = Ipv4Addr::new(127, 66, (nth / 250) as u8, 1 + (nth % 250) as u8);
        let is_here = matches!(options.target.ip(), IpAddr::V4(ip) if ip.is_loopback());
        let mut rng = Pcg32::new(options.seed, u64::from(index));
        Attacker {
            kind: options.kinds.of(index),
            target: options.target,
            source: is_here.then_some(source),
            content_hash: options.content_hash,
            due: PAUSE.mul_f64(rng.random()),
            rng,
            connection: None,
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its turn has come.
    pub fn look(&mut self, tally: &mut Tally, now: Duration) {
        let Some(connection) = &mut self.connection else {
            if now >= self.due {
                self.connect(tally, now);
            }
            return;
        };
        let ended = match connection.hear() {
            Err(code) => Some(code),
            Ok(()) if self.kind == Kind::Storm => {
                self.connection = None;
                return self.pause(now);
            }
            Ok(()) => self.misuse(tally, now).err(),
        };
        if let Some(code) = ended {
            if let Some(connection) = self.connection.take() {
                tally.held.record(now.saturating_sub(connection.since).as_nanos() as u64);
            }
            *tally.closed.entry(code.map_or("none", ErrorCode::name)).or_default() += 1;
            self.pause(now);
        }
    }

    fn pause(&mut self, now: Duration) {
        let pause = if self.kind == Kind::Storm { STORM_PAUSE } else { PAUSE };
        self.due = now + pause.mul_f64(0.5 + self.rng.random::<f64>());
    }

    fn connect(&mut self, tally: &mut Tally, now: Duration) {
        self.pause(now);
        match begin(self.target, self.source) {
            Ok(socket) => {
                tally.connections += 1;
                self.due = now;
                let said = self.words();
                let received = Vec::new();
                self.connection =
                    Some(Connection { socket, since: now, said, sent: 0, received, welcomed: false });
            }
            Err(_) => tally.failed += 1,
        }
    }

    /// What it says first.
    fn words(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        match self.kind {
            Kind::HalfOpen | Kind::Storm => {}
            Kind::Garbage => said.extend((0..GARBAGE_BYTES).map(|_| self.rng.random::<u8>())),
            Kind::Loris | Kind::Flood | Kind::Guess => {
                append(&mut said, &Hello { version: PROTOCOL_VERSION, content_hash: self.content_hash });
            }
        }
        said
    }

    /// Goes on with what it is there for; the error is the server's end of the connection.
    fn misuse(&mut self, tally: &mut Tally, now: Duration) -> Result<(), Option<ErrorCode>> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let mut bytes_max = usize::MAX;
        match self.kind {
            Kind::Loris => {
                if now < self.due {
                    return Ok(());
                }
                self.due = now + LORIS_PAUSE;
                bytes_max = 1;
            }
            Kind::Flood if connection.welcomed && connection.sent == connection.said.len() => {
                (connection.said, connection.sent) = (Vec::new(), 0);
                (0..PINGS).for_each(|stamp| append(&mut connection.said, &Ping { stamp: stamp as u64 }));
            }
            Kind::Guess if connection.welcomed && connection.sent == connection.said.len() => {
                let request = connection.said.len() as u32;
                let guess = self.rng.random_range(0..100_000);
                let account = format!("bot{:05}", guess % 200);
                append(
                    &mut connection.said,
                    &Login { request, account, password: format!("a guess: {guess}") },
                );
                // One at a time.
                connection.welcomed = false;
            }
            _ => {}
        }
        tally.bytes_out += connection.say(bytes_max)?;
        Ok(())
    }
}

impl Connection {
    /// Reads what the server said; the error is its end, with the reason that it gave.
    fn hear(&mut self) -> Result<(), Option<ErrorCode>> {
        let mut chunk = [0; RECEIVED_BYTES_MAX];
        let ended = match read(&self.socket, &mut chunk) {
            Ok(0) => true,
            Ok(length) => {
                self.received.extend_from_slice(&chunk[..length]);
                false
            }
            // The last is of one that is not connected yet.
            Err(Errno::AGAIN | Errno::INTR | Errno::NOTCONN) => return Ok(()),
            Err(_) => true,
        };
        let (mut reason, mut taken) = (None, 0);
        while let Ok(Some(frame)) = first_frame(&self.received[taken..], SERVER_PAYLOAD_BYTES_MAX) {
            taken += frame.bytes();
            match ServerMessage::decode(frame.kind, frame.payload) {
                Ok(ServerMessage::Error(error)) if error.closing => {
                    reason = ErrorCode::from_number(error.code.into());
                }
                Ok(ServerMessage::Welcome(_) | ServerMessage::Error(_)) => self.welcomed = true,
                _ => {}
            }
        }
        self.received.drain(..taken);
        // It has nothing to wait for once it knows.
        if ended || reason.is_some() || self.received.len() > RECEIVED_BYTES_MAX {
            Err(reason)
        } else {
            Ok(())
        }
    }

    /// Sends on; how many bytes the kernel took.
    fn say(&mut self, bytes_max: usize) -> Result<u64, Option<ErrorCode>> {
        let rest = &self.said[self.sent..];
        let rest = &rest[..rest.len().min(bytes_max)];
        if rest.is_empty() {
            return Ok(0);
        }
        match write(&self.socket, rest) {
            Ok(sent) => {
                self.sent += sent;
                Ok(sent as u64)
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::NOTCONN) => Ok(0),
            // The server's reason, if it gave one, is read with the next look.
            Err(_) => self.hear().map(|()| 0),
        }
    }
}

/// Begins to connect. A socket that is dropped resets its connection, so that no port is left waiting.
fn begin(target: SocketAddr, source: Option<Ipv4Addr>) -> Result<OwnedFd, Errno> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    if let Some(source) = source {
        bind(&socket, &SocketAddr::from((source, 0)))?;
    }
    match connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}
