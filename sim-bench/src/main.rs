//! The program `sim-bench`: measures and prints.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use sim_bench::scenario::{Scenario, Shape};
use sim_bench::wire::{self, Mode};
use sim_bench::{chart, flame, login, queries, rings, store, tick};
use vyuha_core::SimdLevel;

/// The allocator of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the zone's tick, and the rings between threads, on this machine. Use a release build, and a machine that does nothing else.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// The vector instructions of the zone's passes: scalar, sse2, avx2, avx512 or neon [default: the widest there are]
    #[arg(long, global = true, value_name = "LEVEL", env = "VYUHA_SIMD", value_parser = SimdLevel::parse)]
    simd: Option<SimdLevel>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a scenario's ticks and reports what each pass costs
    Tick {
        #[command(flatten)]
        scenario: ScenarioArgs,
        /// How many ticks count
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
        ticks: u32,
        /// Print the report as one JSON object on the last line of stdout
        #[arg(long)]
        json: bool,
    },
    /// Asks questions in batches and reports what one costs
    Queries {
        #[command(flatten)]
        scenario: ScenarioArgs,
        /// How many batches of each kind count
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        /// Print the report as one JSON object on the last line of stdout
        #[arg(long)]
        json: bool,
    },
    /// Draws where the time goes, as an SVG; needs no root
    Flame {
        #[command(subcommand)]
        what: FlameCommand,
    },
    /// Measures every size and shape, and draws cost by size as an SVG
    Chart {
        /// Where to write the SVG
        #[arg(long, value_name = "FILE", default_value = "docs/tick-cost.svg")]
        out: PathBuf,
        /// The largest size to measure
        #[arg(long, default_value_t = 1_000_000)]
        entities_max: u32,
        /// How many ticks count, a size and shape
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        ticks: u32,
    },
    /// Hands items from one thread to another, over our rings and over other queues, interleaved
    Rings {
        /// How many rounds count; in each, everyone moves the same items
        #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        /// Print the report as one JSON object on the last line of stdout
        #[arg(long)]
        json: bool,
    },
    /// Makes players' changes durable through the node's whole way to a PostgreSQL of its own, beside one that writes each at once
    Store {
        /// How many players
        #[arg(long, default_value_t = 10_000, value_parser = parse_players)]
        players: u32,
        /// How many rounds count; in each, everybody is saved and trades once, and the peer does its work
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        /// For how many seconds players are saved at their own pace
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
        /// For how many seconds of 2,000 trades the database is gone
        #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=3600))]
        outage_seconds: u32,
        /// How often the tick has its turn without a store, with one under load, and with its database stopped
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
        tick_rounds: u32,
        /// For how many seconds each of these has its turn
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        phase_seconds: u32,
        /// Print the report as one JSON object on the last line of stdout
        #[arg(long)]
        json: bool,
    },
    /// Signs people in through the account service over HTTP beside a shard that ticks, and asks for /me beside a bare handler
    Login {
        /// How many rounds count; in each, everything has its turn
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        /// For how many seconds people sign in, and nobody does, in a round
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
        phase_seconds: u32,
        /// Clients that sign in at once
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=i64::from(login::CLIENTS_MAX)))]
        clients: u32,
        /// How many players walk on the shard
        #[arg(long, default_value_t = 10_000, value_parser = parse_players)]
        players: u32,
        /// Print the report as one JSON object on the last line of stdout
        #[arg(long)]
        json: bool,
    },
    /// Measures what clients' sockets cost by tick: ours, other ways, and the bare system calls
    Wire {
        /// Numbers of clients
        #[arg(long, value_delimiter = ',', default_value = "1000,5000,9900", value_parser = parse_clients)]
        clients: Vec<usize>,
        /// The ways to serve them [default: all; apart, all but vyuha_tls]
        #[arg(long, value_delimiter = ',', value_enum)]
        modes: Vec<Mode>,
        /// Give the clients a process and a core of their own, and spread their inputs over the tick
        #[arg(long)]
        apart: bool,
        /// How often each way has its turn
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
        rounds: u16,
        /// How many ticks count, a turn
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
        ticks: u16,
        /// Print the report as one JSON object on the last line of stdout
        #[arg(long)]
        json: bool,
    },
    /// The clients of `wire --apart`
    #[command(hide = true, name = wire::apart::SUBCOMMAND)]
    WireClients {
        #[arg(long)]
        clients: usize,
        #[arg(long)]
        cpu: usize,
        addresses: Vec<SocketAddr>,
    },
    /// Runs the same work on other engines' entity stores, interleaved with ours
    #[cfg(feature = "peers")]
    Peers {
        /// How many entities
        #[arg(long, default_value_t = 100_000)]
        entities: u32,
        /// How many others each one has within 30 m on average
        #[arg(long, default_value_t = 40)]
        neighbours: u32,
        /// How many rounds count; in each, everyone makes one tick
        #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        /// Decides places and inputs
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Print the report as one JSON object on the last line of stdout
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
enum FlameCommand {
    /// Of a scenario's ticks
    Tick {
        #[command(flatten)]
        scenario: ScenarioArgs,
        /// For how long ticks are sampled
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
        seconds: u64,
        /// Where to write the SVG
        #[arg(long, value_name = "FILE", default_value = "flame.svg")]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
struct ScenarioArgs {
    /// How many entities
    #[arg(long, default_value_t = 100_000)]
    entities: u32,
    /// How many others each one has within 30 m on average; a crowd has its own density
    #[arg(long, default_value_t = 40)]
    neighbours: u32,
    /// How they are spread
    #[arg(long, value_enum, default_value = "uniform")]
    shape: Shape,
    /// Decides places and inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl ScenarioArgs {
    fn with(self, simd: SimdLevel) -> Scenario {
        let ScenarioArgs { entities, neighbours, shape, seed } = self;
        Scenario { entities, neighbours, shape, seed, simd }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    if cfg!(debug_assertions) {
        eprintln!("this is no release build: its times say nothing");
    }
    let cli = Cli::parse();
    let simd = cli.simd.unwrap_or_else(SimdLevel::detect);
    match cli.command {
        Command::Tick { scenario, ticks, json } => {
            let report = tick::measure(&scenario.with(simd), ticks as usize)?;
            writeln!(io::stdout(), "{report}")?;
            if json {
                writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
            }
        }
        Command::Queries { scenario, rounds, json } => {
            let report = queries::measure(&scenario.with(simd), rounds as usize)?;
            writeln!(io::stdout(), "{report}")?;
            if json {
                writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
            }
        }
        Command::Flame { what: FlameCommand::Tick { scenario, seconds, out } } => {
            write(&out, &flame::tick(&scenario.with(simd), Duration::from_secs(seconds))?)?;
        }
        Command::Chart { out, entities_max, ticks } => {
            write(&out, &measure_chart(entities_max, ticks, simd)?)?;
        }
        Command::Rings { rounds, json } => {
            let report = rings::measure(rounds as usize);
            writeln!(io::stdout(), "{report}")?;
            if json {
                writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
            }
        }
        Command::Store { players, rounds, seconds, outage_seconds, tick_rounds, phase_seconds, json } => {
            let outage_s = outage_seconds;
            let report = store::measure(&store::Options {
                players,
                rounds,
                seconds,
                outage_s,
                tick_rounds,
                phase_seconds,
                simd,
            })?;
            write!(io::stdout(), "{report}")?;
            if json {
                writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
            }
        }
        Command::Login { rounds, phase_seconds, clients, players, json } => {
            let report = login::measure(&login::Options { rounds, phase_seconds, clients, players, simd })?;
            write!(io::stdout(), "{report}")?;
            if json {
                writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
            }
        }
        Command::Wire { clients, mut modes, apart, rounds, ticks, json } => {
            let (rounds, ticks) = (rounds.into(), ticks.into());
            if modes.is_empty() {
                modes.extend(Mode::value_variants().iter().filter(|mode| !apart || **mode != Mode::VyuhaTls));
            }
            let report = wire::measure(&wire::Options { modes, clients, rounds, ticks, apart })?;
            write!(io::stdout(), "{report}")?;
            if json {
                writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
            }
        }
        Command::WireClients { clients, cpu, addresses } => {
            wire::apart::run_clients(clients, cpu, &addresses)?;
        }
        #[cfg(feature = "peers")]
        Command::Peers { entities, neighbours, rounds, seed, json } => {
            let scenario = Scenario { entities, neighbours, shape: Shape::Uniform, seed, simd };
            let report = sim_bench::peers::measure(&scenario, rounds as usize)?;
            writeln!(io::stdout(), "{report}")?;
            if json {
                writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A number of clients, as many as there are ports for.
fn parse_clients(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(clients) if (1..=wire::CLIENTS_MAX).contains(&clients) => Ok(clients),
        Ok(_) => Err(format!("it is not from 1 to {}", wire::CLIENTS_MAX)),
        Err(_) => Err("it is not a whole number".to_owned()),
    }
}

/// A number of players, who stand in pairs.
fn parse_players(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(players) if (2..=store::PLAYERS_MAX).contains(&players) && players % 2 == 0 => Ok(players),
        Ok(_) => Err(format!("it is not an even number from 2 to {}", store::PLAYERS_MAX)),
        Err(_) => Err("it is not a whole number".to_owned()),
    }
}

fn write(out: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(out, text).with_context(|| format!("cannot write {}", out.display()))?;
    writeln!(io::stdout(), "wrote {}", out.display())?;
    Ok(())
}

/// Measures every size up to the largest in every shape.
fn measure_chart(entities_max: u32, ticks: u32, simd: SimdLevel) -> anyhow::Result<String> {
    let mut lines = Vec::new();
    for shape in Shape::ALL {
        let mut points = Vec::new();
        for entities in chart::ENTITIES.into_iter().filter(|entities| *entities <= entities_max) {
            let report =
                tick::measure(&Scenario { entities, neighbours: 40, shape, seed: 1, simd }, ticks as usize)?;
            writeln!(
                io::stdout(),
                "{}, {entities} entities: {:.2} ns an entity",
                shape.name(),
                report.ns_per_entity
            )?;
            points.push((entities, report.ns_per_entity));
        }
        lines.push((shape, points));
    }
    let conditions =
        format!("median of {ticks} ticks, 5% new inputs a tick, one core, {}, {}", simd.name(), processor());
    Ok(chart::draw(&lines, &conditions))
}

/// The processor's name, as Linux tells it.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or("an unnamed processor".into(), |(_, name)| name.trim().to_owned())
}
