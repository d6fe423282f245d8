//! What hot data is and what can be done with it.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;

/// The longest name of a node, channel, bucket, stream, group or consumer, in bytes.
pub const NAME_BYTES_MAX: usize = 200;
/// The longest session, line of chat, message, node's description or event, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 << 10;
/// How far a position may be from its zone's corner, along each axis, in metres.
pub const ZONE_METRES_MAX: f64 = 100_000.0;

/// How long hot data lives, and how much of it there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// A session, from when it was last put. Default 15 min.
    pub session: Duration,
    /// A character's position, from when it was last put. Default 5 min.
    pub position: Duration,
    /// A channel's chat, from its last line. Default 1 h.
    pub chat: Duration,
    /// How many lines of chat a channel keeps. Default 100.
    pub chat_lines: usize,
    /// A node, from its last beat. Default 30 s.
    pub node: Duration,
    /// About how many events a stream keeps, the oldest going first. Default 100,000.
    pub stream_events: usize,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            session: Duration::from_mins(15),
            position: Duration::from_mins(5),
            chat: Duration::from_hours(1),
            chat_lines: 100,
            node: Duration::from_secs(30),
            stream_events: 100_000,
        }
    }
}

/// Where a character is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    /// The character.
    pub character: i64,
    /// Metres east of the zone's north-western corner, 0 to [`ZONE_METRES_MAX`].
    pub x_m: f64,
    /// Metres south of it, 0 to [`ZONE_METRES_MAX`].
    pub y_m: f64,
}

/// Who was found near a place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Near {
    /// The character.
    pub character: i64,
    /// How far away, in metres, to within 1 m.
    pub distance_m: f64,
}

/// How a token bucket fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketRule {
    /// Tokens in a full bucket, 1 to 1,000,000.
    pub capacity: u32,
    /// How long an empty bucket takes to fill, 1 ms to 1 day.
    pub fills_in: Duration,
}

/// What is in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Tokens left, rounded down; less than none where more was spent than there was, to minus the
    /// capacity at the lowest.
    pub tokens: i64,
    /// How long until it holds a whole token; zero where it does.
    pub next_token: Duration,
}

/// An event's id: unique and rising within its stream. Its producer chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventId {
    /// The producer's sequence number, at least 1.
    pub sequence: u64,
    /// Which of the events of that number.
    pub index: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.sequence, self.index)
    }
}

/// An event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// What happened, as its producer wrote it.
    pub body: Vec<u8>,
}

/// Messages published to a channel since it was subscribed to.
#[derive(Debug)]
pub struct Subscription {
    pub(crate) messages: mpsc::Receiver<Vec<u8>>,
}

impl Subscription {
    /// Messages that may wait for a subscriber; one that lets more wait is cut off.
    pub const MESSAGES_MAX: usize = 1_024;

    /// The next message; none once the subscription is over, by a connection that broke or by this
    /// subscriber's slowness: what was published meanwhile is gone, and to go on is to subscribe again.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        self.messages.recv().await
    }
}

/// Why hot data was not read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HotError {
    /// Redis cannot be reached; what was asked may or may not have been done.
    #[error("Redis is away: {0}; hot data is not shared until it is back")]
    Away(String),
    /// Redis answered with an error.
    #[error("Redis refused: {0}")]
    Refused(String),
    /// A name, value, place or rule is out of its range.
    #[error("{0}")]
    Invalid(&'static str),
    /// The stream has not come as far as was said: events that were in it are gone.
    #[error("the stream has lost events that it had: begin again after its last one")]
    Behind,
    /// The stream has no such group: create it first.
    #[error("the stream has no such group of consumers: create it first")]
    NoGroup,
}

/// What a [`HotStore`] gives back: boxed, so that a node chooses its store when it starts.
pub type HotFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, HotError>> + Send + 'a>>;

