//! Frames of the journal, merged into the next transaction.

use vyuha_record::Table;

use crate::StoreError;
use crate::journal::Reader;
use crate::merge::{Changes, Merger};

/// What is to be the next transaction.
pub struct Gathering {
    pub reader: Reader,
    merger: Merger,
    /// The last frame that an earlier transaction took, and the last that was merged.
    taken_seq: u64,
    seq: u64,
    transaction_rows: usize,
}

impl Gathering {
    /// Begins behind this frame.
    pub fn new(mut reader: Reader, tables: &[Table], seq: u64, transaction_rows: usize) -> Gathering {
        reader.seek(seq + 1);
        let transaction_rows = transaction_rows.max(1);
        Gathering { reader, merger: Merger::new(tables), taken_seq: seq, seq, transaction_rows }
    }

    /// The last frame that was merged.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Keys changed so far.
    pub fn rows(&self) -> usize {
        self.merger.rows()
    }

    /// Whether there are enough for a transaction.
    pub fn is_full(&self) -> bool {
        self.rows() >= self.transaction_rows
    }

    /// Merges frames until there are enough, or no more.
    ///
    /// # Errors
    /// Where the first one cannot be read. One behind others must not hold them up, and is met again in the next turn.
    pub fn fill(&mut self) -> Result<(), StoreError> {
        while !self.is_full() {
            match self.add_frame() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.reader.seek(self.seq + 1);
                    return if self.seq > self.taken_seq { Ok(()) } else { Err(error) };
                }
            }
        }
        Ok(())
    }

    /// Merges the next frame, if there is one.
    fn add_frame(&mut self) -> Result<bool, StoreError> {
        let Some(frame) = self.reader.next_frame()? else { return Ok(false) };
        self.merger.add(frame.payload)?;
        self.seq = frame.seq;
        Ok(true)
    }

    /// The transaction; what is merged from here on is the next one's.
    pub fn take(&mut self) -> Changes {
        self.taken_seq = self.seq;
        self.merger.take()
    }

    /// Forgets what was merged, and goes on behind this frame.
    pub fn begin_after(&mut self, seq: u64) {
        self.merger.take();
        self.reader.seek(seq + 1);
        (self.taken_seq, self.seq) = (seq, seq);
    }
}
