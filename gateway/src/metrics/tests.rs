use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;

/// A strict reading of the text format: every sample once, each belonging to a family declared before it.
fn parse(text: &str) -> HashMap<String, f64> {
    let mut samples = HashMap::new();
    let mut families: HashSet<&str> = HashSet::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            assert_eq!(lines.peek(), None, "EOF ends the text");
            break;
        }
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.split(' ');
            let (keyword, name) = (words.next().unwrap(), words.next().unwrap());
            match keyword {
                "HELP" | "UNIT" => {}
                "TYPE" => {
                    let kind = words.next().unwrap();
                    assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                    assert!(families.insert(name), "declared twice: {name}");
                }
                _ => panic!("unknown comment: {line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        let name = series.split('{').next().unwrap();
        let declared = ["_total", "_bucket", "_count", "_sum", ""]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .any(|family| families.contains(family));
        assert!(declared, "not declared: {line}");
        assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
    }
    samples
}

/// A node's figures, each counted once at least.
fn counted() -> Metrics {
    let metrics = Metrics::new(2, "0.1.0", "abc123");
    let shard = metrics.shard(1).unwrap();
    shard.ticks.inc_by(30);
    shard.late_ticks.inc();
    shard.shed_ticks.inc_by(2);
    shard.tick_seconds.observe(Duration::from_micros(120));
    shard.tick_lateness_seconds.observe(Duration::from_micros(60));
    shard.sessions.set(7);
    shard.players.set(6);
    shard.npcs.set(5);
    shard.items.set(4);
    shard.bytes_in.inc_by(100);
    shard.bytes_out.inc_by(200);
    shard.frames_in.inc_by(3);
    shard.snapshots_sent.inc_by(9);
    shard.snapshots_skipped.inc_by(8);
    metrics.command("say").inc_by(11);
    metrics.error("bad_frame").inc_by(12);
    metrics.closed("timeout").inc_by(13);
    metrics.login("ok").inc_by(14);
    metrics.connections.inc_by(15);
    metrics.handshakes_in_progress.set(16);
    metrics.journal_durable_seq.set(u64::MAX);
    metrics.journal_syncs.inc_by(18);
    metrics.journal_sync_seconds.inc_by(0.25);
    metrics.store_applied_seq.set(19);
    metrics.store_lag_frames.set(20);
    metrics.store_lag_bytes.set(25);
    metrics.store_lag_seconds.set(1.5);
    metrics.journal_over_bound.set(1);
    metrics.store_transactions.inc_by(26);
    metrics.store_transaction_rows.set(27);
    metrics.store_breaker.set(2);
    metrics.store_rows.inc_by(21);
    metrics.store_errors.inc_by(22);
    metrics.recorded_bytes.inc_by(23);
    metrics.recordings_stopped.inc_by(24);
    metrics.zone_moves.inc_by(25);
    metrics.zone_move_seconds.observe(Duration::from_millis(60));
    metrics.place_zone(3, 1, 250.0);
    metrics.api.observe("GET", "/api/v1/me", 200, Duration::from_millis(3));
    metrics
}

