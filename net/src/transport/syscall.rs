//! System calls at the tick: a `recv` and a `send` a connection, with nothing between them and the kernel.
//!
//! Whether a socket is in blocking mode does not matter: every call says that it must not wait.

use std::os::fd::OwnedFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::connection::{Connection, Phase, Table};
use super::{
    AdmitError, CloseCause, ConnId, Limits, READ_AHEAD_BYTES_MAX, Received, Released, Stats, Stream,
    Transport,
};

/// The transport whose every connection costs two system calls a tick.
///
/// Memory: a slot of at most 120 bytes a connection, and the [`Session`](crate::tls::Session) of one that speaks TLS; beyond
/// it, only while they are needed, an incomplete frame (at most
/// [`READ_AHEAD_BYTES_MAX`]) and unsent bytes (at most [`Limits::reliable_bytes_max`],
/// [`FAREWELL_BYTES_MAX`](super::FAREWELL_BYTES_MAX) and one snapshot; the allocation may be twice that). Three buffers are
/// shared by all: one receive, the largest send, and what of either was opened or is to be sealed.
pub struct SyscallTransport {
    pub(super) table: Table<()>,
    /// Bytes kept from before, then one receive.
    inbound: Box<[u8]>,
    /// One send.
    outbound: Vec<u8>,
    /// What was opened, or is to be sealed.
    plain: Vec<u8>,
}

const _: () = assert!(size_of::<Option<Connection<()>>>() <= 120);

impl SyscallTransport {
    /// A transport without connections.
    ///
    /// # Panics
    /// If one of the limits is 0.
    pub fn new(limits: Limits) -> SyscallTransport {
        SyscallTransport {
            table: Table::new(limits),
            inbound: vec![0; READ_AHEAD_BYTES_MAX + limits.bytes_per_tick_max].into(),
            outbound: Vec::new(),
            plain: Vec::new(),
        }
    }
}

impl Transport for SyscallTransport {
    fn admit(&mut self, stream: Stream, received: &[u8]) -> Result<ConnId, AdmitError> {
        self.table.admit(stream, received, ())
    }

    fn readmit(&mut self, released: Released) -> Result<ConnId, AdmitError> {
        let Released { stream, unread, unsent } = released;
        let conn = self.admit(stream, &unread)?;
        self.table.send_first(conn, unsent);
        Ok(conn)
    }

