use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use serde::de::DeserializeOwned;

use super::*;

const EVENTS: Topic = Topic::WorldEvents;
const NOTES: Topic = Topic::Notifications(7);

fn broker() -> Broker {
    Broker::new(1000, 0)
}

fn identity(account: i64) -> Identity {
    Identity { account, session: format!("s{account}"), expires_ms: None }
}

fn open(broker: &mut Broker, account: i64) -> ConnectionId {
    let id = broker.open("a", 0, Box::new(|| {})).unwrap();
    broker.identify(id, identity(account)).unwrap();
    id
}

/// A message as its name and its fields.
fn read<T: DeserializeOwned>(message: &Bytes) -> (String, T) {
    rmp_serde::from_slice(message).unwrap()
}

fn name(message: &Bytes) -> String {
    read::<serde::de::IgnoredAny>(message).0
}

fn taken(broker: &mut Broker, id: ConnectionId) -> Vec<Bytes> {
    let next = || match broker.take(id) {
        Taken::Message(message) => Some(message),
        Taken::Close(_) | Taken::Nothing => None,
    };
    std::iter::from_fn(next).collect()
}

/// What a connection is told, in short.
fn told(broker: &mut Broker, id: ConnectionId) -> Vec<String> {
    let short = |message: &Bytes| match name(message).as_str() {
        "Message" => {
            let (_, Message { seq, data, .. }) = read::<Message<u32>>(message);
            format!("{seq}: {data}")
        }
        "Subscribed" => {
            let (_, Subscribed { seq, gap, .. }) = read(message);
            format!("subscribed {seq}{}", if gap { " gap" } else { "" })
        }
        name => name.to_owned(),
    };
    taken(broker, id).iter().map(short).collect()
}

#[test]
fn who_subscribed_hears_what_is_said_from_then_on() {
    let mut broker = broker();
    let (one, other) = (open(&mut broker, 7), open(&mut broker, 8));
    broker.publish(EVENTS, &1, 0);
    broker.publish(NOTES, &1, 0);
    broker.subscribe(one, 5, EVENTS, None, 0).unwrap();
    broker.subscribe(one, 6, NOTES, None, 0).unwrap();
    broker.publish(EVENTS, &2, 0);
    broker.publish(NOTES, &3, 0);
    assert_eq!(told(&mut broker, one), ["subscribed 1", "subscribed 0", "2: 2", "1: 3"]);
    assert_eq!(told(&mut broker, other), [""; 0]);
    broker.unsubscribe(one, 9, EVENTS, 0).unwrap();
    broker.publish(EVENTS, &4, 0);
    assert_eq!(told(&mut broker, one), ["Unsubscribed"]);
    assert_eq!(broker.figures().queued, 2);
}

#[test]
fn what_cannot_be_asked_is_refused_and_changes_nothing() {
    let mut broker = broker();
    let one = open(&mut broker, 7);
    let nobody = broker.open("a", 0, Box::new(|| {})).unwrap();
    assert_eq!(broker.subscribe(nobody, 1, EVENTS, None, 0), Err(Refusal::Forbidden));
    assert_eq!(broker.unsubscribe(one, 1, EVENTS, 0), Err(Refusal::NotSubscribed));
    broker.subscribe(one, 1, EVENTS, None, 0).unwrap();
    assert_eq!(broker.subscribe(one, 1, EVENTS, None, 0), Err(Refusal::AlreadySubscribed));
    for id in 1..SUBSCRIPTIONS_MAX as i64 {
        broker.subscribe(one, 1, Topic::Position(id), None, 0).unwrap();
    }
    assert_eq!(broker.subscribe(one, 1, NOTES, None, 0), Err(Refusal::TooManySubscriptions));
    assert_eq!(broker.topics(one).len(), SUBSCRIPTIONS_MAX);
}

