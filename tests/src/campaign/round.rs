//! What dies in a round, and when.

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand_pcg::Pcg64Mcg;
use rustix::process::Signal;

use super::{Front, Playing, StoreKind};
use crate::{Mover, StoppedThread};

/// The node dies at a random moment this long after the bots begin to sign in.
const ALIVE_MS: Range<u64> = 200..5000;
/// One round in so many ends by SIGTERM instead, under the same load.
const ROUNDS_PER_TERM: u32 = 5;
/// How long the disk seems to stand still before the node dies, where it does.
const STALL_MS: Range<u64> = 30..400;

/// What is to happen in a round; moments are parts of the time until the node dies.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    alive: Duration,
    signal: Signal,
    /// PostgreSQL dies at the one moment and is back at the other; at none it is started again after the node's death.
    postgres: Option<(f64, Option<f64>)>,
    /// The same of Redis.
    redis: Option<(f64, Option<f64>)>,
    /// From when on the database falls behind, so that the next start finds much in the journal.
    behind: Option<f64>,
    /// How long before the death the journal's thread stands still, as if a sync took its time: nothing of that time may be
    /// acknowledged.
    stalled: Option<Duration>,
    /// Whether zones go back and forth between the shards.
    moves: bool,
}

impl Plan {
    /// The plan of the round of that number, from 1.
    pub fn choose(round: u32, store: StoreKind, rng: &mut Pcg64Mcg) -> Plan {
        let kills = !round.is_multiple_of(ROUNDS_PER_TERM);
        let mut death = |chance| {
            let died = rng.random_range(0.1..1.0);
            let is_back = rng.random_bool(0.5).then(|| died + (1.0 - died) * rng.random_range(0.1..0.9));
            rng.random_bool(chance).then_some((died, is_back))
        };
        let (postgres, redis) = (death(0.6), death(0.4));
        let postgres = postgres.filter(|_| store == StoreKind::Postgres);
        // A node that is asked to end waits for its database.
        let postgres = postgres.filter(|(_, is_back)| kills || is_back.is_some());
        Plan {
            alive: Duration::from_millis(rng.random_range(ALIVE_MS)),
            signal: if kills { Signal::KILL } else { Signal::TERM },
            postgres,
            redis,
            behind: (kills && rng.random_bool(0.3)).then(|| rng.random_range(0.2..0.9)),
            stalled: (kills && rng.random_bool(0.4))
                .then(|| Duration::from_millis(rng.random_range(STALL_MS))),
            moves: rng.random_bool(0.5),
        }
    }
}

/// A moment of a plan.
#[derive(Debug, Clone, Copy)]
enum Step {
    KillPostgres,
    StartPostgres,
    KillRedis,
    StartRedis,
    StopStore,
    StopJournal,
}

impl Front {
    /// Plays a round to its end, recovery and audit included; a line that says what happened.
    pub fn play_round(&mut self) -> String {
        let (round, store) = (self.report.rounds, self.campaign.store);
        let plan = Plan::choose(round, store, &mut self.rng);
        let mut steps = Vec::new();
        if let Some((died, is_back)) = plan.postgres {
            steps.push((plan.alive.mul_f64(died), Step::KillPostgres));
            steps.extend(is_back.map(|at| (plan.alive.mul_f64(at), Step::StartPostgres)));
        }
        if let Some((died, is_back)) = plan.redis {
            steps.push((plan.alive.mul_f64(died), Step::KillRedis));
            steps.extend(is_back.map(|at| (plan.alive.mul_f64(at), Step::StartRedis)));
        }
        steps.extend(plan.behind.map(|at| (plan.alive.mul_f64(at), Step::StopStore)));
        steps.extend(plan.stalled.map(|time| (plan.alive.saturating_sub(time), Step::StopJournal)));
        steps.sort_by_key(|(at, _)| *at);

        let (load, stop) = (self.load(), AtomicBool::new(false));
        let before: u64 = self.ledger.iter().map(|entry| entry.book.acknowledged).sum();
        let (played, log) = std::thread::scope(|scope| {
            let begun = Instant::now();
            let playing = Playing::start(scope, &load, &stop);
            let mover = plan.moves.then(|| Mover::start(&self.node, self.campaign.seed ^ u64::from(round)));
            // Let go before the node's end is waited for.
            let mut stopped = Vec::new();
            for (at, step) in steps {
                sleep(at.saturating_sub(begun.elapsed()));
                match (step, &mut self.postgres) {
                    (Step::KillPostgres, Some((server, _))) => {
                        server.kill();
                        self.report.kills.postgres += 1;
                    }
                    (Step::StartPostgres, Some((server, _))) => server.start_again(),
                    (Step::KillRedis, _) => {
                        self.redis.kill();
                        self.report.kills.redis += 1;
                    }
                    (Step::StartRedis, _) => self.redis.start_again(),
                    (Step::StopStore, _) => stopped.push(StoppedThread::of(&self.node, "vyuha-store")),
                    (Step::StopJournal, _) => stopped.push(StoppedThread::of(&self.node, "vyuha-journal")),
                    (Step::KillPostgres | Step::StartPostgres, None) => {}
                }
            }
            sleep(plan.alive.saturating_sub(begun.elapsed()));
            self.node.kill_process(plan.signal);
            drop(stopped);
            self.report.zones_moved += mover.map_or(0, |mover| mover.finish().len() as u64);
            let status = self.node.wait();
            let log = (plan.signal == Signal::TERM && status.code() != Some(0))
                .then(|| format!("SIGTERM under load: {status}; {}", self.node.log()));
            (playing.end(), log)
        });
        if plan.signal == Signal::KILL {
            self.report.kills.server += 1;
        } else {
            self.report.kills.terminated += 1;
        }
        self.report.faults.extend(log);
        self.report.faults.extend(played.error_samples);
        self.ledger = played.ledger;
        if let (Some((_, None)), Some((server, _))) = (plan.postgres, &mut self.postgres) {
            server.start_again();
        }
        if let Some((_, None)) = plan.redis {
            self.redis.start_again();
        }
        self.recover();
        let after: u64 = self.ledger.iter().map(|entry| entry.book.acknowledged).sum();
        format!(
            "round {round}: {} after {} ms{}{}{}{}{}; {} acknowledged, back in {} ms, {} violations",
            if plan.signal == Signal::KILL { "killed" } else { "terminated" },
            plan.alive.as_millis(),
            match plan.postgres {
                Some((_, Some(_))) => ", PostgreSQL killed before",
                Some((_, None)) => ", PostgreSQL killed as well",
                None => "",
            },
            match plan.redis {
                Some((_, Some(_))) => ", Redis killed before",
                Some((_, None)) => ", Redis killed as well",
                None => "",
            },
            if plan.behind.is_some() { ", database behind" } else { "" },
            if plan.stalled.is_some() { ", journal stalled" } else { "" },
            if plan.moves { ", zones moving" } else { "" },
            after - before,
            self.recovery_ms.last().copied().unwrap_or_default(),
            self.report.faults.len(),
        )
    }
}
