//! Hot data in the process: for a node by itself, and for tests.
//!
//! What has expired is dropped when anything of its kind is written, so memory is bounded by what was
//! written within a lifetime; streams by [`Lifetimes::stream_events`].

mod stream;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use self::stream::Stream;
use crate::store::{check_events, check_names, check_place, check_values};
use crate::{
    Bucket, BucketRule, Event, EventId, HotError, HotFuture, HotStore, Lifetimes, Near, Position,
    Subscription,
};

/// Hot data in the process.
#[derive(Debug, Default)]
pub struct MemoryHot {
    lifetimes: Lifetimes,
    data: Mutex<Data>,
}

#[derive(Debug, Default)]
struct Data {
    sessions: Expiring<i64, Vec<u8>>,
    positions: Expiring<(u16, i64), (f64, f64)>,
    chat: Expiring<String, VecDeque<Vec<u8>>>,
    buckets: Expiring<String, (Instant, i64)>,
    nodes: Expiring<String, Vec<u8>>,
    subscribers: HashMap<String, Vec<mpsc::Sender<Vec<u8>>>>,
    streams: HashMap<String, Stream>,
}

/// Values that are gone when their time is over.
#[derive(Debug)]
struct Expiring<K, V> {
    values: HashMap<K, (Instant, V)>,
    /// When to look for expired ones next: when as many were put as there were left by the last look.
    puts_to_sweep: usize,
}

impl<K, V> Default for Expiring<K, V> {
    fn default() -> Self {
        Self { values: HashMap::new(), puts_to_sweep: 0 }
    }
}

impl<K: Eq + std::hash::Hash, V> Expiring<K, V> {
    const PUTS_BETWEEN_SWEEPS_MIN: usize = 64;

    fn put(&mut self, now: Instant, lifetime: Duration, key: K, value: V) {
        if self.puts_to_sweep == 0 {
            self.values.retain(|_, (until, _)| now < *until);
            self.puts_to_sweep = self.values.len().max(Self::PUTS_BETWEEN_SWEEPS_MIN);
        }
        self.puts_to_sweep -= 1;
        self.values.insert(key, (now + lifetime, value));
    }

    fn get<Q: Eq + std::hash::Hash + ?Sized>(&self, now: Instant, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.values.get(key).filter(|(until, _)| now < *until).map(|(_, value)| value)
    }

    fn iter(&self, now: Instant) -> impl Iterator<Item = (&K, &V)> {
        self.values.iter().filter(move |(_, (until, _))| now < *until).map(|(key, (_, value))| (key, value))
    }
}

impl MemoryHot {
    /// An empty store.
    pub fn new(lifetimes: Lifetimes) -> Self {
        Self { lifetimes, data: Mutex::default() }
    }

    /// Every change is whole before anything can panic, so a poisoned lock guards sound data.
    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append_now(&self, stream: &str, after: EventId, events: &[Event]) -> Result<u64, HotError> {
        check_names(&[stream])?;
        check_events(after, events)?;
        if events.is_empty() {
            return Ok(0);
        }
        let mut data = self.data();
        let stream = data.streams.entry(stream.to_owned()).or_default();
        stream.append(after, events, self.lifetimes.stream_events).ok_or(HotError::Behind)
    }

    fn settle_now(&self, bucket: &str, rule: BucketRule, spent: u32) -> Result<Bucket, HotError> {
        check_names(&[bucket])?;
        rule.check(spent)?;
        let now = Instant::now();
        let buckets = &mut self.data().buckets;
        let (at, micro) = buckets.get(now, bucket).copied().unwrap_or((now, rule.capacity_micro()));
        let elapsed_ms = now.duration_since(at).as_millis() as i64;
        let micro = rule.after(micro, elapsed_ms, spent);
        // The part of a millisecond that was not counted stays to be counted.
        let at = at + Duration::from_millis(elapsed_ms as u64);
        buckets.put(now, 2 * rule.fills_in, bucket.to_owned(), (at, micro));
        Ok(rule.bucket(micro))
    }

