//! What was sent to a session and may have to be sent again: its numbered messages, until its client acknowledged them.
//!
//! Messages are numbered by counting, on both sides; see `docs/protocol.md`. Does no I/O and knows no message but by its kind.

use vyuha_protocol::frame::{FRAME_HEAD_BYTES, Frame, SERVER_PAYLOAD_BYTES_MAX, first_frame};
use vyuha_protocol::message::is_numbered;

/// The numbered messages of one session. Holds at most the bytes that [`Mailbox::push`] is given as a bound.
#[derive(Debug, Default)]
pub struct Mailbox {
    /// Messages that were acknowledged.
    acknowledged: u32,
    /// Messages that are kept.
    kept: u32,
    /// The kept ones: whole frames, in order.
    frames: Vec<u8>,
    /// Something was dropped that was not acknowledged.
    torn: bool,
}

/// A client acknowledges what it was not sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client acknowledges {received} messages of {sent}")]
pub struct NotSent {
    /// Messages that the client says it received.
    pub received: u32,
    /// Messages that it was sent.
    pub sent: u32,
}

impl Mailbox {
    /// Keeps a frame that is being sent, if it is numbered. What would go over the bound empties the mailbox for good.
    pub fn push(&mut self, frame: &[u8], bytes_max: usize) {
        let kind = u16::from_le_bytes([frame[4], frame[5]]);
        if self.torn || !is_numbered(kind) {
            return;
        }
        if self.frames.len() + frame.len() > bytes_max {
            self.torn = true;
            self.frames = Vec::new();
            return;
        }
        self.frames.extend_from_slice(frame);
        self.kept += 1;
    }

    /// Whether everything is there that was not acknowledged: whether the session can be taken up again.
    pub fn is_whole(&self) -> bool {
        !self.torn
    }

    /// Lets go of what the client has received. What was acknowledged before may be acknowledged again.
    ///
    /// # Errors
    /// If as many were never sent; nothing is changed.
    pub fn acknowledge(&mut self, received: u32) -> Result<(), NotSent> {
        let Some(fresh) = received.checked_sub(self.acknowledged) else { return Ok(()) };
        if self.torn {
            return Ok(());
        }
        if fresh > self.kept {
            return Err(NotSent { received, sent: self.acknowledged + self.kept });
        }
        let bytes: usize = frames(&self.frames).take(fresh as usize).map(|frame| frame.bytes()).sum();
        self.frames.drain(..bytes);
        self.kept -= fresh;
        self.acknowledged = received;
        if self.frames.is_empty() {
            self.frames = Vec::new();
        }
        Ok(())
    }

    /// What a client lacks that received so many messages: whole frames, in order. `None` if that cannot be told any more or
    /// was never so.
    pub fn missing(&mut self, received: u32) -> Option<&[u8]> {
        // One that knows less than it acknowledged is not the client that did.
        if self.torn || received < self.acknowledged || self.acknowledge(received).is_err() {
            return None;
        }
        Some(&self.frames)
    }
}

fn frames(mut bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    std::iter::from_fn(move || {
        let frame = first_frame(bytes, SERVER_PAYLOAD_BYTES_MAX).ok().flatten()?;
        bytes = &bytes[frame.bytes()..];
        Some(frame)
    })
}

const _: () = assert!(FRAME_HEAD_BYTES >= 6, "a frame's head tells its kind");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vyuha_protocol::message::{Done, Pong, append};

    use super::*;

    const BYTES_MAX: usize = 600;

    fn done(request: u32) -> Vec<u8> {
        let mut frame = Vec::new();
        append(&mut frame, &Done { request });
        frame
    }

    #[test]
    fn a_mailbox_past_its_bound_is_empty_and_says_so() {
        let mut mailbox = Mailbox::default();
        for request in 0..(BYTES_MAX / done(0).len()) as u32 {
            mailbox.push(&done(request), BYTES_MAX);
        }
        assert!(mailbox.is_whole() && mailbox.frames.len() <= BYTES_MAX);
        mailbox.push(&done(0), BYTES_MAX);
        assert!(!mailbox.is_whole() && mailbox.frames.capacity() == 0);
        assert_eq!((mailbox.acknowledge(3), mailbox.missing(3)), (Ok(()), None));
        mailbox.push(&done(0), BYTES_MAX);
        assert!(!mailbox.is_whole() && mailbox.frames.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Connections break at any message; acknowledgements come when they do, and late; every message arrives once.
        #[test]
        fn whatever_breaks_every_numbered_message_arrives_once(acts in prop::collection::vec((0..6u8, any::<u8>()), 1..200)) {
            let mut mailbox = Mailbox::default();
            let (mut sent, mut arrived) = (0u32, Vec::new());
            // On the way to the client; what is lost with a connection.
            let mut way: Vec<u8> = Vec::new();
            for (act, much) in acts {
                match act {
                    0..=2 => {
                        let frame = done(sent);
                        sent += 1;
                        mailbox.push(&frame, usize::MAX);
                        way.extend(frame);
                    }
                    3 => {
                        // Not numbered, and so neither kept nor counted.
                        let mut frame = Vec::new();
                        append(&mut frame, &Pong { stamp: 1 });
                        mailbox.push(&frame, usize::MAX);
                    }
                    4 => {
                        let read: Vec<Vec<u8>> = frames(&way).take(usize::from(much) % 5)
                            .map(|frame| frame.payload.to_vec()).collect();
                        let bytes: usize = read.iter().map(|payload| FRAME_HEAD_BYTES + payload.len()).sum();
                        way.drain(..bytes);
                        arrived.extend(read);
                        if much > 128 {
                            prop_assert_eq!(mailbox.acknowledge(arrived.len() as u32), Ok(()));
                        }
                    }
                    _ => way = mailbox.missing(arrived.len() as u32).unwrap().to_vec(),
                }
                let beyond = mailbox.acknowledge(sent + 1);
                prop_assert_eq!(beyond, Err(NotSent { received: sent + 1, sent }));
            }
            arrived.extend(frames(&way).map(|frame| frame.payload.to_vec()));
            let wanted: Vec<Vec<u8>> = (0..sent).map(|n| done(n)[FRAME_HEAD_BYTES..].to_vec()).collect();
            prop_assert_eq!(arrived, wanted);
        }
    }
}