#[test]
fn there_are_so_many_connections_and_topics_and_no_more() {
    let mut broker = broker();
    let mut ids = Vec::new();
    for nth in 0..CONNECTIONS_MAX {
        let site = (nth / SITE_CONNECTIONS_MAX).to_string();
        if nth == SITE_CONNECTIONS_MAX {
            assert_eq!(broker.open("0", 0, Box::new(|| {})), Err(Crowded::Site));
        }
        let id = broker.open(&site, 0, Box::new(|| {})).unwrap();
        broker.identify(id, identity((nth / ACCOUNT_CONNECTIONS_MAX) as i64)).unwrap();
        ids.push(id);
    }
    assert_eq!(broker.open("new", 0, Box::new(|| {})), Err(Crowded::Server));
    broker.remove(ids[0], 0);
    let id = broker.open("0", 0, Box::new(|| {})).unwrap();
    assert_eq!(broker.identify(id, identity(1)), Err(CloseReason::TooManyConnections));
    assert_eq!(broker.take(id), Taken::Close(CloseReason::TooManyConnections));
    let mut topics = (1..).map(Topic::Position);
    let rooms = TOPICS_MAX - broker.figures().topics as usize;
    for (nth, topic) in topics.by_ref().take(rooms).enumerate() {
        broker.subscribe(ids[1 + nth / SUBSCRIPTIONS_MAX], 1, topic, None, 0).unwrap();
    }
    let last = topics.next().unwrap();
    assert_eq!(broker.subscribe(ids[500], 1, last, None, 0), Err(Refusal::Busy));
    broker.remove(ids[1], 0);
    assert_eq!(broker.subscribe(ids[500], 1, last, None, LINGER_MS - 1), Err(Refusal::Busy));
    assert_eq!(broker.subscribe(ids[500], 1, last, None, LINGER_MS), Ok(()));
}

#[test]
fn a_connection_stays_its_accounts() {
    let mut broker = broker();
    let id = open(&mut broker, 7);
    let fresh = Identity { expires_ms: Some(9), ..identity(7) };
    broker.identify(id, fresh.clone()).unwrap();
    assert_eq!(broker.identity(id), Some(&fresh));
    assert_eq!(broker.identify(id, identity(8)), Err(CloseReason::Unauthorized));
    assert_eq!(broker.closing(id), Some(CloseReason::Unauthorized));
    let (one, other) = (open(&mut broker, 7), open(&mut broker, 8));
    broker.close_all(CloseReason::SessionEnded, |known| known.is_some_and(|known| known.session == "s7"));
    assert_eq!((broker.closing(one), broker.closing(other)), (Some(CloseReason::SessionEnded), None));
    assert_eq!(broker.closing(id), Some(CloseReason::Unauthorized), "the first reason counts");
}

#[test]
fn who_does_not_read_is_let_go_and_its_queue_with_it() {
    for length in [1, 3000] {
        let mut broker = broker();
        let (slow, quick) = (open(&mut broker, 7), open(&mut broker, 8));
        broker.subscribe(slow, 1, EVENTS, None, 0).unwrap();
        broker.subscribe(quick, 1, EVENTS, None, 0).unwrap();
        taken(&mut broker, quick);
        let said = "x".repeat(length);
        let most = QUEUE_MESSAGES_MAX.min(QUEUE_BYTES_MAX / length);
        for nth in 1..=most + 1 {
            broker.publish(EVENTS, &said, 0);
            assert_eq!(taken(&mut broker, quick).len(), 1, "{nth}");
        }
        assert_eq!(broker.take(slow), Taken::Close(CloseReason::SlowSubscriber));
        assert_eq!(broker.figures().slow, 1);
        assert_eq!(broker.closing(quick), None);
        broker.remove(slow, 0);
        broker.publish(EVENTS, &said, 0);
        assert_eq!(taken(&mut broker, quick).len(), 1);
    }
}

