//! A node and bots that play on it, in one process: the whole game on a fresh machine, with figures.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;
use vyuha_bots::{LoadOptions, LoadReport, Progress};
use vyuha_net::cpu::threads_by_name;

use crate::config::{Config, Size, TlsMode};
use crate::node::{Node, load_content};
use crate::telemetry::{Stage, Totals};

/// Memory and passes of a password's hash here: hundreds of bots sign up at once, and nobody attacks their passwords.
const HASH_MEMORY: Size = Size::of_bytes(1 << 20);
const HASH_ITERATIONS: u32 = 1;
/// How the names of the server's threads begin: shards, journal, database and control plane; and password hashing.
const SERVER_THREADS: [&str; 2] = ["vyuha-", "hash-"];

/// What `vyuha demo` was asked for beside the node's own configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoOptions {
    /// Bots that play, each over a TCP connection of its own.
    pub clients: u32,
    /// How long they play; without it until Ctrl-C.
    pub seconds: Option<u64>,
    /// Print the summary as one JSON object on the last line of stdout.
    pub json: bool,
    /// Keep the data here; without it a temporary folder is used and removed.
    pub data: Option<PathBuf>,
}

/// Runs the demonstration to its end.
///
/// # Errors
/// If the node does not start or fails, or a bot saw an error.
pub fn run(mut config: Config, options: &DemoOptions) -> anyhow::Result<()> {
    crate::logging::init(&config.log);
    let stop = crate::signals::stop_requested()?;
    let temporary = match &options.data {
        Some(_) => None,
        None => Some(tempfile::tempdir().context("no temporary folder can be made for the data")?),
    };
    if let Some(folder) = &temporary {
        config.data.dir = folder.path().into();
    }
    // Its bots speak plain TCP, within this machine.
    config.tls.mode = TlsMode::Off;
    config.accounts.hash_memory = HASH_MEMORY;
    config.accounts.hash_iterations = HASH_ITERATIONS;
    config.net.connections_max = config.net.connections_max.max(options.clients + options.clients / 10);

    let content = load_content(&config)?;
    let node = Node::start(&config)?;
    eprintln!(
        "{} bots play at {}, which {} drives; look on at http://{}/",
        options.clients,
        node.listen,
        node.driver.name(),
        node.admin
    );
    eprintln!("play among them at http://{}/", node.web);
    let load = LoadOptions {
        duration: options.seconds.map(Duration::from_secs),
        ..LoadOptions::new(node.listen, options.clients, Arc::new(vyuha_bots::client_content(&content)))
    };
    let mut served = Served::default();
    let report = vyuha_bots::run(&load, |progress| served.progress(&node, progress, &stop), &stop)?;
    node.stop();
    node.join()?;

    println!("{}", report.summary());
    println!("{}", served.summary());
    if options.json {
        println!("{}", served.json(&config, &report));
    }
    if !report.succeeded() {
        bail!("the bots saw errors: {}", report.error_samples.join("; "));
    }
    Ok(())
}

/// What serving the bots took, in the time that they measured.
#[derive(Default)]
struct Served {
    totals: Totals,
    /// CPU time of each group of the server's threads when measuring began, and when it was last looked at.
    cpu: Option<[Cpu; 2]>,
}

/// CPU time of the server's threads.
#[derive(Debug, Clone, Copy, Default)]
struct Cpu {
    shards: Duration,
    others: Duration,
}

impl Cpu {
    fn now() -> std::io::Result<Cpu> {
        let mut cpu = Cpu::default();
        for prefix in SERVER_THREADS {
            for thread in threads_by_name(prefix)? {
                let shard = thread.name.starts_with("vyuha-shard");
                *if shard { &mut cpu.shards } else { &mut cpu.others } += thread.cpu;
            }
        }
        Ok(cpu)
    }
}

impl Served {
    /// Once a second: shows how it goes, and takes the shards' figures while the bots measure.
    fn progress(&mut self, node: &Node, progress: &Progress, stop: &AtomicBool) {
        if node.has_ended() {
            stop.store(true, Ordering::Relaxed);
        }
        let mut second = Totals::default();
        for shard in &node.totals {
            second.add(&shard.take());
        }
        if progress.measuring {
            match (Cpu::now(), &mut self.cpu) {
                (Ok(now), Some([_, end])) => {
                    *end = now;
                    self.totals.add(&second);
                }
                // What was summed until now is of the time before.
                (Ok(now), none) => *none = Some([now, now]),
                (Err(error), _) => tracing::warn!(%error, "the threads' CPU time cannot be read"),
            }
        }
        eprintln!(
            "{:4.0} s  {:>4} of {} play   tick {:5.2} ms (p99)   snapshots {:4.1} ms apart (p99)   {:6.2} MB/s out   \
             {} disconnects, {} errors{}",
            progress.seconds,
            progress.playing,
            progress.clients,
            second.tick_us.value_at_quantile(0.99) as f64 / 1000.0,
            progress.snapshot_gap_p99_ms,
            second.bytes_out as f64 / 1e6,
            progress.disconnects,
            progress.errors,
            if progress.measuring { "" } else { "   (signing in or out)" },
        );
    }

