//! Announcements: from the admin port to this node's players and listening pages and to the other nodes, and from those to ours.
//!
//! Told at most once: who crosses from shard to shard in that very tick, or a node that is cut off from Redis, misses it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use vyuha_gateway::{ANNOUNCEMENTS_CHANNEL, Announcement, Metrics};
use vyuha_hot::Subscription;
use vyuha_protocol::text::check_chat;
use vyuha_topics::{Hub, Topic};

use super::Hot;
use super::telling::said;
use crate::clock;
use crate::doors::{ShardDoors, Telling};
use crate::topics;

/// How long it is waited before a subscription that ended is made again.
const SUBSCRIBE_AGAIN: Duration = Duration::from_millis(500);
/// How often it is looked whether Redis was connected anew. A subscription asks nothing, so that it never learns by itself that its
/// connection is dead.
const LOOK: Duration = Duration::from_secs(1);

/// What goes from node to node.
#[derive(Serialize, Deserialize)]
struct Announced {
    /// The node that announced it.
    node: String,
    text: String,
}

/// Carries announcements until it is dropped.
pub async fn announce(
    hot: Hot,
    node: String,
    doors: Rc<ShardDoors>,
    topics: Hub,
    metrics: Arc<Metrics>,
    orders: mpsc::Receiver<Announcement>,
) {
    let announcer = Announcer { hot, node, doors, topics, metrics };
    tokio::join!(announcer.send(orders), announcer.hear());
}

struct Announcer {
    hot: Hot,
    node: String,
    doors: Rc<ShardDoors>,
    topics: Hub,
    metrics: Arc<Metrics>,
}

impl Announcer {
    async fn send(&self, mut orders: mpsc::Receiver<Announcement>) {
        while let Some(Announcement { text, answer }) = orders.recv().await {
            self.tell_players(text.clone());
            let announced = Announced { node: self.node.clone(), text };
            let message = serde_json::to_vec(&announced).expect("texts can be written as JSON");
            let published = self.hot.store.publish(ANNOUNCEMENTS_CHANNEL, &message).await;
            // Whoever asked may have gone.
            let _ = answer.send(published);
        }
    }

    async fn hear(&self) {
        loop {
            if let Ok(subscription) = self.hot.store.subscribe(ANNOUNCEMENTS_CHANNEL).await {
                self.listen(subscription).await;
            }
            tokio::time::sleep(SUBSCRIBE_AGAIN).await;
        }
    }

    /// Listens until the subscription ends, or has probably died as another connection to Redis has.
    async fn listen(&self, mut subscription: Subscription) {
        let connections = self.hot.connections();
        let mut look = tokio::time::interval(LOOK);
        while self.hot.connections() == connections {
            tokio::select! {
                message = subscription.next() => match message {
                    Some(message) => self.heard(&message),
                    None => return,
                },
                _ = look.tick() => {}
            }
        }
    }

    /// Another node's announcement; this node's players have heard its own. What else is published there is passed over.
    fn heard(&self, message: &[u8]) {
        match serde_json::from_slice::<Announced>(message) {
            Ok(Announced { node, text }) if node != self.node && check_chat(&text).is_ok() => {
                self.tell_players(text);
            }
            _ => {}
        }
    }

    fn tell_players(&self, text: String) {
        self.metrics.hot.announcements.inc();
        let announced = topics::Announced { text: &text };
        self.topics.publish(Topic::Announcements, &announced, clock::unix_ms());
        let frames: Arc<[Vec<u8>]> = [said(String::new(), text)].into();
        self.doors.tell_all(&Telling { account: None, frames });
    }
}
