//! How a device and the server come to know each other over a link: four messages, then keys that only the two have.
//!
//! `docs/devices.md` has the protocol byte by byte. This is the server's side and the device's, as state machines that read no
//! clock, make no randomness and do no I/O: the time and random bytes are passed in, messages come in and go out.
//!
//! What holds: no keys come out unless the device signed this very exchange, fresh randomness of the server's included, and
//! knows the secret that was agreed on; so nothing that was recorded is of use. A machine that refused something takes nothing
//! more.

use curve25519_dalek::MontgomeryPoint;
use curve25519_dalek::traits::Identity as _;
use ring::{hkdf, hmac};
use sha2::{Digest as _, Sha256};

use super::frames::{Frames, Opener, Sealer};
use super::keys::{Context, KeyPair, PublicKey, SIGNATURE_BYTES, verify};

/// The version of the protocol.
pub const VERSION: u8 = 1;
/// How long a device has from the opened connection to its last message, in milliseconds.
pub const HANDSHAKE_MS_MAX: i64 = 10_000;

/// The first byte of each message.
mod kind {
    pub(super) const CLIENT_HELLO: u8 = 1;
    pub(super) const SERVER_HELLO: u8 = 2;
    pub(super) const CLIENT_AUTH: u8 = 3;
    pub(super) const SERVER_FINISH: u8 = 4;
}

/// Bytes of each message.
pub const CLIENT_HELLO_BYTES: usize = 2 + 16 + 32 + 32;
/// Bytes of the server's first message.
pub const SERVER_HELLO_BYTES: usize = SERVER_HELLO_SIGNED_BYTES + SIGNATURE_BYTES;
/// Bytes of the device's second message.
pub const CLIENT_AUTH_BYTES: usize = CLIENT_AUTH_CONFIRMED_BYTES + MAC_BYTES;
/// Bytes of the server's second message.
pub const SERVER_FINISH_BYTES: usize = 1 + MAC_BYTES;
/// Of these, those before the signature.
const SERVER_HELLO_SIGNED_BYTES: usize = 2 + 32 + 32;
/// Of these, those before the code.
const CLIENT_AUTH_CONFIRMED_BYTES: usize = 1 + SIGNATURE_BYTES;
const MAC_BYTES: usize = 32;

/// A key to verify with where there is none; what comes out does not count.
const BASE_POINT: PublicKey = {
    let mut point = [0x66; 32];
    point[0] = 0x58;
    point
};

const PROTOCOL: &[u8] = b"vyuha device link 1\0";

/// The name of a device: 16 random bytes, which the server gave.
pub type DeviceId = [u8; 16];

/// Random bytes for one handshake, for one side. Never to be used again.
#[derive(Clone)]
pub struct Fresh {
    /// The nonce.
    pub nonce: [u8; 32],
    /// The private key of X25519.
    pub ephemeral: [u8; 32],
}

/// Why a handshake is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HandshakeError {
    /// It is no message, or one of another length.
    #[error("that is no message of the handshake")]
    Malformed,
    /// The version is unknown.
    #[error("this version of the handshake is unknown here")]
    VersionUnknown,
    /// The message is not the one whose turn it is.
    #[error("another message of the handshake was due")]
    OutOfOrder,
    /// It took too long.
    #[error("the handshake took too long")]
    Timeout,
    /// The public key of X25519 agrees on the same secret with everybody.
    #[error("the X25519 public key is of low order")]
    PointRefused,
    /// The other side is not who it says.
    #[error("the other side did not show to be who it says")]
    Refused,
}

impl HandshakeError {
    /// Every reason.
    pub const ALL: [HandshakeError; 6] = [
        HandshakeError::Malformed,
        HandshakeError::VersionUnknown,
        HandshakeError::OutOfOrder,
        HandshakeError::Timeout,
        HandshakeError::PointRefused,
        HandshakeError::Refused,
    ];

    /// Its stable code, with which the link is closed.
    pub const fn as_str(self) -> &'static str {
        match self {
            HandshakeError::Malformed => "handshake_malformed",
            HandshakeError::VersionUnknown => "handshake_version_unknown",
            HandshakeError::OutOfOrder => "handshake_out_of_order",
            HandshakeError::Timeout => "handshake_timeout",
            HandshakeError::PointRefused => "handshake_point_refused",
            HandshakeError::Refused => "device_refused",
        }
    }
}

/// What the server does next.
#[derive(Debug)]
pub enum Step {
    /// Send this.
    Send(Vec<u8>),
    /// Look up this device's public key, and [`Handshake::judge`].
    LookUp(DeviceId),
}

/// The server's side of one handshake.
pub struct Handshake {
    began_ms: i64,
    state: State,
}

enum State {
    Listening,
    Greeted(Box<Greeted>),
    Claimed(Box<Claimed>),
    Over,
}

struct Greeted {
    device: DeviceId,
    /// Over both hellos.
    transcript: Sha256,
    secrets: Secrets,
}

struct Claimed {
    /// What the device signed.
    signed: [u8; 32],
    signature: [u8; SIGNATURE_BYTES],
    /// Over all but the last message.
    transcript: Sha256,
    secrets: Secrets,
}

