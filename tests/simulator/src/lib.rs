//! The fault simulator: a node with simulated network, disk and store, and faults planted by a seed, in one thread.
//!
//! Everything that decides what is durable and who plays is the real code: shards, drivers, sessions, mailboxes, seats,
//! tickets, doors between threads, the transport, the journal with its recovery, merging and the persistence thread's work,
//! and the client library. Modelled are what is around it: [`network`], the disk
//! ([`vyuha_store::journal::FaultyDisk`]), [`database`], and of the control plane what signs people in ([`control`]).
//! A tick of the run lets each of these do something, in an order that the seed draws. There is no clock and no thread.
//!
//! What must hold, at every step and after every crash and recovery:
//! - what was acknowledged to a client is so ([`told`]);
//! - the journal keeps every frame that was durable, and the database is what the journal's first frames come to, as far as
//!   its position says, which never falls behind what was released ([`truth`]);
//! - items are neither made nor lost but by the world's own litter, an id is given once, an item is in one place, a slot
//!   holds one item;
//! - an account has one session, and no shard holds an item that another has;
//! - a second shard that is fed the same inputs comes to the same state, with other vector instructions; one that is loaded
//!   from the same rows begins with the same;
//! - once faults end, everybody can sign in, play and log out.
//!
//! One seed is one run: [`run`] gives the same trace for it every time.

pub mod client;
pub mod control;
pub mod database;
pub mod network;
pub mod node;
pub mod plan;
mod simulation;
pub mod told;
pub mod truth;
pub mod world;

use vyuha_game::StateHash;

pub use simulation::run;

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// Ticks during which faults are planted; the run ends a while after them.
    pub ticks: u64,
    /// A fault of the node's own, to see that it is found.
    pub bug: Option<Bug>,
}

/// A fault of the node's own, planted in one of the models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Syncs of the journal's segments are skipped.
    LyingDisk,
    /// The database applies a part of a transaction.
    TornApply,
    /// A checkpoint is said to be done and is not.
    NoCheckpoint,
    /// A seat is free before the database has what its session did.
    EarlySeat,
    /// A character's rows are read before its seat is free.
    StaleLogin,
}

impl Bug {
    /// Every bug, with the name by which it is asked for.
    pub const ALL: [(&'static str, Bug); 5] = [
        ("lying-disk", Bug::LyingDisk),
        ("torn-apply", Bug::TornApply),
        ("no-checkpoint", Bug::NoCheckpoint),
        ("early-seat", Bug::EarlySeat),
        ("stale-login", Bug::StaleLogin),
    ];
}

/// What must not be, and was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(String);

impl Violation {
    /// A violation in words.
    pub fn new(what: impl Into<String>) -> Violation {
        Violation(what.into())
    }

    fn unless(holds: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
        if holds { Ok(()) } else { Err(Violation(what())) }
    }
}

/// What happened in a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Connections opened.
    pub connections: u64,
    /// Characters that entered the world.
    pub logins: u64,
    /// Sessions that were taken up again.
    pub resumed: u64,
    /// Characters that logged out in good order.
    pub logouts: u64,
    /// Times that somebody walked through a gate.
    pub crossings: u64,
    /// What players did with items that was acknowledged, trades apart.
    pub acknowledged: u64,
    /// What of it was putting on, taking off, and moving into a bank and out of it.
    pub rearranged: u64,
    /// Trades that somebody was told were carried out.
    pub trades: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Times that the process or the machine died.
    pub crashes: u64,
    /// Times that the node started and found what it had left.
    pub recoveries: u64,
    /// Frames that were durable.
    pub frames: u64,
    trace: StateHash,
}

impl Counts {
    /// Takes something that happened into the trace.
    pub fn note(&mut self, what: &str) {
        what.bytes().for_each(|byte| self.trace.write(u64::from(byte)));
    }

    /// Takes a number into the trace.
    pub fn note_number(&mut self, number: u64) {
        self.trace.write(number);
    }
}

/// How a run went.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Ticks until its end.
    pub ticks: u64,
    /// A hash of all that happened, in order.
    pub trace: u64,
    /// How much happened.
    pub counts: Counts,
    /// The first violation, if there was one.
    pub violation: Option<Violation>,
}