/// Hot data. Both stores pass one suite of tests.
///
/// Every method errs with [`HotError::Away`] and [`HotError::Refused`] as Redis does, and with
/// [`HotError::Invalid`] where an argument is out of its range; then nothing was done.
pub trait HotStore: Send + Sync {
    /// Puts what is known of characters' sessions, each for [`Lifetimes::session`]: a JSON object whose `node` says where it is.
    fn put_sessions<'a>(&'a self, sessions: &'a [(i64, Vec<u8>)]) -> HotFuture<'a, ()>;
    /// What is known of a character's session.
    fn session(&self, character: i64) -> HotFuture<'_, Option<Vec<u8>>>;
    /// Forgets characters' sessions, those that are a node's. One that went on to another node is that one's to end.
    fn end_sessions<'a>(&'a self, node: &'a str, characters: &'a [i64]) -> HotFuture<'a, ()>;

    /// Puts characters' positions in a zone, each for [`Lifetimes::position`].
    fn put_positions<'a>(&'a self, zone: u16, positions: &'a [Position]) -> HotFuture<'a, ()>;
    /// Who is within `radius_m` metres of a place, nearest first, `count_max` of them at the most.
    fn near(
        &self,
        zone: u16,
        x_m: f64,
        y_m: f64,
        radius_m: f64,
        count_max: usize,
    ) -> HotFuture<'_, Vec<Near>>;

    /// Adds lines to a channel's chat, of which the last [`Lifetimes::chat_lines`] are kept.
    fn push_chat<'a>(&'a self, channel: &'a str, lines: &'a [Vec<u8>]) -> HotFuture<'a, ()>;
    /// The last lines of a channel's chat, `lines_max` of them at the most, oldest first.
    fn recent_chat<'a>(&'a self, channel: &'a str, lines_max: usize) -> HotFuture<'a, Vec<Vec<u8>>>;

    /// Takes what was spent, `0..=1,000,000` tokens, out of a bucket, and says what is left. It takes them
    /// whether there were as many or not: the caller has judged already, by what it last was told.
    fn settle<'a>(&'a self, bucket: &'a str, rule: BucketRule, spent: u32) -> HotFuture<'a, Bucket>;

    /// Says that a node lives, and how it is reached; holds for [`Lifetimes::node`].
    fn beat<'a>(&'a self, node: &'a str, description: &'a [u8]) -> HotFuture<'a, ()>;
    /// The nodes that live, by name.
    fn nodes(&self) -> HotFuture<'_, BTreeMap<String, Vec<u8>>>;

    /// Sends a message to whoever is subscribed to the channel now.
    fn publish<'a>(&'a self, channel: &'a str, message: &'a [u8]) -> HotFuture<'a, ()>;
    /// Receives the channel's messages from now on.
    fn subscribe<'a>(&'a self, channel: &'a str) -> HotFuture<'a, Subscription>;

    /// Adds events to a stream, in the order of their ids. Those up to the stream's last id are there
    /// already and are left out, so that a producer may repeat what it is not sure of. How many were new.
    ///
    /// # Errors
    /// [`HotError::Behind`] where the stream's last id is below `after`, as that of a Redis that was restarted empty: then
    /// nothing was added, so that a stream never has a gap that its producer does not know of.
    fn append<'a>(&'a self, stream: &'a str, after: EventId, events: &'a [Event]) -> HotFuture<'a, u64>;
    /// The id of the last event ever added to a stream; zeros before the first.
    fn last_event<'a>(&'a self, stream: &'a str) -> HotFuture<'a, EventId>;
    /// Creates a group of consumers that starts at the stream's first event; one that is there stays as it is.
    fn create_group<'a>(&'a self, stream: &'a str, group: &'a str) -> HotFuture<'a, ()>;
    /// Up to `count_max` events that no consumer of the group was given yet. They are this consumer's until
    /// acknowledged.
    fn read_group<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        consumer: &'a str,
        count_max: usize,
    ) -> HotFuture<'a, Vec<Event>>;
    /// Up to `count_max` events that a consumer of the group was given at least `idle` ago and has not
    /// acknowledged; from now on they are this consumer's.
    fn claim<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        consumer: &'a str,
        idle: Duration,
        count_max: usize,
    ) -> HotFuture<'a, Vec<Event>>;
    /// Says that events were dealt with. How many of them were waiting for it: none where there is no such group.
    fn acknowledge<'a>(&'a self, stream: &'a str, group: &'a str, ids: &'a [EventId]) -> HotFuture<'a, u64>;
}

