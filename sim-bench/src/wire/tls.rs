//! TLS sessions whose handshake is over, both ends.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, version};
use vyuha_net::client::{ClientTls, ServerTrust};
use vyuha_net::tls::Session;

/// The name in the certificate.
const NAME: &str = "localhost";

/// Both ends of so many sessions, the clients' first.
pub fn sessions(count: usize) -> Result<(Vec<ClientTls>, Vec<Session>), String> {
    let (server, trust) = configurations().map_err(|error| format!("TLS cannot be set up: {error}"))?;
    (0..count).map(|_| shake_hands(&server, &trust).map_err(|error| error.to_string())).collect()
}

type Failure = Box<dyn std::error::Error>;

fn configurations() -> Result<(Arc<ServerConfig>, ServerTrust), Failure> {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let mut server = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_protocol_versions(&[&version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    server.send_tls13_tickets = 0;
    Ok((server.into(), ServerTrust::new(cert.pem().as_bytes(), NAME)?))
}

fn shake_hands(server: &Arc<ServerConfig>, trust: &ServerTrust) -> Result<(ClientTls, Session), Failure> {
    let mut session = Session::new(server.clone())?;
    let mut sent = Vec::new();
    let mut client = trust.begin(&mut sent)?;
    while session.is_handshaking() {
        let mut reply = Vec::new();
        session.open(&mut sent, &mut Vec::new(), &mut reply)?;
        sent.clear();
        client.open(&reply, &mut Vec::new(), &mut sent)?;
    }
    Ok((client, session))
}
