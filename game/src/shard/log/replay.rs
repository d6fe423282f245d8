//! Runs a log again.

use std::sync::Arc;

use super::bytes::Bytes;
use super::{Call, Head, LogError, ZoneExchange};
use crate::content::Content;
use crate::shard::{Outbox, Part, Shard, ShardError};

/// A shard that a log is played to, tick by tick.
pub struct Replay {
    shard: Shard,
    hashes: Vec<u64>,
    out: Outbox,
}

/// Where a replay first parted from its recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The tick after which the hashes differ, from 1.
    pub tick: u64,
    /// The parts of the state that differ, at least one.
    pub parts: Vec<Part>,
}

/// Why a log cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The content is not the one that was played.
    #[error("the recording was played with other content; name its folder with --content")]
    Content,
    /// The shard cannot be set up.
    #[error("the recorded shard cannot be set up: {0}")]
    Shard(#[from] ShardError),
}

impl Replay {
    /// The recorded shard before its first call.
    ///
    /// # Errors
    /// If the content is another one, or the head fits no content.
    pub fn new(head: Head, content: Arc<Content>) -> Result<Replay, ReplayError> {
        if head.content_hash != content.hash {
            return Err(ReplayError::Content);
        }
        let shard = Shard::new(head.config, content, &head.ground, &head.known)?;
        Ok(Replay { shard, hashes: Vec::new(), out: Outbox::default() })
    }

    /// Makes the calls of one tick's record; zones go to other shards and come by way of `zones`. `Some` if the state after it
    /// is not as it was recorded; then there is no point in going on.
    ///
    /// # Errors
    /// If the bytes are no record of the next tick. Some of its calls may have been made.
    pub fn tick(
        &mut self,
        record: &[u8],
        zones: &mut dyn ZoneExchange,
    ) -> Result<Option<Difference>, LogError> {
        let mut bytes = Bytes(record);
        loop {
            let call = Call::decode(&mut bytes)?;
            let is_last = call == Call::Tick;
            call.make(&mut self.shard, &mut self.out, zones)?;
            if is_last {
                break;
            }
        }
        self.out.clear();
        let (expected, found) = (self.shard.tick_number(), bytes.u64()?);
        if expected != found {
            return Err(LogError::Tick { expected, found });
        }
        self.shard.hash_parts(&mut self.hashes);
        let mut differ = Vec::new();
        for (index, hash) in self.hashes.iter().enumerate() {
            if bytes.u64()? != *hash {
                differ.push(index);
            }
        }
        bytes.finish()?;
        if differ.is_empty() {
            return Ok(None);
        }
        let all = self.shard.parts();
        let parts: Vec<Part> = differ.into_iter().map(|index| all[index]).collect();
        Ok(Some(Difference { tick: found, parts }))
    }

    /// The shard as it stands.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }
}