impl Handshake {
    /// A handshake on a connection that was opened just now. The time is in milliseconds, of any clock that does not go back.
    pub fn new(now_ms: i64) -> Handshake {
        Handshake { began_ms: now_ms, state: State::Listening }
    }

    /// Takes a message of the device.
    ///
    /// # Errors
    /// Then it is over.
    pub fn receive(
        &mut self,
        message: &[u8],
        server: &KeyPair,
        fresh: &Fresh,
        now_ms: i64,
    ) -> Result<Step, HandshakeError> {
        let state = std::mem::replace(&mut self.state, State::Over);
        if now_ms - self.began_ms > HANDSHAKE_MS_MAX {
            return Err(HandshakeError::Timeout);
        }
        let due = match &state {
            State::Listening => kind::CLIENT_HELLO,
            State::Greeted(_) => kind::CLIENT_AUTH,
            State::Claimed(_) | State::Over => return Err(HandshakeError::OutOfOrder),
        };
        check_kind(message, due)?;
        if let State::Greeted(greeted) = state {
            let device = greeted.device;
            self.state = State::Claimed(Box::new(claim(*greeted, message)?));
            Ok(Step::LookUp(device))
        } else {
            let (greeted, reply) = greet(message, server, fresh)?;
            self.state = State::Greeted(Box::new(greeted));
            Ok(Step::Send(reply))
        }
    }

    /// Judges the claim to be a device that has this public key; `None` where there is no such device, which is refused after the
    /// same work. The message to send, and the keys of what follows it.
    ///
    /// # Errors
    /// Then it is over; [`HandshakeError::OutOfOrder`] where nothing was claimed.
    pub fn judge(&mut self, key: Option<&PublicKey>) -> Result<(Vec<u8>, Frames), HandshakeError> {
        let State::Claimed(claimed) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(HandshakeError::OutOfOrder);
        };
        let stand_in = key.unwrap_or(&BASE_POINT);
        let verified = verify(stand_in, Context::LinkClient, &claimed.signed, &claimed.signature);
        if key.is_none() || !verified {
            return Err(HandshakeError::Refused);
        }
        let code = hmac::sign(&claimed.secrets.server_finished, &claimed.transcript.finalize());
        let finish = [&[kind::SERVER_FINISH], code.as_ref()].concat();
        let Secrets { client_frames, server_frames, .. } = claimed.secrets;
        Ok((finish, Frames { sealer: Sealer::new(&server_frames), opener: Opener::new(&client_frames) }))
    }
}

fn greet(message: &[u8], server: &KeyPair, fresh: &Fresh) -> Result<(Greeted, Vec<u8>), HandshakeError> {
    let hello: &[u8; CLIENT_HELLO_BYTES] = message.try_into().map_err(|_| HandshakeError::Malformed)?;
    if hello[1] != VERSION {
        return Err(HandshakeError::VersionUnknown);
    }
    let (device, theirs) = (part(hello, 2), part(hello, 50));
    let shared = agree(&fresh.ephemeral, theirs)?;
    let mut reply = vec![kind::SERVER_HELLO, VERSION];
    reply.extend(fresh.nonce);
    reply.extend(MontgomeryPoint::mul_base_clamped(fresh.ephemeral).0);
    let mut transcript = begun(&server.public());
    transcript.update(hello);
    let signed = transcript.clone().chain_update(&reply).finalize();
    reply.extend(server.sign(Context::LinkServer, &signed));
    transcript.update(&reply);
    let secrets = Secrets::derive(&shared, &transcript);
    Ok((Greeted { device, transcript, secrets }, reply))
}

fn claim(greeted: Greeted, message: &[u8]) -> Result<Claimed, HandshakeError> {
    let Greeted { transcript, secrets, .. } = greeted;
    let message: &[u8; CLIENT_AUTH_BYTES] = message.try_into().map_err(|_| HandshakeError::Malformed)?;
    let (confirmed, code) = message.split_at(CLIENT_AUTH_CONFIRMED_BYTES);
    let so_far = transcript.clone().chain_update(confirmed).finalize();
    hmac::verify(&secrets.client_finished, &so_far, code).map_err(|_| HandshakeError::Refused)?;
    let signed = transcript.clone().finalize().into();
    let transcript = transcript.chain_update(message);
    Ok(Claimed { signed, signature: part(message, 1), transcript, secrets })
}

/// The device's side, after its first message.
pub struct ClientHandshake {
    key: KeyPair,
    server: PublicKey,
    ephemeral: [u8; 32],
    hello: Vec<u8>,
}

/// The device's side, after its second message.
pub struct ClientFinish {
    transcript: Sha256,
    secrets: Secrets,
}

