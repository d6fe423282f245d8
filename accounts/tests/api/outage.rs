//! The database goes away while every operation is called, and comes back.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vyuha_test_postgres::Postgres;

use crate::client::{DOCUMENT, Request};
use crate::devices;
use crate::node::{ADMIN_KEY, CHEAP, EMAIL, Node, PASSWORD, config};
use crate::staff::Member;

/// How long all may take until it is as before.
const PATIENCE: Duration = Duration::from_mins(1);
/// Within which every request is answered: less than it is given.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);
/// What needs no database.
const WITHOUT: &[&str] = &[
    "public_keys",
    "begin_device_challenge",
    "open_device_link",
    "device_server_key",
    "list_identity_providers",
    "open_topics",
];

/// A body that an operation takes; none where it has none. No mailbox is written to twice.
fn body(operation: &str, outage: &str, challenge: &str) -> Option<Value> {
    let token = |kind: &str| json!({ "token": format!("{kind}{}", "A".repeat(43)) });
    Some(match operation {
        "register" => json!({ "email": format!("new-{outage}@example.com"), "password": PASSWORD }),
        "resend_registration" => json!({ "registration": format!("vyg_{}", "A".repeat(43)) }),
        "confirm_registration" => token("vyv_"),
        "request_password_reset" => json!({ "email": format!("forgot-{outage}@example.com") }),
        "reset_password" => json!({ "token": format!("vyp_{}", "A".repeat(43)), "password": PASSWORD }),
        "begin_second_factor" | "begin_identity_link" | "unlink_identity" | "export_account" => {
            json!({ "password": PASSWORD })
        }
        "confirm_second_factor" => json!({ "code": "123456" }),
        "remove_second_factor" => json!({ "password": PASSWORD, "code": "123456" }),
        "change_password" => json!({ "password": PASSWORD, "new_password": "another password" }),
        "sign_in" | "sign_in_in_browser" => json!({ "login": EMAIL, "password": PASSWORD }),
        "begin_identity_sign_in" => json!({}),
        "complete_identity_sign_in" | "complete_identity_sign_in_in_browser" | "link_identity" => {
            json!({ "flow": format!("vyo_{}", "A".repeat(43)), "code": "x", "state": "x" })
        }
        "refresh_session" => json!({ "refresh_token": format!("vyr_{}", "A".repeat(43)) }),
        "become_first_administrator" => json!({ "key": ADMIN_KEY }),
        "appoint_staff" => json!({ "role": "support" }),
        "create_profile" | "rename_profile" | "create_character" => json!({ "name": "Abe" }),
        "choose_profile" => json!({ "profile": 1 }),
        // The administrator's: the first account.
        "delete_account" => json!({ "password": PASSWORD, "account": 1 }),
        "put_profile_settings" => json!({ "settings": {} }),
        "book_debt" => json!({ "amount": 5, "reason": "why" }),
        "freeze_profile" | "freeze_profile_of_account" => json!({ "reason": "why" }),
        "suspend_account" | "kick_account" | "ban_device" => json!({ "reason": "bots" }),
        "rename_device" => json!({ "name": "tablet" }),
        "sign_in_device" => {
            json!({ "device": "0".repeat(32), "challenge": challenge, "signature": "A".repeat(86) })
        }
        "enrol_device" => json!({
            "challenge": challenge, "public_key": "A", "signature": "A", "name": "phone", "platform": "x",
        }),
        "file_appeal" => json!({ "login": EMAIL, "password": PASSWORD, "text": "please" }),
        "ban" => json!({ "addresses": "192.0.2.0/24", "reason": "bots" }),
        "decide_appeal" => json!({ "granted": true, "answer": "well" }),
        "announce" => json!({ "text": "hello", "everywhere": true }),
        _ => return None,
    })
}

