//! The admin port over real sockets: every route, the stream, and what it turns away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response as Upgraded;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use vyuha_gateway::{
    Feed, Gateway, ItemHistory, Mark, MarkKind, Metrics, MoveOrder, MoveRefused, NodeInfo, Placement,
    ScanOrder, ScanReport, Scans, ShardReport, TickUs, WATCHERS_MAX, ZoneInfo, ZoneMoved, ZoneReport, serve,
};

/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<TcpStream>;

struct Port {
    address: SocketAddr,
    feed: Feed,
    metrics: Arc<Metrics>,
    store_ok: Arc<AtomicBool>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

/// A response: status, header lines in lower case, body.
struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    #[track_caller]
    fn assert_header(&self, line: &str) {
        assert!(self.headers.lines().any(|header| header == line), "{line} is missing:\n{}", self.headers);
    }
}

/// The search of this port: one that finds nothing, and knows one item.
fn carry_out(order: ScanOrder, scans: &Scans) {
    // Whoever asked may have gone.
    match order {
        ScanOrder::Scan(answer) => {
            let report = ScanReport {
                findings_total: 0,
                findings: vec![],
                items: 600,
                ledger_rows: 9,
                began_unix_ms: 5,
                seconds: 0.5,
            };
            scans.publish(Ok(report.clone()));
            let _ = answer.send(Ok(report));
        }
        ScanOrder::Item(7, answer) => {
            let _ = answer.send(Ok(ItemHistory { item: "7".into(), places: vec![], history: vec![] }));
        }
        ScanOrder::Item(_, answer) => {
            scans.publish(Err("it is away".into()));
            let _ = answer.send(Err("it is away".into()));
        }
    }
}

impl Port {
    async fn start() -> Port {
        let zone = |id, shard, walls| ZoneInfo {
            id,
            name: format!("Zone {id}"),
            shard: Placement::new(shard),
            width_tiles: 5,
            height_tiles: 3,
            walls,
        };
        let node = NodeInfo {
            staff: None,
            version: "0.1.0".into(),
            commit: "abc123".into(),
            started: SystemTime::UNIX_EPOCH + Duration::from_secs(5),
            tick_hz: 30,
            shards: 2,
            zones: vec![zone(1, 0, vec![0xff, 0x01]), zone(2, 1, vec![0, 0x40])],
        };
        let metrics = Arc::new(Metrics::new(2, "0.1.0", "abc123"));
        let (mut gateway, feed) =
            Gateway::new(node, metrics.clone(), ["console.example.com".to_owned()]).unwrap();
        let mut orders = gateway.move_orders();
        let (searches, scans) = gateway.scan_orders();
        std::thread::spawn(move || searches.iter().for_each(|order| carry_out(order, &scans)));
        let store_ok = Arc::new(AtomicBool::new(true));
        tokio::spawn(async move {
            while let Some(MoveOrder { zone, to, answer }) = orders.recv().await {
                let told = match (zone, to) {
                    (1, 1) => Ok(ZoneMoved { zone, from: 0, to, sessions: 5, gap_ms: 50.0, gap_ticks: 1.5 }),
                    (1 | 2, 0 | 1) => Err(MoveRefused::AlreadyThere),
                    (1 | 2, 7) => Err(MoveRefused::JournalBusy),
                    (1 | 2, _) => Err(MoveRefused::UnknownShard),
                    (9, _) => continue,
                    _ => Err(MoveRefused::UnknownZone),
                };
                // Who asked may have gone.
                let _ = answer.send(told);
            }
        });
        let ok = store_ok.clone();
        gateway.add_check(
            "store",
            Box::new(move || ok.load(Ordering::Relaxed).then_some(()).ok_or("behind".to_owned())),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(serve(listener, gateway, async move {
            stopped.await.unwrap();
        }));
        Port { address, feed, metrics, store_ok, stop, served }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", self.address)).await
    }

    /// Sends an order to move a zone, with more header lines.
    async fn post(&self, zone: &str, more: &str, body: &str) -> Answer {
        let head = format!(
            "POST /api/zones/{zone}/move HTTP/1.1\r\nHost: {}\r\n{more}Content-Length: {}\r\n",
            self.address,
            body.len()
        );
        self.ask_with(&head, body).await
    }

    /// Sends a request head, less its last empty line, and reads the answer to its end.
    async fn ask(&self, head: &str) -> Answer {
        self.ask_with(head, "").await
    }

    async fn ask_with(&self, head: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer").unwrap();
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let (status_line, headers) = head.split_once("\r\n").unwrap();
        let status = status_line.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, headers: headers.to_lowercase(), body: bytes[end + 4..].to_vec() }
    }

