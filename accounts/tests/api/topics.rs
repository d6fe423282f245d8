//! Topics over a real WebSocket: who gets in, what they hear, and why they are let go.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use vyuha_store::sql::SqlError;
use vyuha_topics::message::{Authenticate, ClientMessage, Place, Subscribe, Unsubscribe};
use vyuha_topics::{ACCOUNT_CONNECTIONS_MAX, SITE_CONNECTIONS_MAX, SUBPROTOCOL, Topic};

use crate::client::Request;
use crate::node::{EMAIL, Node, PASSWORD};

const SITE: &str = "https://play.example.com";
const PATIENCE: Duration = Duration::from_secs(20);

/// A page that listens.
struct Page(WebSocketStream<TcpStream>);

/// What a page is told.
#[derive(Debug, PartialEq)]
enum Heard {
    /// A message's name and fields.
    Message(String, Value),
    /// That it is closed, and why.
    Closed(u16, String),
}

impl Page {
    /// Opens a WebSocket with these headers; a status where that is refused.
    async fn open(node: &Node, headers: &[(&'static str, &str)]) -> Result<Page, u16> {
        let mut request = format!("ws://{}/api/v1/topics", node.address).into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", SUBPROTOCOL.parse().unwrap());
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(node.address).await.unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, answer)) => {
                assert_eq!(answer.headers()["sec-websocket-protocol"], SUBPROTOCOL);
                Ok(Page(socket))
            }
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// One that shows an access token in its header, and was welcomed.
    async fn with_token(node: &Node, token: &str) -> Page {
        let mut page = Page::open(node, &[("Authorization", &format!("Bearer {token}"))]).await.ok().unwrap();
        page.expect("Welcome").await;
        page
    }

    async fn send(&mut self, message: &ClientMessage) {
        self.0.send(Message::binary(message.encode())).await.unwrap();
    }

    async fn authenticate(&mut self, token: &str) {
        self.send(&ClientMessage::Authenticate(Authenticate { token: token.to_owned() })).await;
    }

    async fn subscribe(&mut self, topic: &str) -> Heard {
        self.subscribe_after(topic, None).await
    }

    async fn subscribe_after(&mut self, topic: &str, after: Option<Place>) -> Heard {
        let topic = topic.to_owned();
        self.send(&ClientMessage::Subscribe(Subscribe { request: 7, topic, after })).await;
        self.hear().await
    }

    /// What comes next, but for heartbeats.
    async fn hear(&mut self) -> Heard {
        loop {
            let next = timeout(PATIENCE, self.0.next()).await.expect("something comes");
            match next.expect("it was closed with a reason").expect("it is not reset") {
                Message::Binary(bytes) => {
                    let (name, fields): (String, Value) = rmp_serde::from_slice(&bytes).unwrap();
                    if name != "Heartbeat" {
                        return Heard::Message(name, fields);
                    }
                }
                Message::Close(Some(frame)) => {
                    return Heard::Closed(frame.code.into(), frame.reason.to_string());
                }
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The fields of the message of this name, which comes next.
    async fn expect(&mut self, name: &'static str) -> Value {
        match self.hear().await {
            Heard::Message(heard, fields) if heard == name => fields,
            other => panic!("{other:?} in place of {name}"),
        }
    }

    async fn expect_closed(&mut self, status: u16, code: &str) {
        assert_eq!(self.hear().await, Heard::Closed(status, code.to_owned()));
    }
}

fn refused(code: &str) -> Heard {
    Heard::Message("Refused".into(), json!({ "request": 7, "code": code }))
}

async fn sql(node: &Node, sql: &'static str) {
    node.sql.transaction(move |tx| Ok::<_, SqlError>(tx.execute(sql, &[])?)).await.unwrap();
}

#[tokio::test]
async fn whoever_opens_it_speaks_websocket_and_is_who_they_say() {
    let mut node = Node::start().await;
    let account = node.register(EMAIL).await;
    let (token, _) = node.tokens(EMAIL).await;
    let get = || Request::new("GET", "/api/v1/topics");
    node.send(get()).await.expect(426, "upgrade_required");
    node.send(get().bearer(&token)).await.expect(426, "upgrade_required");
    let upgrade = get().header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13");
    let upgrade = upgrade.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    node.send(upgrade.header("Sec-WebSocket-Protocol", "vyuha.msgpack.v1"))
        .await
        .expect(426, "upgrade_required");
    for bad in ["Bearer x", "Basic x", "Bearer"] {
        assert_eq!(Page::open(&node, &[("Authorization", bad)]).await.err(), Some(401), "{bad}");
    }
    let mut page = Page::open(&node, &[("Authorization", &format!("Bearer {token}"))]).await.ok().unwrap();
    assert_eq!(page.expect("Welcome").await["account"], account);

    // A browser sends the cookie along whoever's page it is.
    let wanted = json!({ "login": EMAIL, "password": PASSWORD });
    let signed_in = Request::new("POST", "/api/v1/browser-session").header("Origin", SITE).json(&wanted);
    let signed_in = node.send(signed_in).await.expect(201, "");
    let cookie = signed_in.headers["set-cookie"].split(';').next().unwrap();
    for origin in ["https://evil.example.com", "null"] {
        let opened = Page::open(&node, &[("Cookie", cookie), ("Origin", origin)]).await;
        assert_eq!(opened.err(), Some(403), "{origin}");
    }
    assert_eq!(Page::open(&node, &[("Cookie", cookie)]).await.err(), Some(403));
    let bad = [("Cookie", "__Host-vyuha=vyc_x"), ("Origin", SITE)];
    assert_eq!(Page::open(&node, &bad).await.err(), Some(401));
    let mut page = Page::open(&node, &[("Cookie", cookie), ("Origin", SITE)]).await.ok().unwrap();
    let welcome = page.expect("Welcome").await;
    assert_eq!((&welcome["account"], &welcome["expires_ms"]), (&account.into(), &Value::Null));

    // Who says it first is welcome from anywhere: no browser does that by itself.
    let mut page = Page::open(&node, &[("Origin", "https://evil.example.com")]).await.ok().unwrap();
    page.authenticate(&token).await;
    assert_eq!(page.expect("Welcome").await["account"], account);
    let mut page = Page::open(&node, &[]).await.ok().unwrap();
    page.authenticate("x").await;
    page.expect_closed(4004, "unauthorized").await;
    let mut page = Page::open(&node, &[]).await.ok().unwrap();
    assert_eq!(page.subscribe("world/events").await, Heard::Closed(4004, "unauthorized".into()));
    let mut page = Page::open(&node, &[]).await.ok().unwrap();
    node.wait_ms(11_000);
    page.expect_closed(4004, "unauthorized").await;
}

#[tokio::test]
async fn an_account_hears_what_is_its_own() {
    let mut node = Node::start().await;
    let account = node.register(EMAIL).await;
    let other = node.register("ravi@example.com").await;
    sql(&node, "INSERT INTO character (id, account, name, name_key, zone, x, y, created_ms) SELECT 12, id, 'A', 'a', 1, 0, 0, 0 FROM account WHERE email = 'asha@example.com'").await;
    sql(&node, "INSERT INTO character (id, account, name, name_key, zone, x, y, created_ms) SELECT 13, id, 'B', 'b', 1, 0, 0, 0 FROM account WHERE email = 'ravi@example.com'").await;
    let (token, _) = node.tokens(EMAIL).await;
    let mut page = Page::with_token(&node, &token).await;
    for topic in [
        format!("player/{account}/notifications"),
        format!("player/{account}/mail"),
        "character/12/position".into(),
        "character/12/inventory".into(),
        "server/announcements".into(),
        "world/events".into(),
    ] {
        let Heard::Message(name, fields) = page.subscribe(&topic).await else { panic!("{topic}") };
        assert_eq!((name.as_str(), &fields["topic"]), ("Subscribed", &topic.as_str().into()));
    }
    assert_eq!(page.subscribe("world/events").await, refused("already_subscribed"));
    // Another's and what does not exist look alike.
    for topic in [
        format!("player/{other}/notifications"),
        "player/999/notifications".into(),
        "character/13/inventory".into(),
        "character/999/inventory".into(),
        "party/1/chat".into(),
        "guild/1/chat".into(),
    ] {
        assert_eq!(page.subscribe(&topic).await, refused("forbidden"), "{topic}");
    }
    for topic in ["", "world", "player/me/mail", "character/12/gold", "' OR 1=1 --"] {
        assert_eq!(page.subscribe(topic).await, refused("topic_unknown"), "{topic}");
    }
    let unsubscribe =
        |topic: &str| ClientMessage::Unsubscribe(Unsubscribe { request: 7, topic: topic.to_owned() });
    page.send(&unsubscribe("world/events")).await;
    page.expect("Unsubscribed").await;
    page.send(&unsubscribe("world/events")).await;
    assert_eq!(page.hear().await, refused("not_subscribed"));

    // A character that is another's now.
    sql(&node, "UPDATE character SET account = account + 1 WHERE id = 12").await;
    node.wait_ms(60_000);
    let mut lost = Vec::new();
    for _ in 0..2 {
        let ended = page.expect("Ended").await;
        assert_eq!(ended["code"], "forbidden");
        lost.push(ended["topic"].as_str().unwrap().to_owned());
    }
    lost.sort();
    assert_eq!(lost, ["character/12/inventory", "character/12/position"]);
}

#[tokio::test]
async fn what_concerns_an_accounts_security_is_told_to_its_pages() {
    let mut node = Node::start().await;
    let account = node.register(EMAIL).await;
    let other = node.register("ravi@example.com").await;
    let (token, _) = node.tokens(EMAIL).await;
    let (others, _) = node.tokens("ravi@example.com").await;
    let mut page = Page::with_token(&node, &token).await;
    page.subscribe(&format!("player/{account}/notifications")).await;
    let mut elsewhere = Page::with_token(&node, &others).await;
    elsewhere.subscribe(&format!("player/{other}/notifications")).await;

    let second = node.sign_in(EMAIL, PASSWORD).await.expect(201, "");
    let told = page.expect("Message").await;
    assert_eq!(
        (&told["seq"], &told["topic"]),
        (&1.into(), &format!("player/{account}/notifications").into())
    );
    assert_eq!(told["data"]["kind"], "signed_in");
    assert_eq!(
        (&told["data"]["session"], &told["data"]["address"]),
        (&second.json()["session"], &"127.0.0.1".into())
    );

    // The second one listens too, until the first changes the password.
    let mut second_page = Page::with_token(&node, &second.text("access_token")).await;
    let new = json!({ "password": PASSWORD, "new_password": "another good one" });
    node.call("PUT", "/me/password", &token, Some(new)).await.expect(204, "");
    second_page.expect_closed(4002, "session_ended").await;
    assert_eq!(page.expect("Message").await["data"], json!({ "kind": "password_changed" }));
    let ended = page.expect("Message").await;
    assert_eq!(
        ended["data"],
        json!({ "kind": "sessions_ended", "sessions": [second.text("session")], "reason": "password" })
    );

    // Whoever was away for a moment goes on where they were.
    drop(page);
    node.sign_in(EMAIL, "another good one").await.expect(201, "");
    let mut page = Page::with_token(&node, &token).await;
    let topic = format!("player/{account}/notifications");
    let Heard::Message(_, subscribed) = page.subscribe(&topic).await else { panic!("it is heard") };
    let place = Place { epoch: subscribed["epoch"].as_u64().unwrap(), seq: 2 };
    page.send(&ClientMessage::Unsubscribe(Unsubscribe { request: 7, topic: topic.clone() })).await;
    page.expect("Unsubscribed").await;
    let Heard::Message(_, again) = page.subscribe_after(&topic, Some(place)).await else { panic!("again") };
    assert_eq!((&again["seq"], &again["gap"]), (&2.into(), &false.into()));
    assert_eq!(page.expect("Message").await["seq"], 3);
    assert_eq!(page.expect("Message").await["data"]["kind"], "signed_in");

    // Its own end closes it.
    node.call("DELETE", "/browser-session", &token, None).await.expect(204, "");
    page.expect_closed(4002, "session_ended").await;
    let silent = timeout(Duration::from_millis(200), elsewhere.hear()).await;
    assert!(silent.is_err(), "another's account was told {silent:?}");
}

#[tokio::test]
async fn a_token_grows_old_and_is_replaced_without_a_new_connection() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    node.register("ravi@example.com").await;
    let (token, refresh) = node.tokens(EMAIL).await;
    let (others, _) = node.tokens("ravi@example.com").await;
    let mut old = Page::with_token(&node, &token).await;
    let mut page = Page::with_token(&node, &token).await;
    let mut stranger = Page::with_token(&node, &token).await;
    stranger.authenticate(&others).await;
    stranger.expect_closed(4004, "unauthorized").await;
    // Browsers answer pings; so does this client while it reads.
    for _ in 0..15 {
        node.wait_ms(59_000);
        for page in [&mut old, &mut page] {
            assert!(matches!(page.subscribe("x").await, Heard::Message(..)));
        }
    }
    let next = node.post("/sessions/refresh", json!({ "refresh_token": refresh })).await.expect(200, "");
    page.authenticate(&next.text("access_token")).await;
    page.expect("Welcome").await;
    node.wait_ms(16_000);
    old.expect_closed(4003, "token_expired").await;
    assert_eq!(page.subscribe("x").await, refused("topic_unknown"));
    // A session that another node ended is found out.
    sql(&node, "UPDATE session SET ended_ms = 1").await;
    node.wait_ms(60_000);
    page.expect_closed(4002, "session_ended").await;
}

#[tokio::test]
async fn what_is_no_message_ends_it_with_a_reason() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (token, _) = node.tokens(EMAIL).await;
    for broken in [
        Message::text("Subscribe"),
        Message::binary(b"".to_vec()),
        Message::binary(b"\xc1".to_vec()),
        Message::binary(b"\x92\xa9Subscribe\xc0".to_vec()),
        Message::binary(vec![0x91; 4096]),
        Message::binary(vec![0; 5000]),
    ] {
        let mut page = Page::with_token(&node, &token).await;
        page.0.send(broken).await.unwrap();
        page.expect_closed(4005, "malformed").await;
    }
    let mut page = Page::with_token(&node, &token).await;
    for _ in 0..70 {
        page.authenticate(&token).await;
    }
    loop {
        match page.hear().await {
            Heard::Message(name, _) => assert_eq!(name, "Welcome"),
            closed @ Heard::Closed(..) => {
                break assert_eq!(closed, Heard::Closed(4006, "too_many_requests".into()));
            }
        }
    }
    let mut page = Page::with_token(&node, &token).await;
    node.wait_ms(61_000);
    page.expect_closed(4007, "silent").await;
}

#[tokio::test]
async fn an_account_and_an_address_have_so_many_connections() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (token, _) = node.tokens(EMAIL).await;
    let mut pages = Vec::new();
    for _ in 0..ACCOUNT_CONNECTIONS_MAX {
        pages.push(Page::with_token(&node, &token).await);
    }
    let mut over = Page::open(&node, &[("Authorization", &format!("Bearer {token}"))]).await.ok().unwrap();
    over.expect_closed(4008, "too_many_connections").await;
    drop(over);
    while node.topics.lock().figures().connections > pages.len() as u64 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while pages.len() < SITE_CONNECTIONS_MAX {
        pages.push(Page::open(&node, &[]).await.ok().unwrap());
    }
    assert_eq!(Page::open(&node, &[]).await.err(), Some(429));
    drop(pages.pop());
    while node.topics.lock().figures().connections == SITE_CONNECTIONS_MAX as u64 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(Page::open(&node, &[]).await.is_ok());
}

#[tokio::test]
async fn who_does_not_read_is_let_go_with_a_reason_and_keeps_nobody_waiting() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    node.register("ravi@example.com").await;
    let (token, _) = node.tokens(EMAIL).await;
    let (others, _) = node.tokens("ravi@example.com").await;
    let mut slow = Page::with_token(&node, &token).await;
    slow.subscribe("world/events").await;
    let mut quick = Page::with_token(&node, &others).await;
    quick.subscribe("world/events").await;
    let mut said = 0;
    while node.topics.lock().figures().slow == 0 {
        node.topics.publish(Topic::WorldEvents, &"x".repeat(4000), 0);
        said += 1;
        assert!(said < 20_000, "it is never slow");
        assert_eq!(quick.expect("Message").await["seq"], said);
    }
    let mut last = 0;
    let closed = loop {
        match slow.hear().await {
            Heard::Message(_, fields) => {
                last += 1;
                assert_eq!(fields["seq"], last, "what came, came in order");
            }
            closed @ Heard::Closed(..) => break closed,
        }
    };
    assert_eq!(closed, Heard::Closed(4001, "slow_subscriber".into()));
    assert!(last < said);
}
