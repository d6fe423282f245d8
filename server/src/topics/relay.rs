//! Says on the topics what the shards told, and tells the shards who is listened to.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use vyuha_gateway::Metrics;
use vyuha_topics::{Figures, Hub, Topic, Watched};

use super::feed::{List, Place, ShardTopics, Told, TopicFeeds};
use super::inventory::changes;
use crate::clock;

/// How often the rings are looked into.
const TURN: Duration = Duration::from_millis(100);

/// What a character's position says.
#[derive(Serialize)]
struct Position {
    zone: u16,
    x_m: f64,
    y_m: f64,
}

/// Relays until it is dropped.
pub async fn relay(hub: Hub, TopicFeeds(shards): TopicFeeds, metrics: Arc<Metrics>) {
    let mut relay = Relay::new(hub, shards);
    let mut figures = Figures::default();
    let mut every = interval(TURN);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        relay.turn(clock::unix_ms());
        let now = relay.hub.lock().figures();
        metrics.topics.connections.set(now.connections);
        metrics.topics.kept.set(now.topics);
        metrics.topics.published.inc_by(now.published - figures.published);
        metrics.topics.queued.inc_by(now.queued - figures.queued);
        metrics.topics.slow.inc_by(now.slow - figures.slow);
        metrics.topics.gaps.inc_by(now.torn - figures.torn);
        figures = now;
    }
}

struct Relay {
    hub: Hub,
    shards: Vec<Side>,
    /// Whose topics are kept, by the newest list.
    list: Option<List>,
    /// Whose inventories are told of.
    inventories: HashSet<i64>,
    /// Characters of whose inventories not all is told yet, and since which list they are listened to.
    arming: Vec<(u64, i64)>,
}

struct Side {
    shard: ShardTopics,
    /// Whether it has the newest list.
    knows: bool,
}

impl Relay {
    fn new(hub: Hub, shards: Vec<ShardTopics>) -> Relay {
        let shards = shards.into_iter().map(|shard| Side { shard, knows: true }).collect();
        Relay { hub, shards, list: None, inventories: HashSet::new(), arming: Vec::new() }
    }

    fn turn(&mut self, now_ms: i64) {
        let seen = self.list.as_ref().map(|list| list.version);
        let newest = self.hub.lock().watched(seen, now_ms);
        if let Some((version, watched)) = newest {
            self.watch(version, watched);
        }
        if let Some(list) = &self.list {
            for side in &mut self.shards {
                side.knows = side.knows || side.shard.listen(list);
            }
        }
        let complete = self.shards.iter().map(|side| side.shard.complete()).min().unwrap_or(0);
        let armed: Vec<i64> = self
            .arming
            .extract_if(.., |(since, _)| *since <= complete)
            .map(|(_, character)| character)
            .collect();
        self.tear(|character| armed.contains(&character));
        for side in 0..self.shards.len() {
            let told = self.shards[side].shard.take();
            self.say(told, now_ms);
        }
    }

    fn watch(&mut self, version: u64, watched: Vec<Watched>) {
        let now = watched.iter().filter(|one| one.inventory).map(|one| one.character);
        let inventories: HashSet<i64> = now.collect();
        let fresh = inventories.difference(&self.inventories);
        self.arming.extend(fresh.map(|character| (version, *character)));
        self.arming.retain(|(_, character)| inventories.contains(character));
        self.inventories = inventories;
        self.list = Some(List { version, watched: watched.into() });
        self.shards.iter_mut().for_each(|side| side.knows = false);
    }

    fn say(&self, Told { places, changes: batches, lost }: Told, now_ms: i64) {
        for Place { character, zone, x_m, y_m } in places {
            self.hub.publish(Topic::Position(character), &Position { zone, x_m, y_m }, now_ms);
        }
        let mut lost = lost;
        for bytes in batches {
            match changes(&bytes, |character| self.inventories.contains(&character)) {
                Ok(changes) => {
                    for (character, change) in changes {
                        self.hub.publish(Topic::Inventory(character), &change, now_ms);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "what a shard told of its transactions cannot be read");
                    lost = true;
                }
            }
        }
        if lost {
            self.tear(|_| true);
        }
    }