    async fn open(&self, origin: Option<&str>) -> Result<(Socket, Upgraded), Error> {
        let mut request = format!("ws://{}/api/stream", self.address).into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        let stream = TcpStream::connect(self.address).await.unwrap();
        tokio_tungstenite::client_async(request, stream).await
    }

    async fn watch(&self, zone: u16) -> Socket {
        let (mut socket, _) = self.open(None).await.unwrap();
        socket.send(Message::text(json!({ "zone": zone }).to_string())).await.unwrap();
        socket
    }

    fn publish(&self, shard: u16, tick: u64) {
        let zone = shard + 1;
        let marks = vec![Mark::new(tick as u16, 2, MarkKind::Player)];
        assert!(self.feed.publish(ShardReport {
            shard,
            tick,
            window_ms: 200,
            tick_us: TickUs { p50: 100, p99: 200, max: 300 },
            passes: vec![("integrate", 40.0)],
            sessions: 1,
            zones: vec![ZoneReport { zone, players: 1, npcs: 0, items: 0, tick_us: 40.0, marks }],
            ..ShardReport::default()
        }));
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.served).await.expect("it stops").unwrap().unwrap();
    }
}

/// The next message of the wanted kind; the others are skipped.
async fn next(socket: &mut Socket, wanted: fn(&Message) -> bool) -> Message {
    timeout(PATIENCE, async {
        loop {
            let message = socket.next().await.expect("the stream goes on").unwrap();
            if wanted(&message) {
                return message;
            }
        }
    })
    .await
    .expect("a message")
}

