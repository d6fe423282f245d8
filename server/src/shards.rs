//! The shards' threads: what each is made of, how they start and end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use vyuha_game::ground::ZoneRow;
use vyuha_game::presence::Patience;
use vyuha_game::shard::log::{Head, Recorded};
use vyuha_game::{Content, ItemRow, Shard, ShardConfig};
use vyuha_net::runtime::{self as net, ShardHandle, ShardHost, Tick, TickStart, spawn_shard};
use vyuha_net::transport::{Limits, SyscallTransport, Transport, UringTransport};
use vyuha_protocol::ZoneId;
use vyuha_store::Producer;

use crate::config::Config;
use crate::doors::{Leaving, Neighbours, Requests};
use crate::driver::{Driver, Parts};
use crate::hot::HotFeed;
use crate::record::Recordings;
use crate::telemetry::Telemetry;
use crate::topics::TopicFeed;

/// What the shards are made of.
pub struct Shards<'a> {
    /// What drives them.
    pub driver: net::Driver,
    /// The world that is played.
    pub content: &'a Arc<Content>,
    /// Each shard's zones.
    pub zones: Vec<Vec<ZoneId>>,
    /// What is in it already.
    pub world: World,
    /// Each shard's way into the journal.
    pub producers: Vec<Producer>,
    /// Each shard's side of its door.
    pub requests: Vec<Requests>,
    /// Each shard's doors to the others.
    pub neighbours: Vec<Neighbours>,
    /// Where each shard tells of those who left.
    pub leaving: Vec<Leaving>,
    /// Where each shard tells of who plays where.
    pub hot: Vec<HotFeed>,
    /// Where each shard tells web clients of characters.
    pub topics: Vec<TopicFeed>,
    /// Set when the node is to end.
    pub draining: &'a Arc<AtomicBool>,
    /// Where inputs are recorded, if they are.
    pub recordings: Option<Recordings>,
}

/// What lies on the ground, and the next free item id. What the last run left in the journal is applied first.
pub struct World {
    /// Rows of items on the ground.
    pub ground: Vec<ItemRow>,
    /// Rows of the zones that were played before.
    pub known: Vec<ZoneRow>,
    /// The first item id that was never given.
    pub next_item_id: i64,
    /// Of what is random in this run: another one each time, and known from the log.
    pub seed: u64,
    /// When this run began, in milliseconds since 1970.
    pub began_ms: i64,
}

/// A shard's thread.
pub struct Host {
    /// Its thread.
    handle: ShardHandle,
    /// The driver has nothing more to do.
    done: Arc<AtomicBool>,
    /// The thread that writes the shard's recording; it ends when the shard's thread has.
    recorder: Option<JoinHandle<()>>,
}

/// A driver as the runtime calls it.
struct Hosted {
    driver: Driver<Box<dyn Transport>>,
    failed: watch::Sender<Option<String>>,
    done: Arc<AtomicBool>,
}

impl Tick for Hosted {
    fn tick(&mut self, start: &TickStart) {
        if self.done.load(Ordering::Relaxed) {
            return;
        }
        match self.driver.tick(start) {
            Ok(true) => {}
            Ok(false) => self.done.store(true, Ordering::Relaxed),
            Err(error) => {
                self.failed.send_replace(Some(error.to_string()));
                self.done.store(true, Ordering::Relaxed);
            }
        }
    }
}

