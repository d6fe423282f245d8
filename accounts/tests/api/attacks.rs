//! What strangers try.

use serde_json::{Value, json};

use crate::client::{Answer, Request};
use crate::node::{EMAIL, Node, PASSWORD};

/// What can be told from an answer: everything but what is random or the time.
fn shape(answer: &Answer) -> (u16, Vec<String>, Value) {
    let mut headers: Vec<String> = answer.headers.keys().cloned().collect();
    headers.sort();
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    if let Some(registration) = body.get_mut("registration") {
        *registration = registration.as_str().unwrap().len().into();
    }
    (answer.status, headers, body)
}

#[tokio::test]
async fn no_answer_tells_who_has_an_account() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    for (path, body) in [
        ("/registrations", json!({ "email": "EMAIL", "password": PASSWORD })),
        ("/password-resets", json!({ "email": "EMAIL" })),
        ("/sessions", json!({ "login": "EMAIL", "password": "not the password" })),
        ("/sessions", json!({ "login": "EMAIL", "password": "x".repeat(129) })),
    ] {
        let with = |email: &str| serde_json::from_str(&body.to_string().replace("EMAIL", email)).unwrap();
        let known = node.post(path, with(EMAIL)).await;
        let unknown = node.post(path, with("nobody@example.com")).await;
        assert_eq!(shape(&known), shape(&unknown), "{path}");
    }
    // Only the owner of the mailbox learns of it.
    let (first, second, third) = (node.mail().await, node.mail().await, node.mail().await);
    assert!(first.to == EMAIL && first.text.contains("already"), "{first:?}");
    assert!(second.to == "nobody@example.com" && second.text.contains("vyv_"), "{second:?}");
    assert!(third.to == EMAIL && third.text.contains("vyp_"), "{third:?}");
    node.no_mail().await;
}

#[tokio::test]
async fn five_failures_shut_a_login_for_an_address_whether_it_exists_or_not() {
    let mut node = Node::with(|config| config.behind_proxy = true).await;
    node.register(EMAIL).await;
    let try_it = async |login: &str, password: &str, from: &str| {
        let request = Request::new("POST", "/api/v1/sessions").header("X-Forwarded-For", from);
        node.send(request.json(&json!({ "login": login, "password": password }))).await
    };
    for login in [EMAIL, "nobody@example.com"] {
        for _ in 0..5 {
            try_it(login, "not the password", "192.0.2.1").await.expect(401, "credentials_wrong");
        }
        // Not even the right one tells that it is right.
        let refused = try_it(&login.to_uppercase(), PASSWORD, "192.0.2.1").await;
        let refused = refused.expect(429, "too_many_attempts");
        assert_eq!(refused.headers["retry-after"], "900");
    }
    try_it(EMAIL, PASSWORD, "192.0.2.2").await.expect(201, "");
    node.wait_ms(15 * 60_000 - 1);
    try_it(EMAIL, PASSWORD, "192.0.2.1").await.expect(429, "too_many_attempts");
    node.wait_ms(1);
    for _ in 0..10 {
        try_it(EMAIL, PASSWORD, "192.0.2.1").await.expect(201, "");
    }
}

#[tokio::test]
async fn a_forwarded_address_counts_only_behind_a_proxy() {
    let node = Node::start().await;
    for attempt in 0..6 {
        let request =
            Request::new("POST", "/api/v1/sessions").header("X-Forwarded-For", &format!("192.0.2.{attempt}"));
        let answer = node.send(request.json(&json!({ "login": EMAIL, "password": "not it" }))).await;
        assert_eq!(answer.status, if attempt < 5 { 401 } else { 429 });
    }
}

#[tokio::test]
async fn one_address_tries_many_accounts_so_often_and_no_more() {
    let node = Node::start().await;
    for account in 0..50 {
        node.sign_in(&format!("player{account}"), "password").await.expect(401, "credentials_wrong");
    }
    node.sign_in("player50", "password").await.expect(429, "too_many_attempts");
}

#[tokio::test]
async fn a_mailbox_is_not_flooded_and_an_address_sends_so_much_and_no_more() {
    let mut node = Node::start().await;
    for attempt in 0..21 {
        let answer = node.post("/password-resets", json!({ "email": EMAIL })).await;
        assert_eq!(answer.status, if attempt < 20 { 202 } else { 429 });
    }
    node.wait_ms(60 * 60_000);
    for _ in 0..5 {
        node.post("/registrations", json!({ "email": EMAIL, "password": PASSWORD })).await.expect(202, "");
    }
    for _ in 0..3 {
        node.mail().await;
    }
    node.no_mail().await;
}

