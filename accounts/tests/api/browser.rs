//! Pages in a browser: what their cookie opens, and what a page elsewhere cannot do with it.

use serde_json::{Value, json};

use crate::client::{Answer, Request};
use crate::node::{EMAIL, Node, PASSWORD};

const SITE: &str = "https://play.example.com";
const ELSEWHERE: &str = "https://evil.example.com";

/// A browser that signed in on a page of the site: what it sends as its cookie.
async fn sign_in(node: &Node, email: &str) -> String {
    let opened =
        from_page(node, "POST", "/browser-session", None, Some(SITE), Some(credentials(email))).await;
    let opened = opened.expect(201, "");
    assert!(!String::from_utf8_lossy(&opened.body).contains("vyc_"), "scripts read the body");
    opened.headers["set-cookie"].split(';').next().unwrap().to_owned()
}

fn credentials(email: &str) -> Value {
    json!({ "login": email, "password": PASSWORD })
}

async fn from_page(
    node: &Node,
    method: &'static str,
    path: &str,
    cookie: Option<&str>,
    origin: Option<&str>,
    body: Option<Value>,
) -> Answer {
    let mut request = Request::new(method, &format!("/api/v1{path}"));
    for (name, value) in [("Cookie", cookie), ("Origin", origin)] {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    node.send(body.iter().fold(request, Request::json)).await
}

#[tokio::test]
async fn a_cookie_opens_what_a_token_does_until_it_is_given_back() {
    let mut node = Node::start().await;
    let account = node.register(EMAIL).await;
    let cookie = sign_in(&node, EMAIL).await;
    assert!(cookie.starts_with("__Host-vyuha=vyc_"), "{cookie}");
    let me = from_page(&node, "GET", "/me", Some(&cookie), None, None).await.expect(200, "");
    assert_eq!(me.json()["account"], account);
    let sessions = from_page(&node, "GET", "/me/sessions", Some(&cookie), None, None).await.expect(200, "");
    assert_eq!(sessions.json()["sessions"][0]["current"], true);
    from_page(&node, "POST", "/tickets", Some(&cookie), Some(SITE), None).await.expect(201, "");
    let out = from_page(&node, "DELETE", "/browser-session", Some(&cookie), Some(SITE), None).await;
    let out = out.expect(204, "");
    assert!(out.headers["set-cookie"].starts_with("__Host-vyuha=; "), "{out:?}");
    assert!(out.headers["set-cookie"].contains("Max-Age=0"), "{out:?}");
    from_page(&node, "GET", "/me", Some(&cookie), None, None).await.expect(401, "unauthorized");
}

#[tokio::test]
async fn a_page_elsewhere_does_nothing_with_it() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let cookie = sign_in(&node, EMAIL).await;
    let change = json!({ "password": PASSWORD, "new_password": "another password" });
    for origin in [None, Some(ELSEWHERE), Some("null"), Some("http://play.example.com")] {
        for (method, path, body) in [
            ("POST", "/tickets", None),
            ("PUT", "/me/password", Some(change.clone())),
            ("DELETE", "/me/sessions", None),
            ("DELETE", "/browser-session", None),
        ] {
            let answer = from_page(&node, method, path, Some(&cookie), origin, body).await;
            answer.expect(403, "origin_refused");
        }
        // Nor does it sign somebody in to an account of its own.
        let answer =
            from_page(&node, "POST", "/browser-session", None, origin, Some(credentials(EMAIL))).await;
        let answer = answer.expect(403, "origin_refused");
        assert!(!answer.headers.contains_key("set-cookie"));
    }
    from_page(&node, "GET", "/me", Some(&cookie), Some(SITE), None).await.expect(200, "");
    // What it reads, its browser keeps from it.
    let read = from_page(&node, "GET", "/me", Some(&cookie), Some(ELSEWHERE), None).await;
    assert!(!read.headers.contains_key("access-control-allow-origin"), "{read:?}");
    let own = from_page(&node, "GET", "/me", Some(&cookie), Some(SITE), None).await;
    assert_eq!(own.headers["access-control-allow-origin"], SITE);
    assert_eq!(own.headers["access-control-allow-credentials"], "true");
}

#[tokio::test]
async fn only_cookies_of_sessions_that_last_are_any_good() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let cookie = sign_in(&node, EMAIL).await;
    let (access, refresh) = node.tokens(EMAIL).await;
    for wrong in ["__Host-vyuha=", "__Host-vyuha=vyc_x", "vyuha=vyc_x", &format!("__Host-vyuha={refresh}")] {
        let answer = from_page(&node, "GET", "/me", Some(wrong), None, None).await;
        answer.expect(401, "unauthorized");
    }
    // A header is judged alone, whatever cookie comes with it.
    let both = Request::new("GET", "/api/v1/me").header("Cookie", &cookie).bearer("x");
    node.send(both).await.expect(401, "unauthorized");
    let both = Request::new("POST", "/api/v1/tickets").header("Cookie", &cookie).bearer(&access);
    node.send(both).await.expect(201, "");
    node.call("DELETE", "/me/sessions", &access, None).await.expect(204, "");
    from_page(&node, "GET", "/me", Some(&cookie), None, None).await.expect(401, "unauthorized");
    let late = sign_in(&node, EMAIL).await;
    node.wait_ms(30 * 24 * 60 * 60_000);
    from_page(&node, "GET", "/me", Some(&late), None, None).await.expect(401, "unauthorized");
    node.service.tidy().await.unwrap();
    let rows = node.sql.transaction(|tx| {
        Ok::<_, vyuha_store::sql::SqlError>(tx.query("SELECT hash FROM browser_session", &[])?)
    });
    assert_eq!(rows.await.unwrap(), []);
}

#[tokio::test]
async fn what_was_answered_to_one_browser_is_not_answered_to_another_at_its_address() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    node.register("ravi@example.com").await;
    let (ashas, ravis) = (sign_in(&node, EMAIL).await, sign_in(&node, "ravi@example.com").await);
    let ticket = async |cookie: &str| {
        let request = Request::new("POST", "/api/v1/tickets").header("Idempotency-Key", "k");
        let answer = node.send(request.header("Cookie", cookie).header("Origin", SITE)).await.expect(201, "");
        answer.text("ticket")
    };
    let first = ticket(&ashas).await;
    assert_eq!(ticket(&ashas).await, first);
    assert_eq!(ticket(&format!("another=cookie; {ashas}")).await, first);
    assert_ne!(ticket(&ravis).await, first);
}

#[tokio::test]
async fn without_tls_the_cookie_is_plain() {
    let mut node = Node::with(|config| config.site = "http://localhost:7781".into()).await;
    node.register(EMAIL).await;
    let origin = Some("http://localhost:7781");
    let opened = from_page(&node, "POST", "/browser-session", None, origin, Some(credentials(EMAIL))).await;
    let set = opened.expect(201, "").headers["set-cookie"].clone();
    assert!(set.starts_with("vyuha=vyc_") && !set.contains("Secure"), "{set}");
    let cookie = set.split(';').next().unwrap();
    from_page(&node, "GET", "/me", Some(cookie), None, None).await.expect(200, "");
}
