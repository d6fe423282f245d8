//! io_uring at the tick: receives that go on by themselves, a batch of sends.
//!
//! Each connection has one receive in flight for its whole life. What arrives between ticks only marks it; the kernel
//! copies it into a buffer of a pool that all share when reap calls for it, in one system call for thousands. Flush
//! sends for a thousand connections with one call. Where nothing arrived, reap makes no call at all.
//!
//! The ring belongs to the thread that made it, so the transport must be made where it is used.

mod ring;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use self::ring::{Arrival, BATCH, Receive, Ring, SERIAL_MAX};
use super::connection::{Connection, Phase, Table};
use super::{
    AdmitError, CloseCause, ConnId, KERNEL_UNREAD_BYTES_MAX, Limits, Received, Released, Stats, Stream,
    Transport,
};

/// Bytes after which a batch is sent although there is room for more sends.
const BATCH_BYTES: usize = 512 << 10;
/// Arrivals that a reap handles at the most for each connection; the others wait for the next tick, so that no flood
/// keeps a reap from ending.
const ARRIVALS_PER_CONNECTION_MAX: usize = 4;

/// Bytes that may wait here beyond what a tick may take. A receive that is cancelled for sending too much brings at most
/// what the kernel had of it; only a peer that goes on while it is read, on the same machine, comes to more, and is a
/// [`CloseCause::Flood`].
pub(super) const WAITING_BYTES_MAX: usize = 256 << 10;
const _: () = assert!(WAITING_BYTES_MAX >= 4 * KERNEL_UNREAD_BYTES_MAX);

/// The transport whose connections share a few system calls a tick.
///
/// Memory: a slot of at most 184 bytes a connection; beyond it, only while they are needed, what
/// [`SyscallTransport`](super::SyscallTransport) keeps, and of a connection that sends more than
/// [`Limits::bytes_per_tick_max`] what the kernel had of it already, at most 256 KiB. About 2.5 MiB are shared by all:
/// the ring, its buffers and one batch.
pub struct UringTransport {
    /// Before everything that an operation in flight may need: fields are dropped in this order.
    ring: Ring,
    pub(super) table: Table<Link>,
    serial_last: u32,
    /// What a batch sends for the first time.
    outbound: Vec<u8>,
    batch: Vec<Send>,
    /// Sockets that are over, until their receives are.
    closing: Vec<OwnedFd>,
    /// How much arrived in the last tick.
    taken_last: usize,
    /// Kept for their memory.
    arrivals: Vec<Arrival>,
    joined: Joined,
}

/// Buffers that every connection uses for a moment.
#[derive(Default)]
struct Joined {
    /// What is opened in place.
    sealed: Vec<u8>,
    /// What is kept of earlier frames with what arrived; or what is to be sealed.
    plain: Vec<u8>,
}

/// What is kept of a connection beside.
pub(super) struct Link {
    state: State,
    /// That of the receive in flight, or of the last one.
    serial: u32,
    /// The stream has ended.
    ended: Option<CloseCause>,
    /// What was read ahead has not been looked at.
    is_new: bool,
    /// To be given away: no receive is started any more.
    is_leaving: bool,
    /// Bytes beyond what one tick may take.
    pub waiting: Vec<u8>,
    /// Bytes taken in `taken_tick`.
    taken: usize,
    taken_tick: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Receiving,
    /// Cancelled, but not ended yet.
    Ending,
}

/// A send of the batch.
struct Send {
    slot: u32,
    /// For what is sent for the first time: where in `outbound`, and how much of it was queued. Otherwise it is the
    /// connection's `unsent`.
    fresh: Option<(std::ops::Range<usize>, usize)>,
}

const _: () = assert!(size_of::<Option<Connection<Link>>>() <= 184);

impl UringTransport {
    /// A transport without connections, for the calling thread.
    ///
    /// # Errors
    /// If the kernel refuses io_uring, is older than Linux 6.1, or is short of memory.
    ///
    /// # Panics
    /// If one of the limits is 0.
    pub fn new(limits: Limits) -> io::Result<UringTransport> {
        Ok(UringTransport {
            table: Table::new(limits),
            ring: Ring::open()?,
            serial_last: 0,
            outbound: Vec::new(),
            batch: Vec::with_capacity(BATCH),
            closing: Vec::new(),
            taken_last: 0,
            arrivals: Vec::new(),
            joined: Joined::default(),
        })
    }

