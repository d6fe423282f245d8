//! What a journal holds after the process, or the machine, stopped at any moment.
//!
//! One frame is written between two syncs, so only the last frame of the last segment can be
//! unfinished. A bad frame with nothing good after it is that one, was never acknowledged, and is
//! cut. A bad frame before good ones was once whole: that is corruption, and is never repaired
//! here.

use std::path::{Path, PathBuf};

use super::{
    Disk, DiskFile, FRAME_HEADER_BYTES, IoContext, JournalError, SEGMENT_HEADER_BYTES, SegmentStart, frame,
    segment::{SegmentHeader, segment_numbers, segment_path},
};

const CUT_CHUNK_BYTES: usize = 1 << 20;

/// A journal found sound.
pub(super) struct Recovered {
    /// The last frame, or what was applied where there is none.
    pub last_seq: u64,
    /// Every segment, in order.
    pub segments: Vec<SegmentStart>,
    /// Where the next frame goes; `None` where that takes a new segment.
    pub append: Option<Append>,
}

/// The end of the last segment.
pub(super) struct Append {
    pub file: Box<dyn DiskFile>,
    pub offset: u64,
    pub segment_bytes: u64,
}

/// Reads every segment (two in memory at a time), and cuts a torn tail.
pub(super) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    schema: u64,
    applied_seq: u64,
) -> Result<Recovered, JournalError> {
    let numbers = segment_numbers(&disk.list(dir).context("list", dir)?);
    let mut segments = Vec::new();
    let mut previous: Option<Scan> = None;
    let mut unapplied_of_other_schema = None;
    for number in numbers {
        let scan = scan(disk, segment_path(dir, number), number)?;
        check_order(previous.as_ref(), &scan, applied_seq)?;
        if scan.header.schema != schema && scan.last_seq > applied_seq {
            unapplied_of_other_schema = Some(scan.header.schema);
        }
        segments.push(SegmentStart { number, first_seq: scan.header.first_seq });
        previous = Some(scan);
    }
    let Some(last) = previous else {
        if applied_seq > 0 {
            tracing::warn!(
                dir = %dir.display(), applied_seq,
                "the journal is empty although the database was fed from one; starting after what it holds"
            );
        }
        return Ok(Recovered { last_seq: applied_seq, segments, append: None });
    };
    if last.last_seq < applied_seq {
        return Err(JournalError::Behind { dir: dir.into(), last_seq: last.last_seq, applied_seq });
    }
    if let Some(found) = unapplied_of_other_schema {
        return Err(JournalError::SchemaChanged {
            dir: dir.into(),
            unapplied: last.last_seq - applied_seq,
            found,
            expected: schema,
        });
    }
    last.settle()?;
    Ok(Recovered {
        last_seq: last.last_seq,
        segments,
        append: (last.header.schema == schema).then(|| Append {
            offset: last.end as u64,
            segment_bytes: last.header.segment_bytes,
            file: last.file,
        }),
    })
}

pub(super) struct Scan {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    bytes: Vec<u8>,
    header: SegmentHeader,
    /// `first_seq - 1` in an empty segment.
    last_seq: u64,
    last_frame_start: Option<usize>,
    /// Behind the last good frame.
    end: usize,
}

impl Scan {
    fn corrupt(&self, why: String) -> JournalError {
        JournalError::Corrupt { file: self.path.clone(), offset: self.end as u64, why }
    }

