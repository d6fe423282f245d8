//! Ed25519 keys (RFC 8032): those of devices, and the one by which devices know the server.
//!
//! Every signature is over a context, which says what it is for, and a message: one that was made for one thing is no good for
//! another.

use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};

/// A public key.
pub type PublicKey = [u8; 32];

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// What a signature is for: the first bytes of what is signed, of which none begins another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// A device shows that it has the key that is to be enrolled.
    Enrolment,
    /// A device signs in over HTTP.
    SignIn,
    /// The server's part of a handshake.
    LinkServer,
    /// The device's part of a handshake.
    LinkClient,
}

impl Context {
    /// Every context.
    pub const ALL: [Context; 4] =
        [Context::Enrolment, Context::SignIn, Context::LinkServer, Context::LinkClient];

    /// Its bytes.
    pub const fn bytes(self) -> &'static [u8] {
        match self {
            Context::Enrolment => b"vyuha device enrolment 1\0",
            Context::SignIn => b"vyuha device sign-in 1\0",
            Context::LinkServer => b"vyuha device link 1 server\0",
            Context::LinkClient => b"vyuha device link 1 client\0",
        }
    }

    fn with(self, message: &[u8]) -> Vec<u8> {
        [self.bytes(), message].concat()
    }
}

/// A private key with its public one.
pub struct KeyPair(SigningKey);

/// A private key is not to be logged.
impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPair")
    }
}

impl KeyPair {
    /// The key of 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> KeyPair {
        KeyPair(SigningKey::from_bytes(seed))
    }

    /// Its public key.
    pub fn public(&self) -> PublicKey {
        self.0.verifying_key().to_bytes()
    }

    /// Signs a message for a purpose.
    pub fn sign(&self, context: Context, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(&context.with(message)).to_bytes()
    }
}

/// Whether a signature is this key's, over this message and for this purpose.
pub fn verify(key: &PublicKey, context: Context, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
    let signature = Signature::from_bytes(signature);
    VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify(&context.with(message), &signature).is_ok())
}

/// Whether a key can be anybody's own: a point of the curve, and none of the few with which everybody can sign everything.
pub fn is_usable(key: &PublicKey) -> bool {
    VerifyingKey::from_bytes(key).is_ok_and(|key| !key.is_weak())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_good_for_its_key_its_purpose_and_its_message() {
        let (one, other) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
        let signature = one.sign(Context::SignIn, b"abc");
        assert!(verify(&one.public(), Context::SignIn, b"abc", &signature));
        assert!(!verify(&other.public(), Context::SignIn, b"abc", &signature));
        assert!(!verify(&one.public(), Context::SignIn, b"abd", &signature));
        for context in Context::ALL.into_iter().filter(|context| *context != Context::SignIn) {
            assert!(!verify(&one.public(), context, b"abc", &signature), "{context:?}");
        }
        for bit in 0..SIGNATURE_BYTES * 8 {
            let mut forged = signature;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&one.public(), Context::SignIn, b"abc", &forged), "bit {bit}");
        }
        assert_eq!(format!("{one:?}"), "KeyPair");
    }

    #[test]
    fn no_context_begins_another() {
        for one in Context::ALL {
            for other in Context::ALL.into_iter().filter(|other| *other != one) {
                assert!(!other.bytes().starts_with(one.bytes()), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_key_of_everybodys_is_nobodys() {
        let check = |key: &PublicKey, usable: bool| assert_eq!(is_usable(key), usable, "{key:02x?}");
        check(&KeyPair::from_seed(&[1; 32]).public(), true);
        // The neutral element, the points of order 2 and 4, one of order 8, and no point at all.
        let mut key = [0; 32];
        check(&key, false);
        key[0] = 1;
        check(&key, false);
        key[0] = 2;
        check(&key, false);
        key = [0xff; 32];
        (key[0], key[31]) = (0xec, 0x7f);
        check(&key, false);
        check(
            &[
                0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
                0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
                0xfc, 0x05,
            ],
            false,
        );
    }
}
