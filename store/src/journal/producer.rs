use std::sync::{Arc, atomic::Ordering};

use vyuha_ring::Bell;

use super::Shared;

/// What a producer hands over at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// The producer's own number for it: from 1, greater than that of the batch before.
    pub number: u64,
    /// One or more transactions, as [`vyuha_record::Transaction`] writes them.
    pub bytes: Vec<u8>,
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full; here is the batch, to be submitted again in a later tick.
    #[error("the journal's queue is full: submit the batch again later")]
    Full(Batch),
    /// The batch would not fit into a segment.
    #[error(
        "a batch of {bytes} bytes, but a journal segment holds one of at most {max}: raise the segment size"
    )]
    TooLarge {
        /// The batch's bytes.
        bytes: usize,
        /// The most that fit.
        max: usize,
    },
    /// There is nothing in the batch.
    #[error("an empty batch: submit only what holds a transaction")]
    Empty,
    /// The batch's number is not greater than that of the batch before.
    #[error("batch {number} was submitted after batch {last}: numbers must rise")]
    OutOfOrder {
        /// The batch's number.
        number: u64,
        /// The number of the last batch taken.
        last: u64,
    },
    /// The journal stopped for good: nothing submitted and not yet durable can be acknowledged.
    #[error("the journal stopped: {0}")]
    Failed(String),
}

/// One shard's end of the journal.
#[derive(Debug)]
pub struct Producer {
    index: usize,
    last_number: u64,
    submit: vyuha_ring::Producer<Submission, Bell>,
    shared: Arc<Shared>,
    batch_bytes_max: usize,
}

/// A batch in line.
#[derive(Debug, Default)]
pub(super) struct Submission {
    /// Its place among the batches of all producers: each number from 0 on is given once.
    pub turn: u64,
    pub batch: Batch,
}

impl Producer {
    pub(super) fn new(
        index: usize,
        submit: vyuha_ring::Producer<Submission, Bell>,
        shared: Arc<Shared>,
        batch_bytes_max: usize,
    ) -> Self {
        Self { index, last_number: 0, submit, shared, batch_bytes_max }
    }

    /// Hands a batch over without waiting. It is durable once [`Self::durable`] reaches its number.
    pub fn submit(&mut self, batch: Batch) -> Result<(), SubmitError> {
        let (number, bytes) = (batch.number, batch.bytes.len());
        if let Some(reason) = self.shared.failure.get() {
            return Err(SubmitError::Failed(reason.clone()));
        }
        if bytes == 0 {
            return Err(SubmitError::Empty);
        }
        if bytes > self.batch_bytes_max {
            return Err(SubmitError::TooLarge { bytes, max: self.batch_bytes_max });
        }
        if number <= self.last_number {
            return Err(SubmitError::OutOfOrder { number, last: self.last_number });
        }
        if self.submit.is_closed() {
            return Err(SubmitError::Failed(self.shared.failure_text()));
        }
        let ([slot], _) = self.submit.reserve(1) else { return Err(SubmitError::Full(batch)) };
        // Only with a slot at hand: the thread waits for whoever took a turn.
        let turn = self.shared.turns.fetch_add(1, Ordering::Relaxed);
        *slot = Submission { turn, batch };
        self.submit.commit(1);
        self.last_number = number;
        Ok(())
    }

    /// The last batch of this producer that is durable, 0 before the first: one load, made to be
    /// asked every tick.
    pub fn durable(&self) -> u64 {
        self.shared.durable_batches[self.index].load(Ordering::Acquire)
    }

    /// Whether the journal holds more than it may, because the database is behind: whoever can should refuse what would
    /// add to it. One load.
    pub fn is_over_bound(&self) -> bool {
        self.shared.is_over_bound()
    }

    /// The largest batch that is taken.
    pub fn batch_bytes_max(&self) -> usize {
        self.batch_bytes_max
    }
}
