//! A look at a journal's files that changes nothing, and goes on past what is damaged.

use std::{collections::BTreeMap, path::Path};

use vyuha_record::{Op, transactions};

use super::{
    Disk, FRAME_HEADER_BYTES, IoContext, JournalError, SEGMENT_HEADER_BYTES, frame, recovery,
    segment::{SegmentHeader, segment_numbers, segment_path},
};

/// What a journal holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspection {
    /// Its segments, in order.
    pub segments: Vec<SegmentReport>,
    /// By number of the table: what was journalled for it.
    pub tables: BTreeMap<u16, TableReport>,
    /// Everything that is damaged or missing, in words; none where a node would open the journal.
    pub faults: Vec<String>,
    /// Bytes of a write that was not finished before the last stop, and never acknowledged: a node cuts them.
    pub torn_bytes: u64,
}

/// One segment file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SegmentReport {
    /// Its number.
    pub number: u64,
    /// The size of the file.
    pub bytes: u64,
    /// Up to where it holds good frames.
    pub used_bytes: u64,
    /// The fingerprint of the tables that its frames speak of.
    pub schema: u64,
    /// Its first frame, or the one that would be.
    pub first_seq: u64,
    /// Its last good frame; one before the first where it has none.
    pub last_seq: u64,
    /// Transactions in its good frames.
    pub transactions: u64,
}

/// What was journalled for one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableReport {
    /// Rows written.
    pub puts: u64,
    /// Rows deleted.
    pub deletes: u64,
    /// Bytes of rows and keys.
    pub bytes: u64,
}

impl Inspection {
    /// The first and the last good frame; `None` where there is none.
    pub fn frames(&self) -> Option<(u64, u64)> {
        let filled: Vec<_> =
            self.segments.iter().filter(|segment| segment.last_seq >= segment.first_seq).collect();
        Some((filled.first()?.first_seq, filled.last()?.last_seq))
    }
}

/// Reads every segment in `dir`, one in memory at a time. A node may be writing to it meanwhile: its last write may
/// then look unfinished.
///
/// # Errors
/// Only where the directory cannot be listed.
pub fn inspect(disk: &dyn Disk, dir: &Path) -> Result<Inspection, JournalError> {
    let numbers = segment_numbers(&disk.list(dir).context("list", dir)?);
    let mut inspection = Inspection::default();
    let mut previous: Option<SegmentReport> = None;
    let last = numbers.last().copied();
    for number in numbers {
        let path = segment_path(dir, number);
        match segment(disk, &path, number, &mut inspection) {
            Ok((report, tail_bytes)) => {
                if let Some(before) = &previous
                    && (before.number + 1, before.last_seq + 1) != (report.number, report.first_seq)
                {
                    inspection.faults.push(format!(
                        "segment {} ends at frame {}, but segment {number} starts at frame {}",
                        before.number, before.last_seq, report.first_seq
                    ));
                }
                // Reading it as a node would tells a torn tail from damage.
                if let Err(error) = recovery::scan(disk, path, number) {
                    inspection.faults.push(error.to_string());
                } else if last == Some(number) {
                    inspection.torn_bytes = tail_bytes;
                } else if tail_bytes > 0 {
                    inspection
                        .faults
                        .push(format!("segment {number} ends in an unfinished write, and is not the last"));
                }
                inspection.segments.push(report.clone());
                previous = Some(report);
            }
            Err(error) => inspection.faults.push(error.to_string()),
        }
    }
    Ok(inspection)
}

/// Counts the good frames at the start of a segment, and the bytes behind them that are not zero.
fn segment(
    disk: &dyn Disk,
    path: &Path,
    number: u64,
    inspection: &mut Inspection,
) -> Result<(SegmentReport, u64), JournalError> {
    let file = disk.open(path).context("open", path)?;
    let mut bytes = vec![0; file.size_bytes().context("open", path)? as usize];
    file.read_exact_at(&mut bytes, 0).context("read", path)?;
    let header = SegmentHeader::parse(path, &bytes)?;
    let mut report = SegmentReport {
        number: header.number,
        bytes: bytes.len() as u64,
        schema: header.schema,
        first_seq: header.first_seq,
        last_seq: header.first_seq - 1,
        ..SegmentReport::default()
    };
    let mut end = SEGMENT_HEADER_BYTES;
    while let Some((frame, payload)) = frame::parse(&bytes[end..], number) {
        if frame.seq != report.last_seq + 1 {
            break;
        }
        report.last_seq = frame.seq;
        report.transactions += count(payload, frame.seq, inspection);
        end += frame::frame_bytes(payload.len());
    }
    report.used_bytes = end as u64;
    let tail = &bytes[end..];
    let is_torn = tail.iter().take(FRAME_HEADER_BYTES).any(|byte| *byte != 0);
    let torn_bytes =
        if is_torn { tail.len() - tail.iter().rev().take_while(|byte| **byte == 0).count() } else { 0 };
    Ok((report, torn_bytes as u64))
}

/// Counts the transactions of a frame, and what they do.
fn count(payload: &[u8], seq: u64, inspection: &mut Inspection) -> u64 {
    let mut done = 0;
    for ops in transactions(payload) {
        let counted = ops.and_then(|ops| {
            for op in ops {
                let (table, bytes, puts, deletes) = match op? {
                    Op::Put { table, row } => (table, row.len(), 1, 0),
                    Op::Delete { table, key } => (table, key.len(), 0, 1),
                };
                let table = inspection.tables.entry(table).or_default();
                table.puts += puts;
                table.deletes += deletes;
                table.bytes += bytes as u64;
            }
            Ok(())
        });
        match counted {
            Ok(()) => done += 1,
            Err(error) => {
                inspection.faults.push(format!("frame {seq} is whole and holds no transactions: {error}"));
            }
        }
    }
    done
}