async fn until<T>(mut holds: impl AsyncFnMut() -> Option<T>) -> T {
    timeout(PATIENCE, async {
        loop {
            if let Some(value) = holds().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it comes to hold")
}

#[tokio::test]
async fn the_page_and_its_files_are_served_under_a_strict_policy() {
    let port = Port::start().await;
    let index = port.get("/").await;
    assert_eq!(index.status, 200);
    index.assert_header("content-type: text/html; charset=utf-8");
    index.assert_header("x-content-type-options: nosniff");
    let policy = index.headers.lines().find(|line| line.starts_with("content-security-policy:")).unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for (path, content_type) in [
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let file = port.get(path).await;
        assert_eq!(file.status, 200, "{path}");
        file.assert_header(&format!("content-type: {content_type}"));
    }
    port.stop().await;
}

#[tokio::test]
async fn the_node_and_its_walls_are_served() {
    let port = Port::start().await;
    let node = port.get("/api/node").await;
    node.assert_header("content-type: application/json");
    let mut node = node.json();
    assert!(node["uptime_s"].take().is_f64());
    let zone = |id, shard| {
        let name = format!("Zone {id}");
        json!({"id": id, "name": name, "shard": shard, "width_tiles": 5, "height_tiles": 3})
    };
    let expected = json!({
        "version": "0.1.0", "commit": "abc123", "started_unix_ms": 5000, "uptime_s": null, "tick_hz": 30,
        "shards": 2, "units_per_tile": 16, "zones": [zone(1, 0), zone(2, 1)],
    });
    assert_eq!(node, expected);

    let walls = port.get("/api/zones/2/walls").await;
    walls.assert_header("content-type: application/octet-stream");
    assert_eq!(walls.body, [0, 0x40]);
    for path in ["/api/zones/3/walls", "/api/zones/-1/walls", "/api/zones/65537/walls", "/api/zones/x/walls"]
    {
        let missing = port.get(path).await;
        assert_eq!(
            (missing.status, &missing.json()["error"]["code"]),
            (404, &json!("unknown_zone")),
            "{path}"
        );
    }
    port.stop().await;
}

#[tokio::test]
async fn zones_are_listed_with_their_shard_and_cost() {
    let port = Port::start().await;
    port.publish(1, 8);
    let zone = |id, shard, players, tick_us| {
        let name = format!("Zone {id}");
        json!({"id": id, "name": name, "shard": shard, "players": players, "npcs": 0, "items": 0, "tick_us": tick_us})
    };
    let expected = json!({"shards": 2, "zones": [zone(1, 0, 0, 0.0), zone(2, 1, 1, 40.0)]});
    until(async || (port.get("/api/zones").await.json() == expected).then_some(())).await;
    port.stop().await;
}

#[tokio::test]
async fn orders_to_move_a_zone_are_handed_on_and_answered() {
    let port = Port::start().await;
    let json_type = "Content-Type: application/json\r\n";
    let moved = port.post("1", json_type, "{\"shard\": 1}").await;
    let expected = json!({"zone": 1, "from": 0, "to": 1, "sessions": 5, "gap_ms": 50.0, "gap_ticks": 1.5});
    assert_eq!((moved.status, moved.json()), (200, expected));
    let own = format!("{json_type}Origin: http://{}\r\n", port.address);
    assert_eq!(port.post("1", &own, "{\"shard\": 1}").await.status, 200);

    let foreign = format!("{json_type}Origin: http://evil.example\r\n");
    let long = format!("{{\"shard\": 1{}}}", " ".repeat(300));
    for (zone, more, body, status, code) in [
        ("1", json_type, "{\"shard\": 0}", 409, "already_there"),
        ("2", json_type, "{\"shard\": 7}", 503, "journal_busy"),
        ("2", json_type, "{\"shard\": 2}", 404, "unknown_shard"),
        ("3", json_type, "{\"shard\": 0}", 404, "unknown_zone"),
        ("x", json_type, "{\"shard\": 0}", 404, "unknown_zone"),
        ("9", json_type, "{\"shard\": 0}", 503, "stopping"),
        ("1", json_type, "{\"shard\": -1}", 400, "bad_body"),
        ("1", json_type, "{\"shard\": 1, \"more\": 1}", 400, "bad_body"),
        ("1", json_type, "", 400, "bad_body"),
        ("1", json_type, &long, 400, "bad_body"),
        // What a page of another origin could send without asking first.
        ("1", "Content-Type: text/plain\r\n", "{\"shard\": 1}", 400, "bad_body"),
        ("1", &foreign, "{\"shard\": 1}", 403, "foreign_origin"),
    ] {
        let answer = port.post(zone, more, body).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &json!(code)), "{zone} {body}");
    }
    let head = "POST /api/zones/1/move HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n";
    assert_eq!(port.ask(head).await.status, 421);
    assert_eq!(port.get("/api/zones/1/move").await.status, 405);
    port.stop().await;
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_has_a_code() {
    let port = Port::start().await;
    for path in ["/nothing", "/../Cargo.toml", "/%2e%2e/Cargo.toml", "/index.html/x", "/api"] {
        let answer = port.get(path).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!("not_found")), "{path}");
    }
    let head = |host: &str| format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n");
    for (host, status) in [
        ("localhost", 200),
        ("console.example.com:1234", 200),
        ("evil.example", 421),
        ("evil.example:9000", 421),
        ("", 421),
    ] {
        assert_eq!(port.ask(&head(host)).await.status, status, "{host}");
    }
    assert_eq!(port.ask("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n").await.status, 421);
    assert_eq!(port.ask("POST /metrics HTTP/1.1\r\nHost: localhost\r\n").await.status, 405);
    assert_eq!(port.get("/api/stream").await.status, 400, "not a WebSocket");
    port.stop().await;
}

#[tokio::test]
async fn readiness_lists_every_failing_check() {
    let port = Port::start().await;
    let health = port.get("/healthz").await;
    assert_eq!((health.status, health.text()), (200, "ok"));

    let unready = port.get("/readyz").await;
    assert_eq!(unready.status, 503);
    assert_eq!(unready.json()["failing"][0]["check"], "shards", "no shard has ticked");
    port.publish(0, 1);
    port.publish(1, 1);
    let ready = until(async || Some(port.get("/readyz").await).filter(|answer| answer.status == 200)).await;
    assert_eq!(ready.json(), json!({"ready": true, "failing": [], "degraded": []}));

    port.store_ok.store(false, Ordering::Relaxed);
    let unready = port.get("/readyz").await;
    assert_eq!(unready.status, 503);
    assert!(
        unready.json()["failing"]
            .as_array()
            .unwrap()
            .contains(&json!({"check": "store", "reason": "behind"}))
    );
    port.stop().await;
}

