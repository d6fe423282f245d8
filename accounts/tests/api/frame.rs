//! What holds for every request: shape, size, time, version, ids, keys.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{Request, parse};
use crate::node::{EMAIL, Node, PASSWORD};

#[tokio::test]
async fn bad_bodies_are_refused_with_a_code() {
    let node = Node::start().await;
    let check = async |body: &[u8], status: u16, code: &str| {
        let request =
            Request::new("POST", "/api/v1/registrations").header("Content-Type", "application/json");
        node.send(request.body(body)).await.expect(status, code);
    };
    check(b"", 400, "body_malformed").await;
    check(b"{", 400, "body_malformed").await;
    check(b"\xff\xfe", 400, "body_malformed").await;
    check(&b"[".repeat(10_000), 400, "body_malformed").await;
    check(b"[]", 422, "body_invalid").await;
    check(br#"["a@b.co","a password"]"#, 422, "body_invalid").await;
    check(b"null", 422, "body_invalid").await;
    check(b"{}", 422, "body_invalid").await;
    check(br#"{"email":1,"password":"a password"}"#, 422, "body_invalid").await;
    check(br#"{"email":"a@b.co","password":"a password","admin":true}"#, 422, "body_invalid").await;
    check(br#"{"email":"a@b.co","email":"a@b.co","password":"a password"}"#, 422, "body_invalid").await;
    check(br#"{"email":"a@b.co\r\nBcc: c@d.co","password":"a password"}"#, 422, "email_invalid").await;
    check(br#"{"email":"a","password":"a password"}"#, 422, "email_invalid").await;
    check(br#"{"email":"a@b.co","password":"short"}"#, 422, "password_invalid").await;
    check(&b" ".repeat(16 * 1024 + 1), 413, "body_too_large").await;
    for media_type in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let request = Request::new("POST", "/api/v1/registrations").header("Content-Type", media_type);
        node.send(request.body(b"{}")).await.expect(415, "content_type_unsupported");
    }
}

#[tokio::test]
async fn requests_are_counted_by_the_route_that_took_them() {
    let node = Node::start().await;
    node.send(Request::new("GET", "/api/v1/me")).await.expect(401, "unauthorized");
    node.send(Request::new("GET", "/api/me").header("API-Version", "1")).await.expect(401, "unauthorized");
    for session in ["one", "another"] {
        let request = Request::new("DELETE", &format!("/api/v1/me/sessions/{session}"));
        node.send(request).await.expect(401, "unauthorized");
    }
    node.send(Request::new("GET", "/whatever/anybody/asks")).await.expect(404, "not_found");
    node.send(Request::new("BREW", "/api/v1/me")).await.expect(405, "method_not_allowed");
    let text = node.metrics.encode().unwrap();
    for line in [
        r#"vyuha_api_requests_total{method="GET",route="/api/v1/me",status="401"} 2"#,
        r#"vyuha_api_requests_total{method="DELETE",route="/api/v1/me/sessions/{session}",status="401"} 2"#,
        r#"vyuha_api_requests_total{method="GET",route="none",status="404"} 1"#,
        r#"vyuha_api_request_seconds_count{method="GET",route="/api/v1/me"} 2"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    assert!(
        !text.contains("BREW") && !text.contains("whatever"),
        "what callers write makes no series: {text}"
    );
}

#[tokio::test]
async fn paths_methods_and_versions_are_known_or_refused() {
    let node = Node::start().await;
    let check = async |method: &'static str, path: &str, status: u16, code: &str| {
        node.send(Request::new(method, path)).await.expect(status, code);
    };
    check("GET", "/", 404, "not_found").await;
    check("GET", "/api/v1/none", 404, "not_found").await;
    check("GET", "/api/v1/../../etc/passwd", 404, "not_found").await;
    check("GET", "/api/v1/%2e%2e/%00", 404, "not_found").await;
    check("PATCH", "/api/v1/me", 405, "method_not_allowed").await;
    check("GET", "/api/v2/me", 400, "version_unknown").await;
    check("GET", "/api/me", 400, "version_unknown").await;
    let by_header = Request::new("GET", "/api/me").header("API-Version", "1");
    node.send(by_header).await.expect(401, "unauthorized");
    let unknown = Request::new("GET", "/api/me").header("API-Version", "9");
    node.send(unknown).await.expect(400, "version_unknown");
}

#[tokio::test]
async fn a_request_keeps_the_id_that_it_came_with_if_that_is_one() {
    let node = Node::start().await;
    let id = async |given: Option<&str>| {
        let request = Request::new("GET", "/api/v1/me");
        let request = match given {
            Some(given) => request.header("X-Request-Id", given),
            None => request,
        };
        node.send(request).await.headers["x-request-id"].clone()
    };
    assert_eq!(id(Some("trace-1.a_B")).await, "trace-1.a_B");
    let (one, other) = (id(None).await, id(Some("not an id")).await);
    assert!(one.len() == 32 && other.len() == 32 && one != other);
}

#[tokio::test]
async fn a_write_with_a_key_is_done_once() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (access, refresh) = node.tokens(EMAIL).await;
    let keyed = |key: &str, body: &serde_json::Value| {
        Request::new("POST", "/api/v1/sessions/refresh").header("Idempotency-Key", key).json(body)
    };
    let body = json!({ "refresh_token": refresh });
    let first = node.send(keyed("k1", &body)).await.expect(200, "");
    let again = node.send(keyed("k1", &body)).await.expect(200, "");
    assert_eq!(first.body, again.body, "the token was not used twice");
    node.send(keyed("k1", &json!({ "refresh_token": "x" }))).await.expect(422, "idempotency_key_reused");
    for key in ["", "a b", &"x".repeat(65)] {
        node.send(keyed(key, &body)).await.expect(400, "idempotency_key_invalid");
    }
    node.send(keyed("k2", &json!({ "refresh_token": " ".repeat(20_000) })))
        .await
        .expect(413, "body_too_large");
    // What was refused is judged anew.
    for _ in 0..2 {
        node.send(keyed("k3", &json!({ "refresh_token": "x" }))).await.expect(401, "refresh_invalid");
    }
    node.send(keyed("k3", &json!({ "refresh_token": "y" }))).await.expect(401, "refresh_invalid");
    let put = Request::new("PUT", "/api/v1/sessions/refresh").header("Idempotency-Key", "k1").json(&body);
    node.send(put).await.expect(405, "method_not_allowed");
    // A key is its caller's.
    let (others, _) = node.tokens(EMAIL).await;
    let ticket =
        |token: &str| Request::new("POST", "/api/v1/tickets").header("Idempotency-Key", "k1").bearer(token);
    let (mine, theirs) = (node.send(ticket(&access)).await, node.send(ticket(&others)).await);
    assert_ne!(mine.text("ticket"), theirs.text("ticket"));
    assert_eq!(node.send(ticket(&access)).await.text("ticket"), mine.text("ticket"));
}

#[tokio::test]
async fn what_was_answered_to_one_address_is_answered_to_no_other_behind_the_same_proxy() {
    let node = Node::with(|config| config.behind_proxy = true).await;
    let registration = async |from: &str, authorization: Option<&str>| {
        let request = Request::new("POST", "/api/v1/registrations").header("Idempotency-Key", "k");
        let request = request.json(&json!({ "email": EMAIL, "password": PASSWORD }));
        let request = request.header("X-Forwarded-For", from);
        let request =
            authorization.into_iter().fold(request, |request, said| request.header("Authorization", said));
        node.send(request).await.expect(202, "").text("registration")
    };
    let first = registration("192.0.2.1", None).await;
    assert_eq!(registration("192.0.2.1", None).await, first);
    assert_ne!(registration("192.0.2.2", None).await, first);
    for name in ["192.0.2.1", "Some(127.0.0.1) None"] {
        assert_ne!(registration("192.0.2.3", Some(name)).await, first, "{name}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_call_if_they_are_configured() {
    let node = Node::start().await;
    let preflight = async |origin: &str| {
        let request = Request::new("OPTIONS", "/api/v1/sessions")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "content-type");
        request.send_raw(node.address).await.headers.get("access-control-allow-origin").cloned()
    };
    assert_eq!(preflight("https://play.example.com").await.as_deref(), Some("https://play.example.com"));
    assert_eq!(preflight("https://evil.example.com").await, None);
    assert_eq!(preflight("null").await, None);
    let answered =
        node.send(Request::new("GET", "/api/v1/me").header("Origin", "https://evil.example.com")).await;
    assert!(!answered.headers.contains_key("access-control-allow-origin"));
    assert!(!answered.headers.contains_key("access-control-allow-credentials"));
}

#[tokio::test]
async fn long_answers_are_compressed_and_short_ones_are_not() {
    let mut node = Node::start().await;
    let zipped = |path: &str| Request::new("GET", path).header("Accept-Encoding", "gzip");
    let document = zipped("/api/v1/openapi.json").send_raw(node.address).await;
    assert_eq!(document.headers["content-encoding"], "gzip");
    node.register(EMAIL).await;
    let sign_in = Request::new("POST", "/api/v1/sessions").header("Accept-Encoding", "gzip");
    let sign_in = sign_in.json(&json!({ "login": EMAIL, "password": PASSWORD }));
    assert!(!node.send(sign_in).await.headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn a_slow_body_is_waited_for_so_long_and_no_longer() {
    let node = Node::start().await;
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let head = "POST /api/v1/sessions HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    tokio::time::pause();
    let mut received = vec![0; 4096];
    let begun = tokio::time::Instant::now();
    let bytes = stream.read(&mut received).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(9), "{:?}", begun.elapsed());
    parse(&received[..bytes]).expect(408, "request_timeout");
    // Nothing more is read of it.
    let ended = stream.read(&mut received).await;
    assert!(matches!(&ended, Ok(0)) || ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
}
