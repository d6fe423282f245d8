//! The node's journal: the only thing that a reply waits for.
//!
//! Shards hand their ticks' transactions to one thread, over a ring each, which gathers what is
//! waiting into one frame in the order in which it was submitted, writes it and syncs it once, and
//! then says which batches are durable. The files are also
//! the queue to the database: [`Reader`] gives them back in order.
//!
//! Terms:
//! - a **batch** is what one producer hands over at once, numbered by the producer;
//! - a **frame** is the batches between two syncs, numbered by the journal (`seq`) without gaps. It
//!   is there whole or not at all;
//! - **durable**: synced; nothing acknowledged is ever less. **Applied**: in the database.
//!   **Released**: applied and synced there, so that its segment may be reused.
//!
//! The journal never looks into a batch, never repairs a damaged frame, and never writes again
//! after a write or a sync failed: what the disk holds is not known then, and only a restart reads
//! it anew.

mod disk;
#[cfg(any(test, feature = "simulation"))]
mod faulty;
mod frame;
mod inspect;
mod producer;
mod reader;
mod recovery;
mod segment;
#[cfg(feature = "simulation")]
mod stepped;
#[cfg(test)]
mod tests;
mod thread;

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use crossbeam::{
    channel::{Receiver, bounded},
    utils::CachePadded,
};

use vyuha_ring::{bell, ring_with};

pub use disk::{Disk, DiskFile, OsDisk};
#[cfg(any(test, feature = "simulation"))]
pub use faulty::{Fault, FaultyDisk};
pub use frame::FRAME_HEADER_BYTES;
pub use inspect::{Inspection, SegmentReport, TableReport, inspect};
pub use producer::{Batch, Producer, SubmitError};
pub use reader::{Frame, Reader};
pub use segment::SEGMENT_HEADER_BYTES;
#[cfg(feature = "simulation")]
pub use stepped::SteppedJournal;

use crate::panic::panic_text;
use segment::SegmentFiles;

/// The size of a segment file unless configured.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// The least size of a segment file.
pub const SEGMENT_BYTES_MIN: u64 = 4 << 10;
/// The greatest size of a segment file: lengths within one are 32-bit.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// A frame is closed at this size, unless a single batch is larger. Bounds what one sync waits for.
pub const FRAME_PAYLOAD_BYTES_TARGET: usize = 4 << 20;

/// The largest batch that a journal with segments of this size takes: a frame never spans two.
pub const fn batch_bytes_max(segment_bytes: u64) -> usize {
    segment_bytes as usize - SEGMENT_HEADER_BYTES - FRAME_HEADER_BYTES
}

/// How a journal is kept.
#[derive(Debug, Clone)]
pub struct JournalConfig {
    /// The directory of the segment files, and of nothing else.
    pub dir: PathBuf,
    /// The size of a segment file, [`SEGMENT_BYTES_MIN`] to [`SEGMENT_BYTES_MAX`], a multiple of 8.
    /// The journal holds one being written and one spare, and more while the database is behind.
    pub segment_bytes: u64,
    /// Past so many bytes of segment files the journal is over its bound: [`Producer::is_over_bound`]. It takes what it
    /// is given all the same, since what ends a session must last.
    pub bytes_max: u64,
    /// How many producers there are.
    pub producers: usize,
    /// How many batches of one producer may wait for the thread, rounded up to a power of two. With
    /// the frame being written (at most a segment) this bounds the journal's memory.
    pub queue_batches: usize,
    /// [`vyuha_record::schema_fingerprint`] of the tables that the batches speak of.
    pub schema: u64,
}

/// Called once, from the journal's thread, with the reason for which it stopped for good.
pub type OnFailure = Box<dyn FnOnce(&str) + Send>;