    fn reap(&mut self, sink: &mut dyn FnMut(ConnId, Received<'_>)) {
        let SyscallTransport { table, inbound, plain, .. } = self;
        table.tick = table.tick.wrapping_add(1);
        let Table { limits, slots, tick, stats, .. } = table;
        let mut over = Vec::new();
        for (index, slot) in slots.iter_mut().enumerate() {
            let Some(connection) = slot else { continue };
            let conn = ConnId(index as u32);
            match connection.phase {
                Phase::Open | Phase::Broken | Phase::Overflowed => {
                    let read = connection.read(limits, inbound, plain, *tick, stats, &mut |frame| {
                        sink(conn, frame);
                    });
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
                Phase::Faulty(_) | Phase::Reported { .. } => {}
                Phase::Closing { .. } | Phase::Draining { .. } => {
                    if connection.drain(&mut inbound[..limits.bytes_per_tick_max], *tick) {
                        over.push(index);
                    }
                }
            }
        }
        for index in over {
            table.free(index);
        }
    }

    fn queue(&mut self, conn: ConnId, frames: &[u8]) {
        self.table.queue(conn, frames);
    }

    fn flush(&mut self, snapshot: &mut dyn FnMut(ConnId, &mut Vec<u8>)) {
        let SyscallTransport { table, outbound, plain, .. } = self;
        let until_tick = table.linger_until();
        let Table { slots, tick, stats, .. } = table;
        let mut over = Vec::new();
        for (index, slot) in slots.iter_mut().enumerate() {
            let Some(connection) = slot else { continue };
            let conn = ConnId(index as u32);
            if connection.phase == (Phase::Reported { reachable: true }) {
                connection.phase = Phase::Closing { until_tick };
            }
            let is_over = match connection.phase {
                Phase::Open => {
                    let sent = if connection.stalled_tick.is_some() {
                        stats.snapshots_skipped += 1;
                        connection.seal_queued();
                        connection.send_rest(stats)
                    } else {
                        connection.send_fresh(outbound, plain, |out| snapshot(conn, out), *tick, stats)
                    };
                    if sent.is_err() {
                        connection.phase = Phase::Broken;
                    }
                    false
                }
                Phase::Reported { .. } => true,
                Phase::Closing { until_tick } => connection.finish(until_tick, stats),
                Phase::Broken | Phase::Overflowed | Phase::Faulty(_) | Phase::Draining { .. } => false,
            };
            if is_over {
                over.push(index);
            }
        }
        for index in over {
            table.free(index);
        }
    }

    fn close(&mut self, conn: ConnId) {
        self.table.close(conn);
    }

    /// Nothing is ever under way between two calls.
    fn prepare_release(&mut self, _: ConnId) {}

    fn release(&mut self, conn: ConnId) -> Option<Released> {
        self.table.release(conn)
    }

    fn stats(&self) -> &Stats {
        &self.table.stats
    }
}

impl Connection<()> {
    /// Receives once and hands out the whole frames. Says why the connection is over, if reading tells.
    fn read(
        &mut self,
        limits: &Limits,
        inbound: &mut [u8],
        plain: &mut Vec<u8>,
        tick: u32,
        stats: &mut Stats,
        sink: &mut dyn FnMut(Received<'_>),
    ) -> Option<CloseCause> {
        let kept = if self.tls.is_some() { 0 } else { self.received.len() };
        inbound[..kept].copy_from_slice(&self.received[..kept]);
        let (fresh, ended) = match receive(&self.socket, &mut inbound[kept..kept + limits.bytes_per_tick_max])
        {
            Ok(0) => (0, Some(self.cause_of_end())),
            Ok(bytes) => (bytes, None),
            Err(Errno::AGAIN) => (0, None),
            Err(_) => (0, Some(CloseCause::Reset)),
        };
        if fresh > 0 {
            stats.receives += 1;
            stats.bytes_in += fresh as u64;
        }
        let bytes = &mut inbound[..kept + fresh];
        let fault = if self.tls.is_some() && self.received.len() + fresh > 0 {
            self.hand_out_sealed(bytes, plain, limits, tick, stats, sink)
        } else if bytes.is_empty() {
            None
        } else {
            self.hand_out(bytes, 0, limits, tick, stats, sink)
        };
        fault.or(ended)
    }

    /// Sends queued frames and a snapshot, and keeps what the kernel does not take.
    fn send_fresh(
        &mut self,
        outbound: &mut Vec<u8>,
        plain: &mut Vec<u8>,
        snapshot: impl FnOnce(&mut Vec<u8>),
        tick: u32,
        stats: &mut Stats,
    ) -> Result<(), Errno> {
        outbound.clear();
        let reliable = self.compose(outbound, plain, snapshot);
        if outbound.is_empty() {
            return Ok(());
        }
        stats.snapshots_sent += u64::from(outbound.len() > reliable);
        let sent = transmit(&self.socket, outbound, stats)?;
        self.sent_fresh(outbound, reliable, sent, tick);
        Ok(())
    }

    /// Sends of what is left from an earlier flush, and what was queued since.
    fn send_rest(&mut self, stats: &mut Stats) -> Result<(), Errno> {
        let sent = transmit(&self.socket, &self.unsent, stats)?;
        self.sent_rest(sent);
        Ok(())
    }

    /// Sends the last of a connection that is over. `true` once there is nothing to wait for.
    fn finish(&mut self, until_tick: u32, stats: &mut Stats) -> bool {
        self.seal_last();
        if !self.unsent.is_empty() && self.send_rest(stats).is_err() {
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
    stats.count_send(bytes.len(), sent);
    Ok(sent)
}
