//! The crash campaign of `cargo xtask crash`, with few rounds and few bots: on SQLite, and on a PostgreSQL that is killed, too.
//!
//! `VYUHA_CRASH_ROUNDS` sets how often the node is killed, `VYUHA_CRASH_SEED` repeats a run's choices.

use std::env;

use vyuha_tests::campaign::{Campaign, StoreKind, run};

const ROUNDS_DEFAULT: u64 = 10;
const BOTS: u32 = 24;

fn from_environment(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

fn check(store: StoreKind) {
    let rounds = from_environment("VYUHA_CRASH_ROUNDS").unwrap_or(ROUNDS_DEFAULT) as u32;
    let seed = from_environment("VYUHA_CRASH_SEED").unwrap_or_else(rand::random);
    println!("VYUHA_CRASH_SEED={seed}");
    let report = run(Campaign { rounds, store, bots: BOTS, seed }, |line| println!("{line}"));
    println!("{}", serde_json::to_string(&report).expect("a report is JSON"));
    assert!(report.faults.is_empty(), "{:?}: {:#?}", report.evidence, report.faults);
    assert!(report.acknowledged > u64::from(rounds), "next to nothing happened: the test proves little");
}

#[test]
fn a_node_that_is_killed_again_and_again_keeps_its_word() {
    check(StoreKind::Sqlite);
}

#[test]
fn so_does_one_whose_database_is_killed_too() {
    check(StoreKind::Postgres);
}