    /// Makes sure that what was read is what the disk will give again, and nothing else.
    fn settle(&self) -> Result<(), JournalError> {
        // Where a sync failed before the restart, the last frame may be in the page cache, marked
        // clean, and not on the disk: write it again.
        if let Some(start) = self.last_frame_start {
            self.file
                .write_all_at(&self.bytes[start..self.end], start as u64)
                .context("write", &self.path)?;
        }
        let tail = &self.bytes[self.end..];
        if tail.iter().take(FRAME_HEADER_BYTES).any(|byte| *byte != 0) {
            tracing::warn!(
                file = %self.path.display(), offset = self.end, last_seq = self.last_seq,
                "cut a torn tail: the last write before the stop was not finished, and not acknowledged"
            );
            let zeros = vec![0; CUT_CHUNK_BYTES.min(tail.len())];
            for (i, chunk) in tail.chunks(CUT_CHUNK_BYTES).enumerate() {
                let offset = (self.end + i * CUT_CHUNK_BYTES) as u64;
                self.file.write_all_at(&zeros[..chunk.len()], offset).context("cut", &self.path)?;
            }
        }
        self.file.sync_data().context("sync", &self.path)
    }
}

pub(super) fn scan(disk: &dyn Disk, path: PathBuf, number: u64) -> Result<Scan, JournalError> {
    let file = disk.open(&path).context("open", &path)?;
    let mut bytes = vec![0; file.size_bytes().context("open", &path)? as usize];
    file.read_exact_at(&mut bytes, 0).context("read", &path)?;
    let header = SegmentHeader::parse(&path, &bytes)?;
    if header.number != number {
        let why = format!("the file holds segment {}, its name says {number}", header.number);
        return Err(JournalError::Corrupt { file: path, offset: 0, why });
    }
    let mut scan = Scan {
        path,
        file,
        header,
        last_seq: header.first_seq - 1,
        last_frame_start: None,
        end: SEGMENT_HEADER_BYTES,
        bytes,
    };
    while let Some((frame, payload)) = frame::parse(&scan.bytes[scan.end..], number) {
        if frame.seq != scan.last_seq + 1 {
            return Err(scan.corrupt(format!("frame {} follows frame {}", frame.seq, scan.last_seq)));
        }
        scan.last_seq = frame.seq;
        scan.last_frame_start = Some(scan.end);
        scan.end += frame::frame_bytes(payload.len());
    }
    if let Some((offset, seq)) = later_frame(&scan) {
        return Err(scan.corrupt(format!(
            "no good frame is here, but frame {seq} follows at offset {offset}; \
             frames {} to {} are damaged or lost",
            scan.last_seq + 1,
            seq - 1
        )));
    }
    Ok(scan)
}

/// A good frame anywhere behind the place where the good frames end.
fn later_frame(scan: &Scan) -> Option<(usize, u64)> {
    let frames_max = (scan.bytes.len() / FRAME_HEADER_BYTES) as u64;
    let plausible = scan.last_seq + 1..=scan.last_seq + frames_max;
    (scan.end + 8..scan.bytes.len()).step_by(8).find_map(|offset| {
        let tail = &scan.bytes[offset..];
        // The sequence first: it costs less to look at than a checksum.
        let header = frame::FrameHeader::parse(tail.first_chunk()?);
        let good = plausible.contains(&header.seq) && frame::parse(tail, scan.header.number).is_some();
        good.then_some((offset, header.seq))
    })
}

/// Segments and sequences must go on where the one before ended.
fn check_order(previous: Option<&Scan>, scan: &Scan, applied_seq: u64) -> Result<(), JournalError> {
    let first_seq = scan.header.first_seq;
    let Some(previous) = previous else {
        return if (1..=applied_seq + 1).contains(&first_seq) {
            Ok(())
        } else {
            Err(JournalError::Corrupt {
                file: scan.path.clone(),
                offset: 0,
                why: format!(
                    "the journal starts at frame {first_seq}, but the database holds only up to frame \
                     {applied_seq}; frames between are lost, or the database is another one's"
                ),
            })
        };
    };
    if previous.header.number + 1 != scan.header.number || previous.last_seq + 1 != first_seq {
        return Err(previous.corrupt(format!(
            "segment {} ends at frame {}, but segment {} starts at frame {first_seq}; \
             frames between are damaged or lost",
            previous.header.number, previous.last_seq, scan.header.number
        )));
    }
    Ok(())
}
