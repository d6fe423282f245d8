//! Segment files: their header, their names, and the one spare kept ready.
//!
//! A file is filled with zeros and synced before it becomes a segment, so that writing a frame
//! never changes the file's metadata. A segment whose frames are all applied becomes the next
//! spare. A file bears a segment's name only once its header is on disk.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Disk, DiskFile, FRAME_HEADER_BYTES, IoContext, JournalError};

/// Bytes of a segment before its first frame.
pub const SEGMENT_HEADER_BYTES: usize = 64;
/// Zeros written and synced at a time: a chunk delays a waiting batch by a few milliseconds.
const ZERO_CHUNK_BYTES: u64 = 1 << 20;

const MAGIC: [u8; 8] = *b"VYUHAJRN";
const FORMAT: u32 = 1;
const SPARE: &str = "spare";
const UNFINISHED_SPARE: &str = "spare.unfinished";
const EXTENSION: &str = ".segment";

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub number: u64,
    pub schema: u64,
    pub first_seq: u64,
    /// The size of the file: it never changes, so that one cut short is noticed.
    pub segment_bytes: u64,
}

impl SegmentHeader {
    /// `magic 8 | format u32 | crc32 u32 | number u64 | schema u64 | first sequence u64 | size u64 |
    /// zeros`, and behind it the zeros that end an empty segment.
    fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.schema.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.segment_bytes.to_le_bytes());
        let crc = crc(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of a whole segment.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, JournalError> {
        let corrupt = |why: &str| JournalError::Corrupt { file: path.into(), offset: 0, why: why.into() };
        let (header, _) = bytes
            .split_first_chunk::<SEGMENT_HEADER_BYTES>()
            .ok_or_else(|| corrupt("the file is shorter than a segment's header"))?;
        if header[..8] != MAGIC {
            return Err(corrupt("it does not start as a segment of a journal"));
        }
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| header[at + i]));
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| header[at + i]));
        if u32_at(12) != crc(header) {
            return Err(corrupt("the segment's header does not match its checksum"));
        }
        if u32_at(8) != FORMAT {
            return Err(JournalError::Format { file: path.into(), found: u32_at(8), expected: FORMAT });
        }
        let (number, schema, first_seq) = (u64_at(16), u64_at(24), u64_at(32));
        // Both only count up, from 1: the arithmetic on them elsewhere cannot overflow.
        if [number, first_seq].iter().any(|n| !(1..=i64::MAX as u64).contains(n)) {
            return Err(corrupt("the segment's number or first sequence is out of range"));
        }
        let segment_bytes = u64_at(40);
        if bytes.len() as u64 != segment_bytes {
            return Err(corrupt(&format!(
                "the file has {} bytes, it was made with {segment_bytes}",
                bytes.len()
            )));
        }
        Ok(Self { number, schema, first_seq, segment_bytes })
    }
}

fn crc(header: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..12]);
    hasher.update(&header[16..SEGMENT_HEADER_BYTES]);
    hasher.finalize()
}

pub(super) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:012}{EXTENSION}"))
}

/// The numbers of the segments among a directory's files, ascending.
pub(super) fn segment_numbers(names: &[String]) -> Vec<u64> {
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| name.strip_suffix(EXTENSION)?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// Makes segments, and keeps the file for the next one ready.
pub(super) struct SegmentFiles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    schema: u64,
    spare: Spare,
}

enum Spare {
    Absent,
    Filling { file: Box<dyn DiskFile>, filled_bytes: u64 },
    Ready,
}

impl SegmentFiles {
    /// Adopts the spare that is in `dir` if `keep_spare` and its size fits, and clears away others.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        segment_bytes: u64,
        schema: u64,
        keep_spare: bool,
    ) -> Result<Self, JournalError> {
        let mut files = Self { disk, dir: dir.into(), segment_bytes, schema, spare: Spare::Absent };
        let names = files.disk.list(dir).context("list", dir)?;
        for name in names.iter().filter(|name| [SPARE, UNFINISHED_SPARE].contains(&name.as_str())) {
            let path = dir.join(name);
            let bytes = files.disk.open(&path).and_then(|file| file.size_bytes()).context("open", &path)?;
            if name == SPARE && keep_spare && bytes == segment_bytes {
                files.spare = Spare::Ready;
            } else {
                files.disk.remove(&path).context("remove", &path)?;
            }
        }
        Ok(files)
    }

    /// The file of a segment.
    pub fn path(&self, number: u64) -> PathBuf {
        segment_path(&self.dir, number)
    }

    /// Whether [`Self::fill_spare`] has something to do.
    pub fn wants_spare(&self) -> bool {
        !matches!(self.spare, Spare::Ready)
    }

    /// Takes the spare one step nearer to being ready.
    pub fn fill_spare(&mut self) -> Result<(), JournalError> {
        let path = self.dir.join(UNFINISHED_SPARE);
        match &mut self.spare {
            Spare::Ready => {}
            Spare::Absent => {
                let file = self.disk.create(&path).context("create", &path)?;
                self.spare = Spare::Filling { file, filled_bytes: 0 };
            }
            Spare::Filling { file, filled_bytes } if *filled_bytes < self.segment_bytes => {
                let chunk_bytes = ZERO_CHUNK_BYTES.min(self.segment_bytes - *filled_bytes);
                file.write_all_at(&vec![0; chunk_bytes as usize], *filled_bytes).context("fill", &path)?;
                file.sync_data().context("sync", &path)?;
                *filled_bytes += chunk_bytes;
            }
            Spare::Filling { .. } => {
                let spare = self.dir.join(SPARE);
                self.disk.rename(&path, &spare).context("rename", &path)?;
                self.disk.sync_dir(&self.dir).context("sync", &self.dir)?;
                self.spare = Spare::Ready;
            }
        }
        Ok(())
    }

    /// Turns the spare into an empty segment, which lasts once this returns.
    pub fn start_segment(&mut self, number: u64, first_seq: u64) -> Result<Box<dyn DiskFile>, JournalError> {
        while self.wants_spare() {
            self.fill_spare()?;
        }
        let Self { segment_bytes, schema, .. } = *self;
        let header = SegmentHeader { number, schema, first_seq, segment_bytes };
        let (spare, path) = (self.dir.join(SPARE), segment_path(&self.dir, number));
        let file = self.disk.open(&spare).context("open", &spare)?;
        file.write_all_at(&header.encode(), 0).context("write", &spare)?;
        file.sync_data().context("sync", &spare)?;
        self.disk.rename(&spare, &path).context("rename", &spare)?;
        self.disk.sync_dir(&self.dir).context("sync", &self.dir)?;
        self.spare = Spare::Absent;
        self.disk.open(&path).context("open", &path)
    }

    /// Makes a segment that nobody needs any more the spare, or removes it if there is one.
    pub fn recycle(&mut self, number: u64) -> Result<(), JournalError> {
        let path = segment_path(&self.dir, number);
        let bytes = self.disk.open(&path).and_then(|file| file.size_bytes()).context("open", &path)?;
        if self.wants_spare() && bytes == self.segment_bytes {
            self.disk.rename(&path, &self.dir.join(SPARE)).context("rename", &path)?;
            self.spare = Spare::Ready;
        } else {
            self.disk.remove(&path).context("remove", &path)?;
        }
        self.disk.sync_dir(&self.dir).context("sync", &self.dir)
    }
}
