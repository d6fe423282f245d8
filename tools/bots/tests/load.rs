//! Loads against a tiny server that does what a real one does, or plants a fault.

mod tiny_server;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tiny_server::{Plan, SIGN_INS_MAX, TinyServer};
use vyuha_bots::{Conditions, LoadOptions, LoadReport, Role, Stack, run};

fn options(server: &TinyServer, clients: u32) -> LoadOptions {
    LoadOptions {
        duration: Some(Duration::from_millis(1500)),
        relog_interval: Duration::from_millis(200),
        item_pause: Duration::from_millis(100),
        sign_ins_max: SIGN_INS_MAX as u32,
        ..LoadOptions::new(server.address, clients, tiny_server::content())
    }
}

fn played(options: &LoadOptions) -> LoadReport {
    run(options, |_| {}, &AtomicBool::new(false)).unwrap()
}

#[test]
fn bots_play_with_a_sound_server_and_their_ledger_is_its_books() {
    let server = TinyServer::start(Plan::default());
    let options = options(&server, 12);
    let report = played(&options);
    assert_eq!(report.error_samples, Vec::<String>::new());
    assert!(report.succeeded());
    assert_eq!((report.clients, report.connected, report.errors, report.disconnects), (12, 12, 0, 0));
    assert_eq!((report.corrections, report.sign_in_retries), (0, 0));
    assert!(report.relogs >= 3, "{} came back", report.relogs);
    assert!(report.picked_up > 0 && report.dropped > 0, "{report:?}");
    assert!(report.seconds >= 1.5 && report.bytes_in_per_client_s > 1000.0, "{report:?}");
    assert!((25.0..50.0).contains(&report.snapshot_gap_ms.p50), "{report:?}");
    assert!(
        report.inputs > 12 * 20 && report.input_to_snapshot_ms.count > 12 * 20 && report.rtt_ms.count > 0
    );
    assert!(server.signing_in_most() <= SIGN_INS_MAX, "{} at once", server.signing_in_most());
    for entry in &report.ledger {
        assert_eq!(entry.book.in_flight, None);
        let held: Vec<(u8, u16, u32)> = entry.book.held().map(|(slot, s)| (slot, s.kind, s.count)).collect();
        assert_eq!(held, server.inventory(&entry.account), "{}", entry.account);
    }

    // The next load goes on from the ledger; one that was told more finds it missing.
    let mut ledger = report.ledger;
    let next = played(&LoadOptions { ledger: ledger.clone(), ..options.clone() });
    assert_eq!(next.error_samples, Vec::<String>::new());
    ledger = next.ledger;
    ledger[3].book.slots.as_mut().unwrap()[27] = Some(Stack { kind: 9, count: 1 });
    let misled = played(&LoadOptions { ledger, ..options });
    assert!(report.heard + next.heard + misled.heard > 0, "nobody spoke");
    assert_eq!(misled.errors, 1);
    assert!(misled.error_samples[0].starts_with("bot00003: entered with"), "{:?}", misled.error_samples);
    assert!(!misled.succeeded());
}

#[test]
fn every_role_plays_with_a_sound_server_with_and_without_a_view() {
    let server = TinyServer::start(Plan::default());
    for watchers in [0, 32] {
        let options = LoadOptions {
            watchers,
            roles: "wanderer=1,crowd=1,chatter=1,trader=1,reconnecter=1,lagger=1,resumer=1,idle=1"
                .parse()
                .unwrap(),
            duration: Some(Duration::from_secs(8)),
            account_prefix: format!("roles{watchers}"),
            ..options(&server, 32)
        };
        let report = played(&options);
        assert_eq!(report.error_samples, Vec::<String>::new());
        assert_eq!((report.connected, report.errors, report.disconnects), (32, 0, 0), "{report:?}");
        assert_eq!((report.corrections, report.roles.len()), (0, Role::ALL.len()));
        assert!(report.reconnects >= 2 && report.relogs >= 3 && report.heard > 0, "{report:?}");
        for (role, of) in &report.roles {
            assert_eq!(of.clients, 4);
            let steps = of.input_to_snapshot_ms.count;
            assert!(
                of.snapshot_gap_ms.count > 10 && (steps > 10) != (*role == Role::Idle),
                "{role:?}: {of:?}"
            );
            assert_eq!(of.reconnects > 0, *role == Role::Reconnecter);
        }
        let gap = |role| report.roles[&role].snapshot_gap_ms.p99;
        assert!(gap(Role::Lagger) > 2.0 * gap(Role::Wanderer), "{report:?}");
        assert!(report.roles[&Role::Chatter].commands > report.roles[&Role::Wanderer].commands);
        assert!(report.picked_up > 0);
    }
}

