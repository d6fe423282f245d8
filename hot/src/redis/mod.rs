//! Hot data in Redis.
//!
//! One multiplexed connection carries everything but subscriptions, which have one each. What a method
//! asks goes in one round trip. A connection that breaks or does not answer in time is given up; a
//! [`vyuha_breaker::Breaker`] says when to connect again, and until then every method fails at once.
//!
//! Keys begin with a prefix of the game's own, so that several games can share a Redis.

mod connection;
mod events;
mod settings;

use std::collections::BTreeMap;
use std::time::Duration;

use ::redis::{Cmd, ErrorKind, Script, ServerErrorKind};

use self::connection::Connection;
use crate::store::{check_events, check_names, check_place, check_values};
use crate::{
    Bucket, BucketRule, Event, EventId, HotError, HotFuture, HotStore, Lifetimes, Near, Position,
    Subscription,
};

pub use self::connection::RedisStats;
pub use self::settings::{RedisSettings, RedisSettingsError};

/// Metres of a degree on the sphere that Redis measures on (radius 6,372,797.560856 m, its `geohash_helper.c`).
const METRES_PER_DEGREE: f64 = 6_372_797.560_856 * std::f64::consts::PI / 180.0;

/// Hot data in Redis.
#[derive(Debug)]
pub struct RedisHot {
    prefix: String,
    lifetimes: Lifetimes,
    connection: Connection,
    settle: Script,
    positions: Script,
    append: Script,
    end: Script,
}

impl RedisHot {
    /// A Redis, under keys that begin with `prefix`. Nothing is connected before it is needed.
    pub fn new(settings: RedisSettings, prefix: &str, lifetimes: Lifetimes) -> Self {
        Self {
            prefix: prefix.to_owned(),
            lifetimes,
            connection: Connection::new(settings),
            settle: Script::new(include_str!("settle.lua")),
            positions: Script::new(include_str!("positions.lua")),
            append: Script::new(include_str!("append.lua")),
            end: Script::new(include_str!("end.lua")),
        }
    }

    /// How Redis is doing.
    pub fn stats(&self) -> RedisStats {
        self.connection.stats()
    }

    /// Why Redis did not answer last, until it answers.
    pub fn failure(&self) -> Option<String> {
        self.connection.failure()
    }

    fn key(&self, kind: &str, name: impl std::fmt::Display) -> String {
        format!("{}:{kind}:{name}", self.prefix)
    }

    /// The keys of a zone's positions and of when each was put; in a Redis cluster both are on one node.
    fn position_keys(&self, zone: u16) -> (String, String) {
        let positions = format!("{}:positions:{{{zone}}}", self.prefix);
        let put = format!("{positions}:put");
        (positions, put)
    }

    async fn put_sessions_in_redis(&self, sessions: &[(i64, Vec<u8>)]) -> Result<(), HotError> {
        check_values(sessions.iter().map(|(_, session)| session.as_slice()))?;
        let mut pipe = ::redis::pipe();
        for (character, session) in sessions {
            let key = self.key("session", character);
            pipe.pset_ex(key, session.as_slice(), millis(self.lifetimes.session)).ignore();
        }
        self.connection.pipe(&pipe).await
    }

    async fn put_positions_in_redis(&self, zone: u16, positions: &[Position]) -> Result<(), HotError> {
        positions.iter().try_for_each(|position| check_place(position.x_m, position.y_m))?;
        if positions.is_empty() {
            return Ok(());
        }
        let (key, put) = self.position_keys(zone);
        let mut call = self.positions.prepare_invoke();
        call.key(key).key(put).arg(millis(self.lifetimes.position));
        for position in positions {
            let (longitude, latitude) = degrees(position.x_m, position.y_m);
            call.arg(longitude).arg(latitude).arg(position.character);
        }
        self.connection.script::<u64>(&call).await?;
        Ok(())
    }

    async fn near_in_redis(
        &self,
        zone: u16,
        (x_m, y_m): (f64, f64),
        radius_m: f64,
        count_max: usize,
    ) -> Result<Vec<Near>, HotError> {
        check_place(x_m, y_m)?;
        if count_max == 0 || radius_m.is_nan() || radius_m < 0.0 {
            return Ok(Vec::new());
        }
        let (key, put) = self.position_keys(zone);
        let mut drop_expired = self.positions.prepare_invoke();
        drop_expired.key(&key).key(put).arg(millis(self.lifetimes.position));
        self.connection.script::<u64>(&drop_expired).await?;
        let (longitude, latitude) = degrees(x_m, y_m);
        let mut search = ::redis::cmd("GEOSEARCH");
        search.arg(key).arg("FROMLONLAT").arg(longitude).arg(latitude);
        search.arg("BYRADIUS").arg(radius_m).arg("m").arg("ASC").arg("COUNT").arg(count_max).arg("WITHDIST");
        let found: Vec<(i64, f64)> = self.connection.command(&search).await?;
        Ok(found.into_iter().map(|(character, distance_m)| Near { character, distance_m }).collect())
    }