#[test]
fn who_asks_too_often_is_let_go() {
    let mut broker = broker();
    let id = open(&mut broker, 7);
    for _ in 0..REQUESTS_AT_ONCE {
        broker.count_request(id, 1000);
    }
    assert_eq!(broker.closing(id), None);
    broker.count_request(id, 1100);
    assert_eq!(broker.closing(id), None, "one came back");
    broker.count_request(id, 1100);
    assert_eq!(broker.closing(id), Some(CloseReason::Flood));
}

#[test]
fn what_is_lost_for_all_is_told_to_all() {
    let mut broker = broker();
    let id = open(&mut broker, 7);
    let (mine, others) = (Topic::Inventory(1), Topic::Inventory(2));
    broker.subscribe(id, 1, mine, None, 0).unwrap();
    broker.subscribe(id, 1, others, None, 0).unwrap();
    broker.publish(mine, &1, 0);
    broker.tear(|topic| topic == mine);
    broker.publish(mine, &2, 0);
    broker.publish(others, &3, 0);
    assert_eq!(told(&mut broker, id), ["subscribed 0", "subscribed 0", "1: 1", "Gap", "2: 2", "1: 3"]);
    // One that is too long is as lost.
    broker.publish(mine, &vec![0u32; MESSAGE_BYTES_MAX], 0);
    broker.publish(mine, &4, 0);
    assert_eq!(told(&mut broker, id), ["Gap", "3: 4"]);
    assert_eq!(broker.figures().torn, 2);
}

#[test]
fn topics_of_characters_are_watched_while_somebody_hears_them_and_a_while_after() {
    let mut broker = broker();
    let id = open(&mut broker, 7);
    let (version, watched) = broker.watched(None, 0).unwrap();
    assert_eq!((broker.watched(Some(version), 0), watched), (None, vec![]));
    broker.subscribe(id, 1, Topic::Position(5), None, 0).unwrap();
    broker.subscribe(id, 1, Topic::Inventory(5), None, 0).unwrap();
    broker.subscribe(id, 1, Topic::Combat(6), None, 0).unwrap();
    let (version, watched) = broker.watched(Some(version), 0).unwrap();
    assert_eq!(watched, [Watched { account: 7, character: 5, position: true, inventory: true }]);
    broker.remove(id, 1000);
    assert_eq!(broker.watched(Some(version), 1000 + LINGER_MS - 1), None);
    // Somebody else's since then.
    let other = open(&mut broker, 8);
    broker.subscribe(other, 1, Topic::Position(5), None, 1000).unwrap();
    let (version, watched) = broker.watched(Some(version), 1000).unwrap();
    assert_eq!(watched, [Watched { account: 8, character: 5, position: true, inventory: true }]);
    broker.remove(other, 1000);
    assert_eq!(broker.watched(Some(version), 1000 + LINGER_MS).unwrap().1, []);
    assert_eq!(broker.figures().topics, 2, "two are kept always");
}

#[test]
fn whoever_has_something_to_take_is_woken() {
    let mut broker = broker();
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = woken.clone();
    let wake = Box::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let id = broker.open("a", 0, wake).unwrap();
    broker.identify(id, identity(7)).unwrap();
    broker.subscribe(id, 1, EVENTS, None, 0).unwrap();
    broker.publish(EVENTS, &1, 0);
    assert_eq!(woken.load(Ordering::Relaxed), 2);
    broker.close(id, CloseReason::Silent);
    broker.publish(EVENTS, &1, 0);
    assert_eq!(woken.load(Ordering::Relaxed), 3);
}

#[test]
fn close_codes_are_each_ones_own() {
    let codes: BTreeMap<u16, &str> =
        CloseReason::ALL.iter().map(|reason| (reason.status(), reason.code())).collect();
    assert_eq!(codes.len(), CloseReason::ALL.len());
    assert_eq!(codes[&4001], "slow_subscriber");
    assert_eq!(codes[&4009], "shutting_down");
}

