//! The way of hot data out of the shards: a ring for each, a batch a tick.

use prometheus_client::metrics::counter::Counter;
use vyuha_game::shard::{Outbox, SessionId, Shard, Spoken, Whereabouts};
use vyuha_protocol::units::UNITS_PER_METRE;
use vyuha_ring::{Consumer, Producer, ring};

/// Batches of one shard that may wait: a second and more of its ticks. The control plane looks four times a second.
const BATCHES_MAX: usize = 128;

/// Seconds in which a shard tells of each of its sessions once.
pub const ROUND_S: u32 = 5;

/// Where a character was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Sighting {
    /// The character.
    pub character: i64,
    /// Its account.
    pub account: i64,
    /// Its name.
    pub name: String,
    /// The zone that it is in.
    pub zone: u16,
    /// Metres from the zone's western edge.
    pub x_m: f64,
    /// Metres from the zone's northern edge.
    pub y_m: f64,
}

/// What a shard has to tell of a tick. Bounded by its sessions: each is seen once a round, enters a zone at most once a tick,
/// and says no more than its allowance.
#[derive(Debug, Default)]
pub struct HotBatch {
    /// Those whose turn it was.
    pub seen: Vec<Sighting>,
    /// Those who came into a zone.
    pub entered: Vec<Sighting>,
    /// What was said.
    pub spoken: Vec<Spoken>,
    /// Accounts whose sessions ended: after what was seen of them.
    pub left: Vec<i64>,
}

impl HotBatch {
    fn len(&self) -> usize {
        self.seen.len() + self.entered.len() + self.spoken.len() + self.left.len()
    }
}

impl From<Whereabouts<'_>> for Sighting {
    fn from(Whereabouts { character, zone, at }: Whereabouts<'_>) -> Sighting {
        let metres = |units| f64::from(units) / f64::from(UNITS_PER_METRE);
        Sighting {
            character: character.id,
            account: character.account,
            name: character.name.clone(),
            zone: zone.0,
            x_m: metres(at.x),
            y_m: metres(at.y),
        }
    }
}

/// A shard's side.
pub struct HotFeed {
    ring: Producer<Option<Box<HotBatch>>>,
    /// Ticks of a round.
    round_ticks: u32,
    dropped: Counter,
}

impl HotFeed {
    /// Hands over what there is to tell of a tick, and never waits: where there is no room it is dropped and counted. Of the
    /// sessions below the number `sessions` those are told of whose turn it is.
    pub fn tell(&mut self, tick: u64, shard: &Shard, sessions: u32, outbox: &mut Outbox) {
        let sighting = |session| shard.whereabouts(session).map(Sighting::from);
        let turn = (tick % u64::from(self.round_ticks)) as u32;
        let batch = HotBatch {
            seen: (turn..sessions)
                .step_by(self.round_ticks as usize)
                .map(SessionId)
                .filter_map(sighting)
                .collect(),
            entered: outbox.entered.iter().copied().filter_map(sighting).collect(),
            spoken: std::mem::take(&mut outbox.spoken),
            left: outbox.left.iter().map(|left| left.account).collect(),
        };
        if batch.len() == 0 {
            return;
        }
        if let Err(Some(batch)) = self.ring.push(Some(Box::new(batch))) {
            self.dropped.inc_by(batch.len() as u64);
        }
    }
}

/// The control plane's side of every ring.
pub struct HotFeeds(Vec<Consumer<Option<Box<HotBatch>>>>);

impl HotFeeds {
    /// Rings for as many shards, and the shards' sides in order.
    pub fn new(shards: u16, tick_hz: u32, dropped: &Counter) -> (HotFeeds, Vec<HotFeed>) {
        let rings = (0..shards).map(|_| {
            let (ring, consumer) = ring(BATCHES_MAX);
            (HotFeed { ring, round_ticks: ROUND_S * tick_hz, dropped: dropped.clone() }, consumer)
        });
        let (feeds, consumers) = rings.unzip();
        (HotFeeds(consumers), feeds)
    }

    /// What was handed over since it was last asked for, with the shard that did; in order for each shard.
    pub fn take(&mut self) -> Vec<(u16, HotBatch)> {
        let mut batches = Vec::new();
        for (shard, ring) in (0..).zip(&mut self.0) {
            let waiting = ring.capacity();
            let popped = std::iter::from_fn(|| ring.pop()).take(waiting).flatten();
            batches.extend(popped.map(|batch| (shard, *batch)));
        }
        batches
    }
}
