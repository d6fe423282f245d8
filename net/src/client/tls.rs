//! TLS of the client.

use std::fmt;
use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, version};
use thiserror::Error;

/// Whom a client takes for the server: who vouches for its certificate, and the name in it. Cheap to clone.
#[derive(Clone)]
pub struct ServerTrust {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// Why that is no trust.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The certificates cannot be read.
    #[error("the certificates are no PEM: {0}")]
    Pem(#[from] pem::Error),
    /// A certificate is malformed, or there is none.
    #[error("nobody can be trusted: {0}")]
    Certificate(#[from] rustls::Error),
    /// The name is neither a host name nor an address.
    #[error("the server's name: {0}")]
    Name(#[from] InvalidDnsNameError),
}

impl ServerTrust {
    /// Trusts whom one of these certificates (PEM) vouches for, if the server's own is for this host name or address.
    pub fn new(roots_pem: &[u8], name: &str) -> Result<ServerTrust, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(roots_pem) {
            roots.add(certificate?)?;
        }
        if roots.is_empty() {
            return Err(TrustError::Pem(pem::Error::NoItemsFound));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(ServerTrust { config: config.into(), name: ServerName::try_from(name.to_owned())? })
    }

    pub(super) fn connect(&self) -> Result<ClientConnection, rustls::Error> {
        ClientConnection::new(self.config.clone(), self.name.clone())
    }
}

impl fmt::Debug for ServerTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTrust").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads what the server said: 0 bytes at its end.
pub(super) fn read(tls: &mut ClientConnection, mut stream: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match tls.reader().read(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // A server that went without saying so has gone as well.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            read => return read,
        }
        if tls.read_tls(&mut stream)? == 0 && tls.is_handshaking() {
            return Ok(0);
        }
        tls.process_new_packets().map_err(|error| {
            // The alert tells the server why, as far as it still listens.
            let _ = tls.write_tls(&mut stream);
            io::Error::new(io::ErrorKind::InvalidData, error)
        })?;
    }
}
