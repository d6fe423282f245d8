//! One suite for every store of hot data: what the in-process twin does, Redis does.

use std::time::Duration;

use vyuha_hot::{
    Bucket, BucketRule, Event, EventId, HotError, HotStore, Lifetimes, MemoryHot, NAME_BYTES_MAX, Position,
    VALUE_BYTES_MAX,
};
use vyuha_test_redis::RedisServer;

use super::server::hot_at;

/// Short enough to wait for, long enough that a busy machine keeps within them.
const SHORT: Duration = Duration::from_millis(1_500);

/// Before any event.
const START: EventId = EventId { sequence: 0, index: 0 };

fn lifetimes() -> Lifetimes {
    Lifetimes {
        session: SHORT,
        position: SHORT,
        chat: SHORT,
        chat_lines: 5,
        node: SHORT,
        stream_events: 1_000,
    }
}

/// Runs a test on each store.
fn on_each<T: Future<Output = ()>>(test: impl Fn(Box<dyn HotStore>) -> T) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test(Box::new(MemoryHot::new(lifetimes()))));
    let server = RedisServer::start();
    runtime.block_on(test(Box::new(hot_at(&server.url(), lifetimes(), Duration::from_secs(5)))));
}

async fn expire() {
    tokio::time::sleep(SHORT + Duration::from_millis(50)).await;
}

fn event(sequence: u64, index: u64) -> Event {
    Event { id: EventId { sequence, index }, body: format!("{sequence}/{index}").into_bytes() }
}

fn ids(events: &[Event]) -> Vec<(u64, u64)> {
    assert!(events.iter().all(|e| e.body == format!("{}/{}", e.id.sequence, e.id.index).into_bytes()));
    events.iter().map(|event| (event.id.sequence, event.id.index)).collect()
}

