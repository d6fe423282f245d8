//! Challenges that a device signs: made and recognised without a row, and good once all the same.
//!
//! A challenge is a nonce, a time and a code over both with a key that only the servers of this database have. Which were answered
//! is a row, in the same transaction as what the answer does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use vyuha_store::sql::SqlTransaction;

use super::handshake::DeviceId;
use super::keys::PublicKey;
use crate::problem::{Code, Problem};
use crate::secret::{hex, random};

/// How long a challenge is good.
pub const CHALLENGE_MS: i64 = 2 * 60_000;

const NONCE_BYTES: usize = 16;
const CODED_BYTES: usize = NONCE_BYTES + 8;
const CODE_BYTES: usize = 32;
const CHALLENGE_BYTES: usize = CODED_BYTES + CODE_BYTES;

/// A challenge that came back in time; to be used up before anything is done for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    bytes: [u8; CHALLENGE_BYTES],
}

/// Makes challenges and knows its own.
pub struct Challenges {
    key: hmac::Key,
}

impl Challenges {
    /// For a server whose key has this seed.
    pub fn new(seed: &[u8; 32]) -> Challenges {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, seed), b"vyuha device challenge 1");
        Challenges { key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()) }
    }

    /// A new one.
    pub fn issue(&self, now_ms: i64) -> Result<String, Problem> {
        let mut challenge = random::<NONCE_BYTES>()?.to_vec();
        challenge.extend((now_ms + CHALLENGE_MS).to_be_bytes());
        let code = hmac::sign(&self.key, &challenge);
        challenge.extend(code.as_ref());
        Ok(URL_SAFE_NO_PAD.encode(challenge))
    }

    /// The challenge of a text.
    ///
    /// # Errors
    /// [`Code::ChallengeInvalid`] where it is none of ours or too old.
    pub fn read(&self, text: &str, now_ms: i64) -> Result<Challenge, Problem> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        let challenge = Challenge { bytes: bytes.ok_or(Code::ChallengeInvalid)? };
        let (coded, code) = challenge.bytes.split_at(CODED_BYTES);
        if hmac::verify(&self.key, coded, code).is_err() || challenge.expires_ms() <= now_ms {
            return Err(Code::ChallengeInvalid.into());
        }
        Ok(challenge)
    }
}

impl Challenge {
    /// Uses it up.
    ///
    /// # Errors
    /// [`Code::ChallengeInvalid`] where it was used.
    pub fn use_up(&self, tx: &mut dyn SqlTransaction) -> Result<(), Problem> {
        let nonce = hex(&self.bytes[..NONCE_BYTES]);
        let first = tx.execute(
            "INSERT INTO device_challenge (nonce, expires_ms) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            &[nonce.into(), self.expires_ms().into()],
        )?;
        if first == 1 { Ok(()) } else { Err(Code::ChallengeInvalid.into()) }
    }

    /// What a device signs to be enrolled for an account.
    pub fn for_enrolment(&self, server: &PublicKey, account: i64, key: &PublicKey) -> Vec<u8> {
        [&server[..], &self.bytes, &account.to_be_bytes(), key].concat()
    }

    /// What a device signs to sign in.
    pub fn for_sign_in(&self, server: &PublicKey, device: &DeviceId) -> Vec<u8> {
        [&server[..], &self.bytes, device].concat()
    }

    fn expires_ms(&self) -> i64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.bytes[NONCE_BYTES..CODED_BYTES]);
        i64::from_be_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_tx;

    #[test]
    fn a_challenge_is_ours_and_good_for_its_time() {
        let ours = Challenges::new(&[1; 32]);
        let text = ours.issue(1000).unwrap();
        let invalid = Err(Code::ChallengeInvalid.into());
        assert!(ours.read(&text, 1000 + CHALLENGE_MS - 1).is_ok());
        assert_eq!(ours.read(&text, 1000 + CHALLENGE_MS), invalid);
        assert_eq!(Challenges::new(&[2; 32]).read(&text, 1000), invalid);
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            assert_eq!(ours.read(&URL_SAFE_NO_PAD.encode(forged), 1000), invalid, "byte {at}");
        }
        for wrong in ["", "AAAA", &text[1..], &format!("{text}A"), &text.replace(|c| c != '=', "é")] {
            assert_eq!(ours.read(wrong, 1000), invalid, "{wrong}");
        }
    }

    #[test]
    fn a_challenge_is_good_once() {
        let ours = Challenges::new(&[1; 32]);
        with_tx(|tx| {
            let (one, other) = (ours.read(&ours.issue(0)?, 1)?, ours.read(&ours.issue(0)?, 1)?);
            one.use_up(tx)?;
            assert_eq!(one.use_up(tx), Err(Code::ChallengeInvalid.into()));
            other.use_up(tx)?;
            super::super::tidy(tx, CHALLENGE_MS)?;
            assert!(tx.query("SELECT nonce FROM device_challenge", &[])?.is_empty());
            Ok(())
        });
    }
}
