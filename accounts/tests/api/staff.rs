//! Staff over the interface.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use totp_rs::{Builder, Secret};

use crate::client::Answer;
use crate::node::{ADMIN_KEY, Node, PASSWORD};

/// Somebody of the staff, signed in with a second factor.
pub struct Member {
    pub account: i64,
    pub token: String,
}

impl Member {
    /// A new account with the second factor on.
    async fn new(node: &mut Node, email: &str) -> Member {
        let account = node.register(email).await;
        let (token, _) = node.tokens(email).await;
        let password = json!({ "password": PASSWORD });
        let begun = node.call("POST", "/me/second-factor", &token, Some(password)).await.expect(200, "");
        let secret = Secret::try_from_base32(begun.text("secret")).unwrap();
        let now_s = node.clock_ms.load(Ordering::Relaxed) as u64 / 1000;
        let code = Builder::new().with_secret(secret).build_noncompliant().generate(now_s).to_string();
        let code = json!({ "code": code });
        node.call("POST", "/me/second-factor/confirm", &token, Some(code)).await.expect(200, "");
        Member { account, token }
    }

    /// The first administrator.
    pub async fn first(node: &mut Node) -> Member {
        let member = Member::new(node, "admin@example.com").await;
        member.call(node, "POST", "/staff/first", Some(json!({ "key": ADMIN_KEY }))).await.expect(204, "");
        member
    }

    pub async fn call(&self, node: &Node, method: &'static str, path: &str, body: Option<Value>) -> Answer {
        node.call(method, path, &self.token, body).await
    }

    async fn appoint(&self, node: &Node, other: &Member, role: &str) -> Answer {
        let path = format!("/staff/members/{}", other.account);
        self.call(node, "PUT", &path, Some(json!({ "role": role }))).await
    }

    async fn suspend(&self, node: &Node, account: i64, until_ms: Option<i64>) -> Answer {
        let path = format!("/staff/accounts/{account}/suspension");
        self.call(node, "PUT", &path, Some(json!({ "until_ms": until_ms, "reason": "bots" }))).await
    }
}

#[tokio::test]
async fn the_first_administrator_has_the_key_and_there_is_one() {
    let mut node = Node::start().await;
    let one = Member::new(&mut node, "one@example.com").await;
    let key = |key: &str| Some(json!({ "key": key }));
    for wrong in ["", "x", &ADMIN_KEY[1..], &format!("{ADMIN_KEY} ")] {
        one.call(&node, "POST", "/staff/first", key(wrong)).await.expect(403, "forbidden");
    }
    one.call(&node, "GET", "/staff/accounts", None).await.expect(403, "forbidden");
    one.call(&node, "POST", "/staff/first", key(ADMIN_KEY)).await.expect(204, "");
    one.call(&node, "GET", "/staff/accounts", None).await.expect(200, "");
    let other = Member::new(&mut node, "other@example.com").await;
    other.call(&node, "POST", "/staff/first", key(ADMIN_KEY)).await.expect(403, "forbidden");
}

#[tokio::test]
async fn a_server_without_a_key_makes_nobody_an_administrator() {
    let mut node = Node::without_admin_key().await;
    let one = Member::new(&mut node, "one@example.com").await;
    for key in ["", "x", ADMIN_KEY] {
        let key = Some(json!({ "key": key }));
        one.call(&node, "POST", "/staff/first", key).await.expect(403, "forbidden");
    }
}

#[tokio::test]
async fn staff_without_a_second_factor_does_nothing() {
    let mut node = Node::start().await;
    let account = node.register("one@example.com").await;
    let (token, _) = node.tokens("one@example.com").await;
    let one = Member { account, token };
    one.call(&node, "POST", "/staff/first", Some(json!({ "key": ADMIN_KEY }))).await.expect(204, "");
    let refused = one.call(&node, "GET", "/staff/accounts", None).await.expect(403, "forbidden");
    assert!(refused.text("detail").contains("second factor"));
}

