//! What people do, from the first mail to the last sign-out.

use serde_json::json;
use vyuha_gateway::accounts::HashCost;

use crate::client::Request;
use crate::node::{CHEAP, EMAIL, Node, PASSWORD, config};

#[tokio::test]
async fn from_an_address_to_a_session_and_out_again() {
    let mut node = Node::start().await;
    let account = node.register("Asha@Example.com".to_lowercase().as_str()).await;
    let tokens = node.sign_in("ASHA@example.com", PASSWORD).await.expect(201, "");
    let (access, refresh) = (tokens.text("access_token"), tokens.text("refresh_token"));
    let me = node.call("GET", "/me", &access, None).await.expect(200, "").json();
    assert_eq!(
        (&me["account"], &me["email"], &me["second_factor"]),
        (&account.into(), &EMAIL.into(), &false.into())
    );
    let by_name = node.sign_in(me["name"].as_str().unwrap(), PASSWORD).await.expect(201, "");
    let listed = node.call("GET", "/me/sessions", &access, None).await.expect(200, "").json();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 2);
    let next = node.post("/sessions/refresh", json!({ "refresh_token": refresh })).await.expect(200, "");
    assert_eq!(next.text("session"), tokens.text("session"));
    // One's own session ends with its tokens, and no other does.
    let path = format!("/me/sessions/{}", tokens.text("session"));
    node.call("DELETE", &path, &access, None).await.expect(204, "");
    node.call("GET", "/me", &access, None).await.expect(401, "unauthorized");
    node.call("GET", "/me", &next.text("access_token"), None).await.expect(401, "unauthorized");
    node.post("/sessions/refresh", json!({ "refresh_token": next.text("refresh_token") }))
        .await
        .expect(401, "refresh_invalid");
    node.call("GET", "/me", &by_name.text("access_token"), None).await.expect(200, "");
}

#[tokio::test]
async fn an_access_token_ends_after_a_quarter_of_an_hour_and_its_session_does_not() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (access, refresh) = node.tokens(EMAIL).await;
    node.wait_ms(15 * 60_000 - 1000);
    node.call("GET", "/me", &access, None).await.expect(200, "");
    node.wait_ms(1000);
    node.call("GET", "/me", &access, None).await.expect(401, "unauthorized");
    let next = node.post("/sessions/refresh", json!({ "refresh_token": refresh })).await.expect(200, "");
    node.call("GET", "/me", &next.text("access_token"), None).await.expect(200, "");
}

#[tokio::test]
async fn a_mail_that_did_not_come_is_sent_again_with_another_token() {
    let mut node = Node::start().await;
    let registered =
        node.post("/registrations", json!({ "email": EMAIL, "password": PASSWORD })).await.expect(202, "");
    let first = node.mail().await.token("vyv_");
    let resend = json!({ "registration": registered.text("registration") });
    node.post("/registrations/resend", resend).await.expect(202, "");
    let second = node.mail().await.token("vyv_");
    node.post("/registrations/confirm", json!({ "token": first })).await.expect(422, "token_invalid");
    node.post("/registrations/confirm", json!({ "token": second })).await.expect(201, "");
    node.post("/registrations/confirm", json!({ "token": second })).await.expect(422, "token_invalid");
    let unknown = json!({ "registration": "vyg_unknown" });
    node.post("/registrations/resend", unknown).await.expect(202, "");
    node.no_mail().await;
}

#[tokio::test]
async fn a_forgotten_password_is_set_anew_once_and_every_session_ends() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (access, refresh) = node.tokens(EMAIL).await;
    let ticket = node.call("POST", "/tickets", &access, None).await.expect(201, "").text("ticket");
    node.post("/password-resets", json!({ "email": EMAIL })).await.expect(202, "");
    let replaced = node.mail().await.token("vyp_");
    node.post("/password-resets", json!({ "email": EMAIL })).await.expect(202, "");
    let token = node.mail().await.token("vyp_");
    let reset = |token: &str| json!({ "token": token, "password": "another password" });
    node.post("/password-resets/confirm", reset(&replaced)).await.expect(422, "token_invalid");
    let short = json!({ "token": token, "password": "short" });
    node.post("/password-resets/confirm", short).await.expect(422, "password_invalid");
    node.post("/password-resets/confirm", reset(&token)).await.expect(204, "");
    assert!(node.mail().await.text.contains("was changed"));
    node.post("/password-resets/confirm", reset(&token)).await.expect(422, "token_invalid");
    node.call("GET", "/me", &access, None).await.expect(401, "unauthorized");
    node.post("/sessions/refresh", json!({ "refresh_token": refresh })).await.expect(401, "refresh_invalid");
    assert_eq!(node.service.redeem_ticket(ticket).await.unwrap(), None);
    node.sign_in(EMAIL, PASSWORD).await.expect(401, "credentials_wrong");
    node.sign_in(EMAIL, "another password").await.expect(201, "");
}

