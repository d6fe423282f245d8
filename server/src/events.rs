//! The log of operations: who came and went, what staff and balance did, what the search for doubled items found. Rows of the
//! table `event`, for whoever looks after the game; the game itself never reads them.
//!
//! They go through the journal like all rows, as those of one more producer, once a second: nobody waits for them, and each is
//! in the database once. Where more come than are taken ([`WAITING_MAX`]), those over it are counted and lost.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use vyuha_record::{Transaction, record};
use vyuha_store::{Batch, Producer, SubmitError};
use vyuha_topics::{Hub, Topic};

use crate::topics::WorldEvent;

/// Events that may wait to be written.
const WAITING_MAX: usize = 4096;
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Longest detail, in bytes.
const DETAIL_BYTES_MAX: usize = 500;

record! {
    /// Something that happened. Never changed once it is written.
    pub struct EventRow in "event", table 20, append_only {
        /// What wrote it: the epoch of a node's run, which no other run has.
        key source: i64,
        /// Its number in the run, from 1.
        key seq: i64,
        /// When, in milliseconds since 1970.
        at_ms: i64,
        /// What, in a word or two: see [`What`].
        what: String,
        /// Whose account; 0 for none.
        account: i64,
        /// Which character; 0 for none.
        character: i64,
        /// In which zone; 0 for none.
        zone: i64,
        /// What else there is to say.
        detail: String,
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The node let players in.
    NodeStarted,
    /// The node was told to end.
    NodeEnding,
    /// A character entered the world.
    Entered,
    /// A character left it.
    Left,
    /// A session was ended by staff.
    ThrownOut,
    /// A zone went to another shard.
    ZoneMoved,
    /// The search for doubled items found something.
    Doubled,
}

impl What {
    /// Whether everybody may hear of it. What people do is theirs.
    fn is_public(self) -> bool {
        matches!(self, What::NodeStarted | What::NodeEnding | What::ZoneMoved)
    }

    fn word(self) -> &'static str {
        match self {
            What::NodeStarted => "node started",
            What::NodeEnding => "node ending",
            What::Entered => "entered",
            What::Left => "left",
            What::ThrownOut => "thrown out",
            What::ZoneMoved => "zone moved",
            What::Doubled => "doubled",
        }
    }
}

/// About whom or what an event is; 0 is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct About {
    /// The account.
    pub account: i64,
    /// The character.
    pub character: i64,
    /// The zone.
    pub zone: i64,
}

/// Where events are told; from any thread, and without waiting.
#[derive(Clone)]
pub struct Events {
    waiting: mpsc::Sender<EventRow>,
    topics: Hub,
    lost: Counter,
}

/// The other end: writes what is told.
pub struct Writer {
    told: mpsc::Receiver<EventRow>,
    producer: Producer,
    source: i64,
    lost: Counter,
}

/// The log of one run of a node: `source` is its epoch. What everybody may hear of is said on `topics` too.
pub fn open(producer: Producer, source: i64, topics: Hub, lost: Counter) -> (Events, Writer) {
    let (waiting, told) = mpsc::channel(WAITING_MAX);
    (Events { waiting, topics, lost: lost.clone() }, Writer { told, producer, source, lost })
}

impl Events {
    /// A log that nobody reads.
    #[cfg(test)]
    pub fn deaf() -> Events {
        let topics = Hub::new(vyuha_topics::Broker::new(0, 0));
        Events { waiting: mpsc::channel(1).0, topics, lost: Counter::default() }
    }

    /// Notes that something happened.
    pub fn note(&self, what: What, about: About, detail: impl Into<String>) {
        let About { account, character, zone } = about;
        let mut detail = detail.into();
        detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
        let at_ms = crate::clock::unix_ms();
        if what.is_public() {
            self.topics.publish(Topic::WorldEvents, &WorldEvent { what: what.word(), zone }, at_ms);
        }
        let what = what.word().to_owned();
        let row = EventRow { source: 0, seq: 0, at_ms, what, account, character, zone, detail };
        if self.waiting.try_send(row).is_err() {
            self.lost.inc();
        }
    }
}

impl Writer {
    /// Writes until it is told to stop, or the journal is gone; then what is left, and gives the journal up.
    pub async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut every = interval(WRITE_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut number, mut seq) = (0, 0);
        loop {
            let stops = tokio::select! {
                _ = every.tick() => false,
                // A sender that is gone is a sign as well.
                _ = &mut stop => true,
            };
            // Durable play goes first where the journal holds all it may.
            if !self.producer.is_over_bound() || stops {
                match self.write(&mut number, &mut seq) {
                    // A queue that is full loses what was told; it is counted.
                    Ok(()) | Err(SubmitError::Full(_)) => {}
                    Err(error) => {
                        tracing::warn!(%error, "the log of operations ends");
                        return;
                    }
                }
            }
            if stops {
                return;
            }
        }
    }

    fn write(&mut self, number: &mut u64, seq: &mut i64) -> Result<(), SubmitError> {
        let (mut bytes, mut rows) = (Vec::new(), 0);
        while bytes.len() < self.producer.batch_bytes_max() / 2
            && let Ok(mut row) = self.told.try_recv()
        {
            *seq += 1;
            (row.source, row.seq) = (self.source, *seq);
            let mut transaction = Transaction::begin(&mut bytes);
            transaction.put(&row);
            transaction.commit();
            rows += 1;
        }
        if rows == 0 {
            return Ok(());
        }
        *number += 1;
        let submitted = self.producer.submit(Batch { number: *number, bytes });
        if submitted.is_err() {
            self.lost.inc_by(rows);
        }
        submitted
    }
}
