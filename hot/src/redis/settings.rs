//! Where a Redis is and how to get in, from what the configuration says.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, TlsCertificates};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// How to reach a Redis. Shown without its password.
#[derive(Clone)]
pub struct RedisSettings {
    pub(super) client: Client,
    /// How long an answer may take.
    pub(super) timeout: Duration,
}

/// Why what the configuration says of Redis is no use. Names the setting and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisSettingsError {
    /// Not a URL of Redis.
    #[error(
        "it is no URL of Redis: write redis://user:password@host:port/database, rediss:// for TLS, or \
         redis+unix:///path/to/socket"
    )]
    Url,
    /// The password is where it would be shown.
    #[error("it has its password after the `?`: use redis.password_file")]
    PasswordInQuery,
    /// A file that was named cannot be used.
    #[error("{setting} = {}: {reason}", path.display())]
    File {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it is no use, and what to write.
        reason: String,
    },
    /// A file with certificates, but no TLS.
    #[error("redis.ca_file is for TLS: write rediss:// in redis.url, or leave it empty")]
    CaWithoutTls,
}

impl RedisSettings {
    /// Whether a URL is one.
    pub fn check(url: &str) -> Result<(), RedisSettingsError> {
        parse(url).map(drop)
    }

    /// Reads a URL: `redis://user:password@host:port/database`, the same with `rediss` for TLS, or `redis+unix:///socket`.
    /// The first line of `password_file`, where given, wins over a password in it. `ca_file` has the certificates (PEM) that
    /// may vouch for the server's; without it those that the system trusts. An answer may take `timeout`.
    pub fn new(
        url: &str,
        password_file: Option<&Path>,
        ca_file: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, RedisSettingsError> {
        let mut info = parse(url)?;
        if let Some(path) = password_file {
            let unread = |error: std::io::Error| RedisSettingsError::File {
                setting: "redis.password_file",
                path: path.into(),
                reason: format!(
                    "it cannot be read ({error}): name a file with the password in its first line"
                ),
            };
            let text = fs::read_to_string(path).map_err(unread)?;
            let settings =
                info.redis_settings().clone().set_password(text.lines().next().unwrap_or_default());
            info = info.set_redis_settings(settings);
        }
        let speaks_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let client = match ca_file {
            Some(_) if !speaks_tls => return Err(RedisSettingsError::CaWithoutTls),
            Some(path) => {
                let root_cert = Some(certificates(path)?);
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
            }
            None => Client::open(info),
        };
        Ok(Self { client: client.map_err(|_| RedisSettingsError::Url)?, timeout })
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RedisSettings({})", self.client.get_connection_info().addr())
    }
}

/// Without what the library says of a fault: it may quote the URL with its password.
fn parse(url: &str) -> Result<ConnectionInfo, RedisSettingsError> {
    // A password there would be shown with the rest of the URL.
    if url.split_once('?').is_some_and(|(_, query)| query.contains("pass=")) {
        return Err(RedisSettingsError::PasswordInQuery);
    }
    let info = url.into_connection_info().map_err(|_| RedisSettingsError::Url)?;
    match info.addr() {
        // TLS that anybody can sit in the middle of is none.
        ConnectionAddr::TcpTls { insecure: true, .. } => Err(RedisSettingsError::Url),
        _ => Ok(info),
    }
}

/// A file's certificates as they are, once it is clear that they can be used.
fn certificates(path: &Path) -> Result<Vec<u8>, RedisSettingsError> {
    let bad = |reason: String| RedisSettingsError::File {
        setting: "redis.ca_file",
        path: path.into(),
        reason: format!("{reason}: name a file of PEM certificates that vouch for Redis"),
    };
    let pem = fs::read(path).map_err(|error| bad(format!("it cannot be read ({error})")))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| bad(format!("it holds no PEM ({error})")))?;
        roots.add(certificate).map_err(|error| bad(format!("a certificate is no use ({error})")))?;
    }
    if roots.is_empty() { Err(bad("it holds no certificate".to_owned())) } else { Ok(pem) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    #[test]
    fn a_fault_names_its_setting_and_no_password() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let (empty, missing) = (file("empty", ""), folder.path().join("missing"));
        let garbage = file("garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let (plain, tls) = ("redis://u:s3cret@localhost:6379/2", "rediss://u:s3cret@localhost:6379");
        let cases: [(&str, Option<&Path>, Option<&Path>, &str); 10] = [
            ("", None, None, "it is no URL of Redis"),
            ("http://host", None, None, "it is no URL of Redis"),
            ("redis://u:s3cret@host:port", None, None, "it is no URL of Redis"),
            (plain, Some(&missing), None, "redis.password_file"),
            (plain, None, Some(&empty), "redis.ca_file is for TLS"),
            (tls, None, Some(&missing), "redis.ca_file"),
            (tls, None, Some(&empty), "it holds no certificate"),
            (tls, None, Some(&garbage), "a certificate is no use"),
            ("redis+unix:///run/redis.sock?pass=s3cret", None, None, "redis.password_file"),
            ("rediss://h#insecure", None, None, "it is no URL of Redis"),
        ];
        for (url, password, ca, wanted) in cases {
            let error = RedisSettings::new(url, password, ca, TIMEOUT).unwrap_err().to_string();
            assert!(error.contains(wanted) && !error.contains("s3cret"), "{url}: {error}");
        }
        for url in [plain, tls, "redis+unix:///run/redis.sock"] {
            let settings = RedisSettings::new(url, None, None, TIMEOUT).unwrap();
            assert!(!format!("{settings:?}").contains("s3cret"));
        }
    }

    #[test]
    fn the_first_line_of_the_file_is_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "from the file\nnot this\n").unwrap();
        let settings = RedisSettings::new("redis://u:in-url@localhost", Some(&path), None, TIMEOUT).unwrap();
        let info = settings.client.get_connection_info().redis_settings();
        assert_eq!((info.password(), info.username()), (Some("from the file"), Some("u")));
    }
}
