//! Redis stopped, killed and started again: it is asked no more than now and then, and found again.

use std::time::{Duration, Instant};

use vyuha_hot::{BreakerState, HotError, HotStore, Lifetimes, RedisHot};
use vyuha_test_redis::RedisServer;

use super::server::hot_at;

const TIMEOUT: Duration = Duration::from_millis(300);

fn redis(url: &str) -> RedisHot {
    hot_at(url, Lifetimes::default(), TIMEOUT)
}

async fn until_it_answers(hot: &RedisHot) {
    let until = Instant::now() + Duration::from_secs(15);
    while hot.beat("n", b"").await.is_err() {
        assert!(Instant::now() < until, "it is not found again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(hot.stats().breaker, BreakerState::Closed);
}

#[tokio::test]
async fn a_redis_that_was_killed_is_found_again() {
    let mut server = RedisServer::start();
    let hot = redis(&server.url());
    hot.beat("n", b"").await.unwrap();
    let mut subscription = hot.subscribe("news").await.unwrap();
    server.kill();
    assert!(matches!(hot.beat("n", b"").await, Err(HotError::Away(_))));
    assert_eq!(subscription.next().await, None);
    assert!(matches!(hot.subscribe("news").await, Err(HotError::Away(_))));
    server.start_again();
    assert_eq!(hot.stats().connections, 1);
    until_it_answers(&hot).await;
    assert_eq!(hot.stats().connections, 2);
    assert!(hot.nodes().await.unwrap().contains_key("n"));
}

#[tokio::test]
async fn a_redis_that_is_paused_holds_nobody_up() {
    let server = RedisServer::start();
    let hot = redis(&server.url());
    hot.beat("n", b"").await.unwrap();
    server.pause();
    let began = Instant::now();
    for _ in 0..1_000 {
        assert!(matches!(hot.beat("n", b"").await, Err(HotError::Away(_))));
    }
    let took = began.elapsed();
    // One question waits for its answer, and at most the next tries to connect; the others fail at once.
    assert!(took < 5 * TIMEOUT, "{took:?}");
    assert_eq!(hot.stats().breaker, BreakerState::Open);
    assert_eq!(hot.stats().failed, 1_000);
    server.resume();
    until_it_answers(&hot).await;
}

#[tokio::test]
async fn what_an_old_connection_says_last_does_not_break_the_new_one() {
    let server = RedisServer::start();
    let line = server.line();
    let hot = redis(&line.url());
    hot.beat("n", b"").await.unwrap();
    line.cut();
    let late = async {
        tokio::time::sleep(TIMEOUT * 3 / 4).await;
        hot.beat("late", b"").await
    };
    let meanwhile = async {
        assert!(matches!(hot.beat("n", b"").await, Err(HotError::Away(_))));
        until_it_answers(&hot).await;
        assert_eq!(hot.stats().connections, 2);
    };
    let (late, ()) = tokio::join!(late, meanwhile);
    assert!(matches!(late, Err(HotError::Away(_))), "it was asked on the old connection");
    hot.beat("n", b"").await.unwrap();
    assert_eq!((hot.stats().connections, hot.stats().breaker), (2, BreakerState::Closed));
}

#[tokio::test]
async fn many_who_ask_at_once_share_one_connection_and_one_failure() {
    let server = RedisServer::start();
    let hot = redis(&server.url());
    let beats = (0..50).map(|_| hot.beat("n", b""));
    let answers = futures_util::future::join_all(beats).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!((hot.stats().answered, hot.stats().failed), (50, 0));

    let nobody = redis("redis://127.0.0.1:1");
    let answers = futures_util::future::join_all((0..50).map(|_| nobody.beat("n", b""))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(HotError::Away(_)))));
    // One failure: the first, shortest pause.
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(nobody.stats().breaker, BreakerState::HalfOpen);
}

#[tokio::test]
async fn a_redis_that_was_never_there_is_away() {
    let hot = redis("redis://127.0.0.1:1");
    let error = hot.beat("n", b"").await.unwrap_err();
    assert!(error.to_string().starts_with("Redis is away: "), "{error}");
    assert_eq!(hot.stats().breaker, BreakerState::Open);
}

#[tokio::test]
async fn what_redis_refuses_is_told_and_breaks_nothing() {
    let server = RedisServer::start();
    let hot = redis(&server.url());
    let rule = vyuha_hot::BucketRule { capacity: 1, fills_in: Duration::from_secs(1) };
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    // The bucket's key holds something else.
    redis::cmd("SET").arg("test:bucket:b").arg("text").exec_async(&mut connection).await.unwrap();
    assert!(matches!(hot.settle("b", rule, 1).await, Err(HotError::Refused(_))));
    assert_eq!(hot.stats().breaker, BreakerState::Closed);
    hot.settle("c", rule, 1).await.unwrap();
}

#[test]
fn what_is_shown_has_no_password() {
    let hot = redis("redis://user:s3cret@127.0.0.1:1");
    assert!(!format!("{hot:?}").contains("s3cret"));
}
