//! The journal without its thread, for the fault simulator: whoever drives it says when it writes.

use std::{path::PathBuf, sync::Arc};

use crossbeam::channel::Receiver;

use super::{Disk, JournalConfig, JournalError, Opened, Producer, Reader, Shared, thread::Writer};

/// An open journal that writes when it is told to.
pub struct SteppedJournal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    shared: Arc<Shared>,
    nudges: Receiver<()>,
    writer: Writer,
}

impl SteppedJournal {
    /// As [`super::Journal::open`], without a thread.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: &JournalConfig,
        applied_seq: u64,
    ) -> Result<(Self, Vec<Producer>), JournalError> {
        let Opened { writer, producers, shared, nudges } = Opened::open(&disk, config, applied_seq)?;
        Ok((Self { disk, dir: config.dir.clone(), shared, nudges, writer }, producers))
    }

    /// Does one thing: makes what waits durable, or takes the spare a step nearer to being ready. False where there was
    /// nothing to do.
    ///
    /// # Errors
    /// If the disk failed: the journal has stopped, and producers are told so.
    pub fn step(&mut self) -> Result<bool, JournalError> {
        self.writer.step()
    }

    /// As [`super::Journal::reader`].
    pub fn reader(&self, seq: u64) -> Reader {
        Reader::new(self.disk.clone(), self.dir.clone(), self.shared.clone(), self.nudges.clone(), seq)
    }

    /// The last durable frame.
    pub fn durable_seq(&self) -> u64 {
        self.shared.durable_seq()
    }

    /// What the last frame that this journal wrote holds, whatever the disk made of it; empty before the first.
    pub fn last_payload(&self) -> &[u8] {
        self.writer.last_payload()
    }

    /// The first frame that is kept.
    pub fn first_seq(&self) -> u64 {
        self.shared.lock_segments().front().map_or(1, |segment| segment.first_seq)
    }
}