#[test]
fn a_load_from_far_away_waits_longer_and_loses_nothing() {
    let server = TinyServer::start(Plan::default());
    let conditions =
        Conditions { lag: Duration::from_millis(120), jitter: Duration::from_millis(10), loss: 0.01 };
    let options = LoadOptions {
        conditions: Some(conditions),
        watchers: 6,
        roles: "trader=1,wanderer=1".parse().unwrap(),
        ..options(&server, 12)
    };
    let report = played(&options);
    assert_eq!(report.error_samples, Vec::<String>::new());
    assert_eq!((report.connected, report.disconnects, report.corrections), (12, 0, 0), "{report:?}");
    assert!(report.rtt_ms.p50 >= 120.0 && report.input_to_snapshot_ms.p50 >= 120.0, "{report:?}");
}

#[test]
fn an_item_lost_between_sessions_is_an_error() {
    let server = TinyServer::start(Plan { loses_items_at_logout: true, ..Plan::default() });
    let report = played(&options(&server, 6));
    assert!(report.errors > 0 && report.disconnects == 0, "{report:?}");
    assert!(report.error_samples[0].contains("were acknowledged"), "{:?}", report.error_samples);
}

#[test]
fn an_input_that_is_not_carried_out_is_a_correction() {
    let server = TinyServer::start(Plan { loses_inputs: true, ..Plan::default() });
    let report = played(&options(&server, 3));
    assert!(report.corrections > 0, "{report:?}");
    assert_eq!(report.errors, 0, "{:?}", report.error_samples);
}

#[test]
fn a_server_that_dies_disconnects_everybody() {
    let server = TinyServer::start(Plan { dies_after: Some(Duration::from_millis(1500)), ..Plan::default() });
    let options =
        LoadOptions { duration: None, relog_interval: Duration::from_hours(1), ..options(&server, 6) };
    let stop = AtomicBool::new(false);
    let report = run(
        &options,
        |progress| stop.store(stop.load(Ordering::Relaxed) || progress.disconnects == 6, Ordering::Relaxed),
        &stop,
    )
    .unwrap();
    assert_eq!((report.connected, report.disconnects), (6, 6), "{report:?}");
    assert_eq!(report.disconnects_by_reason.values().sum::<u64>(), 6);
    assert_eq!(report.error_samples, Vec::<String>::new());
}

#[test]
fn where_nobody_listens_the_load_gives_up() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = listener.local_addr().unwrap();
    drop(listener);
    let report = played(&LoadOptions::new(target, 2, Arc::default()));
    assert_eq!((report.connected, report.errors, report.sign_in_retries), (0, 2, 10), "{report:?}");
    assert!(report.error_samples[0].contains("ConnectionRefused"), "{:?}", report.error_samples);
    assert!(!report.succeeded());
}

#[test]
fn other_content_is_refused_once_and_for_all() {
    let server = TinyServer::start(Plan::default());
    let report = played(&LoadOptions::new(server.address, 2, Arc::default()));
    assert_eq!((report.connected, report.errors, report.sign_in_retries), (0, 2, 2), "{report:?}");
}

#[test]
fn the_report_is_one_json_object_with_every_figure() {
    let server = TinyServer::start(Plan::default());
    let options = LoadOptions { duration: Some(Duration::from_millis(200)), ..options(&server, 1) };
    let json = serde_json::to_value(played(&options)).unwrap();
    let object = json.as_object().unwrap();
    for key in [
        "clients",
        "connected",
        "seconds",
        "snapshot_gap_ms",
        "input_to_snapshot_ms",
        "rtt_ms",
        "bytes_in_per_client_s",
        "commands",
        "commands_refused",
        "refused_by_code",
        "disconnects",
        "errors",
        "error_samples",
        "bots_cpu_us_per_client_tick",
        "bots_cpu_share",
        "steps_missed",
        "driver",
        "roles",
    ] {
        assert!(object.contains_key(key), "{key}");
    }
    for part in ["p50", "p99", "max"] {
        assert!(json["snapshot_gap_ms"][part].is_f64(), "{part}");
    }
    assert!(!object.contains_key("ledger"), "passwords do not belong into a report");
}
