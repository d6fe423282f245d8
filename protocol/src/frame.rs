//! Framing: an 8-byte head before each payload.
//!
//! ```text
//! 0      4      6      8                 8 + length
//! | length u32 | kind u16 | zero u16 | payload ... |     little-endian
//! ```

use thiserror::Error;

/// Bytes of a frame's head.
pub const FRAME_HEAD_BYTES: usize = 8;
/// Longest payload that a server accepts from a client. Room for the longest chat text and password.
pub const CLIENT_PAYLOAD_BYTES_MAX: u32 = 1024;
/// Longest payload that a client accepts from a server: a whole crowded neighbourhood.
pub const SERVER_PAYLOAD_BYTES_MAX: u32 = 4 << 20;

/// One frame within a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the payload is.
    pub kind: u16,
    /// The message's bytes.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Bytes of the frame, its head included.
    pub fn bytes(&self) -> usize {
        FRAME_HEAD_BYTES + self.payload.len()
    }
}

/// Why a stream of frames cannot be read on. The connection must be closed: where the next frame begins is not
/// known any more.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum FrameError {
    /// The length is over the reader's bound.
    #[error("a frame of {length} bytes is over the bound of {bound}")]
    TooLarge {
        /// The length that the head gives, in bytes.
        length: u32,
        /// The reader's bound, in bytes.
        bound: u32,
    },
    /// The head's last two bytes are not zero.
    #[error("the frame's reserved bytes are not zero")]
    Reserved,
}

/// The first frame of a buffer, or `None` while it is incomplete. `payload_bytes_max` is the reader's bound; a
/// longer frame is refused as soon as its head is there.
#[inline]
pub fn first_frame(buffer: &[u8], payload_bytes_max: u32) -> Result<Option<Frame<'_>>, FrameError> {
    let Some((head, rest)) = buffer.split_first_chunk::<FRAME_HEAD_BYTES>() else { return Ok(None) };
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let kind = u16::from_le_bytes([head[4], head[5]]);
    if head[6] != 0 || head[7] != 0 {
        return Err(FrameError::Reserved);
    }
    if length > payload_bytes_max {
        return Err(FrameError::TooLarge { length, bound: payload_bytes_max });
    }
    Ok(rest.get(..length as usize).map(|payload| Frame { kind, payload }))
}

/// Appends a frame whose payload `write` appends.
#[inline]
pub fn append_frame(out: &mut Vec<u8>, kind: u16, write: impl FnOnce(&mut Vec<u8>)) {
    let head = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
    write(out);
    let length = (out.len() - head - FRAME_HEAD_BYTES) as u32;
    out[head..head + 4].copy_from_slice(&length.to_le_bytes());
    out[head + 4..head + 6].copy_from_slice(&kind.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bad_heads_are_refused_before_their_payload_is_there() {
        assert_eq!(first_frame(&[0; 7], 10), Ok(None));
        assert_eq!(
            first_frame(&[11, 0, 0, 0, 1, 0, 0, 0], 10),
            Err(FrameError::TooLarge { length: 11, bound: 10 })
        );
        assert_eq!(first_frame(&[0, 0, 0, 0, 1, 0, 0, 1], 10), Err(FrameError::Reserved));
    }

    proptest! {
        #[test]
        fn frames_come_back_whatever_the_stream_is_cut_into(
            frames in proptest::collection::vec((any::<u16>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
            cut in 1usize..20,
        ) {
            let mut stream = Vec::new();
            for (kind, payload) in &frames {
                append_frame(&mut stream, *kind, |out| out.extend_from_slice(payload));
            }
            let (mut buffer, mut got) = (Vec::new(), Vec::new());
            for piece in stream.chunks(cut) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = first_frame(&buffer, 1024).unwrap() {
                    got.push((frame.kind, frame.payload.to_vec()));
                    let bytes = frame.bytes();
                    buffer.drain(..bytes);
                }
            }
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(got, frames);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = first_frame(&bytes, CLIENT_PAYLOAD_BYTES_MAX);
        }
    }
}
