//! The program as its users run it: what it prints, writes and refuses.

use std::process::{Command, Output};

use serde_json::Value;

fn sim_bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim-bench")).args(arguments).output().expect("the program starts")
}

fn succeeds(arguments: &[&str]) -> String {
    let output = sim_bench(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

/// The keys of an object, in the order of the text, and each one's value.
fn keys(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn positive(value: &Value) -> f64 {
    let number = value.as_f64().expect("a number");
    assert!(number > 0.0);
    number
}

#[test]
fn tick_ends_with_its_json() {
    let stdout = succeeds(&["tick", "--entities", "2000", "--neighbours", "20", "--ticks", "3", "--json"]);
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let mut expected = ["entities", "simd", "whole_us", "ns_per_entity", "passes", "memory_gb_per_s"];
    expected.sort_unstable();
    assert_eq!(keys(&report), expected);
    assert_eq!(report["entities"], 2000);
    assert!(["scalar", "sse2", "avx2", "avx512", "neon"].contains(&report["simd"].as_str().unwrap()));
    let [min, p50, p99] = ["min", "p50", "p99"].map(|key| positive(&report["whole_us"][key]));
    assert!(min <= p50 && p50 <= p99);
    assert!((positive(&report["ns_per_entity"]) - p50 / 2.0).abs() < 0.01);
    let passes = report["passes"].as_array().unwrap();
    for pass in passes {
        assert_eq!(keys(pass), ["gb_per_s", "name", "ns_per_entity"]);
        positive(&pass["ns_per_entity"]);
        positive(&pass["gb_per_s"]);
    }
    let names: Vec<&str> = passes.iter().map(|pass| pass["name"].as_str().unwrap()).collect();
    assert_eq!(names, sim_bench::tick::pass_names().collect::<Vec<_>>());
    for level in ["l2", "l3", "dram"] {
        positive(&report["memory_gb_per_s"][level]);
    }
}

#[test]
fn wire_serves_every_client_in_every_way() {
    let stdout = succeeds(&["wire", "--clients", "40,3", "--rounds", "2", "--ticks", "3", "--json"]);
    assert!(stdout.contains("3 clients: ") && stdout.contains("times the floor"));
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let modes = ["floor", "vyuha", "vyuha_tls", "plain", "epoll", "tokio", "glommio_streams"];
    let expected = [40, 3].into_iter().flat_map(|clients| modes.map(|mode| (mode, clients)));
    let seen = rows.iter().map(|row| (row["mode"].as_str().unwrap(), row["clients"].as_u64().unwrap()));
    assert!(seen.eq(expected), "{report}");
    for row in rows {
        let figures = ["inputs_per_client_tick", "of_floor", "us_min", "us_of_clients", "us_per_client_tick"];
        let mut expected = [&["clients", "mode"], &figures[..]].concat();
        expected.sort_unstable();
        assert_eq!(keys(row), expected);
        for key in figures {
            positive(&row[key]);
        }
    }
}

#[test]
fn wire_serves_clients_that_live_apart() {
    let arguments = ["wire", "--apart", "--clients", "30", "--rounds", "1", "--ticks", "5", "--json"];
    // Two processors are needed, and a machine with one says so.
    if vyuha_net::cpu::usable().unwrap().len() < 2 {
        let output = sim_bench(&arguments);
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("--apart"));
        return;
    }
    let stdout = succeeds(&arguments);
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let modes = ["floor", "vyuha", "plain", "epoll", "tokio", "glommio_streams"];
    assert!(rows.iter().map(|row| row["mode"].as_str().unwrap()).eq(modes), "{report}");
    for row in rows {
        for key in ["of_floor", "us_of_clients", "us_per_client_tick"] {
            positive(&row[key]);
        }
    }
    let output = sim_bench(&["wire", "--apart", "--modes", "vyuha_tls"]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("vyuha_tls"));
}

#[test]
fn wire_measures_what_it_is_asked_for() {
    let stdout =
        succeeds(&["wire", "--clients", "5", "--rounds", "1", "--ticks", "1", "--modes", "plain", "--json"]);
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 1);
    assert!(report["rows"][0].get("of_floor").is_none());
    for (arguments, word) in [
        (["--clients", "0"], "it is not from 1"),
        (["--clients", "some"], "not a whole number"),
        (["--modes", "carrier_pigeon"], "glommio_streams"),
        (["--clients", "900000"], "raise RLIMIT_NOFILE"),
    ] {
        let output = sim_bench(&[&["wire"], &arguments[..]].concat());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(word), "{arguments:?}: {text}");
    }
}

