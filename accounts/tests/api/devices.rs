//! Devices as they sign in and talk: real keys, real sockets.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use vyuha_accounts::devices::frames::Frames;
use vyuha_accounts::devices::handshake::{ClientHandshake, DeviceId, Fresh};
use vyuha_accounts::devices::keys::{Context, KeyPair};
use vyuha_accounts::secret::random;

use crate::client::{Answer, Request};
use crate::node::{EMAIL, Node, PASSWORD};
use crate::staff::Member;

/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A device with a key of its own.
struct Device {
    seed: [u8; 32],
    id: String,
    account: i64,
    server_key: [u8; 32],
}

impl Device {
    fn key(&self) -> KeyPair {
        KeyPair::from_seed(&self.seed)
    }

    fn id_bytes(&self) -> DeviceId {
        std::array::from_fn(|at| u8::from_str_radix(&self.id[2 * at..2 * at + 2], 16).unwrap())
    }

    /// Enrols a device with the key of this seed.
    async fn enrol(node: &Node, token: &str, seed: u8) -> Device {
        let answer = enrolment(node, token, seed, |_| {}).await.expect(201, "");
        let server_key = decode(&answer.text("server_key")).try_into().unwrap();
        let account = answer.json()["account"].as_i64().unwrap();
        Device { seed: [seed; 32], id: answer.text("device"), account, server_key }
    }

    async fn sign_in_with(&self, node: &Node, change: impl FnOnce(&mut Value)) -> Answer {
        let challenge = challenge(node).await;
        let signed = [&self.server_key[..], &decode(&challenge), &self.id_bytes()].concat();
        let signature = encode(&self.key().sign(Context::SignIn, &signed));
        let mut body = json!({ "device": self.id, "challenge": challenge, "signature": signature });
        change(&mut body);
        node.post("/devices/sign-in", body).await
    }

    async fn sign_in(&self, node: &Node) -> Answer {
        self.sign_in_with(node, |_| {}).await
    }

    async fn link(&self, node: &Node) -> Link {
        let mut web = open(node).await;
        let (waiting, hello) = ClientHandshake::begin(self.id_bytes(), self.key(), self.server_key, &fresh());
        web.send(Message::Binary(hello.into())).await.unwrap();
        let (waiting, auth) = waiting.answer(&binary(&mut web).await).unwrap();
        web.send(Message::Binary(auth.into())).await.unwrap();
        let frames = waiting.finish(&binary(&mut web).await).unwrap();
        let mut link = Link { web, frames, welcome: Value::Null, requests: 0 };
        link.welcome = link.next().await;
        assert_eq!(link.welcome["type"], "welcome");
        assert_eq!(
            (&link.welcome["device"], &link.welcome["account"]),
            (&json!(self.id), &json!(self.account))
        );
        link
    }
}

type Web = WebSocketStream<TcpStream>;

fn fresh() -> Fresh {
    Fresh { nonce: random().unwrap(), ephemeral: random().unwrap() }
}

async fn open(node: &Node) -> Web {
    let stream = TcpStream::connect(node.address).await.unwrap();
    let url = format!("ws://{}/api/v1/devices/link", node.address);
    tokio_tungstenite::client_async(url, stream).await.unwrap().0
}

