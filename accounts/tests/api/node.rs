//! The service on a port, with a clock that stands and a mailbox that can be read.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use vyuha_accounts::game::{Ask, Game};
use vyuha_accounts::jwt::Algorithm;
use vyuha_accounts::limits::{LimitConfig, Limits};
use vyuha_accounts::mail::{self, Outlet, Templates};
use vyuha_accounts::names::Names;
use vyuha_accounts::oidc::{ProviderConfig, Providers};
use vyuha_accounts::signed::{ServiceKeyConfig, ServiceKeys};
use vyuha_accounts::throttle::Throttle;
use vyuha_accounts::vault::Vault;
use vyuha_accounts::{ApiConfig, Parts, Service, ThrownOut};
use vyuha_gateway::accounts::{Accounts, AccountsConfig, HashCost};
use vyuha_gateway::{Announcement, Metrics};
use vyuha_hot::HotStore;
use vyuha_record::Record as _;
use vyuha_store::migrate::OlderSchema;
use vyuha_store::sql::{Sql, SqliteSql};
use vyuha_store::{
    AccountRow, LeaseTerms, PostgresSettings, PostgresSql, PostgresStore, SERVICE_CONNECTIONS, SqliteStore,
    Store as _,
};
use vyuha_test_postgres::Postgres;
use vyuha_topics::{Broker, Hub};

use crate::client::{Answer, Request};
use crate::mailbox::{self, Mail};

pub const EMAIL: &str = "asha@example.com";
pub const PASSWORD: &str = "a good password";

/// Makes the first administrator.
pub const ADMIN_KEY: &str = "the key of this server";

/// How a service is set up.
pub fn config() -> ApiConfig {
    ApiConfig {
        site: "https://play.example.com".into(),
        algorithm: Algorithm::EdDsa,
        open_registration: true,
        origins: vec!["https://play.example.com".into()],
        behind_proxy: false,
        game_address: "127.0.0.1:7777".into(),
        profiles_max: 4,
        character_grace_ms: 7 * 24 * 60 * 60_000,
        erasure_grace_ms: 30 * 24 * 60 * 60_000,
    }
}

/// An identity provider that is away: nobody listens at that port.
fn provider() -> ProviderConfig {
    ProviderConfig {
        name: "example".into(),
        title: "Example".into(),
        issuer: "http://127.0.0.1:9".into(),
        client_id: "vyuha".into(),
        client_secret: None,
        redirect_uris: vec!["https://play.example.com/signed-in".into()],
        trust_email: false,
    }
}

/// The key of another server.
pub fn service_key() -> ServiceKeyConfig {
    let permissions = ["look", "suspend"].map(str::to_owned).to_vec();
    ServiceKeyConfig { id: "billing".into(), secret: "0123456789abcdef0123456789abcdef".into(), permissions }
}

/// As little work as there can be.
pub const CHEAP: HashCost = HashCost { memory_kib: 64, passes: 1, lanes: 1 };

/// The way to the database of this folder: a file in it, or one of a server whose URL it holds.
fn open_database(dir: &Path) -> Sql {
    if !on_postgres() {
        let path = dir.join("world.sqlite");
        drop(SqliteStore::open(&path, "test", &[AccountRow::TABLE], OlderSchema::Migrate).unwrap());
        return Sql::start([SqliteSql::open(&path).unwrap()], 64).unwrap();
    }
    let named = dir.join("url");
    let url = std::fs::read_to_string(&named).unwrap_or_else(|_| {
        let url = Postgres::shared().database();
        std::fs::write(&named, &url).unwrap();
        url
    });
    let settings = PostgresSettings::new(&url, None, None, None, Duration::from_secs(10)).unwrap();
    let (holder, home) = ("test".to_owned(), "test".to_owned());
    let lease = LeaseTerms { holder, home, ttl: Duration::from_mins(1), journal_exists: false };
    let mut store =
        PostgresStore::open(&settings, "test", &[AccountRow::TABLE], lease, OlderSchema::Migrate).unwrap();
    let epoch = store.begin_epoch().unwrap().epoch;
    Sql::start(PostgresSql::pool(&settings, "test", epoch, SERVICE_CONNECTIONS).unwrap(), 64).unwrap()
}

