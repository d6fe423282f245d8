//! Running a node: its answers to people and programs, its start and its end.

use std::fs;
use std::time::Instant;

use rustix::process::Signal;
use vyuha_protocol::ErrorCode;
use vyuha_tests::{Node, Options, PATIENCE, Player, Wire, YARD, http_get, run_program};

#[test]
fn health_readiness_metrics_and_the_console_are_served() {
    let mut node = Node::start(&Options::test_world());
    assert_eq!(http_get(node.admin, "/healthz"), (200, "ok".into()));
    let deadline = Instant::now() + PATIENCE;
    let ready = loop {
        let (status, ready) = http_get(node.admin, "/readyz");
        if status == 200 {
            break ready;
        }
        // Until each shard has ticked.
        assert!(status == 503 && Instant::now() < deadline, "{status}: {ready}");
    };
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("it is JSON");
    assert_eq!(ready["ready"], true, "{ready}");

    let (status, page) = http_get(node.admin, "/");
    assert!(status == 200 && page.contains("<html"), "{status}: {page}");
    assert_eq!(http_get(node.admin, "/nothing/here").0, 404);

    let mut player = Player::sign_up(&node, "Asha", YARD);
    for _ in 0..5 {
        player.snapshot();
    }
    node.await_metrics("a player", |metrics| metrics.sum("vyuha_sessions") == 1);
    let metrics = node.metrics();
    for name in [
        "vyuha_build_info",
        "vyuha_ticks_total",
        "vyuha_late_ticks_total",
        "vyuha_shed_ticks_total",
        "vyuha_tick_seconds_count",
        "vyuha_sessions",
        "vyuha_entities",
        "vyuha_bytes_in_total",
        "vyuha_bytes_out_total",
        "vyuha_frames_in_total",
        "vyuha_snapshots_sent_total",
        "vyuha_commands_total",
        "vyuha_logins_total",
        "vyuha_connections_total",
        "vyuha_handshakes_in_progress",
        "vyuha_journal_durable_seq",
        "vyuha_journal_syncs_total",
        "vyuha_store_applied_seq",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    ] {
        assert!(metrics.has(name), "{name} is missing");
    }
    // Those of the journal are taken once a second.
    for counted in [
        "vyuha_ticks_total",
        "vyuha_snapshots_sent_total",
        "vyuha_bytes_out_total",
        "vyuha_connections_total",
        "vyuha_journal_durable_seq",
    ] {
        node.await_metrics(counted, |metrics| metrics.sum(counted) > 0);
    }
    node.await_metrics("what the tests' world holds", |metrics| {
        let entities = |kind: &str| -> u64 {
            let sample = |shard| format!("vyuha_entities{{shard=\"{shard}\",kind=\"{kind}\"}}");
            (0..2).map(|shard| metrics.value(&sample(shard))).sum()
        };
        (entities("player"), entities("npc"), entities("item")) == (1, 81, 1007)
    });
    player.log_out();
    node.terminate();
}

#[test]
fn a_node_that_is_told_to_stop_tells_its_players_and_ends_well() {
    let mut node = Node::start(&Options::test_world());
    let mut player = Player::sign_up(&node, "Asha", YARD);
    player.snapshot();
    let mut at_the_door = Wire::connect(&node);
    at_the_door.greet(&node);
    let silent = Wire::connect(&node);
    node.kill_process(Signal::TERM);
    assert_eq!(player.closed(), ErrorCode::ShuttingDown);
    at_the_door.expect_closed(ErrorCode::ShuttingDown);
    assert_eq!(node.wait().code(), Some(0), "{}", node.log());
    drop(silent);
}

#[test]
fn an_interrupt_from_the_keyboard_ends_it_as_well() {
    let mut node = Node::start(&Options::test_world());
    node.kill_process(Signal::INT);
    assert_eq!(node.wait().code(), Some(0), "{}", node.log());
}

#[test]
fn a_second_node_on_the_same_data_is_refused() {
    let mut node = Node::start(&Options::test_world());
    let data = node.data_dir();
    let data = data.to_str().expect("temporary folders are UTF-8");
    let arguments =
        ["serve", "--data-dir", data, "--listen-address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0"];
    let arguments = [&arguments[..], &["--web-address", "127.0.0.1:0"]].concat();
    let (code, stdout, stderr) = run_program(&arguments);
    assert_eq!((code, &*stdout), (Some(1), ""), "{stderr}");
    assert!(stderr.contains(data) && stderr.contains("in use by another vyuha process"), "{stderr}");
    assert!(node.is_running());
    Player::sign_up(&node, "Asha", YARD).log_out();
    node.terminate();
}

#[test]
fn a_port_that_is_taken_is_named() {
    let node = Node::start(&Options::test_world());
    let flags = ["--listen-address", "--admin-address", "--web-address"];
    for flag in flags {
        let taken = node.listen.to_string();
        let ports = flags.map(|one| [one, if one == flag { &taken } else { "127.0.0.1:0" }]);
        let (code, _, stderr) = run_program(&[&["serve"], ports.as_flattened()].concat());
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(&taken), "{stderr}");
    }
}

#[test]
fn every_fault_of_the_configuration_is_listed_at_once() {
    let arguments =
        ["serve", "--shard-count", "none", "--net-idle-timeout", "3", "--listen-address", "nowhere"];
    let (code, stdout, stderr) = run_program(&arguments);
    assert_eq!((code, &*stdout), (Some(2), ""));
    for part in ["3 faults", "shard.count", "net.idle_timeout", "listen.address"] {
        assert!(stderr.contains(part), "{part:?} is missing in {stderr}");
    }
}

#[test]
fn content_that_is_wrong_is_refused_with_its_faults() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    for file in ["items.toml", "npcs.toml"] {
        fs::copy(vyuha_tests::test_world_folder().join(file), folder.path().join(file))
            .expect("it can be copied");
    }
    let world =
        fs::read_to_string(vyuha_tests::test_world_folder().join("world.toml")).expect("it can be read");
    let world = world.replace("item = \"lantern\"", "item = \"lamp\"");
    fs::write(folder.path().join("world.toml"), world).expect("there is room for a file");
    let folder = folder.path().to_str().expect("temporary folders are UTF-8");
    let arguments =
        ["--content-dir", folder, "--listen-address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0"];
    let arguments = [&["serve"], &arguments[..], &["--web-address", "127.0.0.1:0"]].concat();
    let (code, stdout, stderr) = run_program(&arguments);
    assert_ne!(code, Some(0));
    assert_eq!(stdout, "");
    for part in ["lamp", "zones/yard.map", "zones/depot.map", "zones/closet.map"] {
        assert!(stderr.contains(part), "{part:?} is missing in {stderr}");
    }
}

#[test]
fn the_version_names_its_commit() {
    let (code, stdout, _) = run_program(&["--version"]);
    assert_eq!(code, Some(0));
    let commit = stdout.trim().strip_prefix("vyuha ").and_then(|rest| rest.split(['(', ')']).nth(1));
    let commit = commit.unwrap_or_else(|| panic!("{stdout:?} names no commit"));
    let digits = commit.strip_suffix("-dirty").unwrap_or(commit);
    assert!(
        digits == "unknown" || (digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())),
        "{stdout}"
    );
}
