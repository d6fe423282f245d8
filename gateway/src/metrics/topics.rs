//! Figures of the topics of web clients.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::{Level, counter, level};

/// Figures of topics.
#[derive(Clone, Debug)]
pub struct TopicMetrics {
    /// Connections that listen, or are about to.
    pub connections: Level,
    /// Topics that are kept.
    pub kept: Level,
    /// Messages of topics.
    pub published: Counter,
    /// The same, for each who listens.
    pub queued: Counter,
    /// Connections that were let go because they did not read.
    pub slow: Counter,
    /// Topics in which something was lost for all who listen, who were told.
    pub gaps: Counter,
}

impl TopicMetrics {
    pub(super) fn register(registry: &mut Registry) -> TopicMetrics {
        TopicMetrics {
            connections: level(registry, "topic_connections", "Connections that listen to topics"),
            kept: level(
                registry,
                "topics",
                "Topics that are kept because somebody listens, or did a moment ago",
            ),
            published: counter(registry, "topic_messages", "Messages of topics"),
            queued: counter(registry, "topic_deliveries", "Messages of topics, counted for each who listens"),
            slow: counter(registry, "topic_slow", "Connections that were closed because they did not read"),
            gaps: counter(
                registry,
                "topic_gaps",
                "Topics that began anew because something was lost, which was told",
            ),
        }
    }
}
