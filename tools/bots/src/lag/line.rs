//! One direction of a connection: bytes that are on their way.

use std::collections::VecDeque;

use rand::RngExt as _;
use rand_pcg::Pcg32;

use super::Conditions;

/// Most bytes on their way in one direction.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a segment on the loopback's usual link.
const SEGMENT_BYTES: usize = 1448;
/// What a kernel waits beyond the round trip before it sends again (`TCP_RTO_MIN` of Linux).
const RETRANSMIT_NS_MIN: u64 = 200_000_000;
/// Doublings after which a timeout grows no more.
const DOUBLINGS_MAX: u32 = 6;

/// Bytes on their way, in order.
pub struct Line {
    way_ns: u64,
    jitter_ns: u64,
    loss: f64,
    retransmit_ns: u64,
    rng: Pcg32,
    bytes: VecDeque<u8>,
    /// When each segment arrives, and how much of it is left.
    segments: VecDeque<(u64, usize)>,
    /// When the last segment arrives: none overtakes it.
    last_ns: u64,
}

impl Line {
    pub fn new(conditions: &Conditions, rng: Pcg32) -> Line {
        Line {
            way_ns: conditions.lag.as_nanos() as u64 / 2,
            jitter_ns: conditions.jitter.as_nanos() as u64,
            loss: conditions.loss,
            retransmit_ns: RETRANSMIT_NS_MIN + conditions.lag.as_nanos() as u64,
            rng,
            bytes: VecDeque::new(),
            segments: VecDeque::new(),
            last_ns: 0,
        }
    }

    /// How many bytes it takes.
    pub fn room(&self) -> usize {
        LINE_BYTES_MAX - self.bytes.len()
    }

    /// Takes bytes, at most as many as there is room for.
    pub fn put(&mut self, bytes: &[u8], now_ns: u64) {
        for segment in bytes.chunks(SEGMENT_BYTES) {
            let jitter_ns = if self.jitter_ns > 0 { self.rng.random_range(0..=self.jitter_ns) } else { 0 };
            let mut arrives_ns = now_ns + self.way_ns + jitter_ns;
            let mut doublings = 0;
            while self.loss > 0.0 && self.rng.random_bool(self.loss) {
                arrives_ns += self.retransmit_ns << doublings;
                doublings = (doublings + 1).min(DOUBLINGS_MAX);
            }
            self.last_ns = self.last_ns.max(arrives_ns);
            self.segments.push_back((self.last_ns, segment.len()));
        }
        self.bytes.extend(bytes);
    }

    /// What has arrived, or the first part of it.
    pub fn arrived(&self, now_ns: u64) -> &[u8] {
        let arrived = self.segments.iter().take_while(|(arrives_ns, _)| *arrives_ns <= now_ns);
        let length: usize = arrived.map(|(_, length)| length).sum();
        let (first, _) = self.bytes.as_slices();
        &first[..length.min(first.len())]
    }

    /// Lets go of bytes that have arrived and were taken.
    pub fn take(&mut self, mut length: usize) {
        self.bytes.drain(..length);
        while length > 0
            && let Some((_, left)) = self.segments.front_mut()
        {
            let taken = length.min(*left);
            *left -= taken;
            length -= taken;
            if *left == 0 {
                self.segments.pop_front();
            }
        }
        if self.bytes.is_empty() {
            self.bytes = VecDeque::new();
        }
    }

    /// When the next bytes arrive, if there are any on their way.
    pub fn next_ns(&self) -> Option<u64> {
        self.segments.front().map(|(arrives_ns, _)| *arrives_ns)
    }
}
