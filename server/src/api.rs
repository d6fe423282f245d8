//! The port of the HTTP API of accounts.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use vyuha_accounts::bans;
use vyuha_accounts::characters::Newcomer;
use vyuha_accounts::game::{ASKS_MAX, Ask, Game};
use vyuha_accounts::jwt::Algorithm;
use vyuha_accounts::limits::{By, LimitConfig, Limits};
use vyuha_accounts::mail::{self, Outlet, Templates};
use vyuha_accounts::names::Names;
use vyuha_accounts::oidc::{ProviderConfig, Providers};
use vyuha_accounts::signed::{ServiceKeyConfig, ServiceKeys};
use vyuha_accounts::throttle::Throttle;
use vyuha_accounts::vault::Vault;
use vyuha_accounts::{ApiConfig, Parts, Service, ThrownOut};
use vyuha_gateway::accounts::Accounts;
use vyuha_gateway::{Announcement, Metrics};
use vyuha_store::sql::Sql;
use vyuha_topics::Hub;

use crate::config::{Config, TokenAlgorithm};
use crate::hot::Hot;
use crate::port::PortThread;
use crate::topics::{TopicFeeds, relay};

/// How often keys are turned and what is over is deleted.
const TIDY_INTERVAL: Duration = Duration::from_hours(1);
/// Accounts that wait to be thrown out of the game.
const THROWN_OUT_MAX: usize = 1024;
/// The file in the data folder that seals keys and secrets.
const KEY_FILE: &str = "secret.key";

/// The API's thread.
pub struct ApiPort {
    /// What it serves, for tickets.
    pub service: Arc<Service>,
    /// Accounts that are to be thrown out of the game, until somebody takes them.
    pub thrown_out: Option<mpsc::Receiver<ThrownOut>>,
    /// What it asks of the game, until somebody takes that.
    pub asks: Option<mpsc::Receiver<Ask>>,
    /// What serves it.
    pub thread: PortThread,
}

/// What the API has of the node.
pub struct Shared {
    /// The node's database.
    pub sql: Sql,
    /// What characters may be called.
    pub names: Names,
    /// Where they begin.
    pub newcomer: Newcomer,
    /// Password hashing.
    pub hasher: Accounts,
    /// What pages listen to.
    pub topics: Hub,
    /// What shards tell of to them.
    pub feeds: TopicFeeds,
    /// The node's figures.
    pub metrics: Arc<Metrics>,
    /// The way to all who play.
    pub announcements: mpsc::Sender<Announcement>,
}

impl ApiPort {
    /// Serves the API on `listener`, with the accounts in the node's database, and relays what shards tell of to topics.
    pub fn start(config: &Config, shared: Shared, listener: TcpListener) -> anyhow::Result<ApiPort> {
        let Shared { sql, names, newcomer, hasher, topics, feeds, metrics, announcements } = shared;
        let api = ApiConfig {
            site: config.api.site.clone(),
            algorithm: match config.api.token_algorithm {
                TokenAlgorithm::EdDsa => Algorithm::EdDsa,
                TokenAlgorithm::Rs256 => Algorithm::Rs256,
            },
            open_registration: config.accounts.open_registration,
            origins: config.api.origins().map(str::to_owned).collect(),
            behind_proxy: config.api.behind_proxy,
            game_address: match config.api.game_address.as_str() {
                "" => config.listen.address.to_string(),
                address => address.to_owned(),
            },
            profiles_max: config.accounts.profiles_max as usize,
            character_grace_ms: config.accounts.character_grace.as_millis() as i64,
            erasure_grace_ms: config.accounts.erasure_grace.as_millis() as i64,
        };
        let content = Some(config.content.dir.as_path()).filter(|dir| !dir.as_os_str().is_empty());
        let templates = Templates::load(content)?;
        let (mailer, postman) = mail::open(&outlet(config)?, &config.mail.from, &api.site, templates)?;
        let admin_key = match config.api.admin_key_file.as_path() {
            path if path.as_os_str().is_empty() => None,
            path => Some(read_secret(path, "api.admin_key_file")?),
        };
        // A connection of its own, on the API's thread: neither waits for the other.
        let hot = Hot::open(config)?.shared();
        let (out, thrown_out) = mpsc::channel(THROWN_OUT_MAX);
        let (ask, asks) = mpsc::channel(ASKS_MAX);
        let parts = Parts {
            config: api,
            sql,
            hasher,
            vault: Vault::open(&config.data.dir.join(KEY_FILE))?,
            throttle: Arc::new(if hot.is_some() { Throttle::settled() } else { Throttle::default() }),
            limits: limits(config, hot.is_some())?,
            hot,
            mailer,
            providers: providers(&config.api.providers_file)?,
            peers: service_keys(&config.api.service_keys_file)?,
            admin_key,
            thrown_out: out,
            game: Game(ask),
            names,
            newcomer,
            topics: topics.clone(),
            announcements,
            metrics: metrics.clone(),
            clock: Arc::new(crate::clock::unix_ms),
        };
        let runtime = PortThread::runtime()?;
        let service = runtime.block_on(Service::open(parts));
        let service =
            Arc::new(service.map_err(|_| anyhow::anyhow!("the API cannot be opened: see the log"))?);
        let served = service.clone();
        let thread = PortThread::start("vyuha-api", "the API", runtime, |stopping| async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::spawn(postman.run());
            tokio::spawn(tidy(served.clone()));
            tokio::spawn(relay(topics, feeds, metrics));
            tokio::spawn(refresh_bans(served.clone()));
            tokio::spawn(served.clone().share());
            vyuha_accounts::serve(listener, served, stopping.stopped()).await.context("the API's port failed")
        })?;
        Ok(ApiPort { service, thrown_out: Some(thrown_out), asks: Some(asks), thread })
    }
}

