//! TLS sessions whose handshake is over, both ends.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, version};
use vyuha_net::tls::Session;

/// The name in the certificate.
const NAME: &str = "localhost";

/// Both ends of so many sessions, the clients' first.
pub fn sessions(count: usize) -> Result<(Vec<ClientConnection>, Vec<Session>), String> {
    let (server, client) = configurations().map_err(|error| format!("TLS cannot be set up: {error}"))?;
    (0..count).map(|_| shake_hands(&server, &client).map_err(|error| error.to_string())).collect()
}

type Failure = Box<dyn std::error::Error>;

fn configurations() -> Result<(Arc<ServerConfig>, Arc<ClientConfig>), Failure> {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider: Arc<CryptoProvider> = ring::default_provider().into();
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    server.send_tls13_tickets = 0;
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone())?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((server.into(), client.into()))
}

fn shake_hands(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
) -> Result<(ClientConnection, Session), Failure> {
    let mut client = ClientConnection::new(client.clone(), ServerName::try_from(NAME)?)?;
    let mut session = Session::new(server.clone())?;
    while client.is_handshaking() || session.is_handshaking() {
        let mut reply = Vec::new();
        session.open(&mut sent(&mut client)?, &mut Vec::new(), &mut reply)?;
        let mut reply = &reply[..];
        while !reply.is_empty() {
            client.read_tls(&mut reply)?;
            client.process_new_packets()?;
        }
    }
    Ok((client, session))
}

/// What a client sends to say `plain`.
pub fn seal(client: &mut ClientConnection, plain: &[u8]) -> std::io::Result<Vec<u8>> {
    client.writer().write_all(plain)?;
    sent(client)
}

/// How many bytes a client reads out of what arrived.
pub fn open(client: &mut ClientConnection, mut sealed: &[u8]) -> std::io::Result<usize> {
    let mut bytes = 0;
    while !sealed.is_empty() {
        client.read_tls(&mut sealed)?;
        let state = client.process_new_packets().map_err(std::io::Error::other)?;
        let mut plain = vec![0; state.plaintext_bytes_to_read()];
        client.reader().read_exact(&mut plain)?;
        bytes += plain.len();
    }
    Ok(bytes)
}

fn sent(client: &mut ClientConnection) -> std::io::Result<Vec<u8>> {
    let mut sent = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut sent)?;
    }
    Ok(sent)
}
