//! The players' port on a thread of its own: browsers take time from neither shards nor sign-in.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, bail};
use governor::clock::MonotonicClock;
use tokio::sync::{mpsc, watch};
use vyuha_game::Content;
use vyuha_gateway::Metrics;
use vyuha_gateway::play::{Doorkeeper, Entrance, PlayConfig, PlayWorld, PlayZone, WebPlayer, serve_players};
use vyuha_net::tls::Identity;
use vyuha_protocol::ErrorCode;

use crate::addresses::Addresses;
use crate::config::{Address, Config};
use crate::node::yield_to_shards;

/// Browsers' players that may wait to be accepted; the next is told to try again.
const WAITING_MAX: usize = 256;

/// The port's thread.
pub struct WebPort {
    stop: watch::Sender<bool>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl WebPort {
    /// Serves browsers on `listener`; the players among them come out of the receiver.
    pub fn start(
        config: &Config,
        content: &Content,
        metrics: Arc<Metrics>,
        listener: TcpListener,
        identity: Option<&Arc<Identity>>,
    ) -> anyhow::Result<(WebPort, mpsc::Receiver<WebPlayer>)> {
        let play = PlayConfig {
            connections_max: config.web.connections_max,
            stall_max: 2 * config.net.idle_timeout,
            control_frames_per_second_max: config.net.frames_per_second_max,
        };
        let world = world(content);
        let tls = identity.map(Identity::browsers);
        let (players, arrivals) = mpsc::channel(WAITING_MAX);
        let doorkeeper = doorkeeper(&config.address, &metrics);
        let (stop, mut stopping) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the web port's runtime cannot be started")?;
        let run = async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let stopped = async move {
                // An error means that the node is gone, which is a stop as well.
                let _ = stopping.wait_for(|stop| *stop).await;
            };
            serve_players(Entrance { listener, tls, doorkeeper }, play, &world, metrics, players, stopped)
                .await
                .context("the web port failed")
        };
        let thread = std::thread::Builder::new()
            .name("vyuha-web".into())
            .spawn(move || {
                yield_to_shards();
                runtime.block_on(run)
            })
            .context("the web port's thread cannot be started")?;
        Ok((WebPort { stop, thread }, arrivals))
    }

    /// Lets what is under way finish, for a moment, and ends the thread.
    ///
    /// # Errors
    /// Why it ended before it was told to.
    pub fn end(self) -> anyhow::Result<()> {
        // A thread that has ended needs no telling.
        let _ = self.stop.send(true);
        self.thread.join().unwrap_or_else(|_| bail!("the web port panicked: see the log"))
    }
}

/// One address may fetch pages as it may connect to the game, and visit as often at once as it may log in at once. Players
/// are counted where they sign in.
fn doorkeeper(limits: &Address, metrics: &Metrics) -> Doorkeeper {
    let addresses = Arc::new(Addresses::new(limits, MonotonicClock));
    let refused = metrics.closed(ErrorCode::AddressLimit.name());
    Box::new(move |address| {
        let place = addresses.connect(address);
        if place.is_none() {
            refused.inc();
        }
        Some(Box::new(place?))
    })
}

/// What a browser must hold of the world.
fn world(content: &Content) -> PlayWorld {
    let zones = content.zones.iter().map(|zone| PlayZone {
        id: zone.id.0,
        name: zone.name.clone(),
        width_tiles: zone.map.width(),
        height_tiles: zone.map.height(),
        reach: zone.kind.reach,
        tiles: zone.tiles.to_vec(),
    });
    PlayWorld {
        version: crate::VERSION.to_owned(),
        content_hash: content.hash,
        zones: zones.collect(),
        items: content.items.iter().map(|item| (item.id.0, item.name.clone())).collect(),
        npcs: content.npcs.iter().map(|npc| (npc.id, npc.name.clone())).collect(),
    }
}
