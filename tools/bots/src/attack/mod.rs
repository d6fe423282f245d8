//! Hostile load: clients that mean no good, for measuring what those who do notice of it.
//!
//! Bounded: one thread, one connection an attacker, each looked at [`LOOKS_PER_S`] times a second, and a pause before an
//! attacker whose connection is over makes the next. It uses no account that is not its own, and stops when it is told to.

mod attacker;
mod kind;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use self::attacker::Attacker;
use crate::LoadError;
use crate::load::{pin, raise_open_files};
use crate::measure::{Distribution, Times};

pub use kind::{Kind, Kinds, KindsError};

/// How often each attacker does something.
pub const LOOKS_PER_S: u32 = 20;
/// Most attackers.
pub const ATTACKERS_MAX: u32 = 20_000;
/// Most addresses that attackers come from.
pub const SOURCES_MAX: u32 = 1000;
/// Files besides the attackers' sockets.
const OTHER_FILES: u64 = 64;

/// What attack is wanted.
#[derive(Debug, Clone)]
pub struct AttackOptions {
    /// The server.
    pub target: SocketAddr,
    /// How many attackers, 1 to [`ATTACKERS_MAX`].
    pub attackers: u32,
    /// What they do, in turn.
    pub kinds: Kinds,
    /// How many addresses they come from, 1 to [`SOURCES_MAX`], where the server is on this machine: 127.66.0.1 and up.
    pub sources: u32,
    /// The server's content, which some of them name as a client does.
    pub content_hash: [u8; 32],
    /// Decides what is random.
    pub seed: u64,
    /// How long; without it until told to stop.
    pub duration: Option<Duration>,
    /// The processor that the attack is bound to, if it is to be.
    pub cpu: Option<usize>,
}

/// What an attack came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttackReport {
    /// Attackers.
    pub attackers: u32,
    /// How long, in seconds.
    pub seconds: f64,
    /// Connections that were made, in a second.
    pub connections_per_s: f64,
    /// By what the attackers did.
    pub kinds: BTreeMap<Kind, KindReport>,
}

/// What one kind of attacker did, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KindReport {
    /// Attackers.
    pub attackers: u32,
    /// Connections that were made.
    pub connections: u64,
    /// Connections that could not be made.
    pub failed: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Connections that the server ended, by the code that it gave; `none` if it gave none.
    pub closed: BTreeMap<&'static str, u64>,
    /// How long the server kept those.
    pub held_ms: Distribution,
}

/// What is counted of one kind.
#[derive(Default)]
struct Tally {
    connections: u64,
    failed: u64,
    bytes_out: u64,
    closed: BTreeMap<&'static str, u64>,
    held: Times,
}

/// Attacks on the calling thread until the time is up.
///
/// # Errors
/// If too many or too few attackers or addresses are asked for, or the process may not open enough sockets.
pub fn attack(options: &AttackOptions, stop: &AtomicBool) -> Result<AttackReport, LoadError> {
    let AttackOptions { attackers, sources, .. } = *options;
    if !(1..=ATTACKERS_MAX).contains(&attackers) || !(1..=SOURCES_MAX).contains(&sources) {
        return Err(LoadError::Attackers { attackers, sources });
    }
    if let Some(cpu) = options.cpu {
        pin(cpu)?;
    }
    raise_open_files(u64::from(attackers) + OTHER_FILES)?;
    let mut crowd: Vec<Attacker> = (0..attackers).map(|index| Attacker::new(index, options)).collect();
    let mut tallies: BTreeMap<Kind, Tally> = BTreeMap::new();
    let began = Instant::now();
    let (period, mut done) = (Duration::from_secs(1) / LOOKS_PER_S, 0_u64);
    while !stop.load(Ordering::Relaxed) && options.duration.is_none_or(|time| began.elapsed() < time) {
        // Spread evenly over the period; what cannot be made up for is left out.
        let periods = began.elapsed().as_secs_f64() / period.as_secs_f64();
        let due = (periods * f64::from(attackers)) as u64;
        done = done.max(due.saturating_sub(attackers.into()));
        while done < due {
            let attacker = &mut crowd[(done % u64::from(attackers)) as usize];
            attacker.look(tallies.entry(attacker.kind()).or_default(), began.elapsed());
            done += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(report(options, began.elapsed().as_secs_f64(), tallies))
}

fn report(options: &AttackOptions, seconds: f64, tallies: BTreeMap<Kind, Tally>) -> AttackReport {
    let connections: u64 = tallies.values().map(|tally| tally.connections).sum();
    let kinds = tallies.into_iter().map(|(kind, tally)| {
        let Tally { connections, failed, bytes_out, closed, held } = tally;
        let attackers =
            (0..options.attackers).filter(|&index| options.kinds.of(index) == kind).count() as u32;
        let held_ms = held.distribution();
        (kind, KindReport { attackers, connections, failed, bytes_out, closed, held_ms })
    });
    AttackReport {
        attackers: options.attackers,
        seconds,
        connections_per_s: connections as f64 / seconds.max(1e-3),
        kinds: kinds.collect(),
    }
}

impl AttackReport {
    /// The report in words, a few lines.
    pub fn summary(&self) -> String {
        let mut text = format!(
            "{} attackers for {:.1} s, {:.0} connections a second.",
            self.attackers, self.seconds, self.connections_per_s
        );
        for (kind, of) in &self.kinds {
            let closed: Vec<String> =
                of.closed.iter().map(|(code, times)| format!("{code} {times}")).collect();
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "\n{:>6} {:<10} {} connections, {} failed, {} bytes; held {:.0} ms (median), {:.0} ms at most; closed: {}",
                of.attackers,
                kind.name(),
                of.connections,
                of.failed,
                of.bytes_out,
                of.held_ms.p50,
                of.held_ms.max,
                if closed.is_empty() { "none".to_owned() } else { closed.join(", ") },
            );
        }
        text
    }
}
