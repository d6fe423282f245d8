//! Other servers: what their keys may do, and what is no good of what they send.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::client::{Answer, Request};
use crate::node::{ADMIN_KEY, EMAIL, Node, service_key};

/// A call as another server signs it.
fn call(method: &'static str, target: &str, body: &str, at_ms: i64, nonce: &str) -> Request {
    let digest = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
    let digest = format!("sha-256=:{}:", STANDARD.encode(digest));
    let input = format!(
        r#"("@method" "@path" "@query" "content-digest");created={};nonce="{nonce}";keyid="billing";alg="hmac-sha256""#,
        at_ms / 1000
    );
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let base = format!(
        "\"@method\": {method}\n\"@path\": {path}\n\"@query\": ?{query}\n\"content-digest\": {digest}\n\
         \"@signature-params\": {input}"
    );
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, service_key().secret.as_bytes());
    let signature = STANDARD.encode(ring::hmac::sign(&key, base.as_bytes()));
    let request = Request::new(method, target)
        .header("Content-Digest", &digest)
        .header("Signature-Input", &format!("vyuha={input}"))
        .header("Signature", &format!("vyuha=:{signature}:"));
    if body.is_empty() {
        request
    } else {
        request.header("Content-Type", "application/json").body(body.as_bytes())
    }
}

fn nonce(number: u32) -> String {
    format!("nonce-of-a-test-{number}")
}

async fn send(node: &Node, number: u32, method: &'static str, path: &str, body: Option<Value>) -> Answer {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = call(method, &format!("/api/v1{path}"), &body, now_ms(node), &nonce(number));
    node.send(request).await
}

fn now_ms(node: &Node) -> i64 {
    node.clock_ms.load(std::sync::atomic::Ordering::Relaxed)
}

#[tokio::test]
async fn a_server_does_what_its_key_may() {
    let mut node = Node::start().await;
    let account = node.register(EMAIL).await;
    let staffs = node.register("mira@example.com").await;
    let (mira, _) = node.tokens("mira@example.com").await;
    node.call("POST", "/staff/first", &mira, Some(json!({ "key": ADMIN_KEY }))).await.expect(204, "");
    let found = send(&node, 1, "GET", "/staff/accounts?search=asha", None).await.expect(200, "");
    assert_eq!(found.json()["accounts"][0]["account"], account);
    let suspension = |account: i64| format!("/staff/accounts/{account}/suspension");
    let reason = json!({ "reason": "chargeback" });
    send(&node, 2, "PUT", &suspension(account), Some(reason.clone())).await.expect(204, "");
    assert_eq!(node.thrown_out().await, account);
    send(&node, 3, "DELETE", &suspension(account), None).await.expect(204, "");
    // What it may not: what it was not permitted, staff, and what is somebody's own.
    send(&node, 4, "DELETE", &format!("/staff/accounts/{account}/sessions"), None)
        .await
        .expect(403, "forbidden");
    send(&node, 5, "GET", "/staff/log", None).await.expect(403, "forbidden");
    send(&node, 6, "PUT", &suspension(staffs), Some(reason)).await.expect(403, "forbidden");
    let role = json!({ "role": "support" });
    send(&node, 7, "PUT", &format!("/staff/members/{account}"), Some(role)).await.expect(403, "forbidden");
    send(&node, 8, "GET", "/me", None).await.expect(401, "unauthorized");
    send(&node, 9, "POST", "/tickets", None).await.expect(401, "unauthorized");
    let log = "SELECT actor, detail FROM staff_log WHERE action = 'suspend'";
    let rows = node.sql.transaction(move |tx| Ok::<_, vyuha_store::sql::SqlError>(tx.query(log, &[])?));
    let row = rows.await.unwrap().remove(0);
    assert_eq!(row.int(0).unwrap(), 0);
    assert!(row.text(1).unwrap().starts_with("key billing: until "), "{row:?}");
}

#[tokio::test]
async fn a_copied_call_is_worth_nothing() {
    let node = Node::start().await;
    let made = call("GET", "/api/v1/staff/accounts", "", now_ms(&node), &nonce(1));
    node.send(made.clone()).await.expect(200, "");
    node.send(made.clone()).await.expect(401, "signature_replayed");
    node.wait_ms(5 * 60_000);
    node.send(made.clone()).await.expect(401, "signature_replayed");
    node.wait_ms(1000);
    node.send(made.clone()).await.expect(401, "signature_stale");
    node.service.tidy().await.unwrap();
    node.send(made).await.expect(401, "signature_stale");
    let early = call("GET", "/api/v1/staff/accounts", "", now_ms(&node) + 301_000, &nonce(2));
    node.send(early).await.expect(401, "signature_stale");
    let all = [(); 8].map(|()| {
        let request = call("GET", "/api/v1/staff/accounts", "", now_ms(&node), &nonce(3));
        let address = node.address;
        tokio::spawn(async move { request.send(address).await.status })
    });
    let mut done = 0;
    for one in all {
        done += usize::from(one.await.unwrap() == 200);
    }
    assert_eq!(done, 1, "of many at once one is taken");
}

#[tokio::test]
async fn a_call_that_is_not_signed_as_it_must_be_is_refused_before_anything_else() {
    let mut node = Node::start().await;
    let account = node.register(EMAIL).await;
    let path = format!("/api/v1/staff/accounts/{account}/suspension");
    let body = json!({ "reason": "bots" }).to_string();
    let good = |number| call("PUT", &path, &body, now_ms(&node), &nonce(number));
    let invalid = async |request: Request| {
        node.send(request).await.expect(401, "signature_invalid");
    };
    invalid(good(1).body(b"{ \"reason\": \"another\" }")).await;
    invalid(good(2).bearer("x")).await;
    invalid(good(3).header("Signature", "vyuha=:AAAA:")).await;
    invalid(Request::new("GET", "/api/v1/staff/accounts").header("Signature", "vyuha=:AAAA:")).await;
    invalid(Request::new("GET", "/api/v1/staff/accounts").header("Signature-Input", "vyuha=()")).await;
    let huge = "x".repeat(20_000);
    node.send(call("PUT", &path, &huge, now_ms(&node), &nonce(4))).await.expect(413, "body_too_large");
    node.send(good(1)).await.expect(204, "");
    // What was answered to the key is not answered to whoever knows its idempotency key.
    let kept = |request: Request| request.header("Idempotency-Key", "k");
    node.send(kept(good(5))).await.expect(204, "");
    node.send(kept(good(6))).await.expect(204, "");
    invalid(kept(good(7)).body(b"{}")).await;
    let unsigned =
        Request::new("PUT", &path).header("Content-Type", "application/json").body(body.as_bytes());
    node.send(kept(unsigned.clone())).await.expect(401, "unauthorized");
    // Nor to whoever bears its name.
    let named = unsigned.header("Authorization", "key billing");
    node.send(kept(named)).await.expect(401, "unauthorized");
}

#[tokio::test]
async fn signatures_are_guessed_so_often_and_no_more() {
    let node = Node::start().await;
    for attempt in 0..51 {
        let guess = call("GET", "/api/v1/staff/accounts", "", now_ms(&node), &nonce(attempt)).body(b"x");
        let answer = node.send(guess).await;
        assert_eq!(answer.status, if attempt < 50 { 401 } else { 429 });
    }
}