    async fn push_chat_in_redis(&self, channel: &str, lines: &[Vec<u8>]) -> Result<(), HotError> {
        check_names(&[channel])?;
        check_values(lines.iter().map(Vec::as_slice))?;
        if lines.is_empty() {
            return Ok(());
        }
        let key = self.key("chat", channel);
        let oldest_kept = -i64::try_from(self.lifetimes.chat_lines).unwrap_or(i64::MAX);
        let mut pipe = ::redis::pipe();
        pipe.atomic();
        pipe.rpush(&key, lines.iter().map(Vec::as_slice).collect::<Vec<_>>()).ignore();
        pipe.add_command(Cmd::ltrim(&key, oldest_kept as isize, -1)).ignore();
        pipe.pexpire(&key, millis(self.lifetimes.chat) as i64).ignore();
        self.connection.pipe(&pipe).await
    }

    async fn settle_in_redis(&self, bucket: &str, rule: BucketRule, spent: u32) -> Result<Bucket, HotError> {
        check_names(&[bucket])?;
        rule.check(spent)?;
        let mut call = self.settle.prepare_invoke();
        call.key(self.key("bucket", bucket));
        call.arg(rule.capacity_micro()).arg(rule.fills_ms()).arg(i64::from(spent) * 1_000_000);
        Ok(rule.bucket(self.connection.script(&call).await?))
    }

    async fn beat_in_redis(&self, node: &str, description: &[u8]) -> Result<(), HotError> {
        check_names(&[node])?;
        check_values([description].into_iter())?;
        let mut pipe = ::redis::pipe();
        pipe.pset_ex(self.key("node", node), description, millis(self.lifetimes.node)).ignore();
        pipe.sadd(format!("{}:nodes", self.prefix), node).ignore();
        self.connection.pipe(&pipe).await
    }

    async fn nodes_in_redis(&self) -> Result<BTreeMap<String, Vec<u8>>, HotError> {
        let set = format!("{}:nodes", self.prefix);
        let names: Vec<String> = self.connection.command(&Cmd::smembers(&set)).await?;
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let keys: Vec<String> = names.iter().map(|name| self.key("node", name)).collect();
        let descriptions: Vec<Option<Vec<u8>>> = self.connection.command(&Cmd::mget(keys)).await?;
        let (live, gone): (Vec<_>, Vec<_>) =
            names.into_iter().zip(descriptions).partition(|(_, text)| text.is_some());
        if !gone.is_empty() {
            // One that beats just now puts its name back with every beat.
            let names: Vec<String> = gone.into_iter().map(|(name, _)| name).collect();
            self.connection.command::<u64>(&Cmd::srem(&set, names)).await?;
        }
        Ok(live.into_iter().filter_map(|(name, text)| Some((name, text?))).collect())
    }

    async fn publish_in_redis(&self, channel: &str, message: &[u8]) -> Result<(), HotError> {
        check_names(&[channel])?;
        check_values([message].into_iter())?;
        self.connection.command(&Cmd::publish(self.key("channel", channel), message)).await
    }
}

impl HotStore for RedisHot {
    fn put_sessions<'a>(&'a self, sessions: &'a [(i64, Vec<u8>)]) -> HotFuture<'a, ()> {
        Box::pin(self.put_sessions_in_redis(sessions))
    }

