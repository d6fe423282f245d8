//! System calls at the tick: a `recv` and a `send` a connection, with nothing between them and the kernel.
//!
//! Whether a socket is in blocking mode does not matter: every call says that it must not wait.

use std::io::{Error, ErrorKind};
use std::os::fd::OwnedFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use socket2::{Domain, SockRef, Type};
use vyuha_protocol::frame::{CLIENT_PAYLOAD_BYTES_MAX, FRAME_HEAD_BYTES, first_frame};

use super::{
    AdmitError, CloseCause, ConnId, FAREWELL_BYTES_MAX, KERNEL_UNSENT_BYTES_MAX, LINGER_S, Limits,
    READ_AHEAD_BYTES_MAX, Received, Stats, Transport,
};

// What is left of a frame after a reap fits where read-ahead bytes do.
const _: () = assert!(READ_AHEAD_BYTES_MAX >= FRAME_HEAD_BYTES + CLIENT_PAYLOAD_BYTES_MAX as usize);

/// The transport whose every connection costs two system calls a tick.
///
/// Memory: a slot of at most 96 bytes a connection; beyond it, only while they are needed, an incomplete frame (at most
/// [`READ_AHEAD_BYTES_MAX`]) and unsent bytes (at most [`Limits::reliable_bytes_max`], [`FAREWELL_BYTES_MAX`] and one
/// snapshot; the allocation may be twice that). Two buffers are shared by all: one receive and the largest send.
pub struct SyscallTransport {
    limits: Limits,
    slots: Vec<Option<Connection>>,
    free: Vec<u32>,
    /// Bytes kept from before, then one receive.
    inbound: Box<[u8]>,
    /// One send.
    outbound: Vec<u8>,
    /// Ticks since the start, wrapping: only differences count.
    tick: u32,
    stats: Stats,
}

struct Connection {
    socket: OwnedFd,
    phase: Phase,
    /// Frames that it may send at once, each worth `tick_hz`, so that a tick's worth is a whole number.
    frame_credit: u32,
    /// The tick of its last whole frame.
    heard_tick: u32,
    /// Since when some bytes of an earlier flush were always left in `unsent`.
    stalled_tick: Option<u32>,
    /// Bytes of `unsent` that are a snapshot's, at most.
    snapshot_rest: usize,
    /// An incomplete frame, or what was read ahead.
    received: Vec<u8>,
    /// The rest of an earlier flush, then queued frames.
    unsent: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// A send failed; not yet reported.
    Broken,
    /// A frame was queued past the bound; not yet reported.
    Overflowed,
    /// Reported closed in this tick.
    Reported {
        reachable: bool,
    },
    /// Over for the owner; `unsent` is being sent.
    Closing {
        until_tick: u32,
    },
    /// All is sent and our side shut; input is dropped until the peer closes.
    Draining {
        until_tick: u32,
    },
}

const _: () = assert!(size_of::<Option<Connection>>() <= 96);

impl SyscallTransport {
    /// A transport without connections.
    ///
    /// # Panics
    /// If one of the limits is 0.
    pub fn new(limits: Limits) -> SyscallTransport {
        let Limits { connections_max, frames_per_second_max, idle_ticks, stalled_ticks, tick_hz, .. } =
            limits;
        let counts = [connections_max, frames_per_second_max, idle_ticks, stalled_ticks, tick_hz];
        let bytes = [limits.bytes_per_tick_max, limits.reliable_bytes_max];
        assert!(!counts.contains(&0) && !bytes.contains(&0), "no limit may be 0: {limits:?}");
        SyscallTransport {
            limits,
            slots: Vec::new(),
            free: Vec::new(),
            inbound: vec![0; READ_AHEAD_BYTES_MAX + limits.bytes_per_tick_max].into(),
            outbound: Vec::new(),
            tick: 0,
            stats: Stats::default(),
        }
    }

    fn connection(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.slots.get_mut(conn.0 as usize)?.as_mut()
    }

