//! The node's ports for browsers: the admin port with the console page, health, metrics and the feed of telemetry behind
//! them, and the players' port ([`play`]); and the account service's password hashing.
//!
//! The admin port runs on the control plane (one tokio runtime, a current-thread one will do) and knows the shards only
//! by the reports they publish. It never touches the game's state and never makes a tick wait. Its routes only read, but for those
//! that hand on orders: to move a zone to another shard, to search for doubled items, to announce something. Accounts are
//! not stored here.
//!
//! Memory is bounded: [`WATCHERS_MAX`] pages, 128 connections, one map state of at most [`MARKS_MAX`] marks a
//! zone and two minutes of history.

pub mod accounts;
mod cluster;
mod feed;
mod guard;
mod history;
mod http;
pub mod listener;
mod live;
pub mod metrics;
mod node;
mod page;
pub mod play;
mod ready;
mod scan;
mod secured;
mod stream;
mod zones;

use std::sync::Arc;
use std::time::Instant;

use crossbeam::channel::{Receiver, Sender};
use tokio::sync::mpsc;
use tokio_rustls::rustls::ServerConfig;
use vyuha_hot::{HotStore, Lifetimes, MemoryHot};

pub use cluster::{
    ANNOUNCEMENT_BYTES_MAX, ANNOUNCEMENTS_CHANNEL, Announcement, ChatLine, HotState, NodeBeat, NodeLoad,
    OnlineSession, is_announcement, zone_channel,
};
pub use feed::{
    Feed, MARK_BYTES, MARK_UNITS_PER_TILE, MARKS_MAX, Mark, MarkKind, REPORT_HZ, ShardReport, TickUs,
    ZONE_TILES_MAX, ZoneReport,
};
pub use http::{WATCHERS_MAX, serve};
pub use live::LoadProbe;
pub use metrics::{Metrics, ShardMetrics};
pub use node::{NodeError, NodeInfo, Placement, ZoneInfo};
pub use page::staff;
pub use ready::Check;
pub use scan::{ItemHistory, ItemPlace, ScanFinding, ScanMovement, ScanOrder, ScanReport, Scans};
pub use zones::{MoveOrder, MoveRefused, ZoneMoved};

/// What the admin port serves; handed to [`serve`].
pub struct Gateway {
    live: Arc<live::Live>,
    metrics: Arc<Metrics>,
    checks: ready::Checks,
    hosts: guard::Hosts,
    reports: Receiver<ShardReport>,
    orders: mpsc::Sender<MoveOrder>,
    scans: Scans,
    scan_orders: Sender<ScanOrder>,
    cluster: cluster::Cluster,
    tls: Option<Arc<ServerConfig>>,
}

impl Gateway {
    /// The gateway of a node, and the handle that its shards publish through. It answers requests for
    /// loopback and for `hosts` (names or addresses without ports), and has one readiness check, `shards`:
    /// every shard has finished a tick within the last second.
    pub fn new(
        node: NodeInfo,
        metrics: Arc<Metrics>,
        hosts: impl IntoIterator<Item = String>,
    ) -> Result<(Gateway, Feed), NodeError> {
        node.validate()?;
        let (feed, reports) = feed::feed(node.shards, &metrics);
        let live = Arc::new(live::Live::new(node, metrics.clone(), Instant::now()));
        let hosts = guard::Hosts::new(hosts);
        let checks = ready::Checks::default();
        // Nobody takes orders yet.
        let (orders, _) = zones::orders();
        let (scan_orders, _) = scan::orders();
        let (announcements, _) = cluster::announcements();
        let hot = Arc::new(MemoryHot::new(Lifetimes::default()));
        let state = Box::new(|| HotState { kind: "process", away: None });
        let cluster = cluster::Cluster { hot, state, announcements };
        let mut gateway = Gateway {
            live: live.clone(),
            metrics,
            checks,
            hosts,
            reports,
            orders,
            scans: Scans::default(),
            scan_orders,
            cluster,
            tls: None,
        };
        gateway.add_check(
            "shards",
            Box::new(move || match live.stale_shards(Instant::now()).as_slice() {
                [] => Ok(()),
                stale => Err(format!("no tick within the last second on shard(s) {stale:?}")),
            }),
        );
        Ok((gateway, feed))
    }

    /// The orders to move zones that come by the port from now on. While nobody takes them, all are refused.
    pub fn move_orders(&mut self) -> mpsc::Receiver<MoveOrder> {
        let (orders, taken) = zones::orders();
        self.orders = orders;
        taken
    }

    /// The orders to search for doubled items that come by the port from now on, and where to say what was found.
    pub fn scan_orders(&mut self) -> (Receiver<ScanOrder>, Scans) {
        let (orders, taken) = scan::orders();
        self.scan_orders = orders;
        (taken, self.scans.clone())
    }

    /// The announcements that come by the port from now on. While nobody takes them, all are refused.
    pub fn announcements(&mut self) -> mpsc::Receiver<Announcement> {
        let (announcements, taken) = cluster::announcements();
        self.cluster.announcements = announcements;
        taken
    }

    /// The way of announcements to whoever took [`Gateway::announcements`], for who announces by another port.
    pub fn announcer(&self) -> mpsc::Sender<Announcement> {
        self.cluster.announcements.clone()
    }

    /// Reads hot data there instead of in a store of the gateway's own; `state` says how it is doing.
    pub fn set_hot(&mut self, hot: Arc<dyn HotStore>, state: impl Fn() -> HotState + Send + Sync + 'static) {
        (self.cluster.hot, self.cluster.state) = (hot, Box::new(state));
    }

    /// What tells how much the node has to do.
    pub fn load_probe(&self) -> LoadProbe {
        LoadProbe::new(self.live.clone())
    }

    /// Lets the port speak TLS.
    pub fn set_tls(&mut self, tls: Arc<ServerConfig>) {
        self.tls = Some(tls);
    }

    /// Adds something that must hold for `/readyz` to answer 200.
    pub fn add_check(&mut self, name: &'static str, check: Check) {
        self.checks.add(name, check);
    }

    /// Adds something that `/readyz` names where it does not hold, and that the node can do without.
    pub fn add_comfort(&mut self, name: &'static str, check: Check) {
        self.checks.add_comfort(name, check);
    }
}
