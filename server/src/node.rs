//! One node: its shards, its journal and its control plane, started and ended in the right order.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use tokio::sync::watch;
use tokio::task::LocalSet;
use vyuha_accounts::characters::Newcomer;
use vyuha_accounts::names::Names;
use vyuha_game::character::newcomer_place;
use vyuha_game::ground::ZoneRow;
use vyuha_game::inventory::PLACE_GROUND;
use vyuha_game::ledger::LedgerRow;
use vyuha_game::{Content, ItemRow};
use vyuha_gateway::accounts::{Accounts, AccountsConfig, HashCost};
use vyuha_gateway::{Gateway, Metrics, NodeBeat, NodeInfo, NodeLoad, ZoneInfo};
use vyuha_net::probe::{self, Finding, Needs, Severity, Verdict};
use vyuha_net::runtime::Driver;
use vyuha_protocol::CharacterId;
use vyuha_record::{Record, Table};
use vyuha_store::logs::{LogTable, Period};
use vyuha_store::migrate::OlderSchema;
use vyuha_store::{
    AccountRow, BreakerState, Durability, DurabilityConfig, Handle, LINGER, OnStopped, PersistenceConfig,
    PostgresSettings, Producer, StoreConfig, TypedStore,
};

use crate::api::{self, ApiPort};
use crate::certificate;
use crate::config::{Config, Database, StoreUrl};
use crate::control::Control;
use crate::doors::{Departures, Neighbours, ShardDoors};
use crate::events::{self, EventRow, Events};
use crate::hot::{Hot, HotFeeds, Sharing};
use crate::placement::ZoneTable;
use crate::record::Recordings;
use crate::run::{self, RunRow, source};
use crate::scan::{self, Scanner};
use crate::shards::{self, Shards, World, zones_of_shards};
use crate::telemetry::{SharedTotals, Telemetry};
use crate::topics::{self, TopicFeeds};
use crate::traces::Traces;

/// Connections that the kernel may hold before they are accepted.
const LISTEN_BACKLOG: u32 = 1024;
/// By how much the control plane is nicer than the shards: a third of their share of a processor that they all want.
const NICE: i32 = 5;
/// Frames by which the database may be behind the journal before the node is not ready.
const STORE_LAG_FRAMES_MAX: u64 = 10_000;

/// Transactions of account services that may wait for the database; the next one is told to try again.
const TRANSACTIONS_MAX: usize = 1024;

/// A running node.
pub struct Node {
    /// Where players connect.
    pub listen: SocketAddr,
    /// Where the console page is.
    pub admin: SocketAddr,
    /// What drives shards and sockets.
    pub driver: Driver,
    /// Where browsers play.
    pub web: SocketAddr,
    /// Where the HTTP API of accounts is, where it is on.
    pub api: Option<SocketAddr>,
    /// Where client assets are served, where they are.
    pub assets: Option<SocketAddr>,
    /// What each shard measured.
    pub totals: Vec<SharedTotals>,
    stop: watch::Sender<bool>,
    control: JoinHandle<anyhow::Result<()>>,
}

