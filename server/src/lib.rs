//! The binary `vyuha`: configuration and composition, nothing else. No rule of the game and no byte of the
//! wire is decided here.

pub mod cli;
pub mod config;
pub mod demo;
pub mod node;

/// Version and commit of this build: `0.1.0 (a1b2c3d4e5f6)`.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("VYUHA_COMMIT"), ")");
