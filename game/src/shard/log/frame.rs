//! What a log's bytes are cut into.
//!
//! ```text
//! preamble:  "VYUHALOG" | version u32
//! frame:     length u32 | CRC-32 of the payload u32 | CRC-32 of these 8 bytes u32 | payload ...     little-endian
//! ```
//!
//! The length has a checksum of its own, so that a changed length is never taken for the end of a log that was torn.

use super::{LOG_VERSION, LogError};

/// Bytes before the first frame.
pub const PREAMBLE_BYTES: usize = 12;
/// Bytes before each payload.
pub const FRAME_HEAD_BYTES: usize = 12;

const MAGIC: &[u8; 8] = b"VYUHALOG";

/// What a log begins with.
pub fn preamble() -> [u8; PREAMBLE_BYTES] {
    let mut preamble = [0; PREAMBLE_BYTES];
    preamble[..8].copy_from_slice(MAGIC);
    preamble[8..].copy_from_slice(&LOG_VERSION.to_le_bytes());
    preamble
}

/// Whether this is the preamble of a log that this build reads.
pub fn check_preamble(preamble: &[u8; PREAMBLE_BYTES]) -> Result<(), LogError> {
    let [magic @ .., a, b, c, d] = preamble;
    if magic != MAGIC {
        return Err(LogError::NoLog);
    }
    let found = u32::from_le_bytes([*a, *b, *c, *d]);
    if found == LOG_VERSION { Ok(()) } else { Err(LogError::Version { found }) }
}

/// Appends a frame.
///
/// # Panics
/// If the payload takes 4 GiB or more.
pub fn append_frame(out: &mut Vec<u8>, payload: &[u8]) {
    let start = out.len();
    let length = u32::try_from(payload.len()).expect("a payload is shorter than 4 GiB");
    out.extend(length.to_le_bytes());
    out.extend(crc32fast::hash(payload).to_le_bytes());
    let check = crc32fast::hash(&out[start..]);
    out.extend(check.to_le_bytes());
    out.extend(payload);
}

/// The payload of the first frame of a buffer, or `None` while the frame is incomplete. The next one begins
/// [`FRAME_HEAD_BYTES`] and the payload later.
///
/// # Errors
/// [`LogError::Checksum`]: where the next frame begins is not known any more.
pub fn first_frame(buffer: &[u8]) -> Result<Option<&[u8]>, LogError> {
    let Some((head, rest)) = buffer.split_first_chunk::<FRAME_HEAD_BYTES>() else { return Ok(None) };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if crc32fast::hash(&head[..8]) != word(8) {
        return Err(LogError::Checksum);
    }
    let Some(payload) = rest.get(..word(0) as usize) else { return Ok(None) };
    if crc32fast::hash(payload) == word(4) { Ok(Some(payload)) } else { Err(LogError::Checksum) }
}
