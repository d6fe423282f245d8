//! The clients' sockets of one shard, touched only by its tick: one reap and one coalesced send a connection.
//!
//! Reading at the tick instead of on arrival is what makes this cheap: nobody is woken for a packet. What a client may
//! take is bounded by [`Limits`], and a client that is slow costs nobody else anything: its snapshots are skipped, so
//! that the newest state is what it gets next, and only what must not be lost is kept for it, up to a bound. Nothing
//! here blocks, retries or knows what a message means.
//!
//! # A connection's life
//! 1. [`admit`](Transport::admit) takes a socket and gives it a [`ConnId`].
//! 2. Each tick, in this order: [`reap`](Transport::reap) hands out the frames that are there;
//!    [`queue`](Transport::queue) takes what must arrive; [`flush`](Transport::flush) sends.
//! 3. It ends in one of two ways, and only one:
//!    - The owner calls [`close`](Transport::close). It hears no more of the connection and must not use its id again.
//!    - Reap reports [`Received::Closed`], always the connection's last report. Until the end of this tick's flush the
//!      id still means this connection, so that the owner can queue a last frame that says why. Flush closes it; no call
//!      of `close` is needed.
//!
//! Either way what is queued is still sent, then the stream is shut, then the peer is given [`LINGER_S`] to read it and
//! close its side, because a socket closed over unread input would take the last frame with it. After that the slot is
//! free and its number may be given to another connection.

mod connection;
mod stream;
mod syscall;
#[cfg(test)]
mod tests;
mod uring;

use std::os::fd::OwnedFd;

use socket2::{Domain, SockRef, Type};
use thiserror::Error;
use vyuha_protocol::frame::FrameError;

pub use stream::Stream;
pub use syscall::SyscallTransport;
pub use uring::UringTransport;

/// Longest that a closed connection waits for its peer to take the last bytes and close its side, in seconds.
pub const LINGER_S: u32 = 2;
/// Most bytes read ahead of [`Transport::admit`].
pub const READ_AHEAD_BYTES_MAX: usize = 16 << 10;
/// Room for a last frame beyond [`Limits::reliable_bytes_max`], once a connection was reported closed.
pub const FAREWELL_BYTES_MAX: usize = 1 << 10;
/// Bytes that the kernel takes of a connection ahead of what it can put on the wire. What it took cannot be skipped
/// any more: with its default, some MiB, a slow client would be shown the past.
pub const KERNEL_UNSENT_BYTES_MAX: u32 = 16 << 10;

/// Bytes that the kernel keeps of a connection until they are read, as `SO_RCVBUF` counts them. What a flood brings
/// waits there, and then in the flooder's own machine.
pub const KERNEL_UNREAD_BYTES_MAX: usize = 32 << 10;

/// A connection's slot: dense, from 0, below [`Limits::connections_max`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u32);

/// What reap hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received<'a> {
    /// A whole frame, in the order sent.
    Frame {
        /// The kind in its head.
        kind: u16,
        /// Its payload, at most [`CLIENT_PAYLOAD_BYTES_MAX`](vyuha_protocol::frame::CLIENT_PAYLOAD_BYTES_MAX) bytes.
        payload: &'a [u8],
    },
    /// The connection is over: its last report.
    Closed(CloseCause),
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCause {
    /// The peer closed its side in good order.
    Peer,
    /// The connection was reset, or broke on the way. Of one that speaks TLS also: its stream ended without the word
    /// that it does (`close_notify`).
    Reset,
    /// The bytes are no frames; where the next one begins is not known.
    Malformed(FrameError),
    /// More frames than [`Limits::frames_per_second_max`], or more bytes at once than anybody means well by.
    Flood,
    /// No whole frame for [`Limits::idle_ticks`].
    Idle,
    /// The peer does not read: bytes unsent for [`Limits::stalled_ticks`], or more than
    /// [`Limits::reliable_bytes_max`] of them.
    Slow,
    /// The owner called [`Transport::close`]. Counted, never reported.
    ByServer,
    /// What arrived breaks the TLS session: a record that does not open, or that does not belong there.
    Tls,
}

