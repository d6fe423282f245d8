//! The thread that writes: gather, write, sync, publish.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Instant,
};

use crossbeam::channel::Sender;
use vyuha_ring::{Consumer, Sleeper};

use crate::panic::panic_text;

use super::{
    DiskFile, FRAME_HEADER_BYTES, FRAME_PAYLOAD_BYTES_TARGET, IoContext, JournalError, OnFailure,
    SEGMENT_HEADER_BYTES, SegmentFiles, SegmentStart, Shared, batch_bytes_max,
    frame::{frame_bytes, seal},
    producer::{Batch, Submission},
    recovery::Recovered,
};

pub(super) struct Writer {
    files: SegmentFiles,
    segment: Segment,
    segment_bytes: u64,
    /// The last frame written.
    seq: u64,
    shared: Arc<Shared>,
    submitted: Submitted,
    nudge: Sender<()>,
    frame: Vec<u8>,
    /// The producer and number of each batch in `frame`.
    batches: Vec<(usize, u64)>,
}

/// What the producers handed over, in the order in which they did.
///
/// The order is kept across producers too: what one shard did before it handed a character to another is in the
/// journal before what that one did, and the last image of a row is its newest.
pub(super) struct Submitted {
    /// By producer.
    rings: Vec<Consumer<Submission>>,
    sleeper: Sleeper,
    /// The turn of the next batch. Who took it is about to commit, or has.
    turn: u64,
}

impl Submitted {
    pub fn new(rings: Vec<Consumer<Submission>>, sleeper: Sleeper) -> Self {
        Self { rings, sleeper, turn: 0 }
    }

    /// The next batch, in its place in the ring of its producer.
    fn front(&mut self) -> Option<(usize, &mut Batch)> {
        let turn = self.turn;
        self.rings.iter_mut().enumerate().find_map(|(producer, ring)| {
            let oldest = ring.peek().filter(|oldest| oldest.turn == turn)?;
            Some((producer, &mut oldest.batch))
        })
    }

    /// Gives the place of the next batch back to its producer; the one after it is next.
    fn release(&mut self, producer: usize) {
        self.rings[producer].release(1);
        self.turn += 1;
    }

    /// Whether every producer is gone and all it handed over was taken.
    fn are_closed(&self) -> bool {
        self.rings.iter().all(Consumer::is_closed)
    }

    /// Sleeps until there is a next batch, or none will come.
    fn wait(&mut self) {
        let Self { rings, sleeper, turn } = self;
        sleeper.wait(|| {
            let is_next =
                |ring: &mut Consumer<Submission>| ring.peek().is_some_and(|oldest| oldest.turn == *turn);
            rings.iter_mut().any(is_next) || rings.iter().all(Consumer::is_closed)
        });
    }
}

struct Segment {
    number: u64,
    file: Box<dyn DiskFile>,
    offset: u64,
    bytes: u64,
}

impl Writer {
    pub fn new(
        recovered: Recovered,
        mut files: SegmentFiles,
        segment_bytes: u64,
        shared: Arc<Shared>,
        submitted: Submitted,
        nudge: Sender<()>,
    ) -> Result<Self, JournalError> {
        let last_number = recovered.segments.last().map_or(0, |segment| segment.number);
        let segment = match recovered.append {
            Some(end) => {
                Segment { number: last_number, file: end.file, offset: end.offset, bytes: end.segment_bytes }
            }
            None => {
                start_segment(&mut files, &shared, segment_bytes, last_number + 1, recovered.last_seq + 1)?
            }
        };
        shared.judge_bound(shared.lock_segments().len());
        shared.durable_place.store(shared.place(segment.number, segment.offset), Ordering::Relaxed);
        Ok(Self {
            files,
            segment,
            segment_bytes,
            seq: recovered.last_seq,
            shared,
            submitted,
            nudge,
            frame: Vec::new(),
            batches: Vec::new(),
        })
    }

    pub fn spawn(mut self, on_failure: OnFailure) -> io::Result<JoinHandle<Result<(), JournalError>>> {
        thread::Builder::new().name("vyuha-journal".into()).spawn(move || {
            let ended = catch_unwind(AssertUnwindSafe(|| self.serve()));
            let ended = ended.unwrap_or_else(|panic| Err(JournalError::Panicked(panic_text(&*panic))));
            if let Err(error) = &ended {
                on_failure(&self.stop(error));
            }
            ended
        })
    }

    /// Lets nobody go on; the reason comes back.
    fn stop(&self, error: &JournalError) -> String {
        let reason = error.to_string();
        tracing::error!(%reason, "the journal stopped for good");
        self.shared.failure.get_or_init(|| reason.clone());
        reason
    }

    /// Until every producer is gone, or the disk fails.
    fn serve(&mut self) -> Result<(), JournalError> {
        while self.wait()? {
            self.write_next()?;
        }
        Ok(())
    }

    /// Makes what waits durable, as one frame.
    fn write_next(&mut self) -> Result<(), JournalError> {
        self.gather();
        self.write()?;
        self.publish();
        Ok(())
    }

