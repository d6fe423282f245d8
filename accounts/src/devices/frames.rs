//! What goes over a link after its handshake: each message sealed by AES-256-GCM with the key of its direction, and a counter as
//! the nonce. So a message that was changed, left out, repeated, put elsewhere or sent back is none, whoever stands between.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// The first byte of a sealed message.
pub const FRAME: u8 = 5;
/// Bytes that sealing adds.
pub const OVERHEAD_BYTES: usize = 1 + 16;
/// Messages that are sealed with one key; then the link is opened anew.
const MESSAGES_MAX: u64 = 1 << 32;

/// A message that cannot be sealed or opened: the link is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("that is not the next message of the other side")]
pub struct FrameError;

/// Both directions of one side.
pub struct Frames {
    /// What this side sends.
    pub sealer: Sealer,
    /// What this side receives.
    pub opener: Opener,
}

/// The keys are not to be logged.
impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Frames")
    }
}

/// Seals messages.
pub struct Sealer(Direction);

/// Opens messages.
pub struct Opener(Direction);

struct Direction {
    key: LessSafeKey,
    count: u64,
}

impl Direction {
    fn new(key: &[u8; 32]) -> Direction {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("the key has the length of the algorithm's");
        Direction { key: LessSafeKey::new(key), count: 0 }
    }

    /// The nonce of the next message; none is given twice.
    fn next(&mut self) -> Result<Nonce, FrameError> {
        if self.count >= MESSAGES_MAX {
            return Err(FrameError);
        }
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.count.to_be_bytes());
        self.count += 1;
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

impl Sealer {
    pub(super) fn new(key: &[u8; 32]) -> Sealer {
        Sealer(Direction::new(key))
    }

    /// Seals the next message.
    ///
    /// # Errors
    /// After 2³² messages.
    pub fn seal(&mut self, message: &[u8]) -> Result<Vec<u8>, FrameError> {
        let nonce = self.0.next()?;
        let mut sealed = Vec::with_capacity(message.len() + OVERHEAD_BYTES);
        sealed.push(FRAME);
        sealed.extend_from_slice(message);
        let tag = self
            .0
            .key
            .seal_in_place_separate_tag(nonce, Aad::from([FRAME]), &mut sealed[1..])
            .map_err(|_| FrameError)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }
}

impl Opener {
    pub(super) fn new(key: &[u8; 32]) -> Opener {
        Opener(Direction::new(key))
    }

    /// Opens the next message.
    ///
    /// # Errors
    /// Where it is not that.
    pub fn open(&mut self, sealed: &[u8]) -> Result<Vec<u8>, FrameError> {
        let (&FRAME, message) = sealed.split_first().ok_or(FrameError)? else { return Err(FrameError) };
        let nonce = self.0.next()?;
        let mut message = message.to_vec();
        let opened = self.0.key.open_in_place(nonce, Aad::from([FRAME]), &mut message);
        let bytes = opened.map_err(|_| FrameError)?.len();
        message.truncate(bytes);
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Sealer, Opener) {
        (Sealer::new(&[7; 32]), Opener::new(&[7; 32]))
    }

    #[test]
    fn messages_come_out_in_their_order_as_they_went_in() {
        let (mut sealer, mut opener) = pair();
        for message in [&b""[..], b"a", b"a", &[0; 5000]] {
            let sealed = sealer.seal(message).unwrap();
            assert_eq!(sealed.len(), message.len() + OVERHEAD_BYTES);
            assert_eq!(opener.open(&sealed).unwrap(), message);
        }
    }

    #[test]
    fn what_is_not_the_next_message_is_none() {
        let sealed = || {
            let (mut sealer, opener) = pair();
            ((0..3).map(|n| sealer.seal(&[n; 4]).unwrap()).collect::<Vec<_>>(), opener)
        };
        let (messages, mut opener) = sealed();
        assert_eq!(opener.open(&messages[1]), Err(FrameError), "left out");
        let (messages, mut opener) = sealed();
        opener.open(&messages[0]).unwrap();
        assert_eq!(opener.open(&messages[0]), Err(FrameError), "repeated");
        for at in 0..messages[0].len() {
            let (mut messages, mut opener) = sealed();
            messages[0][at] ^= 1;
            assert_eq!(opener.open(&messages[0]), Err(FrameError), "byte {at} changed");
            messages[1].truncate(at);
            assert_eq!(opener.open(&messages[1]), Err(FrameError), "cut to {at}");
        }
        let (messages, _) = sealed();
        assert_eq!(Opener::new(&[8; 32]).open(&messages[0]), Err(FrameError), "of another key");
    }

    #[test]
    fn a_key_is_used_up() {
        let mut sealer = Sealer::new(&[7; 32]);
        sealer.0.count = MESSAGES_MAX - 1;
        sealer.seal(b"").unwrap();
        assert_eq!(sealer.seal(b""), Err(FrameError));
    }
}
