//! The way of what characters' topics say out of the shards: two rings for each, and one the other way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vyuha_game::shard::Whereabouts;
use vyuha_protocol::units::UNITS_PER_METRE;
use vyuha_ring::{Consumer, Producer, ring};
use vyuha_topics::Watched;

/// Positions a second of a character that somebody listens to.
pub const POSITION_HZ: u32 = 2;
/// Ticks whose positions may wait.
const PLACES_MAX: usize = 128;
/// Ticks whose changes may wait.
const BATCHES_MAX: usize = 128;
/// The longest batch that is told of, in bytes: 32 MiB a shard at the very worst.
pub const BATCH_BYTES_MAX: usize = 256 << 10;
/// Lists of who is listened to that may wait; the newest counts.
const LISTS_MAX: usize = 4;

/// Who is listened to, by version.
#[derive(Clone)]
pub struct List {
    /// Rises from list to list.
    pub version: u64,
    /// They.
    pub watched: Arc<[Watched]>,
}

/// Where a character is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// The character.
    pub character: i64,
    /// The zone that it is in.
    pub zone: u16,
    /// Metres from the zone's western edge.
    pub x_m: f64,
    /// Metres from the zone's northern edge.
    pub y_m: f64,
}

impl From<Whereabouts<'_>> for Place {
    fn from(Whereabouts { character, zone, at }: Whereabouts<'_>) -> Place {
        let metres = |units| f64::from(units) / f64::from(UNITS_PER_METRE);
        Place { character: character.id, zone: zone.0, x_m: metres(at.x), y_m: metres(at.y) }
    }
}

/// A tick's transactions, and the number of their batch.
#[derive(Default)]
pub struct Changes {
    /// Durable once this batch is.
    pub batch: u64,
    /// In journal form.
    pub bytes: Vec<u8>,
}

/// What both sides read without waiting.
#[derive(Default)]
struct Marks {
    /// The last batch that is durable.
    durable: AtomicU64,
    /// The last batch that was not told of although it should have been.
    lost: AtomicU64,
    /// The last list of which all is told: what was on its way to the disk before it is durable.
    complete: AtomicU64,
}

/// A shard's side.
pub struct TopicFeed {
    lists: Consumer<Option<List>>,
    places: Producer<Vec<Place>>,
    changes: Producer<Changes>,
    marks: Arc<Marks>,
    /// Ticks of a round.
    round_ticks: u32,
    watched: Arc<[Watched]>,
    watches_inventory: bool,
    /// The newest list's version, and the batch that must be durable before it is complete.
    adopted: Option<(u64, u64)>,
    /// The last batch that was told of or passed over.
    batch_last: u64,
}

impl TopicFeed {
    /// Tells of the places of those whose turn it is in this tick; `find` says where an account's character is.
    pub fn tell_places<'s>(&mut self, tick: u64, find: impl Fn(i64) -> Option<Whereabouts<'s>>) {
        self.adopt();
        let turn = (tick % u64::from(self.round_ticks)) as usize;
        let whose_turn = self.watched.iter().skip(turn).step_by(self.round_ticks as usize);
        let places: Vec<Place> = whose_turn
            .filter(|one| one.position)
            .filter_map(|one| {
                find(one.account).map(Place::from).filter(|place| place.character == one.character)
            })
            .collect();
        if !places.is_empty() {
            // Where there is no room the next round says it all.
            let _ = self.places.push(places);
        }
    }

    /// Tells of a batch that goes to the journal.
    pub fn tell_batch(&mut self, batch: u64, bytes: &[u8]) {
        self.batch_last = batch;
        if !self.watches_inventory {
            return;
        }
        let told = bytes.len() <= BATCH_BYTES_MAX
            && self.changes.push(Changes { batch, bytes: bytes.to_vec() }).is_ok();
        if !told {
            self.marks.lost.store(batch, Ordering::Release);
        }
    }

    /// Batches up to this one are durable.
    pub fn set_durable(&mut self, durable: u64) {
        self.marks.durable.store(durable, Ordering::Release);
        if let Some((version, _)) = self.adopted.take_if(|(_, batch)| *batch <= durable) {
            self.marks.complete.store(version, Ordering::Release);
        }
    }

    fn adopt(&mut self) {
        while let Some(list) = self.lists.pop() {
            let Some(List { version, watched }) = list else { continue };
            self.watches_inventory = watched.iter().any(|one| one.inventory);
            self.watched = watched;
            self.adopted = Some((version, self.batch_last));
        }
    }
}

/// The other side, of one shard.
pub struct ShardTopics {
    lists: Producer<Option<List>>,
    places: Consumer<Vec<Place>>,
    changes: Consumer<Changes>,
    marks: Arc<Marks>,
    /// The last loss that was told.
    lost_told: u64,
}

