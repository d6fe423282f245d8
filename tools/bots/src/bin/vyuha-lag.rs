//! The program `vyuha-lag`: a TCP proxy that adds latency, jitter and loss.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use vyuha_bots::{Conditions, LagProxy};

/// Passes TCP connections on, as slow and lossy as a player's way to a server.
///
/// Loss on TCP shows as stalls: a lost segment comes a retransmission timeout later (200 ms and the round trip, doubled if
/// it is lost again), and what was sent after it waits with it. Keeps at most 64 KiB a direction of each connection.
///
/// Prints one line of JSON with the address when it listens, and runs until SIGTERM or Ctrl-C.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example:
  vyuha-lag --to 127.0.0.1:7777 --lag 80ms --jitter 10ms --loss 1%"
)]
struct Args {
    /// Where to listen; port 0 takes any
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where to pass connections on to
    #[arg(long, value_name = "HOST:PORT")]
    to: String,
    /// Added to the round trip, half of it each way
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = humantime::parse_duration)]
    lag: Duration,
    /// By how much more at random each way may take; order is kept
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = humantime::parse_duration)]
    jitter: Duration,
    /// Share of segments that are lost: 1% or 0.01
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = Conditions::parse_loss)]
    loss: f64,
    /// Decides what is late and lost
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let target = args
        .to
        .to_socket_addrs()
        .with_context(|| format!("--to {:?} is no address; give host:port", args.to))?;
    let target = target.into_iter().next().with_context(|| format!("--to {:?} has no address", args.to))?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let conditions = Conditions { lag: args.lag, jitter: args.jitter, loss: args.loss };
    let proxy = LagProxy::start(args.listen, target, conditions, args.seed)
        .with_context(|| format!("cannot pass on from {}", args.listen))?;
    println!("{}", serde_json::json!({ "listen": proxy.address().to_string(), "to": target.to_string() }));
    while !stop.load(Ordering::Relaxed) {
        if proxy.has_ended() {
            bail!("the proxy has ended");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound_and_has_defaults() {
        Args::command().debug_assert();
        let args = Args::parse_from(["vyuha-lag", "--to", "127.0.0.1:7", "--lag", "80ms", "--loss", "1%"]);
        assert_eq!((args.lag, args.jitter), (Duration::from_millis(80), Duration::ZERO));
        assert!((args.loss - 0.01).abs() < 1e-9 && args.listen.port() == 0);
        assert!(Args::try_parse_from(["vyuha-lag", "--to", "x:1", "--loss", "100%"]).is_err());
    }
}
