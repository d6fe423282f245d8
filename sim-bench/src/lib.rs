//! What a tick of the zone costs, and what it could cost on this machine: scenarios, benches by pass, a
//! flamegraph, a chart, and peers that do the same work side by side; and what the rings between threads cost.
//!
//! The zone is driven through [`vyuha_core::Zone`] as the server drives it, so what is measured is what runs.
//! This crate reads clocks and prints; it never changes what the zone does, and nothing depends on it.

pub mod bandwidth;
pub mod chart;
pub mod flame;
#[cfg(feature = "peers")]
pub mod peers;
pub mod progress;
pub mod queries;
pub mod rings;
pub mod scenario;
pub mod statistics;
pub mod tick;

use std::sync::Arc;

use vyuha_protocol::TileMap;

/// A map that many hold at once.
pub(crate) type SharedMap = Arc<TileMap>;
