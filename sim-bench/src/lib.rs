//! What a tick of the zone costs, and what it could cost on this machine: scenarios, benches by pass, a
//! flamegraph, a chart, and peers that do the same work side by side. And what the clients' sockets ([`wire`]), the
//! rings between threads ([`rings`]), the way to the database ([`store`]) and signing in ([`login`]) cost.
//!
//! Everything is driven through [`vyuha_core::Zone`] and [`vyuha_net::transport::Transport`] as the server drives them, so
//! what is measured is what runs.
//! This crate reads clocks and prints; it never changes what the zone does, and nothing depends on it.

pub mod bandwidth;
pub mod chart;
pub mod flame;
pub mod login;
#[cfg(feature = "peers")]
pub mod peers;
pub mod progress;
pub mod queries;
pub mod rings;
pub mod scenario;
pub mod statistics;
pub mod store;
pub mod tick;
pub mod wire;

use std::sync::Arc;

use vyuha_protocol::TileMap;

/// A map that many hold at once.
pub(crate) type SharedMap = Arc<TileMap>;
