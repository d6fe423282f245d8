//! What a run is made of, and which faults are planted in it. Each run has some kinds of fault and not others, so that one
//! does not hide behind another.

use rand::{Rng, RngExt as _};

use crate::node::SHARDS_MAX;

/// The shape of a run, drawn once.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Shards of the node.
    pub shards: u16,
    /// Accounts, each with two characters.
    pub accounts: i64,
    /// Clients that sign in with each account.
    pub clients_per_account: usize,
    /// Bytes of a journal segment.
    pub segment_bytes: u64,
    /// Bytes of segments past which the journal is over its bound.
    pub journal_bytes_max: u64,
    /// Batches of a shard that may wait for the journal.
    pub queue_batches: usize,
    /// Rows of one transaction of the database.
    pub transaction_rows: usize,
    /// Ticks between two saves of a character.
    pub save_interval_ticks: u32,
    /// Ticks for which a client is awaited whose connection broke.
    pub grace_ticks: u32,
    /// Most ticks that bytes are on the way.
    pub delay_ticks_max: u64,
    /// Chance that a shard misses a tick.
    pub lag_chance: f64,
    /// Chance that the persistence thread does something in its turn.
    pub persistence_chance: f64,
    /// Chance that an apply fails.
    pub database_failure_chance: f64,
    /// What happens from outside, each with its chance in a tick.
    pub faults: Vec<(Fault, f64)>,
}

/// What happens from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process dies.
    Kill,
    /// The machine loses its power.
    PowerLoss,
    /// The machine stops after some more operations of its disk, perhaps within a write.
    DiskStops,
    /// The disk is full, once.
    DiskFull,
    /// A sync fails, once.
    FailedSync,
    /// Writes take a few bytes at a time, for a while.
    ShortWrites,
    /// The journal writes nothing, for a while.
    JournalStalls,
    /// The database answers nothing, for a while.
    Outage,
    /// A connection breaks.
    Cut,
    /// The node ends in good order and starts again.
    Restart,
    /// A zone goes to another shard.
    ZoneMoves,
}

impl Fault {
    /// Each kind, with its chance in a tick where a run has it.
    const ALL: [(Fault, f64); 11] = [
        (Fault::Kill, 0.003),
        (Fault::PowerLoss, 0.003),
        (Fault::DiskStops, 0.004),
        (Fault::DiskFull, 0.002),
        (Fault::FailedSync, 0.002),
        (Fault::ShortWrites, 0.01),
        (Fault::JournalStalls, 0.02),
        (Fault::Outage, 0.01),
        (Fault::Cut, 0.03),
        (Fault::Restart, 0.002),
        (Fault::ZoneMoves, 0.03),
    ];
}

impl Plan {
    /// A run's plan.
    pub fn draw(rng: &mut impl Rng) -> Plan {
        let mut chance = |most: f64| if rng.random() { most } else { 0.0 };
        let lag_chance = chance(0.1);
        let database_failure_chance = chance(0.1);
        let faults = Fault::ALL.into_iter().map(|(fault, most)| (fault, chance(most))).collect();
        let segment_bytes = 4096 << rng.random_range(0..3);
        Plan {
            shards: if rng.random_bool(0.1) { 1 } else { rng.random_range(2..=SHARDS_MAX) },
            accounts: rng.random_range(2..=4),
            clients_per_account: if rng.random_bool(0.7) { 2 } else { 1 },
            segment_bytes,
            journal_bytes_max: if rng.random() { segment_bytes * rng.random_range(2..6) } else { 1 << 30 },
            queue_batches: rng.random_range(1..=8),
            transaction_rows: rng.random_range(1..=60),
            save_interval_ticks: rng.random_range(5..=60),
            grace_ticks: if rng.random_bool(0.8) { rng.random_range(5..=120) } else { 0 },
            delay_ticks_max: rng.random_range(0..=5),
            lag_chance,
            persistence_chance: if rng.random() { 1.0 } else { rng.random_range(0.05..0.5) },
            database_failure_chance,
            faults,
        }
    }
}