    /// CPU time of the server's threads for one tick of one client, in microseconds: of its shards, and of all else.
    fn us_per_client_tick(&self) -> (f64, f64) {
        let [begin, end] = self.cpu.unwrap_or_default();
        let per_tick = |begin: Duration, end: Duration| {
            end.saturating_sub(begin).as_secs_f64() * 1e6 / (self.totals.session_ticks.max(1) as f64)
        };
        (per_tick(begin.shards, end.shards), per_tick(begin.others, end.others))
    }

    /// Each stage with its mean time a tick, in microseconds.
    fn stages(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let ticks = self.totals.ticks.max(1) as f64;
        Stage::ALL
            .iter()
            .zip(self.totals.stage_ns)
            .map(move |((_, name), ns)| (*name, ns as f64 / 1000.0 / ticks))
    }

    fn summary(&self) -> String {
        let totals = &self.totals;
        let (shards, others) = self.us_per_client_tick();
        let whole: f64 = self.stages().map(|(_, us)| us).sum();
        let mut stages: Vec<(&str, f64)> = self.stages().collect();
        stages.sort_by(|a, b| b.1.total_cmp(&a.1));
        let shares: Vec<String> = stages
            .iter()
            .filter(|(_, us)| *us >= whole / 100.0)
            .map(|(name, us)| format!("{name} {us:.0} us ({:.0}%)", 100.0 * us / whole))
            .collect();
        format!(
            "The server ran {} ticks on its shards, {} of them late and {} shed; a tick took {:.2} ms (median), {:.2} ms at \
             p99, {:.2} ms at most, and began {} us (median), {} us at p99 after its time.\n\
             It spent {:.1} us of CPU on each tick of a client: {shards:.1} us on the shards, {others:.1} us on journal, \
             database and control plane.\n\
             Where a tick's time goes: {}.",
            totals.ticks,
            totals.late_ticks,
            totals.shed_ticks,
            totals.tick_us.value_at_quantile(0.5) as f64 / 1000.0,
            totals.tick_us.value_at_quantile(0.99) as f64 / 1000.0,
            totals.tick_us.max() as f64 / 1000.0,
            totals.lateness_us.value_at_quantile(0.5),
            totals.lateness_us.value_at_quantile(0.99),
            shards + others,
            shares.join(", "),
        )
    }

    fn json(&self, config: &Config, report: &LoadReport) -> serde_json::Value {
        let totals = &self.totals;
        let (shards, others) = self.us_per_client_tick();
        let gap = report.snapshot_gap_ms;
        let input = report.input_to_snapshot_ms;
        let client_seconds = totals.session_ticks as f64 / f64::from(config.shard.tick_hz);
        let stages: serde_json::Map<String, serde_json::Value> =
            self.stages().map(|(name, us)| (name.replace(' ', "_"), json!(us))).collect();
        json!({
            "clients": report.clients,
            "connected": report.connected,
            "seconds": report.seconds,
            "tick_hz": config.shard.tick_hz,
            "ticks": totals.ticks,
            "late_ticks": totals.late_ticks,
            "shed_ticks": totals.shed_ticks,
            "tick_us": {
                "p50": totals.tick_us.value_at_quantile(0.5),
                "p99": totals.tick_us.value_at_quantile(0.99),
                "max": totals.tick_us.max(),
            },
            "tick_lateness_us": {
                "p50": totals.lateness_us.value_at_quantile(0.5),
                "p99": totals.lateness_us.value_at_quantile(0.99),
                "max": totals.lateness_us.max(),
            },
            "snapshot_gap_ms": { "p50": gap.p50, "p99": gap.p99, "max": gap.max },
            "input_to_snapshot_ms": { "p50": input.p50, "p99": input.p99 },
            "server_us_per_client_tick": shards + others,
            "shards_us_per_client_tick": shards,
            "bytes_out_per_client_s": totals.bytes_out as f64 / client_seconds.max(1.0),
            "commands": report.commands,
            "commands_refused": report.commands_refused,
            "corrections": report.corrections,
            "disconnects": report.disconnects,
            "errors": report.errors,
            "stage_us_per_tick": stages,
            "bots_us_per_client_tick": report.bots_cpu_us_per_client_tick,
        })
    }
}
