//! One node: its shards, its journal and its control plane, started and ended in the right order.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use crossbeam::channel::Receiver;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::LocalSet;
use vyuha_game::inventory::PLACE_GROUND;
use vyuha_game::{Content, ItemRow, Shard, ShardConfig};
use vyuha_gateway::accounts::{Accounts, AccountsConfig, HashCost};
use vyuha_gateway::{Gateway, Metrics, NodeInfo, ZoneInfo};
use vyuha_net::probe::{self, Finding, Needs, Severity};
use vyuha_net::runtime::{LoopStats, ShardHandle, ShardHost, Tick, TickStart, spawn_shard};
use vyuha_net::transport::{Limits, SyscallTransport};
use vyuha_protocol::{ErrorCode, ZoneId};
use vyuha_record::{Record, Table};
use vyuha_store::{
    AccountRow, Durability, DurabilityConfig, Handle, JournalStats, OnStopped, PersistenceConfig,
    PersistenceStats, Producer, TypedStore,
};

use crate::config::Config;
use crate::doors::{Left, Request, ShardDoors};
use crate::driver::{Driver, Parts};
use crate::seats::Seats;
use crate::sign_in::SignIn;
use crate::telemetry::{SharedTotals, Telemetry};

/// The name under which a node of one keeps its position in the database.
const NODE_NAME: &str = "local";
/// How long shards may take to let everyone go.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that the kernel may hold before they are accepted.
const LISTEN_BACKLOG: u32 = 1024;
/// Frames by which the database may be behind the journal before the node is not ready.
const STORE_LAG_FRAMES_MAX: u64 = 10_000;

/// A running node.
pub struct Node {
    /// Where players connect.
    pub listen: SocketAddr,
    /// Where the console page is.
    pub admin: SocketAddr,
    /// What each shard measured.
    pub totals: Vec<SharedTotals>,
    stop: watch::Sender<bool>,
    control: JoinHandle<anyhow::Result<()>>,
}

impl Node {
    /// Starts a node: checks the machine, opens the data, lets the shards run and opens the doors.
    pub fn start(config: &Config) -> anyhow::Result<Node> {
        check_machine(config)?;
        let content = Arc::new(load_content(config)?);
        let shards = config.shards() as u16;
        let metrics = Arc::new(Metrics::new(shards, env!("CARGO_PKG_VERSION"), crate::COMMIT));
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
        let (listen_address, admin_address) = (listener.local_addr()?, admin.local_addr()?);

        let zones = zones_of_shards(&content, shards);
        let (mut gateway, feed) = Gateway::new(
            node_info(config, &content, &zones),
            metrics.clone(),
            [config.admin.address.ip().to_string()],
        )?;
        add_checks(&mut gateway, &durability.handle(), &failure);
        let owners = zones
            .iter()
            .zip(0..)
            .flat_map(|(zones, shard)| zones.iter().map(move |id| (i64::from(id.0), shard)));
        let (doors, requests) = ShardDoors::new(shards, owners);
        let (left, departures) = mpsc::unbounded_channel();
        let draining = Arc::new(AtomicBool::new(false));
        let totals: Vec<SharedTotals> = (0..shards).map(|_| SharedTotals::default()).collect();
        let hosts = start_shards(
            config,
            Shards { content: &content, zones, world, producers, requests, left, draining: &draining },
            |shard| {
                let totals = totals[shard as usize].clone();
                Telemetry::new(shard, config.shard.tick_hz, metrics.clone(), feed.clone(), totals)
            },
            &failed,
        )?;
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
        };
        let (stop, stopping) = watch::channel(false);
        let control = std::thread::Builder::new()
            .name("vyuha-control".into())
            .spawn(move || {
                LocalSet::new().block_on(&runtime, control.run(listener, admin, gateway, stopping))
            })
            .context("the control plane's thread cannot be started")?;
        Ok(Node { listen: listen_address, admin: admin_address, totals, stop, control })
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
        "pid": std::process::id(),
    });
    println!("{ready}");
    tracing::info!(listen = %node.listen, console = %format_args!("http://{}/", node.admin), "ready");
    while !stop.load(Ordering::Relaxed) && !node.has_ended() {
        std::thread::sleep(Duration::from_millis(20));
    }
    node.stop();
    node.join()
}

