//! The client: everything between a socket and a program that plays.
//!
//! [`ClientCore`] is the protocol without I/O: bytes in, [`Event`]s out, requests appended to a buffer that
//! somebody else writes. It holds the [`World`] as the snapshots state it and a [`Predictor`] that runs ahead of
//! them. [`Connection`] puts a non-blocking TCP socket under it, for programs that poll many; [`BlockingClient`]
//! waits, for tests and tools.
//!
//! Nothing here trusts the server: what does not belong where it stands ends the connection with a [`Fault`],
//! and every buffer, queue and table has a stated bound. Nothing here reads files or knows the rules of the game.

mod blocking;
mod connection;
mod core;
mod event;
mod predictor;
mod requests;
mod tls;
mod world;

#[cfg(test)]
mod core_tests;
#[cfg(test)]
mod predictor_tests;
#[cfg(test)]
mod script;
#[cfg(test)]
mod socket_tests;
#[cfg(test)]
mod world_tests;

use std::collections::HashMap;
use std::sync::Arc;

use vyuha_protocol::{TileMap, ZoneId};

pub use self::blocking::BlockingClient;
pub use self::connection::{Connection, Received};
pub use self::core::{ClientCore, OUTGOING_BYTES_MAX, RECEIVED_BYTES_MAX, REQUESTS_PENDING_MAX};
pub use self::event::{ClientError, EnteredZone, Event, Fault, SendError, SnapshotSummary};
pub use self::predictor::{INPUTS_PENDING_MAX, Predictor, ReconcileError, Reconciled};
pub use self::tls::{ClientTls, ServerTrust, TrustError};
pub use self::world::{Applied, Change, ENTITIES_MAX, Entity, Watch, World, WorldError};

/// What a client must hold to play: the same game content as the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientContent {
    /// SHA-256 of the content, as the server computes it.
    pub hash: [u8; 32],
    /// The walls of each zone.
    pub maps: HashMap<ZoneId, Arc<TileMap>>,
}
