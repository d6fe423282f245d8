//! Zones move between shards while they are played in: nobody is disconnected, nothing is lost, and nothing comes twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vyuha_net::client::Event;
use vyuha_protocol::motion::Heading;
use vyuha_protocol::{ErrorCode, ItemKind};
use vyuha_tests::{
    COIN, DEPOT, HERB, Mover, Node, Options, PATIENCE, Player, Witness, YARD, http_get, http_post,
    run_program,
};

/// Moves of zones in a test.
const MOVES: u64 = 60;

/// Takes and drops for as long as it is let; gives what it did.
fn trade(mut player: Player, kind: ItemKind, stop: &AtomicBool) -> (Player, u32) {
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        let slot = player.pick_up_any(kind).slot;
        let left = player.drop_items(slot, 1).expect("there is room on the ground").1;
        done += 2;
        if left.count > 20 {
            player.drop_items(slot, left.count - 1).expect("there is room on the ground");
        }
    }
    (player, done)
}

/// Says numbers for as long as it is let; gives how many.
fn talk(mut player: Player, stop: &AtomicBool) -> usize {
    let mut said = 0;
    while !stop.load(Ordering::Relaxed) {
        match player.say(&said.to_string()) {
            Ok(()) => said += 1,
            Err(ErrorCode::ChatTooFast) => std::thread::sleep(Duration::from_millis(100)),
            Err(code) => panic!("{code}"),
        }
    }
    player.log_out();
    said
}

/// What a listener heard, and the wall-clock milliseconds between its snapshots.
struct Listened {
    said: Vec<String>,
    gaps_ms: Vec<u64>,
}

fn listen(mut player: Player, stop: &AtomicBool) -> Listened {
    let mut listened = Listened { said: Vec::new(), gaps_ms: Vec::new() };
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let (said, gaps_ms) = (&mut listened.said, &mut listened.gaps_ms);
        let waited = player.client.wait_for(PATIENCE, |event| match event {
            Event::Said { text, .. } => {
                said.push(text.clone());
                None
            }
            Event::Snapshot(_) => {
                gaps_ms.push(last.elapsed().as_millis() as u64);
                last = Instant::now();
                Some(())
            }
            _ => None,
        });
        waited.expect("it stays connected");
    }
    player.log_out();
    listened
}

/// What was refused or ended but should not have been.
fn complaints(node: &Node) -> Vec<String> {
    let (metrics, mut complaints) = (node.metrics(), Vec::new());
    // Two may want one item, and somebody may talk too much.
    let ordinary = [ErrorCode::ItemGone, ErrorCode::ChatTooFast];
    for code in ErrorCode::ALL.iter().filter(|code| !ordinary.contains(code)) {
        if metrics.errors(code.name()) > 0 {
            complaints.push(format!("{} x {}", metrics.errors(code.name()), code.name()));
        }
    }
    for reason in ["reset", "malformed", "flood", "idle", "slow"] {
        let closed = metrics.value(&format!("vyuha_connections_closed_total{{reason=\"{reason}\"}}"));
        if closed > 0 {
            complaints.push(format!("{closed} connections closed: {reason}"));
        }
    }
    complaints
}

#[test]
fn who_plays_in_zones_that_move_misses_nothing() {
    let mut node = Node::start(&Options::test_world());
    let stop = AtomicBool::new(false);
    let witness = Witness::start(&node, "Walks");
    let traders = [("Tara", COIN), ("Tej", COIN), ("Tin", HERB), ("Tom", HERB)]
        .map(|(name, kind)| (Player::sign_up(&node, name, DEPOT), kind));
    let talker = Player::sign_up(&node, "Talks", DEPOT);
    let mut listener = Player::sign_up(&node, "Listens", DEPOT);
    listener.snapshot();
    let (traded, said, listened, gaps, kept) = std::thread::scope(|scope| {
        let stop = &stop;
        let listening = scope.spawn(move || listen(listener, stop));
        let talking = scope.spawn(move || talk(talker, stop));
        let trading = traders.map(|(player, kind)| scope.spawn(move || trade(player, kind, stop)));
        let mover = Mover::start(&node, 7);
        node.await_metrics("so many moves", |metrics| metrics.value("vyuha_zone_moves_total") >= MOVES);
        let gaps = mover.finish();
        stop.store(true, Ordering::Relaxed);
        let mut traded = 0;
        let mut kept = Vec::new();
        for trading in trading {
            let (player, done) = trading.join().expect("it is never disconnected");
            traded += done;
            let carries = player.inventory.clone();
            kept.push((player.log_out(), carries));
        }
        let said = talking.join().expect("it is never disconnected");
        (traded, said, listening.join().expect("it is never disconnected"), gaps, kept)
    });
    witness.finish();
    let mut gaps_ms = listened.gaps_ms;
    gaps_ms.sort_unstable();
    let at = |percent: usize| gaps_ms[(gaps_ms.len() - 1) * percent / 100];
    let summary = json!({
        "driver": node.driver,
        "moves": gaps.len(),
        "zone_gap_ticks": { "p50": gaps[gaps.len() / 2], "p90": gaps[gaps.len() * 9 / 10], "max": gaps.last() },
        "client_snapshot_gap_ms": { "p50": at(50), "p99": at(99), "max": at(100) },
        "traded": traded,
        "said": said,
    });
    println!("{summary}");
    // The listener may have left before the last were said.
    let all: Vec<String> = (0..said).map(|n| n.to_string()).collect();
    assert!(all.starts_with(&listened.said) && listened.said.len() + 5 >= said, "{:?}", listened.said);
    assert!(traded > 20, "{traded} deeds prove little");
    assert_eq!(complaints(&node), [""; 0]);

    for (who, carries) in kept {
        let again = who.sign_in(&node);
        assert_eq!(again.inventory, carries, "what is stored is what was told");
        again.log_out();
    }
    node.terminate();
}