/// Refuses to start where the machine is short of something, and says exactly what to change.
fn check_machine(config: &Config) -> anyhow::Result<()> {
    let needs = Needs {
        shards: config.shards(),
        pin: config.shard.pin,
        io_memory_bytes: config.shard.memory.bytes() as u64,
        connections_max: u64::from(config.net.connections_max),
    };
    let facts = probe::gather(&needs).context("what this machine allows cannot be found out")?;
    let (fatal, others): (Vec<Finding>, Vec<Finding>) =
        probe::judge(&needs, &facts).into_iter().partition(|finding| finding.severity == Severity::Fatal);
    for finding in others {
        match finding.severity {
            Severity::Note => tracing::info!("{finding}"),
            Severity::Warning | Severity::Fatal => tracing::warn!("{finding}"),
        }
    }
    if fatal.is_empty() {
        return Ok(());
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

/// What lies on the ground, and the next free item id. What the last run left in the journal is applied first.
struct World {
    ground: Vec<ItemRow>,
    next_item_id: i64,
    /// Of what is random in this run: another one each time, and known from the log.
    seed: u64,
}

async fn load_world(durability: &Durability) -> anyhow::Result<World> {
    let store = durability.handle();
    store.wait_applied(durability.durable_seq()).await?;
    let seed = crate::clock::unix_ms() as u64;
    tracing::info!(seed, "what is random follows this seed");
    let world = store
        .call(move |store| {
            let ground = store.load::<ItemRow>(&[("place", PLACE_GROUND.into())])?;
            let next_item_id = store.max_key(&ItemRow::TABLE, "id")?.unwrap_or(0) + 1;
            Ok(World { ground, next_item_id, seed })
        })
        .await?;
    Ok(world)
}

/// Each shard's zones: dealt out in turn.
fn zones_of_shards(content: &Content, shards: u16) -> Vec<Vec<ZoneId>> {
    let mut zones = vec![Vec::new(); shards as usize];
    for (zone, shard) in content.zones.iter().zip((0..zones.len()).cycle()) {
        zones[shard].push(zone.id);
    }
    zones
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

/// A shard's thread.
struct Host {
    handle: ShardHandle,
    /// The driver has nothing more to do.
    done: Arc<AtomicBool>,
}

/// A driver as the runtime calls it.
struct Hosted {
    driver: Driver<SyscallTransport>,
    failed: watch::Sender<Option<String>>,
    done: Arc<AtomicBool>,
}

impl Tick for Hosted {
    fn tick(&mut self, start: &TickStart, _: &LoopStats) {
        if self.done.load(Ordering::Relaxed) {
            return;
        }
        match self.driver.tick(start.late, start.shed) {
            Ok(true) => {}
            Ok(false) => self.done.store(true, Ordering::Relaxed),
            Err(error) => {
                self.failed.send_replace(Some(error.to_string()));
                self.done.store(true, Ordering::Relaxed);
            }
        }
    }
}

fn start_shards(
    config: &Config,
    parts: Shards<'_>,
    telemetry: impl Fn(u16) -> Telemetry,
    failed: &watch::Sender<Option<String>>,
) -> anyhow::Result<Vec<Host>> {
    let Shards { content, zones, world, producers, requests, left, draining } = parts;
    let cpus = vyuha_net::cpu::usable().context("the processors that may be used cannot be listed")?;
    let limits = limits(config);
    let shards = zones.len() as i64;
    let mut hosts = Vec::new();
    for (((index, zones), producer), requests) in (0_u16..).zip(zones).zip(producers).zip(requests) {
        let here = |row: &&ItemRow| zones.iter().any(|id| i64::from(id.0) == row.owner);
        let ground: Vec<ItemRow> = world.ground.iter().filter(here).cloned().collect();
        let shard = Shard::new(
            ShardConfig {
                tick_hz: config.shard.tick_hz as u16,
                save_interval_ticks: ticks(config.character.save_interval, config.shard.tick_hz),
                snapshot_bytes_max: config.net.snapshot_bytes_max.bytes(),
                seed: world.seed,
                next_item_id: world.next_item_id + i64::from(index),
                item_id_stride: shards,
                zones: zones.clone(),
            },
            content.clone(),
            &ground,
        )
        .with_context(|| format!("shard {index} cannot be set up"))?;
        let done = Arc::new(AtomicBool::new(false));
        let driver = Parts {
            shard,
            transport: SyscallTransport::new(limits),
            requests,
            left: left.clone(),
            producer,
            draining: draining.clone(),
            telemetry: telemetry(index),
        };
        let host = ShardHost {
            name: format!("vyuha-shard-{index}"),
            cpu: config.shard.pin.then(|| cpus[index as usize % cpus.len()]),
            io_memory_bytes: config.shard.memory.bytes(),
            tick_hz: config.shard.tick_hz,
            backlog_ticks: config.shard.backlog_ticks,
        };
        let (failed, is_done) = (failed.clone(), done.clone());
        let handle =
            spawn_shard(host, move || Hosted { driver: Driver::new(driver), failed, done: is_done })?;
        hosts.push(Host { handle, done });
    }
    Ok(hosts)
}

/// What one connection may take, in the transport's terms.
fn limits(config: &Config) -> Limits {
    let (net, tick_hz) = (&config.net, config.shard.tick_hz);
    Limits {
        // Everyone may come to one shard.
        connections_max: net.connections_max,
        frames_per_second_max: net.frames_per_second_max,
        bytes_per_tick_max: net.bytes_per_tick_max.bytes(),
        reliable_bytes_max: net.reliable_bytes_max.bytes(),
        idle_ticks: ticks(net.idle_timeout, tick_hz),
        stalled_ticks: ticks(net.idle_timeout, tick_hz),
        tick_hz,
    }
}

/// Whole ticks of a time, at least one.
fn ticks(time: Duration, tick_hz: u32) -> u32 {
    ((time.as_secs_f64() * f64::from(tick_hz)) as u32).max(1)
}

/// Waits until every shard has let everyone go, then ends their threads.
fn join_hosts(hosts: Vec<Host>) -> anyhow::Result<()> {
    let ended = |host: &Host| host.done.load(Ordering::Relaxed) || host.handle.has_ended();
    while !hosts.iter().all(ended) {
        std::thread::sleep(Duration::from_millis(5));
    }
    hosts.iter().for_each(|host| host.handle.stop());
    for host in hosts {
        host.handle.join()?;
    }
    Ok(())
}

/// What the shards are made of.
struct Shards<'a> {
    content: &'a Arc<Content>,
    zones: Vec<Vec<ZoneId>>,
    world: World,
    producers: Vec<Producer>,
    requests: Vec<Receiver<Request>>,
    left: mpsc::UnboundedSender<Left>,
    draining: &'a Arc<AtomicBool>,
}

/// The control plane's own share of the node.
struct Control {
    config: Config,
    content: Arc<Content>,
    metrics: Arc<Metrics>,
    durability: Durability,
    doors: ShardDoors,
    departures: mpsc::UnboundedReceiver<Left>,
    draining: Arc<AtomicBool>,
    hosts: Vec<Host>,
    failure: watch::Receiver<Option<String>>,
}

impl Control {
    async fn run(
        self,
        listener: TcpListener,
        admin: TcpListener,
        gateway: Gateway,
        mut stopping: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let Control { config, content, metrics, durability, doors, departures, draining, hosts, mut failure } =
            self;
        let seats = Rc::new(Seats::default());
        let store = durability.handle();
        let durability = Rc::new(durability);
        let accounts = Accounts::start(AccountsConfig {
            cost: HashCost {
                memory_kib: (config.accounts.hash_memory.bytes() / 1024) as u32,
                passes: config.accounts.hash_iterations,
                lanes: 1,
            },
            threads: 1,
            waiting_max: config.accounts.hash_queue as usize,
        })?;
        let sign_in = Rc::new(SignIn {
            content,
            accounts,
            store: store.clone(),
            seats: seats.clone(),
            doors,
            metrics: metrics.clone(),
            open_registration: config.accounts.open_registration,
            handshake_timeout: config.net.handshake_timeout,
            idle_timeout: config.net.idle_timeout,
        });
        let (end, ended) = watch::channel(false);
        let accepting = tokio::task::spawn_local(accept(
            tokio::net::TcpListener::from_std(listener)?,
            sign_in,
            seats.clone(),
            config.net.handshakes_max as usize,
            config.net.connections_max as usize,
        ));
        let leaving = tokio::task::spawn_local(free_seats(
            departures,
            seats,
            store.clone(),
            Rc::downgrade(&durability),
        ));
        let figures = tokio::task::spawn_local(keep_figures(metrics, store, Rc::downgrade(&durability)));
        let mut console_ended = ended.clone();
        let console = tokio::task::spawn_local(vyuha_gateway::serve(
            tokio::net::TcpListener::from_std(admin)?,
            gateway,
            async move {
                let _ = console_ended.wait_for(|ended| *ended).await;
            },
        ));

        let reason = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => None,
            failed = failure.wait_for(Option::is_some) => failed.ok().and_then(|reason| reason.clone()),
            name = dead_shard(&hosts) => Some(format!("{name} ended by itself")),
        };
        if let Some(reason) = &reason {
            tracing::error!(%reason, "the node cannot go on");
        } else {
            tracing::info!("ending: players are told and saved");
        }
        accepting.abort();
        draining.store(true, Ordering::Relaxed);
        let drained =
            tokio::time::timeout(DRAIN_TIMEOUT, tokio::task::spawn_blocking(move || join_hosts(hosts))).await;
        figures.abort();
        // The last departures free seats that nobody waits for any more.
        leaving.abort();
        let closed = match Rc::into_inner(durability) {
            Some(durability) if drained.is_ok() => tokio::task::spawn_blocking(move || durability.shutdown())
                .await?
                .context("the data was not closed in order"),
            _ => Ok(()),
        };
        let _ = end.send(true);
        console.await??;
        if let Some(reason) = reason {
            bail!("the node stopped: {reason}");
        }
        drained.context(
            "the shards did not let everyone go in time; what was acknowledged is in the journal",
        )???;
        closed
    }
}

/// The name of a shard whose thread ended before it should, once there is one.
async fn dead_shard(hosts: &[Host]) -> String {
    let mut every = tokio::time::interval(Duration::from_millis(100));
    loop {
        every.tick().await;
        if let Some(host) = hosts.iter().find(|host| host.handle.has_ended()) {
            return host.handle.name().to_owned();
        }
    }
}

/// Lets connections in until it is dropped.
async fn accept(
    listener: tokio::net::TcpListener,
    sign_in: Rc<SignIn>,
    seats: Rc<Seats>,
    handshakes_max: usize,
    connections_max: usize,
) {
    let handshakes = Rc::new(Semaphore::new(handshakes_max));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: waiting lets some connections end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let sign_in = sign_in.clone();
        let place = Rc::clone(&handshakes);
        let full = seats.len() >= connections_max;
        tokio::task::spawn_local(async move {
            match place.try_acquire() {
                Ok(_place) if !full => sign_in.welcome(stream).await,
                _ => sign_in.turn_away(stream, ErrorCode::ServerFull).await,
            }
        });
    }
}

