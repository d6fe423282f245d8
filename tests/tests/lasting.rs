//! What lasts: everything that was acknowledged is there after the node ended, whether it was asked to or killed.

use std::collections::BTreeMap;

use rustix::process::Signal;
use vyuha_net::client::{ClientError, Event};
use vyuha_protocol::ErrorCode;
use vyuha_protocol::motion::Heading;
use vyuha_tests::{
    CLOSET, COIN, DEPOT, Database, HERB, LANTERN, Node, Options, PATIENCE, Player, StoppedThread, Walk, YARD,
};

const EAST: Heading = Heading { x: 127, y: 0 };

/// How a node ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Terminated,
    Killed,
}

fn end_and_start_again(node: &mut Node, end: End) {
    match end {
        End::Terminated => drop(node.terminate()),
        End::Killed => node.kill_9(),
    }
    node.start_again();
}

/// Where a walk ended, by the server's word.
fn end_of(walk: &Walk) -> vyuha_protocol::Pos {
    walk.trail.last().expect("there were snapshots").1
}

/// The place and count of every heap of coins on the ground in view, in order.
fn lying_coins(player: &mut Player) -> Vec<(u32, u32, u16)> {
    // One snapshot shows all of a zone of this size.
    player.catch_up();
    let heaps = player.items_in_view(COIN);
    let mut heaps: Vec<_> = heaps.iter().map(|item| (item.pos.x, item.pos.y, item.state)).collect();
    heaps.sort_unstable();
    heaps
}

/// One is connected when the node ends, another has logged out, a third was cut off: what they were told is so.
fn what_was_acknowledged_is_there_again(end: End) {
    let mut node = Node::start(&Options::test_world());
    let mut connected = Player::sign_up(&node, "Connected", DEPOT);
    let mut left = Player::sign_up(&node, "Left", DEPOT);
    let mut cut_off = Player::sign_up(&node, "Cutoff", DEPOT);
    for player in [&mut connected, &mut left, &mut cut_off] {
        for kind in [LANTERN, COIN, COIN, HERB, LANTERN] {
            player.pick_up_any(kind);
        }
        let of_kind = |player: &Player, kind| {
            *player.inventory.values().find(|slot| slot.kind == kind).expect("it took some")
        };
        let coins = of_kind(player, COIN.0);
        player.drop_items(coins.slot, 1).expect("a part can be dropped");
        let herbs = of_kind(player, HERB.0);
        player.drop_items(herbs.slot, herbs.count).expect("all can be dropped");
    }
    let left_at = end_of(&left.walk([EAST; 15]));
    let carried: BTreeMap<_, _> =
        [&connected, &left, &cut_off].map(|player| (player.who.character, player.inventory.clone())).into();
    let ground = lying_coins(&mut connected);
    let left = left.log_out();
    let cut_off_as = cut_off.who.clone();
    drop(cut_off);

    end_and_start_again(&mut node, end);

    let mut connected = connected.who.sign_in(&node);
    assert!(lying_coins(&mut connected) == ground, "other heaps lie on the ground than before");
    let left = left.sign_in(&node);
    assert_eq!((left.entered.zone, left.entered.pos), (DEPOT, left_at));
    let cut_off = cut_off_as.sign_in(&node);
    for player in [&connected, &left, &cut_off] {
        assert_eq!(player.inventory, carried[&player.who.character], "{}", player.who.name);
    }

    // Ids go on where they were: a new account, a new character and a part of a stack meet nothing old.
    let mut newcomer = Player::sign_up(&node, "Newcomer", DEPOT);
    assert!(newcomer.inventory.is_empty());
    newcomer.pick_up_any(COIN);
    let coins = newcomer.pick_up_any(COIN);
    assert!(coins.count > 1);
    newcomer.drop_items(coins.slot, 1).expect("a part can be dropped");
    node.terminate();
    let database = Database::of(&mut node);
    assert_eq!(database.item_violations(), [""; 0]);
    let inventories = database.inventories();
    assert_eq!(inventories[&newcomer.who.character], newcomer.inventory);
    for (character, carried) in carried {
        assert_eq!(inventories[&character], carried);
    }
}

#[test]
fn everything_acknowledged_survives_a_stop_in_good_order() {
    what_was_acknowledged_is_there_again(End::Terminated);
}

#[test]
fn everything_acknowledged_survives_kill_9() {
    what_was_acknowledged_is_there_again(End::Killed);
}

#[test]
fn after_kill_9_a_character_stands_where_it_was_at_most_five_seconds_before() {
    let mut node = Node::start(&Options::test_world().with("character-save-interval", "1s"));
    let mut walker = Player::sign_up(&node, "Walker", YARD);
    let walk = walker.walk([EAST; 200]);
    node.kill_9();
    node.start_again();
    let place = walker.who.sign_in(&node).entered.pos;

    // A snapshot may have been missed just where it was saved: then the place lies between two of the trail.
    let passed = walk
        .trail
        .windows(2)
        .rfind(|pair| (pair[0].1.x..=pair[1].1.x).contains(&place.x) && place.y == pair[0].1.y);
    let Some([(tick, _), _]) = passed else { panic!("{place:?} was no place on the way {:?}", walk.trail) };
    let (tick_last, _) = *walk.trail.last().expect("there were snapshots");
    let hz = u32::from(walker.entered.tick_hz);
    assert!(
        tick_last - tick <= 5 * hz,
        "it stands where it was at tick {tick} and was killed at {tick_last}"
    );
    assert_ne!(place, walker.entered.pos, "it had walked for {} s", 200 / hz);
}