impl Node {
    /// Starts a node: checks the machine, opens the data, lets the shards run and opens the doors.
    pub fn start(config: &Config) -> anyhow::Result<Node> {
        let driver = check_machine(config)?;
        let identity = certificate::load(config)?;
        let hot = Hot::open(config)?;
        let content = Arc::new(load_content(config)?);
        let shards = config.shards() as u16;
        let simd = config.shard.simd.level();
        tracing::info!(simd = simd.name(), "vector instructions of the zones' passes");
        let metrics = Arc::new(Metrics::new(shards, env!("CARGO_PKG_VERSION"), crate::COMMIT));
        let recordings = Recordings::prepare(&config.record.dir, &metrics)?;
        let (failed, failure) = watch::channel(None);
        let (durability, mut producers) = open_durability(config, &content, shards, &failed)?;
        let log_producer =
            producers.pop().context("the journal has no producer for the log of operations")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the control plane's runtime cannot be started")?;
        let runs = runtime.block_on(run::begin(&durability, config.node.name.as_str(), shards))?;
        let world = runtime.block_on(load_world(&durability))?;
        let run = runs.last().context("the run that begins is not among those of the node")?.epoch;

        let listener = vyuha_net::listen::listen(config.listen.address, LISTEN_BACKLOG)
            .with_context(|| format!("listen.address = {} cannot be used", config.listen.address))?;
        let admin = TcpListener::bind(config.admin.address)
            .with_context(|| format!("admin.address = {} cannot be used", config.admin.address))?;
        admin.set_nonblocking(true).context("admin.address")?;
        let web = vyuha_net::listen::listen(config.web.address, LISTEN_BACKLOG)
            .with_context(|| format!("web.address = {} cannot be used", config.web.address))?;
        let api = config.api.enabled.then(|| {
            vyuha_net::listen::listen(config.api.address, LISTEN_BACKLOG)
                .with_context(|| format!("api.address = {} cannot be used", config.api.address))
        });
        let api = api.transpose()?;
        let assets = (!config.assets.store.is_empty()).then(|| {
            let listener = vyuha_net::listen::listen(config.assets.address, LISTEN_BACKLOG);
            listener.with_context(|| format!("assets.address = {} cannot be used", config.assets.address))
        });
        let assets = assets.transpose()?;
        let (listen_address, admin_address, web_address) =
            (listener.local_addr()?, admin.local_addr()?, web.local_addr()?);

        let zones = zones_of_shards(&content, shards);
        let dealt = (0..).zip(&zones).flat_map(|(shard, zones)| zones.iter().map(move |id| (*id, shard)));
        let table = ZoneTable::new(dealt);
        let (mut gateway, feed) = Gateway::new(
            node_info(config, &content, &table),
            metrics.clone(),
            [config.admin.address.ip().to_string()],
        )?;
        if let Some(identity) = &identity {
            gateway.set_tls(identity.browsers());
        }
        add_checks(&mut gateway, &durability.handle(), &failure);
        share_hot(&mut gateway, &hot);
        let move_orders = gateway.move_orders();
        let topics = topics::open()?;
        let (events, writer) = events::open(log_producer, run, topics.clone(), metrics.events_lost.clone());
        let scanner = start_scanner(config, &durability, &content, &metrics, &events, &mut gateway)?;
        let neighbours = Neighbours::all(shards, &table);
        let (doors, requests) = ShardDoors::new(shards, table.clone());
        let (departures, leaving) = Departures::new(shards);
        let (feeds, hot_feed) = HotFeeds::new(shards, config.shard.tick_hz, &metrics.hot.dropped);
        let (topic_feeds, topic_feed) = TopicFeeds::new(shards, config.shard.tick_hz);
        let sharing = Sharing {
            hot,
            runs,
            store: durability.handle(),
            feeds,
            beat: node_beat(config, listen_address, admin_address),
            load: gateway.load_probe(),
            topics: topics.clone(),
            announcements: gateway.announcements(),
        };
        let announcer = gateway.announcer();
        let draining = Arc::new(AtomicBool::new(false));
        let totals: Vec<SharedTotals> = (0..shards).map(|_| SharedTotals::default()).collect();
        let hosts = shards::start(
            config,
            Shards {
                driver,
                content: &content,
                zones,
                world,
                producers,
                requests,
                neighbours,
                leaving,
                hot: hot_feed,
                topics: topic_feed,
                draining: &draining,
                recordings,
            },
            |shard| {
                let totals = totals[shard as usize].clone();
                let (metrics, feed, zones) = (metrics.clone(), feed.clone(), table.clone());
                Telemetry::new(shard, config.shard.tick_hz, metrics, feed, totals, zones)
            },
            &failed,
        )?;
        let (web, web_players) =
            crate::web::serve(config, &content, metrics.clone(), web, identity.as_ref())?;
        let accounts = start_hashing(config)?;
        let sql = durability.services(TRANSACTIONS_MAX)?;
        let content_dir = Some(config.content.dir.as_path()).filter(|dir| !dir.as_os_str().is_empty());
        let names = Names::load(content_dir)?;
        let newcomer = newcomers(content.clone());
        let api_address = api.as_ref().map(TcpListener::local_addr).transpose()?;
        let shared = api::Shared {
            sql: sql.clone(),
            names: names.clone(),
            newcomer: newcomer.clone(),
            hasher: accounts.clone(),
            topics,
            feeds: topic_feeds,
            metrics: metrics.clone(),
            announcements: announcer,
        };
        let api = api.map(|listener| ApiPort::start(config, shared, listener)).transpose()?;
        let assets_address = assets.as_ref().map(TcpListener::local_addr).transpose()?;
        let assets = assets.map(|listener| crate::assets::serve(config, listener)).transpose()?;
        let control = Control {
            config: config.clone(),
            content,
            metrics,
            durability,
            doors,
            zones: table,
            move_orders,
            sharing,
            departures,
            draining,
            hosts,
            failure,
            accounts,
            sql,
            names,
            newcomer,
            api,
            assets,
            web,
            scanner,
            events,
            writer,
            identity,
            web_players,
        };
        let (stop, stopping) = watch::channel(false);
        let control = std::thread::Builder::new()
            .name("vyuha-control".into())
            .spawn(move || {
                yield_to_shards();
                LocalSet::new().block_on(&runtime, control.run(listener, admin, gateway, stopping))
            })
            .context("the control plane's thread cannot be started")?;
        let (listen, admin, web, api) = (listen_address, admin_address, web_address, api_address);
        Ok(Node { listen, admin, driver, web, api, assets: assets_address, totals, stop, control })
    }

