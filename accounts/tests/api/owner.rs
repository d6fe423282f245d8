//! What an owner shows once more before the ways in to the account change: the password, or that they have just signed in where
//! there is none.

use serde_json::{Value, json};

use crate::factor::code;
use crate::node::{EMAIL, Node, PASSWORD};

const FRESH_MS: i64 = 5 * 60_000;

async fn execute(node: &Node, sql: &'static str, values: Vec<vyuha_record::Value>) {
    let work = node.sql.transaction(move |tx| Ok::<_, vyuha_store::sql::SqlError>(tx.execute(sql, &values)?));
    work.await.unwrap();
}

/// Links an identity of the provider of the tests, and one of another.
async fn link(node: &Node, account: i64) {
    for issuer in ["http://127.0.0.1:9", "https://other.example.com"] {
        let sql = "INSERT INTO identity (issuer, subject, account, linked_ms) VALUES (?1, 'asha', ?2, 0)";
        execute(node, sql, vec![issuer.into(), account.into()]).await;
    }
}

/// An access token of a new session of somebody who has two identities and no password.
async fn without_password(node: &mut Node) -> String {
    let account = node.register(EMAIL).await;
    let (access, _) = node.tokens(EMAIL).await;
    link(node, account).await;
    execute(node, "UPDATE account SET password_hash = '' WHERE id = ?1", vec![account.into()]).await;
    access
}

/// Each change of a way in, without a password to show.
fn changes() -> [(&'static str, &'static str, Value); 4] {
    [
        ("POST", "/me/identities/example/flows", json!({})),
        ("POST", "/me/identities/example/remove", json!({})),
        ("PUT", "/me/password", json!({ "new_password": "another password" })),
        ("POST", "/me/second-factor", json!({})),
    ]
}

#[tokio::test]
async fn without_a_password_an_old_session_changes_no_way_in() {
    let mut node = Node::start().await;
    let access = without_password(&mut node).await;
    node.wait_ms(FRESH_MS);
    for (method, path, body) in changes() {
        // No password is the right one.
        for password in [None, Some(""), Some(PASSWORD)] {
            let mut body = body.clone();
            if let Some(password) = password {
                body["password"] = password.into();
            }
            node.call(method, path, &access, Some(body)).await.expect(401, "sign_in_again");
        }
    }
    node.no_mail().await;
}

#[tokio::test]
async fn without_a_password_who_has_just_signed_in_changes_the_ways_in() {
    let mut node = Node::start().await;
    let access = without_password(&mut node).await;
    node.wait_ms(FRESH_MS - 1);
    let call = async |method, path: &str, body: Value| node.call(method, path, &access, Some(body)).await;
    // Nobody listens at the provider's port.
    call("POST", "/me/identities/example/flows", json!({})).await.expect(503, "provider_unavailable");
    call("POST", "/me/identities/example/remove", json!({})).await.expect(204, "");
    let begun = call("POST", "/me/second-factor", json!({})).await.expect(200, "");
    let secret = begun.text("secret");
    let on = call("POST", "/me/second-factor/confirm", json!({ "code": code(&node, &secret, 0) })).await;
    let recovery = on.expect(200, "").json()["recovery_codes"].as_array().unwrap().clone();
    let new = |code: Option<&Value>| json!({ "new_password": "another password", "code": code });
    call("PUT", "/me/password", new(None)).await.expect(401, "second_factor_required");
    call("PUT", "/me/password", new(Some(&"000000".into()))).await.expect(401, "second_factor_wrong");
    call("PUT", "/me/password", new(Some(&recovery[0]))).await.expect(204, "");
    // From now on it is the password that counts.
    call("PUT", "/me/password", new(Some(&recovery[1]))).await.expect(401, "credentials_wrong");
    let right = json!({ "login": EMAIL, "password": "another password", "code": recovery[2] });
    node.post("/sessions", right).await.expect(201, "");
    let mail = node.mail().await;
    assert!(mail.to == EMAIL && mail.text.contains("was taken away"), "{mail:?}");
    node.mail().await;
}

#[tokio::test]
async fn who_has_a_password_shows_it_to_unlink() {
    let mut node = Node::start().await;
    let account = node.register(EMAIL).await;
    let (access, _) = node.tokens(EMAIL).await;
    link(&node, account).await;
    let unlink =
        async |body: Value| node.call("POST", "/me/identities/example/remove", &access, Some(body)).await;
    for wrong in [json!({}), json!({ "password": "not it" })] {
        unlink(wrong).await.expect(401, "credentials_wrong");
    }
    unlink(json!({ "password": PASSWORD })).await.expect(204, "");
    unlink(json!({ "password": PASSWORD })).await.expect(404, "identity_unknown");
}

/// A session that was ended elsewhere: an access token of it may still be taken for good by another node.
#[tokio::test]
async fn a_session_that_is_over_changes_no_way_in() {
    let mut node = Node::start().await;
    let access = without_password(&mut node).await;
    execute(&node, "UPDATE session SET ended_ms = created_ms", Vec::new()).await;
    for (method, path, body) in changes() {
        node.call(method, path, &access, Some(body)).await.expect(401, "unauthorized");
    }
}
