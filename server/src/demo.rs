//! A node and bots that play on it, in one process: the whole game on a fresh machine, with figures.
//!
//! The bots have a processor of their own where there are two, and the node the others, so that neither is measured by what
//! the other leaves it. Up to [`EXAMPLE_CLIENTS_MAX`] of them play in the configured world; more of them in a world of
//! [`rooms`], because the example world would be one crowd.

mod siege;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::thread::{CpuSet, UnshareFlags, sched_setaffinity, unshare_unsafe};
use serde_json::json;
use vyuha_bots::{LoadError, LoadOptions, LoadReport, Progress, Roles};
use vyuha_net::cpu::{threads_by_name, usable};

use self::siege::Siege;
use crate::config::{Config, Count, Size, TlsMode};
use crate::node::{Node, load_content};
use crate::rooms;
use crate::telemetry::{Stage, Totals};

/// Most bots that play in the example world; more play in rooms.
pub const EXAMPLE_CLIENTS_MAX: u32 = 2000;
/// What bots do in rooms: a plain load, which hardly touches the journal.
const ROOMS_ROLES: &str = "wanderer=9,chatter=1";

/// Memory and passes of a password's hash here: hundreds of bots sign up at once, and nobody attacks their passwords.
const HASH_MEMORY: Size = Size::of_bytes(1 << 20);
const HASH_ITERATIONS: u32 = 1;
/// What is exempt from the limits by address where attackers come: the bots, not these.
const BOTS_NETWORK: &str = "127.0.0.0/16";
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
    /// What the bots do; without it the plain load of the world they play in.
    pub roles: Option<Roles>,
    /// Clients that mean no good, which come for ten seconds out of each twenty.
    pub attackers: Option<u32>,
    /// Keep the data here; without it a temporary folder is used and removed.
    pub data: Option<PathBuf>,
}

/// Runs the demonstration to its end.
///
/// # Errors
/// If the node does not start or fails, or a bot saw an error.
pub fn run(mut config: Config, options: &DemoOptions) -> anyhow::Result<()> {
    crate::logging::init(&config.log, None);
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
    // Room for those who leave while they come back.
    config.net.connections_max = config.net.connections_max.max(options.clients + options.clients / 10);
    config.accounts.hash_queue = config.accounts.hash_queue.max(LoadOptions::SIGN_INS_MAX);
    config.net.handshakes_max = config.net.handshakes_max.max(2 * LoadOptions::SIGN_INS_MAX);

    if options.attackers.is_some() {
        config.address.exempt = BOTS_NETWORK.parse().map_err(anyhow::Error::msg)?;
    }

    let cpus = usable().context("the processors that may be used cannot be listed")?;
    let bots_cpu = bots_cpu(&cpus, config.shard.count);
    if let Some(bots_cpu) = bots_cpu {
        // Every thread of the node follows this one.
        let mut set = CpuSet::new();
        cpus.iter().filter(|&&cpu| cpu != bots_cpu).for_each(|&cpu| set.set(cpu));
        sched_setaffinity(None, &set).context("the node cannot be kept off the bots' processor")?;
    }
    let in_rooms = options.clients > EXAMPLE_CLIENTS_MAX && config.content.dir.as_os_str().is_empty();
    if in_rooms {
        config.content.dir = config.data.dir.join("rooms");
        rooms::write(&config.content.dir, options.clients, config.shards() as u32)
            .with_context(|| format!("the rooms cannot be written to {}", config.content.dir.display()))?;
    }

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
    let mut load = LoadOptions {
        duration: options.seconds.map(Duration::from_secs),
        cpu: bots_cpu,
        ..LoadOptions::new(node.listen, options.clients, Arc::new(vyuha_bots::client_content(&content)))
    };
    match options.roles {
        Some(roles) => load.roles = roles,
        None if in_rooms => load.roles = ROOMS_ROLES.parse().context("the roles in rooms")?,
        None => {}
    }
    let siege = options.attackers.map(|attackers| Siege::new(attackers, node.listen, content.hash, bots_cpu));
    let mut served = Served { siege, ..Served::default() };
    let report = play(&load, |progress| served.progress(&node, progress, &stop), &stop)?;
    node.stop();
    node.join()?;

    println!("{}", report.summary());
    println!("{}", served.summary());
    if options.json {
        println!("{}", served.json(&config, &report, if in_rooms { "rooms" } else { "content" }));
    }
    if !report.succeeded() {
        bail!("the bots saw errors: {}", report.error_samples.join("; "));
    }
    Ok(())
}