    /// Asks the node to end in good order; [`Node::join`] waits for it.
    pub fn stop(&self) {
        // A control plane that has ended needs no asking.
        let _ = self.stop.send(true);
    }

    /// Whether the node has ended, in order or not.
    pub fn has_ended(&self) -> bool {
        self.control.is_finished()
    }

    /// Waits for the node's end.
    ///
    /// # Errors
    /// Why it ended, if it was not asked to.
    pub fn join(self) -> anyhow::Result<()> {
        self.control.join().unwrap_or_else(|_| bail!("the control plane panicked: see the log"))
    }
}

/// Lets the shards go first where they share a processor with the calling thread, and with those that it starts: what
/// strangers make it do must not make a tick late.
pub fn yield_to_shards() {
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::info!(%error, "the control plane runs beside the shards as their equal");
    }
}

/// Runs a node until SIGINT or SIGTERM. Prints one line of JSON when players can connect.
pub fn serve(config: &Config) -> anyhow::Result<()> {
    let traces = Traces::start(config)?;
    crate::logging::init(&config.log, traces.as_ref());
    let stop = crate::signals::stop_requested()?;
    let node = Node::start(config)?;
    let ready = serde_json::json!({
        "ready": true,
        "listen": node.listen.to_string(),
        "admin": node.admin.to_string(),
        "driver": node.driver.name(),
        "web": node.web.to_string(),
        "api": node.api.map(|api| api.to_string()),
        "assets": node.assets.map(|assets| assets.to_string()),
        "pid": std::process::id(),
    });
    println!("{ready}");
    let scheme = if config.speaks_tls() { "https" } else { "http" };
    tracing::info!(
        listen = %node.listen,
        console = %format_args!("{scheme}://{}/", node.admin),
        play = %format_args!("{scheme}://{}/", node.web),
        "ready"
    );
    while !stop.load(Ordering::Relaxed) && !node.has_ended() {
        std::thread::sleep(Duration::from_millis(20));
    }
    node.stop();
    node.join()
}

/// Refuses to start where the machine is short of something, and says exactly what to change.
/// What is to drive the shards comes back.
fn check_machine(config: &Config) -> anyhow::Result<Driver> {
    let needs = Needs {
        driver: config.net.driver.wanted(),
        shards: config.shards(),
        pin: config.shard.pin,
        io_memory_bytes: config.shard.memory.bytes() as u64,
        // A browser takes two files beside the one that it has like everybody.
        connections_max: u64::from(config.net.connections_max) + 2 * u64::from(config.web.connections_max),
    };
    let facts = probe::gather(&needs).context("what this machine allows cannot be found out")?;
    let Verdict { driver, findings } = probe::judge(&needs, &facts);
    let (fatal, others): (Vec<Finding>, Vec<Finding>) =
        findings.into_iter().partition(|finding| finding.severity == Severity::Fatal);
    for finding in others {
        match finding.severity {
            Severity::Note => tracing::info!("{finding}"),
            Severity::Warning | Severity::Fatal => tracing::warn!("{finding}"),
        }
    }
    if fatal.is_empty() {
        tracing::info!("shards and sockets are driven by {}", driver.name());
        return Ok(driver);
    }
    let list: Vec<String> = fatal.iter().map(Finding::to_string).collect();
    bail!("this machine is short of what the node needs:\n{}", list.join("\n"))
}

