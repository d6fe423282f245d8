//! How often the interface may be called, as its callers are told.

use serde_json::json;
use vyuha_accounts::limits::{By, LimitConfig};

use crate::client::{Answer, Request};
use crate::node::{EMAIL, Node, PASSWORD, Setup, config};

fn limit(name: &str, by: By, operations: &[&str], calls: u32) -> LimitConfig {
    let operations = operations.iter().map(|operation| (*operation).to_owned()).collect();
    LimitConfig { operations, ..LimitConfig::per_minute(name, by, calls) }
}

async fn node(limits: Vec<LimitConfig>) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.behind_proxy = true;
    let mut node = Node::set_up(dir.path(), Setup { config, limits, ..Setup::default() }).await;
    node.folder = Some(dir);
    node
}

/// A call from this address.
async fn from(node: &Node, address: &str, path: &str, token: Option<&str>) -> Answer {
    let mut request = Request::new("GET", &format!("/api/v1{path}")).header("X-Forwarded-For", address);
    if let Some(token) = token {
        request = request.bearer(token);
    }
    node.send(request).await
}

fn headers(answer: &Answer) -> [&str; 2] {
    ["ratelimit-policy", "ratelimit"].map(|name| answer.headers[name].as_str())
}

#[tokio::test]
async fn a_caller_is_told_what_is_left_and_how_long_to_wait() {
    let mut node = node(vec![limit("calls", By::Caller, &["show_account"], 3)]).await;
    node.register(EMAIL).await;
    let (token, _) = node.tokens(EMAIL).await;
    for left in ["\"calls\";r=2;t=20", "\"calls\";r=1;t=40", "\"calls\";r=0;t=60"] {
        let answer = node.call("GET", "/me", &token, None).await.expect(200, "");
        assert_eq!(headers(&answer), ["\"calls\";q=3;w=60", left]);
    }
    node.wait_ms(500);
    let refused = node.call("GET", "/me", &token, None).await.expect(429, "rate_limited");
    assert_eq!(headers(&refused), ["\"calls\";q=3;w=60", "\"calls\";r=0;t=60"]);
    assert_eq!(refused.headers["retry-after"], "20");
    // Other operations have limits of their own, or none.
    let other = node.call("GET", "/me/sessions", &token, None).await.expect(200, "");
    assert_eq!(headers(&other), ["", ""]);
    node.wait_ms(19_500);
    node.call("GET", "/me", &token, None).await.expect(200, "");
    node.call("GET", "/me", &token, None).await.expect(429, "rate_limited");
}

#[tokio::test]
async fn an_account_counts_wherever_it_calls_from_and_nobody_by_their_address() {
    let mut node = node(vec![limit("calls", By::Caller, &["show_account"], 2)]).await;
    node.register(EMAIL).await;
    node.register("ravi@example.com").await;
    let ((asha, _), (again, _)) = (node.tokens(EMAIL).await, node.tokens(EMAIL).await);
    let (ravi, _) = node.tokens("ravi@example.com").await;
    let me = async |address, token, status| {
        assert_eq!(from(&node, address, "/me", token).await.status, status, "{address} {token:?}");
    };
    me("192.0.2.1", Some(&*asha), 200).await;
    me("192.0.2.2", Some(&*again), 200).await;
    me("192.0.2.3", Some(&*asha), 429).await;
    me("192.0.2.1", Some(&*ravi), 200).await;
    // Who shows a token that is no good is nobody.
    me("192.0.2.1", None, 401).await;
    me("192.0.2.1", Some("x.y.z"), 401).await;
    me("192.0.2.1", Some("x.y.w"), 429).await;
    me("192.0.2.4", Some("x.y.w"), 401).await;
    me("2001:db8:1:2::1", None, 401).await;
    me("2001:db8:1:2:ffff::1", None, 401).await;
    me("2001:db8:1:2::3", None, 429).await;
    me("192.0.2.1", Some(&*ravi), 200).await;
}

#[tokio::test]
async fn whoever_signed_out_counts_as_nobody() {
    let mut node = node(vec![limit("calls", By::Caller, &["show_account"], 2)]).await;
    node.register(EMAIL).await;
    let ((gone, _), (token, _)) = (node.tokens(EMAIL).await, node.tokens(EMAIL).await);
    node.call("DELETE", "/me/sessions", &token, None).await.expect(204, "");
    for status in [401, 401, 429] {
        assert_eq!(node.call("GET", "/me", &gone, None).await.status, status);
    }
    // The account itself has lost nothing by it.
    node.call("GET", "/me", &token, None).await.expect(200, "");
}

#[tokio::test]
async fn a_page_in_a_browser_counts_as_its_account() {
    let mut node = node(vec![limit("calls", By::Caller, &["show_account"], 2)]).await;
    node.register(EMAIL).await;
    let credentials = json!({ "login": EMAIL, "password": PASSWORD });
    let request =
        Request::new("POST", "/api/v1/browser-session").header("Origin", "https://play.example.com");
    let answer = node.send(request.json(&credentials)).await.expect(201, "");
    let cookie = answer.headers["set-cookie"].split(';').next().unwrap().to_owned();
    let me = async |address: &str| {
        let request = Request::new("GET", "/api/v1/me").header("X-Forwarded-For", address);
        node.send(request.header("Cookie", &cookie)).await
    };
    // Whose the cookie is is known from the first call on.
    me("192.0.2.1").await.expect(200, "");
    me("192.0.2.1").await.expect(200, "");
    me("192.0.2.2").await.expect(200, "");
    me("192.0.2.3").await.expect(429, "rate_limited");
}

#[tokio::test]
async fn an_address_counts_whoever_calls_and_a_refusal_costs_nobody_else() {
    let limits =
        vec![limit("calls", By::Caller, &[], 100), limit("address", By::Address, &["show_account"], 3)];
    let mut node = node(limits).await;
    node.register(EMAIL).await;
    let (token, _) = node.tokens(EMAIL).await;
    for token in [Some(&*token), None, Some("x.y.z")] {
        assert_ne!(from(&node, "192.0.2.1", "/me", token).await.status, 429);
    }
    let refused = from(&node, "192.0.2.1", "/me", Some(&token)).await.expect(429, "rate_limited");
    let [policy, left] = headers(&refused);
    assert_eq!(policy, "\"calls\";q=100;w=60, \"address\";q=3;w=60");
    assert_eq!(left, "\"calls\";r=99;t=1, \"address\";r=0;t=60");
    from(&node, "192.0.2.2", "/me", Some(&token)).await.expect(200, "");
}