    fn linger_until(&self) -> u32 {
        self.tick.wrapping_add(self.limits.tick_hz.saturating_mul(LINGER_S))
    }
}

impl Transport for SyscallTransport {
    fn admit(&mut self, socket: OwnedFd, received: &[u8]) -> Result<ConnId, AdmitError> {
        if received.len() > READ_AHEAD_BYTES_MAX {
            return Err(AdmitError::ReadAhead { bytes: received.len() });
        }
        let connections_max = self.limits.connections_max;
        if self.free.is_empty() && self.slots.len() == connections_max as usize {
            return Err(AdmitError::Full { socket, connections_max });
        }
        let options = SockRef::from(&socket);
        if options.r#type()? != Type::STREAM {
            return Err(Error::new(ErrorKind::InvalidInput, "it is no stream").into());
        }
        // A browser comes over a Unix socket, whose other end is the gateway.
        if options.domain()? != Domain::UNIX {
            options.set_tcp_nodelay(true)?;
            options.set_tcp_notsent_lowat(KERNEL_UNSENT_BYTES_MAX)?;
        }
        let connection = Connection {
            socket,
            phase: Phase::Open,
            frame_credit: frame_credit_max(&self.limits),
            heard_tick: self.tick,
            stalled_tick: None,
            snapshot_rest: 0,
            received: received.to_vec(),
            unsent: Vec::new(),
        };
        self.stats.admitted += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[index as usize] = Some(connection);
        Ok(ConnId(index))
    }

    fn reap(&mut self, sink: &mut dyn FnMut(ConnId, Received<'_>)) {
        self.tick = self.tick.wrapping_add(1);
        let SyscallTransport { limits, slots, free, inbound, tick, stats, .. } = self;
        for (index, slot) in slots.iter_mut().enumerate() {
            let Some(connection) = slot else { continue };
            let conn = ConnId(index as u32);
            match connection.phase {
                Phase::Open | Phase::Broken | Phase::Overflowed => {
                    let read = connection.read(limits, inbound, *tick, stats, &mut |frame| sink(conn, frame));
                    let closed = match read {
                        // The send that failed has taken the error; what is left looks like an orderly end.
                        Some(CloseCause::Peer) if connection.phase == Phase::Broken => {
                            Some(CloseCause::Reset)
                        }
                        None => connection.failed(limits, *tick),
                        cause => cause,
                    };
                    if let Some(cause) = closed {
                        connection.phase = Phase::Reported { reachable: cause != CloseCause::Reset };
                        stats.closed[cause.index()] += 1;
                        sink(conn, Received::Closed(cause));
                    }
                }
                Phase::Reported { .. } => {}
                Phase::Closing { .. } | Phase::Draining { .. } => {
                    if connection.drain(&mut inbound[..limits.bytes_per_tick_max], *tick) {
                        *slot = None;
                        free.push(conn.0);
                    }
                }
            }
        }
    }

    fn queue(&mut self, conn: ConnId, frames: &[u8]) {
        let reliable_bytes_max = self.limits.reliable_bytes_max;
        let Some(connection) = self.connection(conn) else { return };
        let farewell = match connection.phase {
            Phase::Open => 0,
            Phase::Reported { reachable: true } => FAREWELL_BYTES_MAX,
            _ => return,
        };
        let room = reliable_bytes_max + connection.snapshot_rest + farewell;
        if connection.unsent.len() + frames.len() <= room {
            connection.unsent.extend_from_slice(frames);
        } else if connection.phase == Phase::Open {
            connection.phase = Phase::Overflowed;
        }
    }

    fn flush(&mut self, snapshot: &mut dyn FnMut(ConnId, &mut Vec<u8>)) {
        let (tick, until_tick) = (self.tick, self.linger_until());
        let SyscallTransport { slots, free, outbound, stats, .. } = self;
        for (index, slot) in slots.iter_mut().enumerate() {
            let Some(connection) = slot else { continue };
            let conn = ConnId(index as u32);
            if connection.phase == (Phase::Reported { reachable: true }) {
                connection.phase = Phase::Closing { until_tick };
            }
            let over = match connection.phase {
                Phase::Open => {
                    let sent = if connection.stalled_tick.is_some() {
                        stats.snapshots_skipped += 1;
                        connection.send_unsent(stats)
                    } else {
                        connection.send_fresh(outbound, |out| snapshot(conn, out), tick, stats)
                    };
                    if sent.is_err() {
                        connection.phase = Phase::Broken;
                    }
                    false
                }
                Phase::Reported { .. } => true,
                Phase::Closing { until_tick } => connection.finish(until_tick, stats),
                Phase::Broken | Phase::Overflowed | Phase::Draining { .. } => false,
            };
            if over {
                *slot = None;
                free.push(conn.0);
            }
        }
    }

    fn close(&mut self, conn: ConnId) {
        let until_tick = self.linger_until();
        let Some(connection) = self.connection(conn) else { return };
        if matches!(connection.phase, Phase::Open | Phase::Broken | Phase::Overflowed) {
            connection.phase = Phase::Closing { until_tick };
            self.stats.closed[CloseCause::ByServer.index()] += 1;
        }
    }

    fn stats(&self) -> &Stats {
        &self.stats
    }
}

