//! The program `vyuha-bots`: a load of bots against any server.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use vyuha_bots::{
    AttackOptions, Conditions, Kinds, LoadOptions, Progress, Roles, attack, client_content, run,
};
use vyuha_game::content::Content;
use vyuha_net::client::ServerTrust;

/// Plays on a Vyuha server with many clients and measures how well they are served.
///
/// Each bot is a real TCP client with an account and a character of its own: it walks, and by its role says things, picks
/// items up and drops them, gathers with others, drops its connection or reads late; one a second logs out and in again.
/// The first 100 check all they are told, the others each snapshot's head and every answer. The server must let clients register accounts unless an
/// earlier load with the same prefix did. Times are measured from when all bots are in the world.
///
/// Prints a line of progress a second to stderr and a summary at the end. Fails if anything the server said contradicts the
/// protocol or what it acknowledged before, or if no client could connect.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  vyuha-bots                                        100 bots against 127.0.0.1:7777 until Ctrl-C
  vyuha-bots --clients 500 --seconds 20             500 bots, measured for 20 s
  vyuha-bots --target game.example:7777 --json      one JSON object as the last line of stdout
  vyuha-bots --roles wanderer=8,chatter=1,crowd=1   by weight, each with figures of its own
  vyuha-bots --lag 80ms --loss 1%                   as from far away, over a bad network
  vyuha-bots --roles idle=1 --clients 10000         characters that stand still
  vyuha-bots --roles resumer=1 --reconnects-per-second 1000
                                                    connections that break, sessions that are taken up
  vyuha-bots attack --attackers 1000 --json         clients that mean no good"
)]
struct Args {
    #[command(subcommand)]
    command: Option<Mode>,
    /// The server's address: host:port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7777")]
    target: String,
    /// Speak TLS: PEM of who vouches for the server's certificate, which must be for the host of --target
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// How many bots
    #[arg(long, default_value_t = 100)]
    clients: u32,
    /// How long to measure once all are in the world [default: until Ctrl-C]
    #[arg(long)]
    seconds: Option<u64>,
    /// Print the report as one JSON object on the last line of stdout
    #[arg(long)]
    json: bool,
    /// The content folder that the server plays [default: the example world]
    #[arg(long, value_name = "DIR")]
    content: Option<PathBuf>,
    /// Decides what the bots do
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How the accounts' names begin: 1 to 10 of a-z and 0-9, beginning with a letter
    #[arg(long, default_value = "bot")]
    prefix: String,
    /// What the bots do, by weight: wanderer, crowd, chatter, trader, reconnecter, lagger, resumer, idle
    #[arg(long, value_name = "ROLE=WEIGHT,...", default_value = "trader=1")]
    roles: Roles,
    /// Bots that sign in at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = LoadOptions::SIGN_INS_MAX)]
    sign_ins: u32,
    /// Let all bots take their steps at the same moment, instead of spread evenly
    #[arg(long)]
    at_once: bool,
    /// Resumers that break off and take their sessions up again, in a second
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    reconnects_per_second: u32,
    /// Bind the bots to this processor
    #[arg(long, value_name = "NUMBER")]
    cpu: Option<usize>,
    /// Add this to the round trip of every connection, half of it each way
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = humantime::parse_duration)]
    lag: Duration,
    /// And by up to this much more each way, at random
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = humantime::parse_duration)]
    jitter: Duration,
    /// Share of TCP segments that are lost, which stalls a connection: 1% or 0.01
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = Conditions::parse_loss)]
    loss: f64,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Attack a server of your own with clients that mean no good
    ///
    /// Half-open connections, a byte a second, random bytes, floods, connections that break off at once, guessed passwords:
    /// each attacker does one of these, again and again, with a pause of a second in between. Reports what became of them.
    Attack(AttackArgs),
}

#[derive(Debug, clap::Args)]
struct AttackArgs {
    /// The server's address: host:port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7777")]
    target: String,
    /// How many attackers
    #[arg(long, default_value_t = 1000)]
    attackers: u32,
    /// What they do, in turn [default: half-open,loris,garbage,flood,storm,guess]
    #[arg(long, value_name = "KIND,...")]
    kinds: Option<Kinds>,
    /// How many addresses they come from, if the server is on this machine: 127.66.0.1 and up
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    addresses: u32,
    /// How long [default: until Ctrl-C]
    #[arg(long)]
    seconds: Option<u64>,
    /// Print the report as one JSON object on the last line of stdout
    #[arg(long)]
    json: bool,
    /// The content folder that the server plays [default: the example world]
    #[arg(long, value_name = "DIR")]
    content: Option<PathBuf>,
    /// Decides what is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Bind the attackers to this processor
    #[arg(long, value_name = "NUMBER")]
    cpu: Option<usize>,
}

