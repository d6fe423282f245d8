//! Sessions against rustls' own client, in memory; certificates as files.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::identity::provider;
use super::session::OVERHEAD_BYTES;
use super::*;

/// Writes a certificate for localhost and its key; the certificate comes back.
fn write_identity(dir: &Path, not_after: SystemTime) -> CertificateDer<'static> {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = not_after.into();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(dir.join("certificate.pem"), certificate.pem()).unwrap();
    fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

fn load(dir: &Path) -> Result<std::sync::Arc<Identity>, IdentityError> {
    Identity::load(&dir.join("certificate.pem"), &dir.join("key.pem"))
}

fn next_year() -> SystemTime {
    SystemTime::now() + Duration::from_hours(365 * 24)
}

/// A client that trusts one certificate.
pub(crate) fn trusting(certificate: CertificateDer<'static>) -> std::sync::Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.into()
}

/// A server's identity, and a client that trusts it.
pub(crate) fn identity() -> (std::sync::Arc<Identity>, std::sync::Arc<ClientConfig>) {
    let dir = tempfile::tempdir().unwrap();
    let certificate = write_identity(dir.path(), next_year());
    (load(dir.path()).unwrap(), trusting(certificate))
}

pub(crate) fn client(config: &std::sync::Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(config.clone(), ServerName::try_from("localhost").unwrap()).unwrap()
}

/// Both ends of one session.
struct Pair {
    client: ClientConnection,
    server: Session,
    /// What the server has read.
    plain: Vec<u8>,
    reply: Vec<u8>,
}

impl Pair {
    fn new() -> Pair {
        let (identity, config) = identity();
        let server = Session::new(identity.players()).unwrap();
        Pair { client: client(&config), server, plain: Vec::new(), reply: Vec::new() }
    }

    fn connected() -> Pair {
        let mut pair = Pair::new();
        while pair.client.is_handshaking() || pair.server.is_handshaking() {
            let sent = pair.sent();
            pair.open(&sent).unwrap();
            pair.client_reads();
        }
        pair
    }

    /// What the client sends.
    fn sent(&mut self) -> Vec<u8> {
        let mut sent = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut sent).unwrap();
        }
        sent
    }

    fn sealed(&mut self, plain: &[u8]) -> Vec<u8> {
        self.client.writer().write_all(plain).unwrap();
        self.sent()
    }

    fn open(&mut self, bytes: &[u8]) -> Result<Opened, TlsError> {
        self.server.open(&mut bytes.to_vec(), &mut self.plain, &mut self.reply)
    }

    /// The client takes what the server has for it; what it reads comes back.
    fn client_reads(&mut self) -> Vec<u8> {
        let mut read = Vec::new();
        let reply = std::mem::take(&mut self.reply);
        let mut reply = &reply[..];
        while !reply.is_empty() {
            self.client.read_tls(&mut reply).unwrap();
            let state = self.client.process_new_packets().unwrap();
            let mut bytes = vec![0; state.plaintext_bytes_to_read()];
            self.client.reader().read_exact(&mut bytes).unwrap();
            read.extend(bytes);
        }
        read
    }
}

#[test]
fn both_ends_read_what_the_other_wrote() {
    let mut pair = Pair::connected();
    let sealed = [pair.sealed(b"one"), pair.sealed(b"two")].concat();
    assert_eq!(pair.open(&sealed).unwrap(), Opened { records: 2, is_closed_by_peer: false });
    assert_eq!(pair.plain, b"onetwo");

    for length in [1, 400, 16 << 10, (16 << 10) + 1, 100_000] {
        let plain: Vec<u8> = (0..length).map(|at| at as u8).collect();
        pair.server.seal(&plain, &mut pair.reply).unwrap();
        let records = plain.len().div_ceil(16 << 10);
        assert_eq!(pair.reply.len(), length + records * OVERHEAD_BYTES);
        assert!(pair.client_reads() == plain);
    }
}

#[test]
fn each_end_says_that_nothing_follows() {
    let mut pair = Pair::connected();
    pair.client.send_close_notify();
    let sealed = pair.sent();
    assert!(pair.open(&sealed).unwrap().is_closed_by_peer);
    // Ours is open still.
    pair.server.seal(b"farewell", &mut pair.reply).unwrap();
    pair.server.close(&mut pair.reply).unwrap();
    assert_eq!(pair.client_reads(), b"farewell");
    assert_eq!(pair.client.reader().read(&mut [0]).unwrap(), 0, "a clean end");
    assert!(matches!(pair.server.seal(b"more", &mut pair.reply), Err(TlsError::NotOpen)));
    assert!(matches!(pair.server.close(&mut pair.reply), Err(TlsError::NotOpen)));
}

#[test]
fn what_is_no_tls_is_refused_with_an_alert() {
    let mut hello = Vec::new();
    vyuha_protocol::frame::append_frame(&mut hello, 1, |out| out.extend([0; 40]));
    let old = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03".iter().copied().chain([0; 41]).collect();
    for bytes in [hello, old, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(), vec![0xff; 400]] {
        let mut pair = Pair::new();
        assert!(matches!(pair.open(&bytes), Err(TlsError::Peer(_))), "{bytes:?}");
        assert_eq!(pair.reply.first(), Some(&21), "an alert: {:?}", pair.reply);
        assert!(matches!(pair.open(&bytes), Err(TlsError::NotOpen)));
        assert!(matches!(pair.server.seal(b"x", &mut pair.reply), Err(TlsError::NotOpen)));
    }
}

#[test]
fn a_changed_record_ends_the_session() {
    let mut pair = Pair::connected();
    let mut sealed = pair.sealed(b"give me a sword");
    *sealed.last_mut().unwrap() ^= 1;
    assert!(matches!(pair.open(&sealed), Err(TlsError::Peer(rustls::Error::DecryptError))));
    assert!(pair.plain.is_empty() && !pair.reply.is_empty());
}

