//! Prediction: a client walks at once, and makes good when the server disagrees.
//!
//! Every input is one step of [`vyuha_protocol::motion`], here as on the server. A snapshot says where the
//! character stands after the last input that the server processed; the inputs after that are replayed from
//! there. So the prediction is right to the bit unless an input was lost or something else moved the character.

use std::collections::VecDeque;
use std::sync::Arc;

use thiserror::Error;
use vyuha_protocol::motion::{Heading, displacement, step};
use vyuha_protocol::units::STEP_UNITS_MAX;
use vyuha_protocol::{Pos, TileMap};

/// Most inputs that may wait to be acknowledged: 8.5 s at 30 Hz.
pub const INPUTS_PENDING_MAX: usize = 256;

/// Runs ahead of the snapshots by the inputs that they do not yet acknowledge. Holds at most
/// [`INPUTS_PENDING_MAX`] of them.
#[derive(Debug)]
pub struct Predictor {
    map: Arc<TileMap>,
    speed: u16,
    pending: VecDeque<Heading>,
    /// The last sequence number given out; those of `pending` end with it.
    sequence: u32,
    predicted: Pos,
}

/// What a snapshot did to the prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconciled {
    /// Where the character is predicted to stand now.
    pub pos: Pos,
    /// How far that is from where it was predicted before, in position units rounded up; 0 when the prediction was
    /// right.
    pub correction: u32,
}

/// Why a snapshot cannot be reconciled with the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReconcileError {
    /// The acknowledged input was never sent, or is older than one acknowledged before.
    #[error(
        "the server acknowledges input {ack}; {acknowledged} was acknowledged before and {sent} sent last"
    )]
    AckInvalid {
        /// The acknowledged input.
        ack: u32,
        /// The one acknowledged before.
        acknowledged: u32,
        /// The last one sent.
        sent: u32,
    },
    /// The character stands in a wall.
    #[error("the server places the character in a wall at {},{}", .0.x, .0.y)]
    Blocked(Pos),
}

impl Predictor {
    /// A prediction that begins where the character entered. `None` unless that is open ground and the speed, in
    /// position units a step, is at most [`STEP_UNITS_MAX`].
    pub fn new(map: Arc<TileMap>, speed: u16, pos: Pos) -> Option<Predictor> {
        (speed <= STEP_UNITS_MAX && map.is_open(pos)).then(|| Predictor {
            map,
            speed,
            pending: VecDeque::new(),
            sequence: 0,
            predicted: pos,
        })
    }

    /// The same with the inputs of another zone's prediction, from which the character came: those that are not acknowledged
    /// are carried out here, as far as they were not before.
    #[must_use]
    pub fn going_on(self, before: Predictor) -> Predictor {
        Predictor { pending: before.pending, sequence: before.sequence, ..self }
    }

    /// Takes one step. Returns the input's sequence number, from 1, and where it leads; `None`, and no step, while
    /// [`INPUTS_PENDING_MAX`] inputs are not acknowledged or no sequence number is left.
    pub fn step(&mut self, heading: Heading) -> Option<(u32, Pos)> {
        if self.pending.len() == INPUTS_PENDING_MAX {
            return None;
        }
        self.sequence = self.sequence.checked_add(1)?;
        self.pending.push_back(heading);
        self.predicted = step(&self.map, self.predicted, displacement(heading, self.speed));
        Some((self.sequence, self.predicted))
    }

    /// Where a step in a heading would lead from the predicted place, without taking it.
    pub fn look(&self, heading: Heading) -> Pos {
        step(&self.map, self.predicted, displacement(heading, self.speed))
    }

    /// Takes a snapshot's word: `pos` is where the character stood after the input `ack`.
    pub fn reconcile(&mut self, ack: u32, pos: Pos) -> Result<Reconciled, ReconcileError> {
        let acknowledged = self.sequence - self.pending.len() as u32;
        if !(acknowledged..=self.sequence).contains(&ack) {
            return Err(ReconcileError::AckInvalid { ack, acknowledged, sent: self.sequence });
        }
        if !self.map.is_open(pos) {
            return Err(ReconcileError::Blocked(pos));
        }
        self.pending.drain(..(ack - acknowledged) as usize);
        let before = self.predicted;
        self.predicted = self
            .pending
            .iter()
            .fold(pos, |pos, &heading| step(&self.map, pos, displacement(heading, self.speed)));
        let squared = self.predicted.distance_squared(before);
        let root = squared.isqrt();
        let correction = root + u64::from(root * root < squared);
        Ok(Reconciled { pos: self.predicted, correction: u32::try_from(correction).unwrap_or(u32::MAX) })
    }

    /// The last of the inputs that are not acknowledged, at most so many, with their sequence numbers.
    pub fn last_pending(&self, most: usize) -> impl Iterator<Item = (u32, Heading)> {
        let skipped = self.pending.len().saturating_sub(most);
        let first = self.sequence - (self.pending.len() - skipped) as u32 + 1;
        (first..).zip(self.pending.iter().skip(skipped).copied())
    }

    /// Where the character is predicted to stand.
    pub fn pos(&self) -> Pos {
        self.predicted
    }

    /// How many inputs are not acknowledged.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}