#[test]
fn queries_end_with_their_json() {
    let stdout = succeeds(&["queries", "--entities", "3000", "--rounds", "1", "--json"]);
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(keys(&report), ["entities", "queries", "simd"]);
    let queries = report["queries"].as_array().unwrap();
    for query in queries {
        assert_eq!(keys(query), ["name", "ns"]);
        positive(&query["ns"]);
    }
    let names: Vec<&str> = queries.iter().map(|query| query["name"].as_str().unwrap()).collect();
    assert_eq!(names, sim_bench::queries::query_names().collect::<Vec<_>>());
    assert!(names.contains(&"ray_past") && names.contains(&"nearest_hostile"));
}

#[test]
fn tick_speaks_in_words() {
    for shape in ["uniform", "crowd", "clustered"] {
        let stdout = succeeds(&["tick", "--entities", "500", "--ticks", "1", "--shape", shape]);
        assert!(stdout.starts_with("500 entities") && stdout.contains("whole tick") && !stdout.contains('{'));
    }
}

#[test]
fn the_vector_instructions_can_be_forced() {
    let report = |stdout: &str| -> Value { serde_json::from_str(stdout.lines().last().unwrap()).unwrap() };
    let tick = ["tick", "--entities", "100", "--ticks", "1", "--json"];
    assert_eq!(report(&succeeds(&[&tick[..], &["--simd", "scalar"]].concat()))["simd"], "scalar");
    let output =
        Command::new(env!("CARGO_BIN_EXE_sim-bench")).args(tick).env("VYUHA_SIMD", "scalar").output();
    let stdout = String::from_utf8(output.expect("the program starts").stdout).unwrap();
    assert_eq!(report(&stdout)["simd"], "scalar");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    for arguments in [
        &["tick", "--entities", "0"][..],
        &["tick", "--entities", "99999999"],
        &["tick", "--entities", "10000000", "--neighbours", "1"],
        &["tick", "--neighbours", "0"],
        &["tick", "--ticks", "0"],
        &["tick", "--shape", "square"],
        &["tick", "--simd", "avx3"],
        &["flame", "tick", "--seconds", "0"],
        &["flame", "tick", "--entities", "0"],
        &["rings", "--rounds", "0"],
        &["soup"],
        &[],
    ] {
        let output = sim_bench(arguments);
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.is_empty() && !stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn flame_draws_the_passes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("flame.svg");
    succeeds(&["flame", "tick", "--entities", "20000", "--seconds", "1", "--out", out.to_str().unwrap()]);
    let svg = std::fs::read_to_string(out).unwrap();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    assert!(svg.contains("vyuha_core"), "the functions have names");
}

#[test]
fn chart_draws_every_shape() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("chart.svg");
    succeeds(&["chart", "--entities-max", "1000", "--ticks", "1", "--out", out.to_str().unwrap()]);
    let svg = std::fs::read_to_string(out).unwrap();
    assert!(["uniform", "crowd", "clustered"].iter().all(|shape| svg.contains(shape)));
    let nowhere = folder.path().join("nowhere/chart.svg");
    let output =
        sim_bench(&["chart", "--entities-max", "1000", "--ticks", "1", "--out", nowhere.to_str().unwrap()]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("cannot write"));
}

#[test]
fn rings_end_with_their_json() {
    let stdout = succeeds(&["rings", "--rounds", "1", "--json"]);
    assert!(stdout.contains("256 bytes, batches of 16"));
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(keys(&report), ["rows"]);
    for row in report["rows"].as_array().unwrap() {
        assert_eq!(keys(row), ["batch", "item_bytes", "ns_per_item", "queue", "ratio", "reader"]);
        positive(&row["ns_per_item"]["p50"]);
        // Of one round on a starved machine it may come to less than is written out.
        assert!(row["ratio"].as_f64().expect("a number") >= 0.0);
        let (queue, reader) = (row["queue"].as_str().unwrap(), row["reader"].as_str().unwrap());
        assert!(["vyuha", "rtrb", "crossbeam"].contains(&queue) && ["polls", "sleeps"].contains(&reader));
    }
}