/// Frees the seats of those who left, once all they did is in the database.
async fn free_seats(
    mut departures: mpsc::UnboundedReceiver<Left>,
    seats: Rc<Seats>,
    store: Handle,
    durability: std::rc::Weak<Durability>,
) {
    while let Some(Left { account }) = departures.recv().await {
        let Some(durable_seq) = durability.upgrade().map(|durability| durability.durable_seq()) else {
            return;
        };
        let (seats, store) = (seats.clone(), store.clone());
        tokio::task::spawn_local(async move {
            // A store that has stopped ends the node: nobody signs in any more.
            if store.wait_applied(durable_seq).await.is_ok() {
                seats.free(account);
            }
        });
    }
}

/// Copies the figures of journal and database into the metrics, once a second.
async fn keep_figures(metrics: Arc<Metrics>, store: Handle, durability: std::rc::Weak<Durability>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    let mut journal_before = JournalStats::default();
    let mut store_before = PersistenceStats::default();
    loop {
        every.tick().await;
        let Some(journal) = durability.upgrade().map(|durability| durability.journal_stats()) else { return };
        let stored = store.stats();
        metrics.journal_durable_seq.set(journal.durable_seq);
        metrics.journal_syncs.inc_by(journal.frames - journal_before.frames);
        metrics.store_applied_seq.set(stored.applied_seq);
        metrics.store_lag_frames.set(journal.durable_seq.saturating_sub(stored.applied_seq));
        metrics.store_rows.inc_by(stored.rows - store_before.rows);
        metrics.store_errors.inc_by(stored.errors - store_before.errors);
        (journal_before, store_before) = (journal, stored);
    }
}