impl Connection {
    /// Receives once and hands out the whole frames. Says why the connection is over, if reading tells.
    fn read(
        &mut self,
        limits: &Limits,
        inbound: &mut [u8],
        tick: u32,
        stats: &mut Stats,
        sink: &mut dyn FnMut(Received<'_>),
    ) -> Option<CloseCause> {
        self.frame_credit =
            self.frame_credit.saturating_add(limits.frames_per_second_max).min(frame_credit_max(limits));
        let kept = self.received.len();
        inbound[..kept].copy_from_slice(&self.received);
        let (fresh, ended) = match receive(&self.socket, &mut inbound[kept..kept + limits.bytes_per_tick_max])
        {
            Ok(0) => (0, Some(CloseCause::Peer)),
            Ok(bytes) => (bytes, None),
            Err(Errno::AGAIN) => (0, None),
            Err(_) => (0, Some(CloseCause::Reset)),
        };
        if fresh > 0 {
            stats.receives += 1;
            stats.bytes_in += fresh as u64;
        }
        let mut rest = &inbound[..kept + fresh];
        loop {
            match first_frame(rest, CLIENT_PAYLOAD_BYTES_MAX) {
                Ok(Some(frame)) => {
                    let Some(credit) = self.frame_credit.checked_sub(limits.tick_hz) else {
                        return Some(CloseCause::Flood);
                    };
                    self.frame_credit = credit;
                    self.heard_tick = tick;
                    stats.frames_in += 1;
                    sink(Received::Frame { kind: frame.kind, payload: frame.payload });
                    rest = &rest[frame.bytes()..];
                }
                Ok(None) => break,
                Err(error) => return Some(CloseCause::Malformed(error)),
            }
        }
        let handed_out = rest.len() < kept + fresh;
        if fresh > 0 || handed_out {
            self.received = rest.to_vec();
        }
        ended
    }

    /// Why the connection is over, where reading did not tell.
    fn failed(&self, limits: &Limits, tick: u32) -> Option<CloseCause> {
        let stalled = |since| tick.wrapping_sub(since) >= limits.stalled_ticks;
        if self.phase == Phase::Broken {
            Some(CloseCause::Reset)
        } else if self.phase == Phase::Overflowed || self.stalled_tick.is_some_and(stalled) {
            Some(CloseCause::Slow)
        } else if tick.wrapping_sub(self.heard_tick) >= limits.idle_ticks {
            Some(CloseCause::Idle)
        } else {
            None
        }
    }

    /// Sends queued frames and a snapshot, and keeps what the kernel does not take.
    fn send_fresh(
        &mut self,
        outbound: &mut Vec<u8>,
        snapshot: impl FnOnce(&mut Vec<u8>),
        tick: u32,
        stats: &mut Stats,
    ) -> Result<(), Errno> {
        outbound.clear();
        outbound.extend_from_slice(&self.unsent);
        let reliable = outbound.len();
        snapshot(outbound);
        if outbound.is_empty() {
            return Ok(());
        }
        stats.snapshots_sent += u64::from(outbound.len() > reliable);
        let sent = transmit(&self.socket, outbound, stats)?;
        self.unsent = outbound[sent..].to_vec();
        if !self.unsent.is_empty() {
            self.snapshot_rest = self.unsent.len().min(outbound.len() - reliable);
            self.stalled_tick = Some(tick);
        }
        Ok(())
    }

    /// Sends of what is left from an earlier flush, and what was queued since.
    fn send_unsent(&mut self, stats: &mut Stats) -> Result<(), Errno> {
        let sent = transmit(&self.socket, &self.unsent, stats)?;
        if sent == self.unsent.len() {
            self.unsent = Vec::new();
            self.snapshot_rest = 0;
            self.stalled_tick = None;
        } else {
            self.unsent.drain(..sent);
        }
        Ok(())
    }

    /// Sends the last of a connection that is over. `true` once there is nothing to wait for.
    fn finish(&mut self, until_tick: u32, stats: &mut Stats) -> bool {
        if !self.unsent.is_empty() && self.send_unsent(stats).is_err() {
            return true;
        }
        if !self.unsent.is_empty() {
            return false;
        }
        self.phase = Phase::Draining { until_tick };
        shutdown(&self.socket, Shutdown::Write).is_err()
    }

    /// Drops input of a connection that is over. `true` once there is nothing to wait for.
    fn drain(&mut self, inbound: &mut [u8], tick: u32) -> bool {
        let (Phase::Closing { until_tick } | Phase::Draining { until_tick }) = self.phase else {
            return false;
        };
        if tick.wrapping_sub(until_tick).cast_signed() >= 0 {
            return true;
        }
        match receive(&self.socket, inbound) {
            // A peer that has shut its side may still read: first everything is sent.
            Ok(bytes) => bytes == 0 && matches!(self.phase, Phase::Draining { .. }),
            Err(error) => error != Errno::AGAIN,
        }
    }
}

/// A second's worth of frames.
fn frame_credit_max(limits: &Limits) -> u32 {
    limits.frames_per_second_max.saturating_mul(limits.tick_hz)
}

fn receive(socket: &OwnedFd, into: &mut [u8]) -> Result<usize, Errno> {
    retry_on_intr(|| recv(socket, &mut *into, RecvFlags::DONTWAIT)).map(|(_, bytes)| bytes)
}

/// How many bytes the kernel took: none if it has no room just now.
fn transmit(socket: &OwnedFd, bytes: &[u8], stats: &mut Stats) -> Result<usize, Errno> {
    let sent = match retry_on_intr(|| send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)) {
        Ok(sent) => sent,
        Err(Errno::AGAIN) => 0,
        Err(error) => return Err(error),
    };
    stats.sends += 1;
    stats.short_sends += u64::from(sent < bytes.len());
    stats.bytes_out += sent as u64;
    Ok(sent)
}

#[cfg(test)]
impl SyscallTransport {
    pub(super) fn slots_in_use(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    pub(super) fn socket(&self, conn: ConnId) -> &OwnedFd {
        &self.slots[conn.0 as usize].as_ref().unwrap().socket
    }

    /// Bytes kept for a connection beyond its slot.
    pub(super) fn kept_bytes(&self, conn: ConnId) -> usize {
        let connection = self.slots[conn.0 as usize].as_ref().unwrap();
        connection.received.len() + connection.unsent.len()
    }
}