#[test]
fn sessions_are_put_read_ended_and_expire() {
    on_each(async |hot| {
        hot.put_sessions(&[]).await.unwrap();
        let on = |node: &str| format!(r#"{{"node":"{node}"}}"#).into_bytes();
        hot.put_sessions(&[(1, on("east")), (-2, vec![0, 255]), (4, on("west"))]).await.unwrap();
        assert_eq!(hot.session(1).await.unwrap(), Some(on("east")));
        assert_eq!(hot.session(-2).await.unwrap(), Some(vec![0, 255]));
        assert_eq!(hot.session(3).await.unwrap(), None);
        hot.put_sessions(&[(1, on("west"))]).await.unwrap();
        assert_eq!(hot.session(1).await.unwrap(), Some(on("west")));
        // What is another node's by now, or nobody's, stays.
        hot.end_sessions("east", &[1, -2, 3]).await.unwrap();
        assert_eq!(hot.session(1).await.unwrap(), Some(on("west")));
        hot.end_sessions("west", &[]).await.unwrap();
        hot.end_sessions("west", &[1, -2, 3]).await.unwrap();
        assert_eq!(hot.session(1).await.unwrap(), None);
        assert_eq!(hot.session(4).await.unwrap(), Some(on("west")));
        assert_eq!(hot.session(-2).await.unwrap(), Some(vec![0, 255]));
        expire().await;
        assert_eq!(hot.session(-2).await.unwrap(), None);
    });
}

#[test]
fn who_is_near_is_found_nearest_first_until_it_expires() {
    on_each(async |hot| {
        let at = |character, x_m, y_m| Position { character, x_m, y_m };
        hot.put_positions(1, &[at(10, 100.0, 100.0), at(11, 130.0, 140.0), at(12, 5_000.0, 5_000.0)])
            .await
            .unwrap();
        hot.put_positions(2, &[at(20, 100.0, 100.0)]).await.unwrap();
        hot.put_positions(2, &[]).await.unwrap();
        let near = hot.near(1, 100.0, 100.0, 60.0, 10).await.unwrap();
        assert_eq!(near.iter().map(|near| near.character).collect::<Vec<_>>(), [10, 11]);
        assert!(near[0].distance_m < 1.0 && (near[1].distance_m - 50.0).abs() < 1.0, "{near:?}");
        assert_eq!(hot.near(1, 100.0, 100.0, 60.0, 1).await.unwrap().len(), 1);
        assert_eq!(hot.near(1, 100.0, 100.0, 60.0, 0).await.unwrap(), []);
        assert_eq!(hot.near(1, 100.0, 100.0, -1.0, 10).await.unwrap(), []);
        assert_eq!(hot.near(1, 100.0, 100.0, 45.0, 10).await.unwrap().len(), 1);
        assert_eq!(hot.near(3, 100.0, 100.0, 60.0, 10).await.unwrap(), []);
        // Who moves is where he was put last; far from the corner distances hold as well.
        hot.put_positions(1, &[at(10, 99_000.0, 99_000.0), at(13, 99_300.0, 99_400.0)]).await.unwrap();
        let near = hot.near(1, 99_000.0, 99_000.0, 600.0, 10).await.unwrap();
        assert_eq!(near.iter().map(|near| near.character).collect::<Vec<_>>(), [10, 13]);
        assert!((near[1].distance_m - 500.0).abs() < 1.0, "{near:?}");
        assert_eq!(hot.near(1, 100.0, 100.0, 60.0, 10).await.unwrap().len(), 1);
        expire().await;
        hot.put_positions(1, &[at(14, 99_000.0, 99_000.0)]).await.unwrap();
        let near = hot.near(1, 99_000.0, 99_000.0, 600.0, 10).await.unwrap();
        assert_eq!(near.iter().map(|near| near.character).collect::<Vec<_>>(), [14]);
        assert_eq!(hot.near(2, 100.0, 100.0, 60.0, 10).await.unwrap(), []);
    });
}

#[test]
fn chat_keeps_its_last_lines_for_a_while() {
    on_each(async |hot| {
        assert_eq!(hot.recent_chat("world", 100).await.unwrap(), Vec::<Vec<u8>>::new());
        hot.push_chat("world", &[]).await.unwrap();
        hot.push_chat("world", &[b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]).await.unwrap();
        hot.push_chat("world", &[b"d".to_vec(), b"e".to_vec(), b"f".to_vec()]).await.unwrap();
        hot.push_chat("guild", &[b"x".to_vec()]).await.unwrap();
        let lines = hot.recent_chat("world", 100).await.unwrap();
        assert_eq!(lines, [b"b", b"c", b"d", b"e", b"f"].map(|line| line.to_vec()));
        assert_eq!(hot.recent_chat("world", 2).await.unwrap(), [b"e", b"f"].map(|line| line.to_vec()));
        assert_eq!(hot.recent_chat("world", 0).await.unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(hot.recent_chat("world", usize::MAX).await.unwrap().len(), 5);
        expire().await;
        assert_eq!(hot.recent_chat("world", 100).await.unwrap(), Vec::<Vec<u8>>::new());
    });
}

#[test]
fn a_bucket_is_settled() {
    on_each(async |hot| {
        let slow = BucketRule { capacity: 10, fills_in: Duration::from_hours(24) };
        let next = |bucket: Bucket| bucket.next_token.as_secs();
        assert_eq!(hot.settle("a", slow, 0).await.unwrap().tokens, 10);
        let bucket = hot.settle("a", slow, 9).await.unwrap();
        // A token takes 8,640 s, so that hardly anything comes in while the test runs.
        assert_eq!((bucket.tokens, next(bucket)), (1, 0));
        let bucket = hot.settle("a", slow, 3).await.unwrap();
        assert!(bucket.tokens == -2 && (25_800..=25_920).contains(&next(bucket)), "{bucket:?}");
        assert_eq!(hot.settle("a", slow, 1_000_000).await.unwrap().tokens, -10);
        assert_eq!(hot.settle("b", slow, 1).await.unwrap().tokens, 9);
        let fast = BucketRule { capacity: 1_000, fills_in: Duration::from_secs(1) };
        assert!(hot.settle("c", fast, 1_000).await.unwrap().tokens < 900);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!((250..=1_000).contains(&hot.settle("c", fast, 0).await.unwrap().tokens));
    });
}

#[test]
fn nodes_live_as_long_as_they_beat() {
    on_each(async |hot| {
        assert!(hot.nodes().await.unwrap().is_empty());
        hot.beat("n1", b"10.0.0.1").await.unwrap();
        hot.beat("n2", b"10.0.0.2").await.unwrap();
        hot.beat("n1", b"10.0.0.3").await.unwrap();
        let nodes = hot.nodes().await.unwrap();
        let expected = [("n1".to_owned(), b"10.0.0.3".to_vec()), ("n2".to_owned(), b"10.0.0.2".to_vec())];
        assert_eq!(nodes, expected.into());
        tokio::time::sleep(SHORT * 2 / 3).await;
        hot.beat("n2", b"10.0.0.2").await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(hot.nodes().await.unwrap().into_keys().collect::<Vec<_>>(), ["n2"]);
        hot.beat("n1", b"back").await.unwrap();
        assert_eq!(hot.nodes().await.unwrap().len(), 2);
    });
}

#[test]
fn messages_reach_who_is_subscribed() {
    on_each(async |hot| {
        hot.publish("news", b"nobody hears").await.unwrap();
        let mut first = hot.subscribe("news").await.unwrap();
        let mut second = hot.subscribe("news").await.unwrap();
        let mut other = hot.subscribe("olds").await.unwrap();
        hot.publish("news", b"one").await.unwrap();
        drop(second.next().await);
        drop(second);
        hot.publish("news", &[0, 255]).await.unwrap();
        hot.publish("olds", b"old").await.unwrap();
        assert_eq!(first.next().await, Some(b"one".to_vec()));
        assert_eq!(first.next().await, Some(vec![0, 255]));
        assert_eq!(other.next().await, Some(b"old".to_vec()));
    });
}

#[test]
fn a_subscriber_that_does_not_listen_is_cut_off() {
    on_each(async |hot| {
        let mut slow = hot.subscribe("news").await.unwrap();
        for i in 0..2_000u32 {
            hot.publish("news", &i.to_le_bytes()).await.unwrap();
        }
        // Redis's messages come by another connection: they need not be here when they were published.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut got = 0u32;
        while let Some(message) = tokio::time::timeout(Duration::from_secs(5), slow.next()).await.unwrap() {
            assert_eq!(message, got.to_le_bytes());
            got += 1;
        }
        assert_eq!(got, 1_024);
    });
}

#[test]
fn an_event_is_in_its_stream_once() {
    on_each(async |hot| {
        assert_eq!(hot.last_event("s").await.unwrap(), EventId::default());
        assert_eq!(hot.append("s", START, &[]).await.unwrap(), 0);
        assert_eq!(hot.append("s", START, &[event(1, 0), event(1, 1), event(3, 0)]).await.unwrap(), 3);
        assert_eq!(
            hot.append("s", START, &[event(1, 1), event(2, 7), event(3, 0), event(3, 1)]).await.unwrap(),
            1
        );
        assert_eq!(hot.last_event("s").await.unwrap(), EventId { sequence: 3, index: 1 });
        hot.create_group("s", "g").await.unwrap();
        let events = hot.read_group("s", "g", "c", 100).await.unwrap();
        assert_eq!(ids(&events), [(1, 0), (1, 1), (3, 0), (3, 1)]);
    });
}

#[test]
fn a_stream_that_lost_events_takes_none_that_come_after_them() {
    on_each(async |hot| {
        let id = |sequence, index| EventId { sequence, index };
        assert_eq!(hot.append("s", id(2, 0), &[event(3, 0)]).await, Err(HotError::Behind));
        assert_eq!(hot.last_event("s").await.unwrap(), START);
        hot.append("s", START, &[event(9, 1), event(10, 0)]).await.unwrap();
        for after in [id(10, 1), id(11, 0), id(1 << 60, 0)] {
            let next = event(after.sequence + 1, 0);
            assert_eq!(hot.append("s", after, &[next]).await, Err(HotError::Behind), "{after}");
        }
        // Further than was said is no loss, by number and not by its digits.
        assert_eq!(hot.append("s", id(9, 1), &[event(10, 0), event(10, 9)]).await.unwrap(), 1);
        assert_eq!(hot.append("s", id(10, 9), &[event(10, 10), event(1 << 60, 0)]).await.unwrap(), 2);
        assert_eq!(hot.append("s", id(1 << 60, 0), &[event(1 << 62, 0)]).await.unwrap(), 1);
        // Of a stream with a group and no event it is the same.
        hot.create_group("t", "g").await.unwrap();
        assert_eq!(hot.append("t", id(1, 0), &[event(2, 0)]).await, Err(HotError::Behind));
        assert_eq!(hot.append("t", START, &[event(2, 0)]).await.unwrap(), 1);
    });
}

#[test]
fn a_group_shares_a_streams_events_until_they_are_acknowledged() {
    on_each(async |hot| {
        assert_eq!(hot.read_group("s", "g", "a", 1).await, Err(HotError::NoGroup));
        assert_eq!(hot.claim("s", "g", "a", Duration::ZERO, 1).await, Err(HotError::NoGroup));
        assert_eq!(hot.acknowledge("s", "g", &[event(1, 0).id]).await, Ok(0));
        hot.create_group("s", "g").await.unwrap();
        assert_eq!(hot.read_group("s", "g", "a", 10).await.unwrap(), []);
        let events: Vec<Event> = (1..=6).map(|sequence| event(sequence, 0)).collect();
        hot.append("s", START, &events).await.unwrap();
        assert_eq!(ids(&hot.read_group("s", "g", "a", 2).await.unwrap()), [(1, 0), (2, 0)]);
        assert_eq!(hot.read_group("s", "g", "a", 0).await.unwrap(), []);
        assert_eq!(ids(&hot.read_group("s", "g", "b", 3).await.unwrap()), [(3, 0), (4, 0), (5, 0)]);
        // A group that is created again stays as it is; another one begins at the beginning.
        hot.create_group("s", "g").await.unwrap();
        assert_eq!(ids(&hot.read_group("s", "g", "b", 3).await.unwrap()), [(6, 0)]);
        hot.create_group("s", "h").await.unwrap();
        assert_eq!(hot.read_group("s", "h", "a", 9).await.unwrap().len(), 6);

        assert_eq!(hot.acknowledge("s", "g", &[]).await.unwrap(), 0);
        assert_eq!(
            hot.acknowledge("s", "g", &[event(1, 0).id, event(3, 0).id, event(9, 0).id]).await.unwrap(),
            2
        );
        assert_eq!(hot.acknowledge("s", "g", &[event(1, 0).id]).await.unwrap(), 0);
        assert_eq!(hot.claim("s", "g", "b", Duration::from_mins(1), 9).await.unwrap(), []);
        tokio::time::sleep(Duration::from_millis(60)).await;
        let claimed = hot.claim("s", "g", "b", Duration::from_millis(50), 3).await.unwrap();
        assert_eq!(ids(&claimed), [(2, 0), (4, 0), (5, 0)]);
        // What was claimed is not idle any more.
        let claimed = hot.claim("s", "g", "a", Duration::from_millis(50), 9).await.unwrap();
        assert_eq!(ids(&claimed), [(6, 0)]);
    });
}

#[test]
fn a_stream_keeps_its_latest_events() {
    on_each(async |hot| {
        for hundred in 0..30 {
            let events: Vec<Event> = (1..=100).map(|i| event(hundred * 100 + i, 0)).collect();
            assert_eq!(hot.append("s", START, &events).await.unwrap(), 100);
        }
        hot.create_group("s", "g").await.unwrap();
        let events = hot.read_group("s", "g", "c", 10_000).await.unwrap();
        assert!((1_000..=1_200).contains(&events.len()), "{}", events.len());
        assert_eq!(events.last().unwrap().id.sequence, 3_000);
    });
}

#[test]
fn what_is_out_of_range_is_refused_and_changes_nothing() {
    on_each(async |hot| {
        let invalid = |result: Result<(), HotError>| matches!(result, Err(HotError::Invalid(_)));
        let (long, big) = ("n".repeat(NAME_BYTES_MAX + 1), vec![0; VALUE_BYTES_MAX + 1]);
        assert!(invalid(hot.put_sessions(&[(1, Vec::new()), (2, big.clone())]).await));
        assert_eq!(hot.session(1).await.unwrap(), None);
        let outside = Position { character: 1, x_m: 1.0, y_m: 100_001.0 };
        assert!(invalid(hot.put_positions(1, &[Position { y_m: 1.0, ..outside }, outside]).await));
        assert_eq!(hot.near(1, 1.0, 1.0, 10.0, 10).await.unwrap(), []);
        assert!(invalid(hot.near(1, -1.0, 1.0, 10.0, 10).await.map(drop)));
        assert!(invalid(hot.push_chat("c", &[b"a".to_vec(), big.clone()]).await));
        assert!(invalid(hot.push_chat(&long, &[]).await));
        assert_eq!(hot.recent_chat("c", 9).await.unwrap(), Vec::<Vec<u8>>::new());
        assert!(invalid(hot.recent_chat("", 9).await.map(drop)));
        let rule = BucketRule { capacity: 0, fills_in: SHORT };
        assert!(invalid(hot.settle("b", rule, 1).await.map(drop)));
        assert!(invalid(hot.settle(&long, BucketRule { capacity: 1, ..rule }, 1).await.map(drop)));
        assert!(invalid(hot.beat("", b"").await));
        assert!(invalid(hot.beat("n", &big).await));
        assert!(hot.nodes().await.unwrap().is_empty());
        assert!(invalid(hot.publish("c", &big).await));
        assert!(invalid(hot.subscribe(&long).await.map(drop)));
        assert!(invalid(hot.append("s", START, &[event(1, 0), event(0, 1)]).await.map(drop)));
        assert!(invalid(hot.append("", START, &[event(1, 0)]).await.map(drop)));
        assert!(invalid(hot.append("s", event(1, 0).id, &[event(1, 0)]).await.map(drop)));
        assert_eq!(hot.last_event("s").await.unwrap(), EventId::default());
        assert!(invalid(hot.create_group("s", &long).await));
        assert!(invalid(hot.read_group("s", "g", "", 1).await.map(drop)));
        assert!(invalid(hot.claim("s", "g", &long, SHORT, 1).await.map(drop)));
        assert!(invalid(hot.acknowledge("", "g", &[]).await.map(drop)));
    });
}
