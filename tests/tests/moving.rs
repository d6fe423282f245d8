//! Zones move between shards while they are played in: nobody is disconnected, nothing is lost, and nothing comes twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vyuha_bots::LoadOptions;
use vyuha_net::client::{ClientCore, Event};
use vyuha_protocol::motion::Heading;
use vyuha_protocol::{ErrorCode, ItemKind};
use vyuha_tests::{
    CLOSET, COIN, DEPOT, Database, HERB, Identity, Mover, Node, Options, PATIENCE, Player, StoppedThread,
    Witness, YARD, http_get, http_post, run_program,
};

/// Moves of zones in a test.
const MOVES: u64 = 40;
/// Rounds of bots that move, pick up, drop and come back enough even on a slow machine.
const ROUNDS_AT_MOST: u64 = 8;

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

/// Comes and goes for as long as it is let; gives how often.
fn come_and_go(node: &Node, mut who: Identity, stop: &AtomicBool) -> u32 {
    let mut come = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut player = who.sign_in(node);
        player.snapshot();
        who = player.log_out();
        come += 1;
    }
    come
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
    check_players(&Options::test_world());
}

#[test]
fn browsers_in_zones_that_move_miss_nothing() {
    check_players(&Options::test_world().by_web());
}

fn check_players(options: &Options) {
    let mut node = Node::start(options);
    let stop = AtomicBool::new(false);
    let witness = Witness::start(&node, "Walks");
    let traders = [("Tara", COIN), ("Tej", COIN), ("Tin", HERB), ("Tom", HERB)]
        .map(|(name, kind)| (Player::sign_up(&node, name, DEPOT), kind));
    let talker = Player::sign_up(&node, "Talks", DEPOT);
    let mut listener = Player::sign_up(&node, "Listens", DEPOT);
    listener.snapshot();
    let guests = [("Gia", DEPOT), ("Gus", YARD), ("Guy", CLOSET)]
        .map(|(name, zone)| Player::sign_up(&node, name, zone).log_out());
    let (traded, said, listened, gaps, kept, came) = std::thread::scope(|scope| {
        let (node, stop) = (&node, &stop);
        let coming = guests.map(|guest| scope.spawn(move || come_and_go(node, guest, stop)));
        let listening = scope.spawn(move || listen(listener, stop));
        let talking = scope.spawn(move || talk(talker, stop));
        let trading = traders.map(|(player, kind)| scope.spawn(move || trade(player, kind, stop)));
        let mover = Mover::start(node, 7);
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
        let listened = listening.join().expect("it is never disconnected");
        let came: u32 = coming.into_iter().map(|guest| guest.join().expect("it is let in")).sum();
        (traded, said, listened, gaps, kept, came)
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
        "came": came,
    });
    println!("{summary}");
    // The listener may have left before the last were said.
    let all: Vec<String> = (0..said).map(|n| n.to_string()).collect();
    assert!(all.starts_with(&listened.said) && listened.said.len() + 5 >= said, "{:?}", listened.said);
    assert!(traded > 10, "{traded} deeds prove little");
    assert_eq!(complaints(&node), [""; 0]);

    for (who, carries) in kept {
        let again = who.sign_in(&node);
        assert_eq!(again.inventory, carries, "what is stored is what was told");
        again.log_out();
    }
    node.terminate();
}