impl ClientHandshake {
    /// Begins one, as this device and with the server of this key; the message to send.
    pub fn begin(
        device: DeviceId,
        key: KeyPair,
        server: PublicKey,
        fresh: &Fresh,
    ) -> (ClientHandshake, Vec<u8>) {
        let mut hello = vec![kind::CLIENT_HELLO, VERSION];
        hello.extend(device);
        hello.extend(fresh.nonce);
        hello.extend(MontgomeryPoint::mul_base_clamped(fresh.ephemeral).0);
        (ClientHandshake { key, server, ephemeral: fresh.ephemeral, hello: hello.clone() }, hello)
    }

    /// Takes the server's first message; the message to send.
    ///
    /// # Errors
    /// [`HandshakeError::Refused`] where it is another server.
    pub fn answer(self, message: &[u8]) -> Result<(ClientFinish, Vec<u8>), HandshakeError> {
        check_kind(message, kind::SERVER_HELLO)?;
        let message: &[u8; SERVER_HELLO_BYTES] = message.try_into().map_err(|_| HandshakeError::Malformed)?;
        if message[1] != VERSION {
            return Err(HandshakeError::VersionUnknown);
        }
        let mut transcript = begun(&self.server);
        transcript.update(&self.hello);
        let (signed, _) = message.split_at(SERVER_HELLO_SIGNED_BYTES);
        let signed = transcript.clone().chain_update(signed).finalize();
        if !verify(&self.server, Context::LinkServer, &signed, &part(message, SERVER_HELLO_SIGNED_BYTES)) {
            return Err(HandshakeError::Refused);
        }
        let shared = agree(&self.ephemeral, part(message, 34))?;
        transcript.update(message);
        let secrets = Secrets::derive(&shared, &transcript);
        let mut auth = vec![kind::CLIENT_AUTH];
        auth.extend(self.key.sign(Context::LinkClient, &transcript.clone().finalize()));
        let so_far = transcript.clone().chain_update(&auth).finalize();
        auth.extend(hmac::sign(&secrets.client_finished, &so_far).as_ref());
        transcript.update(&auth);
        Ok((ClientFinish { transcript, secrets }, auth))
    }
}

impl ClientFinish {
    /// Takes the server's second message; the keys of what follows it.
    ///
    /// # Errors
    /// [`HandshakeError::Refused`] where it does not know the secret.
    pub fn finish(self, message: &[u8]) -> Result<Frames, HandshakeError> {
        check_kind(message, kind::SERVER_FINISH)?;
        let message: &[u8; SERVER_FINISH_BYTES] =
            message.try_into().map_err(|_| HandshakeError::Malformed)?;
        let so_far = self.transcript.finalize();
        hmac::verify(&self.secrets.server_finished, &so_far, &message[1..])
            .map_err(|_| HandshakeError::Refused)?;
        let Secrets { client_frames, server_frames, .. } = self.secrets;
        Ok(Frames { sealer: Sealer::new(&client_frames), opener: Opener::new(&server_frames) })
    }
}

/// What both sides, and nobody else, derive from what they agreed on and said.
struct Secrets {
    client_finished: hmac::Key,
    server_finished: hmac::Key,
    client_frames: [u8; 32],
    server_frames: [u8; 32],
}

impl Secrets {
    fn derive(shared: &MontgomeryPoint, transcript: &Sha256) -> Secrets {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &transcript.clone().finalize());
        let root = salt.extract(shared.as_bytes());
        let key = |label: &[u8]| {
            let mut key = [0; 32];
            let info = [label];
            let expanded = root.expand(&info, hkdf::HKDF_SHA256);
            expanded.and_then(|bytes| bytes.fill(&mut key)).expect("one block of the hash is not too long");
            key
        };
        Secrets {
            client_finished: hmac::Key::new(hmac::HMAC_SHA256, &key(b"vyuha device link 1 client finished")),
            server_finished: hmac::Key::new(hmac::HMAC_SHA256, &key(b"vyuha device link 1 server finished")),
            client_frames: key(b"vyuha device link 1 client frames"),
            server_frames: key(b"vyuha device link 1 server frames"),
        }
    }
}

fn begun(server: &PublicKey) -> Sha256 {
    Sha256::new().chain_update(PROTOCOL).chain_update(server)
}

fn agree(ours: &[u8; 32], theirs: [u8; 32]) -> Result<MontgomeryPoint, HandshakeError> {
    let shared = MontgomeryPoint(theirs).mul_clamped(*ours);
    // Compared in constant time.
    if shared == MontgomeryPoint::identity() {
        return Err(HandshakeError::PointRefused);
    }
    Ok(shared)
}

/// Whether a message says to be the one that is due.
fn check_kind(message: &[u8], due: u8) -> Result<(), HandshakeError> {
    match message.first() {
        Some(kind) if *kind == due => Ok(()),
        Some(&(kind::CLIENT_HELLO..=kind::SERVER_FINISH)) => Err(HandshakeError::OutOfOrder),
        _ => Err(HandshakeError::Malformed),
    }
}

/// The bytes of a message from `at` on. Messages have one length each, and every part lies within it.
fn part<const BYTES: usize>(message: &[u8], at: usize) -> [u8; BYTES] {
    let mut part = [0; BYTES];
    part.copy_from_slice(&message[at..at + BYTES]);
    part
}

#[cfg(test)]
mod tests;
