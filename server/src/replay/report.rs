//! What a replay tells: for people, and as one JSON object.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use vyuha_core::SimdLevel;
use vyuha_game::shard::Part;
use vyuha_game::shard::log::Difference;

use super::file::End;
use super::{Outcome, ZoneHashes};

/// Lines for people: one a shard, and with `hash` one a zone and a column.
pub fn text(outcomes: &[Outcome], hash: bool) -> String {
    let mut out = String::new();
    for outcome in outcomes {
        let Outcome { shard, tick, state_hash, difference, end, .. } = outcome;
        let _ = write!(
            out,
            "shard {shard}: {tick} ticks, {:.0} a second, state {state_hash:016x}, ",
            ticks_per_second(outcome)
        );
        match difference {
            None => out.push_str("as recorded"),
            Some(difference) => {
                let _ = write!(out, "DIFFERS at tick {} in {}", difference.tick, in_words(difference));
            }
        }
        match end {
            End::Whole | End::Stopped => {}
            End::Torn { bytes } => {
                let _ = write!(out, " (the last {bytes} bytes are of no whole tick)");
            }
            End::Awaits { error } => {
                let _ = write!(out, " (no further: {error})");
            }
            End::Unreadable { at, error } => {
                let _ = write!(out, "; UNREADABLE from byte {at} on: {error:#}");
            }
        }
        out.push('\n');
        if hash {
            for ZoneHashes { id, whole, columns } in outcome.zones() {
                let _ = writeln!(out, "  zone {id}: {whole:016x}");
                for (column, hash) in columns {
                    let _ = writeln!(out, "    {column:<12} {hash:016x}");
                }
            }
        }
    }
    out
}

/// The same as one object. Hashes are text of 16 hexadecimal digits.
pub fn json(outcomes: &[Outcome], simd: SimdLevel, hash: bool) -> Value {
    let hex = |hash: u64| format!("{hash:016x}");
    let shards: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            let parts = |difference: &Difference| -> Vec<Value> {
                let part =
                    |part: &Part| json!({ "zone": part.zone.map(|zone| zone.0), "column": part.column });
                difference.parts.iter().map(part).collect()
            };
            let (torn_bytes, unreadable) = match &outcome.end {
                End::Whole | End::Stopped | End::Awaits { .. } => (0, None),
                End::Torn { bytes } => (*bytes, None),
                End::Unreadable { at, error } => {
                    (0, Some(json!({ "byte": at, "error": format!("{error:#}") })))
                }
            };
            let awaits = match &outcome.end {
                End::Awaits { error } => Some(error.to_string()),
                _ => None,
            };
            let mut shard = json!({
                "shard": outcome.shard,
                "build": outcome.build,
                "ticks": outcome.tick,
                "ticks_per_second": ticks_per_second(outcome),
                "state_hash": hex(outcome.state_hash),
                "difference": outcome.difference.as_ref().map(|difference| {
                    json!({ "tick": difference.tick, "parts": parts(difference) })
                }),
                "torn_bytes": torn_bytes,
                "awaits": awaits,
                "unreadable": unreadable,
            });
            if hash {
                let zone = |ZoneHashes { id, whole, columns }: ZoneHashes| {
                    let columns: BTreeMap<&str, String> =
                        columns.into_iter().map(|(column, hash)| (column, hex(hash))).collect();
                    json!({ "zone": id.0, "hash": hex(whole), "columns": columns })
                };
                shard["zones"] = outcome.zones().into_iter().map(zone).collect();
            }
            shard
        })
        .collect();
    let equal = outcomes
        .iter()
        .all(|outcome| outcome.difference.is_none() && !matches!(outcome.end, End::Unreadable { .. }));
    json!({ "equal": equal, "simd": simd.name(), "shards": shards })
}

fn ticks_per_second(outcome: &Outcome) -> f64 {
    (outcome.tick as f64 / outcome.took.as_secs_f64().max(1e-9)).round()
}

/// The parts that differ: `zone 2: place, displacement; the shard itself`.
fn in_words(difference: &Difference) -> String {
    let mut by_zone: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for part in &difference.parts {
        match part.zone {
            Some(zone) => by_zone.entry(format!("zone {zone}: ")).or_default().push(part.column),
            None => by_zone.entry(String::new()).or_default().push("the shard itself"),
        }
    }
    let zones: Vec<String> =
        by_zone.into_iter().map(|(zone, columns)| format!("{zone}{}", columns.join(", "))).collect();
    zones.join("; ")
}
