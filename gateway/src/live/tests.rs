use super::*;
use crate::feed::{Mark, MarkKind, TickUs};
use crate::node::{Placement, ZoneInfo};
use proptest::prelude::*;

fn live() -> (Live, Instant) {
    let now = Instant::now();
    let zone = |id, shard| ZoneInfo {
        id,
        name: format!("Zone {id}"),
        shard: Placement::new(shard),
        width_tiles: 8,
        height_tiles: 8,
        walls: vec![0; 8],
    };
    let node = NodeInfo {
        staff: None,
        version: "0.1.0".into(),
        commit: "abc".into(),
        started: std::time::SystemTime::UNIX_EPOCH,
        tick_hz: 30,
        shards: 2,
        zones: vec![zone(7, 0), zone(9, 1)],
    };
    (Live::new(node, Arc::new(Metrics::new(2, "0.1.0", "abc")), now), now)
}

fn report(shard: u16, tick: u64, zone: u16, marks: Vec<Mark>) -> ShardReport {
    let zones = vec![ZoneReport { zone, players: 2, npcs: 3, items: 4, tick_us: 12.5, marks }];
    ShardReport { shard, tick, zones, tick_us: TickUs { p50: 1, p99: 2, max: 3 }, ..ShardReport::default() }
}

#[test]
fn the_newest_map_state_replaces_the_one_before() {
    let (live, now) = live();
    live.metrics.watchers.inc();
    let mut map = live.map(9).unwrap();
    for tick in [10, 11] {
        live.ingest(report(1, tick, 9, vec![Mark::new(0x0102, 3, MarkKind::Item)]), now);
    }
    assert!(map.has_changed().unwrap());
    let expected = [9, 0, 16, 0, 1, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x01, 3, 0, 3, 0];
    assert_eq!(map.borrow_and_update()[..], expected);
    assert!(!map.has_changed().unwrap(), "one state, not two");
}

#[test]
fn map_states_are_kept_only_while_a_page_watches() {
    let (live, now) = live();
    live.metrics.watchers.inc();
    live.ingest(report(0, 1, 7, vec![]), now);
    assert_eq!(live.map(7).unwrap().borrow().len(), MAP_HEADER_BYTES);
    live.metrics.watchers.dec();
    live.ingest(report(0, 2, 7, vec![]), now);
    assert!(live.map(7).unwrap().borrow().is_empty());
    assert!(live.map(8).is_none());
}

#[test]
fn a_report_of_an_unknown_shard_is_counted_and_left_out() {
    let (live, now) = live();
    live.ingest(report(2, 1, 7, vec![]), now);
    assert_eq!(live.metrics.telemetry_dropped.get(), 1);
    assert!(live.lock().shards.iter().all(Option::is_none));
}

#[test]
fn a_shard_is_stale_until_its_tick_advances() {
    let (live, start) = live();
    let at = |ms| start + Duration::from_millis(ms);
    assert_eq!(live.stale_shards(at(0)), [0, 1], "not heard of yet");
    live.ingest(report(0, 5, 7, vec![]), at(0));
    live.ingest(report(1, 5, 9, vec![]), at(0));
    assert!(live.stale_shards(at(1000)).is_empty());
    live.ingest(report(0, 6, 7, vec![]), at(900));
    live.ingest(report(1, 5, 9, vec![]), at(900));
    assert_eq!(live.stale_shards(at(1500)), [1], "reports, but its tick stands still");
    live.ingest(report(1, 6, 9, vec![]), at(1500));
    assert!(live.stale_shards(at(1600)).is_empty());
}

