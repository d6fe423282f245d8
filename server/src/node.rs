//! One node: its shards, its journal and its control plane, started and ended in the right order.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use tokio::sync::watch;
use tokio::task::LocalSet;
use vyuha_game::ground::ZoneRow;
use vyuha_game::inventory::PLACE_GROUND;
use vyuha_game::{Content, ItemRow};
use vyuha_gateway::accounts::{Accounts, AccountsConfig, HashCost};
use vyuha_gateway::{Gateway, Metrics, NodeInfo, ZoneInfo};
use vyuha_net::probe::{self, Finding, Needs, Severity, Verdict};
use vyuha_net::runtime::Driver;
use vyuha_protocol::ZoneId;
use vyuha_record::{Record, Table};
use vyuha_store::{
    AccountRow, Durability, DurabilityConfig, Handle, OnStopped, PersistenceConfig, Producer, TypedStore,
};

use crate::api::ApiPort;
use crate::config::Config;
use crate::control::Control;
use crate::doors::{Departures, Neighbours, ShardDoors};
use crate::record::Recordings;
use crate::shards::{self, Shards, World, zones_of_shards};
use crate::telemetry::{SharedTotals, Telemetry};
use crate::web::WebPort;

/// The name under which a node of one keeps its position in the database.
const NODE_NAME: &str = "local";
/// Connections that the kernel may hold before they are accepted.
const LISTEN_BACKLOG: u32 = 1024;
/// A run can give 2^40 item ids (a thousand a second for 34 years), and there is room for 2^23 runs.
const ITEM_IDS_PER_RUN_BITS: u32 = 40;
/// Frames by which the database may be behind the journal before the node is not ready.
const STORE_LAG_FRAMES_MAX: u64 = 10_000;

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
    /// What each shard measured.
    pub totals: Vec<SharedTotals>,
    stop: watch::Sender<bool>,
    control: JoinHandle<anyhow::Result<()>>,
}

