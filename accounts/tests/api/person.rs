//! What a person may ask about themselves: an export, and the end of the account.

use serde_json::json;
use vyuha_accounts::ThrownOut;

use crate::node::{EMAIL, Node, PASSWORD};
use crate::staff::Member;

const MONTH_MS: i64 = 30 * 24 * 60 * 60_000;

#[tokio::test]
async fn the_export_tells_all_and_no_secret() {
    let mut node = Node::start().await;
    let account = node.register(EMAIL).await;
    let (token, _) = node.tokens(EMAIL).await;
    let profiles = node.call("GET", "/me/profiles", &token, None).await.expect(200, "").json();
    let path = format!("/me/profiles/{}/characters", profiles["active"]);
    node.call("POST", &path, &token, Some(json!({ "name": "Abe" }))).await.expect(201, "");
    let wrong = json!({ "password": "another password" });
    node.call("POST", "/me/export", &token, Some(wrong)).await.expect(401, "credentials_wrong");
    let proof = json!({ "password": PASSWORD });
    let export = node.call("POST", "/me/export", &token, Some(proof.clone())).await.expect(200, "").json();
    let sections = &export["sections"];
    assert_eq!(
        (&sections["account"][0]["account"], &sections["account"][0]["email"]),
        (&json!(account), &json!(EMAIL))
    );
    assert_eq!(sections["characters"][0]["name"], "Abe");
    assert_eq!(sections["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(sections["ledger"][0]["moved_in"], 0);
    let names: Vec<_> = sections.as_object().unwrap().keys().map(String::as_str).collect();
    for name in ["identities", "profiles", "debts", "items", "events", "role", "staff_actions"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    assert!(!export.to_string().contains("$argon2"));
    // With a second factor the password alone does not do.
    let staff = Member::first(&mut node).await;
    staff.call(&node, "POST", "/me/export", Some(proof)).await.expect(401, "second_factor_required");
}

#[tokio::test]
async fn an_account_goes_a_month_after_its_owner_said_so() {
    let mut node = Node::start().await;
    let account = node.register(EMAIL).await;
    let (token, refresh) = node.tokens(EMAIL).await;
    let wish = |account: i64, password: &str| Some(json!({ "account": account, "password": password }));
    node.call("DELETE", "/me", &token, wish(account + 1, PASSWORD)).await.expect(422, "body_invalid");
    node.call("DELETE", "/me", &token, wish(account, "another one")).await.expect(401, "credentials_wrong");
    let asked = node.call("DELETE", "/me", &token, wish(account, PASSWORD)).await.expect(202, "").json();
    assert_eq!(asked["erase_ms"].as_i64().unwrap(), node.service_ms() + MONTH_MS);
    assert_eq!(node.thrown_out().await, ThrownOut::Suspended(account));
    node.call("GET", "/me", &token, None).await.expect(401, "unauthorized");
    node.post("/sessions/refresh", json!({ "refresh_token": refresh })).await.expect(401, "refresh_invalid");
    // Whoever signs in has changed their mind.
    node.wait_ms(MONTH_MS - 1);
    let (token, _) = node.tokens(EMAIL).await;
    node.wait_ms(2);
    node.service.upkeep().await.unwrap();
    node.call("GET", "/me", &token, None).await.expect(200, "");
    node.call("DELETE", "/me", &token, wish(account, PASSWORD)).await.expect(202, "");
    assert_eq!(node.thrown_out().await, ThrownOut::Suspended(account));
    node.wait_ms(MONTH_MS);
    // One that plays waits.
    node.game.play(account, 1);
    node.service.upkeep().await.unwrap();
    assert_eq!(node.thrown_out().await, ThrownOut::Suspended(account));
    node.game.leave(account);
    node.service.upkeep().await.unwrap();
    node.sign_in(EMAIL, PASSWORD).await.expect(401, "credentials_wrong");
    // The address is free for somebody new.
    assert!(node.register(EMAIL).await > account);
}
