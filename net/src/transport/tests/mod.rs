//! Both transports against real sockets on loopback: one fault a test, then random traffic against a model.

mod closing;
mod crowds;
mod limits;
mod tls;
mod traffic;

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use vyuha_protocol::frame::{SERVER_PAYLOAD_BYTES_MAX, append_frame, first_frame};

use super::*;
use crate::runtime::Driver;

/// Wide enough that no test meets one that it does not set.
const WIDE: Limits = Limits {
    connections_max: 8,
    frames_per_second_max: 1_000_000,
    bytes_per_tick_max: 4096,
    reliable_bytes_max: 64 << 10,
    idle_ticks: 1_000_000,
    stalled_ticks: 1_000_000,
    tick_hz: 30,
};

/// What a test expects at most to wait for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A report, kept.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    Frame(ConnId, u16, Vec<u8>),
    Closed(ConnId, CloseCause),
}

/// A transport that tests look into.
trait Tested: Transport {
    fn slots_in_use(&self) -> usize;
    fn socket(&self, conn: ConnId) -> &OwnedFd;
    /// Bytes kept for a connection beyond its slot.
    fn kept_bytes(&self, conn: ConnId) -> usize;
}

impl Tested for SyscallTransport {
    fn slots_in_use(&self) -> usize {
        self.table.slots_in_use()
    }

    fn socket(&self, conn: ConnId) -> &OwnedFd {
        &self.table.slots[conn.0 as usize].as_ref().unwrap().socket
    }

    fn kept_bytes(&self, conn: ConnId) -> usize {
        let connection = self.table.slots[conn.0 as usize].as_ref().unwrap();
        connection.received.len() + connection.unsent.len()
    }
}

impl Tested for UringTransport {
    fn slots_in_use(&self) -> usize {
        self.table.slots_in_use()
    }

    fn socket(&self, conn: ConnId) -> &OwnedFd {
        &self.table.slots[conn.0 as usize].as_ref().unwrap().socket
    }

    fn kept_bytes(&self, conn: ConnId) -> usize {
        let connection = self.table.slots[conn.0 as usize].as_ref().unwrap();
        connection.received.len() + connection.unsent.len() + connection.link.waiting.len()
    }
}

/// A transport and all it has reported.
struct Server {
    transport: Box<dyn Tested>,
    events: Vec<Event>,
    listener: TcpListener,
}

impl Server {
    fn new(driver: Driver, limits: Limits) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let transport: Box<dyn Tested> = match driver {
            Driver::Syscalls => Box::new(SyscallTransport::new(limits)),
            Driver::IoUring => Box::new(UringTransport::new(limits).unwrap()),
        };
        Server { transport, events: Vec::new(), listener }
    }

    /// Two connected sockets, the client's first.
    fn sockets(&self) -> (TcpStream, OwnedFd) {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // Small segments and a small window, as on a real network: loopback's would be 64 KiB and some MiB.
        client.set_tcp_mss(1400).unwrap();
        client.set_recv_buffer_size(16 << 10).unwrap();
        client.connect(&self.listener.local_addr().unwrap().into()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        (client.into(), self.listener.accept().unwrap().0.into())
    }

    fn connect(&mut self) -> (TcpStream, ConnId) {
        self.connect_with(&[])
    }

    fn connect_with(&mut self, received: &[u8]) -> (TcpStream, ConnId) {
        let (client, socket) = self.sockets();
        let conn = self.transport.admit(socket.into(), received).unwrap();
        (client, conn)
    }

    fn reap(&mut self) {
        let Server { transport, events, .. } = self;
        transport.reap(&mut |conn, received| {
            events.push(match received {
                Received::Frame { kind, payload } => Event::Frame(conn, kind, payload.to_vec()),
                Received::Closed(cause) => Event::Closed(conn, cause),
            });
        });
    }

    /// A whole tick without snapshots.
    fn tick(&mut self) {
        self.reap();
        self.transport.flush(&mut |_, _| {});
    }

    /// Ticks until something holds, as fast as it goes: time in ticks is short. Loopback delivers when it likes.
    #[track_caller]
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Server) -> bool) {
        let begin = Instant::now();
        while !holds(self) {
            assert!(begin.elapsed() < PATIENCE, "{what} did not come: {:?}", self.events);
            self.tick();
            std::thread::yield_now();
        }
    }

    #[track_caller]
    fn until_closed(&mut self, conn: ConnId, cause: CloseCause) {
        self.until("close", |server| matches!(server.events.last(), Some(Event::Closed(..))));
        assert_eq!(self.events.last(), Some(&Event::Closed(conn, cause)));
    }

    fn slots_in_use(&self) -> usize {
        self.transport.slots_in_use()
    }
}

fn frame(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    append_frame(&mut bytes, kind, |out| out.extend_from_slice(payload));
    bytes
}

/// Cuts bytes into whole frames; what is left over is returned too.
fn frames(mut bytes: &[u8]) -> (Vec<(u16, Vec<u8>)>, &[u8]) {
    let mut frames = Vec::new();
    while let Some(frame) = first_frame(bytes, SERVER_PAYLOAD_BYTES_MAX).unwrap() {
        frames.push((frame.kind, frame.payload.to_vec()));
        bytes = &bytes[frame.bytes()..];
    }
    (frames, bytes)
}

/// Everything that a client still gets, up to the end of the stream.
#[track_caller]
fn read_to_end(client: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    bytes
}

/// The bytes that a client gets next.
#[track_caller]
fn read(client: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    client.read_exact(&mut buffer).unwrap();
    buffer
}