/// The processor that the bots get to themselves: the last one, unless the shards want it.
fn bots_cpu(cpus: &[usize], shards: Count) -> Option<usize> {
    let (&last, others) = cpus.split_last()?;
    let wanted = match shards {
        Count::Auto => 1,
        Count::Exactly(count) => count as usize,
    };
    (wanted <= others.len()).then_some(last)
}

/// Runs the load on a thread of its own, with open files of its own: as many as the node has players would not fit into
/// one process's limit twice.
fn play(
    load: &LoadOptions,
    progress: impl FnMut(&Progress) + Send,
    stop: &AtomicBool,
) -> anyhow::Result<LoadReport> {
    let run = || -> Result<LoadReport, LoadError> {
        // SAFETY: from here on this thread uses the files that it opens itself, and standard output and error, which it has
        // copies of; no handle of a file leaves it, and of those that others open later none comes to it.
        if let Err(error) = unsafe { unshare_unsafe(UnshareFlags::FILES) } {
            tracing::info!(%error, "the bots' open files count as the node's");
        }
        vyuha_bots::run(load, progress, stop)
    };
    std::thread::scope(|scope| {
        let bots = std::thread::Builder::new().name("bots".into()).spawn_scoped(scope, run)?;
        let report = bots.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        anyhow::Ok(report?)
    })
}

/// What serving the bots took, in the time that they measured.
#[derive(Default)]
struct Served {
    siege: Option<Siege>,
    totals: Totals,
    /// CPU time of each group of the server's threads when measuring began, and when it was last looked at.
    cpu: Option<[Cpu; 2]>,
}

/// CPU time of the server's threads.
#[derive(Debug, Clone, Copy)]
struct Cpu {
    at: Instant,
    shards: Duration,
    others: Duration,
}

impl Cpu {
    fn now() -> std::io::Result<Cpu> {
        let mut cpu = Cpu { at: Instant::now(), shards: Duration::ZERO, others: Duration::ZERO };
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
        if let Some(siege) = &mut self.siege {
            siege.second(&second, progress);
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
            match &self.siege {
                _ if !progress.measuring => "   (signing in or out)",
                Some(siege) if siege.is_on() => "   (attacked)",
                _ => "",
            },
        );
    }

    /// CPU time of the server's threads for one tick of one client, in microseconds: of its shards, and of all else.
    fn us_per_client_tick(&self) -> (f64, f64) {
        let Some([begin, end]) = self.cpu else { return (0.0, 0.0) };
        let per_tick = |begin: Duration, end: Duration| {
            end.saturating_sub(begin).as_secs_f64() * 1e6 / (self.totals.session_ticks.max(1) as f64)
        };
        (per_tick(begin.shards, end.shards), per_tick(begin.others, end.others))
    }

    /// CPU time of all the server's threads in a second; 1 is a whole processor.
    fn cpu_share(&self) -> f64 {
        let Some([begin, end]) = self.cpu else { return 0.0 };
        let spent = (end.shards + end.others).saturating_sub(begin.shards + begin.others);
        spent.as_secs_f64() / end.at.duration_since(begin.at).as_secs_f64().max(1e-3)
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
             database and control plane; {:.0}% of a processor in all.\n\
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
            self.cpu_share() * 100.0,
            shares.join(", "),
        )
    }

    fn json(&mut self, config: &Config, report: &LoadReport, world: &str) -> serde_json::Value {
        let siege = self.siege.as_mut().map(Siege::json);
        let totals = &self.totals;
        let (shards, others) = self.us_per_client_tick();
        let gap = report.snapshot_gap_ms;
        let input = report.input_to_snapshot_ms;
        let client_seconds = totals.session_ticks as f64 / f64::from(config.shard.tick_hz);
        let stages: serde_json::Map<String, serde_json::Value> =
            self.stages().map(|(name, us)| (name.replace(' ', "_"), json!(us))).collect();
        json!({
            "world": world,
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
            "server_cpu_share": self.cpu_share(),
            "bots_us_per_client_tick": report.bots_cpu_us_per_client_tick,
            "bots_cpu_share": report.bots_cpu_share,
            "bots_steps_missed": report.steps_missed,
            "bots_driver": report.driver,
            "siege": siege,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bots_have_a_processor_of_their_own_where_the_shards_leave_one() {
        for (cpus, shards, expected) in [
            (&[0, 1][..], Count::Auto, Some(1)),
            (&[2, 5, 7], Count::Exactly(2), Some(7)),
            (&[0, 1], Count::Exactly(2), None),
            (&[3], Count::Auto, None),
            (&[], Count::Auto, None),
        ] {
            assert_eq!(bots_cpu(cpus, shards), expected, "{cpus:?} {shards:?}");
        }
    }
}