#[tokio::test]
async fn a_copied_refresh_token_ends_everything_that_came_of_its_session() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (access, stolen) = node.tokens(EMAIL).await;
    let refresh = async |token: &str| node.post("/sessions/refresh", json!({ "refresh_token": token })).await;
    let owners = refresh(&stolen).await.expect(200, "");
    let ticket = node.call("POST", "/tickets", &access, None).await.expect(201, "").text("ticket");
    refresh(&stolen).await.expect(401, "refresh_invalid");
    refresh(&owners.text("refresh_token")).await.expect(401, "refresh_invalid");
    node.call("GET", "/me", &access, None).await.expect(401, "unauthorized");
    node.call("GET", "/me", &owners.text("access_token"), None).await.expect(401, "unauthorized");
    assert_eq!(node.service.redeem_ticket(ticket).await.unwrap(), None);
    for text in ["", "vyr_", "x", &"vyr_x".repeat(1000), "vyr_'; DROP TABLE session; --"] {
        refresh(text).await.expect(401, "refresh_invalid");
    }
    node.sign_in(EMAIL, PASSWORD).await.expect(201, "");
}

#[tokio::test]
async fn of_many_who_show_a_token_at_once_one_has_it() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    node.post("/password-resets", json!({ "email": EMAIL })).await.expect(202, "");
    let token = node.mail().await.token("vyp_");
    let reset = json!({ "token": token, "password": "another password" });
    let all = [(); 8].map(|()| {
        tokio::spawn({
            let request = Request::new("POST", "/api/v1/password-resets/confirm").json(&reset);
            let address = node.address;
            async move { request.send(address).await.status }
        })
    });
    let mut done = 0;
    for one in all {
        done += usize::from(one.await.unwrap() == 204);
    }
    assert_eq!(done, 1);
}

#[tokio::test]
async fn a_session_of_another_is_not_there() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    node.register("ravi@example.com").await;
    let (_, _) = node.tokens(EMAIL).await;
    let others = node.sign_in("ravi@example.com", PASSWORD).await;
    let (mine, _) = node.tokens(EMAIL).await;
    for id in [others.text("session").as_str(), "x", "%27%20OR%201=1", "..%2F..%2Fme"] {
        let refused = node.call("DELETE", &format!("/me/sessions/{id}"), &mine, None).await;
        refused.expect(404, "session_unknown");
    }
    node.call("GET", "/me", &others.text("access_token"), None).await.expect(200, "");
}

#[tokio::test]
async fn tokens_that_are_none_let_nobody_in() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (access, refresh) = node.tokens(EMAIL).await;
    let (head, rest) = access.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    // {"alg":"none","typ":"at+jwt"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0";
    for token in [
        refresh.as_str(),
        "",
        "x",
        "..",
        &format!("{none}.{claims}."),
        &format!("{none}.{claims}.{signature}"),
        &format!("{head}.{claims}"),
        &format!("{head}.{claims}."),
        &format!("{head}.{claims}.{signature}."),
        &"x".repeat(4000),
    ] {
        node.call("GET", "/me", token, None).await.expect(401, "unauthorized");
    }
    let twice = Request::new("GET", "/api/v1/me").bearer(&access).bearer(&access);
    node.send(twice).await.expect(401, "unauthorized");
    let missing = node.send(Request::new("GET", "/api/v1/me")).await.expect(401, "unauthorized");
    assert_eq!(missing.headers["www-authenticate"], "Bearer");
    node.call("GET", "/me", &access, None).await.expect(200, "");
}

#[tokio::test]
async fn a_token_of_another_place_is_no_good_here() {
    let mut node = Node::start().await;
    let mut other = Node::with(|config| config.site = "https://other.example.com".into()).await;
    node.register(EMAIL).await;
    other.register(EMAIL).await;
    let (access, _) = other.tokens(EMAIL).await;
    other.call("GET", "/me", &access, None).await.expect(200, "");
    node.call("GET", "/me", &access, None).await.expect(401, "unauthorized");
}