    fn session(&self, character: i64) -> HotFuture<'_, Option<Vec<u8>>> {
        Box::pin(async move { self.connection.command(&Cmd::get(self.key("session", character))).await })
    }

    fn end_sessions<'a>(&'a self, node: &'a str, characters: &'a [i64]) -> HotFuture<'a, ()> {
        Box::pin(async move {
            if characters.is_empty() {
                return Ok(());
            }
            let mut call = self.end.prepare_invoke();
            call.arg(node);
            for character in characters {
                call.key(self.key("session", character));
            }
            self.connection.script::<u64>(&call).await?;
            Ok(())
        })
    }

    fn put_positions<'a>(&'a self, zone: u16, positions: &'a [Position]) -> HotFuture<'a, ()> {
        Box::pin(self.put_positions_in_redis(zone, positions))
    }

    fn near(
        &self,
        zone: u16,
        x_m: f64,
        y_m: f64,
        radius_m: f64,
        count_max: usize,
    ) -> HotFuture<'_, Vec<Near>> {
        Box::pin(self.near_in_redis(zone, (x_m, y_m), radius_m, count_max))
    }

    fn push_chat<'a>(&'a self, channel: &'a str, lines: &'a [Vec<u8>]) -> HotFuture<'a, ()> {
        Box::pin(self.push_chat_in_redis(channel, lines))
    }

    fn recent_chat<'a>(&'a self, channel: &'a str, lines_max: usize) -> HotFuture<'a, Vec<Vec<u8>>> {
        Box::pin(async move {
            check_names(&[channel])?;
            if lines_max == 0 {
                return Ok(Vec::new());
            }
            let first = -isize::try_from(lines_max).unwrap_or(isize::MAX);
            self.connection.command(&Cmd::lrange(self.key("chat", channel), first, -1)).await
        })
    }

    fn settle<'a>(&'a self, bucket: &'a str, rule: BucketRule, spent: u32) -> HotFuture<'a, Bucket> {
        Box::pin(self.settle_in_redis(bucket, rule, spent))
    }

    fn beat<'a>(&'a self, node: &'a str, description: &'a [u8]) -> HotFuture<'a, ()> {
        Box::pin(self.beat_in_redis(node, description))
    }

    fn nodes(&self) -> HotFuture<'_, BTreeMap<String, Vec<u8>>> {
        Box::pin(self.nodes_in_redis())
    }

    fn publish<'a>(&'a self, channel: &'a str, message: &'a [u8]) -> HotFuture<'a, ()> {
        Box::pin(self.publish_in_redis(channel, message))
    }

    fn subscribe<'a>(&'a self, channel: &'a str) -> HotFuture<'a, Subscription> {
        Box::pin(async move {
            check_names(&[channel])?;
            self.connection.subscribe(self.key("channel", channel)).await
        })
    }

    fn append<'a>(&'a self, stream: &'a str, after: EventId, events: &'a [Event]) -> HotFuture<'a, u64> {
        Box::pin(async move {
            check_names(&[stream])?;
            check_events(after, events)?;
            if events.is_empty() {
                return Ok(0);
            }
            let mut call = self.append.prepare_invoke();
            call.key(self.key("stream", stream)).arg(self.lifetimes.stream_events);
            call.arg(after.sequence).arg(after.index);
            for event in events {
                call.arg(event.id.to_string()).arg(event.body.as_slice());
            }
            let added: i64 = self.connection.script(&call).await?;
            u64::try_from(added).map_err(|_| HotError::Behind)
        })
    }

    fn last_event<'a>(&'a self, stream: &'a str) -> HotFuture<'a, EventId> {
        Box::pin(async move {
            check_names(&[stream])?;
            events::last(&self.connection, &self.key("stream", stream)).await
        })
    }

    fn create_group<'a>(&'a self, stream: &'a str, group: &'a str) -> HotFuture<'a, ()> {
        Box::pin(async move {
            check_names(&[stream, group])?;
            events::create_group(&self.connection, &self.key("stream", stream), group).await
        })
    }

    fn read_group<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        consumer: &'a str,
        count_max: usize,
    ) -> HotFuture<'a, Vec<Event>> {
        Box::pin(async move {
            check_names(&[stream, group, consumer])?;
            events::read(&self.connection, &self.key("stream", stream), (group, consumer), count_max).await
        })
    }

    fn claim<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        consumer: &'a str,
        idle: Duration,
        count_max: usize,
    ) -> HotFuture<'a, Vec<Event>> {
        Box::pin(async move {
            check_names(&[stream, group, consumer])?;
            let key = self.key("stream", stream);
            events::claim(&self.connection, &key, (group, consumer), millis(idle), count_max).await
        })
    }

    fn acknowledge<'a>(&'a self, stream: &'a str, group: &'a str, ids: &'a [EventId]) -> HotFuture<'a, u64> {
        Box::pin(async move {
            check_names(&[stream, group])?;
            if ids.is_empty() {
                return Ok(0);
            }
            let mut ack = ::redis::cmd("XACK");
            ack.arg(self.key("stream", stream)).arg(group);
            for id in ids {
                ack.arg(id.to_string());
            }
            self.connection.command(&ack).await
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A place in a zone, laid upon the sphere beside the equator, where a degree east is as long as one south.
fn degrees(x_m: f64, y_m: f64) -> (f64, f64) {
    (x_m / METRES_PER_DEGREE, -y_m / METRES_PER_DEGREE)
}

fn hot_error(error: &::redis::RedisError) -> HotError {
    match error.kind() {
        ErrorKind::Server(
            ServerErrorKind::ResponseError | ServerErrorKind::ExecAbort | ServerErrorKind::NoScript,
        )
        | ErrorKind::Extension
        | ErrorKind::UnexpectedReturnType
        | ErrorKind::Parse => HotError::Refused(error.to_string()),
        _ => HotError::Away(error.to_string()),
    }
}
