//! What the whole-node tests are made with: the real program as a child process on temporary data, real sockets to
//! it, its admin port, and a look into its database.
//!
//! The tests themselves are in `tests/`, a file for each thing that must hold. Nothing here knows how the node works
//! inside: it is started by its command line, told of by its ready line, and judged by what it sends, what it keeps on
//! disk and how it ends.
//!
//! A test that fails shows the node's log. No node outlives its test: it is killed when it is dropped.

mod browser;
pub mod campaign;
mod confinement;
mod database;
mod http;
mod metrics;
mod mover;
mod node;
mod player;
mod program;
mod provider;
mod stopped;
mod web;
mod wire;
mod witness;
mod world;

use std::time::Duration;

pub use browser::Browser;
pub use confinement::Confinement;
pub use database::Database;
pub use http::{Cookies, HttpAnswer, http, http_get, http_post};
pub use metrics::Metrics;
pub use mover::Mover;
pub use node::{Exit, Node, Options, SharedNode, run_node, run_program};
pub use player::{Identity, Player, Walk};
pub use program::program;
pub use provider::IdentityProvider;
pub use stopped::StoppedThread;
pub use web::{WebProxy, WebWire, play_request};
pub use wire::{Heard, Wire, socket_from};
pub use witness::Witness;
pub use world::{CLOSET, COIN, DEPOT, HERB, LANTERN, YARD, client_content, test_world, test_world_folder};

/// How long anything is waited for before a test fails: far longer than it takes on the slowest machine, so that what
/// fails is wrong and not late.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The password of every account that the tests make.
pub const PASSWORD: &str = "correct horse";