/// Calls every operation in turn; what was not answered with the expected problem.
async fn call_all(node: &Node, token: &str, subject: i64, outage: &str) -> Vec<String> {
    let mut unexpected = Vec::new();
    let challenge = devices::challenge(node).await;
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            let at = path.replace("{account}", &subject.to_string()).replace("{session}", "AAAAAAAA");
            let at = at.replace("{provider}", "example").replace("{device}", &"0".repeat(32));
            let at = at.replace("{ban}", "1").replace("{appeal}", "1");
            let at = at.replace("{profile}", "1").replace("{character}", "1");
            let method =
                ["GET", "POST", "PUT", "DELETE"].into_iter().find(|known| known.eq_ignore_ascii_case(method));
            // Some are for pages of the site alone.
            let mut request = Request::new(method.unwrap(), &at).header("Origin", "https://play.example.com");
            if name == "put_profile_settings" {
                request = request.header("If-Match", "*");
            }
            if operation.get("security").is_some() {
                request = request.bearer(token);
            }
            if let Some(body) = body(name, outage, &challenge) {
                request = request.json(&body);
            }
            let begun = Instant::now();
            let answer = request.send(node.address).await;
            assert!(begun.elapsed() < ANSWERED_WITHIN, "{name}: {:?}", begun.elapsed());
            let waits = answer.headers.get("retry-after").and_then(|wait| wait.parse::<u64>().ok());
            if answer.verdict() != (503, "unavailable".into()) || waits.is_none_or(|wait| wait == 0) {
                unexpected.push(name.to_owned());
            }
        }
    }
    unexpected
}

/// Shows tokens and codes more often than they may fail.
async fn try_without_end(node: &Node, token: &str) {
    for _ in 0..60 {
        let reset = json!({ "token": format!("vyp_{}", "A".repeat(43)), "password": PASSWORD });
        node.post("/password-resets/confirm", reset).await.expect(503, "unavailable");
        node.post("/registrations/confirm", json!({ "token": "vyv_x" })).await.expect(503, "unavailable");
        let code = Some(json!({ "code": "123456" }));
        node.call("POST", "/me/second-factor/confirm", token, code).await.expect(503, "unavailable");
    }
}

#[tokio::test]
async fn while_the_database_is_away_every_call_is_told_and_all_is_well_when_it_is_back() {
    let mut postgres = Postgres::start();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("url"), postgres.database()).unwrap();
    let mut node = Node::open(dir.path(), config(), CHEAP).await;
    let admin = Member::first(&mut node).await;
    let account = node.register(EMAIL).await;
    let (_, mut refresh) = node.tokens(EMAIL).await;
    for outage in ["stopped", "paused", "killed"] {
        match outage {
            "stopped" => postgres.stop(),
            "paused" => postgres.pause(),
            _ => postgres.kill(),
        }
        // What was shown a moment ago could be shown once more.
        node.wait_ms(vyuha_accounts::overview::FRESH_MS);
        let unexpected = call_all(&node, &admin.token, account, outage).await;
        assert_eq!(unexpected, WITHOUT, "{outage}");
        if outage == "stopped" {
            try_without_end(&node, &admin.token).await;
        }
        if outage == "paused" {
            postgres.resume();
        } else {
            postgres.start_again();
        }
        let deadline = Instant::now() + PATIENCE;
        while node.call("GET", "/me", &admin.token, None).await.status != 200 {
            assert!(Instant::now() < deadline, "{outage}: it does not come back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // What was not judged was no failure.
        node.post("/registrations/confirm", json!({ "token": "vyv_x" })).await.expect(422, "token_invalid");
        let code = Some(json!({ "code": "123456" }));
        let confirmed = node.call("POST", "/me/second-factor/confirm", &admin.token, code).await;
        confirmed.expect(409, "second_factor_present");
        // Nothing that was refused was done.
        let next = node.post("/sessions/refresh", json!({ "refresh_token": refresh })).await.expect(200, "");
        refresh = next.text("refresh_token");
        node.sign_in(EMAIL, PASSWORD).await.expect(201, "");
        let found = admin.call(&node, "GET", "/staff/accounts", None).await.expect(200, "").json();
        let found = found["accounts"].as_array().unwrap();
        assert_eq!(found.len(), 2, "{outage}: {found:?}");
        assert!(found.iter().all(|account| account.get("suspended_until_ms").is_none_or(Value::is_null)));
    }
}
