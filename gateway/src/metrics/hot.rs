//! Figures of hot data: how Redis is doing, and what was told to it.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{Registry, Unit};

use super::{Level, SecondsLevel, counter, level};

/// Figures of hot data.
#[derive(Clone, Debug)]
pub struct HotMetrics {
    /// Whether Redis is asked: 0 it answers (or there is none), 1 it failed and is left alone for a while, 2 it is about to be
    /// asked again.
    pub breaker: Level,
    /// Questions that Redis answered, a batch counting as one.
    pub answered: Counter,
    /// Questions that it did not, those that were not asked among them.
    pub failed: Counter,
    /// Batches of hot data that shards handed over.
    pub batches: Counter,
    /// What they told of and was not kept: positions, sessions, lines of chat.
    pub dropped: Counter,
    /// Sessions that are told of.
    pub sessions: Level,
    /// Announcements that were told to players.
    pub announcements: Counter,
    /// Events of the ledger that were added to the streams.
    pub events: Counter,
    /// How long the oldest event that is in the database and not in its stream has waited.
    pub events_lag_seconds: SecondsLevel,
}

impl HotMetrics {
    pub(super) fn register(registry: &mut Registry) -> HotMetrics {
        HotMetrics {
            breaker: level(
                registry,
                "hot_breaker",
                "Whether Redis is asked: 0 it answers or there is none, 1 it failed and is left alone, 2 it is about to be asked",
            ),
            answered: counter(registry, "hot_answered", "Questions that Redis answered"),
            failed: counter(registry, "hot_failed", "Questions that Redis did not answer, or was not asked"),
            batches: counter(registry, "hot_batches", "Batches of hot data that shards handed over"),
            dropped: counter(
                registry,
                "hot_dropped",
                "Positions, sessions and lines of chat that were not kept, because Redis was away or slow",
            ),
            sessions: level(registry, "hot_sessions", "Sessions that other nodes are told of"),
            announcements: counter(registry, "announcements", "Announcements that were told to players"),
            events: counter(registry, "hot_events", "Events of the ledger that were added to the streams"),
            events_lag_seconds: {
                let level = SecondsLevel::default();
                let help =
                    "How long the oldest event that is in the database and not in its stream has waited";
                registry.register_with_unit("hot_events_lag", help, Unit::Seconds, level.clone());
                level
            },
        }
    }
}