/// Why a journal does not open, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A frame that was durable is damaged or gone.
    #[error(
        "the journal is corrupt: {} at offset {offset}: {why}. Acknowledged changes may be lost: look at the \
         disk, then restore the data directory from a backup", file.display()
    )]
    Corrupt {
        /// The segment file.
        file: PathBuf,
        /// The byte offset in it.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// The journal ends before what the database says it was fed.
    #[error(
        "the journal in {} ends at frame {last_seq}, but the database was fed up to frame {applied_seq}: they \
         do not belong together. Put the matching journal back, or, where the database is to be kept alone, \
         move the journal directory away", dir.display()
    )]
    Behind {
        /// The journal's directory.
        dir: PathBuf,
        /// Its last frame.
        last_seq: u64,
        /// The database's position.
        applied_seq: u64,
    },
    /// Frames that are not in the database yet were written with other table layouts.
    #[error(
        "{unapplied} frames in {} are not in the database yet and were written by a version with other tables \
         (schema {found:016x}, this version has {expected:016x}). Start the previous version once and stop it \
         in order, which drains the journal; then start this version", dir.display()
    )]
    SchemaChanged {
        /// The journal's directory.
        dir: PathBuf,
        /// How many frames.
        unapplied: u64,
        /// Their schema's fingerprint.
        found: u64,
        /// This version's.
        expected: u64,
    },
    /// A segment written by a version with another file format.
    #[error("{} has journal format {found}, this version reads {expected}: start the version that wrote it", file.display())]
    Format {
        /// The segment file.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The format that this version reads.
        expected: u32,
    },
    /// A frame was asked for that was released before.
    #[error("frame {seq} of the journal in {} was released and is not kept any more", dir.display())]
    Released {
        /// The journal's directory.
        dir: PathBuf,
        /// The frame.
        seq: u64,
    },
    /// A setting is out of range.
    #[error(
        "journal segments of {found} bytes: choose a multiple of 8 from {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"
    )]
    SegmentBytes {
        /// The setting.
        found: u64,
    },
    /// A bug: the journal's thread panicked.
    #[error("the journal's thread panicked: {0}")]
    Panicked(String),
}

/// What the journal has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalStats {
    /// The last durable frame.
    pub durable_seq: u64,
    /// The last released frame, 0 before the first release.
    pub released_seq: u64,
    /// Segment files in use, the spare aside.
    pub segments: u64,
    /// Whether they are more than the journal may hold.
    pub is_over_bound: bool,
    /// Bytes written in frames.
    pub written_bytes: u64,
    /// Frames written, each with one sync.
    pub frames: u64,
    /// Time spent in writing and syncing frames.
    pub write_ns: u64,
}

/// An open journal and its thread.
pub struct Journal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    shared: Arc<Shared>,
    nudges: Receiver<()>,
    thread: JoinHandle<Result<(), JournalError>>,
}

impl Journal {
    /// Recovers the journal in `config.dir`, or starts one, and starts its thread. Producer `i` of
    /// the list is for shard `i`; `applied_seq` is the database's position.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: &JournalConfig,
        applied_seq: u64,
        on_failure: OnFailure,
    ) -> Result<(Self, Vec<Producer>), JournalError> {
        let Opened { writer, producers, shared, nudges } = Opened::open(&disk, config, applied_seq)?;
        let dir = config.dir.clone();
        let thread = writer.spawn(on_failure).context("start the journal's thread for", &dir)?;
        Ok((Self { disk, dir, shared, nudges, thread }, producers))
    }

    /// Reads durable frames from `seq` on. Readers share the nudges, since one journal feeds one
    /// persistence thread.
    pub fn reader(&self, seq: u64) -> Reader {
        Reader::new(self.disk.clone(), self.dir.clone(), self.shared.clone(), self.nudges.clone(), seq)
    }

    /// The last durable frame.
    pub fn durable_seq(&self) -> u64 {
        self.shared.durable_seq()
    }

    /// Why the journal stopped for good, if it did.
    pub fn failure(&self) -> Option<&str> {
        self.shared.failure.get().map(String::as_str)
    }

    /// Counters for metrics.
    pub fn stats(&self) -> JournalStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        JournalStats {
            durable_seq: self.durable_seq(),
            released_seq: load(&self.shared.released_seq),
            segments: self.shared.lock_segments().len() as u64,
            is_over_bound: self.shared.is_over_bound(),
            written_bytes: load(&self.shared.written_bytes),
            frames: load(&self.shared.frames),
            write_ns: load(&self.shared.write_ns),
        }
    }

    /// Waits until every producer is dropped and everything they submitted is durable.
    pub fn join(self) -> Result<(), JournalError> {
        self.thread.join().unwrap_or_else(|panic| Err(JournalError::Panicked(panic_text(&*panic))))
    }
}

/// A recovered journal before anybody writes.
struct Opened {
    writer: thread::Writer,
    producers: Vec<Producer>,
    shared: Arc<Shared>,
    nudges: Receiver<()>,
}