#[test]
fn bots_of_every_role_play_while_zones_move_and_a_kill_loses_nothing() {
    let mut node = Node::start(&Options::test_world().with("session-grace", "20s"));
    let mut ledger = Vec::new();
    // Moves, items picked up, items dropped, connections taken up again: a slow machine takes more rounds for as many.
    let mut done = [0; 4];
    let mut round = 0;
    while round < 2 || done.iter().zip([40, 40, 40, 2]).any(|(done, wanted)| *done < wanted) {
        assert!(round < ROUNDS_AT_MOST, "{done:?} is little for {ROUNDS_AT_MOST} rounds");
        let options = LoadOptions {
            duration: Some(Duration::from_secs(6)),
            roles: "wanderer=2,crowd=1,chatter=2,trader=4,reconnecter=2".parse().expect("these are roles"),
            item_pause: Duration::from_millis(300),
            relog_interval: Duration::from_millis(300),
            // The bots check when they enter that nothing is lost or doubled of what they were told before the kill.
            ledger: std::mem::take(&mut ledger),
            ..LoadOptions::new(node.listen, 44, node.content())
        };
        let mover = Mover::start(&node, 31 + round);
        let report = vyuha_bots::run(&options, |_| {}, &AtomicBool::new(false)).expect("the bots can play");
        let gaps = mover.finish();
        println!(
            "{}",
            json!({
                "driver": node.driver,
                "moves": gaps.len(),
                "zone_gap_ticks_p50": gaps[gaps.len() / 2],
                "snapshot_gap_ms_p99": report.snapshot_gap_ms.p99,
                "commands": report.commands,
                "relogs": report.relogs,
                "reconnects": report.reconnects,
                "corrections": report.corrections,
            })
        );
        assert_eq!((report.connected, report.errors, report.disconnects), (44, 0, 0), "{report:#?}");
        let moves = u64::try_from(gaps.len()).expect("it fits");
        for (done, more) in done.iter_mut().zip([moves, report.picked_up, report.dropped, report.reconnects])
        {
            *done += more;
        }
        ledger = report.ledger;
        node.kill_9();
        let violations = Database::of(&mut node).item_violations();
        assert_eq!(violations, [""; 0]);
        node.start_again();
        round += 1;
    }
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
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (code, stdout, _) = vyuha(&["zones"]);
        assert_eq!(code, Some(0));
        let depot = stdout.lines().find(|line| line.ends_with("Depot")).expect("it is listed");
        if depot.split_whitespace().take(3).eq(["2", "0", "2"]) {
            break;
        }
        assert!(Instant::now() < deadline, "{stdout}");
    }
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
fn a_zone_waits_for_its_last_changes_and_whatever_comes_meanwhile_goes_along() {
    let node = &Node::start(&Options::test_world().with("session-grace", "20s"));
    let mut player = Player::sign_up(node, "Waits", DEPOT);
    let away = Player::sign_up(node, "Away", DEPOT);
    let late = Player::sign_up(node, "Late", DEPOT).log_out();
    let slot = player.pick_up_any(COIN);
    player.walk([]);
    std::thread::scope(|scope| {
        // A disk that takes its time.
        let journal = StoppedThread::of(node, "vyuha-journal");
        let drop_one = player.client.core().drop_items(slot.slot, 1).expect("it can be sent");
        player.client.flush().expect("it can be sent");
        let lies = |core: &ClientCore| {
            core.world().iter().any(|item| item.kind.as_item() == Some(COIN) && item.state == 1)
        };
        player.until("the coin on the ground", |core| lies(core).then_some(()));
        let order = json!({ "shard": 0 });
        let moving =
            scope.spawn(move || http_post(node.admin, "/api/zones/2/move", &order).expect("an answer"));
        node.await_metrics("nobody on shard 1", |metrics| {
            metrics.value("vyuha_entities{shard=\"1\",kind=\"player\"}") == 0
        });
        // What comes while the zone is nowhere: steps, a request, a new connection of one who is in it, and a newcomer.
        let from = player.pos();
        for _ in 0..4 {
            player.client.core().input(Heading { x: 0, y: -127 }).expect("it can be sent");
        }
        let say = player.client.core().say("still here").expect("it can be sent");
        player.client.flush().expect("it can be sent");
        let mut client = away.client;
        let resuming = scope.spawn(move || {
            client.shut_down();
            client.resume(node.listen).map(|()| client)
        });
        let entering = scope.spawn(move || late.sign_in(node));
        std::thread::sleep(Duration::from_millis(400));
        assert!(!moving.is_finished() && !entering.is_finished(), "the zone cannot be anywhere yet");
        drop(journal);

        let (status, answer) = moving.join().expect("it is answered");
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).expect("it is JSON");
        assert!(answer["gap_ticks"].as_f64() > Some(10.0), "{answer}");
        let dropped = player.client.answer(drop_one, |event| match event {
            Event::Dropped { slot, .. } => Some(slot.count),
            _ => None,
        });
        assert_eq!(dropped.expect("it was done"), slot.count - 1);
        let said = player.client.answer(say, |event| matches!(event, Event::Done { .. }).then_some(()));
        said.expect("it was heard");
        // The steps that were sent while nothing stepped are taken all the same.
        assert_eq!(player.walk([]).corrections, 0);
        assert!(player.pos().y < from.y);
        resuming.join().expect("it ends").expect("the session goes on").log_out().expect("it leaves");
        entering.join().expect("it is let in").log_out();
    });
    player.log_out();
    node.await_metrics("everybody on shard 0", |metrics| metrics.value("vyuha_sessions{shard=\"1\"}") == 0);
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
    const PLAYERS: usize = 60;
    // A short tick, so that what these few players cost is a good part of it.
    let options = Options::test_world().with("shard-balance-interval", "1s").with("shard-tick-hz", "120");
    let node = Node::start(&options);
    let zones = [YARD, DEPOT, CLOSET];
    let mut players: Vec<Player> =
        (0..PLAYERS).map(|nth| Player::sign_up(&node, &format!("Many{nth}x"), zones[nth % 3])).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for player in &mut players {
                    player.snapshot();
                }
            }
        });
        // All are sent to one shard again and again, until one of them has gone by itself.
        let (mut ordered, deadline) = (0, Instant::now() + PATIENCE);
        while node.metrics().value("vyuha_zone_moves_total") == ordered {
            assert!(
                Instant::now() < deadline,
                "no zone went by itself: {}",
                http_get(node.admin, "/api/zones").1
            );
            for zone in 1..=3 {
                let path = format!("/api/zones/{zone}/move");
                let (status, _) = http_post(node.admin, &path, &json!({ "shard": 0 })).expect("an answer");
                ordered += u64::from(status == 200);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        stop.store(true, Ordering::Relaxed);
    });
    for player in players {
        player.log_out();
    }
    assert_eq!(complaints(&node), [""; 0]);
}
