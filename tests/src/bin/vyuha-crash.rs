//! `vyuha-crash`: the crash campaign as a program, which `cargo xtask crash` builds and runs. A line a round on stderr, the
//! summary as one line of JSON on stdout.

use std::process::ExitCode;

use clap::Parser;
use vyuha_tests::campaign::{Campaign, StoreKind, run};

/// Kills a node under trading bots again and again, and holds it to every word that it gave.
#[derive(Debug, Parser)]
#[command(name = "vyuha-crash")]
struct Arguments {
    /// How often the node dies.
    #[arg(long, default_value_t = 50)]
    rounds: u32,
    /// Where it keeps its rows.
    #[arg(long, default_value = "sqlite")]
    store: StoreKind,
    /// How many bots play.
    #[arg(long, default_value_t = 200)]
    bots: u32,
    /// Decides what dies when; chosen and printed without it.
    #[arg(long)]
    seed: Option<u64>,
    /// Print only the summary.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let Arguments { rounds, store, bots, json, .. } = arguments;
    let report = run(Campaign { rounds, store, bots, seed }, |line| eprintln!("{line}"));
    for fault in &report.faults {
        eprintln!("violation: {fault}");
    }
    if let Some(evidence) = &report.evidence {
        eprintln!(
            "what it left is in {}; cargo xtask crash --store {store:?} --seed {seed} tries again",
            evidence.display()
        );
    }
    if !json {
        eprintln!(
            "{} rounds, {} requests acknowledged, {} violations; players can connect {} ms after a start (median), {} ms at most",
            report.rounds,
            report.acknowledged,
            report.violations,
            report.recovery_ms.p50,
            report.recovery_ms.max
        );
    }
    println!("{}", serde_json::to_string(&report).expect("a report is JSON"));
    if report.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
