//! The log of a shard's inputs, from which the same ticks can be run again: to find where two builds, machines or sets of
//! vector instructions part, or what led to a state that should not have been.
//!
//! A log is a preamble, a frame with the [`Head`], and a frame a tick: every [`Call`] that was made on the shard since the
//! tick before, in order, and the hash of each part of the state after it. [`Recorded`] stands between a driver and its
//! shard and takes the calls down; [`Replay`] makes them again and compares. `docs/recording.md` has the layout. A zone that
//! goes to another shard is in neither log: who replays both hands it over, by a [`ZoneExchange`].
//!
//! Nothing here does I/O: bytes go to a [`Sink`] and come as slices. Every decoder is total: any bytes give a value or a
//! [`LogError`], never a panic.

mod bytes;
mod call;
mod frame;
mod head;
mod recorded;
mod replay;
#[cfg(test)]
mod tests;

use vyuha_protocol::ZoneId;
use vyuha_protocol::message::DecodeError;
use vyuha_record::RecordError;

pub use call::{Call, SESSIONS_MAX, ZoneExchange, ZonesBetween};
pub use frame::{FRAME_HEAD_BYTES, PREAMBLE_BYTES, append_frame, check_preamble, first_frame, preamble};
pub use head::Head;
pub use recorded::{RECORD_BYTES_MAX, Recorded, Sink};
pub use replay::{Difference, Replay, ReplayError};

/// The layout's number: another one is refused.
pub const LOG_VERSION: u32 = 3;

/// Why bytes are no log, or none that this build can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The file does not begin as a log does.
    #[error("this is no recording of a shard")]
    NoLog,
    /// The log is of another layout.
    #[error(
        "the recording has format {found}, this program reads format {LOG_VERSION}; replay it with the build that made it"
    )]
    Version {
        /// The number in the preamble.
        found: u32,
    },
    /// Messages, rows or hashes are not those of this build.
    #[error("{build} made the recording with other {what} than this program has; replay it with that build")]
    Build {
        /// The build that made it.
        build: String,
        /// What differs.
        what: &'static str,
    },
    /// A frame's checksum does not fit its bytes.
    #[error("a frame's checksum is wrong: the bytes were changed after they were written")]
    Checksum,
    /// A frame ends within a value.
    #[error("a frame ends within a value")]
    Truncated,
    /// Bytes are left after a frame's last value.
    #[error("{0} bytes are left after a frame's last value")]
    Trailing(usize),
    /// No call has this number.
    #[error("no call has the number {0}")]
    Call(u8),
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A number is out of its range.
    #[error("{0} is out of its range")]
    Range(&'static str),
    /// A row cannot be read.
    #[error("a row cannot be read: {0}")]
    Row(#[from] RecordError),
    /// A message cannot be read.
    #[error("a message cannot be read: {0}")]
    Message(#[from] DecodeError),
    /// A zone comes that did not leave another shard.
    #[error("zone {zone} comes in its move {moves} from a shard whose recording does not get that far")]
    ZoneMissing {
        /// The zone.
        zone: ZoneId,
        /// Which of its moves it is.
        moves: u32,
    },
    /// A tick is not the one after the last.
    #[error("tick {expected} is missing: {found} follows")]
    Tick {
        /// The next tick of the shard.
        expected: u64,
        /// The one that the log has.
        found: u64,
    },
}