    /// Tells whoever listens to these characters' inventories that something may be missing.
    fn tear(&self, of: impl Fn(i64) -> bool) {
        self.hub.lock().tear(|topic| matches!(topic, Topic::Inventory(character) if of(character)));
    }
}

#[cfg(test)]
mod tests {
    use vyuha_game::ItemRow;
    use vyuha_record::Transaction;
    use vyuha_topics::{Broker, ConnectionId, Identity, Taken};

    use super::super::feed::TopicFeed;
    use super::*;

    const CHARACTER: i64 = 12;

    struct Scene {
        hub: Hub,
        relay: Relay,
        sides: Vec<TopicFeed>,
        id: ConnectionId,
        batch: u64,
    }

    impl Scene {
        fn new() -> Scene {
            let hub = Hub::new(Broker::new(1, 0));
            let (TopicFeeds(shards), sides) = TopicFeeds::new(2, 30);
            let id = hub.lock().open("a", 0, Box::new(|| {})).unwrap();
            let identity = Identity { account: 7, session: "s".into(), expires_ms: None };
            hub.lock().identify(id, identity).unwrap();
            Scene { relay: Relay::new(hub.clone(), shards), hub, sides, id, batch: 0 }
        }

        /// A tick of every shard, in the first of which the character is given an item.
        fn tick(&mut self, durable: bool) {
            self.batch += 1;
            for (nth, side) in self.sides.iter_mut().enumerate() {
                side.tell_places(0, |_| None);
                if nth == 0 {
                    let mut bytes = Vec::new();
                    let mut transaction = Transaction::begin(&mut bytes);
                    let (kind, count, place) = (1, 1, 0);
                    let (owner, slot, x, y, wear) = (CHARACTER, 0, 0, 0, 0);
                    let id = self.batch as i64;
                    transaction.put(&ItemRow { id, kind, count, place, owner, slot, x, y, wear });
                    transaction.commit();
                    side.tell_batch(self.batch, &bytes);
                }
                side.set_durable(if durable { self.batch } else { 0 });
            }
        }

        /// The names of the messages that came.
        fn heard(&mut self) -> Vec<String> {
            self.relay.turn(0);
            let mut heard = Vec::new();
            while let Taken::Message(message) = self.hub.lock().take(self.id) {
                let name = &message[2..2 + usize::from(message[1] & 0x1f)];
                heard.push(String::from_utf8(name.to_vec()).unwrap());
            }
            heard
        }
    }

    #[test]
    fn an_inventory_is_told_of_whole_from_the_gap_that_its_topic_begins_with() {
        let mut scene = Scene::new();
        scene.tick(false);
        scene.hub.lock().subscribe(scene.id, 1, Topic::Inventory(CHARACTER), None, 0).unwrap();
        assert_eq!(scene.heard(), ["Subscribed"]);
        // The shards have heard of it, but what came before is not durable, and would be missed.
        scene.tick(false);
        assert_eq!(scene.heard(), [""; 0]);
        scene.tick(true);
        assert_eq!(scene.heard(), ["Gap", "Message", "Message"]);
        scene.tick(true);
        assert_eq!(scene.heard(), ["Message"]);
        // Whoever comes to a topic that is told of already misses nothing.
        let hub = scene.hub.clone();
        hub.lock().unsubscribe(scene.id, 2, Topic::Inventory(CHARACTER), 0).unwrap();
        hub.lock().subscribe(scene.id, 3, Topic::Inventory(CHARACTER), None, 0).unwrap();
        scene.tick(true);
        assert_eq!(scene.heard(), ["Unsubscribed", "Subscribed", "Message"]);
    }
}