/// Succeeds where every name is one that a store takes.
pub(crate) fn check_names(names: &[&str]) -> Result<(), HotError> {
    if names.iter().all(|name| (1..=NAME_BYTES_MAX).contains(&name.len())) {
        Ok(())
    } else {
        Err(HotError::Invalid("a name is empty or longer than 200 bytes"))
    }
}

/// Succeeds where every value is one that a store takes.
pub(crate) fn check_values<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<(), HotError> {
    if values.all(|value| value.len() <= VALUE_BYTES_MAX) {
        Ok(())
    } else {
        Err(HotError::Invalid("a value is longer than 64 KiB"))
    }
}

/// Succeeds where a place is one that a store takes.
pub(crate) fn check_place(x_m: f64, y_m: f64) -> Result<(), HotError> {
    if (0.0..=ZONE_METRES_MAX).contains(&x_m) && (0.0..=ZONE_METRES_MAX).contains(&y_m) {
        Ok(())
    } else {
        Err(HotError::Invalid("a place is outside of its zone: 0 to 100,000 m along each axis"))
    }
}

/// Succeeds where events can be added together: ids from 1 up, after another and rising, bodies within bounds.
pub(crate) fn check_events(after: EventId, events: &[Event]) -> Result<(), HotError> {
    check_values(events.iter().map(|event| event.body.as_slice()))?;
    if events.iter().any(|event| event.id.sequence == 0 || event.id.sequence > i64::MAX as u64) {
        return Err(HotError::Invalid("an event's sequence number is 0 or above 2^63 - 1"));
    }
    let ids = std::iter::once(after).chain(events.iter().map(|event| event.id));
    if ids.is_sorted_by(|a, b| a < b) {
        Ok(())
    } else {
        Err(HotError::Invalid("the events' ids do not rise"))
    }
}

impl BucketRule {
    /// Millionths of a token that come in a millisecond.
    const MICRO: i64 = 1_000_000;

    pub(crate) fn check(self, spent: u32) -> Result<(), HotError> {
        let fills = (Duration::from_millis(1)..=Duration::from_hours(24)).contains(&self.fills_in);
        if fills && (1..=1_000_000).contains(&self.capacity) && spent <= 1_000_000 {
            Ok(())
        } else {
            Err(HotError::Invalid(
                "a bucket holds 1 to 1,000,000 tokens, fills in 1 ms to a day, and is asked for at most 1,000,000",
            ))
        }
    }

    /// The capacity in millionths of a token.
    pub(crate) fn capacity_micro(self) -> i64 {
        i64::from(self.capacity) * Self::MICRO
    }

    /// Milliseconds that an empty bucket takes to fill.
    pub(crate) fn fills_ms(self) -> i64 {
        self.fills_in.as_millis() as i64
    }

    /// A bucket's content after `elapsed_ms` and after `spent` tokens were taken out, in millionths.
    pub(crate) fn after(self, micro: i64, elapsed_ms: i64, spent: u32) -> i64 {
        let capacity = self.capacity_micro();
        // Beyond twice the time to fill even the deepest debt is paid; the bound keeps products small.
        let elapsed_ms = elapsed_ms.clamp(0, 2 * self.fills_ms());
        let gained = i128::from(elapsed_ms) * i128::from(capacity) / i128::from(self.fills_ms());
        let filled = (micro + gained as i64).min(capacity);
        (filled - i64::from(spent) * Self::MICRO).max(-capacity)
    }

