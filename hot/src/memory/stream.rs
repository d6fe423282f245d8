//! A stream of events and its groups of consumers, as Redis has them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::Duration;

use tokio::time::Instant;

use crate::{Event, EventId};

#[derive(Debug, Default)]
pub(super) struct Stream {
    events: BTreeMap<EventId, Vec<u8>>,
    last: EventId,
    groups: HashMap<String, Group>,
}

#[derive(Debug, Default)]
struct Group {
    /// The last event given to anyone.
    given: EventId,
    /// What was given and not acknowledged, and when it was given.
    pending: BTreeMap<EventId, Instant>,
}

impl Stream {
    /// The last event ever added.
    pub(super) fn last(&self) -> EventId {
        self.last
    }

    /// Adds what is newer than the last event, and drops the oldest beyond `events_max`; none if the last event is before
    /// `after`.
    pub(super) fn append(&mut self, after: EventId, events: &[Event], events_max: usize) -> Option<u64> {
        if self.last < after {
            return None;
        }
        let mut added = 0;
        for event in events.iter().filter(|event| event.id > self.last) {
            self.events.insert(event.id, event.body.clone());
            added += 1;
        }
        self.last = self.last.max(events.last().map(|event| event.id).unwrap_or_default());
        while self.events.len() > events_max {
            self.events.pop_first();
        }
        Some(added)
    }

    pub(super) fn create_group(&mut self, group: &str) {
        self.groups.entry(group.to_owned()).or_default();
    }

    pub(super) fn read(&mut self, group: &str, count_max: usize, now: Instant) -> Option<Vec<Event>> {
        let group = self.groups.get_mut(group)?;
        let new = self.events.range((Bound::Excluded(group.given), Bound::Unbounded)).take(count_max);
        let events: Vec<Event> = new.map(|(&id, body)| Event { id, body: body.clone() }).collect();
        for event in &events {
            group.given = event.id;
            group.pending.insert(event.id, now);
        }
        Some(events)
    }

    pub(super) fn claim(
        &mut self,
        group: &str,
        idle: Duration,
        count_max: usize,
        now: Instant,
    ) -> Option<Vec<Event>> {
        let group = self.groups.get_mut(group)?;
        // What was dropped from the stream can no longer be dealt with by anyone.
        group.pending.retain(|id, _| self.events.contains_key(id));
        let idle = group.pending.iter_mut().filter(|(_, given_at)| now.duration_since(**given_at) >= idle);
        let claimed = idle.take(count_max).map(|(&id, given_at)| {
            *given_at = now;
            Event { id, body: self.events[&id].clone() }
        });
        Some(claimed.collect())
    }

    pub(super) fn acknowledge(&mut self, group: &str, ids: &[EventId]) -> u64 {
        let Some(group) = self.groups.get_mut(group) else { return 0 };
        ids.iter().filter(|id| group.pending.remove(id).is_some()).count() as u64
    }
}