impl Args {
    /// What lies between bots and server, if anything was asked for.
    fn conditions(&self) -> Option<Conditions> {
        let Args { lag, jitter, loss, .. } = *self;
        let asked = !lag.is_zero() || !jitter.is_zero() || loss > 0.0;
        asked.then_some(Conditions { lag, jitter, loss })
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if let Some(Mode::Attack(args)) = args.command {
        return run_attack(args);
    }
    let content = content(args.content.as_deref())?;
    let options = LoadOptions {
        duration: args.seconds.map(Duration::from_secs),
        seed: args.seed,
        roles: args.roles,
        sign_ins_max: args.sign_ins,
        at_once: args.at_once,
        resumptions_per_second: args.reconnects_per_second,
        cpu: args.cpu,
        conditions: args.conditions(),
        trust: args.tls_ca.as_deref().map(|file| trust(file, &args.target)).transpose()?,
        account_prefix: args.prefix,
        ..LoadOptions::new(resolve(&args.target)?, args.clients, Arc::new(client_content(&content)))
    };
    let stop = stop_requested()?;
    let report = run(&options, |progress| eprintln!("{}", line(progress)), &stop)?;
    println!("{}", report.summary());
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(if report.succeeded() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_attack(args: AttackArgs) -> anyhow::Result<ExitCode> {
    let options = AttackOptions {
        target: resolve(&args.target)?,
        attackers: args.attackers,
        kinds: args.kinds.unwrap_or_default(),
        sources: args.addresses,
        content_hash: content(args.content.as_deref())?.hash,
        seed: args.seed,
        duration: args.seconds.map(Duration::from_secs),
        cpu: args.cpu,
    };
    let report = attack(&options, &*stop_requested()?)?;
    println!("{}", report.summary());
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn content(folder: Option<&Path>) -> anyhow::Result<Content> {
    Ok(match folder {
        Some(folder) => Content::load(folder)?,
        None => Content::example(),
    })
}

/// Set by the first signal, which ends all in good order; the second ends it at once.
fn stop_requested() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

fn resolve(target: &str) -> anyhow::Result<SocketAddr> {
    let mut addresses = target
        .to_socket_addrs()
        .with_context(|| format!("--target {target:?} is no address; give host:port"))?;
    addresses.next().with_context(|| format!("--target {target:?} has no address"))
}

/// Trusts the host of the target if a certificate of this file vouches for it.
fn trust(file: &Path, target: &str) -> anyhow::Result<ServerTrust> {
    let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let pem = fs::read(file).with_context(|| format!("--tls-ca {} cannot be read", file.display()))?;
    ServerTrust::new(&pem, host).with_context(|| format!("--tls-ca {} for {host}", file.display()))
}

fn line(progress: &Progress) -> String {
    let Progress {
        seconds,
        clients,
        playing,
        snapshots,
        bytes_in,
        snapshot_gap_p99_ms,
        disconnects,
        errors,
        ..
    } = *progress;
    let what = if progress.measuring { "measuring" } else { "signing in or out" };
    format!(
        "{seconds:6.0} s  {what}: {playing} of {clients} play, {snapshots} snapshots/s, {:.2} MB/s in, \
         gap p99 {snapshot_gap_p99_ms:.1} ms, {disconnects} disconnects, {errors} errors",
        bytes_in as f64 / 1e6
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound_and_has_defaults() {
        Args::command().debug_assert();
        let args = Args::parse_from(["vyuha-bots"]);
        assert_eq!((args.clients, args.seconds, args.json), (100, None, false));
        assert_eq!(resolve(&args.target).unwrap(), SocketAddr::from(([127, 0, 0, 1], 7777)));
        let args = Args::parse_from([
            "vyuha-bots",
            "--target",
            "127.0.0.1:9",
            "--clients",
            "500",
            "--seconds",
            "20",
            "--json",
        ]);
        assert_eq!((args.clients, args.seconds, args.json), (500, Some(20), true));
        assert_eq!((args.conditions(), args.cpu, args.at_once), (None, None, false));
        assert!(Args::try_parse_from(["vyuha-bots", "--clients", "many"]).is_err());
        assert!(Args::try_parse_from(["vyuha-bots", "--roles", "king=1"]).is_err());
        let args = Args::parse_from(["vyuha-bots", "--lag", "80ms", "--loss", "1%", "--roles", "lagger=1"]);
        let conditions = Conditions { lag: Duration::from_millis(80), jitter: Duration::ZERO, loss: 0.01 };
        assert_eq!(args.conditions(), Some(conditions));
    }

    #[test]
    fn an_address_without_a_port_is_refused_in_words() {
        let error = resolve("localhost").unwrap_err().to_string();
        assert!(error.contains("give host:port"), "{error}");
    }
}
