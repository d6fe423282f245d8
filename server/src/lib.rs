//! The binary `vyuha`: configuration and composition, nothing else. No rule of the game and no byte of the
//! wire is decided here.

mod addresses;
mod api;
mod assets;
mod backup;
mod balance;
mod certificate;
pub mod cli;
mod client_stream;
mod clock;
pub mod config;
mod control;
pub mod demo;
mod doors;
mod driver;
pub mod events;
mod hot;
mod knocking;
mod logging;
mod mailbox;
pub mod node;
mod placement;
mod port;
mod record;
pub mod replay;
mod rooms;
mod run;
mod scan;
mod seats;
mod sessions;
mod shards;
mod sign_in;
mod signals;
pub mod simulation;
pub mod telemetry;
mod tickets;
mod topics;
pub mod upkeep;
mod web;
mod zones;

/// Version and commit of this build: `0.1.0 (a1b2c3d4e5f6)`.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("BUILD_COMMIT"), ")");

/// The commit of this build.
pub const COMMIT: &str = env!("BUILD_COMMIT");