    fn near_now(
        &self,
        zone: u16,
        (x_m, y_m): (f64, f64),
        radius_m: f64,
        count_max: usize,
    ) -> Result<Vec<Near>, HotError> {
        check_place(x_m, y_m)?;
        let data = self.data();
        let in_zone = data.positions.iter(Instant::now()).filter(|((of, _), _)| *of == zone);
        let mut found: Vec<Near> = in_zone
            .map(|(&(_, character), (x, y))| Near { character, distance_m: (x - x_m).hypot(y - y_m) })
            .filter(|near| near.distance_m <= radius_m)
            .collect();
        found.sort_unstable_by(|a, b| {
            a.distance_m.total_cmp(&b.distance_m).then(a.character.cmp(&b.character))
        });
        found.truncate(count_max);
        Ok(found)
    }

    fn publish_now(&self, channel: &str, message: &[u8]) -> Result<(), HotError> {
        check_names(&[channel])?;
        check_values([message].into_iter())?;
        if let Some(subscribers) = self.data().subscribers.get_mut(channel) {
            subscribers.retain(|subscriber| subscriber.try_send(message.to_vec()).is_ok());
        }
        Ok(())
    }

    fn subscribe_now(&self, channel: &str) -> Result<Subscription, HotError> {
        check_names(&[channel])?;
        let (sender, messages) = mpsc::channel(Subscription::MESSAGES_MAX);
        let subscribers = &mut self.data().subscribers;
        subscribers.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
        subscribers.entry(channel.to_owned()).or_default().push(sender);
        Ok(Subscription { messages })
    }

    /// Does something with a stream's group.
    fn in_group<T>(
        &self,
        stream: &str,
        group: &str,
        act: impl FnOnce(&mut Stream) -> Option<T>,
    ) -> Result<T, HotError> {
        check_names(&[stream, group])?;
        self.data().streams.get_mut(stream).and_then(act).ok_or(HotError::NoGroup)
    }
}

/// Whether a session is a node's.
fn is_of(session: &[u8], node: &str) -> bool {
    serde_json::from_slice::<serde_json::Value>(session).is_ok_and(|session| session["node"] == node)
}

/// A future that was ready from the start.
fn ready<'a, T: Send + 'a>(result: Result<T, HotError>) -> HotFuture<'a, T> {
    Box::pin(std::future::ready(result))
}

impl HotStore for MemoryHot {
    fn put_sessions<'a>(&'a self, sessions: &'a [(i64, Vec<u8>)]) -> HotFuture<'a, ()> {
        ready(check_values(sessions.iter().map(|(_, session)| session.as_slice())).map(|()| {
            let now = Instant::now();
            let mut data = self.data();
            for (character, session) in sessions {
                data.sessions.put(now, self.lifetimes.session, *character, session.clone());
            }
        }))
    }