    /// What the thread does between two looks for batches, and no more; false where there is nothing to do.
    #[cfg(feature = "simulation")]
    pub(super) fn step(&mut self) -> Result<bool, JournalError> {
        let stepped = self.recycle().and_then(|()| {
            if self.submitted.front().is_some() {
                return self.write_next().map(|()| true);
            }
            let fills = self.needs_spare();
            if fills {
                self.files.fill_spare()?;
            }
            Ok(fills)
        });
        stepped.inspect_err(|error| drop(self.stop(error)))
    }

    /// Waits for a batch, and does the housekeeping while there is none; false once none will come.
    fn wait(&mut self) -> Result<bool, JournalError> {
        loop {
            self.recycle()?;
            if self.submitted.front().is_some() {
                return Ok(true);
            }
            if self.submitted.are_closed() {
                return Ok(false);
            }
            if self.needs_spare() {
                self.files.fill_spare()?;
            } else {
                self.submitted.wait();
            }
        }
    }

    /// A spare is filled once the segment is half full: until then a released one is likely to come.
    fn needs_spare(&self) -> bool {
        self.files.wants_spare() && self.segment.offset > self.segment.bytes / 2
    }

    /// Puts everything that waits, and fits, into one frame.
    fn gather(&mut self) {
        let payload_max = batch_bytes_max(self.segment_bytes).min(FRAME_PAYLOAD_BYTES_TARGET);
        self.batches.clear();
        self.frame.clear();
        self.frame.resize(FRAME_HEADER_BYTES, 0);
        while let Some((producer, batch)) = self.submitted.front() {
            let payload = self.frame.len() - FRAME_HEADER_BYTES;
            // A batch that is alone may be larger: it fits into a segment.
            if payload > 0 && payload + batch.bytes.len() > payload_max {
                break;
            }
            self.frame.extend_from_slice(&batch.bytes);
            self.batches.push((producer, batch.number));
            // The slot may not be written again for long.
            batch.bytes = Vec::new();
            self.submitted.release(producer);
        }
    }

    #[cfg(feature = "simulation")]
    pub(super) fn last_payload(&self) -> &[u8] {
        let Some((head, rest)) = self.frame.split_first_chunk() else { return &[] };
        &rest[..super::frame::FrameHeader::parse(head).payload_bytes as usize]
    }

    fn write(&mut self) -> Result<(), JournalError> {
        let started = Instant::now();
        let bytes = frame_bytes(self.frame.len() - FRAME_HEADER_BYTES) as u64;
        if self.segment.offset + bytes > self.segment.bytes {
            let (number, first_seq) = (self.segment.number + 1, self.seq + 1);
            self.segment =
                start_segment(&mut self.files, &self.shared, self.segment_bytes, number, first_seq)?;
        }
        let Segment { number, ref file, offset, bytes: segment_bytes } = self.segment;
        seal(&mut self.frame, number, self.seq + 1);
        // The zeros that end the segment go in the same write: a recycled file holds old bytes there.
        let end_bytes = (segment_bytes - offset - bytes).min(FRAME_HEADER_BYTES as u64);
        self.frame.resize((bytes + end_bytes) as usize, 0);
        file.write_all_at(&self.frame, offset).context("write", &self.files.path(number))?;
        file.sync_data().context("sync", &self.files.path(number))?;
        self.segment.offset += bytes;
        self.seq += 1;
        self.shared.frames.fetch_add(1, Ordering::Relaxed);
        self.shared.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.shared.write_ns.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// The frame first: who sees a batch durable may ask for its frame.
    fn publish(&self) {
        let place = self.shared.place(self.segment.number, self.segment.offset);
        self.shared.durable_place.store(place, Ordering::Relaxed);
        self.shared.durable_seq.store(self.seq, Ordering::Release);
        for &(producer, number) in &self.batches {
            self.shared.durable_batches[producer].store(number, Ordering::Release);
        }
        // A full channel holds a nudge that the reader has yet to see; a reader that is gone needs none.
        let _ = self.nudge.try_send(());
    }

    /// Gives up the segments, but for the last, that hold nothing unreleased.
    fn recycle(&mut self) -> Result<(), JournalError> {
        let released_seq = self.shared.released_seq.load(Ordering::Acquire);
        loop {
            let oldest = {
                let mut segments = self.shared.lock_segments();
                let wholly_released = segments.get(1).is_some_and(|next| next.first_seq <= released_seq + 1);
                let oldest = if wholly_released { segments.pop_front() } else { None };
                self.shared.judge_bound(segments.len());
                oldest
            };
            let Some(oldest) = oldest else { return Ok(()) };
            self.files.recycle(oldest.number)?;
        }
    }
}

fn start_segment(
    files: &mut SegmentFiles,
    shared: &Shared,
    bytes: u64,
    number: u64,
    first_seq: u64,
) -> Result<Segment, JournalError> {
    let file = files.start_segment(number, first_seq)?;
    let mut segments = shared.lock_segments();
    segments.push_back(SegmentStart { number, first_seq });
    shared.judge_bound(segments.len());
    drop(segments);
    Ok(Segment { number, file, offset: SEGMENT_HEADER_BYTES as u64, bytes })
}
