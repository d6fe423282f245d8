//! The node's ports for browsers: the admin port with the console page, health, metrics and the feed of telemetry behind
//! them, and the players' port ([`play`]); and the account service's password hashing.
//!
//! The admin port runs on the control plane (one tokio runtime, a current-thread one will do) and knows the shards only
//! by the reports they publish. It never touches the game's state, never makes a tick wait, and changes
//! nothing: every route only reads. Accounts are not stored here.
//!
//! Memory is bounded: [`WATCHERS_MAX`] pages, 128 connections, one map state of at most [`MARKS_MAX`] marks a
//! zone and two minutes of history.

pub mod accounts;
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
mod stream;

use std::sync::Arc;
use std::time::Instant;

use crossbeam::channel::Receiver;

pub use feed::{
    Feed, MARK_BYTES, MARK_UNITS_PER_TILE, MARKS_MAX, Mark, MarkKind, REPORT_HZ, ShardReport, TickUs,
    ZONE_TILES_MAX, ZoneReport,
};
pub use http::{WATCHERS_MAX, serve};
pub use metrics::{Metrics, ShardMetrics};
pub use node::{NodeError, NodeInfo, ZoneInfo};
pub use ready::Check;

/// What the admin port serves; handed to [`serve`].
pub struct Gateway {
    live: Arc<live::Live>,
    metrics: Arc<Metrics>,
    checks: ready::Checks,
    hosts: guard::Hosts,
    reports: Receiver<ShardReport>,
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
        let mut gateway =
            Gateway { live: live.clone(), metrics, checks: ready::Checks::default(), hosts, reports };
        gateway.add_check(
            "shards",
            Box::new(move || match live.stale_shards(Instant::now()).as_slice() {
                [] => Ok(()),
                stale => Err(format!("no tick within the last second on shard(s) {stale:?}")),
            }),
        );
        Ok((gateway, feed))
    }

    /// Adds something that must hold for `/readyz` to answer 200.
    pub fn add_check(&mut self, name: &'static str, check: Check) {
        self.checks.add(name, check);
    }
}
