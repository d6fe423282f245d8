//! What a connection is whatever drives its socket: its phases, its limits, the bytes kept for it. No system calls.

use std::os::fd::OwnedFd;

use vyuha_protocol::frame::{CLIENT_PAYLOAD_BYTES_MAX, FRAME_HEAD_BYTES, first_frame};

use super::{
    AdmitError, CloseCause, ConnId, FAREWELL_BYTES_MAX, LINGER_S, Limits, READ_AHEAD_BYTES_MAX, Received,
    Released, Stats, Stream, set_up,
};
use crate::tls::Session;

// What is left of a frame after a reap fits where read-ahead bytes do.
const _: () = assert!(READ_AHEAD_BYTES_MAX >= FRAME_HEAD_BYTES + CLIENT_PAYLOAD_BYTES_MAX as usize);

/// The connections of one transport. `L` is what the driver keeps of each beside.
pub(super) struct Table<L> {
    pub limits: Limits,
    pub slots: Vec<Option<Connection<L>>>,
    free: Vec<u32>,
    /// Ticks since the start, wrapping: only differences count.
    pub tick: u32,
    pub stats: Stats,
}

pub(super) struct Connection<L> {
    pub socket: OwnedFd,
    pub phase: Phase,
    /// Frames that it may send at once, each worth `tick_hz`, so that a tick's worth is a whole number.
    frame_credit: u32,
    /// Until when `frame_credit` is counted.
    credit_tick: u32,
    /// The tick of its last whole frame.
    heard_tick: u32,
    /// Since when some bytes of an earlier flush were always left in `unsent`.
    pub stalled_tick: Option<u32>,
    /// Bytes of `unsent` that are a snapshot's, at most.
    snapshot_rest: usize,
    /// An incomplete frame, or what was read ahead.
    pub received: Vec<u8>,
    /// The rest of an earlier flush, then queued frames. Of a connection that speaks TLS only what is sealed.
    pub unsent: Vec<u8>,
    pub tls: Option<Box<Session>>,
    pub link: L,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// A send failed; not yet reported.
    Broken,
    /// A frame was queued past the bound; not yet reported.
    Overflowed,
    /// What it sent ends it; not yet reported.
    Faulty(CloseCause),
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

impl<L> Table<L> {
    /// # Panics
    /// If one of the limits is 0.
    pub fn new(limits: Limits) -> Table<L> {
        let Limits { connections_max, frames_per_second_max, idle_ticks, stalled_ticks, tick_hz, .. } =
            limits;
        let counts = [connections_max, frames_per_second_max, idle_ticks, stalled_ticks, tick_hz];
        let bytes = [limits.bytes_per_tick_max, limits.reliable_bytes_max];
        assert!(!counts.contains(&0) && !bytes.contains(&0), "no limit may be 0: {limits:?}");
        Table { limits, slots: Vec::new(), free: Vec::new(), tick: 0, stats: Stats::default() }
    }

    pub fn admit(&mut self, stream: Stream, received: &[u8], link: L) -> Result<ConnId, AdmitError> {
        if received.len() > READ_AHEAD_BYTES_MAX {
            return Err(AdmitError::ReadAhead { bytes: received.len() });
        }
        let connections_max = self.limits.connections_max;
        if self.free.is_empty() && self.slots.len() == connections_max as usize {
            return Err(AdmitError::Full { stream, connections_max });
        }
        let Stream { socket, tls } = stream;
        set_up(&socket)?;
        let connection = Connection {
            socket,
            phase: Phase::Open,
            frame_credit: frame_credit_max(&self.limits),
            credit_tick: self.tick,
            heard_tick: self.tick,
            stalled_tick: None,
            snapshot_rest: 0,
            received: received.to_vec(),
            unsent: Vec::new(),
            tls,
            link,
        };
        self.stats.admitted += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[index as usize] = Some(connection);
        Ok(ConnId(index))
    }

    /// Frees a slot; its connection, if it had one, comes back.
    pub fn free(&mut self, index: usize) -> Option<Connection<L>> {
        let connection = self.slots[index].take()?;
        self.free.push(index as u32);
        Some(connection)
    }

    pub fn get(&mut self, conn: ConnId) -> Option<&mut Connection<L>> {
        self.slots.get_mut(conn.0 as usize)?.as_mut()
    }