/// The zones and their shards, by the admin port.
fn placed(node: &Node) -> BTreeMap<u64, u64> {
    let (status, text) = http_get(node.admin, "/api/zones");
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_str(&text).expect("it is JSON");
    let zones = answer["zones"].as_array().expect("it is a list");
    let number = |zone: &Value, key: &str| zone[key].as_u64().expect("it is a number");
    zones.iter().map(|zone| (number(zone, "id"), number(zone, "shard"))).collect()
}

#[test]
fn orders_are_carried_out_or_refused_with_a_reason() {
    let mut node = Node::start(&Options::test_world());
    let mut player = Player::sign_up(&node, "Stays", DEPOT);
    player.snapshot();
    assert_eq!(placed(&node), [(1, 0), (2, 1), (3, 0)].into());
    let admin = node.admin.to_string();
    let vyuha = |arguments: &[&str]| run_program(&[arguments, &["--admin-address", &admin]].concat());
    let (code, stdout, stderr) = vyuha(&["zones", "move", "2", "0"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("zone 2 went from shard 1 to shard 0 with 1 sessions; "), "{stdout}");
    assert_eq!(placed(&node), [(1, 0), (2, 0), (3, 0)].into());
    player.walk([Heading { x: 127, y: 0 }; 10]);
    for (zone, shard, refused) in
        [("2", "0", "already_there"), ("2", "2", "unknown_shard"), ("9", "0", "unknown_zone")]
    {
        let (code, stdout, stderr) = vyuha(&["zones", "move", zone, shard]);
        assert_eq!((code, stdout.as_str()), (Some(1), ""));
        assert!(stderr.starts_with(&format!("error: {refused}: ")), "{stderr}");
    }
    // Who comes later is let in where the zone is.
    let late = Player::sign_up(&node, "Late", DEPOT);
    node.await_metrics("where the zone is", |metrics| {
        metrics.value("vyuha_zone_shard{zone=\"2\"}") == 0
            && metrics.value("vyuha_entities{shard=\"0\",kind=\"player\"}") == 2
            && metrics.value("vyuha_sessions{shard=\"1\"}") == 0
    });
    let (code, stdout, _) = vyuha(&["zones"]);
    assert_eq!(code, Some(0));
    let depot = stdout.lines().find(|line| line.ends_with("Depot")).expect("it is listed");
    let words: Vec<&str> = depot.split_whitespace().collect();
    assert_eq!(words[..3], ["2", "0", "2"], "{stdout}");
    let (code, stdout, _) = vyuha(&["zones", "list", "--json"]);
    let listed: Value = serde_json::from_str(&stdout).expect("it is JSON");
    assert_eq!((code, &listed["shards"]), (Some(0), &json!(2)));
    late.log_out();
    player.log_out();
    let admin = node.admin;
    node.terminate();
    assert!(http_post(admin, "/api/zones/2/move", &json!({ "shard": 1 })).is_err(), "nobody is there");
}

#[test]
fn a_node_that_ends_while_zones_move_saves_everybody() {
    let mut node = Node::start(&Options::test_world());
    for round in 0..4 {
        let mut player = Player::sign_up(&node, &format!("Ends{round}x"), YARD);
        player.walk([Heading { x: 127, y: 0 }; 20]);
        let (pos, who) = (player.pos(), player.who.clone());
        let mover = Mover::start(&node, round);
        std::thread::sleep(Duration::from_millis(100 + 70 * round));
        node.terminate();
        assert_eq!(player.closed(), ErrorCode::ShuttingDown);
        mover.finish();
        node.start_again();
        let again = who.sign_in(&node);
        let at = vyuha_protocol::Pos { x: again.entered.pos.x, y: again.entered.pos.y };
        assert_eq!(at, pos, "it stands where it was told to stand");
        again.log_out();
    }
}

#[test]
fn zones_of_a_shard_with_much_to_do_go_to_one_with_little() {
    // Zones 1 and 3 begin on shard 0, and nobody is in zone 2: whatever a debug build takes for theirs is much.
    let options = Options::test_world()
        .with("shard-balance-interval", "1s")
        .with("shard-balance-gain", "10")
        .with("shard-tick-hz", "120");
    let node = Node::start(&options);
    println!("{}", http_get(node.admin, "/api/zones").1);
    std::thread::sleep(Duration::from_secs(3));
    println!("{}", http_get(node.admin, "/api/zones").1);
}