#[tokio::test]
async fn what_nodes_tell_each_other_is_read_and_announcements_are_handed_on() {
    let port = Port::start().await;
    let answer = port.get("/api/nodes").await;
    assert_eq!(answer.json(), json!({ "hot": { "kind": "process", "away": null }, "nodes": [] }));
    for (path, status) in [
        ("/api/online?character=7", 404),
        ("/api/online?character=x", 400),
        ("/api/online", 400),
        ("/api/near?zone=1&x_m=1&y_m=1&radius_m=10", 200),
        ("/api/near?zone=1&x_m=-1&y_m=1&radius_m=10", 400),
        ("/api/near?zone=1&x_m=NaN&y_m=1&radius_m=10", 400),
        ("/api/near?zone=65536&x_m=1&y_m=1&radius_m=1", 400),
        ("/api/chat?zone=1", 200),
        ("/api/chat?zone=", 400),
    ] {
        assert_eq!(port.get(path).await.status, status, "{path}");
    }
    let json_type = "Content-Type: application/json\r\n";
    let foreign = format!("{json_type}Origin: http://evil.example\r\n");
    let long = json!({ "text": "x".repeat(201) }).to_string();
    let huge = json!({ "text": "x".repeat(3000) }).to_string();
    for (more, body, status, code) in [
        (json_type, "{\"text\": \"hello\"}", 503, "stopping"),
        (json_type, "{\"text\": \" \"}", 400, "bad_text"),
        (json_type, "{\"text\": \"a\\u0007\"}", 400, "bad_text"),
        (json_type, long.as_str(), 400, "bad_text"),
        (json_type, huge.as_str(), 400, "bad_body"),
        (json_type, "{}", 400, "bad_body"),
        (json_type, "{\"text\": \"a\", \"to\": 1}", 400, "bad_body"),
        ("Content-Type: text/plain\r\n", "{\"text\": \"a\"}", 400, "bad_body"),
        (foreign.as_str(), "{\"text\": \"a\"}", 403, "foreign_origin"),
    ] {
        let head = format!("POST /api/announce HTTP/1.1\r\nHost: {}\r\n{more}", port.address);
        let answer = port.ask_with(&format!("{head}Content-Length: {}\r\n", body.len()), body).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &json!(code)), "{body}");
    }
    port.stop().await;
}

#[tokio::test]
async fn metrics_are_text_of_the_kind_asked_for() {
    let port = Port::start().await;
    port.metrics.shard(1).unwrap().ticks.inc_by(41);
    let metrics = port.get("/metrics").await;
    metrics.assert_header("content-type: text/plain; version=0.0.4; charset=utf-8");
    assert!(metrics.text().lines().any(|line| line == "vyuha_ticks_total{shard=\"1\"} 41"));
    assert!(metrics.text().ends_with("# EOF\n"));
    let head = format!(
        "GET /metrics HTTP/1.1\r\nHost: {}\r\nAccept: application/openmetrics-text; version=1.0.0\r\n",
        port.address
    );
    let metrics = port.ask(&head).await;
    metrics.assert_header("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8");
    port.stop().await;
}

