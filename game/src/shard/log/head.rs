//! What a shard was made of when its recording began.

use vyuha_core::SimdLevel;
use vyuha_protocol::{PROTOCOL_VERSION, ZoneId};
use vyuha_record::schema_fingerprint;

use super::LogError;
use super::bytes::{Bytes, put_rows, put_text};
use crate::ground::ZoneRow;
use crate::inventory::ItemRow;
use crate::presence::Patience;
use crate::shard::{ShardConfig, hashes};
use crate::systems::TABLES;

/// Item ids that a shard may give in one run, so that none overflows; a node's range has 2^40.
const ITEM_IDS_MAX: i64 = 1 << 42;

/// Everything that a shard is made of, and by which build.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// The build, for people: `0.1.0 (a1b2c3d4e5f6)`.
    pub build: String,
    /// The shard's number, from 0.
    pub shard: u16,
    /// SHA-256 of the content; see [`crate::Content::hash`].
    pub content_hash: [u8; 32],
    /// What the shard was told. The vector instructions are not recorded: nothing depends on them.
    pub config: ShardConfig,
    /// The stored rows of the items on the ground.
    pub ground: Vec<ItemRow>,
    /// The stored rows of the zones that were played before.
    pub known: Vec<ZoneRow>,
}

impl Head {
    /// Appends the head, behind what tells whether a build can read it and what follows.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Head { build, shard, content_hash, config, ground, known } = self;
        put_text(out, build);
        out.extend(PROTOCOL_VERSION.to_le_bytes());
        out.extend(schema_fingerprint(TABLES).to_le_bytes());
        out.extend(columns_fingerprint().to_le_bytes());
        out.extend(shard.to_le_bytes());
        out.extend(content_hash);
        let ShardConfig {
            zones,
            tick_hz,
            save_interval_ticks,
            snapshot_bytes_max,
            requests_per_second_max,
            patience: Patience { away_ticks, leave_ticks },
            seed,
            began_ms,
            next_item_id,
            item_id_stride,
            simd: _,
        } = config;
        out.extend((zones.len() as u32).to_le_bytes());
        for zone in zones {
            out.extend(zone.0.to_le_bytes());
        }
        out.extend(tick_hz.to_le_bytes());
        out.extend(save_interval_ticks.to_le_bytes());
        out.extend((*snapshot_bytes_max as u64).to_le_bytes());
        for number in [requests_per_second_max, away_ticks, leave_ticks] {
            out.extend(number.to_le_bytes());
        }
        out.extend(seed.to_le_bytes());
        out.extend(began_ms.to_le_bytes());
        out.extend(next_item_id.to_le_bytes());
        out.extend(item_id_stride.to_le_bytes());
        put_rows(out, ground);
        put_rows(out, known);
    }

    /// Reads a head; the shard is to use these vector instructions.
    ///
    /// # Errors
    /// [`LogError::Build`] if messages, rows or hashes were others when it was recorded; others if the bytes are no head.
    pub fn decode(payload: &[u8], simd: SimdLevel) -> Result<Head, LogError> {
        let mut bytes = Bytes(payload);
        let build = bytes.text()?.to_owned();
        let same = [
            (bytes.u32()? == PROTOCOL_VERSION, "messages"),
            (bytes.u64()? == schema_fingerprint(TABLES), "rows"),
            (bytes.u64()? == columns_fingerprint(), "columns"),
        ];
        if let Some((_, what)) = same.into_iter().find(|(same, _)| !same) {
            return Err(LogError::Build { build, what });
        }
        let shard = bytes.u16()?;
        let content_hash = bytes.array()?;
        let config = ShardConfig {
            zones: bytes.list(|bytes| bytes.u16().map(ZoneId))?,
            tick_hz: bytes.u16()?,
            save_interval_ticks: bytes.u32()?,
            snapshot_bytes_max: usize::try_from(bytes.u64()?)
                .map_err(|_| LogError::Range("a snapshot's size"))?,
            requests_per_second_max: bytes.u32()?,
            patience: Patience { away_ticks: bytes.u32()?, leave_ticks: bytes.u32()? },
            seed: bytes.u64()?,
            began_ms: bytes.array().map(i64::from_le_bytes)?,
            next_item_id: bytes.array().map(i64::from_le_bytes)?,
            item_id_stride: bytes.array().map(i64::from_le_bytes)?,
            simd,
        };
        let last_item_id = config
            .item_id_stride
            .checked_mul(ITEM_IDS_MAX)
            .and_then(|ids| ids.checked_add(config.next_item_id));
        if last_item_id.is_none() {
            return Err(LogError::Range("an item's id"));
        }
        let (ground, known) = (bytes.list(Bytes::row)?, bytes.list(Bytes::row)?);
        bytes.finish()?;
        Ok(Head { build, shard, content_hash, config, ground, known })
    }
}

/// Stands for the names of the hashed parts, in their order.
fn columns_fingerprint() -> u64 {
    let names = hashes::columns().flat_map(|name| name.bytes().chain([0]));
    hashes::joined(&names.map(u64::from).collect::<Vec<u64>>())
}
