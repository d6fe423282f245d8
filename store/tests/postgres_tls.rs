//! The way in to a real PostgreSQL that asks for TLS and a password: with the right ones, and what is said with the wrong ones.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use vyuha_record::{Record as _, Table};
use vyuha_store::{
    AccountRow, LeaseTerms, PostgresSettings, PostgresStore, Store as _, StoreError, migrate::OlderSchema,
};
use vyuha_test_postgres::Postgres;

const TABLES: &[Table] = &[AccountRow::TABLE];
const PASSWORD: &str = "a long one: \u{00e4} %/@";
/// The same in a URL.
const PASSWORD_ENCODED: &str = "a%20long%20one%3A%20%C3%A4%20%25%2F%40";
/// Who comes from this machine's other address is the harness.
const HBA: &str = "
hostssl all game all scram-sha-256
hostnossl all game all reject
host all all all trust
";

struct Server {
    postgres: Postgres,
    database: String,
    folder: tempfile::TempDir,
    ca_file: PathBuf,
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Server {
    /// A server whose certificate is for `localhost` and vouched for by an authority of its own.
    fn start() -> Server {
        let mut postgres = Postgres::start();
        let url = postgres.database();
        postgres.psql(
            &url,
            &format!("SET password_encryption = 'scram-sha-256'; CREATE ROLE game LOGIN SUPERUSER PASSWORD '{PASSWORD}'"),
        );
        let ca = authority("Ours");
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        for (setting, name, content) in [
            ("ssl_cert_file", "server.crt", certificate.pem()),
            ("ssl_key_file", "server.key", key.serialize_pem()),
            ("hba_file", "access.conf", HBA.to_owned()),
        ] {
            let path = postgres.write(name, &content);
            postgres.set(format!("{setting}={}", path.display()));
        }
        postgres.set("ssl=on");
        postgres.stop();
        postgres.start_again();
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        fs::write(&ca_file, ca.pem()).unwrap();
        let database = url.rsplit_once('@').unwrap().1.replace("127.0.0.1", "localhost");
        Server { postgres, database, folder, ca_file }
    }

    fn url(&self, password: &str, mode: &str) -> String {
        format!("postgres://game:{password}@{}?sslmode={mode}", self.database)
    }
}

/// What is said where nobody is let in.
#[track_caller]
fn refusal(url: &str, ca_file: Option<&Path>) -> String {
    match open(url, ca_file) {
        Err(error @ StoreError::Connect { .. }) => {
            let said = error.to_string();
            assert!(!said.contains("long") && !said.contains("secret"), "it tells a password: {said}");
            said
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("{url} was let in"),
    }
}

fn open(url: &str, ca_file: Option<&Path>) -> Result<PostgresStore, StoreError> {
    open_with(url, None, ca_file)
}

fn open_with(
    url: &str,
    password_file: Option<&Path>,
    ca_file: Option<&Path>,
) -> Result<PostgresStore, StoreError> {
    let settings = PostgresSettings::new(url, None, password_file, ca_file, Duration::from_secs(10)).unwrap();
    let lease = LeaseTerms {
        holder: "this test".into(),
        home: "here".into(),
        ttl: Duration::from_secs(5),
        journal_exists: false,
    };
    PostgresStore::open(&settings, "node", TABLES, lease, OlderSchema::Migrate)
}

#[track_caller]
fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

#[test]
fn who_has_the_password_and_the_certificate_comes_in_and_nobody_else() {
    let server = Server::start();
    let ca_file = Some(server.ca_file.as_path());

    let mut store = open(&server.url(PASSWORD_ENCODED, "require"), ca_file).unwrap();
    assert_eq!(store.begin_epoch().unwrap().epoch, 1);
    let spoken = server.postgres.psql(
        "postgres",
        "SELECT DISTINCT s.version FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.usename = 'game'",
    );
    assert_eq!(spoken, "TLSv1.3");
    store.release_lease().unwrap();

    // From a file it wins over the one in the URL.
    let file = server.folder.path().join("password");
    fs::write(&file, format!("{PASSWORD}\nnot this line\n")).unwrap();
    open_with(&server.url("secret", "require"), Some(&file), ca_file).unwrap();

    let wrong = refusal(&server.url("secret", "require"), ca_file);
    assert_says(&wrong, &["[28P01]", "store.password_file", "store.url"]);
    let none = format!("postgres://game@{}?sslmode=require", server.database);
    assert_says(&refusal(&none, ca_file), &["password missing", "store.password_file"]);
    let nobody = server.url(PASSWORD_ENCODED, "require").replace("//game", "//nobody");
    assert_says(&refusal(&nobody, ca_file), &["[28", "store.url"]);

    // The same name, another authority.
    let other = server.folder.path().join("other.pem");
    fs::write(&other, authority("Ours").pem()).unwrap();
    let stranger = refusal(&server.url(PASSWORD_ENCODED, "require"), Some(&other));
    assert_says(&stranger, &["certificate", "store.ca_file"]);
    // The right authority, another name.
    let misnamed = server.url(PASSWORD_ENCODED, "require").replace("localhost", "127.0.0.1");
    assert_says(&refusal(&misnamed, ca_file), &["certificate", "store.url"]);

    // A server that lets nobody in without.
    assert_says(&refusal(&server.url(PASSWORD_ENCODED, "disable"), ca_file), &["[28000]", "sslmode"]);
}

#[test]
fn a_server_without_tls_is_refused_where_it_is_required() {
    let server = Postgres::shared();
    let url = server.database().replace("127.0.0.1", "localhost");
    let ca = tempfile::NamedTempFile::new().unwrap();
    fs::write(ca.path(), authority("Ours").pem()).unwrap();
    let url = format!("{url}?sslmode=require");
    let settings = PostgresSettings::new(&url, None, None, Some(ca.path()), Duration::from_secs(10)).unwrap();
    let lease = LeaseTerms {
        holder: "this test".into(),
        home: "here".into(),
        ttl: Duration::from_secs(5),
        journal_exists: false,
    };
    match PostgresStore::open(&settings, "node", TABLES, lease, OlderSchema::Migrate) {
        Err(error @ StoreError::Connect { .. }) => {
            assert_says(&error.to_string(), &["ssl = on", "sslmode=disable"]);
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was let in without TLS"),
    }
}