#[test]
fn after_a_stop_in_good_order_a_character_stands_exactly_where_it_was() {
    let mut node = Node::start(&Options::test_world());
    let mut walker = Player::sign_up(&node, "Walker", YARD);
    let stands = end_of(&walker.walk([Heading { x: 100, y: -10 }; 25]));
    node.terminate();
    node.start_again();
    assert_eq!(walker.who.sign_in(&node).entered.pos, stands);
}

#[test]
fn after_a_logout_and_kill_9_a_character_stands_exactly_where_it_left() {
    let mut node = Node::start(&Options::test_world());
    let mut walker = Player::sign_up(&node, "Walker", YARD);
    for _ in 0..3 {
        let stands = end_of(&walker.walk([Heading { x: 100, y: -10 }; 7]));
        assert_ne!(stands, walker.entered.pos);
        let who = walker.log_out();
        node.kill_9();
        node.start_again();
        walker = who.sign_in(&node);
        assert_eq!(walker.entered.pos, stands);
    }
}

#[test]
fn a_character_that_was_acknowledged_survives_kill_9_at_once() {
    let mut node = Node::start(&Options::test_world());
    for nth in 0..3 {
        let player = Player::sign_up(&node, &format!("Fresh{nth}x"), YARD);
        node.kill_9();
        node.start_again();
        player.who.sign_in(&node);
    }
}

#[test]
fn a_ground_that_was_cleared_stays_cleared() {
    let mut node = Node::start(&Options::test_world());
    let mut player = Player::sign_up(&node, "Sweeper", CLOSET);
    for _ in 0..7 {
        player.pick_up_any(COIN);
    }
    assert_eq!(player.inventory.values().map(|slot| slot.count).sum::<u32>(), 7 * 30);
    for end in [End::Killed, End::Terminated] {
        end_and_start_again(&mut node, end);
        player = player.who.sign_in(&node);
        assert_eq!(lying_coins(&mut player), [], "what was picked up lies there again after {end:?}");
    }
}

#[test]
fn a_disk_that_fails_ends_the_node_and_nothing_is_acknowledged_that_it_does_not_hold() {
    /// Room for the log, and less than the journal holds once a world was laid out.
    const FILE_BYTES_MAX: u64 = 16 << 10;
    let mut node = Node::start(&Options::test_world());
    let mut players = [Player::sign_up(&node, "Early", DEPOT), Player::sign_up(&node, "Late", DEPOT)];
    for player in &mut players {
        player.pick_up_any(LANTERN);
    }
    node.limit_files(FILE_BYTES_MAX);
    let mut told = Vec::new();
    for player in &mut players {
        let lantern = player.items_in_view(LANTERN).pop().expect("there are more").id;
        let request = player.client.core().pick_up(lantern).expect("it can be sent");
        let answer = player.client.answer(request, |event| match event {
            Event::PickedUp { slot, .. } => Some(*slot),
            _ => None,
        });
        assert!(answer.is_err(), "{} was told {answer:?}", player.who.name);
        told.push(answer.err());
    }
    // Whose shard was the first to notice is told so, or that the node ends; the others may be too late to ask.
    let first = &told[0];
    let codes = [Some(ErrorCode::Unavailable), Some(ErrorCode::ShuttingDown)];
    assert!(matches!(first, Some(ClientError::Closed { code, .. }) if codes.contains(code)), "{first:?}");
    assert_eq!(node.wait().code(), Some(1), "{}", node.log());
    assert!(node.log().contains("journal"), "{}", node.log());

    node.start_again();
    for player in players {
        assert_eq!(player.who.sign_in(&node).inventory, player.inventory, "{}", player.who.name);
    }
    node.terminate();
    assert_eq!(Database::of(&mut node).item_violations(), [""; 0]);
}

#[test]
fn nothing_is_acknowledged_before_the_journal_holds_it() {
    /// How many snapshots an answer must fail to come in: two seconds, where it needs two of them.
    const SNAPSHOTS: u32 = 60;
    let mut node = Node::start(&Options::test_world());
    let mut player = Player::sign_up(&node, "Patient", DEPOT);
    player.pick_up_any(LANTERN);

    let ask = |player: &mut Player| {
        let lantern = player.items_in_view(LANTERN).pop().expect("there are more").id;
        let request = player.client.core().pick_up(lantern).expect("it can be sent");
        let mut snapshots = 0;
        let waited = player.client.wait_for(PATIENCE, |event| match event {
            Event::PickedUp { slot, .. } => Some(Err(*slot)),
            Event::Snapshot(_) if snapshots == SNAPSHOTS => Some(Ok(())),
            Event::Snapshot(_) => {
                snapshots += 1;
                None
            }
            _ => None,
        });
        assert_eq!(waited.expect("snapshots go on"), Ok(()), "acknowledged while the journal stood still");
        assert!(player.client.core().world().get(lantern).is_none(), "it is picked up all the same");
        request
    };

    let journal = StoppedThread::of(&node, "vyuha-journal");
    let request = ask(&mut player);
    drop(journal);
    let slot = player.client.answer(request, |event| match event {
        Event::PickedUp { slot, .. } => Some(*slot),
        _ => None,
    });
    let slot = slot.expect("acknowledged once the journal goes on");
    player.inventory.insert(slot.slot, slot);

    let journal = StoppedThread::of(&node, "vyuha-journal");
    ask(&mut player);
    node.kill_process(Signal::KILL);
    drop(journal);
    node.wait();
    node.start_again();
    assert_eq!(player.who.sign_in(&node).inventory, player.inventory, "without what was not acknowledged");
}
