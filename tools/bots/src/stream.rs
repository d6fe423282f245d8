//! Reading what a playing client is sent without keeping it: of a snapshot only its head, of anything else all.

use vyuha_protocol::frame::{FRAME_HEAD_BYTES, FrameError, SERVER_PAYLOAD_BYTES_MAX, first_frame};
use vyuha_protocol::snapshot::{SNAPSHOT_KIND, SnapshotHead};

const SNAPSHOT_HEAD_BYTES: usize = size_of::<SnapshotHead>();
/// Longest payload of what is no snapshot: far more than any answer or text.
const MESSAGE_BYTES_MAX: u32 = 1 << 16;

/// Where a stream of frames was left. Holds at most one frame that is no snapshot, or a snapshot's head.
#[derive(Debug, Default)]
pub struct Stream {
    /// The beginning of a frame.
    carry: Vec<u8>,
    /// Bytes of a snapshot that are still to come, and to be passed over.
    skip: usize,
}

/// A piece of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A snapshot has begun to arrive.
    Snapshot(&'a [u8; SNAPSHOT_HEAD_BYTES]),
    /// Another frame.
    Message {
        /// What the payload is.
        kind: u16,
        /// Its bytes.
        payload: &'a [u8],
    },
}

impl Stream {
    /// Hands out the pieces that are whole with these bytes. An error of the stream is final.
    pub fn read<E: From<FrameError>>(
        &mut self,
        mut bytes: &[u8],
        mut sink: impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return Ok(());
            }
            if self.carry.is_empty() {
                let Some(taken) = first_piece(bytes, &mut sink)? else {
                    self.carry.extend_from_slice(bytes);
                    return Ok(());
                };
                let now = taken.min(bytes.len());
                self.skip = taken - now;
                bytes = &bytes[now..];
            } else {
                let before = self.carry.len();
                self.carry.extend_from_slice(bytes);
                let Some(taken) = first_piece(&self.carry, &mut sink)? else { return Ok(()) };
                // A piece is never whole before these bytes: what was carried was not.
                let now = (taken - before).min(bytes.len());
                self.skip = taken - before - now;
                bytes = &bytes[now..];
                self.carry.clear();
            }
        }
    }
}

/// Hands out the first piece. Returns how many bytes its frame takes, of which a snapshot's need not all be there;
/// `None` if it is not whole.
fn first_piece<E: From<FrameError>>(
    bytes: &[u8],
    sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
) -> Result<Option<usize>, E> {
    let Some(head) = bytes.first_chunk::<FRAME_HEAD_BYTES>() else { return Ok(None) };
    let kind = u16::from_le_bytes([head[4], head[5]]);
    if kind != SNAPSHOT_KIND {
        let Some(frame) = first_frame(bytes, MESSAGE_BYTES_MAX)? else { return Ok(None) };
        sink(Piece::Message { kind, payload: frame.payload })?;
        return Ok(Some(frame.bytes()));
    }
    // Refuses a head that is not sound, and is content with a payload that is not all there.
    first_frame(bytes, SERVER_PAYLOAD_BYTES_MAX)?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    if (length as usize) < SNAPSHOT_HEAD_BYTES {
        return Err(FrameError::TooLarge { length: SNAPSHOT_HEAD_BYTES as u32, bound: length }.into());
    }
    let Some(snapshot) = bytes[FRAME_HEAD_BYTES..].first_chunk() else { return Ok(None) };
    sink(Piece::Snapshot(snapshot))?;
    Ok(Some(FRAME_HEAD_BYTES + length as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vyuha_protocol::frame::append_frame;

    proptest! {
        #[test]
        fn pieces_come_back_whatever_the_stream_is_cut_into(
            frames in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..90)), 0..10),
            cuts in proptest::collection::vec(1_usize..60, 1..40),
        ) {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for (is_snapshot, payload) in &frames {
                let is_snapshot = *is_snapshot && payload.len() >= SNAPSHOT_HEAD_BYTES;
                let kind = if is_snapshot { SNAPSHOT_KIND } else { 7 };
                append_frame(&mut bytes, kind, |out| out.extend_from_slice(payload));
                let kept = if is_snapshot { SNAPSHOT_HEAD_BYTES } else { payload.len() };
                expected.push((kind, payload[..kept].to_vec()));
            }
            let (mut stream, mut found, mut rest) = (Stream::default(), Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                rest = later;
                stream.read(now, |piece| {
                    found.push(match piece {
                        Piece::Snapshot(head) => (SNAPSHOT_KIND, head.to_vec()),
                        Piece::Message { kind, payload } => (kind, payload.to_vec()),
                    });
                    Ok::<(), FrameError>(())
                }).unwrap();
            }
            prop_assert_eq!(found, expected);
            prop_assert!(stream.carry.is_empty() && stream.skip == 0);
        }

        #[test]
        fn any_bytes_are_read_without_panic(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6)) {
            let mut stream = Stream::default();
            for piece in pieces {
                if stream.read(&piece, |_| Ok::<(), FrameError>(())).is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn what_is_no_stream_of_frames_is_refused() {
        let read = |bytes: &[u8]| Stream::default().read(bytes, |_| Ok::<(), FrameError>(()));
        assert!(read(&[1, 0, 2, 0, 7, 0, 0, 0]).is_err(), "an answer of 128 KiB");
        assert!(read(&[0, 0, 0, 0, 7, 0, 1, 0]).is_err(), "a reserved byte");
        assert!(read(&[23, 0, 0, 0, 0, 0x81, 0, 0]).is_err(), "a snapshot without a whole head");
        assert!(read(&[24, 0, 0, 0, 0, 0x81, 0, 0]).is_ok());
    }
}