#[tokio::test]
async fn roles_bound_what_is_done_and_to_whom() {
    let mut node = Node::start().await;
    let admin = Member::first(&mut node).await;
    let moderator = Member::new(&mut node, "moderator@example.com").await;
    let support = Member::new(&mut node, "support@example.com").await;
    let player = node.register("player@example.com").await;
    admin.appoint(&node, &moderator, "moderator").await.expect(204, "");
    admin.appoint(&node, &support, "support").await.expect(204, "");
    admin.appoint(&node, &support, "king").await.expect(422, "body_invalid");
    moderator.appoint(&node, &support, "administrator").await.expect(403, "forbidden");
    support.suspend(&node, player, None).await.expect(403, "forbidden");
    moderator.suspend(&node, support.account, None).await.expect(204, "");
    moderator.suspend(&node, moderator.account, None).await.expect(403, "forbidden");
    moderator.suspend(&node, admin.account, None).await.expect(403, "forbidden");
    admin.suspend(&node, admin.account, None).await.expect(403, "forbidden");
    moderator.suspend(&node, 999, None).await.expect(404, "account_unknown");
    moderator.call(&node, "GET", "/staff/log", None).await.expect(403, "forbidden");
    moderator.call(&node, "DELETE", "/staff/accounts/x/sessions", None).await.expect(404, "account_unknown");
    admin.call(&node, "DELETE", &format!("/staff/members/{}", moderator.account), None).await.expect(204, "");
    moderator.suspend(&node, player, None).await.expect(403, "forbidden");
    let log = admin.call(&node, "GET", "/staff/log?limit=2", None).await.expect(200, "").json();
    let actions = |log: &Value| -> Vec<String> {
        log["deeds"].as_array().unwrap().iter().map(|deed| deed["action"].as_str().unwrap().into()).collect()
    };
    assert_eq!(actions(&log), ["dismiss", "suspend"]);
    let path = format!("/staff/log?before={}", log["next"]);
    let rest = admin.call(&node, "GET", &path, None).await.expect(200, "").json();
    assert_eq!(actions(&rest), ["appoint", "appoint", "appoint"]);
    assert!(rest.get("next").is_none());
}

#[tokio::test]
async fn who_is_suspended_is_out_until_it_is_over() {
    let mut node = Node::start().await;
    let admin = Member::first(&mut node).await;
    let player = node.register("player@example.com").await;
    let (access, refresh) = node.tokens("player@example.com").await;
    let ticket = node.call("POST", "/tickets", &access, None).await.expect(201, "").text("ticket");
    let now_ms = node.clock_ms.load(Ordering::Relaxed);
    admin.suspend(&node, player, Some(now_ms)).await.expect(422, "body_invalid");
    admin.suspend(&node, player, Some(now_ms + 60_000)).await.expect(204, "");
    assert_eq!(node.thrown_out().await, player);
    node.call("GET", "/me", &access, None).await.expect(401, "unauthorized");
    node.post("/sessions/refresh", json!({ "refresh_token": refresh })).await.expect(401, "refresh_invalid");
    assert_eq!(node.service.redeem_ticket(ticket).await.unwrap(), None);
    // Only who has the password learns of it, and why.
    node.sign_in("player@example.com", "not it").await.expect(401, "credentials_wrong");
    let refused = node.sign_in("player@example.com", PASSWORD).await.expect(403, "account_suspended");
    assert!(refused.text("detail").contains("bots"), "{refused:?}");
    node.wait_ms(60_000);
    node.sign_in("player@example.com", PASSWORD).await.expect(201, "");
    admin.suspend(&node, player, None).await.expect(204, "");
    node.wait_ms(365 * 24 * 60 * 60_000);
    node.sign_in("player@example.com", PASSWORD).await.expect(403, "account_suspended");
}

#[tokio::test]
async fn a_suspension_is_taken_back_and_sessions_are_ended() {
    let mut node = Node::start().await;
    let admin = Member::first(&mut node).await;
    let player = node.register("player@example.com").await;
    admin.suspend(&node, player, None).await.expect(204, "");
    let lift = format!("/staff/accounts/{player}/suspension");
    admin.call(&node, "DELETE", &lift, None).await.expect(204, "");
    let (access, _) = node.tokens("player@example.com").await;
    let end = format!("/staff/accounts/{player}/sessions");
    admin.call(&node, "DELETE", &end, None).await.expect(204, "");
    node.call("GET", "/me", &access, None).await.expect(401, "unauthorized");
}

#[tokio::test]
async fn accounts_are_found_by_the_beginning_of_name_or_address() {
    let mut node = Node::start().await;
    let admin = Member::first(&mut node).await;
    for email in ["asha@example.com", "ashok@example.com", "a_x@example.com", "abx@example.com"] {
        node.register(email).await;
    }
    let found = async |query: &str| {
        let found =
            admin.call(&node, "GET", &format!("/staff/accounts?{query}"), None).await.expect(200, "").json();
        let emails = found["accounts"].as_array().unwrap().iter();
        (
            emails.map(|account| account["email"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
            found["next"].clone(),
        )
    };
    assert_eq!(found("search=ASH").await.0, ["asha@example.com", "ashok@example.com"]);
    assert_eq!(found("search=a_").await.0, ["a_x@example.com"]);
    assert_eq!(found("search=%25").await.0, [""; 0]);
    assert_eq!(found("search=player-").await.0.len(), 5);
    let (first, next) = found("limit=3").await;
    let (rest, none) = found(&format!("limit=3&after={next}")).await;
    assert_eq!((first.len(), rest.len(), none), (3, 2, Value::Null));
}
