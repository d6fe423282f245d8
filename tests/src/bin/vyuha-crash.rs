//! `vyuha-crash`: the crash campaign as a program, which `cargo xtask crash` builds and runs. A line a round on stderr, the
//! summary as one line of JSON on stdout.

use std::process::ExitCode;

use clap::{Parser, ValueEnum as _};
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
    let campaign = Campaign { rounds, store, bots, seed };
    let report = run(campaign, |line| eprintln!("{line}"));
    for fault in &report.faults {
        eprintln!("violation: {fault}");
    }
    if let Some(evidence) = &report.evidence {
        eprintln!("what it left is in {}; {} tries again", evidence.display(), again(&campaign));
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

/// The command that plays a campaign.
fn again(Campaign { rounds, store, bots, seed }: &Campaign) -> String {
    let store = store.to_possible_value().expect("each store has a name");
    let store = store.get_name();
    format!("cargo xtask crash --rounds {rounds} --store {store} --bots {bots} --seed {seed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_tries_again_is_taken() {
        for store in StoreKind::value_variants() {
            let command = again(&Campaign { rounds: 7, store: *store, bots: 30, seed: 11 });
            let words = command.strip_prefix("cargo xtask crash").unwrap().split_whitespace();
            let taken = Arguments::try_parse_from(["vyuha-crash"].into_iter().chain(words)).unwrap();
            assert_eq!((taken.rounds, taken.store, taken.bots, taken.seed), (7, *store, 30, Some(11)));
        }
    }
}
