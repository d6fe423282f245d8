//! Two nodes of one game: what one of them knows, the other hears.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use vyuha_accounts::limits::{By, LimitConfig};
use vyuha_hot::{HotStore, Lifetimes, MemoryHot, RedisHot, RedisSettings};
use vyuha_test_redis::RedisServer;

use crate::node::{EMAIL, Node, Setup};

fn calls(calls: u32) -> Vec<LimitConfig> {
    vec![LimitConfig {
        operations: vec!["show_account".to_owned()],
        ..LimitConfig::per_minute("calls", By::Caller, calls)
    }]
}

/// Two nodes on one database, which meet in this store.
async fn two(dir: &Path, hot: &Arc<dyn HotStore>) -> [Node; 2] {
    let setup = |sql| Setup { limits: calls(5), hot: Some(hot.clone()), sql, ..Setup::default() };
    let one = Node::set_up(dir, setup(None)).await;
    let other = Node::set_up(dir, setup(Some(one.sql.clone()))).await;
    [one, other]
}

/// Each node has two turns.
async fn share(nodes: &[Node; 2]) {
    for _ in 0..2 {
        for node in nodes {
            assert!(node.service.share_once().await);
        }
    }
}

#[tokio::test]
async fn a_session_that_was_ended_on_one_node_is_refused_on_the_other() {
    let (dir, hot) = (tempfile::tempdir().unwrap(), Arc::new(MemoryHot::new(Lifetimes::default())) as _);
    let [mut one, other] = two(dir.path(), &hot).await;
    one.register(EMAIL).await;
    let ((first, _), (second, _)) = (one.tokens(EMAIL).await, one.tokens(EMAIL).await);
    other.call("GET", "/me", &first, None).await.expect(200, "");
    one.call("DELETE", "/me/sessions", &second, None).await.expect(204, "");
    one.call("GET", "/me", &first, None).await.expect(401, "unauthorized");
    // Until then it was not told.
    other.call("GET", "/me", &first, None).await.expect(200, "");
    let nodes = [one, other];
    share(&nodes).await;
    let [one, other] = &nodes;
    other.call("GET", "/me", &first, None).await.expect(401, "unauthorized");
    other.call("GET", "/me", &second, None).await.expect(200, "");
    // One that comes later, to a store that knows: from the list alone, since the database is read of what ended before.
    let setup = Setup { hot: Some(hot.clone()), sql: Some(one.sql.clone()), ..Setup::default() };
    let third = Node::set_up(dir.path(), setup).await;
    third.call("GET", "/me", &first, None).await.expect(401, "unauthorized");
    third.call("GET", "/me", &second, None).await.expect(200, "");
}

#[tokio::test]
async fn a_limit_and_failed_sign_ins_count_on_both_nodes() {
    let (dir, hot) = (tempfile::tempdir().unwrap(), Arc::new(MemoryHot::new(Lifetimes::default())) as _);
    let [mut one, other] = two(dir.path(), &hot).await;
    one.register(EMAIL).await;
    let (token, _) = one.tokens(EMAIL).await;
    for _ in 0..5 {
        one.call("GET", "/me", &token, None).await.expect(200, "");
        one.sign_in(EMAIL, "not the password").await.expect(401, "credentials_wrong");
    }
    one.call("GET", "/me", &token, None).await.expect(429, "rate_limited");
    one.sign_in(EMAIL, "not the password").await.expect(429, "too_many_attempts");
    other.call("GET", "/me", &token, None).await.expect(200, "");
    other.sign_in(EMAIL, "not the password").await.expect(401, "credentials_wrong");
    let nodes = [one, other];
    share(&nodes).await;
    let [one, other] = &nodes;
    other.call("GET", "/me", &token, None).await.expect(429, "rate_limited");
    let refused = other.sign_in(EMAIL, "not the password").await.expect(429, "too_many_attempts");
    assert!(refused.headers["retry-after"].parse::<u64>().unwrap() > 60, "{refused:?}");
    // Others have lost nothing, and a limit comes again on both.
    other.sign_in("ravi@example.com", "not the password").await.expect(401, "credentials_wrong");
    for node in [one, other] {
        node.wait_ms(60_000);
    }
    other.call("GET", "/me", &token, None).await.expect(200, "");
}

#[tokio::test]
async fn who_signs_in_rightly_is_not_counted_anywhere() {
    let (dir, hot) = (tempfile::tempdir().unwrap(), Arc::new(MemoryHot::new(Lifetimes::default())) as _);
    let [mut one, other] = two(dir.path(), &hot).await;
    one.register(EMAIL).await;
    let nodes = [one, other];
    for _ in 0..10 {
        for node in &nodes {
            node.tokens(EMAIL).await;
        }
        share(&nodes).await;
    }
}

#[tokio::test]
async fn while_redis_is_away_each_node_is_alone_and_tells_of_it_afterwards() {
    let mut redis = RedisServer::start();
    let settings = RedisSettings::new(&redis.url(), None, None, Duration::from_millis(500)).unwrap();
    let hot: Arc<dyn HotStore> = Arc::new(RedisHot::new(settings, "test", Lifetimes::default()));
    let dir = tempfile::tempdir().unwrap();
    let [mut one, other] = two(dir.path(), &hot).await;
    one.register(EMAIL).await;
    let ((first, _), (second, _)) = (one.tokens(EMAIL).await, one.tokens(EMAIL).await);
    let nodes = [one, other];
    share(&nodes).await;
    redis.kill();
    let [one, other] = &nodes;
    one.call("DELETE", "/me/sessions", &second, None).await.expect(204, "");
    share(&nodes).await;
    // What it means that Redis is away: an access token goes on elsewhere, what asks the database does not.
    other.call("GET", "/me", &first, None).await.expect(200, "");
    one.call("GET", "/me", &first, None).await.expect(401, "unauthorized");
    for _ in 0..4 {
        other.call("GET", "/me", &first, None).await.expect(200, "");
    }
    other.call("GET", "/me", &first, None).await.expect(429, "rate_limited");
    other
        .post("/sessions", json!({ "login": EMAIL, "password": "no" }))
        .await
        .expect(401, "credentials_wrong");
    redis.start_again();
    for _ in 0..200 {
        share(&nodes).await;
        if other.call("GET", "/me", &first, None).await.status == 401 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the other node never heard of it");
}