/// Whether this program is the one that runs the tests on PostgreSQL.
fn on_postgres() -> bool {
    std::env::args_os().next().is_some_and(|test| test.to_string_lossy().contains("on_postgres"))
}

/// What a service is made of, where it is not what most tests need.
pub struct Setup {
    pub config: ApiConfig,
    pub cost: HashCost,
    pub admin_key: Option<String>,
    /// By default as many calls as anybody likes.
    pub limits: Vec<LimitConfig>,
    /// Where it meets other nodes.
    pub hot: Option<Arc<dyn HotStore>>,
    /// Another node's database.
    pub sql: Option<Sql>,
}

impl Default for Setup {
    fn default() -> Setup {
        let admin_key = Some(ADMIN_KEY.into());
        Setup { config: config(), cost: CHEAP, admin_key, limits: Vec::new(), hot: None, sql: None }
    }
}

/// A game in which somebody plays when a test says so.
#[derive(Clone, Default)]
pub struct FakeGame {
    /// Which character plays with which account.
    pub playing: Arc<Mutex<HashMap<i64, i64>>>,
    /// Of which accounts and profiles it was told that what they owe has changed.
    pub told: Arc<Mutex<Vec<(i64, i64)>>>,
}

impl FakeGame {
    async fn run(self, mut asks: mpsc::Receiver<Ask>) {
        while let Some(ask) = asks.recv().await {
            match ask {
                Ask::Playing { account, answer } => drop(answer.send(self.character_of(account))),
                Ask::Debt { account, profile } => self.told.lock().unwrap().push((account, profile)),
                Ask::Frozen { account, characters } => {
                    let mut playing = self.playing.lock().unwrap();
                    if playing.get(&account).is_some_and(|character| characters.contains(character)) {
                        playing.remove(&account);
                    }
                }
            }
        }
    }

    pub fn character_of(&self, account: i64) -> Option<i64> {
        self.playing.lock().unwrap().get(&account).copied()
    }

    pub fn play(&self, account: i64, character: i64) {
        self.playing.lock().unwrap().insert(account, character);
    }

    pub fn leave(&self, account: i64) {
        self.playing.lock().unwrap().remove(&account);
    }
}

pub struct Node {
    pub address: SocketAddr,
    pub service: Arc<Service>,
    pub clock_ms: Arc<AtomicI64>,
    pub sql: Sql,
    pub game: FakeGame,
    mails: mpsc::UnboundedReceiver<Mail>,
    thrown_out: mpsc::Receiver<ThrownOut>,
    /// What is announced; nobody hears it unless a test does.
    pub announcements: mpsc::Receiver<Announcement>,
    pub metrics: Arc<Metrics>,
    pub topics: Hub,
    /// Goes with the node.
    pub folder: Option<tempfile::TempDir>,
}

impl Node {
    pub async fn start() -> Node {
        Node::with(|_| {}).await
    }

    pub async fn without_admin_key() -> Node {
        let dir = tempfile::tempdir().unwrap();
        let mut node = Node::set_up(dir.path(), Setup { admin_key: None, ..Setup::default() }).await;
        node.folder = Some(dir);
        node
    }

