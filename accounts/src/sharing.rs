//! What nodes of one game tell each other in the background, through Redis: how much of each limit was spent, and which sessions
//! ended. No request waits for it.
//!
//! A turn begins every [`SHARE_INTERVAL`]. So what happens on one node is heard on the others within two turns and two answers
//! of Redis. While it is away each node knows of itself alone: limits hold on each by itself; access tokens of a
//! session that was ended elsewhere are taken until they are over (what needs the database, as refreshing them and browsers'
//! cookies, is refused at once). When it is back it is told of the sessions that ended meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval};
use vyuha_hot::{HotError, HotStore};

use crate::limits::Buckets;
use crate::service::Service;

/// How often others are told and asked.
pub const SHARE_INTERVAL: Duration = Duration::from_millis(250);
/// Buckets, of the API's limits and of failed attempts each, that are told of in a turn; the others wait for the next.
pub const SETTLED_MAX: usize = 1024;
/// Ended sessions that are told of at once.
const REVOKED_MAX: usize = 512;
/// How far the store's clock may go back without a session being missed, in milliseconds.
const OVERLAP_MS: i64 = 1_000;

/// Where the nodes of a game meet.
pub(crate) struct Meeting {
    store: Arc<dyn HotStore>,
    /// The store's time, up to which it was asked.
    heard_ms: AtomicI64,
}

impl Meeting {
    pub(crate) fn new(store: Arc<dyn HotStore>) -> Meeting {
        Meeting { store, heard_ms: AtomicI64::new(0) }
    }
}

impl Service {
    /// Tells other nodes and hears from them, until it is dropped; nothing where there are none.
    pub async fn share(self: Arc<Self>) {
        let mut every = interval(SHARE_INTERVAL);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.share_once().await {
            every.tick().await;
        }
    }

    /// One turn of that. False where there are no other nodes.
    pub async fn share_once(&self) -> bool {
        let Some(meeting) = &self.meeting else { return false };
        self.settle(&*meeting.store, self.limits.buckets()).await;
        if let Some(failures) = self.throttle.shared() {
            self.settle(&*meeting.store, failures).await;
        }
        self.share_revoked(meeting).await;
        true
    }

    /// What cannot be told is forgotten: it counts here, and by the time that the store is back mostly no longer.
    async fn settle(&self, store: &dyn HotStore, buckets: &Buckets) {
        let untold = buckets.untold(SETTLED_MAX);
        // They go out together, over one connection.
        let asked = untold.iter().map(|spent| store.settle(&spent.bucket, spent.rule, spent.tokens));
        for (spent, answer) in untold.iter().zip(join_all(asked).await) {
            match answer {
                Ok(left) => buckets.settled(self.now_ms(), spent, left),
                Err(error) => complain(&error),
            }
        }
    }

    async fn share_revoked(&self, meeting: &Meeting) {
        loop {
            let untold = self.revoked.untold(REVOKED_MAX);
            let heard_ms = meeting.heard_ms.load(Ordering::Relaxed);
            match meeting.store.revoke(&untold, heard_ms - OVERLAP_MS).await {
                Ok(list) => {
                    let mut news = list.sessions;
                    news.retain(|session| self.revoked.hear(session, self.now_ms()));
                    self.let_go(&news);
                    meeting.heard_ms.store(list.now_ms, Ordering::Relaxed);
                    self.revoked.told(&untold);
                }
                Err(error) => {
                    complain(&error);
                    // Another Redis, with a clock of its own, may take over.
                    meeting.heard_ms.store(0, Ordering::Relaxed);
                    return;
                }
            }
            if untold.len() < REVOKED_MAX {
                return;
            }
        }
    }
}

/// The store itself says in the log when it goes away.
fn complain(error: &HotError) {
    if !matches!(error, HotError::Away(_)) {
        tracing::error!(%error, "limits and ended sessions could not be shared with other nodes");
    }
}