/// A client that comes and goes.
#[derive(Default)]
struct Listener {
    connection: Option<ConnectionId>,
    /// Where it stands, once it ever subscribed.
    place: Option<Place>,
    /// What it heard since the last gap: the numbers that were published.
    heard: Vec<u32>,
    /// The next number that it must hear if nothing is missing; none at the beginning and after a gap.
    next: Option<u32>,
}

impl Listener {
    /// Reads up to `most` of what waits. What is left is lost if the connection goes.
    fn read(&mut self, broker: &mut Broker, most: usize) -> Result<(), TestCaseError> {
        let Some(id) = self.connection else { return Ok(()) };
        for _ in 0..most {
            match broker.take(id) {
                Taken::Nothing => break,
                Taken::Close(reason) => {
                    prop_assert_eq!(reason, CloseReason::SlowSubscriber);
                    broker.remove(id, 0);
                    self.connection = None;
                    break;
                }
                Taken::Message(message) => self.hear(&message)?,
            }
        }
        Ok(())
    }

    fn hear(&mut self, message: &Bytes) -> Result<(), TestCaseError> {
        match name(message).as_str() {
            "Subscribed" => {
                let (_, Subscribed { epoch, seq, gap, .. }) = read(message);
                if gap || self.place.is_none() {
                    self.next = None;
                } else {
                    prop_assert_eq!(self.place, Some(Place { epoch, seq }), "it goes on where it was");
                }
                self.place = Some(Place { epoch, seq });
            }
            "Gap" => {
                let (_, Gap { epoch, seq, .. }) = read(message);
                (self.place, self.next) = (Some(Place { epoch, seq }), None);
            }
            _ => {
                let (_, Message { seq, data, .. }) = read::<Message<u32>>(message);
                let place = self.place.as_mut().expect("it is subscribed");
                place.seq += 1;
                prop_assert_eq!(place.seq, seq, "numbers have no hole");
                prop_assert!(self.next.is_none_or(|next| next == data), "{data} after {:?}", self.next);
                prop_assert!(self.heard.last().is_none_or(|last| *last < data), "once, and in order");
                self.next = Some(data + 1);
                self.heard.push(data);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is published, lost, read and broken in between: each message is heard once and in order, or the gap is told.
    #[test]
    fn every_message_is_heard_once_or_the_gap_is_told(acts in prop::collection::vec((0..8u8, 0..100usize), 1..120)) {
        let mut broker = broker();
        let topic = Topic::Notifications(7);
        let mut listeners = [Listener::default(), Listener::default()];
        let (mut published, mut now_ms) = (0u32, 0);
        // Somebody who hears all keeps the topic.
        let keeper = open(&mut broker, 7);
        broker.subscribe(keeper, 1, topic, None, 0).unwrap();
        for (act, much) in acts {
            let listener = &mut listeners[much % 2];
            match act {
                0 | 1 => for _ in 0..much % 40 {
                    broker.publish(topic, &published, now_ms);
                    published += 1;
                },
                2 | 3 => listener.read(&mut broker, much)?,
                4 => if let Some(id) = listener.connection.take() {
                    broker.remove(id, now_ms);
                },
                5 | 6 => if listener.connection.is_none() {
                    let id = open(&mut broker, 7);
                    broker.subscribe(id, 1, topic, listener.place, now_ms).unwrap();
                    listener.connection = Some(id);
                },
                _ => if much < 10 {
                    // What is lost was published by nobody's reckoning.
                    published += 1;
                    broker.tear(|torn| torn == topic);
                } else {
                    now_ms += 1000;
                },
            }
            taken(&mut broker, keeper);
        }
        for listener in &mut listeners {
            if listener.connection.is_none() {
                let id = open(&mut broker, 7);
                broker.subscribe(id, 1, topic, listener.place, now_ms).unwrap();
                listener.connection = Some(id);
            }
            listener.read(&mut broker, usize::MAX)?;
            // Who is not closed has heard all there is.
            if listener.connection.is_some() && listener.next.is_some() {
                prop_assert_eq!(listener.next, Some(published));
            }
        }
    }
}
