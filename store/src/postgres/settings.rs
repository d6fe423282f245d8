//! Where a PostgreSQL is and how to get in, from what the configuration says.

use std::{
    fmt, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Where Debian and its kin keep the certificates that the system trusts.
const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// A connection whose other end is silent is asked after so long whether it is there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);

/// How to reach a PostgreSQL. Shown without its password.
#[derive(Clone)]
pub struct PostgresSettings {
    pub(super) config: Config,
    pub(super) tls: Option<MakeRustlsConnect>,
    /// How long anything may take.
    pub(crate) timeout: Duration,
}

/// Why what the configuration says of the database is no use. Names the setting and what to write.
#[derive(Debug, thiserror::Error)]
pub enum StoreUrlError {
    /// Not a URL of PostgreSQL.
    #[error("store.url is no PostgreSQL URL ({0}): write postgres://user@host:5432/database")]
    Url(#[source] tokio_postgres::Error),
    /// The URL names no host, user or database.
    #[error("store.url names no {0}: write postgres://user@host:5432/database")]
    Lacks(&'static str),
    /// The password is where it would be shown.
    #[error(
        "store.url has its password after the `?`: write postgres://user:password@host, or use store.password_file"
    )]
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
}

impl PostgresSettings {
    /// Whether a URL is one, and names all that is needed.
    pub fn check(url: &str) -> Result<(), StoreUrlError> {
        parse(url).map(drop)
    }

    /// Reads a `postgres://` URL. `password` and `password_file`, where given, win over a password in it. `ca_file`
    /// has the certificates (PEM) that may vouch for the server's; without it those that the system trusts.
    ///
    /// Where the URL does not say (`sslmode=`), TLS is required, but to this machine itself, where it is not used.
    pub fn new(
        url: &str,
        password: Option<&str>,
        password_file: Option<&Path>,
        ca_file: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, StoreUrlError> {
        let mut config = parse(url)?;
        if let Some(password) = password {
            config.password(password);
        }
        if let Some(path) = password_file {
            let unread = |error: io::Error| StoreUrlError::File {
                setting: "store.password_file",
                path: path.into(),
                reason: format!(
                    "it cannot be read ({error}): name a file with the password in its first line"
                ),
            };
            let text = fs::read_to_string(path).map_err(unread)?;
            config.password(text.lines().next().unwrap_or_default());
        }
        if !url.contains("sslmode=") {
            config.ssl_mode(if is_local(&config) { SslMode::Disable } else { SslMode::Require });
        }
        let tls = match config.get_ssl_mode() {
            SslMode::Disable => None,
            _ => Some(tls(ca_file)?),
        };
        config
            .connect_timeout(timeout)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .tcp_user_timeout(timeout)
            // Of several hosts the one that may be written to: after a failover that is another one.
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .application_name("vyuha");
        Ok(Self { config, tls, timeout })
    }
}

/// Reads a URL that names all that is needed.
fn parse(url: &str) -> Result<Config, StoreUrlError> {
    let config = Config::from_str(url).map_err(StoreUrlError::Url)?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(StoreUrlError::Lacks("host"));
    }
    if config.get_user().is_none_or(str::is_empty) {
        return Err(StoreUrlError::Lacks("user"));
    }
    if config.get_dbname().is_none_or(str::is_empty) {
        return Err(StoreUrlError::Lacks("database"));
    }
    // A password there would be shown with the rest of the URL.
    if url.split_once('?').is_some_and(|(_, query)| query.contains("password=")) {
        return Err(StoreUrlError::PasswordInQuery);
    }
    Ok(config)
}

impl fmt::Display for PostgresSettings {
    /// `host:port/database as user`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.config.get_ports();
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let between = if index > 0 { "," } else { "" };
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => write!(out, "{between}{name}:{port}")?,
                Host::Unix(path) => write!(out, "{between}{}:{port}", path.display())?,
            }
        }
        let (database, user) = (self.config.get_dbname(), self.config.get_user());
        write!(out, "/{} as {}", database.unwrap_or_default(), user.unwrap_or_default())
    }
}