#[tokio::test]
async fn a_reset_token_ends_after_half_an_hour() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    node.post("/password-resets", json!({ "email": EMAIL })).await.expect(202, "");
    let token = node.mail().await.token("vyp_");
    node.wait_ms(30 * 60_000);
    let reset = json!({ "token": token, "password": "another password" });
    node.post("/password-resets/confirm", reset).await.expect(422, "token_invalid");
    node.sign_in(EMAIL, PASSWORD).await.expect(201, "");
}

#[tokio::test]
async fn a_changed_password_ends_the_other_sessions_only() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (mine, _) = node.tokens(EMAIL).await;
    let (others, refresh) = node.tokens(EMAIL).await;
    let wrong = json!({ "password": "not it, sorry", "new_password": "another password" });
    node.call("PUT", "/me/password", &mine, Some(wrong)).await.expect(401, "credentials_wrong");
    let right = json!({ "password": PASSWORD, "new_password": "another password" });
    node.call("PUT", "/me/password", &mine, Some(right)).await.expect(204, "");
    assert_eq!(node.mail().await.to, EMAIL);
    node.call("GET", "/me", &mine, None).await.expect(200, "");
    node.call("GET", "/me", &others, None).await.expect(401, "unauthorized");
    node.post("/sessions/refresh", json!({ "refresh_token": refresh })).await.expect(401, "refresh_invalid");
    node.sign_in(EMAIL, "another password").await.expect(201, "");
}

#[tokio::test]
async fn sessions_come_in_pages_and_all_others_can_be_ended() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (access, _) = node.tokens(EMAIL).await;
    for _ in 0..4 {
        node.wait_ms(1);
        node.tokens(EMAIL).await;
    }
    let (mut after, mut seen, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let page = node.call("GET", &format!("/me/sessions?limit=2{after}"), &access, None).await;
        let page = page.expect(200, "").json();
        seen.extend(page["sessions"].as_array().unwrap().clone());
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!((seen.len(), pages), (5, 3));
    assert_eq!(seen.iter().filter(|session| session["current"] == true).count(), 1);
    for query in ["limit=0", "limit=101", "limit=x", "after=x", "other=1"] {
        let refused = node.call("GET", &format!("/me/sessions?{query}"), &access, None).await;
        refused.expect(400, "query_invalid");
    }
    node.call("DELETE", "/me/sessions", &access, None).await.expect(204, "");
    let left = node.call("GET", "/me/sessions", &access, None).await.json();
    assert_eq!(left["sessions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_ticket_enters_the_game_once_within_its_minute() {
    let mut node = Node::start().await;
    let account = node.register(EMAIL).await;
    let (access, _) = node.tokens(EMAIL).await;
    let issue = async || {
        let issued = node.call("POST", "/tickets", &access, None).await.expect(201, "");
        assert_eq!(issued.text("address"), "127.0.0.1:7777");
        issued.text("ticket")
    };
    let ticket = issue().await;
    let admitted = node.service.redeem_ticket(ticket.clone()).await.unwrap();
    assert_eq!(admitted.map(|admitted| admitted.account), Some(account));
    assert_eq!(node.service.redeem_ticket(ticket).await.unwrap(), None, "it was used");
    let (older, newer) = (issue().await, issue().await);
    assert_eq!(node.service.redeem_ticket(older).await.unwrap(), None, "there is a newer one");
    node.wait_ms(60_000);
    assert_eq!(node.service.redeem_ticket(newer).await.unwrap(), None, "it is too old");
    let ticket = issue().await;
    let session = node.call("GET", "/me/sessions", &access, None).await.json();
    let session = session["sessions"][0]["id"].as_str().unwrap().to_owned();
    node.call("DELETE", &format!("/me/sessions/{session}"), &access, None).await.expect(204, "");
    assert_eq!(node.service.redeem_ticket(ticket).await.unwrap(), None, "its session is over");
}

#[tokio::test]
async fn a_password_is_hashed_anew_at_the_next_sign_in_when_its_cost_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start().await;
    let mut cheap = Node::open(dir.path(), config(), CHEAP).await;
    cheap.register(EMAIL).await;
    let dear = Node::open(dir.path(), config(), HashCost { memory_kib: 128, ..CHEAP }).await;
    let hash = async || {
        let rows = dear.sql.transaction::<_, vyuha_store::sql::SqlError>(|tx| {
            Ok(tx.query("SELECT password_hash FROM account", &[])?[0].text(0)?)
        });
        rows.await.unwrap()
    };
    assert!(hash().await.contains("m=64,"));
    dear.sign_in(EMAIL, "not the password").await.expect(401, "credentials_wrong");
    assert!(hash().await.contains("m=64,"));
    dear.sign_in(EMAIL, PASSWORD).await.expect(201, "");
    assert!(hash().await.contains("m=128,"));
    dear.sign_in(EMAIL, PASSWORD).await.expect(201, "");
    // A mail server that is another node's gets nothing of these.
    node.no_mail().await;
}

#[tokio::test]
async fn registration_can_be_closed() {
    let node = Node::with(|config| config.open_registration = false).await;
    let register =
        Request::new("POST", "/api/v1/registrations").json(&json!({ "email": EMAIL, "password": PASSWORD }));
    node.send(register).await.expect(403, "registration_closed");
}
