//! Walking by inputs. A client says where it steers, step by step; the server alone decides where that leads.
//!
//! - One input is one step of the law of motion, so a client that replays its unacknowledged inputs from the
//!   acknowledged place predicts its own to the bit.
//! - A character earns one step a tick of its zone, those that the zone missed on its way to another shard included, and banks at most [`STEPS_BANKED_MAX`]: a late client catches
//!   up, but nobody is ever ahead of one step a tick since it came.
//! - At most [`INPUTS_QUEUED_MAX`] inputs wait; beyond that the oldest is dropped, and counts as processed.

mod rules;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use vyuha_protocol::motion::Heading;
use vyuha_protocol::{Pos, TileMap};

use crate::hash::StateHash;

pub use rules::walk;

/// Most inputs of a session that wait to be processed.
pub const INPUTS_QUEUED_MAX: usize = 8;
/// Most steps that a session can save up while it sends nothing, the current tick's included.
pub const STEPS_BANKED_MAX: u8 = 4;

/// A session's inputs: what waits, and what is known of the order.
#[derive(Debug)]
pub struct Steering {
    queue: VecDeque<Queued>,
    accepted: u32,
    processed: u32,
    credit: u8,
}

#[derive(Debug, Clone, Copy)]
struct Queued {
    sequence: u32,
    heading: Heading,
}

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It waits for its tick.
    Queued {
        /// Sequence numbers that were left out before it.
        skipped: u32,
        /// Whether the oldest waiting input had to go.
        dropped: bool,
    },
    /// Its sequence is not above the last one: nothing was done.
    Replayed,
}

impl Default for Steering {
    fn default() -> Self {
        let queue = VecDeque::with_capacity(INPUTS_QUEUED_MAX);
        Steering { queue, accepted: 0, processed: 0, credit: 0 }
    }
}

impl Steering {
    /// The steering of one who comes from elsewhere, where inputs up to this one were accepted.
    pub fn after(sequence: u32) -> Steering {
        Steering { accepted: sequence, processed: sequence, ..Steering::default() }
    }

    /// The last input that was accepted; 0 if none was.
    pub fn accepted(&self) -> u32 {
        self.accepted
    }

    /// Takes an input.
    pub fn receive(&mut self, sequence: u32, heading: Heading) -> Received {
        if sequence <= self.accepted {
            return Received::Replayed;
        }
        let skipped = sequence - self.accepted - 1;
        self.accepted = sequence;
        let dropped = self.queue.len() == INPUTS_QUEUED_MAX;
        if dropped && let Some(oldest) = self.queue.pop_front() {
            self.processed = oldest.sequence;
        }
        self.queue.push_back(Queued { sequence, heading });
        Received::Queued { skipped, dropped }
    }

    /// One tick: where the inputs that are due lead, or `None` if none is.
    pub fn advance(&mut self, map: &TileMap, from: Pos, speed: u16) -> Option<Pos> {
        self.credit = (self.credit + 1).min(STEPS_BANKED_MAX);
        let due = self.queue.len().min(usize::from(self.credit));
        self.processed = self.queue.get(due.checked_sub(1)?)?.sequence;
        self.credit -= due as u8;
        Some(walk(map, from, self.queue.drain(..due).map(|input| input.heading), speed))
    }

    /// Earns steps of ticks in which nobody could take any.
    pub fn earn(&mut self, steps: u32) {
        let earned = steps.min(STEPS_BANKED_MAX.into()) as u8;
        self.credit = (self.credit + earned).min(STEPS_BANKED_MAX);
    }

    /// The last input that was processed; 0 if none was.
    pub fn processed(&self) -> u32 {
        self.processed
    }

    /// Feeds the whole state to a hash.
    pub fn hash_into(&self, hash: &mut StateHash) {
        hash.write(u64::from(self.accepted) << 32 | u64::from(self.processed));
        hash.write(u64::from(self.credit) << 32 | self.queue.len() as u64);
        for input in &self.queue {
            let heading = u64::from(input.heading.x as u8) << 8 | u64::from(input.heading.y as u8);
            hash.write(u64::from(input.sequence) << 32 | heading);
        }
    }
}
