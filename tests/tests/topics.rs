//! Topics of a whole node: what its shards, its staff and its accounts do is told to those who listen, over real sockets; and to
//! a page in a real browser, whose connection breaks.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};
use vyuha_protocol::motion::Heading;
use vyuha_protocol::units::UNITS_PER_METRE;
use vyuha_tests::{Browser, COIN, DEPOT, Node, Options, PASSWORD, PATIENCE, Player, http, http_post};
use vyuha_topics::SUBPROTOCOL;
use vyuha_topics::message::{ClientMessage, Subscribe};

fn options() -> Options {
    let options = Options::test_world().with("api-enabled", "true").with("api-address", "127.0.0.1:0");
    options.with("shard-count", "2")
}

/// Account and access token of somebody who plays.
fn sign_in(node: &Node, player: &Player) -> (i64, String) {
    let wanted = json!({ "login": player.who.account, "password": PASSWORD });
    let api = node.api.expect("the API is on");
    let tokens = http(api, "POST", "/api/v1/sessions", &[], Some(&wanted)).expect("an answer");
    assert_eq!(tokens.status, 201, "{tokens:?}");
    (tokens.body["account"].as_i64().expect("a number"), tokens.text("access_token").to_owned())
}

/// Somebody who listens.
struct Page(WebSocket<TcpStream>);

