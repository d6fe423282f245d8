//! The second factor over the interface.

use serde_json::json;
use totp_rs::{Builder, Secret};

use crate::client::Answer;
use crate::node::{EMAIL, Node, PASSWORD};

/// The code of this moment, and of moments later.
pub fn code(node: &Node, secret: &str, later_ms: i64) -> String {
    let now_ms = node.clock_ms.load(std::sync::atomic::Ordering::Relaxed) + later_ms;
    let secret = Secret::try_from_base32(secret).unwrap();
    Builder::new().with_secret(secret).build_noncompliant().generate(now_ms as u64 / 1000).to_string()
}

async fn sign_in(node: &Node, password: &str, code: Option<&str>) -> Answer {
    let mut body = json!({ "login": EMAIL, "password": password });
    if let Some(code) = code {
        body["code"] = code.into();
    }
    node.post("/sessions", body).await
}

#[tokio::test]
async fn it_is_set_up_asked_for_and_removed() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (access, _) = node.tokens(EMAIL).await;
    let begin = |password: &str| Some(json!({ "password": password }));
    node.call("POST", "/me/second-factor", &access, begin("not it")).await.expect(401, "credentials_wrong");
    let first = json!({ "code": "123456" });
    node.call("POST", "/me/second-factor/confirm", &access, Some(first))
        .await
        .expect(409, "second_factor_absent");
    let begun = node.call("POST", "/me/second-factor", &access, begin(PASSWORD)).await.expect(200, "");
    let secret = begun.text("secret");
    sign_in(&node, PASSWORD, None).await.expect(201, "");
    let confirm = json!({ "code": code(&node, &secret, 0) });
    let on = node.call("POST", "/me/second-factor/confirm", &access, Some(confirm)).await.expect(200, "");
    let recovery = on.json()["recovery_codes"].as_array().unwrap().clone();
    assert_eq!(recovery.len(), 10);
    let me = node.call("GET", "/me", &access, None).await.json();
    assert_eq!(me["second_factor"], true);
    node.call("POST", "/me/second-factor", &access, begin(PASSWORD))
        .await
        .expect(409, "second_factor_present");

    // Only who has the password learns that a code is asked for.
    sign_in(&node, "not it", None).await.expect(401, "credentials_wrong");
    sign_in(&node, "not it", Some("123456")).await.expect(401, "credentials_wrong");
    sign_in(&node, PASSWORD, None).await.expect(401, "second_factor_required");
    let used = code(&node, &secret, 0);
    sign_in(&node, PASSWORD, Some(&used)).await.expect(401, "second_factor_wrong");
    node.wait_ms(30_000);
    let fresh = code(&node, &secret, 0);
    sign_in(&node, PASSWORD, Some(&fresh)).await.expect(201, "");
    sign_in(&node, PASSWORD, Some(&fresh)).await.expect(401, "second_factor_wrong");
    let spare = recovery[0].as_str().unwrap();
    sign_in(&node, PASSWORD, Some(spare)).await.expect(201, "");
    sign_in(&node, PASSWORD, Some(spare)).await.expect(401, "second_factor_wrong");

    node.wait_ms(30_000);
    let remove = |password: &str, code: &str| Some(json!({ "password": password, "code": code }));
    let now = code(&node, &secret, 0);
    node.call("POST", "/me/second-factor/remove", &access, remove("not it", &now))
        .await
        .expect(401, "credentials_wrong");
    node.call("POST", "/me/second-factor/remove", &access, remove(PASSWORD, &now)).await.expect(204, "");
    node.call("POST", "/me/second-factor/remove", &access, remove(PASSWORD, &now))
        .await
        .expect(409, "second_factor_absent");
    sign_in(&node, PASSWORD, None).await.expect(201, "");
}

#[tokio::test]
async fn codes_are_guessed_five_times_and_no_more() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (access, _) = node.tokens(EMAIL).await;
    let begin = json!({ "password": PASSWORD });
    let begun = node.call("POST", "/me/second-factor", &access, Some(begin)).await.expect(200, "");
    let secret = begun.text("secret");
    let confirm = json!({ "code": code(&node, &secret, 0) });
    node.call("POST", "/me/second-factor/confirm", &access, Some(confirm)).await.expect(200, "");
    for _ in 0..5 {
        sign_in(&node, PASSWORD, Some("not a code")).await.expect(401, "second_factor_wrong");
    }
    node.wait_ms(30_000);
    let right = code(&node, &secret, 0);
    sign_in(&node, PASSWORD, Some(&right)).await.expect(429, "too_many_attempts");
    node.wait_ms(15 * 60_000);
    let right = code(&node, &secret, 0);
    sign_in(&node, PASSWORD, Some(&right)).await.expect(201, "");
}
