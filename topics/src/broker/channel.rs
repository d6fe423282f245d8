//! One topic: who hears it, and what it said last.

use std::collections::VecDeque;

use bytes::Bytes;

use super::ConnectionId;
use crate::message::Place;

/// Messages that a topic keeps for those who come back.
pub const RING_MESSAGES_MAX: usize = 64;
/// Of those, what they may be long together, in bytes.
pub const RING_BYTES_MAX: usize = 8 << 10;

/// See the module.
pub struct Channel {
    /// Which count the numbers are of.
    pub epoch: u64,
    /// The number of the last message; 0 before the first.
    pub seq: u64,
    /// Who hears it.
    pub subscribers: Vec<ConnectionId>,
    /// When somebody last came or went.
    pub heard_ms: i64,
    /// Whose it is, where it is a character's.
    pub account: i64,
    /// The last messages: the newest has the number `seq`.
    ring: VecDeque<Bytes>,
    ring_bytes: usize,
}

impl Channel {
    pub fn new(epoch: u64, account: i64, now_ms: i64) -> Channel {
        let (subscribers, ring) = (Vec::new(), VecDeque::new());
        Channel { epoch, seq: 0, subscribers, heard_ms: now_ms, account, ring, ring_bytes: 0 }
    }

    /// Keeps the next message, and lets go of the oldest where there are too many.
    pub fn push(&mut self, message: Bytes) {
        self.seq += 1;
        self.ring_bytes += message.len();
        self.ring.push_back(message);
        while self.ring.len() > RING_MESSAGES_MAX || self.ring_bytes > RING_BYTES_MAX {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.ring_bytes -= oldest.len();
        }
    }

    /// From which number on somebody hears it who heard it up to `after`, and whether something is missing before that. Who
    /// comes for the first time hears what is said from now on.
    pub fn resume(&self, after: Option<Place>) -> (u64, bool) {
        let Some(after) = after else { return (self.seq, false) };
        let kept_after = self.seq - self.ring.len() as u64;
        let known = after.epoch == self.epoch && (kept_after..=self.seq).contains(&after.seq);
        if known { (after.seq, false) } else { (kept_after, true) }
    }

    /// The messages that are kept and come after a number.
    pub fn after(&self, seq: u64) -> impl Iterator<Item = &Bytes> {
        let missing = self.seq.saturating_sub(seq) as usize;
        self.ring.iter().skip(self.ring.len().saturating_sub(missing))
    }

    /// Begins a new epoch, with nothing kept.
    pub fn tear(&mut self, epoch: u64) {
        (self.epoch, self.ring_bytes) = (epoch, 0);
        self.ring.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A topic of this epoch that said so many messages of such a length.
    fn channel(epoch: u64, messages: u64, bytes: usize) -> Channel {
        let mut channel = Channel::new(epoch, 7, 0);
        for _ in 0..messages {
            channel.push(vec![0; bytes].into());
        }
        channel
    }

    #[track_caller]
    fn check(channel: &Channel, after: Option<(u64, u64)>, expected: (u64, bool), follow: usize) {
        let (seq, gap) = channel.resume(after.map(|(epoch, seq)| Place { epoch, seq }));
        assert_eq!(((seq, gap), channel.after(seq).count()), (expected, follow), "{after:?}");
    }

    #[test]
    fn whoever_comes_back_goes_on_where_they_were_or_hears_of_the_gap() {
        let short = channel(5, 10, 1);
        check(&short, None, (10, false), 0);
        check(&short, Some((5, 10)), (10, false), 0);
        check(&short, Some((5, 3)), (3, false), 7);
        check(&short, Some((5, 0)), (0, false), 10);
        check(&short, Some((5, 11)), (0, true), 10);
        check(&short, Some((5, u64::MAX)), (0, true), 10);
        check(&short, Some((4, 10)), (0, true), 10);
        let long = channel(5, 100, 1);
        check(&long, Some((5, 36)), (36, false), RING_MESSAGES_MAX);
        check(&long, Some((5, 35)), (36, true), RING_MESSAGES_MAX);
        let wide = channel(5, 100, RING_BYTES_MAX / 2);
        check(&wide, Some((5, 98)), (98, false), 2);
        check(&wide, Some((5, 97)), (98, true), 2);
        let mut torn = channel(5, 10, 1);
        torn.tear(6);
        check(&torn, Some((5, 10)), (10, true), 0);
        check(&torn, Some((6, 10)), (10, false), 0);
        torn.push(vec![0].into());
        check(&torn, Some((6, 10)), (10, false), 1);
    }
}
