//! What this node tells the others, and hears from them, through Redis: who is online and where, recent chat, that it lives,
//! announcements, and the ledger's rows as a bus of events.
//!
//! All of it is done by tasks of the control plane. A shard hands over what it has in a bounded ring once a tick and hears
//! nothing of what becomes of it; what finds no room is dropped and counted. Nothing of value is here: the events are told
//! from the database, all else anew from the shards, for as long as it takes. Without `redis.url` the same is kept in the
//! process, and the node knows only of itself.

mod announcing;
pub mod command;
mod events;
mod feed;
mod online;
mod registry;
mod telling;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};
use vyuha_gateway::{Announcement, HotState, LoadProbe, Metrics, NodeBeat};
use vyuha_hot::{HotStore, Lifetimes, MemoryHot, RedisHot, RedisSettings, RedisStats};
use vyuha_store::Handle;
use vyuha_topics::Hub;

use crate::config::{Config, Redis, RedisUrl};
use crate::doors::ShardDoors;
use crate::run::RunRow;

pub use events::BehindSince;
pub use feed::{HotFeed, HotFeeds};
use online::Online;
use telling::Presence;

/// The store of hot data that the configuration names. Clones share it.
#[derive(Clone)]
pub struct Hot {
    /// The store.
    pub store: Arc<dyn HotStore>,
    redis: Option<Arc<RedisHot>>,
}

impl Hot {
    /// Opens the store. Whether Redis is there is found out later: a node plays without.
    ///
    /// # Errors
    /// Where what the configuration names is no use.
    pub fn open(config: &Config) -> anyhow::Result<Hot> {
        let Redis { url, password_file, ca_file, prefix, timeout } = &config.redis;
        let RedisUrl::Redis(url) = url else {
            return Ok(Hot { store: Arc::new(MemoryHot::new(Lifetimes::default())), redis: None });
        };
        let settings = RedisSettings::new(url, named(password_file), named(ca_file), *timeout)
            .context("Redis cannot be used as redis.url says")?;
        let redis = Arc::new(RedisHot::new(settings, prefix.as_str(), Lifetimes::default()));
        Ok(Hot { store: redis.clone(), redis: Some(redis) })
    }

    /// How Redis is doing, where there is one.
    pub fn stats(&self) -> Option<RedisStats> {
        self.redis.as_ref().map(|redis| redis.stats())
    }

    /// Times that Redis was connected: when it changes, what it held may be gone.
    fn connections(&self) -> u64 {
        self.stats().map_or(0, |stats| stats.connections)
    }

    /// How the store is doing.
    pub fn state(&self) -> HotState {
        match &self.redis {
            None => HotState { kind: "process", away: None },
            Some(redis) => HotState { kind: "redis", away: redis.failure() },
        }
    }

    /// Why hot data is not shared just now, if it is not.
    ///
    /// # Errors
    /// That.
    pub fn check(&self) -> Result<(), String> {
        match self.state().away {
            None => Ok(()),
            Some(reason) => Err(format!("Redis is away ({reason}): other nodes are not told, play goes on")),
        }
    }
}

/// What it takes to tell the others of this node, before it is begun.
pub struct Sharing {
    /// Where the nodes meet.
    pub hot: Hot,
    /// The runs of this node, the last of which begins.
    pub runs: Vec<RunRow>,
    /// The database.
    pub store: Handle,
    /// Where the shards tell of who plays where, and what was said.
    pub feeds: HotFeeds,
    /// What the node says of itself, but for what changes.
    pub beat: NodeBeat,
    /// What changes of it.
    pub load: LoadProbe,
    /// What pages listen to.
    pub topics: Hub,
    /// Announcements, from the admin port.
    pub announcements: mpsc::Receiver<Announcement>,
}

/// The tasks that tell the others of this node.
pub struct Shared {
    /// Since when a row of the ledger is in no stream.
    pub events_behind_since: BehindSince,
    presence: Presence,
    node: String,
    hot: Hot,
    tasks: Vec<JoinHandle<()>>,
}

impl Sharing {
    /// Begins, on the thread of the control plane.
    pub fn start(self, doors: &Rc<ShardDoors>, metrics: &Arc<Metrics>) -> Shared {
        let Sharing { hot, runs, store, feeds, beat, load, announcements, topics } = self;
        let node = beat.name.clone();
        let presence = Presence::new(RefCell::new(Online::new(&node)));
        let events_behind_since = BehindSince::default();
        let (doors, metrics) = (|| doors.clone(), || metrics.clone());
        let mut tasks = vec![
            spawn_local(registry::beat(hot.clone(), beat, load)),
            spawn_local(announcing::announce(
                hot.clone(),
                node.clone(),
                doors(),
                topics,
                metrics(),
                announcements,
            )),
            spawn_local(telling::tell(
                hot.clone(),
                node.clone(),
                feeds,
                presence.clone(),
                doors(),
                metrics(),
            )),
        ];
        // In the process nobody would ever read them.
        if hot.redis.is_some() {
            let behind_since = events_behind_since.clone();
            let publish = events::publish(hot.clone(), node.clone(), runs, store, metrics(), behind_since);
            tasks.push(spawn_local(publish));
        }
        Shared { events_behind_since, presence, node, hot, tasks }
    }
}

impl Shared {
    /// Ends, and says that nobody plays here any more.
    pub async fn end(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        telling::tell_the_end(self.hot, &self.node, self.presence).await;
    }
}

fn named(file: &Path) -> Option<&Path> {
    (!file.as_os_str().is_empty()).then_some(file)
}