    pub async fn with(change: impl FnOnce(&mut ApiConfig)) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config();
        change(&mut config);
        let mut node = Node::open(dir.path(), config, CHEAP).await;
        node.folder = Some(dir);
        node
    }

    /// A service on the data of this folder.
    pub async fn open(dir: &Path, config: ApiConfig, cost: HashCost) -> Node {
        Node::set_up(dir, Setup { config, cost, ..Setup::default() }).await
    }

    pub async fn set_up(dir: &Path, Setup { config, cost, admin_key, limits, hot, sql }: Setup) -> Node {
        let folder = dir.to_owned();
        let sql = match sql {
            Some(sql) => sql,
            None => tokio::task::spawn_blocking(move || open_database(&folder)).await.unwrap(),
        };
        let (smtp, mails) = mailbox::start().await;
        let outlet = Outlet::Smtp { url: format!("smtp://{smtp}"), login: None };
        let templates = Templates::load(None).unwrap();
        let (mailer, postman) =
            mail::open(&outlet, "Vyuha <noreply@example.com>", &config.site, templates).unwrap();
        tokio::spawn(postman.run());
        let (out, thrown_out) = mpsc::channel(8);
        let (announce, announcements) = mpsc::channel(1);
        let (ask, asks) = mpsc::channel(8);
        let game = FakeGame::default();
        tokio::spawn(game.clone().run(asks));
        let clock_ms = Arc::new(AtomicI64::new(1_700_000_000_000));
        let clock = clock_ms.clone();
        let metrics = Arc::new(Metrics::new(1, "test", "test"));
        let topics = Hub::new(Broker::new(1, clock_ms.load(Ordering::Relaxed)));
        let parts = Parts {
            config,
            sql: sql.clone(),
            hasher: Accounts::start(AccountsConfig { cost, ..AccountsConfig::default() }).unwrap(),
            vault: Vault::open(&dir.join("key")).unwrap(),
            throttle: Arc::new(if hot.is_some() { Throttle::settled() } else { Throttle::default() }),
            limits: Limits::new(&limits, hot.is_some()).unwrap(),
            hot,
            mailer,
            providers: Providers::new(vec![provider()]).unwrap(),
            peers: ServiceKeys::new(vec![service_key()]).unwrap(),
            admin_key,
            thrown_out: out,
            game: Game(ask),
            names: Names::load(None).unwrap(),
            newcomer: Arc::new(|id| (1, id, id)),
            topics: topics.clone(),
            announcements: announce,
            metrics: metrics.clone(),
            clock: Arc::new(move || clock.load(Ordering::Relaxed)),
        };
        let service = Arc::new(Service::open(parts).await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(vyuha_accounts::serve(listener, service.clone(), std::future::pending()));
        Node {
            address,
            service,
            clock_ms,
            sql,
            game,
            mails,
            thrown_out,
            announcements,
            metrics,
            topics,
            folder: None,
        }
    }

    /// What time it is.
    pub fn service_ms(&self) -> i64 {
        self.clock_ms.load(Ordering::Relaxed)
    }

    /// Lets time pass.
    pub fn wait_ms(&self, ms: i64) {
        self.clock_ms.fetch_add(ms, Ordering::Relaxed);
    }

    pub async fn send(&self, request: Request) -> Answer {
        request.send(self.address).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Request::new("POST", &format!("/api/v1{path}")).json(&body)).await
    }

    /// A request of somebody signed in.
    pub async fn call(&self, method: &'static str, path: &str, token: &str, body: Option<Value>) -> Answer {
        let request = Request::new(method, &format!("/api/v1{path}")).bearer(token);
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        self.send(request).await
    }

    /// The next account that is to be thrown out of the game.
    pub async fn thrown_out(&mut self) -> ThrownOut {
        self.thrown_out.recv().await.unwrap()
    }

    /// The next mail.
    pub async fn mail(&mut self) -> Mail {
        let next = tokio::time::timeout(Duration::from_secs(10), self.mails.recv());
        next.await.expect("a mail within 10 s").unwrap()
    }

    /// That no mail has come; one that is under way would be there in this time.
    pub async fn no_mail(&mut self) {
        let next = tokio::time::timeout(Duration::from_millis(200), self.mails.recv()).await;
        assert!(next.is_err(), "{next:?}");
    }

    /// Registers an account and confirms its address.
    pub async fn register(&mut self, email: &str) -> i64 {
        self.post("/registrations", json!({ "email": email, "password": PASSWORD })).await.expect(202, "");
        let mail = self.mail().await;
        assert_eq!(mail.to, email);
        let token = mail.token("vyv_");
        let confirmed = self.post("/registrations/confirm", json!({ "token": token })).await.expect(201, "");
        confirmed.json()["account"].as_i64().unwrap()
    }

    pub async fn sign_in(&self, login: &str, password: &str) -> Answer {
        self.post("/sessions", json!({ "login": login, "password": password })).await
    }

    /// Access and refresh token of a new session.
    pub async fn tokens(&self, login: &str) -> (String, String) {
        let tokens = self.sign_in(login, PASSWORD).await.expect(201, "");
        (tokens.text("access_token"), tokens.text("refresh_token"))
    }
}