impl CloseCause {
    const NAMES: [&'static str; 8] =
        ["peer", "reset", "malformed", "flood", "idle", "slow", "by_server", "tls"];

    /// The cause's stable name, as metrics show it.
    pub fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    fn index(self) -> usize {
        match self {
            CloseCause::Peer => 0,
            CloseCause::Reset => 1,
            CloseCause::Malformed(_) => 2,
            CloseCause::Flood => 3,
            CloseCause::Idle => 4,
            CloseCause::Slow => 5,
            CloseCause::ByServer => 6,
            CloseCause::Tls => 7,
        }
    }
}

/// What connections may take. Each is at least 1.
///
/// Time is counted in ticks that ran: where a node sheds ticks, the limits stretch with it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once, those that are still being closed included.
    pub connections_max: u32,
    /// Frames a second from one connection; as many may come at once after a silence. TLS records beyond one a frame
    /// count like frames.
    pub frames_per_second_max: u32,
    /// Bytes read from one connection in one tick; the rest waits in the kernel. A TLS record is handed out whole once
    /// its last byte is read: 16 KiB at the most.
    pub bytes_per_tick_max: usize,
    /// Bytes of queued frames that wait for one connection.
    pub reliable_bytes_max: usize,
    /// Ticks without a whole frame.
    pub idle_ticks: u32,
    /// Ticks during which some bytes were always left unsent.
    pub stalled_ticks: u32,
    /// Ticks a second.
    pub tick_hz: u32,
}

/// Why a socket was not admitted.
#[derive(Debug, Error)]
pub enum AdmitError {
    /// Every slot is taken. The stream comes back, so that the client can be told.
    #[error("all {connections_max} connections are taken: raise net.connections_max or add a node")]
    Full {
        /// The stream.
        stream: Stream,
        /// How many slots there are.
        connections_max: u32,
    },
    /// More was read ahead than can be taken over.
    #[error("{bytes} bytes were read ahead of admission; {READ_AHEAD_BYTES_MAX} can be taken over")]
    ReadAhead {
        /// How many.
        bytes: usize,
    },
    /// The socket cannot be set up: it is neither a TCP nor a Unix stream, or is gone already.
    #[error("the socket cannot be set up: {0}")]
    Socket(#[from] std::io::Error),
}

/// Sets a socket up: it sends at once, and the kernel takes no more of it than it can put on the wire soon.
fn set_up(socket: &OwnedFd) -> Result<(), std::io::Error> {
    let socket = SockRef::from(socket);
    if socket.r#type()? != Type::STREAM {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is no stream"));
    }
    socket.set_recv_buffer_size(KERNEL_UNREAD_BYTES_MAX)?;
    if socket.domain()? == Domain::UNIX {
        // What is sent lies in the sender's account until the other end reads it.
        return socket.set_send_buffer_size(KERNEL_UNSENT_BYTES_MAX as usize);
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(KERNEL_UNSENT_BYTES_MAX)
}

/// Figures since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections admitted.
    pub admitted: u64,
    /// Bytes received, but for those of connections that are over.
    pub bytes_in: u64,
    /// Bytes that the kernel took.
    pub bytes_out: u64,
    /// Whole frames handed out.
    pub frames_in: u64,
    /// Snapshots that were sent, whole or begun.
    pub snapshots_sent: u64,
    /// Times that a connection was not asked for a snapshot, because an earlier send was unfinished.
    pub snapshots_skipped: u64,
    /// Sends.
    pub sends: u64,
    /// Sends that left something over.
    pub short_sends: u64,
    /// Receives that brought bytes.
    pub receives: u64,
    closed: [u64; CloseCause::NAMES.len()],
}

impl Stats {
    /// Connections that ended, by the name of the cause.
    pub fn closed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CloseCause::NAMES.into_iter().zip(self.closed)
    }
}