#[test]
fn nothing_is_sealed_before_the_handshake_is_over() {
    let mut pair = Pair::new();
    assert!(matches!(pair.server.seal(b"x", &mut pair.reply), Err(TlsError::NotOpen)));
    assert!(matches!(pair.server.close(&mut pair.reply), Err(TlsError::NotOpen)));
}

#[test]
fn new_keys_are_followed_and_a_storm_of_them_is_refused() {
    let mut pair = Pair::connected();
    for round in 0..3_u8 {
        pair.client.refresh_traffic_keys().unwrap();
        let sealed = pair.sealed(&[round]);
        pair.open(&sealed).unwrap();
        pair.server.seal(&[round, round], &mut pair.reply).unwrap();
        assert_eq!(pair.client_reads(), [round, round]);
    }
    assert_eq!(pair.plain, [0, 1, 2]);
    let refused = (0..1000).any(|_| {
        pair.client.refresh_traffic_keys().unwrap();
        let sealed = pair.sent();
        pair.open(&sealed).is_err()
    });
    assert!(refused);
    assert!(pair.reply.len() < 200, "what they cost us does not pile up: {}", pair.reply.len());
}

#[test]
fn a_message_that_never_ends_is_refused() {
    // The head of a handshake message of 60,000 bytes, cut into small records.
    let mut pair = Pair::new();
    let mut message = vec![1, 0, 0xea, 0x60];
    message.resize(60_000, 0);
    let mut kept = 0;
    let refused = message.chunks(1000).any(|chunk| {
        let mut record = vec![22, 3, 1];
        record.extend((chunk.len() as u16).to_be_bytes());
        record.extend(chunk);
        kept += record.len();
        pair.open(&record).is_err()
    });
    assert!(refused && kept < 2 * PARTIAL_BYTES_MAX, "{kept}");
}

proptest! {
    #[test]
    fn however_it_is_cut_the_same_is_read(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..2000), 1..8),
        cuts in prop::collection::vec(1_usize..700, 1..20),
    ) {
        let mut pair = Pair::connected();
        let sealed: Vec<u8> = pieces.iter().flat_map(|piece| pair.sealed(piece)).collect();
        let (mut rest, mut cuts, mut records) = (&sealed[..], cuts.into_iter().cycle(), 0);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            records += pair.open(now).unwrap().records;
            // Sealing in between must not disturb what has come in part.
            pair.server.seal(b"tick", &mut pair.reply).unwrap();
            rest = later;
        }
        prop_assert_eq!(records as usize, pieces.len());
        prop_assert_eq!(&pair.plain, &pieces.concat());
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600), cut in 0_usize..600, connected: bool) {
        let mut pair = if connected { Pair::connected() } else { Pair::new() };
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        for part in [first, second] {
            let _ = pair.open(part);
            let _ = pair.server.seal(b"tick", &mut pair.reply);
        }
        let _ = pair.server.close(&mut pair.reply);
    }

    #[test]
    fn a_handshake_that_was_bent_never_panics(at in 0_usize..300, value: u8, cut in 1_usize..300) {
        let mut pair = Pair::new();
        let mut hello = pair.sent();
        let at = at.min(hello.len() - 1);
        hello[at] = value;
        let (first, second) = hello.split_at(cut.min(hello.len()));
        for part in [first, second] {
            let _ = pair.open(part);
            let _ = pair.server.close(&mut pair.reply);
        }
    }
}

#[test]
fn a_new_certificate_is_taken_and_a_bad_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_identity(dir.path(), next_year());
    let identity = load(dir.path()).unwrap();
    let days = |days: u64| SystemTime::now() + Duration::from_secs(days * 24 * 3600);
    assert!(identity.not_after() > days(364) && identity.not_after() < days(366));
    assert!(!identity.reload(false).unwrap() && !identity.reload(true).unwrap(), "nothing has changed");

    let presented = |certificate: &CertificateDer<'static>| {
        let server = Session::new(identity.players()).unwrap();
        let client = client(&trusting(certificate.clone()));
        let mut pair = Pair { client, server, plain: Vec::new(), reply: Vec::new() };
        let hello = pair.sent();
        pair.open(&hello).unwrap();
        let reply = std::mem::take(&mut pair.reply);
        pair.client.read_tls(&mut &reply[..]).unwrap();
        pair.client.process_new_packets().is_ok()
    };
    assert!(presented(&first));
    let second = write_identity(dir.path(), days(30));
    assert!(!presented(&second), "nobody has looked at the files yet");
    assert!(identity.reload(false).unwrap());
    assert!(presented(&second) && !presented(&first));
    assert!(identity.not_after() < days(31));

    // The key of another certificate, then one that has expired, garbage, and nothing at all.
    let key = fs::read(dir.path().join("key.pem")).unwrap();
    write_identity(dir.path(), next_year());
    fs::write(dir.path().join("key.pem"), key).unwrap();
    assert!(matches!(identity.reload(true), Err(IdentityError::Key { .. })));
    write_identity(dir.path(), SystemTime::now() - Duration::from_secs(1));
    assert!(matches!(identity.reload(true), Err(IdentityError::Expired { .. })));
    fs::write(dir.path().join("certificate.pem"), "what?").unwrap();
    assert!(matches!(identity.reload(true), Err(IdentityError::Pem { .. })));
    assert!(!identity.reload(false).unwrap(), "it is told once");
    fs::remove_file(dir.path().join("certificate.pem")).unwrap();
    assert!(matches!(identity.reload(false), Err(IdentityError::File { .. })));
    assert!(presented(&second), "the last good one stays");
}