    /// What a content in millionths means.
    pub(crate) fn bucket(self, micro: i64) -> Bucket {
        let lacking = (Self::MICRO - micro).max(0) as u128;
        let next_ms = (lacking * self.fills_in.as_millis()).div_ceil(self.capacity_micro() as u128);
        Bucket { tokens: micro.div_euclid(Self::MICRO), next_token: Duration::from_millis(next_ms as u64) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: BucketRule = BucketRule { capacity: 60, fills_in: Duration::from_mins(1) };

    #[test]
    fn a_bucket_fills_with_time_and_empties_as_it_is_spent() {
        let cases = [
            // in the bucket, elapsed, spent, left, next token
            (60, 0, 1, 59, 0),
            (60, 1_000, 0, 60, 0),
            (0, 1_000, 0, 1, 0),
            (0, 500, 0, 0, 500),
            (0, 0, 5, -5, 6_000),
            (0, 0, 100, -60, 61_000),
            (-60, 60_000, 0, 0, 1_000),
            (-60, 1_000_000_000, 0, 60, 0),
            (10, -5_000, 0, 10, 0),
        ];
        for (tokens, elapsed_ms, spent, left, next_ms) in cases {
            let bucket = MINUTE.bucket(MINUTE.after(tokens * 1_000_000, elapsed_ms, spent));
            let expected = Bucket { tokens: left, next_token: Duration::from_millis(next_ms) };
            assert_eq!(bucket, expected, "{tokens} tokens, {elapsed_ms} ms, {spent} spent");
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        let rule = |capacity, ms| BucketRule { capacity, fills_in: Duration::from_millis(ms) };
        for (rule, spent, ok) in [
            (rule(1, 1), 0, true),
            (rule(1_000_000, 86_400_000), 1_000_000, true),
            (rule(0, 1), 0, false),
            (rule(1_000_001, 1), 0, false),
            (rule(1, 0), 0, false),
            (rule(1, 86_400_001), 0, false),
            (rule(1, 1), 1_000_001, false),
        ] {
            assert_eq!(rule.check(spent).is_ok(), ok, "{rule:?} {spent}");
        }
        for (name, ok) in [("", false), ("a", true), (&*"a".repeat(200), true), (&*"a".repeat(201), false)] {
            assert_eq!(check_names(&[name]).is_ok(), ok);
        }
        for (x_m, y_m, ok) in [(0.0, 100_000.0, true), (-0.1, 0.0, false), (0.0, f64::NAN, false)] {
            assert_eq!(check_place(x_m, y_m).is_ok(), ok);
        }
        let event = |sequence, index| Event { id: EventId { sequence, index }, body: Vec::new() };
        for (events, ok) in [
            (vec![], true),
            (vec![event(1, 0), event(1, 1), event(2, 0)], true),
            (vec![event(0, 1)], false),
            (vec![event(2, 0), event(1, 0)], false),
            (vec![event(1, 0), event(1, 0)], false),
        ] {
            assert_eq!(check_events(EventId::default(), &events).is_ok(), ok, "{events:?}");
        }
    }

    proptest! {
        /// Over any time a bucket gives at most what it held and what has come in since.
        #[test]
        fn a_bucket_gives_no_more_than_it_gets(
            capacity in 1u32..1_000, fills_ms in 1u64..100_000,
            takes in proptest::collection::vec((0i64..5_000, 0u32..50), 0..100),
        ) {
            let rule = BucketRule { capacity, fills_in: Duration::from_millis(fills_ms) };
            let mut micro = rule.capacity_micro();
            let (mut elapsed, mut spent) = (0, 0);
            for (ms, wanted) in takes {
                elapsed += ms;
                let before = rule.after(micro, ms, 0);
                // Whoever asks only for what is there never gets into debt.
                let granted = wanted.min(rule.bucket(before).tokens.max(0) as u32);
                micro = rule.after(micro, ms, granted);
                prop_assert!(micro >= 0);
                spent += u64::from(granted);
            }
            let most = u128::from(capacity) * (fills_ms as u128 + elapsed as u128) / u128::from(fills_ms);
            prop_assert!(u128::from(spent) <= most, "{spent} of {most}");
        }
    }
}