    /// [`Transport::queue`](super::Transport::queue).
    pub fn queue(&mut self, conn: ConnId, frames: &[u8]) {
        let reliable_bytes_max = self.limits.reliable_bytes_max;
        let Some(connection) = self.get(conn) else { return };
        let farewell = match connection.phase {
            Phase::Open => 0,
            Phase::Reported { reachable: true } => FAREWELL_BYTES_MAX,
            _ => return,
        };
        let room = reliable_bytes_max + connection.snapshot_rest + farewell;
        let queued = connection.tls.as_ref().map_or(0, |tls| tls.queued.len());
        if connection.unsent.len() + queued + frames.len() <= room {
            let queue = connection.tls.as_mut().map_or(&mut connection.unsent, |tls| &mut tls.queued);
            queue.extend_from_slice(frames);
        } else if connection.phase == Phase::Open {
            connection.phase = Phase::Overflowed;
        }
    }

    /// [`Transport::close`](super::Transport::close).
    pub fn close(&mut self, conn: ConnId) {
        let until_tick = self.linger_until();
        let Some(connection) = self.get(conn) else { return };
        if matches!(connection.phase, Phase::Open | Phase::Broken | Phase::Overflowed) {
            connection.phase = Phase::Closing { until_tick };
            self.stats.closed[CloseCause::ByServer.index()] += 1;
        }
    }

    /// Takes an open connection out.
    pub fn release(&mut self, conn: ConnId) -> Option<Released> {
        let connection = self.get(conn).filter(|connection| connection.phase == Phase::Open)?;
        connection.seal_queued();
        if connection.phase != Phase::Open {
            return None;
        }
        let Connection { socket, tls, received, unsent, .. } = self.free(conn.0 as usize)?;
        Some(Released { stream: Stream { socket, tls }, unread: received, unsent })
    }

    /// Has the next flush begin with these bytes, as they are.
    pub fn send_first(&mut self, conn: ConnId, unsent: Vec<u8>) {
        if let Some(connection) = self.get(conn) {
            connection.unsent = unsent;
        }
    }

