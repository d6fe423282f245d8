//! TLS of the client.

use std::fmt;
use std::io::{self, Read, Write};
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

    /// Begins a session, and appends what opens it to `sealed`.
    ///
    /// # Errors
    /// If there is no randomness to be had.
    pub fn begin(&self, sealed: &mut Vec<u8>) -> io::Result<ClientTls> {
        let mut tls = ClientTls(self.connect().map_err(io::Error::other)?);
        tls.append_to(sealed)?;
        Ok(tls)
    }
}

/// The client's side of one TLS session without a socket, for programs that drive many in a way of their own.
///
/// Memory: some 4 KiB, and while a record has not come whole, what came of it.
#[derive(Debug)]
pub struct ClientTls(ClientConnection);

impl ClientTls {
    /// Appends `plain`, sealed, to `sealed`. Before the handshake is over it is kept instead, and is part of a later reply.
    ///
    /// # Errors
    /// If more than 64 KiB were kept.
    pub fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) -> io::Result<()> {
        self.0.writer().write_all(plain)?;
        self.append_to(sealed)
    }

    /// Takes what arrived. Appends what it says to `plain`, and what must be sent back to `reply`, which after an error is the
    /// alert that tells the server.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if it is no TLS 1.3, was tampered with, or the server is another than was trusted.
    pub fn open(&mut self, mut sealed: &[u8], plain: &mut Vec<u8>, reply: &mut Vec<u8>) -> io::Result<()> {
        // It takes no more once the server has said that this was all.
        while self.0.read_tls(&mut sealed)? > 0 {
            let state = match self.0.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    self.append_to(reply)?;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            };
            let begin = plain.len();
            plain.resize(begin + state.plaintext_bytes_to_read(), 0);
            self.0.reader().read_exact(&mut plain[begin..])?;
        }
        self.append_to(reply)
    }

    fn append_to(&mut self, sealed: &mut Vec<u8>) -> io::Result<()> {
        while self.0.wants_write() {
            self.0.write_tls(sealed)?;
        }
        Ok(())
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