#[cfg(feature = "peers")]
#[test]
fn peers_end_with_their_json() {
    let stdout = succeeds(&["peers", "--entities", "1000", "--rounds", "2", "--json"]);
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!((keys(&report), &report["entities"]), (vec!["entities", "peers"], &Value::from(1000)));
    let mut found = Vec::new();
    for peer in report["peers"].as_array().unwrap() {
        assert_eq!(keys(peer), ["name", "ratio", "style"]);
        positive(&peer["ratio"]);
        found.push((peer["name"].as_str().unwrap(), peer["style"].as_str().unwrap()));
    }
    for name in ["bevy_ecs", "hecs", "flecs"] {
        assert!(found.contains(&(name, "tuned")) && found.contains(&(name, "idiomatic")), "{found:?}");
    }
}

#[test]
fn store_measures_all_that_it_is_to() {
    let stdout = succeeds(&[
        "store",
        "--players",
        "300",
        "--rounds",
        "1",
        "--seconds",
        "1",
        "--outage-seconds",
        "1",
        "--tick-rounds",
        "1",
        "--phase-seconds",
        "1",
        "--json",
    ]);
    assert!(stdout.contains("the peer's processor time over ours: "));
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    for change in ["save", "trade"] {
        for whose in ["ours", "peer"] {
            for key in ["client_us", "postgres_us", "both_us", "per_s"] {
                positive(&report[change][whose][key]);
            }
        }
        positive(&report[change]["ratio"]);
    }
    positive(&report["player_rows_per_s"]);
    positive(&report["steady"]["saves_per_s"]);
    // At the least a character and the slots that changed.
    assert!(positive(&report["steady"]["transaction_rows"]) >= 3.0, "{report}");
    positive(&report["steady"]["both_percent"]);
    assert_eq!(report["drain"]["trades"], 30 * 67);
    assert!(report["drain"]["trades_per_s"].is_f64(), "{report}");
    assert_eq!(report["tick"]["ticks"], 30);
    for key in ["loaded_ratio_p99", "stopped_ratio_p99", "frame_ms"] {
        positive(&report["tick"][key]);
    }
    for key in ["without_us", "loaded_us", "stopped_us", "answer_ms", "answer_stopped_ms", "fdatasync_ms"] {
        positive(&report["tick"][key]["p50"]);
    }
}

#[test]
fn login_measures_all_that_it_is_to() {
    let arguments = ["--rounds", "1", "--phase-seconds", "1", "--clients", "2", "--players", "200", "--json"];
    let stdout = succeeds(&[&["login"], &arguments[..]].concat());
    assert!(stdout.contains("sign-ins by password") && stdout.contains("GET /api/v1/me"));
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let expected = ["clients", "devices", "hashing", "load", "me", "processors", "sign_ins", "tick"];
    assert_eq!((keys(&report), &report["clients"]), (expected.to_vec(), &Value::from(2)));
    // OWASP's parameters.
    for (key, value) in [("memory_kib", 19 << 10), ("passes", 2), ("lanes", 1)] {
        assert_eq!(report["hashing"][key], value, "{key}");
    }
    let sign_ins = &report["sign_ins"][0];
    assert_eq!(sign_ins["way"], "password");
    for key in ["count", "per_s", "per_s_core"] {
        positive(&sign_ins[key]);
    }
    assert!(positive(&sign_ins["ms"]["min"]) <= positive(&sign_ins["ms"]["p99"]));
    for key in ["idle_us", "login_us"] {
        positive(&report["tick"][key]["p99"]);
    }
    positive(&report["tick"]["p99_ratio"]);
    positive(&report["devices"]["sign_ins_per_s_core"]);
    positive(&report["devices"]["handshakes_per_s_core"]);
    let [ours, bare] = ["per_s_core", "bare_per_s_core"].map(|key| positive(&report["me"][key]));
    assert!((positive(&report["me"]["ratio"]) - ours / bare).abs() < 0.01, "{report}");
    let output = sim_bench(&["login", "--clients", "0"]);
    assert!(!output.status.success());
}