async fn message(web: &mut Web) -> Message {
    loop {
        match timeout(PATIENCE, web.next()).await.expect("a message in time").expect("a message").unwrap() {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

async fn binary(web: &mut Web) -> Vec<u8> {
    match message(web).await {
        Message::Binary(bytes) => bytes.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// Why the server closes.
async fn closed(web: &mut Web) -> String {
    match message(web).await {
        Message::Close(Some(close)) => close.reason.to_string(),
        other => panic!("{other:?}"),
    }
}

/// A device's link, past its handshake.
struct Link {
    web: Web,
    frames: Frames,
    welcome: Value,
    requests: i64,
}

impl Link {
    async fn next(&mut self) -> Value {
        let sealed = binary(&mut self.web).await;
        serde_json::from_slice(&self.frames.opener.open(&sealed).unwrap()).unwrap()
    }

    async fn send_text(&mut self, text: &[u8]) {
        let sealed = self.frames.sealer.seal(text).unwrap();
        self.web.send(Message::Binary(sealed.into())).await.unwrap();
    }

    /// Asks, and takes the answer.
    async fn ask(&mut self, kind: &str, fields: Value) -> Value {
        self.requests += 1;
        let mut request = json!({ "type": kind, "request": self.requests });
        request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.send_text(request.to_string().as_bytes()).await;
        let answer = self.next().await;
        assert_eq!(answer["request"], self.requests, "{answer}");
        answer
    }

    async fn publish(&mut self, stream: &str, number: i64, body: &str) -> Value {
        self.ask("publish", json!({ "event": { "stream": stream, "number": number, "body": body } })).await
    }

    async fn bodies(&mut self, stream: &str, after: i64) -> Vec<String> {
        let caught = self.ask("catch_up", json!({ "stream": stream, "after": after })).await;
        let events = caught["events"].as_array().unwrap_or_else(|| panic!("{caught}"));
        events.iter().map(|event| event["body"].as_str().unwrap().to_owned()).collect()
    }
}

/// A challenge, for which no database is needed.
pub async fn challenge(node: &Node) -> String {
    let request = Request::new("POST", "/api/v1/devices/challenges");
    node.send(request).await.expect(201, "").text("challenge")
}

/// Asks to enrol the key of this seed, with a body that was changed.
async fn enrolment(node: &Node, token: &str, seed: u8, change: impl FnOnce(&mut Value)) -> Answer {
    let me = node.call("GET", "/me", token, None).await.expect(200, "").json();
    let account = me["account"].as_i64().unwrap_or_else(|| panic!("{me}"));
    let server = node.send(Request::new("GET", "/api/v1/devices/server-key")).await.expect(200, "");
    let challenge = challenge(node).await;
    let key = KeyPair::from_seed(&[seed; 32]);
    let server = decode(&server.text("server_key"));
    let signed = [&server[..], &decode(&challenge), &account.to_be_bytes(), &key.public()].concat();
    let mut body = json!({
        "challenge": challenge,
        "public_key": encode(&key.public()),
        "signature": encode(&key.sign(Context::Enrolment, &signed)),
        "name": "Asha's phone",
        "platform": "android",
        "password": PASSWORD,
    });
    change(&mut body);
    node.call("POST", "/me/devices", token, Some(body)).await
}

#[tokio::test]
async fn a_device_is_enrolled_listed_renamed_and_revoked() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (token, _) = node.tokens(EMAIL).await;
    let device = Device::enrol(&node, &token, 1).await;
    let listed = node.call("GET", "/me/devices", &token, None).await.expect(200, "").json();
    let only = &listed["devices"][0];
    assert_eq!((&only["id"], &only["name"]), (&json!(device.id), &json!("Asha's phone")));
    let at = format!("/me/devices/{}", device.id);
    let name = |name: &str| Some(json!({ "name": name }));
    node.call("PUT", &at, &token, name("tablet")).await.expect(204, "");
    node.call("PUT", &at, &token, name("")).await.expect(422, "body_invalid");
    let listed = node.call("GET", "/me/devices", &token, None).await.expect(200, "").json();
    assert_eq!(listed["devices"][0]["name"], "tablet");

    node.register("other@example.com").await;
    let (other, _) = node.tokens("other@example.com").await;
    node.call("PUT", &at, &other, name("mine")).await.expect(404, "device_unknown");
    node.call("DELETE", &at, &other, None).await.expect(404, "device_unknown");
    for wrong in ["/me/devices/x", "/me/devices/00000000000000000000000000000000"] {
        node.call("DELETE", wrong, &token, None).await.expect(404, "device_unknown");
    }
    enrolment(&node, &other, 1, |_| {}).await.expect(409, "device_taken");

    device.sign_in(&node).await.expect(201, "");
    node.call("DELETE", &at, &token, None).await.expect(204, "");
    node.call("DELETE", &at, &token, None).await.expect(404, "device_unknown");
    device.sign_in(&node).await.expect(401, "device_refused");
    enrolment(&node, &other, 1, |_| {}).await.expect(201, "");
}

#[tokio::test]
async fn who_does_not_show_to_have_the_key_enrols_nothing() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (token, _) = node.tokens(EMAIL).await;
    let set = |field: &'static str, value: Value| move |body: &mut Value| body[field] = value;
    let signature = encode(&[7; 64]);
    // A key with which everybody can sign everything.
    let mut weak = [0; 32];
    weak[0] = 1;
    for (field, value, code) in [
        ("signature", json!(signature), "key_invalid"),
        ("signature", json!("AAAA"), "key_invalid"),
        ("public_key", json!(encode(&KeyPair::from_seed(&[9; 32]).public())), "key_invalid"),
        ("public_key", json!(encode(&weak)), "key_invalid"),
        ("public_key", json!("é"), "key_invalid"),
        ("challenge", json!(encode(&[0; 56])), "challenge_invalid"),
        ("challenge", json!(""), "challenge_invalid"),
        ("name", json!("a\u{0}"), "body_invalid"),
        ("platform", json!(""), "body_invalid"),
        ("more", json!(1), "body_invalid"),
    ] {
        enrolment(&node, &token, 1, set(field, value)).await.expect(422, code);
    }
    // Who has the token and not the password.
    for password in [Value::Null, json!("another password")] {
        enrolment(&node, &token, 1, set("password", password)).await.expect(401, "credentials_wrong");
    }
    // Somebody else's proof.
    node.register("other@example.com").await;
    let (other, _) = node.tokens("other@example.com").await;
    let mut shown = Value::Null;
    enrolment(&node, &token, 1, |body| shown = body.take()).await.expect(422, "body_invalid");
    node.call("POST", "/me/devices", &other, Some(shown.clone())).await.expect(422, "key_invalid");
    // A proof is good once, and for its time.
    node.call("POST", "/me/devices", &token, Some(shown.clone())).await.expect(201, "");
    node.call("POST", "/me/devices", &token, Some(shown)).await.expect(422, "challenge_invalid");
    let mut late = Value::Null;
    enrolment(&node, &token, 2, |body| late = body.take()).await.expect(422, "body_invalid");
    node.wait_ms(120_000);
    node.call("POST", "/me/devices", &token, Some(late)).await.expect(422, "challenge_invalid");
    assert_eq!(
        node.call("GET", "/me/devices", &token, None).await.json()["devices"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn a_device_signs_in_by_its_key_alone() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (token, _) = node.tokens(EMAIL).await;
    let (device, other) = (Device::enrol(&node, &token, 1).await, Device::enrol(&node, &token, 2).await);
    let signed_in = device.sign_in(&node).await.expect(201, "");
    let access = signed_in.text("access_token");
    node.call("GET", "/me", &access, None).await.expect(200, "");
    node.call("POST", "/tickets", &access, None).await.expect(201, "");
    assert_eq!(device.sign_in(&node).await.expect(201, "").text("session"), signed_in.text("session"));

    let mut used = Value::Null;
    device.sign_in_with(&node, |body| used = body.clone()).await.expect(201, "");
    node.post("/devices/sign-in", used.clone()).await.expect(422, "challenge_invalid");
    device.sign_in_with(&node, |body| body["device"] = json!(other.id)).await.expect(401, "device_refused");
    device
        .sign_in_with(&node, |body| body["device"] = json!("0".repeat(32)))
        .await
        .expect(401, "device_refused");
    device.sign_in_with(&node, |body| body["device"] = json!("' OR 1=1")).await.expect(401, "device_refused");
    device
        .sign_in_with(&node, |body| body["signature"] = used["signature"].clone())
        .await
        .expect(401, "device_refused");

    let end = format!("/me/sessions/{}", signed_in.text("session"));
    node.call("DELETE", &end, &token, None).await.expect(204, "");
    node.call("GET", "/me", &access, None).await.expect(401, "unauthorized");
    assert_ne!(device.sign_in(&node).await.expect(201, "").text("session"), signed_in.text("session"));
}

#[tokio::test]
async fn a_person_with_a_second_factor_enrols_with_a_code() {
    let mut node = Node::start().await;
    let admin = Member::first(&mut node).await;
    enrolment(&node, &admin.token, 1, |_| {}).await.expect(401, "second_factor_required");
    enrolment(&node, &admin.token, 1, |body| body["code"] = json!("000000"))
        .await
        .expect(401, "second_factor_wrong");
}

#[tokio::test]
async fn an_address_that_fails_too_often_waits() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (token, _) = node.tokens(EMAIL).await;
    let device = Device::enrol(&node, &token, 1).await;
    for _ in 0..50 {
        device
            .sign_in_with(&node, |body| body["device"] = json!("0".repeat(32)))
            .await
            .expect(401, "device_refused");
    }
    device.sign_in(&node).await.expect(429, "too_many_attempts");
    let stream = TcpStream::connect(node.address).await.unwrap();
    let url = format!("ws://{}/api/v1/devices/link", node.address);
    assert!(tokio_tungstenite::client_async(url, stream).await.is_err());
    node.wait_ms(15 * 60_000);
    device.sign_in(&node).await.expect(201, "");
}

#[tokio::test]
async fn what_is_no_websocket_is_told_to_become_one() {
    let node = Node::start().await;
    node.send(Request::new("GET", "/api/v1/devices/link")).await.expect(426, "upgrade_required");
}

#[tokio::test]
async fn a_link_is_closed_for_what_is_wrong_with_its_handshake() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (token, _) = node.tokens(EMAIL).await;
    let device = Device::enrol(&node, &token, 1).await;
    let hello = |key: &Device| ClientHandshake::begin(key.id_bytes(), key.key(), device.server_key, &fresh());
    let check = async |first: Message, reason: &str| {
        let mut web = open(&node).await;
        web.send(first).await.unwrap();
        assert_eq!(closed(&mut web).await, reason);
    };
    let message = |change: &dyn Fn(&mut Vec<u8>)| {
        let (_, mut message) = hello(&device);
        change(&mut message);
        Message::Binary(message.into())
    };
    check(Message::text("hello"), "handshake_malformed").await;
    check(Message::Binary(Vec::new().into()), "handshake_malformed").await;
    check(message(&|hello| hello.truncate(81)), "handshake_malformed").await;
    check(message(&|hello| hello[1] = 2), "handshake_version_unknown").await;
    check(message(&|hello| hello[0] = 3), "handshake_out_of_order").await;
    check(message(&|hello| hello[50..].fill(0)), "handshake_point_refused").await;

    // Another's device id, one that nobody has, and an answer of another exchange.
    let stranger = Device { seed: [9; 32], id: device.id.clone(), ..device };
    let nobody = Device { id: "00".repeat(16), ..stranger };
    let mut recorded = Vec::new();
    for (who, replayed) in [(&stranger, false), (&nobody, false), (&nobody, true)] {
        let mut web = open(&node).await;
        let (waiting, first) = hello(who);
        web.send(Message::Binary(first.into())).await.unwrap();
        let (_, auth) = waiting.answer(&binary(&mut web).await).unwrap();
        let sent = if replayed { recorded } else { auth.clone() };
        web.send(Message::Binary(sent.into())).await.unwrap();
        assert_eq!(closed(&mut web).await, "device_refused");
        recorded = auth;
    }
    assert!(node.service.links().is_empty());
}

#[tokio::test]
async fn an_accounts_devices_tell_each_other_and_nobody_else() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    node.register("other@example.com").await;
    let (token, _) = node.tokens(EMAIL).await;
    let (others, _) = node.tokens("other@example.com").await;
    let (phone, tablet) = (Device::enrol(&node, &token, 1).await, Device::enrol(&node, &token, 2).await);
    let stranger = Device::enrol(&node, &others, 3).await;
    let mut one = phone.link(&node).await;
    let mut two = tablet.link(&node).await;
    let mut other = stranger.link(&node).await;
    let access = one.welcome["access_token"].as_str().unwrap().to_owned();
    node.call("GET", "/me", &access, None).await.expect(200, "");

    let published = one.publish("chat", 1, "hello").await;
    assert_eq!((&published["type"], &published["sequence"]), (&json!("published"), &json!(1)));
    let told = two.next().await;
    assert_eq!((&told["type"], &told["event"]["body"]), (&json!("event"), &json!("hello")));
    assert_eq!((&told["event"]["device"], &told["event"]["sequence"]), (&json!(phone.id), &json!(1)));
    let again = one.publish("chat", 1, "hello").await;
    assert_eq!((&again["sequence"], &again["known"]), (&json!(1), &json!(true)));

    // The other account's stream of that name is another, and nothing came over its link.
    assert_eq!(other.publish("chat", 1, "from elsewhere").await["sequence"], 1);
    assert_eq!(other.bodies("chat", 0).await, ["from elsewhere"]);
    assert_eq!(two.bodies("chat", 0).await, ["hello"]);

    // One that was away catches up, and is known to have.
    drop(two);
    one.publish("chat", 2, "are you there?").await;
    let mut two = tablet.link(&node).await;
    let streams = &two.welcome["streams"][0];
    assert_eq!((&streams["stream"], &streams["sequence"]), (&json!("chat"), &json!(2)));
    assert_eq!(two.bodies("chat", 1).await, ["are you there?"]);
    let acknowledged = json!({ "stream": "chat", "sequence": 2 });
    assert_eq!(two.ask("acknowledge", acknowledged).await["type"], "acknowledged");
    assert_eq!(two.ask("streams", json!({})).await["streams"][0]["acknowledged"], 2);
    assert_eq!(two.ask("token", json!({})).await["type"], "token");
    // Over, it is given to nobody.
    node.wait_ms(8 * 24 * 60 * 60_000);
    assert_eq!(two.bodies("chat", 0).await, [""; 0]);
    node.service.tidy().await.unwrap();
}

#[tokio::test]
async fn what_a_device_asks_wrongly_is_refused_and_the_link_goes_on() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (token, _) = node.tokens(EMAIL).await;
    let device = Device::enrol(&node, &token, 1).await;
    let mut link = device.link(&node).await;
    for (text, code) in [
        ("", "body_malformed"),
        ("{", "body_malformed"),
        ("[]", "body_invalid"),
        ("{}", "body_invalid"),
        (r#"{"type":"dance","request":1}"#, "body_invalid"),
        (r#"{"type":"streams","request":1,"account":8}"#, "body_invalid"),
        (r#"{"type":"streams","request":1e99}"#, "body_invalid"),
    ] {
        link.send_text(text.as_bytes()).await;
        let refused = link.next().await;
        assert_eq!(
            (&refused["type"], &refused["code"]),
            (&json!("refused"), &json!(code)),
            "{text}: {refused}"
        );
    }
    let event = json!({ "event": { "stream": "a b", "number": 1, "body": "" } });
    assert_eq!(link.ask("publish", event).await["code"], "event_invalid");
    let event = |number: i64| json!({ "event": { "stream": "s", "key": "k", "number": number, "after": 0, "body": "" } });
    assert_eq!(link.ask("publish", event(1)).await["sequence"], 1);
    assert_eq!(link.ask("publish", event(2)).await["code"], "event_conflict");
    // What was refused left no trace.
    assert_eq!(link.ask("streams", json!({})).await["streams"][0]["sequence"], 1);
}

#[tokio::test]
async fn a_frame_that_is_not_the_next_one_closes_the_link() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (token, _) = node.tokens(EMAIL).await;
    let device = Device::enrol(&node, &token, 1).await;
    for fault in ["changed", "repeated", "text", "handshake"] {
        let mut link = device.link(&node).await;
        let mut sealed = link.frames.sealer.seal(br#"{"type":"streams","request":1}"#).unwrap();
        match fault {
            "changed" => sealed[3] ^= 1,
            "repeated" => {
                link.web.send(Message::Binary(sealed.clone().into())).await.unwrap();
                link.next().await;
            }
            "handshake" => sealed = vec![1; 82],
            _ => {}
        }
        let sent = if fault == "text" { Message::text("{}") } else { Message::Binary(sealed.into()) };
        link.web.send(sent).await.unwrap();
        assert_eq!(closed(&mut link.web).await, "frame_invalid", "{fault}");
    }
}

#[tokio::test]
async fn a_link_ends_when_its_device_may_no_more() {
    let mut node = Node::start().await;
    let admin = Member::first(&mut node).await;
    let account = node.register(EMAIL).await;
    let (token, _) = node.tokens(EMAIL).await;
    let mut seed = 0;
    for (what, reason) in [
        ("replaced", "replaced"),
        ("session", "session_over"),
        ("banned", "device_banned"),
        ("revoked", "device_revoked"),
        ("suspended", "session_over"),
    ] {
        seed += 1;
        let device = Device::enrol(&node, &token, seed).await;
        let mut link = device.link(&node).await;
        let session = link.welcome["session"].as_str().unwrap().to_owned();
        let ban = format!("/staff/devices/{}/ban", device.id);
        let until = json!({ "until_ms": 2_000_000_000_000_i64, "reason": "bots" });
        match what {
            "replaced" => drop(device.link(&node).await),
            "session" => {
                node.call("DELETE", &format!("/me/sessions/{session}"), &token, None).await.expect(204, "");
            }
            "banned" => {
                admin.call(&node, "PUT", &ban, Some(until)).await.expect(204, "");
            }
            "revoked" => {
                node.call("DELETE", &format!("/me/devices/{}", device.id), &token, None)
                    .await
                    .expect(204, "");
            }
            _ => {
                let at = format!("/staff/accounts/{account}/suspension");
                admin.call(&node, "PUT", &at, Some(json!({ "reason": "bots" }))).await.expect(204, "");
            }
        }
        assert_eq!(closed(&mut link.web).await, reason, "{what}");
        let again = device.sign_in(&node).await.verdict();
        let expected = match what {
            "banned" => (403, "device_banned"),
            "revoked" => (401, "device_refused"),
            "suspended" => (403, "account_suspended"),
            _ => (201, ""),
        };
        assert_eq!(again, (expected.0, expected.1.to_owned()), "{what}");
        if what == "banned" {
            admin.call(&node, "DELETE", &ban, None).await.expect(204, "");
            device.sign_in(&node).await.expect(201, "");
        }
    }
}

#[tokio::test]
async fn staff_bans_whom_it_may() {
    let mut node = Node::start().await;
    let admin = Member::first(&mut node).await;
    let account = node.register(EMAIL).await;
    let (token, _) = node.tokens(EMAIL).await;
    let device = Device::enrol(&node, &token, 1).await;
    let listed =
        admin.call(&node, "GET", &format!("/staff/accounts/{account}/devices"), None).await.expect(200, "");
    assert_eq!(listed.json()["devices"][0]["id"], json!(device.id));
    let ban = format!("/staff/devices/{}/ban", device.id);
    let body = |until_ms: Option<i64>, reason: &str| Some(json!({ "until_ms": until_ms, "reason": reason }));
    node.call("PUT", &ban, &token, body(None, "x")).await.expect(403, "forbidden");
    node.call("GET", &format!("/staff/accounts/{account}/devices"), &token, None)
        .await
        .expect(403, "forbidden");
    admin.call(&node, "PUT", &ban, body(Some(1), "x")).await.expect(422, "body_invalid");
    admin.call(&node, "PUT", &ban, body(None, "")).await.expect(422, "body_invalid");
    for unknown in ["x".to_owned(), "0".repeat(32)] {
        let at = format!("/staff/devices/{unknown}/ban");
        admin.call(&node, "PUT", &at, body(None, "x")).await.expect(404, "device_unknown");
        admin.call(&node, "DELETE", &at, None).await.expect(404, "device_unknown");
    }
    admin.call(&node, "PUT", &ban, body(None, "bots")).await.expect(204, "");
    let refused = device.sign_in(&node).await.expect(403, "device_banned");
    assert_eq!(refused.text("detail"), "for good: bots");
    let log = admin.call(&node, "GET", "/staff/log", None).await.expect(200, "").json();
    assert_eq!(log["deeds"][0]["action"], "ban_device");
    node.call("DELETE", &format!("/me/devices/{}", device.id), &token, None).await.expect(204, "");
    enrolment(&node, &token, 1, |_| {}).await.expect(403, "device_banned");
}

#[tokio::test]
async fn a_password_that_is_reset_revokes_the_devices() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (token, _) = node.tokens(EMAIL).await;
    let device = Device::enrol(&node, &token, 1).await;
    let mut link = device.link(&node).await;
    node.post("/password-resets", json!({ "email": EMAIL })).await.expect(202, "");
    let reset = node.mail().await.token("vyp_");
    let body = json!({ "token": reset, "password": "a new password" });
    node.post("/password-resets/confirm", body).await.expect(204, "");
    assert_eq!(closed(&mut link.web).await, "session_over");
    device.sign_in(&node).await.expect(401, "device_refused");
}