impl fmt::Debug for PostgresSettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PostgresSettings({self})")
    }
}

/// Whether every way leads to this machine.
fn is_local(config: &Config) -> bool {
    let addresses = config.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    })
}

fn tls(ca_file: Option<&Path>) -> Result<MakeRustlsConnect, StoreUrlError> {
    let path = ca_file.unwrap_or(Path::new(SYSTEM_CERTIFICATES));
    let bad = |reason: String| StoreUrlError::File {
        setting: "store.ca_file",
        path: path.into(),
        reason: format!(
            "{reason}: name a file of PEM certificates that vouch for the database, or write sslmode=disable into \
             store.url where the network between is your own"
        ),
    };
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| bad(format!("it cannot be read ({error})")))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| bad(format!("it holds no PEM ({error})")))?;
        roots.add(certificate).map_err(|error| bad(format!("a certificate is no use ({error})")))?;
    }
    if roots.is_empty() {
        return Err(bad("it holds no certificate".to_owned()));
    }
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for every version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> Result<PostgresSettings, StoreUrlError> {
        PostgresSettings::new(url, None, None, None, Duration::from_secs(1))
    }

    #[test]
    fn what_is_wrong_is_told_with_the_setting() {
        let check = |url: &str, says: &str| {
            let error = settings(url).expect_err(url).to_string();
            assert!(error.contains(says) && error.contains("store.url"), "{url}: {error}");
        };
        check("mysql://u@h/d", "no PostgreSQL URL");
        check("postgres://u@h:x/d", "no PostgreSQL URL");
        check("postgres:///d?user=u", "names no host");
        check("postgres://h/d", "names no user");
        check("postgres://u@h", "names no database");
        check("postgres://u@h/d?password=p", "password after the `?`");
        let missing = Some(Path::new("/nowhere/at/all"));
        let url = "postgres://u@db.example.com/d";
        let no_password = PostgresSettings::new(url, None, missing, None, Duration::from_secs(1));
        let error = no_password.expect_err("there is no such file").to_string();
        assert!(error.contains("store.password_file = /nowhere/at/all"), "{error}");
        let no_ca = PostgresSettings::new(url, None, None, missing, Duration::from_secs(1));
        let error = no_ca.expect_err("there is no such file").to_string();
        assert!(error.contains("store.ca_file = /nowhere/at/all"), "{error}");
    }

    #[test]
    fn tls_is_for_other_machines_unless_the_url_says() {
        let mode = |url: &str| settings(url).map(|settings| settings.config.get_ssl_mode());
        for local in ["localhost", "127.0.0.1", "[::1]:5433", "%2Frun%2Fpostgresql"] {
            assert_eq!(mode(&format!("postgres://u@{local}/d")).unwrap(), SslMode::Disable, "{local}");
        }
        assert_eq!(mode("postgres://u@db.example.com/d?sslmode=disable").unwrap(), SslMode::Disable);
        // Where the system's certificates are not to be had, the refusal shows that TLS was wanted.
        match mode("postgres://u@127.0.0.1,db.example.com/d") {
            Ok(mode) => assert_eq!(mode, SslMode::Require),
            Err(error) => assert!(error.to_string().contains("store.ca_file"), "{error}"),
        }
    }

    #[test]
    fn passwords_are_taken_from_where_they_are_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        fs::write(&file, "from-file\n").unwrap();
        let url = "postgres://u:from-url@localhost:5433/d";
        let read = |password, file: Option<&Path>| {
            let settings = PostgresSettings::new(url, password, file, None, Duration::from_secs(1)).unwrap();
            assert_eq!(settings.to_string(), "localhost:5433/d as u");
            assert!(!format!("{settings:?}").contains("from"), "{settings:?}");
            String::from_utf8(settings.config.get_password().unwrap().to_vec()).unwrap()
        };
        assert_eq!(read(None, None), "from-url");
        assert_eq!(read(Some("given"), None), "given");
        assert_eq!(read(None, Some(&file)), "from-file");
    }
}
