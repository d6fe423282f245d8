//! The product's own account service on a port, with its accounts in a SQLite file; and the bare handler that it is held against.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow};
use axum::routing::get;
use axum::{Json, Router};
use rustix::process::setpriority_process;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use vyuha_accounts::jwt::Algorithm;
use vyuha_accounts::limits::{By, LimitConfig, Limits};
use vyuha_accounts::mail::{self, Outlet, Templates};
use vyuha_accounts::oidc::Providers;
use vyuha_accounts::problem::Problem;
use vyuha_accounts::signed::ServiceKeys;
use vyuha_accounts::throttle::Throttle;
use vyuha_accounts::vault::Vault;
use vyuha_accounts::{ApiConfig, Parts, Service};
use vyuha_gateway::Metrics;
use vyuha_gateway::accounts::{Accounts, AccountsConfig, HashCost};
use vyuha_record::Record as _;
use vyuha_store::migrate::OlderSchema;
use vyuha_store::sql::{Sql, SqliteSql};
use vyuha_store::{AccountRow, SqliteStore};
use vyuha_topics::{Broker, Hub};

pub const PASSWORD: &str = "a password of the bench";
/// The niceness of the API's thread, as in the server.
const NICENESS: i32 = 5;
/// The limits of the server, which let more through here.
const LIMITS: [(&str, By); 2] = [("calls", By::Caller), ("address", By::Address)];
/// More than are made.
const CALLS_MAX: u32 = 1_000_000;
const SITE: &str = "http://localhost:7781";

/// A port that is served on a thread of its own.
pub struct Port {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Port {
    /// Serves, on a thread of this name, what is made of a listener and of what completes when it is to stop.
    fn start<F>(
        name: &str,
        serve: impl FnOnce(TcpListener, oneshot::Receiver<()>) -> F + Send + 'static,
    ) -> anyhow::Result<Port>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let (stop, stopping) = oneshot::channel();
        let (told, address) = std::sync::mpsc::channel();
        let run = move || {
            // Best effort: where it is not allowed, the clock shows it, and processor time hardly does.
            let _ = setpriority_process(None, NICENESS);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                // Whoever started this may be gone.
                let _ = told.send(listener.local_addr()?);
                serve(listener, stopping).await
            })
        };
        let thread = thread::Builder::new().name(name.into()).spawn(run)?;
        let address = address.recv().context("the port was not opened")?;
        Ok(Port { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Ends it.
    pub fn end(mut self) -> anyhow::Result<()> {
        drop(self.stop.take());
        let thread = self.thread.take().context("a port ends once")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// What the bare handler answers: as much as `GET /api/v1/me` does.
#[derive(Serialize)]
struct Bare {
    account: i64,
    name: &'static str,
    email: &'static str,
    second_factor: bool,
    created_ms: i64,
}

/// A handler that answers what the account would be answered, with nothing around it.
pub fn serve_bare(name: &str) -> anyhow::Result<Port> {
    Port::start(name, |listener, stopping| async move {
        let me = || async {
            let (name, email) = ("player-0000", "player-0000@example.com");
            Json(Bare { account: 1, name, email, second_factor: false, created_ms: 1_700_000_000_000 })
        };
        let stopped = async { drop(stopping.await) };
        axum::serve(listener, Router::new().route("/api/v1/me", get(me)))
            .with_graceful_shutdown(stopped)
            .await
            .context("the bare port failed")
    })
}

/// The service with so many accounts, and what they sign in with.
pub fn serve(name: &str, dir: &Path, accounts: usize) -> anyhow::Result<(Port, Vec<String>)> {
    let path = dir.join("accounts.sqlite");
    drop(SqliteStore::open(&path, "sim-bench", &[AccountRow::TABLE], OlderSchema::Migrate)?);
    let sql = Sql::start([SqliteSql::open(&path)?], 1024)?;
    let hasher = Accounts::start(AccountsConfig::default())?;
    let logins: Vec<String> = (0..accounts).map(|index| format!("player-{index:04}@example.com")).collect();
    let (dir, emails) = (dir.to_owned(), logins.clone());
    let port = Port::start(name, move |listener, stopping| async move {
        let hash = hasher.hash(PASSWORD).await?;
        sql.transaction(move |tx| {
            for (email, id) in emails.iter().zip(1i64..) {
                let name = email.split('@').next().unwrap_or_default();
                tx.execute(
                    "INSERT INTO account (id, name, password_hash, created_ms, email) VALUES (?1, ?2, ?3, ?4, ?5)",
                    &[id.into(), name.into(), hash.clone().into(), now_ms().into(), email.clone().into()],
                )
                .map_err(Problem::from)?;
            }
            Ok::<_, Problem>(())
        })
        .await
        .map_err(|problem| anyhow!("the accounts cannot be made: {problem:?}"))?;
        let service = Service::open(parts(&dir, sql, hasher)?).await;
        let service = service.map_err(|problem| anyhow!("the service cannot be opened: {problem:?}"))?;
        let stopped = async { drop(stopping.await) };
        vyuha_accounts::serve(listener, Arc::new(service), stopped).await.context("the API's port failed")
    })?;
    Ok((port, logins))
}

/// As the server sets it up, but for what needs files of its own.
fn parts(dir: &Path, sql: Sql, hasher: Accounts) -> anyhow::Result<Parts> {
    let outlet = Outlet::Folder(dir.join("mail"));
    // Nobody here is sent mail.
    let (mailer, _) = mail::open(&outlet, "Vyuha <noreply@localhost>", SITE, Templates::load(None)?)?;
    let (thrown_out, _) = mpsc::channel(1);
    let (announcements, _) = mpsc::channel(1);
    Ok(Parts {
        config: ApiConfig {
            site: SITE.into(),
            algorithm: Algorithm::EdDsa,
            open_registration: false,
            origins: Vec::new(),
            behind_proxy: false,
            game_address: "127.0.0.1:7777".into(),
        },
        sql,
        hasher,
        vault: Vault::open(&dir.join("secret.key"))?,
        throttle: Arc::new(Throttle::default()),
        limits: Limits::new(&LIMITS.map(|(name, by)| LimitConfig::per_minute(name, by, CALLS_MAX)), false)?,
        hot: None,
        mailer,
        providers: Providers::new(Vec::new())?,
        peers: ServiceKeys::new(Vec::new())?,
        admin_key: None,
        topics: Hub::new(Broker::new(1, now_ms())),
        thrown_out,
        announcements,
        metrics: Arc::new(Metrics::new(1, "sim-bench", "sim-bench")),
        clock: Arc::new(now_ms),
    })
}

/// What a password costs there.
pub fn cost() -> HashCost {
    AccountsConfig::default().cost
}

fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_1970.unwrap_or(Duration::ZERO).as_millis() as i64
}