    /// Sets up what a transport needs and takes it down again: whether it is possible here.
    pub(crate) fn try_ring() -> io::Result<()> {
        Ring::open().map(drop)
    }

    /// Starts a connection's receive.
    fn receive(&mut self, index: usize) {
        let Some(connection) = &mut self.table.slots[index] else { return };
        if connection.link.is_leaving {
            return;
        }
        self.serial_last = (self.serial_last + 1) & SERIAL_MAX;
        connection.link.state = State::Receiving;
        connection.link.serial = self.serial_last;
        self.ring.receive(connection.socket.as_fd(), connection.link.receive(index));
    }

    /// Takes everything that has arrived.
    fn take_arrivals(&mut self, sink: &mut dyn FnMut(ConnId, Received<'_>)) {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        let mut left = (self.table.slots.len() * ARRIVALS_PER_CONNECTION_MAX + BATCH) as isize;
        let (mut again, mut entered, mut taken) = (Vec::new(), false, 0);
        loop {
            arrivals.clear();
            self.ring.arrivals(&mut arrivals);
            for arrival in &arrivals {
                if self.take(arrival, sink) {
                    again.push(arrival.receive.slot as usize);
                }
                if let Some(buffer) = arrival.buffer {
                    self.ring.give_back(buffer);
                }
            }
            self.ring.offer();
            for index in again.drain(..) {
                self.receive(index);
            }
            left -= 1 + arrivals.len() as isize;
            let may_be_more = self.ring.wants_enter() || entered && !arrivals.is_empty();
            if left <= 0 || !may_be_more {
                break;
            }
            taken += arrivals.len();
            // Most of what the last tick brought, at once; a few at a time what may not be there.
            self.ring.enter((self.taken_last / 4 * 3).saturating_sub(taken));
            entered = true;
        }
        self.taken_last = taken;
        self.arrivals = arrivals;
    }

    /// Takes one arrival. `true` if the receive ended for want of buffers or the like and is to be started again.
    fn take(&mut self, arrival: &Arrival, sink: &mut dyn FnMut(ConnId, Received<'_>)) -> bool {
        let UringTransport { ring, table, joined, .. } = self;
        let Table { limits, slots, tick, stats, .. } = table;
        let Arrival { receive, result, buffer, more } = *arrival;
        // That of a connection which has left the slot is over too.
        let slot = slots.get_mut(receive.slot as usize).and_then(Option::as_mut);
        let Some(connection) = slot.filter(|connection| connection.link.serial == receive.serial) else {
            return false;
        };
        let was_ending = connection.link.state == State::Ending;
        if !more {
            connection.link.state = State::Idle;
        }
        match (result, buffer) {
            (Ok(0), _) => connection.link.ended = Some(CloseCause::Peer),
            (Ok(length), Some(buffer)) => {
                stats.receives += 1;
                let bytes = ring.bytes(buffer, length);
                connection.take(bytes, joined, limits, *tick, stats, &mut |frame| {
                    sink(ConnId(receive.slot), frame);
                });
                let link = &mut connection.link;
                let too_much =
                    link.waiting.len() > limits.bytes_per_tick_max || link.room(limits, *tick) == 0;
                if too_much && link.state == State::Receiving {
                    link.state = State::Ending;
                    ring.cancel(receive);
                }
                return !more && !too_much;
            }
            (Err(Errno::NOBUFS | Errno::INTR | Errno::AGAIN | Errno::NOMEM), _) => return !was_ending,
            (Err(Errno::CANCELED), _) => {}
            (Ok(_), None) | (Err(_), _) => connection.link.ended = Some(CloseCause::Reset),
        }
        false
    }

    /// Ends what is over, and sees to it that the others receive.
    fn look_at_all(&mut self, sink: &mut dyn FnMut(ConnId, Received<'_>)) {
        for index in 0..self.table.slots.len() {
            let Table { limits, slots, tick, stats, .. } = &mut self.table;
            let Some(connection) = &mut slots[index] else { continue };
            let conn = ConnId(index as u32);
            match connection.phase {
                Phase::Open | Phase::Broken | Phase::Overflowed | Phase::Faulty(_) => {
                    if connection.link.is_new || !connection.link.waiting.is_empty() {
                        connection.take_waiting(&mut self.joined, limits, *tick, stats, &mut |frame| {
                            sink(conn, frame);
                        });
                    }
                    if let Some(cause) = connection.closed(limits, *tick) {
                        connection.phase = Phase::Reported { reachable: cause != CloseCause::Reset };
                        connection.link.waiting = Vec::new();
                        stats.closed[cause.index()] += 1;
                        sink(conn, Received::Closed(cause));
                    }
                }
                Phase::Reported { .. } => {}
                Phase::Closing { until_tick } | Phase::Draining { until_tick } => {
                    connection.link.waiting = Vec::new();
                    let ended = match connection.link.ended {
                        // A peer that has shut its side may still read: first everything is sent.
                        Some(CloseCause::Peer) => matches!(connection.phase, Phase::Draining { .. }),
                        ended => ended.is_some(),
                    };
                    if ended || tick.wrapping_sub(until_tick).cast_signed() >= 0 {
                        self.free(index);
                        continue;
                    }
                }
            }
            let link = &connection.link;
            let wants = link.ended.is_none() && link.waiting.is_empty() && !link.is_leaving;
            if link.state == State::Idle && wants && link.room(limits, *tick) > 0 {
                self.receive(index);
            }
        }
    }

    /// Frees a slot. The socket is closed once the kernel has let go of it, or its peer would not hear of it.
    fn free(&mut self, index: usize) {
        let Some(connection) = self.table.free(index) else { return };
        if connection.link.state == State::Receiving {
            self.ring.cancel(connection.link.receive(index));
        }
        self.closing.push(connection.socket);
    }

    /// Submits what was asked for and closes the sockets that are over.
    fn settle(&mut self) {
        // Until everything that names a socket is submitted its number must not be given to another.
        if self.ring.submit() {
            self.closing.clear();
        }
    }

    /// Sends the batch.
    fn send_batch(&mut self) {
        let UringTransport { ring, table, outbound, batch, .. } = self;
        let Table { slots, tick, stats, .. } = table;
        let sends = batch.iter().map(|send| {
            let connection = slots[send.slot as usize].as_ref().expect("no slot is freed before the send");
            let bytes = match &send.fresh {
                Some((range, _)) => &outbound[range.clone()],
                None => &connection.unsent[..],
            };
            (connection.socket.as_fd(), bytes)
        });
        let sent: Vec<_> = ring.send(sends).collect();
        let mut over = Vec::new();
        for (send, sent) in batch.drain(..).zip(sent) {
            let connection =
                slots[send.slot as usize].as_mut().expect("no slot is freed before the send is judged");
            let sent = match sent {
                Err(Errno::AGAIN | Errno::INTR) => Ok(0),
                sent => sent,
            };
            match (sent, send.fresh) {
                (Ok(sent), Some((range, reliable))) => {
                    stats.count_send(range.len(), sent);
                    connection.sent_fresh(&outbound[range], reliable, sent, *tick);
                }
                (Ok(sent), None) => {
                    stats.count_send(connection.unsent.len(), sent);
                    connection.sent_rest(sent);
                }
                (Err(_), _) if connection.phase == Phase::Open => connection.phase = Phase::Broken,
                (Err(_), _) => over.push(send.slot as usize),
            }
            if connection.is_all_sent() && connection.shut().is_err() {
                over.push(send.slot as usize);
            }
        }
        outbound.clear();
        for index in over {
            self.free(index);
        }
    }
}

impl Transport for UringTransport {
    fn admit(&mut self, stream: Stream, received: &[u8]) -> Result<ConnId, AdmitError> {
        let link = Link {
            state: State::Idle,
            serial: 0,
            ended: None,
            is_new: !received.is_empty(),
            is_leaving: false,
            waiting: Vec::new(),
            taken: 0,
            taken_tick: self.table.tick,
        };
        let conn = self.table.admit(stream, received, link)?;
        self.receive(conn.0 as usize);
        Ok(conn)
    }

    fn readmit(&mut self, released: Released) -> Result<ConnId, AdmitError> {
        let Released { stream, unread, unsent } = released;
        let conn = self.admit(stream, &unread)?;
        self.table.send_first(conn, unsent);
        Ok(conn)
    }

    fn reap(&mut self, sink: &mut dyn FnMut(ConnId, Received<'_>)) {
        self.table.tick = self.table.tick.wrapping_add(1);
        self.take_arrivals(sink);
        self.look_at_all(sink);
        self.settle();
    }

    fn queue(&mut self, conn: ConnId, frames: &[u8]) {
        self.table.queue(conn, frames);
    }

    fn flush(&mut self, snapshot: &mut dyn FnMut(ConnId, &mut Vec<u8>)) {
        let until_tick = self.table.linger_until();
        for index in 0..self.table.slots.len() {
            let Some(connection) = &mut self.table.slots[index] else { continue };
            if connection.phase == (Phase::Reported { reachable: true }) {
                connection.phase = Phase::Closing { until_tick };
            }
            if matches!(connection.phase, Phase::Closing { .. }) {
                connection.seal_last();
            }
            let slot = index as u32;
            match connection.phase {
                Phase::Open if connection.stalled_tick.is_some() => {
                    self.table.stats.snapshots_skipped += 1;
                    connection.seal_queued();
                    self.batch.push(Send { slot, fresh: None });
                }
                Phase::Open => {
                    let begin = self.outbound.len();
                    let write = |out: &mut Vec<u8>| snapshot(ConnId(slot), out);
                    let reliable = connection.compose(&mut self.outbound, &mut self.joined.plain, write);
                    let fresh = begin..self.outbound.len();
                    if fresh.is_empty() {
                        continue;
                    }
                    self.table.stats.snapshots_sent += u64::from(fresh.len() > reliable);
                    self.batch.push(Send { slot, fresh: Some((fresh, reliable)) });
                }
                Phase::Reported { .. } => self.free(index),
                Phase::Closing { .. } if !connection.unsent.is_empty() => {
                    self.batch.push(Send { slot, fresh: None });
                }
                Phase::Closing { .. } => {
                    if connection.shut().is_err() {
                        self.free(index);
                    }
                }
                Phase::Broken | Phase::Overflowed | Phase::Faulty(_) | Phase::Draining { .. } => {}
            }
            if self.batch.len() == BATCH || self.outbound.len() >= BATCH_BYTES {
                self.send_batch();
            }
        }
        if !self.batch.is_empty() {
            self.send_batch();
        }
        self.settle();
    }

    fn close(&mut self, conn: ConnId) {
        self.table.close(conn);
    }

    fn prepare_release(&mut self, conn: ConnId) {
        let Some(connection) = self.table.get(conn).filter(|connection| connection.phase == Phase::Open)
        else {
            return;
        };
        let link = &mut connection.link;
        link.is_leaving = true;
        if link.state == State::Receiving {
            link.state = State::Ending;
            let receive = link.receive(conn.0 as usize);
            self.ring.cancel(receive);
        }
    }

    fn release(&mut self, conn: ConnId) -> Option<Released> {
        self.prepare_release(conn);
        let connection = self.table.get(conn).filter(|connection| connection.phase == Phase::Open)?;
        let link = &connection.link;
        // An end that was not reported is the next reap's to report, and so is what waits: it may be sealed, and more than
        // can be taken over.
        if link.state != State::Idle || link.ended.is_some() || !link.waiting.is_empty() {
            return None;
        }
        self.table.release(conn)
    }

    fn stats(&self) -> &Stats {
        &self.table.stats
    }
}

impl Link {
    fn receive(&self, index: usize) -> Receive {
        Receive { slot: index as u32, serial: self.serial }
    }

    /// Bytes that may still be taken in this tick.
    fn room(&self, limits: &Limits, tick: u32) -> usize {
        let taken = if self.taken_tick == tick { self.taken } else { 0 };
        limits.bytes_per_tick_max.saturating_sub(taken)
    }

    fn count(&mut self, bytes: usize, limits: &Limits, tick: u32) {
        self.taken = limits.bytes_per_tick_max - self.room(limits, tick) + bytes;
        self.taken_tick = tick;
    }
}

impl Connection<Link> {
    /// Takes bytes from the kernel: hands out what one tick may take, and lets the rest wait.
    fn take(
        &mut self,
        bytes: &[u8],
        joined: &mut Joined,
        limits: &Limits,
        tick: u32,
        stats: &mut Stats,
        sink: &mut dyn FnMut(Received<'_>),
    ) {
        let room = self.link.room(limits, tick);
        if !matches!(self.phase, Phase::Open | Phase::Broken | Phase::Overflowed) {
            // Nobody wants it any more.
            self.link.count(bytes.len(), limits, tick);
            return;
        }
        let (now, later) =
            bytes.split_at(if self.link.waiting.is_empty() { bytes.len().min(room) } else { 0 });
        if !now.is_empty() {
            self.hand_out_joined(now, joined, limits, tick, stats, sink);
        }
        self.link.waiting.extend_from_slice(later);
        if self.link.waiting.len() > WAITING_BYTES_MAX {
            self.link.waiting = Vec::new();
            self.phase = Phase::Faulty(CloseCause::Flood);
        }
    }

    /// Takes what waits, as far as this tick may, and what was read ahead.
    fn take_waiting(
        &mut self,
        joined: &mut Joined,
        limits: &Limits,
        tick: u32,
        stats: &mut Stats,
        sink: &mut dyn FnMut(Received<'_>),
    ) {
        let mut waiting = std::mem::take(&mut self.link.waiting);
        let now = waiting.len().min(self.link.room(limits, tick));
        self.hand_out_joined(&waiting[..now], joined, limits, tick, stats, sink);
        if now < waiting.len() {
            waiting.drain(..now);
            self.link.waiting = waiting;
        }
    }

    /// Hands out the frames that are whole with these bytes.
    fn hand_out_joined(
        &mut self,
        bytes: &[u8],
        joined: &mut Joined,
        limits: &Limits,
        tick: u32,
        stats: &mut Stats,
        sink: &mut dyn FnMut(Received<'_>),
    ) {
        self.link.is_new = false;
        self.link.count(bytes.len(), limits, tick);
        stats.bytes_in += bytes.len() as u64;
        let Joined { sealed, plain } = joined;
        let fault = if self.tls.is_some() {
            sealed.clear();
            sealed.extend_from_slice(bytes);
            self.hand_out_sealed(sealed, plain, limits, tick, stats, sink)
        } else if self.received.is_empty() {
            self.hand_out(bytes, 0, limits, tick, stats, sink)
        } else {
            plain.clear();
            plain.extend_from_slice(&self.received);
            plain.extend_from_slice(bytes);
            self.hand_out(plain, 0, limits, tick, stats, sink)
        };
        if let Some(cause) = fault {
            self.phase = Phase::Faulty(cause);
        }
    }

    /// Why the connection is over.
    fn closed(&self, limits: &Limits, tick: u32) -> Option<CloseCause> {
        match (self.phase, self.link.ended) {
            (Phase::Faulty(cause), _) => Some(cause),
            // The send that failed has taken the error; what is left looks like an orderly end.
            (Phase::Broken, Some(_)) => Some(CloseCause::Reset),
            (_, Some(CloseCause::Peer)) if self.link.waiting.is_empty() => Some(self.cause_of_end()),
            (_, Some(cause)) if self.link.waiting.is_empty() => Some(cause),
            _ => self.failed(limits, tick),
        }
    }

    /// Over for the owner, and everything was sent.
    fn is_all_sent(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. }) && self.unsent.is_empty()
    }

    /// Shuts our side of a connection that is over.
    fn shut(&mut self) -> Result<(), Errno> {
        if let Phase::Closing { until_tick } = self.phase {
            self.phase = Phase::Draining { until_tick };
        }
        shutdown(&self.socket, Shutdown::Write)
    }
}
