//! Playing over WebSocket: everything that is done over TCP, and what only a WebSocket can do wrong.

mod playing;

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio_tungstenite::tungstenite::{self, Message as WebMessage};
use vyuha_protocol::message::{
    AskTrade, CreateCharacter, Hello, ListCharacters, Login, PickUp, Ping, RegisterAccount, Say,
    SelectCharacter,
};
use vyuha_protocol::msgpack::CLIENT_MESSAGE_BYTES_MAX;
use vyuha_protocol::snapshot::Snapshot;
use vyuha_protocol::{ErrorCode, PROTOCOL_VERSION};
use vyuha_tests::{
    Heard, Node, Options, PASSWORD, PATIENCE, Player, SharedNode, WebWire, Wire, Witness, YARD, http_get,
    play_request,
};

static NODE: SharedNode = SharedNode::new();

fn come_in(options: Options) -> Options {
    options.by_web()
}

fn node() -> Arc<Node> {
    NODE.get(Options::test_world)
}

/// Says hello, registers an account of this name and signs in.
fn sign_up(node: &Node, web: &mut WebWire, account: &str) {
    web.send(&Hello { version: PROTOCOL_VERSION, content_hash: node.content().hash });
    web.expect("Welcome");
    web.send(&RegisterAccount { request: 1, account: account.into(), password: PASSWORD.into() });
    web.expect("AccountRegistered");
    web.send(&Login { request: 2, account: account.into(), password: PASSWORD.into() });
    web.expect("LoggedIn");
}

/// Signs up over TCP, and enters the world with the character made there: its name.
fn enter(node: &Node, web: &mut WebWire, account: &str) -> String {
    let who = Player::sign_up(node, account, YARD).log_out();
    web.send(&Hello { version: PROTOCOL_VERSION, content_hash: node.content().hash });
    web.expect("Welcome");
    web.send(&Login { request: 1, account: who.account, password: PASSWORD.into() });
    web.expect("LoggedIn");
    web.send(&SelectCharacter { request: 2, character: who.character.0 });
    web.expect("EnteredZone");
    who.name
}