    /// When a connection that is over now is waited for no longer.
    pub fn linger_until(&self) -> u32 {
        self.tick.wrapping_add(self.limits.tick_hz.saturating_mul(LINGER_S))
    }
}

impl<L> Connection<L> {
    /// Opens what arrived on a connection that speaks TLS, and hands out the whole frames in it. Says why the connection is
    /// over, if that does. `plain` is used for a moment.
    pub fn hand_out_sealed(
        &mut self,
        sealed: &mut [u8],
        plain: &mut Vec<u8>,
        limits: &Limits,
        tick: u32,
        stats: &mut Stats,
        sink: &mut dyn FnMut(Received<'_>),
    ) -> Option<CloseCause> {
        let tls = self.tls.as_mut()?;
        plain.clear();
        plain.extend_from_slice(&self.received);
        let (records, over) = match tls.open(sealed, plain, &mut self.unsent) {
            Ok(opened) => (opened.records, opened.is_closed_by_peer.then_some(CloseCause::Peer)),
            Err(_) => (0, Some(CloseCause::Tls)),
        };
        self.hand_out(plain, records, limits, tick, stats, sink).or(over)
    }

    /// Hands out the whole frames at the head of `bytes`, which begin with all that is kept of earlier ones, and keeps
    /// the rest. They came in so many TLS records, 0 without. Says why the connection is over, if a frame does.
    pub fn hand_out(
        &mut self,
        bytes: &[u8],
        records: u32,
        limits: &Limits,
        tick: u32,
        stats: &mut Stats,
        sink: &mut dyn FnMut(Received<'_>),
    ) -> Option<CloseCause> {
        let earned = tick.wrapping_sub(self.credit_tick).saturating_mul(limits.frames_per_second_max);
        self.frame_credit = self.frame_credit.saturating_add(earned).min(frame_credit_max(limits));
        self.credit_tick = tick;
        let mut rest = bytes;
        let mut records_left = records;
        loop {
            match first_frame(rest, CLIENT_PAYLOAD_BYTES_MAX) {
                Ok(Some(frame)) => {
                    let Some(credit) = self.frame_credit.checked_sub(limits.tick_hz) else {
                        return Some(CloseCause::Flood);
                    };
                    self.frame_credit = credit;
                    self.heard_tick = tick;
                    stats.frames_in += 1;
                    records_left = records_left.saturating_sub(1);
                    sink(Received::Frame { kind: frame.kind, payload: frame.payload });
                    rest = &rest[frame.bytes()..];
                }
                Ok(None) => break,
                Err(error) => return Some(CloseCause::Malformed(error)),
            }
        }
        let Some(credit) = self.frame_credit.checked_sub(records_left.saturating_mul(limits.tick_hz)) else {
            return Some(CloseCause::Flood);
        };
        self.frame_credit = credit;
        // Half a frame that nothing was added to stays where it is.
        if rest.len() < bytes.len() || bytes.len() != self.received.len() {
            self.received = rest.to_vec();
        }
        None
    }

    /// Why the connection is over, where reading did not tell.
    pub fn failed(&self, limits: &Limits, tick: u32) -> Option<CloseCause> {
        let stalled = |since| tick.wrapping_sub(since) >= limits.stalled_ticks;
        match self.phase {
            Phase::Faulty(cause) => Some(cause),
            Phase::Broken => Some(CloseCause::Reset),
            Phase::Overflowed => Some(CloseCause::Slow),
            _ if self.stalled_tick.is_some_and(stalled) => Some(CloseCause::Slow),
            _ if tick.wrapping_sub(self.heard_tick) >= limits.idle_ticks => Some(CloseCause::Idle),
            _ => None,
        }
    }

    /// Why a connection is over whose stream ended: one that speaks TLS would have said before that it does.
    pub fn cause_of_end(&self) -> CloseCause {
        if self.tls.is_some() { CloseCause::Reset } else { CloseCause::Peer }
    }

    /// Appends what is to be sent: what is unsent, what is queued and the snapshot. Returns how many of these bytes are not
    /// the snapshot's. `plain` is used for a moment.
    pub fn compose(
        &mut self,
        out: &mut Vec<u8>,
        plain: &mut Vec<u8>,
        snapshot: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        let begin = out.len();
        out.extend_from_slice(&self.unsent);
        let Some(tls) = &mut self.tls else {
            snapshot(out);
            return self.unsent.len();
        };
        plain.clear();
        plain.append(&mut std::mem::take(&mut tls.queued));
        let queued = plain.len();
        snapshot(plain);
        if tls.seal(plain, out).is_err() {
            self.phase = Phase::Broken;
        }
        (out.len() - begin).saturating_sub(plain.len() - queued)
    }

    /// Moves what is queued to what is unsent, where that takes sealing.
    pub fn seal_queued(&mut self) {
        let Some(tls) = &mut self.tls else { return };
        let queued = std::mem::take(&mut tls.queued);
        if tls.seal(&queued, &mut self.unsent).is_err() && self.phase == Phase::Open {
            self.phase = Phase::Broken;
        }
    }

    /// Moves what is queued to what is unsent, and says after it that nothing follows.
    pub fn seal_last(&mut self) {
        self.seal_queued();
        if let Some(tls) = &mut self.tls {
            // Fails where it was said before, or where the session is broken and nobody can be told anything.
            let _ = tls.close(&mut self.unsent);
        }
    }

    /// Of `bytes`, of which the first `reliable` were queued and the others are a snapshot, the kernel took `sent`.
    pub fn sent_fresh(&mut self, bytes: &[u8], reliable: usize, sent: usize, tick: u32) {
        self.unsent = bytes[sent..].to_vec();
        if !self.unsent.is_empty() {
            self.snapshot_rest = self.unsent.len().min(bytes.len() - reliable);
            self.stalled_tick = Some(tick);
        }
    }

    /// Of what was unsent the kernel took `sent`.
    pub fn sent_rest(&mut self, sent: usize) {
        if sent == self.unsent.len() {
            self.unsent = Vec::new();
            self.snapshot_rest = 0;
            self.stalled_tick = None;
        } else {
            self.unsent.drain(..sent);
        }
    }
}

impl Stats {
    /// A send of so many bytes, of which the kernel took `sent`.
    pub(super) fn count_send(&mut self, bytes: usize, sent: usize) {
        self.sends += 1;
        self.short_sends += u64::from(sent < bytes);
        self.bytes_out += sent as u64;
    }
}

/// A second's worth of frames.
fn frame_credit_max(limits: &Limits) -> u32 {
    limits.frames_per_second_max.saturating_mul(limits.tick_hz)
}

#[cfg(test)]
impl<L> Table<L> {
    pub fn slots_in_use(&self) -> usize {
        self.slots.iter().flatten().count()
    }
}