/// What a shard told since it was last asked.
#[derive(Default)]
pub struct Told {
    /// Where characters are.
    pub places: Vec<Place>,
    /// What is durable of what changed, in order.
    pub changes: Vec<Vec<u8>>,
    /// Whether something is missing, before this or in it.
    pub lost: bool,
}

impl ShardTopics {
    /// Says who is listened to; whether there was room for that.
    pub fn listen(&mut self, list: &List) -> bool {
        self.lists.push(Some(list.clone())).is_ok()
    }

    /// The last list of which all is told from now on.
    pub fn complete(&self) -> u64 {
        self.marks.complete.load(Ordering::Acquire)
    }

    /// What was told, and is durable, since it was last asked.
    pub fn take(&mut self) -> Told {
        let durable = self.marks.durable.load(Ordering::Acquire);
        let mut told = Told::default();
        for _ in 0..self.places.capacity() {
            let Some(places) = self.places.pop() else { break };
            told.places.extend(places);
        }
        while self.changes.peek().is_some_and(|changes| changes.batch <= durable) {
            told.changes.extend(self.changes.pop().map(|changes| changes.bytes));
        }
        let lost = self.marks.lost.load(Ordering::Acquire);
        if lost > self.lost_told && lost <= durable {
            self.lost_told = lost;
            told.lost = true;
        }
        told
    }
}

/// The other side of every shard, in order.
pub struct TopicFeeds(pub Vec<ShardTopics>);

impl TopicFeeds {
    /// Rings for as many shards, and the shards' sides in order.
    pub fn new(shards: u16, tick_hz: u32) -> (TopicFeeds, Vec<TopicFeed>) {
        let (feeds, sides) = (0..shards).map(|_| pair(tick_hz)).unzip();
        (TopicFeeds(feeds), sides)
    }
}

fn pair(tick_hz: u32) -> (ShardTopics, TopicFeed) {
    let (list_writer, lists) = ring(LISTS_MAX);
    let (places, place_reader) = ring(PLACES_MAX);
    let (changes, change_reader) = ring(BATCHES_MAX);
    let marks = Arc::new(Marks::default());
    let side = TopicFeed {
        lists,
        places,
        changes,
        marks: marks.clone(),
        round_ticks: (tick_hz / POSITION_HZ).max(1),
        watched: Arc::default(),
        watches_inventory: false,
        adopted: None,
        batch_last: 0,
    };
    let feed =
        ShardTopics { lists: list_writer, places: place_reader, changes: change_reader, marks, lost_told: 0 };
    (feed, side)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(version: u64, inventory: bool) -> List {
        let one = Watched { account: 7, character: 12, position: true, inventory };
        List { version, watched: [one].into() }
    }

    fn told(feed: &mut ShardTopics) -> (Vec<usize>, bool) {
        let Told { changes, lost, .. } = feed.take();
        (changes.iter().map(Vec::len).collect(), lost)
    }

    #[test]
    fn changes_are_told_once_they_are_durable_and_only_while_somebody_listens() {
        let (mut feed, mut side) = pair(30);
        side.tell_batch(1, &[0; 1]);
        assert!(feed.listen(&list(1, true)));
        side.tell_places(0, |_| None);
        side.tell_batch(2, &[0; 2]);
        side.set_durable(0);
        assert_eq!((told(&mut feed), feed.complete()), ((vec![], false), 0));
        side.set_durable(1);
        assert_eq!((told(&mut feed), feed.complete()), ((vec![], false), 1), "what was before is on disk");
        side.tell_batch(3, &[0; 3]);
        side.set_durable(3);
        assert_eq!(told(&mut feed), (vec![2, 3], false));
        assert!(feed.listen(&list(2, false)));
        side.tell_places(1, |_| None);
        side.tell_batch(4, &[0; 4]);
        side.set_durable(4);
        assert_eq!((told(&mut feed), feed.complete()), ((vec![], false), 2));
    }

    #[test]
    fn what_finds_no_room_is_told_as_lost_once_all_before_it_is_told() {
        let (mut feed, mut side) = pair(30);
        feed.listen(&list(1, true));
        side.tell_places(0, |_| None);
        for batch in 1..=BATCHES_MAX as u64 + 1 {
            side.tell_batch(batch, &[0]);
        }
        side.set_durable(BATCHES_MAX as u64);
        assert_eq!(told(&mut feed), (vec![1; BATCHES_MAX], false));
        side.tell_batch(BATCHES_MAX as u64 + 2, &[0; 2]);
        side.set_durable(BATCHES_MAX as u64 + 2);
        assert_eq!(told(&mut feed), (vec![2], true));
        assert_eq!(told(&mut feed), (vec![], false));
        side.tell_batch(1000, &vec![0; BATCH_BYTES_MAX + 1]);
        side.set_durable(1000);
        assert_eq!(told(&mut feed), (vec![], true), "one that is too long is lost as well");
    }
}
