//! Runs seeds of the fault simulator and says which failed. See the library.

use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use vyuha_simulator::{Bug, Options, Report, run};

/// Ticks of a run unless told otherwise.
const TICKS_DEFAULT: u64 = 400;

/// Runs a node with faults planted by a seed, and looks whether anything is lost, doubled or stuck.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// Run one seed
    #[arg(long, conflicts_with_all = ["seeds", "minutes"])]
    seed: Option<u64>,
    /// Run these seeds, such as 0..1000
    #[arg(long, value_parser = range)]
    seeds: Option<Range<u64>>,
    /// Run seeds for so long, from the first of --seeds on
    #[arg(long)]
    minutes: Option<f64>,
    /// Ticks during which faults are planted
    #[arg(long, default_value_t = TICKS_DEFAULT)]
    ticks: u64,
    /// Plant a bug of the node's own, to see that it is found
    #[arg(long, value_parser = bug)]
    bug: Option<(&'static str, Bug)>,
    /// Say all that happens
    #[arg(long)]
    log: bool,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let ends = text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    ends.map(|(from, to)| from..to).ok_or_else(|| "write the seeds as 0..1000".to_owned())
}

fn bug(text: &str) -> Result<(&'static str, Bug), String> {
    let known = Bug::ALL.into_iter().find(|(name, _)| *name == text);
    known.ok_or_else(|| format!("choose one of {}", Bug::ALL.map(|(name, _)| name).join(", ")))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.log {
        let log = tracing_subscriber::fmt().without_time().with_max_level(tracing::Level::DEBUG);
        log.with_writer(std::io::stderr).init();
    }
    let time = arguments.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
    let seeds = match (arguments.seed, arguments.seeds.clone(), time) {
        (Some(seed), _, _) => seed..seed + 1,
        (None, Some(seeds), None) => seeds,
        (None, seeds, Some(_)) => seeds.map_or(0, |seeds| seeds.start)..u64::MAX,
        (None, None, None) => 0..100,
    };
    let begun = Instant::now();
    let mut failed = Vec::new();
    let (mut runs, mut crashes, mut recoveries) = (0u64, 0, 0);
    let (mut logins, mut resumed, mut acknowledged, mut crossings, mut trades) = (0, 0, 0, 0, 0);
    let mut rearranged = 0;
    for seed in seeds {
        if time.is_some_and(|time| begun.elapsed() >= time) {
            break;
        }
        let report = run(Options { seed, ticks: arguments.ticks, bug: arguments.bug.map(|(_, bug)| bug) });
        runs += 1;
        crashes += report.counts.crashes;
        recoveries += report.counts.recoveries;
        logins += report.counts.logins;
        resumed += report.counts.resumed;
        acknowledged += report.counts.acknowledged;
        rearranged += report.counts.rearranged;
        crossings += report.counts.crossings;
        trades += report.counts.trades;
        if arguments.seed.is_some() {
            println!("{report:#?}");
        }
        if let Some(violation) = &report.violation {
            println!("{}: {violation}", replay(&report, &arguments));
            failed.push(seed);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let summary = serde_json::json!({
        "runs": runs,
        "failed": failed,
        "ticks": arguments.ticks,
        "crashes": crashes,
        "recoveries": recoveries,
        "logins": logins,
        "resumed": resumed,
        "acknowledged": acknowledged,
        "rearranged": rearranged,
        "crossings": crossings,
        "trades": trades,
        "seconds": (seconds * 10.0).round() / 10.0,
        "seeds_per_hour": (runs as f64 / seconds * 3600.0) as u64,
    });
    println!("{summary}");
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The command that runs a seed again, exactly.
fn replay(report: &Report, arguments: &Arguments) -> String {
    let bug = arguments.bug.map(|(name, _)| format!(" --bug {name}")).unwrap_or_default();
    format!("cargo xtask simulate --seed {} --ticks {}{bug}", report.seed, arguments.ticks)
}
