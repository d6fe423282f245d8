//! The players' port.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context as _;
use governor::clock::MonotonicClock;
use tokio::sync::mpsc;
use vyuha_game::Content;
use vyuha_gateway::Metrics;
use vyuha_gateway::play::{Doorkeeper, Entrance, PlayConfig, PlayWorld, PlayZone, WebPlayer, serve_players};
use vyuha_net::tls::Identity;
use vyuha_protocol::ErrorCode;

use crate::addresses::Addresses;
use crate::config::{Address, Config};
use crate::port::PortThread;

/// Browsers' players that may wait to be accepted; the next is told to try again.
const WAITING_MAX: usize = 256;

/// Serves browsers on `listener`; the players among them come out of the receiver.
pub fn serve(
    config: &Config,
    content: &Content,
    metrics: Arc<Metrics>,
    listener: TcpListener,
    identity: Option<&Arc<Identity>>,
) -> anyhow::Result<(PortThread, mpsc::Receiver<WebPlayer>)> {
    let play = PlayConfig {
        connections_max: config.web.connections_max,
        stall_max: 2 * config.net.idle_timeout,
        control_frames_per_second_max: config.net.frames_per_second_max,
    };
    let world = world(content);
    let tls = identity.map(Identity::browsers);
    let (players, arrivals) = mpsc::channel(WAITING_MAX);
    let doorkeeper = doorkeeper(&config.address, &metrics);
    let thread =
        PortThread::start("vyuha-web", "the web port", PortThread::runtime()?, |stopping| async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let entrance = Entrance { listener, tls, doorkeeper };
            serve_players(entrance, play, &world, metrics, players, stopping.stopped())
                .await
                .context("the web port failed")
        })?;
    Ok((thread, arrivals))
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
