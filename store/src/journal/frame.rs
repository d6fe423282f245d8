//! One frame: what was gathered between two syncs.
//!
//! ```text
//! length u32 | crc32 u32 | sequence u64 | payload | zeros up to a multiple of 8
//! ```
//! Little-endian. The CRC covers the segment's number, the sequence, the length and the payload, so
//! that a frame left over in a recycled file never passes for one of the file's new segment. A
//! header of zeros ends a segment.

/// Bytes of a frame before its payload.
pub const FRAME_HEADER_BYTES: usize = 16;
const ALIGN_BYTES: usize = 8;

/// A frame's header, not yet believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub payload_bytes: u32,
    pub crc: u32,
    pub seq: u64,
}

impl FrameHeader {
    pub fn parse(bytes: &[u8; FRAME_HEADER_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, seq @ ..] = *bytes;
        Self {
            payload_bytes: u32::from_le_bytes([a, b, c, d]),
            crc: u32::from_le_bytes([e, f, g, h]),
            seq: u64::from_le_bytes(seq),
        }
    }

    /// Whether `payload` is what the header was written for, in the segment of this number.
    pub fn matches(&self, segment: u64, payload: &[u8]) -> bool {
        self.crc == crc(segment, self.seq, payload)
    }
}

/// Bytes that a frame takes in its segment.
pub(super) const fn frame_bytes(payload_bytes: usize) -> usize {
    (FRAME_HEADER_BYTES + payload_bytes).next_multiple_of(ALIGN_BYTES)
}

/// Completes a frame whose payload was appended behind [`FRAME_HEADER_BYTES`] bytes of room.
pub(super) fn seal(frame: &mut Vec<u8>, segment: u64, seq: u64) {
    let payload = &frame[FRAME_HEADER_BYTES..];
    let crc = crc(segment, seq, payload);
    let payload_bytes = payload.len() as u32;
    frame[..4].copy_from_slice(&payload_bytes.to_le_bytes());
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    frame[8..16].copy_from_slice(&seq.to_le_bytes());
    frame.resize(frame_bytes(payload_bytes as usize), 0);
}

/// The frame at the start of `bytes`, if a whole and good one is there.
pub(super) fn parse(bytes: &[u8], segment: u64) -> Option<(FrameHeader, &[u8])> {
    let (header, rest) = bytes.split_first_chunk()?;
    let header = FrameHeader::parse(header);
    let payload = rest.get(..header.payload_bytes as usize)?;
    (header.payload_bytes > 0 && header.matches(segment, payload)).then_some((header, payload))
}

fn crc(segment: u64, seq: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.to_le_bytes());
    hasher.update(&seq.to_le_bytes());
    hasher.update(&(payload.len() as u32).to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}