/// Where mail goes: to the mail server, or into the data folder where there is none.
fn outlet(config: &Config) -> anyhow::Result<Outlet> {
    let mail = &config.mail;
    if mail.smtp.is_empty() {
        return Ok(Outlet::Folder(config.data.dir.join("mail")));
    }
    let login = match mail.user.as_str() {
        "" => None,
        user => Some((user.to_owned(), read_secret(&mail.password_file, "mail.password_file")?)),
    };
    Ok(Outlet::Smtp { url: mail.smtp.clone(), login })
}

/// The file of identity providers.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ProvidersFile {
    provider: Vec<ProviderConfig>,
}

/// The file of other servers' keys.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceKeysFile {
    key: Vec<ServiceKeyConfig>,
}

/// The file of limits.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsFile {
    limit: Vec<LimitConfig>,
}

/// The limits of all calls, and those of a file.
fn limits(config: &Config, is_settled: bool) -> anyhow::Result<Limits> {
    let mut limits = vec![
        LimitConfig::per_minute("calls", By::Caller, config.api.calls_per_minute),
        LimitConfig::per_minute("address", By::Address, config.api.address_calls_per_minute),
    ];
    let path = &config.api.limits_file;
    let file: Option<LimitsFile> = read_table(path, "api.limits_file")?;
    limits.extend(file.into_iter().flat_map(|file| file.limit));
    Limits::new(&limits, is_settled).with_context(|| format!("api.limits_file = {}", path.display()))
}

/// The identity providers of a file.
fn providers(path: &Path) -> anyhow::Result<Providers> {
    let file: Option<ProvidersFile> = read_table(path, "api.providers_file")?;
    let providers = file.map(|file| file.provider).unwrap_or_default();
    Providers::new(providers).with_context(|| format!("api.providers_file = {}", path.display()))
}

/// The keys of a file.
fn service_keys(path: &Path) -> anyhow::Result<ServiceKeys> {
    let file: Option<ServiceKeysFile> = read_table(path, "api.service_keys_file")?;
    let keys = file.map(|file| file.key).unwrap_or_default();
    ServiceKeys::new(keys).with_context(|| format!("api.service_keys_file = {}", path.display()))
}

/// A TOML file with secrets in it; none where the path is empty.
fn read_table<T: serde::de::DeserializeOwned>(path: &Path, key: &str) -> anyhow::Result<Option<T>> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = read_secret(path, key)?;
    // The error as it is shows the line, which may be the one with the secret.
    let table: Result<T, _> = toml::from_str(&text);
    let table = table.map_err(|error| anyhow::anyhow!("{key} = {}: {}", path.display(), error.message()))?;
    Ok(Some(table))
}

/// What a file holds, without the end of its line.
fn read_secret(path: &Path, key: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{key} = {} cannot be read", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

async fn tidy(service: Arc<Service>) {
    let mut every = interval(TIDY_INTERVAL);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        // What failed is in the log, and is done the next time.
        let _ = service.tidy().await;
        let _ = service.upkeep().await;
    }
}

/// Learns of the addresses that other nodes banned.
async fn refresh_bans(service: Arc<Service>) {
    let mut every = interval(bans::REFRESH_INTERVAL);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        // What failed is in the log, and what was known holds.
        let _ = service.refresh_bans().await;
    }
}