impl Page {
    fn open(node: &Node, token: &str) -> Page {
        let api = node.api.expect("the API is on");
        let mut request = format!("ws://{api}/api/v1/topics").into_client_request().expect("an address");
        let headers = request.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", SUBPROTOCOL.parse().expect("a value"));
        headers.insert("Authorization", format!("Bearer {token}").parse().expect("a value"));
        let stream = TcpStream::connect(api).expect("the API's port is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let (socket, _) = tungstenite::client::client(request, stream).expect("the node upgrades");
        let mut page = Page(socket);
        assert_eq!(page.next().expect("it goes on").0, "Welcome");
        page
    }

    /// The name and the fields of what comes next; why it was closed where nothing does.
    fn next(&mut self) -> Result<(String, Value), (u16, String)> {
        loop {
            match self.0.read().expect("something comes") {
                Message::Binary(bytes) => return Ok(rmp_serde::from_slice(&bytes).expect("MessagePack")),
                Message::Close(Some(frame)) => return Err((frame.code.into(), frame.reason.to_string())),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// What is said next that is picked.
    fn until<T>(&mut self, pick: impl Fn(&str, &Value) -> Option<T>) -> T {
        loop {
            let (name, fields) = self.next().expect("it goes on");
            if let Some(picked) = pick(&name, &fields) {
                return picked;
            }
        }
    }

    /// Asks for a topic: the answer.
    fn ask(&mut self, topic: &str) -> (String, Value) {
        let wanted = Subscribe { request: 7, topic: topic.to_owned(), after: None };
        let asked = Message::binary(ClientMessage::Subscribe(wanted).encode());
        self.0.send(asked).expect("the node takes messages");
        self.until(|name, fields| (fields["request"] == 7).then(|| (name.to_owned(), fields.clone())))
    }

    fn subscribe(&mut self, topic: &str) {
        let (name, fields) = self.ask(topic);
        assert_eq!((name.as_str(), &fields["topic"]), ("Subscribed", &topic.into()));
    }

    /// What a topic says next.
    fn hear(&mut self, topic: &str) -> Value {
        self.until(|name, fields| {
            (name == "Message" && fields["topic"] == topic).then(|| fields["data"].clone())
        })
    }
}

#[test]
fn who_listens_hears_what_happens_to_their_character_and_to_the_world() {
    let mut node = Node::start(&options());
    let mut player = Player::sign_up(&node, "Asha", DEPOT);
    let stranger = Player::sign_up(&node, "Ravi", DEPOT);
    let (account, token) = sign_in(&node, &player);
    let (_, others) = sign_in(&node, &stranger);
    let character = player.who.character.0;
    let topic = |what: &str| format!("character/{character}/{what}");
    let mut page = Page::open(&node, &token);
    let mut elsewhere = Page::open(&node, &others);
    for what in ["position", "inventory", "combat"] {
        let refused = ("Refused".to_owned(), json!({ "request": 7, "code": "forbidden" }));
        assert_eq!(elsewhere.ask(&topic(what)), refused, "another's character");
    }
    elsewhere.subscribe("server/announcements");

    // Where it is, as the character walks.
    page.subscribe(&topic("position"));
    let metre = |pos: u32| f64::from(pos) / f64::from(UNITS_PER_METRE);
    let stands = player.pos();
    let told = page.hear(&topic("position"));
    assert_eq!(
        (&told["zone"], &told["x_m"], &told["y_m"]),
        (&DEPOT.0.into(), &metre(stands.x).into(), &metre(stands.y).into())
    );
    player.walk([Heading { x: 127, y: 0 }; 12]);
    let walked = player.catch_up().pos;
    assert_ne!(walked, stands);
    page.until(|_, fields| (fields["data"]["x_m"] == metre(walked.x)).then_some(()));

    // What it carries: told whole from the gap on, and once it is on disk.
    page.subscribe(&topic("inventory"));
    page.until(|name, fields| {
        (name == "Gap" && fields["topic"] == topic("inventory").as_str()).then_some(())
    });
    let picks_up_and_drops = |player: &mut Player, page: &mut Page| {
        let slot = player.pick_up_any(COIN);
        let told = page.hear(&topic("inventory"));
        assert_eq!(
            (&told["reason"], &told["items"][0]["count"]),
            (&"pick up".into(), &slot.count.into()),
            "{told}"
        );
        assert_eq!(
            (&told["items"][0]["slot"], &told["items"][0]["place"]),
            (&slot.slot.into(), &"carried".into())
        );
        let item = told["items"][0]["item"].clone();
        player.drop_items(slot.slot, slot.count).expect("there is room on the ground");
        let told = page.hear(&topic("inventory"));
        assert_eq!(
            (&told["reason"], &told["items"], &told["gone"]),
            (&"drop".into(), &json!([]), &json!([item]))
        );
    };
    picks_up_and_drops(&mut player, &mut page);

    // The zone goes to the other shard, and all goes on.
    page.subscribe("world/events");
    let at = http(node.admin, "GET", "/api/zones", &[], None).expect("an answer").body;
    let zones = at["zones"].as_array().unwrap_or_else(|| panic!("{at}"));
    let shard = zones.iter().find(|zone| zone["id"] == DEPOT.0).map(|zone| zone["shard"].as_u64());
    let to = 1 - shard.flatten().expect("the depot is somewhere");
    let path = format!("/api/zones/{}/move", DEPOT.0);
    let (status, answer) = http_post(node.admin, &path, &json!({ "shard": to })).expect("an answer");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(page.hear("world/events"), json!({ "what": "zone moved", "zone": DEPOT.0 }));
    picks_up_and_drops(&mut player, &mut page);
    page.hear(&topic("position"));

    // What staff says, and what becomes of the account.
    let text = json!({ "text": "down at <noon>" });
    page.subscribe("server/announcements");
    page.subscribe(&format!("player/{account}/notifications"));
    assert_eq!(http_post(node.admin, "/api/announce", &text).expect("an answer").0, 200);
    assert_eq!(page.hear("server/announcements"), text);
    assert_eq!(elsewhere.hear("server/announcements"), text);
    sign_in(&node, &player);
    assert_eq!(page.hear(&format!("player/{account}/notifications"))["kind"], "signed_in");
    node.await_metrics("that somebody listens", |metrics| metrics.value("vyuha_topic_connections") == 2);

    player.log_out();
    stranger.log_out();
    assert!(node.terminate().status.success());
    for mut page in [page, elsewhere] {
        let reason = loop {
            if let Err(reason) = page.next() {
                break reason;
            }
        };
        assert_eq!(reason, (4009, "shutting_down".into()));
    }
}

/// Passes connections on, and cuts them when it is told to.
struct Line {
    address: SocketAddr,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Line {
    fn to(server: SocketAddr) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it listens");
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let opened = open.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let clone = |stream: &TcpStream| stream.try_clone().expect("there is room for a socket");
                    let (mut from, mut to) = (clone(from), clone(to));
                    std::thread::spawn(move || {
                        // Either side may end it.
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
                opened.lock().expect("nobody panicked").extend([client, server]);
            }
        });
        Line { address, open }
    }

    fn cut(&self) {
        for stream in self.open.lock().expect("nobody panicked").drain(..) {
            // One that has ended needs no cut.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Serves a page, and the client's scripts.
fn serve_page(page: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it listens");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]);
            let (kind, body) = match request.split(' ').nth(1) {
                Some("/") => ("text/html", page.clone()),
                Some("/topics.js") => {
                    ("text/javascript", include_str!("../../clients/web/client/topics.js").into())
                }
                Some("/msgpack.js") => {
                    ("text/javascript", include_str!("../../clients/web/client/msgpack.js").into())
                }
                _ => ("image/svg+xml", String::new()),
            };
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
            // A browser that has gone needs no answer.
            let _ = write!(stream, "{head}Connection: close\r\n\r\n{body}");
        }
    });
    address
}

#[test]
fn a_page_goes_on_where_it_was_after_a_lost_connection() {
    let node = Node::start(&options());
    let mut player = Player::sign_up(&node, "Asha", DEPOT);
    let (account, token) = sign_in(&node, &player);
    let character = player.who.character.0;
    let line = Line::to(node.api.expect("the API is on"));
    let url = format!("ws://{}/api/v1/topics", line.address);
    let page = serve_page(format!(
        r#"<!doctype html><link rel="icon" href="data:,"><script type="module">
            import {{ Topics }} from "./topics.js";
            window.told = [];
            const tell = (what) => window.told.push(what);
            const topics = new Topics("{url}", {{
                token: async () => "{token}",
                onOpen: () => tell("open"), onLost: () => tell("lost"), onEnd: (code) => tell("end " + code),
            }});
            topics.subscribe("server/announcements", {{ onMessage: ({{ data }}) => tell(data.text), onGap: () => tell("gap") }});
            topics.subscribe("player/{account}/mail", {{ onMessage: () => {{}} }});
            topics.subscribe("player/999/mail", {{ onMessage: () => {{}}, onEnd: tell }});
            topics.subscribe("character/{character}/position", {{ onMessage: ({{ data }}) => (window.position = data) }});
            topics.subscribe("character/{character}/inventory", {{
                onMessage: ({{ data }}) => tell(data.reason), onGap: () => tell("whole from here"),
            }});
            window.ready = () => topics.place("server/announcements") && window.told.includes("whole from here");
        </script>"#
    ));
    let mut browser = Browser::open(
        page,
        "({ told: window.told ?? [], ready: !!window.ready?.(), position: window.position ?? null })",
    );
    browser.await_page("that it listens", |page| page["ready"] == true && !page["position"].is_null());
    let announce = |text: &str| {
        let (status, answer) =
            http_post(node.admin, "/api/announce", &json!({ "text": text })).expect("an answer");
        assert_eq!(status, 200, "{answer}");
    };
    announce("one");
    player.pick_up_any(COIN);
    let page = browser.await_page("both", |page| page["told"].as_array().is_some_and(|told| told.len() == 5));
    let mut told: Vec<&str> =
        page["told"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    told.sort_unstable();
    assert_eq!(told, ["forbidden", "one", "open", "pick up", "whole from here"]);
    let metre = f64::from(player.pos().x) / f64::from(UNITS_PER_METRE);
    browser.await_page("where it stands", |page| page["position"]["x_m"].as_f64() == Some(metre));

    line.cut();
    announce("two");
    announce("three");
    let page =
        browser.await_page("the rest", |page| page["told"].as_array().is_some_and(|told| told.len() == 9));
    let rest = page["told"].as_array().into_iter().flatten().skip(5);
    let mut rest: Vec<&str> = rest.filter_map(Value::as_str).collect();
    rest.sort_unstable();
    assert_eq!(rest, ["lost", "open", "three", "two"], "each once, and no gap");
    announce("four");
    browser.await_page("the last", |page| page["told"][9] == "four");
    assert_eq!(browser.faults, [""; 0]);
    player.log_out();
}