#[test]
fn figures_hold_every_shard_zone_and_the_newest_second() {
    let (live, start) = live();
    let mut first = report(0, 30, 7, vec![]);
    first.passes = vec![("integrate", 1.5)];
    first.bytes_out = 1000;
    first.sessions = 4;
    live.ingest(first, start);
    live.metrics.store_lag_frames.set(12);
    live.end_second(start + Duration::from_secs(1));
    live.publish_stats(start + Duration::from_secs(1));

    let stats: serde_json::Value = serde_json::from_str(live.stats().borrow().as_str()).unwrap();
    assert_eq!(stats["type"], "stats");
    assert_eq!(stats["shards"].as_array().unwrap().len(), 1, "only shards that reported");
    assert_eq!(stats["shards"][0]["tick_us"], serde_json::json!([1, 2, 3]));
    assert_eq!(stats["shards"][0]["passes"], serde_json::json!([["integrate", 1.5]]));
    let zone =
        serde_json::json!({"zone": 7, "shard": 0, "players": 2, "npcs": 3, "items": 4, "tick_us": 12.5});
    assert_eq!(stats["zones"], serde_json::json!([zone]));
    assert_eq!(stats["store"]["lag_frames"], 12);
    let second = &stats["second"];
    assert_eq!(second["at_s"], 0);
    assert_eq!(second["tick_us"], serde_json::json!([[1, 2, 3], null]));
    assert_eq!(second["bytes_out"], 1000);
    assert_eq!((&second["sessions"], &second["players"]), (&4.into(), &2.into()));
    let history: serde_json::Value = serde_json::from_slice(&live.history_json().unwrap()).unwrap();
    assert_eq!(history, serde_json::json!([second]));
}

#[test]
fn a_zone_that_moved_is_where_it_went_and_nowhere_else() {
    let (live, start) = live();
    live.ingest(report(0, 30, 7, vec![]), start);
    let shards = |live: &Live| live.placed(&live.lock().shards).map(|(shard, _)| shard).collect::<Vec<_>>();
    assert_eq!(shards(&live), [0]);
    live.node.zones[0].shard.set(1);
    assert_eq!(shards(&live), [0; 0], "it has gone, and nobody has told of it since");
    live.ingest(report(1, 30, 7, vec![]), start);
    live.ingest(report(0, 31, 7, vec![]), start);
    assert_eq!(shards(&live), [1]);
    assert_eq!(live.zones().len(), 1);
    let text = live.metrics.encode().unwrap();
    assert!(text.contains("vyuha_zone_shard{zone=\"7\"} 1\n"), "{text}");
    assert!(text.contains("vyuha_zone_tick_seconds{zone=\"7\"} 0.0000125\n"), "{text}");
}

proptest! {
    #[test]
    fn a_map_state_holds_every_mark_as_it_was(
        zone: u16,
        tick: u64,
        places in prop::collection::vec((any::<u16>(), any::<u16>(), 0u8..4), 0..200),
    ) {
        let kinds = [MarkKind::Player, MarkKind::NpcWandering, MarkKind::NpcChasing, MarkKind::Item];
        let marks: Vec<Mark> =
            places.iter().map(|&(x, y, kind)| Mark::new(x, y, kinds[usize::from(kind)])).collect();
        let bytes = encode_map(&ZoneReport { zone, ..ZoneReport::default() }, tick, &marks);
        let (header, body) = bytes.split_at(MAP_HEADER_BYTES);
        prop_assert_eq!(&header[..2], zone.to_le_bytes());
        prop_assert_eq!(&header[4..8], (places.len() as u32).to_le_bytes());
        prop_assert_eq!(&header[8..], tick.to_le_bytes());
        let read: Vec<(u16, u16, u8)> = body
            .chunks_exact(MARK_BYTES)
            .map(|mark| (u16::from_le_bytes([mark[0], mark[1]]), u16::from_le_bytes([mark[2], mark[3]]), mark[4]))
            .collect();
        prop_assert_eq!(read, places);
    }
}

#[test]
fn marks_over_the_bound_are_left_out() {
    let marks = vec![Mark::new(0, 0, MarkKind::Player); MARKS_MAX + 1];
    let bytes = encode_map(&ZoneReport::default(), 1, &marks);
    assert_eq!(bytes.len(), MAP_HEADER_BYTES + MARKS_MAX * MARK_BYTES);
    assert_eq!(bytes[4..8], (MARKS_MAX as u32).to_le_bytes());
}