/// The world that the configuration names.
pub fn load_content(config: &Config) -> anyhow::Result<Content> {
    if config.content.dir.as_os_str().is_empty() {
        return Ok(Content::example());
    }
    Content::load(&config.content.dir)
        .with_context(|| format!("content.dir = {}", config.content.dir.display()))
}

/// Every table of this version.
pub fn tables() -> Vec<Table> {
    [&[AccountRow::TABLE, EventRow::TABLE, RunRow::TABLE], vyuha_game::TABLES].concat()
}

/// Where newcomers begin: spread over the zones where one may.
fn newcomers(content: Arc<Content>) -> Newcomer {
    Arc::new(move |id| {
        let zones: Vec<_> = content.start_zones().collect();
        let start = zones[id as usize % zones.len()];
        let begin = start.begin(id as usize / zones.len());
        let at = newcomer_place(&start.map, begin, start.spawn_stroll_m, CharacterId(id));
        (start.id.0.into(), at.x.into(), at.y.into())
    })
}

fn start_hashing(config: &Config) -> anyhow::Result<Accounts> {
    let accounts = Accounts::start(AccountsConfig {
        cost: HashCost {
            memory_kib: (config.accounts.hash_memory.bytes() / 1024) as u32,
            passes: config.accounts.hash_iterations,
            lanes: 1,
        },
        threads: 1,
        waiting_max: config.accounts.hash_queue as usize,
    })?;
    Ok(accounts)
}

fn open_durability(
    config: &Config,
    content: &Content,
    shards: u16,
    failed: &watch::Sender<Option<String>>,
) -> anyhow::Result<(Durability, Vec<Producer>)> {
    let failed = failed.clone();
    let on_stopped: OnStopped = Arc::new(move |reason| {
        failed.send_replace(Some(reason.to_owned()));
    });
    let durability = DurabilityConfig {
        data_dir: config.data.dir.clone(),
        node: config.node.name.as_str().to_owned(),
        // One for each shard, and one for the log of operations.
        producers: shards as usize + 1,
        segment_bytes: config.journal.segment.bytes() as u64,
        journal_bytes_max: config.journal.max.bytes() as u64,
        queue_batches: config.journal.queue_batches as usize,
        store: store_config(config)?,
        logs: logs(config, content),
        archive_dir: match &config.store.archive_dir {
            dir if dir.as_os_str().is_empty() => config.data.dir.join("archive"),
            dir => dir.clone(),
        },
        older_schema: if config.store.migrate { OlderSchema::Migrate } else { OlderSchema::Refuse },
        persistence: PersistenceConfig { linger: LINGER, ..PersistenceConfig::default() },
    };
    Durability::open(&durability, &tables(), &on_stopped).context("the node's data cannot be opened")
}

/// The tables that only grow. Devices are in no table yet.
fn logs(config: &Config, content: &Content) -> Vec<LogTable> {
    vec![
        LogTable {
            name: LedgerRow::TABLE.name,
            time_column: "at_ms",
            period: Period::Month,
            is_partitioned: true,
            retention: config.store.ledger_retention,
            carry: Some(scan::carry_ledger(content)),
        },
        LogTable {
            name: EventRow::TABLE.name,
            time_column: "at_ms",
            period: Period::Week,
            is_partitioned: true,
            retention: config.store.event_retention,
            carry: None,
        },
        LogTable {
            name: "session",
            time_column: "expires_ms",
            period: Period::Month,
            is_partitioned: false,
            retention: config.store.session_retention,
            carry: None,
        },
    ]
}

fn start_scanner(
    config: &Config,
    durability: &Durability,
    content: &Arc<Content>,
    metrics: &Arc<Metrics>,
    events: &Events,
    gateway: &mut Gateway,
) -> anyhow::Result<Scanner> {
    let store = durability.log_store();
    let (orders, scans) = gateway.scan_orders();
    let (content, metrics, events) = (content.clone(), metrics.clone(), events.clone());
    let interval = config.store.scan_interval;
    Scanner::start(scan::Parts { store, interval, content, metrics, events, scans, orders })
}