impl Node {
    /// Starts a node: checks the machine, opens the data, lets the shards run and opens the doors.
    pub fn start(config: &Config) -> anyhow::Result<Node> {
        let driver = check_machine(config)?;
        let content = Arc::new(load_content(config)?);
        let shards = config.shards() as u16;
        let simd = config.shard.simd.level();
        tracing::info!(simd = simd.name(), "vector instructions of the zones' passes");
        let metrics = Arc::new(Metrics::new(shards, env!("CARGO_PKG_VERSION"), crate::COMMIT));
        let recordings = Recordings::prepare(&config.record.dir, &metrics)?;
        let (failed, failure) = watch::channel(None);
        let (durability, producers) = open_durability(config, shards, &failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the control plane's runtime cannot be started")?;
        let world = runtime.block_on(load_world(&durability))?;

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
        let (listen_address, admin_address, web_address) =
            (listener.local_addr()?, admin.local_addr()?, web.local_addr()?);

        let zones = zones_of_shards(&content, shards);
        let (mut gateway, feed) = Gateway::new(
            node_info(config, &content, &zones),
            metrics.clone(),
            [config.admin.address.ip().to_string()],
        )?;
        add_checks(&mut gateway, &durability.handle(), &failure);
        let owners: Vec<(i64, u16)> = zones
            .iter()
            .zip(0..)
            .flat_map(|(zones, shard)| zones.iter().map(move |id| (i64::from(id.0), shard)))
            .collect();
        let neighbours = Neighbours::all(shards, owners.iter().copied());
        let (doors, requests) = ShardDoors::new(shards, owners);
        let (departures, leaving) = Departures::new(shards);
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
                draining: &draining,
                recordings,
            },
            |shard| {
                let totals = totals[shard as usize].clone();
                Telemetry::new(shard, config.shard.tick_hz, metrics.clone(), feed.clone(), totals)
            },
            &failed,
        )?;
        let (web, web_players) = WebPort::start(config, &content, metrics.clone(), web)?;
        let accounts = start_hashing(config)?;
        let api_address = api.as_ref().map(TcpListener::local_addr).transpose()?;
        let api = api
            .map(|listener| ApiPort::start(config, &durability.database(), accounts.clone(), listener))
            .transpose()?;
        let control = Control {
            config: config.clone(),
            content,
            metrics,
            durability,
            doors,
            departures,
            draining,
            hosts,
            failure,
            accounts,
            api,
            web,
            web_players,
        };
        let (stop, stopping) = watch::channel(false);
        let control = std::thread::Builder::new()
            .name("vyuha-control".into())
            .spawn(move || {
                LocalSet::new().block_on(&runtime, control.run(listener, admin, gateway, stopping))
            })
            .context("the control plane's thread cannot be started")?;
        let (listen, admin, web, api) = (listen_address, admin_address, web_address, api_address);
        Ok(Node { listen, admin, driver, web, api, totals, stop, control })
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

/// Runs a node until SIGINT or SIGTERM. Prints one line of JSON when players can connect.
pub fn serve(config: &Config) -> anyhow::Result<()> {
    crate::logging::init(&config.log);
    let stop = crate::signals::stop_requested()?;
    let node = Node::start(config)?;
    let ready = serde_json::json!({
        "ready": true,
        "listen": node.listen.to_string(),
        "admin": node.admin.to_string(),
        "driver": node.driver.name(),
        "web": node.web.to_string(),
        "api": node.api.map(|api| api.to_string()),
        "pid": std::process::id(),
    });
    println!("{ready}");
    tracing::info!(
        listen = %node.listen,
        console = %format_args!("http://{}/", node.admin),
        play = %format_args!("http://{}/", node.web),
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
fn tables() -> Vec<Table> {
    [&[AccountRow::TABLE], vyuha_game::TABLES].concat()
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
    shards: u16,
    failed: &watch::Sender<Option<String>>,
) -> anyhow::Result<(Durability, Vec<Producer>)> {
    let failed = failed.clone();
    let on_stopped: OnStopped = Arc::new(move |reason| {
        failed.send_replace(Some(reason.to_owned()));
    });
    let durability = DurabilityConfig {
        data_dir: config.data.dir.clone(),
        node: NODE_NAME.to_owned(),
        producers: shards as usize,
        segment_bytes: config.journal.segment.bytes() as u64,
        queue_batches: config.journal.queue_batches as usize,
        persistence: PersistenceConfig::default(),
    };
    Durability::open(&durability, &tables(), &on_stopped).context("the node's data cannot be opened")
}

/// What lies on the ground, once all that the last run left in the journal is applied.
async fn load_world(durability: &Durability) -> anyhow::Result<World> {
    let store = durability.handle();
    store.wait_applied(durability.durable_seq()).await?;
    let seed = crate::clock::unix_ms() as u64;
    tracing::info!(seed, "what is random follows this seed");
    let world = store
        .call(move |store| {
            let ground = store.load::<ItemRow>(&[("place", PLACE_GROUND.into())])?;
            let known = store.load::<ZoneRow>(&[])?;
            // Each run gives ids of a range of its own, so that none is ever given twice, whatever was deleted since.
            let next_item_id = (store.position()?.epoch << ITEM_IDS_PER_RUN_BITS) as i64;
            Ok(World { ground, known, next_item_id, seed })
        })
        .await?;
    Ok(world)
}

fn node_info(config: &Config, content: &Content, zones: &[Vec<ZoneId>]) -> NodeInfo {
    let shard_of = |id| zones.iter().position(|zones| zones.contains(&id)).unwrap_or(0) as u16;
    NodeInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: crate::COMMIT.to_owned(),
        started: SystemTime::now(),
        tick_hz: config.shard.tick_hz,
        shards: zones.len() as u16,
        zones: content
            .zones
            .iter()
            .map(|zone| ZoneInfo {
                id: zone.id.0,
                name: zone.name.clone(),
                shard: shard_of(zone.id),
                width_tiles: zone.map.width(),
                height_tiles: zone.map.height(),
                walls: zone.map.wall_bits(),
            })
            .collect(),
    }
}

fn add_checks(gateway: &mut Gateway, store: &Handle, failure: &watch::Receiver<Option<String>>) {
    let failure = failure.clone();
    gateway.add_check("journal", Box::new(move || failure.borrow().clone().map_or(Ok(()), Err)));
    let store = store.clone();
    gateway.add_check(
        "store",
        Box::new(move || {
            let stats = store.stats();
            let lag = stats.durable_seq.saturating_sub(stats.applied_seq);
            match stats.last_error {
                Some(error) => Err(format!("the database fails ({lag} frames behind): {error}")),
                None if lag > STORE_LAG_FRAMES_MAX => Err(format!("the database is {lag} frames behind")),
                None => Ok(()),
            }
        }),
    );
}