    fn session(&self, character: i64) -> HotFuture<'_, Option<Vec<u8>>> {
        ready(Ok(self.data().sessions.get(Instant::now(), &character).cloned()))
    }

    fn end_sessions<'a>(&'a self, node: &'a str, characters: &'a [i64]) -> HotFuture<'a, ()> {
        let mut data = self.data();
        for character in characters {
            if let Entry::Occupied(session) = data.sessions.values.entry(*character)
                && is_of(&session.get().1, node)
            {
                session.remove();
            }
        }
        ready(Ok(()))
    }

    fn put_positions<'a>(&'a self, zone: u16, positions: &'a [Position]) -> HotFuture<'a, ()> {
        let check = positions.iter().try_for_each(|position| check_place(position.x_m, position.y_m));
        ready(check.map(|()| {
            let now = Instant::now();
            let mut data = self.data();
            for &Position { character, x_m, y_m } in positions {
                data.positions.put(now, self.lifetimes.position, (zone, character), (x_m, y_m));
            }
        }))
    }

    fn near(
        &self,
        zone: u16,
        x_m: f64,
        y_m: f64,
        radius_m: f64,
        count_max: usize,
    ) -> HotFuture<'_, Vec<Near>> {
        ready(self.near_now(zone, (x_m, y_m), radius_m, count_max))
    }

    fn push_chat<'a>(&'a self, channel: &'a str, lines: &'a [Vec<u8>]) -> HotFuture<'a, ()> {
        let check = check_names(&[channel]).and_then(|()| check_values(lines.iter().map(Vec::as_slice)));
        if lines.is_empty() {
            return ready(check);
        }
        ready(check.map(|()| {
            let now = Instant::now();
            let chat = &mut self.data().chat;
            let mut kept = chat.get(now, channel).cloned().unwrap_or_default();
            kept.extend(lines.iter().cloned());
            let too_many = kept.len().saturating_sub(self.lifetimes.chat_lines);
            kept.drain(..too_many);
            chat.put(now, self.lifetimes.chat, channel.to_owned(), kept);
        }))
    }

    fn recent_chat<'a>(&'a self, channel: &'a str, lines_max: usize) -> HotFuture<'a, Vec<Vec<u8>>> {
        ready(check_names(&[channel]).map(|()| {
            let data = self.data();
            data.chat
                .get(Instant::now(), channel)
                .map(|lines| lines.iter().skip(lines.len().saturating_sub(lines_max)).cloned().collect())
                .unwrap_or_default()
        }))
    }

    fn settle<'a>(&'a self, bucket: &'a str, rule: BucketRule, spent: u32) -> HotFuture<'a, Bucket> {
        ready(self.settle_now(bucket, rule, spent))
    }

    fn beat<'a>(&'a self, node: &'a str, description: &'a [u8]) -> HotFuture<'a, ()> {
        let check = check_names(&[node]).and_then(|()| check_values([description].into_iter()));
        ready(check.map(|()| {
            let lifetime = self.lifetimes.node;
            self.data().nodes.put(Instant::now(), lifetime, node.to_owned(), description.to_vec());
        }))
    }

    fn nodes(&self) -> HotFuture<'_, BTreeMap<String, Vec<u8>>> {
        let data = self.data();
        let nodes = data.nodes.iter(Instant::now());
        ready(Ok(nodes.map(|(name, description)| (name.clone(), description.clone())).collect()))
    }

    fn publish<'a>(&'a self, channel: &'a str, message: &'a [u8]) -> HotFuture<'a, ()> {
        ready(self.publish_now(channel, message))
    }

    fn subscribe<'a>(&'a self, channel: &'a str) -> HotFuture<'a, Subscription> {
        ready(self.subscribe_now(channel))
    }

    fn append<'a>(&'a self, stream: &'a str, after: EventId, events: &'a [Event]) -> HotFuture<'a, u64> {
        ready(self.append_now(stream, after, events))
    }

    fn last_event<'a>(&'a self, stream: &'a str) -> HotFuture<'a, EventId> {
        ready(check_names(&[stream]).map(|()| {
            let data = self.data();
            data.streams.get(stream).map(Stream::last).unwrap_or_default()
        }))
    }

    fn create_group<'a>(&'a self, stream: &'a str, group: &'a str) -> HotFuture<'a, ()> {
        ready(check_names(&[stream, group]).map(|()| {
            self.data().streams.entry(stream.to_owned()).or_default().create_group(group);
        }))
    }

    fn read_group<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        consumer: &'a str,
        count_max: usize,
    ) -> HotFuture<'a, Vec<Event>> {
        ready(check_names(&[consumer]).and_then(|()| {
            self.in_group(stream, group, |stream| stream.read(group, count_max, Instant::now()))
        }))
    }

    fn claim<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        consumer: &'a str,
        idle: Duration,
        count_max: usize,
    ) -> HotFuture<'a, Vec<Event>> {
        ready(check_names(&[consumer]).and_then(|()| {
            let now = Instant::now();
            self.in_group(stream, group, |stream| stream.claim(group, idle, count_max, now))
        }))
    }

    fn acknowledge<'a>(&'a self, stream: &'a str, group: &'a str, ids: &'a [EventId]) -> HotFuture<'a, u64> {
        ready(check_names(&[stream, group]).map(|()| {
            let mut data = self.data();
            data.streams.get_mut(stream).map_or(0, |stream| stream.acknowledge(group, ids))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expired_does_not_pile_up() {
        let mut expiring = Expiring::default();
        let start = Instant::now();
        for second in 0..100_000u64 {
            expiring.put(start + Duration::from_secs(second), Duration::from_secs(10), second, ());
            assert!(expiring.values.len() <= 200, "{}", expiring.values.len());
        }
        let end = start + Duration::from_secs(99_999);
        assert_eq!(expiring.iter(end).count(), 10);
    }
}