/// A connection that was given away, with all that had not reached either side.
#[derive(Debug)]
pub struct Released {
    /// The stream.
    pub stream: Stream,
    /// Bytes that were received and not handed out, opened where it speaks TLS.
    pub unread: Vec<u8>,
    /// Bytes that were queued and not sent, sealed where it speaks TLS; they may begin within a frame or a record.
    pub unsent: Vec<u8>,
}

/// A driver of sockets: [`UringTransport`], or [`SyscallTransport`] where io_uring is not to be had. Both do the same.
pub trait Transport {
    /// Takes over a connected stream, over TCP or a Unix socket, and `received`, what was read of it already, opened where
    /// it speaks TLS (at most [`READ_AHEAD_BYTES_MAX`]): the next reap sees that first. Bounds what the kernel queues; sets
    /// `TCP_NODELAY` where it is TCP.
    fn admit(&mut self, stream: Stream, received: &[u8]) -> Result<ConnId, AdmitError>;

    /// Takes over what another transport has given away: the next reap sees what was unread, and what was unsent is sent
    /// before all else, as it is. As [`Transport::admit`] otherwise.
    fn readmit(&mut self, released: Released) -> Result<ConnId, AdmitError>;

    /// Begins a tick: reads what is there, within [`Limits`], and hands out each connection's whole frames in order,
    /// then [`Received::Closed`] if it ended.
    fn reap(&mut self, sink: &mut dyn FnMut(ConnId, Received<'_>));

    /// Takes whole frames that must arrive, to be sent in order and ahead of the tick's snapshot. A connection whose
    /// peer has fallen further behind than [`Limits::reliable_bytes_max`] takes no more of them and is reported
    /// [`CloseCause::Slow`] by the next reap. Without effect on a connection that is over.
    fn queue(&mut self, conn: ConnId, frames: &[u8]);

    /// Ends a tick: one send a connection, of what is queued and then its snapshot, which `snapshot` appends. A
    /// connection with bytes left from an earlier tick is sent those instead and not asked for a snapshot.
    fn flush(&mut self, snapshot: &mut dyn FnMut(ConnId, &mut Vec<u8>));

    /// Ends a connection once what is queued is sent. Without effect on one that is over.
    fn close(&mut self, conn: ConnId);

    /// Begins to give a connection away, so that [`Transport::release`] finds the kernel done with it by the next reap. Until
    /// then it is as before, but that no more is received.
    fn prepare_release(&mut self, conn: ConnId);

    /// Gives a connection away, so that another transport can take it over. `None` while the kernel still receives into it,
    /// or once it is over: nothing new is received from then on, what had arrived is handed out by the next reap, and after
    /// that this is to be called again, unless that reap reported its end. A connection that was given away is not
    /// reported, and its id must not be used again.
    fn release(&mut self, conn: ConnId) -> Option<Released>;

    /// Figures since the start.
    fn stats(&self) -> &Stats;
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn admit(&mut self, stream: Stream, received: &[u8]) -> Result<ConnId, AdmitError> {
        (**self).admit(stream, received)
    }

    fn readmit(&mut self, released: Released) -> Result<ConnId, AdmitError> {
        (**self).readmit(released)
    }

    fn reap(&mut self, sink: &mut dyn FnMut(ConnId, Received<'_>)) {
        (**self).reap(sink);
    }

    fn queue(&mut self, conn: ConnId, frames: &[u8]) {
        (**self).queue(conn, frames);
    }

    fn flush(&mut self, snapshot: &mut dyn FnMut(ConnId, &mut Vec<u8>)) {
        (**self).flush(snapshot);
    }

    fn close(&mut self, conn: ConnId) {
        (**self).close(conn);
    }

    fn prepare_release(&mut self, conn: ConnId) {
        (**self).prepare_release(conn);
    }

    fn release(&mut self, conn: ConnId) -> Option<Released> {
        (**self).release(conn)
    }

    fn stats(&self) -> &Stats {
        (**self).stats()
    }
}