/// The database that the configuration names.
pub fn store_config(config: &Config) -> anyhow::Result<StoreConfig> {
    let Database { url, password_file, ca_file, timeout, lease, .. } = &config.store;
    let StoreUrl::Postgres(url) = url else { return Ok(StoreConfig::Sqlite) };
    let password = std::env::var("PGPASSWORD").ok();
    let named = |file: &PathBuf| (!file.as_os_str().is_empty()).then(|| file.clone());
    let (password_file, ca_file) = (named(password_file), named(ca_file));
    let settings = PostgresSettings::new(
        url,
        password.as_deref(),
        password_file.as_deref(),
        ca_file.as_deref(),
        *timeout,
    )?;
    Ok(StoreConfig::Postgres { settings: Box::new(settings), lease_ttl: *lease })
}

/// What lies on the ground, once all that the last run left in the journal is applied.
async fn load_world(durability: &Durability) -> anyhow::Result<World> {
    let store = durability.handle();
    store.wait_applied(durability.durable_seq()).await?;
    let began_ms = crate::clock::unix_ms();
    let seed = began_ms as u64;
    tracing::info!(seed, "what is random follows this seed");
    // Each run gives ids of a range of its own, so that none is ever given twice, whatever was deleted since.
    let next_item_id = source(durability.epoch() as i64, 0);
    let world = store
        .call(move |store| {
            let ground = store.load::<ItemRow>(&[("place", PLACE_GROUND.into())])?;
            let known = store.load::<ZoneRow>(&[])?;
            Ok(World { ground, known, next_item_id, seed, began_ms })
        })
        .await?;
    Ok(world)
}

fn node_info(config: &Config, content: &Content, table: &ZoneTable) -> NodeInfo {
    let site = config.api.site.trim_end_matches('/');
    NodeInfo {
        staff: config.api.enabled.then(|| format!("{site}/console/")),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: crate::COMMIT.to_owned(),
        started: SystemTime::now(),
        tick_hz: config.shard.tick_hz,
        shards: config.shards() as u16,
        zones: content
            .zones
            .iter()
            .map(|zone| ZoneInfo {
                id: zone.id.0,
                name: zone.name.clone(),
                shard: table.place(zone.id).expect("every zone is dealt to a shard"),
                width_tiles: zone.map.width(),
                height_tiles: zone.map.height(),
                walls: zone.map.wall_bits(),
            })
            .collect(),
    }
}

/// What does not change of what the node tells the others of itself.
fn node_beat(config: &Config, listen: SocketAddr, admin: SocketAddr) -> NodeBeat {
    NodeBeat {
        name: config.node.name.as_str().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: crate::COMMIT.to_owned(),
        listen: listen.to_string(),
        admin: admin.to_string(),
        started_unix_ms: crate::clock::unix_ms(),
        told_unix_ms: 0,
        load: NodeLoad::default(),
    }
}

/// Lets the admin port read hot data, and say how that is doing.
fn share_hot(gateway: &mut Gateway, hot: &Hot) {
    let state = hot.clone();
    gateway.set_hot(hot.store.clone(), move || state.state());
    let checked = hot.clone();
    gateway.add_comfort("redis", Box::new(move || checked.check()));
}

fn add_checks(gateway: &mut Gateway, store: &Handle, failure: &watch::Receiver<Option<String>>) {
    let failure = failure.clone();
    gateway.add_check("journal", Box::new(move || failure.borrow().clone().map_or(Ok(()), Err)));
    let store = store.clone();
    gateway.add_check(
        "store",
        Box::new(move || {
            let stats = store.stats();
            let frames = stats.durable_seq.saturating_sub(stats.applied_seq);
            let behind = format!(
                "{frames} frames, {} bytes, {:.1} s behind",
                stats.lag_bytes,
                stats.lag.as_secs_f64()
            );
            match (stats.last_error, stats.breaker) {
                (Some(error), _) => Err(format!("the database fails ({behind}): {error}")),
                (None, BreakerState::Open) => Err(format!("the database cannot be reached ({behind})")),
                _ if frames > STORE_LAG_FRAMES_MAX => Err(format!("the database is {behind}")),
                _ => Ok(()),
            }
        }),
    );
}
