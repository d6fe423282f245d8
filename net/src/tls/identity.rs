//! The certificate that the server presents, replaced while sessions go on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig, version};
use thiserror::Error;
use x509_cert::der::Decode;

/// Longest file of certificates or key that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a certificate and its key cannot be used.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("{}: {source}; name a file that the server may read", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file holds no certificate, or no key.
    #[error("{}: {source}; it must be PEM, as certificate authorities hand it out", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The first certificate cannot be read.
    #[error("{}: the first certificate is malformed: {text}; fetch it anew", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        text: String,
    },
    /// The certificate has expired.
    #[error("{}: the certificate has expired; renew it", path.display())]
    Expired {
        /// Which file.
        path: PathBuf,
    },
    /// The key is of a kind that is not supported, or not that of the certificate.
    #[error("{} does not go with {}: {source}; name the key of the file's first certificate", key.display(), certificate.display())]
    Key {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// A certificate with its key, read from PEM files that may be replaced while the server runs.
///
/// New handshakes present the newest pair that could be used; sessions that are open do not notice.
#[derive(Debug)]
pub struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Current>,
}

#[derive(Debug, Clone)]
struct Current {
    key: Arc<CertifiedKey>,
    /// When the certificate expires.
    not_after: SystemTime,
    /// The files' state when they were last looked at.
    seen: Seen,
}

/// Length and time of change of both files; `None` where one is not to be had.
type Seen = [Option<(u64, SystemTime)>; 2];

impl Identity {
    /// Reads a certificate chain, the server's own certificate first, and its private key, both PEM.
    pub fn load(certificate: &Path, key: &Path) -> Result<Arc<Identity>, IdentityError> {
        let seen = look_at(certificate, key);
        let (pair, not_after) = read(certificate, key)?;
        let current = RwLock::new(Current { key: Arc::new(pair), not_after, seen });
        Ok(Arc::new(Identity { certificate: certificate.into(), key: key.into(), current }))
    }

    /// Reads the files again if they have changed since they were last looked at, or, with `anyway`, even if not.
    /// Whether there is a new certificate comes back.
    ///
    /// # Errors
    /// If the files cannot be used; the certificate stays what it was, and the files are not looked at again until
    /// they change.
    pub fn reload(&self, anyway: bool) -> Result<bool, IdentityError> {
        let seen = look_at(&self.certificate, &self.key);
        if !anyway && seen == self.current().seen {
            return Ok(false);
        }
        self.replace(|current| current.seen = seen);
        let (pair, not_after) = read(&self.certificate, &self.key)?;
        let is_new = pair.cert != self.current().key.cert;
        self.replace(|current| (current.key, current.not_after) = (Arc::new(pair), not_after));
        Ok(is_new)
    }

    /// When the certificate expires.
    pub fn not_after(&self) -> SystemTime {
        self.current().not_after
    }

    /// How players' sessions are spoken: TLS 1.3, without resumption, so that nothing is kept between sessions.
    ///
    /// # Panics
    /// If the cryptography that is compiled in has no TLS 1.3.
    pub fn players(self: &Arc<Self>) -> Arc<ServerConfig> {
        let mut config = self.config();
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Arc::new(config)
    }

    /// How browsers' sessions are spoken: TLS 1.3 with HTTP/1.1 inside.
    ///
    /// # Panics
    /// If the cryptography that is compiled in has no TLS 1.3.
    pub fn browsers(self: &Arc<Self>) -> Arc<ServerConfig> {
        let mut config = self.config();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }

    fn config(self: &Arc<Self>) -> ServerConfig {
        ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])
            .expect("TLS 1.3 is compiled in")
            .with_no_client_auth()
            .with_cert_resolver(self.clone())
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, replace: impl FnOnce(&mut Current)) {
        replace(&mut self.current.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().key)
    }
}

/// The cryptography: `ring`, which needs nothing but a C compiler.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn look_at(certificate: &Path, key: &Path) -> Seen {
    [certificate, key].map(|path| {
        let file = fs::metadata(path).ok()?;
        Some((file.len(), file.modified().ok()?))
    })
}

fn read(certificate: &Path, key: &Path) -> Result<(CertifiedKey, SystemTime), IdentityError> {
    let malformed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| IdentityError::Pem { path, source }
    };
    let chain = CertificateDer::pem_slice_iter(&read_file(certificate)?).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(malformed(certificate))?;
    let first = chain.first().ok_or(pem::Error::NoItemsFound).map_err(malformed(certificate))?;
    let private = PrivateKeyDer::from_pem_slice(&read_file(key)?).map_err(malformed(key))?;
    let parsed = x509_cert::Certificate::from_der(first)
        .map_err(|error| IdentityError::Certificate { path: certificate.into(), text: error.to_string() })?;
    let not_after = UNIX_EPOCH + parsed.tbs_certificate.validity.not_after.to_unix_duration();
    if not_after < SystemTime::now() {
        return Err(IdentityError::Expired { path: certificate.into() });
    }
    let mismatch = |source| IdentityError::Key { key: key.into(), certificate: certificate.into(), source };
    let signer = provider().key_provider.load_private_key(private).map_err(mismatch)?;
    let pair = CertifiedKey::new(chain, signer);
    match pair.keys_match() {
        // Some kinds of key do not say what their public half is.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok((pair, not_after)),
        Err(error) => Err(mismatch(error)),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, IdentityError> {
    let failed = |source| IdentityError::File { path: path.into(), source };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > FILE_BYTES_MAX {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "it is no certificate or key")));
    }
    fs::read(path).map_err(failed)
}
