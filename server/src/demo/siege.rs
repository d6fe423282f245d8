//! Attackers beside the demo's bots, for some seconds at a time, to see what the bots notice: rounds without and with them
//! take turns in one run, so that a load on the machine falls on both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use vyuha_bots::{AttackOptions, AttackReport, LoadError, Progress, attack};

use crate::telemetry::Totals;

/// Seconds of a round.
const ROUND_S: u32 = 10;
/// Of these, how many at the beginning are not counted: attackers come and go.
const SETTLING_S: u32 = 2;

/// The rounds so far, and the attack that goes on.
pub struct Siege {
    options: AttackOptions,
    /// Seconds since the first round began.
    seconds: u32,
    rounds: Vec<Round>,
    running: Option<Running>,
    reports: Vec<AttackReport>,
}

struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<AttackReport, LoadError>>,
}

#[derive(Default)]
struct Round {
    attacked: bool,
    totals: Totals,
    /// Of each second, how far apart 99 of 100 snapshots were at most, in milliseconds.
    gaps_p99_ms: Vec<f64>,
}

impl Siege {
    /// So many attackers of every kind on a node.
    pub fn new(attackers: u32, target: SocketAddr, content_hash: [u8; 32], cpu: Option<usize>) -> Siege {
        let options = AttackOptions {
            target,
            attackers,
            kinds: vyuha_bots::Kinds::default(),
            sources: attackers.div_ceil(10).min(vyuha_bots::SOURCES_MAX),
            content_hash,
            seed: 1,
            duration: None,
            cpu,
        };
        Siege { options, seconds: 0, rounds: Vec::new(), running: None, reports: Vec::new() }
    }

    /// A second of play is over.
    pub fn second(&mut self, totals: &Totals, progress: &Progress) {
        if !progress.measuring {
            return self.relent();
        }
        let into = self.seconds % ROUND_S;
        if into == 0 {
            let attacked = !self.rounds.len().is_multiple_of(2);
            self.rounds.push(Round { attacked, ..Round::default() });
            if attacked { self.strike() } else { self.relent() }
        } else if into >= SETTLING_S
            && let Some(round) = self.rounds.last_mut()
        {
            round.totals.add(totals);
            round.gaps_p99_ms.push(progress.snapshot_gap_last_ms.p99);
        }
        self.seconds += 1;
    }

    /// Whether attackers are at it.
    pub fn is_on(&self) -> bool {
        self.running.is_some()
    }

    fn strike(&mut self) {
        let (options, stop) = (self.options.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread =
            std::thread::Builder::new().name("attackers".into()).spawn(move || attack(&options, &stopped));
        match thread {
            Ok(thread) => self.running = Some(Running { stop, thread }),
            Err(error) => tracing::error!(%error, "there is no thread for the attackers"),
        }
    }

    fn relent(&mut self) {
        let Some(Running { stop, thread }) = self.running.take() else { return };
        stop.store(true, Ordering::Relaxed);
        match thread.join() {
            Ok(Ok(report)) => self.reports.push(report),
            Ok(Err(error)) => tracing::error!(%error, "the attack failed"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Whole rounds with and without attackers, added up, and what the ratios are.
    pub fn json(&mut self) -> Value {
        self.relent();
        // The last round may have been cut short; calm and attacked ones are compared in pairs.
        self.rounds.truncate(self.rounds.len() / 2 * 2);
        let [calm, attacked] = [false, true].map(|attacked| {
            let mut sum = Round { attacked, ..Round::default() };
            for round in self.rounds.iter().filter(|round| round.attacked == attacked) {
                sum.totals.add(&round.totals);
                sum.gaps_p99_ms.extend(&round.gaps_p99_ms);
            }
            sum
        });
        let ratio = |of: fn(&Round) -> f64| of(&attacked) / of(&calm).max(1e-3);
        json!({
            "attackers": self.options.attackers,
            "addresses": self.options.sources,
            "rounds": self.rounds.iter().map(Round::json).collect::<Vec<_>>(),
            "calm": calm.json(),
            "attacked": attacked.json(),
            "tick_p99_ratio": ratio(Round::tick_p99_us),
            "tick_lateness_p99_ratio": ratio(Round::lateness_p99_us),
            "snapshot_gap_p99_ratio": ratio(Round::gap_p99_ms),
            "attacks": self.reports,
        })
    }
}

impl Round {
    fn tick_p99_us(&self) -> f64 {
        self.totals.tick_us.value_at_quantile(0.99) as f64
    }

    fn lateness_p99_us(&self) -> f64 {
        self.totals.lateness_us.value_at_quantile(0.99) as f64
    }

    /// That of the middle one of its seconds.
    fn gap_p99_ms(&self) -> f64 {
        let mut sorted = self.gaps_p99_ms.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }

    fn json(&self) -> Value {
        json!({
            "attacked": self.attacked,
            "ticks": self.totals.ticks,
            "late_ticks": self.totals.late_ticks,
            "tick_p50_us": self.totals.tick_us.value_at_quantile(0.5),
            "tick_p99_us": self.tick_p99_us(),
            "tick_max_us": self.totals.tick_us.max(),
            "tick_lateness_p99_us": self.lateness_p99_us(),
            "snapshot_gap_p99_ms": self.gap_p99_ms(),
        })
    }
}