#[tokio::test]
async fn a_page_is_sent_figures_and_the_map_it_asks_for() {
    let port = Port::start().await;
    assert!(!port.feed.marks_wanted());
    let mut socket = port.watch(2).await;
    assert!(port.feed.marks_wanted());
    port.publish(0, 7);
    port.publish(1, 8);
    let map = next(&mut socket, Message::is_binary).await.into_data();
    let expected = [2, 0, 16, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0, 2, 0, 0, 0];
    assert_eq!(map[..], expected, "the zone asked for, and no other");
    let stats: Value =
        serde_json::from_str(next(&mut socket, Message::is_text).await.to_text().unwrap()).unwrap();
    assert_eq!(stats["type"], "stats");
    assert_eq!(stats["shards"].as_array().unwrap().len(), 2);
    assert_eq!(stats["shards"][0]["tick_us"], json!([100, 200, 300]));

    socket.send(Message::text(r#"{"zone":1}"#)).await.unwrap();
    let map = next(&mut socket, Message::is_binary).await.into_data();
    assert_eq!((map[0], map[8]), (1, 7), "the newest state of the other zone comes at once");

    until(async || (port.get("/api/history").await.json().as_array().unwrap().len() == 1).then_some(()))
        .await;
    let history = port.get("/api/history").await.json();
    assert_eq!(history[0]["tick_us"], json!([[100, 200, 300], [100, 200, 300]]));

    socket.close(None).await.unwrap();
    until(async || (!port.feed.marks_wanted()).then_some(())).await;
    port.stop().await;
}

#[tokio::test]
async fn a_page_that_breaks_the_rules_is_closed_with_a_reason() {
    #[track_caller]
    fn check(closed: Message, code: CloseCode, reason: &str) {
        let Message::Close(Some(frame)) = closed else { panic!("{closed:?}") };
        assert_eq!(frame.code, code);
        assert!(frame.reason.starts_with(reason), "{}", frame.reason);
    }
    let port = Port::start().await;
    for (message, code, reason) in [
        (Message::text("{\"zone\":3}"), CloseCode::Policy, "unknown_zone"),
        (Message::text("{\"zone\":-1}"), CloseCode::Policy, "bad_message"),
        (Message::text("{\"zone\":1,\"more\":1}"), CloseCode::Policy, "bad_message"),
        (Message::text("["), CloseCode::Policy, "bad_message"),
        (Message::binary(vec![0; 4]), CloseCode::Unsupported, "bad_message"),
    ] {
        let (mut socket, _) = port.open(None).await.unwrap();
        socket.send(message).await.unwrap();
        check(next(&mut socket, Message::is_close).await, code, reason);
    }
    let (mut socket, _) = port.open(None).await.unwrap();
    socket.send(Message::text(" ".repeat(257))).await.unwrap();
    let ended = timeout(PATIENCE, async { while let Some(Ok(_)) = socket.next().await {} }).await;
    assert!(ended.is_ok(), "too long a message ends the stream");
    until(async || (!port.feed.marks_wanted()).then_some(())).await;
    port.stop().await;
}

#[tokio::test]
async fn watchers_are_bounded_and_foreign_pages_are_refused() {
    #[track_caller]
    fn check(opened: Result<(Socket, Upgraded), Error>, status: u16) {
        match opened {
            Err(Error::Http(response)) => assert_eq!(response.status().as_u16(), status),
            other => panic!("expected {status}: {other:?}"),
        }
    }
    let port = Port::start().await;
    check(port.open(Some("http://evil.example")).await, 403);
    check(port.open(Some("null")).await, 403);
    let own = format!("http://{}", port.address);
    let mut sockets = Vec::new();
    for _ in 0..WATCHERS_MAX {
        sockets.push(port.open(Some(&own)).await.unwrap());
    }
    check(port.open(Some(&own)).await, 503);
    sockets.pop();
    until(async || port.open(Some(&own)).await.ok()).await;
    port.stop().await;
}

#[tokio::test]
async fn a_page_that_does_not_read_misses_states_and_then_sees_the_newest() {
    const MARKS: usize = 20_000;
    const STATES: u64 = 60;
    let port = Port::start().await;
    let mut socket = port.watch(1).await;
    for tick in 1..=STATES {
        let marks = vec![Mark::new(0, 0, MarkKind::Item); MARKS];
        let zones = vec![ZoneReport { zone: 1, marks, ..ZoneReport::default() }];
        port.feed.publish(ShardReport { tick, zones, ..ShardReport::default() });
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&STATES) {
        let map = next(&mut socket, Message::is_binary).await.into_data();
        seen.push(u64::from_le_bytes(map[8..16].try_into().unwrap()));
    }
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(seen.len() < STATES as usize / 2, "{} of {STATES} states were queued", seen.len());
    port.stop().await;
}

#[tokio::test]
async fn stopping_tells_the_pages_and_does_not_wait_for_idle_connections() {
    let port = Port::start().await;
    let mut socket = port.watch(1).await;
    let _idle = TcpStream::connect(port.address).await.unwrap();
    let mut half = TcpStream::connect(port.address).await.unwrap();
    half.write_all(b"GET /healthz HT").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stopping = tokio::spawn(port.stop());
    let closed = next(&mut socket, Message::is_close).await;
    assert!(matches!(closed, Message::Close(Some(frame)) if frame.code == CloseCode::Away));
    stopping.await.unwrap();
}

#[tokio::test]
async fn searches_for_doubled_items_are_handed_on_and_shown() {
    let port = Port::start().await;
    assert_eq!(port.get("/api/scan").await.json(), json!({ "last": null, "error": null }));
    let order = |more: &str| {
        format!("POST /api/scan HTTP/1.1\r\nHost: {}\r\n{more}Content-Length: 0\r\n", port.address)
    };
    let searched = port.ask(&order("")).await;
    assert_eq!((searched.status, &searched.json()["items"]), (200, &json!(600)));
    assert_eq!(port.get("/api/scan").await.json()["last"], searched.json());
    assert_eq!(port.ask(&order("Origin: http://evil.example\r\n")).await.status, 403);

    let item = json!({ "item": "7", "places": [], "history": [] });
    assert_eq!(port.get("/api/items/7").await.json(), item);
    assert_eq!(port.get("/api/items/sword").await.status, 404);
    let failed = port.get("/api/items/8").await;
    assert_eq!((failed.status, &failed.json()["error"]["code"]), (503, &json!("database")));
    let standing = port.get("/api/scan").await.json();
    assert_eq!((&standing["last"], &standing["error"]), (&searched.json(), &json!("it is away")));
}