pub fn start(
    config: &Config,
    parts: Shards<'_>,
    telemetry: impl Fn(u16) -> Telemetry,
    failed: &watch::Sender<Option<String>>,
) -> anyhow::Result<Vec<Host>> {
    let Shards {
        driver,
        content,
        zones,
        world,
        producers,
        requests,
        neighbours,
        leaving,
        hot,
        topics,
        draining,
        recordings,
    } = parts;
    let cpus = vyuha_net::cpu::usable().context("the processors that may be used cannot be listed")?;
    let limits = limits(config);
    let ticks_or_none = |time: Duration| match time {
        Duration::ZERO => 0,
        time => ticks(time, config.shard.tick_hz),
    };
    let grace_ticks = ticks_or_none(config.session.grace);
    let patience = Patience {
        away_ticks: ticks_or_none(config.session.afk),
        leave_ticks: ticks_or_none(config.session.afk_kick),
    };
    let shards = zones.len() as i64;
    let mut hosts = Vec::new();
    let doors =
        requests.into_iter().zip(neighbours).zip(leaving.into_iter().zip(hot.into_iter().zip(topics)));
    for (((index, zones), producer), ((requests, neighbours), (left, (hot, topics)))) in
        (0_u16..).zip(zones).zip(producers).zip(doors)
    {
        let here = |row: &&ItemRow| zones.iter().any(|id| i64::from(id.0) == row.owner);
        let ground: Vec<ItemRow> = world.ground.iter().filter(here).cloned().collect();
        let head = Head {
            build: crate::VERSION.to_owned(),
            shard: index,
            content_hash: content.hash,
            config: ShardConfig {
                tick_hz: config.shard.tick_hz as u16,
                save_interval_ticks: ticks(config.character.save_interval, config.shard.tick_hz),
                snapshot_bytes_max: config.net.snapshot_bytes_max.bytes(),
                requests_per_second_max: config.net.requests_per_second_max,
                patience,
                seed: world.seed,
                began_ms: world.began_ms,
                next_item_id: world.next_item_id + i64::from(index),
                item_id_stride: shards,
                simd: config.shard.simd.level(),
                zones: zones.clone(),
            },
            ground,
            known: world.known.clone(),
        };
        let shard = Shard::new(head.config.clone(), content.clone(), &head.ground, &head.known)
            .with_context(|| format!("shard {index} cannot be set up"))?;
        let recording = recordings.as_ref().map(|recordings| recordings.start(&head)).transpose()?;
        let (sink, recorder) = recording.unzip();
        let done = Arc::new(AtomicBool::new(false));
        let (draining, telemetry) = (draining.clone(), telemetry(index));
        let host = ShardHost {
            name: format!("vyuha-shard-{index}"),
            cpu: config.shard.pin.then(|| cpus[index as usize % cpus.len()]),
            driver,
            io_memory_bytes: config.shard.memory.bytes(),
            tick_hz: config.shard.tick_hz,
            backlog_ticks: config.shard.backlog_ticks,
            phase: config.tick() * u32::from(index) / shards as u32,
        };
        let tick_hz = config.shard.tick_hz;
        let (failed, is_done) = (failed.clone(), done.clone());
        let handle = spawn_shard(host, move || {
            let transport = transport(driver, limits)?;
            let shard = Recorded::new(shard, sink);
            let kept_bytes_max = limits.reliable_bytes_max / 2;
            let parts = Parts {
                shard,
                transport,
                requests,
                neighbours,
                left,
                producer,
                draining,
                hot,
                topics,
                telemetry,
                tick_hz,
                grace_ticks,
                kept_bytes_max,
            };
            io::Result::Ok(Hosted { driver: Driver::new(parts), failed, done: is_done })
        })?;
        hosts.push(Host { handle, done, recorder });
    }
    Ok(hosts)
}

/// The sockets, for the calling thread.
fn transport(driver: net::Driver, limits: Limits) -> io::Result<Box<dyn Transport>> {
    Ok(match driver {
        net::Driver::IoUring => Box::new(UringTransport::new(limits)?),
        net::Driver::Syscalls => Box::new(SyscallTransport::new(limits)),
    })
}

/// What one connection may take, in the transport's terms.
fn limits(config: &Config) -> Limits {
    let (net, tick_hz) = (&config.net, config.shard.tick_hz);
    Limits {
        // Everyone may come to one shard, and come back before the connection that broke is gone.
        connections_max: 2 * net.connections_max,
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
pub fn join_hosts(hosts: Vec<Host>) -> anyhow::Result<()> {
    let ended = |host: &Host| host.done.load(Ordering::Relaxed) || host.handle.has_ended();
    while !hosts.iter().all(ended) {
        std::thread::sleep(Duration::from_millis(5));
    }
    for host in &hosts {
        host.handle.stop();
    }
    for host in hosts {
        let ended = host.handle.join();
        if let Some(recorder) = host.recorder {
            recorder.join().map_err(|_| anyhow::anyhow!("a recording's thread panicked: see the log"))?;
        }
        ended?;
    }
    Ok(())
}

/// Each shard's zones: dealt out in turn.
pub fn zones_of_shards(content: &Content, shards: u16) -> Vec<Vec<ZoneId>> {
    let mut zones = vec![Vec::new(); shards as usize];
    for (zone, shard) in content.zones.iter().zip((0..zones.len()).cycle()) {
        zones[shard].push(zone.id);
    }
    zones
}

/// The name of a shard whose thread ended before it should, once there is one.
pub async fn dead_shard(hosts: &[Host]) -> String {
    let mut every = tokio::time::interval(Duration::from_millis(100));
    loop {
        every.tick().await;
        if let Some(host) = hosts.iter().find(|host| host.handle.has_ended()) {
            return host.handle.name().to_owned();
        }
    }
}