/// What ends a connection wherever it comes, by what is wrong with it.
fn broken_messages() -> Vec<(&'static str, WebMessage, ErrorCode)> {
    let mut long = Vec::new();
    vyuha_protocol::msgpack::append(
        &mut long,
        &Say { request: 900, text: "x".repeat(CLIENT_MESSAGE_BYTES_MAX) },
    );
    let mut over = Vec::new();
    vyuha_protocol::msgpack::append(&mut over, &Say { request: 900, text: "x".repeat(1100) });
    // ["Ping", {"stamp": 1}] and its parts.
    let ping = b"\x92\xa4Ping\x81\xa5stamp\x01";
    let bytes = |bytes: &[u8]| WebMessage::binary(bytes.to_vec());
    let named = |name: &str| {
        let mut message = vec![0x92, 0xa0 | name.len() as u8];
        message.extend(name.as_bytes());
        message.extend([0x81, 0xa5]);
        message.extend(b"stamp\x01");
        bytes(&message)
    };
    vec![
        ("an empty message", bytes(b""), ErrorCode::Malformed),
        ("a text message", WebMessage::text("Ping"), ErrorCode::Malformed),
        ("a number", bytes(&[7]), ErrorCode::Malformed),
        ("nil", bytes(&[0xc0]), ErrorCode::Malformed),
        ("a reserved byte", bytes(&[0xc1]), ErrorCode::Malformed),
        (
            "a frame of the binary protocol",
            bytes(&[8, 0, 0, 0, 0x14, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
            ErrorCode::Malformed,
        ),
        ("half a message", bytes(&ping[..ping.len() - 1]), ErrorCode::Malformed),
        ("a message and a half", bytes(&[&ping[..], &ping[..5]].concat()), ErrorCode::Malformed),
        ("two messages in one", bytes(&[&ping[..], &ping[..]].concat()), ErrorCode::Malformed),
        ("a text for a number", bytes(b"\x92\xa4Ping\x81\xa5stamp\xa11"), ErrorCode::Malformed),
        ("a negative number", bytes(b"\x92\xa4Ping\x81\xa5stamp\xff"), ErrorCode::Malformed),
        ("a float", bytes(b"\x92\xa4Ping\x81\xa5stamp\xca\x3f\x80\0\0"), ErrorCode::Malformed),
        ("no field", bytes(b"\x92\xa4Ping\x80"), ErrorCode::Malformed),
        ("a field twice", bytes(b"\x92\xa4Ping\x82\xa5stamp\x01\xa5stamp\x01"), ErrorCode::Malformed),
        ("another field", bytes(b"\x92\xa4Ping\x82\xa5stamp\x01\xa4more\x01"), ErrorCode::Malformed),
        ("a text that is not UTF-8", bytes(b"\x92\xa3Say\x92\x01\xa2\xc3\x28"), ErrorCode::Malformed),
        ("a text of 4 GiB", bytes(b"\x92\xa3Say\x92\x01\xdb\xff\xff\xff\xff"), ErrorCode::Malformed),
        ("a list of 4 Gi", bytes(b"\x92\xa3Say\xdd\xff\xff\xff\xff\x01"), ErrorCode::Malformed),
        ("arrays without end", bytes(&[0x91; CLIENT_MESSAGE_BYTES_MAX]), ErrorCode::Malformed),
        ("a name that is none", named("Pang"), ErrorCode::UnknownKind),
        ("no name", named(""), ErrorCode::UnknownKind),
        ("a server's message", named("Pong"), ErrorCode::UnknownKind),
        ("a snapshot", bytes(b"\x92\xa8Snapshot\xc4\x01\0"), ErrorCode::UnknownKind),
        ("a payload that is too long", bytes(&over), ErrorCode::FrameTooLarge),
        ("a message that is too long", bytes(&long), ErrorCode::FrameTooLarge),
        ("a message of 100 kB", bytes(&[0xc0; 100_000]), ErrorCode::FrameTooLarge),
    ]
}

/// Sends each broken message on a connection that `begin` brought to its stage.
fn broken_messages_end_the_connection(stage: &str, begin: impl Fn(&Node, &mut WebWire, usize)) {
    let node = node();
    let witness = Witness::start(&node, &format!("Wit{stage}"));
    for (nth, (what, message, code)) in broken_messages().into_iter().enumerate() {
        println!("{stage}: {what}");
        let before = node.metrics().errors(code.name());
        let mut web = WebWire::connect(&node);
        begin(&node, &mut web, nth);
        web.send_web(message);
        web.expect_closed(code);
        node.await_metrics(what, |metrics| metrics.errors(code.name()) > before);
    }
    witness.finish();
}

#[test]
fn broken_messages_end_a_fresh_connection() {
    broken_messages_end_the_connection("Fresh", |_, _, _| {});
}

#[test]
fn broken_messages_end_a_connection_that_is_signed_in() {
    broken_messages_end_the_connection("Signed", |node, web, nth| {
        sign_up(node, web, &format!("signed{nth}"));
    });
}

#[test]
fn broken_messages_end_a_connection_that_plays() {
    broken_messages_end_the_connection("Plays", |node, web, nth| {
        enter(node, web, &format!("Plays{}", char::from(b'a' + nth as u8)));
    });
}

#[test]
fn what_breaks_the_websocket_itself_is_malformed() {
    let node = node();
    for (what, bytes) in [
        // An opcode that is none, a frame that is not masked, a continuation of nothing; text that is not UTF-8, masked with zeros.
        ("an opcode that is none", &[0x83, 0x80, 0, 0, 0, 0][..]),
        ("reserved bits", &[0xf2, 0x80, 0, 0, 0, 0]),
        ("a frame without a mask", &[0x82, 0x01, 0xc0]),
        ("a continuation of nothing", &[0x80, 0x80, 0, 0, 0, 0]),
        ("text that is not UTF-8", &[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28]),
        ("a ping that is too long", &[&[0x89, 0xfe, 0, 200][..], &[0; 204]].concat()),
    ] {
        println!("{what}");
        let mut web = WebWire::connect(&node);
        web.send_raw(bytes);
        web.expect_closed(ErrorCode::Malformed);
    }
}

#[test]
fn refusals_are_those_of_tcp() {
    let node = node();
    let refused = |web: &mut WebWire, request, code| {
        assert_eq!(web.hear(), Heard::Refused { request, code });
    };
    let mut web = WebWire::connect(&node);
    web.send(&ListCharacters { request: 1 });
    refused(&mut web, 1, ErrorCode::OutOfOrder);
    web.send(&Ping { stamp: u64::MAX });
    web.expect("Pong");
    let mut other = WebWire::connect(&node);
    other.send(&Hello { version: PROTOCOL_VERSION, content_hash: [0; 32] });
    other.expect_closed(ErrorCode::ContentMismatch);

    let mut web = WebWire::connect(&node);
    enter(&node, &mut web, "Refused");
    web.send(&Say { request: 2, text: "again".into() });
    refused(&mut web, 2, ErrorCode::Replayed);
    web.send(&Say { request: 3, text: "line\nbreak".into() });
    refused(&mut web, 3, ErrorCode::TextInvalid);
    web.send(&PickUp { request: 4, nonce: 0, entity: u32::MAX });
    refused(&mut web, 4, ErrorCode::NonceStale);
    web.send(&AskTrade { request: 5, entity: u32::MAX });
    refused(&mut web, 5, ErrorCode::PartnerGone);
    web.send(&CreateCharacter { request: 6, name: "Nobody".into() });
    refused(&mut web, 6, ErrorCode::OutOfOrder);
    for stamp in 0..2000 {
        // The server closes before it has taken everything.
        if !web.try_send(&Ping { stamp }) {
            break;
        }
    }
    web.expect_closed(ErrorCode::Flood);
}

#[test]
fn a_flood_of_websocket_pings_ends_the_connection() {
    let node = node();
    let witness = Witness::start(&node, "WitPings");
    let mut web = WebWire::connect(&node);
    sign_up(&node, &mut web, "pings");
    for _ in 0..50 {
        web.send_web(WebMessage::Ping(b"x".to_vec().into()));
    }
    web.send(&ListCharacters { request: 9 });
    web.expect("Characters");
    let mut ping = vec![0x89, 0x80];
    ping.extend([0; 4]);
    // Fewer than can be on the way unread: none of them is refused for want of room.
    web.send_raw(&ping.repeat(1000));
    let begun = Instant::now();
    web.read_to_end();
    // A connection that is only silent ends too, after a minute.
    assert!(begun.elapsed() < PATIENCE / 2, "it ended after {:?}", begun.elapsed());
    witness.finish();
}

#[test]
fn only_its_own_page_may_open_a_websocket() {
    let node = node();
    let refused = |change: &dyn Fn(&mut tungstenite::handshake::client::Request)| {
        let mut request = play_request(node.web);
        change(&mut request);
        let stream = TcpStream::connect(node.web).expect("the web port is open");
        match tungstenite::client::client(request, stream) {
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                answer.status().as_u16()
            }
            other => panic!("it is not refused: {other:?}"),
        }
    };
    let header = |name: &'static str, value: &'static str| {
        refused(&|request| {
            request.headers_mut().insert(name, value.parse().expect("it is a header's value"));
        })
    };
    assert_eq!(header("Origin", "http://evil.example"), 403);
    assert_eq!(header("Origin", "null"), 403);
    assert_eq!(header("Sec-WebSocket-Protocol", "chat"), 400);
    assert_eq!(http_get(node.web, "/play").0, 400);
}

#[test]
fn what_a_client_must_hold_is_served() {
    let node = node();
    let (status, world) = http_get(node.web, "/world.json");
    assert_eq!(status, 200, "{world}");
    let world: serde_json::Value = serde_json::from_str(&world).expect("it is JSON");
    let hash = node.content().hash.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    assert_eq!(world["content_hash"], hash);
    let names: Vec<_> =
        world["zones"].as_array().expect("it is a list").iter().map(|zone| &zone["name"]).collect();
    assert_eq!(names, ["Yard", "Depot", "Closet"]);
    assert!(world["items"].as_array().is_some_and(|items| items.len() == 3), "{world}");

    for zone in world["zones"].as_array().expect("it is a list") {
        let (status, tiles) = http_get(node.web, &format!("/maps/{hash}/{}", zone["id"]));
        assert_eq!(status, 200);
        let (width, height) = (zone["width_tiles"].as_u64(), zone["height_tiles"].as_u64());
        assert_eq!(Some(tiles.len() as u64), width.zip(height).map(|(width, height)| width * height));
        let id = vyuha_protocol::ZoneId(zone["id"].as_u64().expect("it is a number") as u16);
        let content = node.content();
        let map = &content.maps.iter().find(|(known, _)| **known == id).expect("the client has the zone").1;
        for (at, tile) in tiles.bytes().enumerate() {
            let (x, y) = (at as u32 % map.width(), at as u32 / map.width());
            assert_eq!(map.is_wall(x, y), matches!(tile, b'#' | b'T' | b'~'), "tile {x},{y}");
        }
    }
    assert_eq!(http_get(node.web, &format!("/maps/{hash}/999")).0, 404);
    assert_eq!(http_get(node.web, &format!("/maps/{}/1", "0".repeat(64))).0, 404);
    assert_eq!(http_get(node.web, "/metrics").0, 404, "that is the admin port's");
    let (status, page) = http_get(node.web, "/");
    assert!(status == 200 && page.contains("<html"), "{status}: {page}");
}

#[test]
fn browsers_and_others_see_each_other() {
    let node = Node::start(&Options::test_world());
    let mut web = WebWire::connect(&node);
    let name = enter(&node, &mut web, "Webster");
    let mut player = Player::sign_up(&node, "Tcpson", YARD);
    player.until("Webster", |core| core.world().players().any(|other| other.name() == name).then_some(()));
    web.send(&Say { request: 10, text: "hello".into() });
    let said = player.client.wait_for(PATIENCE, |event| match event {
        vyuha_net::client::Event::Said { name, text, .. } => Some((name.clone(), text.clone())),
        _ => None,
    });
    assert_eq!(said.expect("it is heard"), (name.clone(), "hello".into()));
    // A browser that goes without a word is gone for the others.
    drop(web);
    player.until("Webster gone", |core| {
        (!core.world().players().any(|other| other.name() == name)).then_some(())
    });
    node.await_metrics("the browser gone", |metrics| metrics.value("vyuha_web_connections") == 0);
    player.log_out();
}

#[test]
fn a_browser_that_reads_late_is_skipped_and_sees_the_world_as_it_is_now() {
    let node = Node::start(&Options::test_world());
    let witness = Witness::start(&node, "WitLate");
    let mut web = WebWire::connect_narrow(&node);
    enter(&node, &mut web, "Late");
    let first = Snapshot::read(&web.snapshot()).expect("it is a snapshot").head.tick;
    // Nothing is read until all on the way is full and snapshots are left out.
    node.await_metrics("snapshots skipped", |metrics| metrics.sum("vyuha_snapshots_skipped_total") > 60);
    let (mut last, mut gap) = (first, 0);
    let deadline = Instant::now() + PATIENCE;
    while gap < 30 {
        assert!(Instant::now() < deadline, "no snapshot was left out");
        let bytes = web.snapshot();
        let snapshot = Snapshot::read(&bytes).expect("it is a snapshot");
        gap = snapshot.head.tick - last;
        last = snapshot.head.tick;
        if gap >= 30 {
            assert!(snapshot.blocks().all(|block| block.full), "what was missed is stated whole");
        }
    }
    web.send(&Ping { stamp: 1 });
    web.expect("Pong");
    witness.finish();
}

#[test]
fn browsers_that_never_read_are_closed_and_cost_no_memory() {
    const DEAF: u64 = 10;
    let options = Options::test_world()
        .with("net-idle-timeout", "1h")
        .with("net-reliable-bytes-max", "4KiB")
        .with("net-frames-per-second-max", "10000");
    let node = Node::start(&options);
    let witness = Witness::start(&node, "WitDeaf");
    let mut deaf: Vec<WebWire> = (0..DEAF)
        .map(|nth| {
            let mut web = WebWire::connect_narrow(&node);
            enter(&node, &mut web, &format!("Deaf{nth}"));
            web
        })
        .collect();
    let before = node.metrics();
    let deadline = Instant::now() + PATIENCE;
    while node.metrics().errors("SlowClient") < DEAF {
        assert!(Instant::now() < deadline, "they are never closed");
        for web in &mut deaf {
            for stamp in 0..50 {
                // Fails once the server has closed.
                web.try_send(&Ping { stamp });
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let resident = "process_resident_memory_bytes";
    let grown = node.metrics().value(resident).saturating_sub(before.value(resident));
    assert!(grown < 32 << 20, "{DEAF} deaf browsers took {grown} bytes");
    witness.finish();
}

#[test]
fn a_silent_browser_is_closed_like_anybody() {
    let node = Node::start(&Options::test_world().with("net-handshake-timeout", "300ms"));
    WebWire::connect(&node).expect_closed(ErrorCode::HandshakeTimeout);
    let mut node = node;
    node.terminate();
}

#[test]
fn a_node_that_is_told_to_stop_tells_its_browsers() {
    let mut node = Node::start(&Options::test_world());
    let mut playing = WebWire::connect(&node);
    enter(&node, &mut playing, "Asha");
    let mut at_the_door = WebWire::connect(&node);
    at_the_door.send(&Ping { stamp: 1 });
    at_the_door.expect("Pong");
    let silent = Wire::connect(&node);
    node.kill_process(Signal::TERM);
    let told = std::thread::spawn(move || playing.expect_closed(ErrorCode::ShuttingDown));
    at_the_door.expect_closed(ErrorCode::ShuttingDown);
    told.join().expect("who plays is told");
    assert_eq!(node.wait().code(), Some(0), "{}", node.log());
    drop(silent);
}
