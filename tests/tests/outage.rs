//! A node on PostgreSQL, and a PostgreSQL that is stopped, killed or paused: who plays goes on playing, nothing that was
//! acknowledged is lost, and the node says how it stands.

use std::time::{Duration, Instant};

use vyuha_protocol::ErrorCode;
use vyuha_protocol::motion::Heading;
use vyuha_test_postgres::Postgres;
use vyuha_tests::{COIN, DEPOT, HERB, Identity, Node, Options, PASSWORD, PATIENCE, Player, http_get};

const EAST: Heading = Heading { x: 127, y: 0 };
const WEST: Heading = Heading { x: -127, y: 0 };
/// Far longer than a tick and a sync, far shorter than the node waits for the database.
const AT_ONCE: Duration = Duration::from_millis(900);

fn on_postgres(url: &str) -> Options {
    Options::test_world()
        .with("store-url", url)
        .with("store-timeout", "2s")
        .with("store-lease", "3s")
        .with("character-save-interval", "200ms")
}

fn until_ready(node: &Node, ready: bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, text) = http_get(node.admin, "/readyz");
        if (status == 200) == ready {
            return text;
        }
        assert!(Instant::now() < deadline, "{status}: {text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Drops a coin and takes it up again; each is acknowledged at once.
fn trade_with_the_ground(player: &mut Player) {
    let begun = Instant::now();
    let coins = *player.inventory.values().find(|slot| slot.kind == COIN.0).expect("it has coins");
    let (heap, _) = player.drop_items(coins.slot, 1).expect("a coin is dropped");
    player.pick_up(heap).expect("it is taken up again");
    let took = begun.elapsed();
    assert!(took < AT_ONCE, "two replies took {took:?}: they wait for the database");
}

/// What the database says that a character carries: kinds and counts by slot.
fn carried(postgres: &Postgres, url: &str, who: &Identity) -> String {
    let sql = format!(
        "SELECT slot, kind, count FROM item WHERE place = 0 AND owner = {} ORDER BY slot",
        who.character.0
    );
    postgres.psql(url, &sql)
}

fn expected(player: &Player) -> String {
    let slots = player.inventory.values().map(|held| format!("{}|{}|{}", held.slot, held.kind, held.count));
    slots.collect::<Vec<_>>().join("\n")
}

#[test]
fn play_goes_on_while_the_database_is_gone() {
    let mut postgres = Postgres::start();
    let url = postgres.database();
    let node = Node::start(&on_postgres(&url));
    let mut player = Player::sign_up(&node, "Asha", DEPOT);
    for kind in [COIN, COIN, HERB] {
        player.pick_up_any(kind);
    }
    let idle = Player::sign_up(&node, "Bela", DEPOT).log_out();
    until_ready(&node, true);
    for outage in ["stopped", "paused", "killed"] {
        match outage {
            "stopped" => postgres.stop(),
            "paused" => postgres.pause(),
            _ => postgres.kill(),
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(3) {
            trade_with_the_ground(&mut player);
            let there = player.walk([EAST; 10]);
            let back = player.walk([WEST; 10]);
            assert_eq!((there.corrections, back.corrections), (0, 0), "{outage}");
        }
        let why = until_ready(&node, false);
        assert!(why.contains("bytes") && why.contains("s behind"), "{outage}: {why}");
        node.await_metrics("an outage", |metrics| {
            metrics.value("vyuha_store_breaker") > 0 && metrics.value("vyuha_store_lag_bytes") > 0
        });
        let mut client = node.client();
        let refused = client.log_in(&idle.account, PASSWORD).expect_err("accounts are in the database");
        assert!(format!("{refused:?}").contains(&format!("{:?}", ErrorCode::Unavailable)), "{refused:?}");
        drop(client);

        if outage == "paused" {
            postgres.resume();
        } else {
            postgres.start_again();
        }
        until_ready(&node, true);
        node.await_metrics("an end of the outage", |metrics| {
            metrics.value("vyuha_store_breaker") == 0 && metrics.value("vyuha_store_lag_frames") == 0
        });
        assert_eq!(carried(&postgres, &url, &player.who), expected(&player), "{outage}");
        idle.sign_in(&node).log_out();
    }
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vyuha'";
    let connections: u32 = postgres.psql(&url, connections).parse().expect("it is a number");
    // The node's, that of the search for doubled items, and those of accounts.
    assert!((1..=6).contains(&connections), "{connections} connections");
}

#[test]
fn node_and_database_killed_together_lose_nothing() {
    let mut postgres = Postgres::start();
    let url = postgres.database();
    let mut node = Node::start(&on_postgres(&url));
    let mut player = Player::sign_up(&node, "Asha", DEPOT);
    player.pick_up_any(COIN);
    for round in 0..3 {
        player.pick_up_any(HERB);
        trade_with_the_ground(&mut player);
        postgres.kill();
        trade_with_the_ground(&mut player);
        node.kill_9();
        postgres.start_again();
        // The lease is not over, but the directory is its holder's.
        node.start_again();
        let held = expected(&player);
        player = player.who.sign_in(&node);
        assert_eq!(expected(&player), held, "round {round}");
        assert_eq!(carried(&postgres, &url, &player.who), held, "round {round}");
    }
    player.log_out();
    node.terminate();
}
