//! Nodes with a Redis: what they tell each other and the world by it, and what becomes of play when it is stopped, paused or
//! comes back empty: nothing.
//!
//! The streams are compared with the ledger that the node leaves behind: each of its rows is in its stream once, and in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vyuha_bots::LoadOptions;
use vyuha_net::client::Event;
use vyuha_protocol::message::NOBODY;
use vyuha_protocol::motion::Heading;
use vyuha_test_postgres::Postgres;
use vyuha_test_redis::RedisServer;
use vyuha_tests::{
    COIN, DEPOT, Database, Node, Options, PATIENCE, Player, YARD, http_get, http_post, run_program,
};

const EAST: Heading = Heading { x: 127, y: 0 };
const WEST: Heading = Heading { x: -127, y: 0 };
/// Far longer than a tick and a sync, shorter than a node waits for Redis.
const AT_ONCE: Duration = Duration::from_millis(900);

fn with_redis(redis: &RedisServer, name: &str) -> Options {
    Options::test_world().with("redis-url", &redis.url()).with("node-name", name)
}

fn get(node: &Node, path: &str) -> (u16, Value) {
    let (status, text) = http_get(node.admin, path);
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}")))
}

/// Waits until a page of the admin port says so.
fn await_page(node: &Node, path: &str, holds: impl Fn(u16, &Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, page) = get(node, path);
        if holds(status, &page) {
            return page;
        }
        assert!(Instant::now() < deadline, "{path}: {status}: {page}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn names(page: &Value) -> Vec<&str> {
    page["nodes"].as_array().into_iter().flatten().filter_map(|node| node["name"].as_str()).collect()
}

/// Waits for what nobody near says.
fn hears(player: &mut Player) -> (String, String) {
    let heard = player.client.wait_for(PATIENCE, |event| match event {
        Event::Said { entity, name, text } if entity.0 == NOBODY => Some((name.clone(), text.clone())),
        _ => None,
    });
    heard.unwrap_or_else(|error| panic!("{} hears nothing: {error}", player.who.name))
}

fn announce(node: &Node, text: &str) -> Value {
    let (status, answer) =
        http_post(node.admin, "/api/announce", &json!({ "text": text })).expect("an answer");
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str(&answer).expect("it is JSON")
}

fn lives_at_most(redis: &RedisServer, key: &str, seconds: i64) {
    let ttl: i64 = redis.cli(&["TTL", key]).parse().expect("it is a number");
    assert!((1..=seconds).contains(&ttl), "{key} lives {ttl} s more, at most {seconds} were expected");
}

/// The rows of the ledger that were written by runs with a stream, by shard, each as its event says it.
type Ledger = BTreeMap<i64, Vec<Vec<i64>>>;

const COLUMNS: [&str; 13] = [
    "source",
    "seq",
    "idx",
    "at_ms",
    "reason",
    "item",
    "kind",
    "count",
    "from_place",
    "from_owner",
    "to_place",
    "to_owner",
    "counterparty",
];

/// The ledger as the streams of a node have it; each id follows from its row.
fn streams(redis: &RedisServer, node: &str) -> Ledger {
    let mut ledger = Ledger::new();
    for shard in 0..2 {
        let key = format!("vyuha:stream:ledger:{node}:{shard}");
        let entries: Value =
            serde_json::from_str(&redis.cli(&["XRANGE", &key, "-", "+"])).expect("it is JSON");
        for entry in entries.as_array().expect("it is a list") {
            let body: Value = serde_json::from_str(entry[1][1].as_str().expect("a body")).expect("JSON");
            let row = COLUMNS.map(|column| body[column].as_i64().expect("an integer"));
            assert_eq!(entry[0], format!("{}-{}", ((row[0] >> 40) << 40) + row[1], row[2]));
            assert_eq!(row[0] & 0xff, shard, "{body}");
            ledger.entry(shard).or_default().push(row.to_vec());
        }
    }
    ledger
}

/// The ledger as SQLite has it, in order.
fn sqlite_ledger(node: &mut Node) -> Ledger {
    let mut ledger = Ledger::new();
    for row in Database::of(node).ledger() {
        let row = vec![
            row.source,
            row.seq,
            row.idx,
            row.at_ms,
            row.reason,
            row.item,
            row.kind,
            row.count,
            row.from_place,
            row.from_owner,
            row.to_place,
            row.to_owner,
            row.counterparty,
        ];
        ledger.entry(row[0] & 0xff).or_default().push(row);
    }
    ledger
}

/// The ledger as PostgreSQL has it, in order.
fn postgres_ledger(postgres: &Postgres, url: &str) -> Ledger {
    let sql = format!("SELECT {} FROM ledger ORDER BY source, seq, idx", COLUMNS.join(", "));
    let mut ledger = Ledger::new();
    for line in postgres.psql(url, &sql).lines() {
        let row: Vec<i64> = line.split('|').map(|column| column.parse().expect("an integer")).collect();
        ledger.entry(row[0] & 0xff).or_default().push(row);
    }
    ledger
}

fn await_events(node: &Node) {
    let deadline = Instant::now() + PATIENCE;
    let mut told_since: Option<Instant> = None;
    // Figures are copied once a second: what they say for longer is so.
    while told_since.is_none_or(|since| since.elapsed() < Duration::from_millis(1_200)) {
        let (_, text) = http_get(node.admin, "/metrics");
        let figure = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            value.unwrap_or_else(|| panic!("no {name}"))
        };
        let (frames, lag) = (figure("vyuha_store_lag_frames "), figure("vyuha_hot_events_lag_seconds "));
        told_since = if frames == 0.0 && lag == 0.0 { told_since.or(Some(Instant::now())) } else { None };
        assert!(Instant::now() < deadline, "{frames} frames are not in the database, events lag: {lag}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[track_caller]
fn assert_same(streams: &Ledger, ledger: &Ledger, when: &str) {
    assert_eq!(streams.keys().collect::<Vec<_>>(), ledger.keys().collect::<Vec<_>>(), "{when}");
    for (shard, rows) in ledger {
        let told = &streams[shard];
        let same = told.iter().zip(rows).take_while(|(told, row)| told == row).count();
        assert!(
            same == rows.len() && same == told.len(),
            "{when}: shard {shard}: {} events, {} rows, the same up to {same}: {:?} and {:?}",
            told.len(),
            rows.len(),
            told.get(same),
            rows.get(same)
        );
    }
}

#[test]
fn who_plays_where_and_what_is_said_is_told_and_expires() {
    let redis = RedisServer::start();
    let mut node = Node::start(&with_redis(&redis, "west"));
    let mut asha = Player::sign_up(&node, "Asha", YARD);
    let id = asha.who.character.0;
    let online = format!("/api/online?character={id}");
    let session = await_page(&node, &online, |status, _| status == 200);
    assert_eq!((&session["node"], &session["zone"]), (&"west".into(), &YARD.0.into()));
    assert_eq!((&session["name"], &session["character"]), (&asha.who.name.as_str().into(), &id.into()));
    lives_at_most(&redis, &format!("vyuha:session:{id}"), 900);

    let place = asha.snapshot().pos;
    let metres = |units: u32| f64::from(units) / 2048.0;
    let near =
        format!("/api/near?zone={}&x_m={}&y_m={}&radius_m=5", YARD.0, metres(place.x), metres(place.y));
    await_page(&node, &near, |_, page| page["near"][0]["character"] == id);
    lives_at_most(&redis, &format!("vyuha:positions:{{{}}}", YARD.0), 300);

    for text in ["one", "two"] {
        asha.say(text).expect("it is said");
    }
    let chat = format!("/api/chat?zone={}", YARD.0);
    let page = await_page(&node, &chat, |_, page| page["lines"].as_array().is_some_and(|all| all.len() == 2));
    assert_eq!((&page["lines"][0]["text"], &page["lines"][1]["text"]), (&"one".into(), &"two".into()));
    assert_eq!(page["lines"][1]["name"], asha.who.name.as_str());
    lives_at_most(&redis, &format!("vyuha:chat:zone:{}", YARD.0), 3600);
    // Who comes later is shown it; who was there is not.
    let mut bela = Player::sign_up(&node, "Bela", YARD);
    assert_eq!(hears(&mut bela), (asha.who.name.clone(), "one".into()));
    assert_eq!(hears(&mut bela), (asha.who.name.clone(), "two".into()));

    let page = await_page(&node, "/api/nodes", |_, page| page["nodes"][0]["players"] == 2);
    assert_eq!((names(&page), &page["hot"]), (vec!["west"], &json!({ "kind": "redis", "away": null })));
    lives_at_most(&redis, "vyuha:node:west", 30);

    asha.log_out();
    await_page(&node, &online, |status, page| status == 404 && page["error"]["code"] == "not_online");
    bela.log_out();
    let _carol = Player::sign_up(&node, "Carol", DEPOT);
    await_page(&node, "/readyz", |_, page| page["ready"] == true && page["degraded"] == json!([]));
    node.terminate();
    assert_eq!(redis.cli(&["KEYS", "vyuha:session:*"]), "[]", "nobody plays on a node that has ended");
}

#[test]
fn a_node_without_redis_knows_of_itself() {
    let node = Node::start(&Options::test_world());
    let asha = Player::sign_up(&node, "Asha", YARD);
    let online = format!("/api/online?character={}", asha.who.character.0);
    await_page(&node, &online, |status, page| status == 200 && page["node"] == "local");
    let page = await_page(&node, "/api/nodes", |_, page| page["nodes"][0]["players"] == 1);
    assert_eq!((names(&page), &page["hot"]["kind"]), (vec!["local"], &"process".into()));
    for (path, code) in [
        ("/api/online", "bad_query"),
        ("/api/near?zone=1&x_m=-1&y_m=0&radius_m=1", "bad_query"),
        ("/api/chat?zone=x", "bad_query"),
    ] {
        let (status, page) = get(&node, path);
        assert_eq!((status, &page["error"]["code"]), (400, &code.into()), "{path}");
    }
    for body in
        [json!({}), json!({ "text": "" }), json!({ "text": "a\nb" }), json!({ "text": "x".repeat(201) })]
    {
        let (status, answer) = http_post(node.admin, "/api/announce", &body).expect("an answer");
        assert_eq!(status, 400, "{body}: {answer}");
    }
}

#[test]
fn two_nodes_know_of_each_other_and_announce_to_all_players() {
    let mut redis = RedisServer::start();
    let nodes = ["east", "west"].map(|name| Node::start(&with_redis(&redis, name)));
    let mut players =
        [("Asha", &nodes[0]), ("Bela", &nodes[1])].map(|(name, node)| Player::sign_up(node, name, DEPOT));
    for node in &nodes {
        let page = await_page(node, "/api/nodes", |_, page| {
            names(page).len() == 2 && (0..2).all(|nth| page["nodes"][nth]["players"] == 1)
        });
        assert_eq!(names(&page), ["east", "west"]);
        assert_eq!(page["nodes"][0]["listen"], nodes[0].listen.to_string());
    }
    let admin = format!("--admin-address={}", nodes[0].admin);
    let (status, listed, _) = run_program(&["nodes", &admin]);
    assert!(status == Some(0) && listed.contains("east") && listed.contains("west"), "{listed}");

    let announced = |nodes: &[Node; 2]| {
        for (nth, node) in nodes.iter().enumerate() {
            // A subscription is not there at once.
            node.await_metrics("a subscription", |_| true);
            let text = format!("the gates close, says {nth}");
            assert_eq!(announce(node, &text), json!({ "reaches": "every node" }));
        }
    };
    await_subscribers(&redis, 2);
    announced(&nodes);
    for player in &mut players {
        for nth in 0..2 {
            assert_eq!(hears(player), (String::new(), format!("the gates close, says {nth}")));
        }
    }
    // Alone, a node tells its own.
    redis.kill();
    let answer = announce(&nodes[0], "each for itself");
    assert_eq!(answer["reaches"], "this node", "{answer}");
    assert_eq!(hears(&mut players[0]).1, "each for itself");
    redis.start_again();
    await_subscribers(&redis, 2);
    assert_eq!(announce(&nodes[0], "together again"), json!({ "reaches": "every node" }));
    for player in &mut players {
        assert_eq!(hears(player).1, "together again");
    }
}

/// As where a firewall forgets the node's connections: nobody is told of it.
#[test]
fn a_node_hears_announcements_again_after_its_connections_went_dead_in_silence() {
    let redis = RedisServer::start();
    let line = redis.line();
    let options = Options::test_world().with("redis-url", &line.url()).with("node-name", "west");
    let node = Node::start(&options);
    let mut player = Player::sign_up(&node, "Asha", DEPOT);
    await_subscribers(&redis, 1);
    line.cut();
    let announced = json!({ "node": "east", "text": "the gates close" }).to_string();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                redis.cli(&["PUBLISH", "vyuha:channel:announcements", &announced]);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let heard = player.client.wait_for(PATIENCE, |event| match event {
            Event::Said { entity, text, .. } if entity.0 == NOBODY => Some(text.clone()),
            _ => None,
        });
        over.store(true, Ordering::Relaxed);
        assert_eq!(heard.expect("it hears again"), "the gates close");
    });
}

fn await_subscribers(redis: &RedisServer, count: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let counted: Value =
            serde_json::from_str(&redis.cli(&["PUBSUB", "NUMSUB", "vyuha:channel:announcements"]))
                .expect("it is JSON");
        if counted[1] == count {
            return;
        }
        assert!(Instant::now() < deadline, "{counted}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Drops a coin and takes it up again; each is acknowledged at once.
fn trade_with_the_ground(player: &mut Player) {
    let begun = Instant::now();
    let coins = *player.inventory.values().find(|slot| slot.kind == COIN.0).expect("it has coins");
    let (heap, _) = player.drop_items(coins.slot, 1).expect("a coin is dropped");
    player.pick_up(heap).expect("it is taken up again");
    let took = begun.elapsed();
    assert!(took < AT_ONCE, "two replies took {took:?}: they wait for Redis");
}

#[test]
fn play_goes_on_while_redis_is_gone_and_all_is_told_again() {
    let mut redis = RedisServer::start();
    let mut node = Node::start(&with_redis(&redis, "west"));
    let mut player = Player::sign_up(&node, "Asha", DEPOT);
    player.pick_up_any(COIN);
    let online = format!("/api/online?character={}", player.who.character.0);
    await_page(&node, &online, |status, _| status == 200);
    for outage in ["killed", "paused"] {
        if outage == "killed" {
            redis.kill();
        } else {
            redis.pause();
        }
        let begun = Instant::now();
        let mut degraded = false;
        while begun.elapsed() < Duration::from_secs(3) {
            trade_with_the_ground(&mut player);
            let there = player.walk([EAST; 10]);
            let back = player.walk([WEST; 10]);
            assert_eq!((there.corrections, back.corrections), (0, 0), "{outage}");
            let (status, page) = get(&node, "/readyz");
            assert_eq!(
                (status, &page["ready"], &page["failing"]),
                (200, &true.into(), &json!([])),
                "{outage}"
            );
            degraded |= page["degraded"][0]["check"] == "redis";
        }
        assert!(degraded, "{outage}: /readyz never named redis");
        node.await_metrics("an outage", |metrics| {
            metrics.value("vyuha_hot_breaker") > 0 && metrics.value("vyuha_hot_failed_total") > 0
        });
        let (status, page) = get(&node, "/api/nodes");
        assert_eq!((status, &page["error"]["code"]), (503, &"hot_away".into()), "{outage}: {page}");
        if outage == "killed" {
            redis.start_again();
        } else {
            redis.resume();
        }
        await_page(&node, "/readyz", |_, page| page["degraded"] == json!([]));
        await_page(&node, &online, |status, page| status == 200 && page["zone"] == DEPOT.0);
        await_page(&node, "/api/nodes", |_, page| names(page) == ["west"]);
        let place = player.snapshot().pos;
        let metres = |units: u32| f64::from(units) / 2048.0;
        let near =
            format!("/api/near?zone={}&x_m={}&y_m={}&radius_m=9", DEPOT.0, metres(place.x), metres(place.y));
        await_page(&node, &near, |_, page| page["near"][0]["character"] == player.who.character.0);
        node.await_metrics("an end of the outage", |metrics| metrics.value("vyuha_hot_breaker") == 0);
    }
    assert_eq!(player.say("still here"), Ok(()));
    player.log_out();
    await_events(&node);
    node.terminate();
    assert_same(&streams(&redis, "west"), &sqlite_ledger(&mut node), "after the outages");
}

/// Bots trade while Redis and the node are killed and Redis is paused; then the streams are what the ledger is.
fn events_are_told_once_and_in_order(
    options: &Options,
    redis: &mut RedisServer,
    ledger: impl Fn(&mut Node) -> Ledger,
) {
    let mut node = Node::start(options);
    for round in 0..3 {
        let bots = LoadOptions {
            duration: Some(Duration::from_secs(6)),
            item_pause: Duration::from_millis(100),
            account_prefix: format!("bot{}", ["a", "b", "c"][round]),
            ..LoadOptions::new(node.listen, 12, node.content())
        };
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let report = scope.spawn(|| {
                let report =
                    vyuha_bots::run(&bots, |_| {}, &AtomicBool::new(false)).expect("the bots can play");
                over.store(true, Ordering::Relaxed);
                report
            });
            let pause = || std::thread::sleep(Duration::from_millis(900));
            while !over.load(Ordering::Relaxed) {
                pause();
                redis.kill();
                pause();
                redis.start_again();
                pause();
                redis.pause();
                pause();
                redis.resume();
            }
            let report = report.join().expect("the bots end");
            assert_eq!((report.errors, report.disconnects), (0, 0), "round {round}: {}", report.summary());
        });
        match round {
            // With events that were not told yet, most likely.
            0 => node.kill_9(),
            1 => {
                redis.kill();
                node.kill_9();
                redis.start_again();
            }
            _ => break,
        }
        node.start_again();
    }
    await_events(&node);
    node.terminate();
    let (told, ledger) = (streams(redis, "west"), ledger(&mut node));
    assert!(ledger.values().map(Vec::len).sum::<usize>() > 100, "little happened");
    assert_same(&told, &ledger, "at the end");
}

#[test]
fn each_row_of_the_ledger_is_an_event_once_and_in_order() {
    let mut redis = RedisServer::start();
    let options = with_redis(&redis, "west").with("redis-timeout", "300ms");
    events_are_told_once_and_in_order(&options, &mut redis, sqlite_ledger);
}

#[test]
fn each_row_of_the_ledger_is_an_event_once_and_in_order_on_postgres() {
    let (postgres, mut redis) = (Postgres::start(), RedisServer::start());
    let url = postgres.database();
    let options = with_redis(&redis, "west")
        .with("redis-timeout", "300ms")
        .with("store-url", &url)
        .with("store-lease", "3s");
    events_are_told_once_and_in_order(&options, &mut redis, |_| postgres_ledger(&postgres, &url));
}

#[test]
fn consumers_share_the_events_of_a_stream() {
    let redis = RedisServer::start();
    let node = Node::start(&with_redis(&redis, "west"));
    await_events(&node);
    let stream = (0..2)
        .map(|shard| format!("vyuha:stream:ledger:west:{shard}"))
        .find(|stream| redis.cli(&["XLEN", stream]) != "0")
        .expect("what lies about in the world was laid out");
    let length: usize = redis.cli(&["XLEN", &stream]).parse().expect("it is a number");
    assert_eq!(redis.cli(&["XGROUP", "CREATE", &stream, "audit", "0"]), "\"OK\"");
    let mut read = 0;
    for consumer in ["one", "two"].into_iter().cycle() {
        let command = ["XREADGROUP", "GROUP", "audit", consumer, "COUNT", "50", "STREAMS", &stream, ">"];
        let answer: Value = serde_json::from_str(&redis.cli(&command)).expect("it is JSON");
        let Some(events) = answer[&stream].as_array() else { break };
        read += events.len();
        for event in events {
            assert_eq!(redis.cli(&["XACK", &stream, "audit", event[0].as_str().expect("an id")]), "1");
        }
    }
    assert_eq!(read, length);
}