impl Opened {
    fn open(disk: &Arc<dyn Disk>, config: &JournalConfig, applied_seq: u64) -> Result<Self, JournalError> {
        let JournalConfig { dir, segment_bytes, schema, .. } = config;
        let in_range = (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(segment_bytes);
        if !in_range || segment_bytes % 8 != 0 {
            return Err(JournalError::SegmentBytes { found: *segment_bytes });
        }
        disk.create_dir(dir).context("create", dir)?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            disk.sync_dir(parent).context("sync", parent)?;
        }
        let recovered = recovery::recover(&**disk, dir, *schema, applied_seq)?;
        // Segment numbers start anew where there are no segments: an old spare might then hold
        // frames of the same number.
        let keep_spare = !recovered.segments.is_empty();
        let files = SegmentFiles::open(disk.clone(), dir, *segment_bytes, *schema, keep_spare)?;
        let shared = Arc::new(Shared::new(config, &recovered));
        let (nudge, nudges) = bounded(1);
        let (bell, sleeper) = bell();
        let (producers, submitted) = (0..config.producers)
            .map(|index| {
                let (submit, submitted) = ring_with(config.queue_batches, bell.clone());
                (Producer::new(index, submit, shared.clone(), batch_bytes_max(*segment_bytes)), submitted)
            })
            .unzip();
        let submitted = thread::Submitted::new(submitted, sleeper);
        let writer = thread::Writer::new(recovered, files, *segment_bytes, shared.clone(), submitted, nudge)?;
        Ok(Self { writer, producers, shared, nudges })
    }
}

/// A segment in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentStart {
    number: u64,
    first_seq: u64,
}

/// What the thread tells the others, and they it.
#[derive(Debug)]
pub(crate) struct Shared {
    durable_seq: AtomicU64,
    released_seq: AtomicU64,
    /// The last durable batch of each producer; each on its own cache line, since each is read by
    /// another core every tick.
    durable_batches: Vec<CachePadded<AtomicU64>>,
    /// Turns given to submitted batches, of all producers.
    turns: CachePadded<AtomicU64>,
    segments: Mutex<VecDeque<SegmentStart>>,
    segment_bytes: u64,
    /// Segments that the journal may hold.
    segments_max: u64,
    over_bound: AtomicBool,
    /// Where the last durable frame ends; see [`Shared::place`].
    durable_place: AtomicU64,
    failure: OnceLock<String>,
    written_bytes: AtomicU64,
    frames: AtomicU64,
    write_ns: AtomicU64,
}

impl Shared {
    fn new(config: &JournalConfig, recovered: &recovery::Recovered) -> Self {
        Self {
            segment_bytes: config.segment_bytes,
            segments_max: config.bytes_max / config.segment_bytes,
            over_bound: AtomicBool::new(false),
            durable_place: AtomicU64::new(0),
            durable_seq: AtomicU64::new(recovered.last_seq),
            released_seq: AtomicU64::new(0),
            durable_batches: (0..config.producers).map(|_| CachePadded::default()).collect(),
            turns: CachePadded::default(),
            segments: Mutex::new(recovered.segments.iter().copied().collect()),
            failure: OnceLock::new(),
            written_bytes: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            write_ns: AtomicU64::new(0),
        }
    }

    pub fn durable_seq(&self) -> u64 {
        self.durable_seq.load(Ordering::Acquire)
    }

    fn release(&self, seq: u64) {
        self.released_seq.fetch_max(seq, Ordering::AcqRel);
    }

    /// The segment that a durable frame is in, unless it was released.
    fn segment_of(&self, seq: u64) -> Option<SegmentStart> {
        self.lock_segments().iter().rev().find(|segment| segment.first_seq <= seq).copied()
    }

    fn is_over_bound(&self) -> bool {
        self.over_bound.load(Ordering::Relaxed)
    }

    /// After the list of segments changed.
    fn judge_bound(&self, segments: usize) {
        self.over_bound.store(segments as u64 > self.segments_max, Ordering::Relaxed);
    }

    /// A place in the journal: the difference of two is bytes of segment files, as long as all are of one size.
    fn place(&self, segment: u64, offset: u64) -> u64 {
        segment * self.segment_bytes + offset
    }

    /// Where the last durable frame ends.
    pub fn durable_place(&self) -> u64 {
        self.durable_place.load(Ordering::Relaxed)
    }

    fn failure_text(&self) -> String {
        self.failure.get().cloned().unwrap_or_else(|| "its thread ended".into())
    }

    fn lock_segments(&self) -> std::sync::MutexGuard<'_, VecDeque<SegmentStart>> {
        // Every change of the list is a single push or pop: it is whole even after a panic.
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

trait IoContext<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, JournalError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, JournalError> {
        self.map_err(|source| JournalError::Io { action, path: path.into(), source })
    }
}
