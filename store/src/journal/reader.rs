//! Frames read back from the files: the journal on disk is the queue to the database, after a crash
//! as in steady state.

use std::{path::PathBuf, sync::Arc};

use crossbeam::channel::Receiver;

use super::{
    Disk, DiskFile, FRAME_HEADER_BYTES, IoContext, JournalError, SEGMENT_HEADER_BYTES, Shared,
    frame::{FrameHeader, frame_bytes},
    segment::segment_path,
};

/// A durable frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its number in the journal, one more than that of the frame before.
    pub seq: u64,
    /// Transactions, as [`vyuha_record::transactions`] reads them.
    pub payload: &'a [u8],
}

/// Reads durable frames in order. Holds one frame in memory.
pub struct Reader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    pub(crate) shared: Arc<Shared>,
    nudges: Receiver<()>,
    next_seq: u64,
    open: Option<OpenSegment>,
    payload: Vec<u8>,
}

struct OpenSegment {
    number: u64,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    offset: u64,
    /// The frame at `offset`.
    seq: u64,
}

impl Reader {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        shared: Arc<Shared>,
        nudges: Receiver<()>,
        next_seq: u64,
    ) -> Self {
        Self { disk, dir, shared, nudges, next_seq, open: None, payload: Vec::new() }
    }

    /// The next durable frame; `None` where the caller is up to date.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, JournalError> {
        let seq = self.next_seq;
        if seq > self.durable_seq() {
            return Ok(None);
        }
        self.open_segment_of(seq)?;
        let open = self.open.as_mut().expect("the segment of `seq` was opened above");
        while open.seq < seq {
            let header = read_header(open)?;
            open.offset += frame_bytes(header.payload_bytes as usize) as u64;
            open.seq += 1;
        }
        let header = read_header(open)?;
        self.payload.resize(header.payload_bytes as usize, 0);
        open.file
            .read_exact_at(&mut self.payload, open.offset + FRAME_HEADER_BYTES as u64)
            .context("read", &open.path)?;
        if !header.matches(open.number, &self.payload) {
            return Err(bad_frame(open));
        }
        open.offset += frame_bytes(self.payload.len()) as u64;
        open.seq += 1;
        self.next_seq = seq + 1;
        Ok(Some(Frame { seq, payload: &self.payload }))
    }

    /// Goes on from the frame `seq`.
    pub fn seek(&mut self, seq: u64) {
        self.next_seq = seq;
        self.open = None;
    }

    /// The last durable frame of the journal.
    pub fn durable_seq(&self) -> u64 {
        self.shared.durable_seq()
    }

    /// The number of the segment that the last frame came from.
    fn segment(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.number)
    }

    /// The segment that has the frame `seq`.
    pub(crate) fn segment_of(&self, seq: u64) -> Option<u64> {
        self.shared.segment_of(seq).map(|segment| segment.number)
    }

    /// Where the frame `seq` begins: exact for the one that is read next, else where its segment does.
    pub(crate) fn place_of(&self, seq: u64) -> u64 {
        match &self.open {
            _ if seq > self.durable_seq() => self.shared.durable_place(),
            Some(open) if open.seq == seq => self.shared.place(open.number, open.offset),
            _ => self.shared.segment_of(seq).map_or(0, |segment| self.shared.place(segment.number, 0)),
        }
    }

    /// Gets a message after frames became durable (one may stand for many), and is disconnected
    /// when the journal has ended.
    pub fn nudges(&self) -> &Receiver<()> {
        &self.nudges
    }

    /// Says that no frame up to `seq` will be read again, by anyone: their segments are recycled.
    pub fn release(&self, seq: u64) {
        self.shared.release(seq);
    }

    fn open_segment_of(&mut self, seq: u64) -> Result<(), JournalError> {
        let found = self.shared.segment_of(seq);
        let start = found.ok_or_else(|| JournalError::Released { dir: self.dir.clone(), seq })?;
        if self.segment() != Some(start.number) {
            let path = segment_path(&self.dir, start.number);
            self.open = Some(OpenSegment {
                number: start.number,
                file: self.disk.open(&path).context("open", &path)?,
                path,
                offset: SEGMENT_HEADER_BYTES as u64,
                seq: start.first_seq,
            });
        }
        Ok(())
    }
}

/// The header of the frame at the segment's offset, which is known to be durable.
fn read_header(open: &OpenSegment) -> Result<FrameHeader, JournalError> {
    let mut bytes = [0; FRAME_HEADER_BYTES];
    open.file.read_exact_at(&mut bytes, open.offset).context("read", &open.path)?;
    let header = FrameHeader::parse(&bytes);
    let end = open.offset + frame_bytes(header.payload_bytes as usize) as u64;
    // The length is checked before memory is set aside for it.
    if header.seq != open.seq || end > open.file.size_bytes().context("read", &open.path)? {
        return Err(bad_frame(open));
    }
    Ok(header)
}

fn bad_frame(open: &OpenSegment) -> JournalError {
    JournalError::Corrupt {
        file: open.path.clone(),
        offset: open.offset,
        why: format!("frame {} was durable and is damaged now", open.seq),
    }
}