#[test]
fn every_figure_appears_under_its_name() {
    let metrics = counted();
    let samples = parse(&metrics.encode().unwrap());
    for (series, expected) in [
        ("vyuha_api_requests_total{method=\"GET\",route=\"/api/v1/me\",status=\"200\"}", 1.0),
        ("vyuha_api_request_seconds_bucket{le=\"0.005\",method=\"GET\",route=\"/api/v1/me\"}", 1.0),
        ("vyuha_build_info{version=\"0.1.0\",commit=\"abc123\"}", 1.0),
        ("vyuha_ticks_total{shard=\"1\"}", 30.0),
        ("vyuha_ticks_total{shard=\"0\"}", 0.0),
        ("vyuha_late_ticks_total{shard=\"1\"}", 1.0),
        ("vyuha_shed_ticks_total{shard=\"1\"}", 2.0),
        ("vyuha_tick_seconds_bucket{le=\"0.0001\",shard=\"1\"}", 0.0),
        ("vyuha_tick_seconds_bucket{le=\"0.0002\",shard=\"1\"}", 1.0),
        ("vyuha_tick_seconds_bucket{le=\"+Inf\",shard=\"1\"}", 1.0),
        ("vyuha_tick_seconds_count{shard=\"1\"}", 1.0),
        ("vyuha_tick_seconds_sum{shard=\"1\"}", 0.00012),
        ("vyuha_tick_lateness_seconds_bucket{le=\"0.00005\",shard=\"1\"}", 0.0),
        ("vyuha_tick_lateness_seconds_bucket{le=\"0.0001\",shard=\"1\"}", 1.0),
        ("vyuha_tick_lateness_seconds_count{shard=\"1\"}", 1.0),
        ("vyuha_sessions{shard=\"1\"}", 7.0),
        ("vyuha_entities{shard=\"1\",kind=\"player\"}", 6.0),
        ("vyuha_entities{shard=\"1\",kind=\"npc\"}", 5.0),
        ("vyuha_entities{shard=\"1\",kind=\"item\"}", 4.0),
        ("vyuha_bytes_in_total{shard=\"1\"}", 100.0),
        ("vyuha_bytes_out_total{shard=\"1\"}", 200.0),
        ("vyuha_frames_in_total{shard=\"1\"}", 3.0),
        ("vyuha_snapshots_sent_total{shard=\"1\"}", 9.0),
        ("vyuha_snapshots_skipped_total{shard=\"1\"}", 8.0),
        ("vyuha_commands_total{command=\"say\"}", 11.0),
        ("vyuha_errors_total{code=\"bad_frame\"}", 12.0),
        ("vyuha_connections_closed_total{reason=\"timeout\"}", 13.0),
        ("vyuha_logins_total{result=\"ok\"}", 14.0),
        ("vyuha_connections_total", 15.0),
        ("vyuha_handshakes_in_progress", 16.0),
        ("vyuha_journal_durable_seq", u64::MAX as f64),
        ("vyuha_journal_syncs_total", 18.0),
        ("vyuha_journal_sync_seconds_total", 0.25),
        ("vyuha_store_applied_seq", 19.0),
        ("vyuha_store_lag_frames", 20.0),
        ("vyuha_store_lag_bytes", 25.0),
        ("vyuha_store_lag_seconds", 1.5),
        ("vyuha_journal_over_bound", 1.0),
        ("vyuha_store_transactions_total", 26.0),
        ("vyuha_store_transaction_rows", 27.0),
        ("vyuha_store_breaker", 2.0),
        ("vyuha_store_rows_total", 21.0),
        ("vyuha_store_errors_total", 22.0),
        ("vyuha_recorded_bytes_total", 23.0),
        ("vyuha_recordings_stopped_total", 24.0),
        ("vyuha_zone_moves_total", 25.0),
        ("vyuha_zone_move_seconds_bucket{le=\"0.04\"}", 0.0),
        ("vyuha_zone_move_seconds_bucket{le=\"0.07\"}", 1.0),
        ("vyuha_zone_shard{zone=\"3\"}", 1.0),
        ("vyuha_zone_tick_seconds{zone=\"3\"}", 0.00025),
        ("vyuha_telemetry_dropped_total", 0.0),
        ("vyuha_console_watchers", 0.0),
    ] {
        assert_eq!(samples.get(series), Some(&expected), "{series}");
    }
    for series in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
        assert!(samples[series] > 0.0, "{series}");
    }
}

#[test]
fn a_handle_resolved_twice_counts_into_one_figure() {
    let metrics = Metrics::new(1, "0.1.0", "abc");
    metrics.error("too_far").inc();
    metrics.error("too_far").inc();
    assert_eq!(metrics.error("too_far").get(), 2);
    assert!(metrics.shard(1).is_none());
}

#[test]
fn dashboards_and_alerts_ask_for_figures_that_there_are() {
    let text = counted().encode().unwrap();
    let is_word = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
    let known: Vec<&str> = text.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let mut asked = 0;
    for folder in ["prometheus", "grafana"] {
        for file in fs::read_dir(deploy.join(folder)).unwrap() {
            let path = file.unwrap().path();
            let content = fs::read_to_string(&path).unwrap();
            let expressions = if folder == "grafana" {
                let mut found = Vec::new();
                expressions_of_panels(&serde_json::from_str(&content).unwrap(), &mut found);
                found
            } else {
                expressions_of_rules(&content)
            };
            let words = expressions.iter().flat_map(|expression| expression.split(|byte| !is_word(byte)));
            for word in words.filter(|word| word.starts_with("vyuha_") || word.starts_with("process_")) {
                assert!(known.contains(&word), "{} asks for {word}, which no node has", path.display());
                asked += 1;
            }
        }
    }
    assert!(asked > 60, "only {asked} figures were looked for");
}

/// What stands at `expr:` in a file of rules, there and on the lines below that are further in.
fn expressions_of_rules(content: &str) -> Vec<String> {
    let depth = |line: &str| line.len() - line.trim_start_matches([' ', '-']).len();
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut is_open = false;
    for line in content.lines() {
        if let Some(expression) = line.trim_start_matches([' ', '-']).strip_prefix("expr:") {
            found.push((depth(line), expression.to_owned()));
            is_open = true;
        } else if is_open && let Some((at, expression)) = found.last_mut() {
            is_open = line.trim().is_empty() || depth(line) > *at;
            if is_open {
                *expression += line;
            }
        }
    }
    found.into_iter().map(|(_, expression)| expression).collect()
}

/// The `expr` of every target in a dashboard.
fn expressions_of_panels(value: &serde_json::Value, found: &mut Vec<String>) {
    if let Some(targets) = value.get("targets").and_then(|targets| targets.as_array()) {
        found.extend(targets.iter().filter_map(|target| Some(target.get("expr")?.as_str()?.to_owned())));
    }
    let panels = value.get("panels").and_then(|panels| panels.as_array());
    panels.into_iter().flatten().for_each(|panel| expressions_of_panels(panel, found));
}
