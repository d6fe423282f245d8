//! The one vocabulary of server and client: ids, units, the law of motion, messages, snapshot layout and
//! framing.
//!
//! Everything that both ends must agree on bit for bit is here, and only here. Nothing in this crate does I/O,
//! reads a clock or keeps state between calls.

#[cfg(target_endian = "big")]
compile_error!("snapshot records are read in place as little-endian; big-endian hosts are not supported");

pub mod error;
pub mod frame;
pub mod ids;
pub mod map;
pub mod message;
pub mod motion;
pub mod msgpack;
pub mod snapshot;
pub mod text;
pub mod units;

pub use error::ErrorCode;
pub use ids::{AccountId, CharacterId, EntityId, EntityKind, ItemId, ItemKind, RequestId, ZoneId};
pub use map::TileMap;
pub use units::{CellCoord, Displacement, Pos};

/// Version of the binary protocol. Raised by any change that an older peer could misread; a client whose
/// version differs is refused with [`ErrorCode::VersionMismatch`].
pub const PROTOCOL_VERSION: u32 = 4;
