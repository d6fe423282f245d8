//! Bad input in the game: what cannot be done is refused with its code, is counted and changes nothing; and clients
//! that misuse their connection lose it, and nobody else notices.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vyuha_net::client::{ClientError, Event};
use vyuha_protocol::message::{Input, Ping, append};
use vyuha_protocol::motion::Heading;
use vyuha_protocol::{EntityId, ErrorCode, Pos};
use vyuha_tests::{
    CLOSET, COIN, DEPOT, LANTERN, Node, Options, PATIENCE, Player, SharedNode, Wire, Witness, YARD,
};

static NODE: SharedNode = SharedNode::new();

fn node() -> Arc<Node> {
    NODE.get(Options::test_world)
}

/// Slots of an inventory.
const SLOTS: u8 = 28;

#[test]
fn what_cannot_be_picked_up_is_refused() {
    let node = node();
    let before = node.metrics();
    let mut player = Player::sign_up(&node, "Grabber", YARD);
    player.until("far coins", |core| {
        core.world().iter().any(|entity| entity.kind.as_item() == Some(COIN)).then_some(())
    });
    let here = player.pos();
    let reach = u64::from(vyuha_protocol::units::metres(3));
    let far =
        player.items_in_view(COIN).into_iter().rfind(|item| item.pos.distance_squared(here) > reach * reach);
    let far = far.expect("the view reaches further than the hand");
    assert_eq!(player.pick_up(far.id), Err(ErrorCode::TooFar));

    // What is no item, and what is nothing at all.
    let own = player.entity();
    for entity in
        [own, EntityId(0), EntityId(u32::MAX), EntityId::new(own.slot(), own.generation().wrapping_add(1))]
    {
        assert_eq!(player.pick_up(entity), Err(ErrorCode::ItemGone), "{entity:?}");
    }
    let before_gone = node.metrics().errors("ItemGone");

    let mut taker = Player::sign_up(&node, "Twice", DEPOT);
    taker.snapshot();
    let lantern = taker.items_in_view(LANTERN).pop().expect("the depot has lanterns").id;
    taker.pick_up(lantern).expect("nobody else takes the farthest lantern");
    assert_eq!(taker.pick_up(lantern), Err(ErrorCode::ItemGone), "twice");
    node.await_metrics("the refusals", |metrics| {
        metrics.errors("TooFar") > before.errors("TooFar") && metrics.errors("ItemGone") > before_gone
    });
    assert_eq!(player.log_out().sign_in(&node).inventory.len(), 0, "a refusal changes nothing");
    taker.log_out();
}

#[test]
fn of_two_who_pick_up_at_once_exactly_one_has_it() {
    let node = node();
    let mut racers = [Player::sign_up(&node, "Racer", DEPOT), Player::sign_up(&node, "Rival", DEPOT)];
    for round in 0..10 {
        for racer in &mut racers {
            racer.catch_up();
        }
        let seen = |racer: &mut Player| -> BTreeSet<EntityId> {
            racer.items_in_view(COIN).iter().map(|item| item.id).collect()
        };
        let (first, second) = (seen(&mut racers[0]), seen(&mut racers[1]));
        let coin = *first.intersection(&second).next().expect("both see coins");
        let requests = racers.each_mut().map(|racer| {
            let request = racer.client.core().pick_up(coin).expect("it can be sent");
            racer.client.flush().expect("it can be sent");
            request
        });
        let mut winners = 0;
        for (racer, request) in racers.iter_mut().zip(requests) {
            let answer = racer.client.answer(request, |event| match event {
                Event::PickedUp { entity, slot, .. } if *entity == coin => Some(*slot),
                _ => None,
            });
            match answer {
                Ok(slot) => {
                    racer.inventory.insert(slot.slot, slot);
                    winners += 1;
                }
                Err(ClientError::Refused { code: Some(ErrorCode::ItemGone), .. }) => {}
                Err(error) => panic!("round {round}: {error}"),
            }
        }
        assert_eq!(winners, 1, "round {round}");
    }
    for racer in racers {
        let inventory = racer.inventory.clone();
        assert_eq!(racer.log_out().sign_in(&node).inventory, inventory);
    }
}

#[test]
fn a_full_inventory_takes_no_more() {
    let node = node();
    let mut hoarder = Player::sign_up(&node, "Hoarder", DEPOT);
    for nth in 0..SLOTS {
        assert_eq!(hoarder.pick_up_any(LANTERN).slot, nth);
    }
    let before = node.metrics().errors("InventoryFull");
    for kind in [LANTERN, COIN] {
        hoarder.snapshot();
        let item = hoarder.items_in_view(kind).pop().expect("the depot has more");
        assert_eq!(hoarder.pick_up(item.id), Err(ErrorCode::InventoryFull));
        hoarder.snapshot();
        assert!(hoarder.items_in_view(kind).iter().any(|left| left.id == item.id), "it still lies there");
    }
    node.await_metrics("the refusals", |metrics| metrics.errors("InventoryFull") >= before + 2);

    hoarder.drop_items(13, 1).expect("it is there");
    assert_eq!(hoarder.pick_up_any(COIN).slot, 13, "the free slot");
    let inventory = hoarder.inventory.clone();
    let again = hoarder.log_out().sign_in(&node);
    assert_eq!(again.inventory, inventory);
    again.log_out();
}

#[test]
fn what_cannot_be_dropped_is_refused() {
    let node = node();
    let before = node.metrics();
    let mut dropper = Player::sign_up(&node, "Dropper", DEPOT);
    for slot in [0, 27, 28, 255] {
        assert_eq!(dropper.drop_items(slot, 1), Err(ErrorCode::SlotEmpty), "slot {slot}");
    }
    let coins = dropper.pick_up_any(COIN);
    for count in [0, coins.count + 1, u32::MAX] {
        assert_eq!(dropper.drop_items(coins.slot, count), Err(ErrorCode::CountInvalid), "{count} coins");
    }
    node.await_metrics("the refusals", |metrics| {
        metrics.errors("SlotEmpty") >= before.errors("SlotEmpty") + 4
            && metrics.errors("CountInvalid") >= before.errors("CountInvalid") + 3
    });
    let inventory = dropper.inventory.clone();
    assert_eq!(dropper.log_out().sign_in(&node).inventory, inventory);
}

#[test]
fn a_ground_that_is_full_takes_no_more() {
    let node = node();
    let mut player = Player::sign_up(&node, "Filler", CLOSET);
    let coins = player.pick_up_any(COIN);
    assert_eq!(coins.count, 30);
    // 6 heaps are left of 7, and there is room for 8.
    for left in [29, 28] {
        assert_eq!(player.drop_items(coins.slot, 1).expect("there is room").1.count, left);
    }
    assert_eq!(player.drop_items(coins.slot, 1), Err(ErrorCode::GroundFull));
    player.pick_up_any(COIN);
    player.drop_items(coins.slot, 1).expect("there is room again");
    player.log_out();
}

#[test]
fn bad_chat_is_refused_and_too_much_of_it() {
    let node = node();
    let before = node.metrics();
    let mut talker = Player::sign_up(&node, "Talker", YARD);
    let longest = "x".repeat(200);
    let too_long = "x".repeat(201);
    let too_long_in_bytes = "ß".repeat(101);
    for text in ["", "   ", "a\u{7}b", "line\nbreak", "\u{0}", &too_long, &too_long_in_bytes] {
        assert_eq!(talker.say(text), Err(ErrorCode::TextInvalid), "{text:?}");
    }
    // A bad text costs nothing of the allowance; on a slow machine some of it comes back meanwhile.
    let said = (0..60).map(|_| talker.say(&longest)).take_while(Result::is_ok).count();
    assert!((5..60).contains(&said), "{said} texts at once");
    assert_eq!(talker.say(&longest), Err(ErrorCode::ChatTooFast));
    let deadline = Instant::now() + PATIENCE;
    while talker.say(&longest) == Err(ErrorCode::ChatTooFast) {
        assert!(Instant::now() < deadline, "the allowance never comes back");
        talker.snapshot();
    }
    node.await_metrics("the refusals", |metrics| {
        metrics.errors("TextInvalid") >= before.errors("TextInvalid") + 7
            && metrics.errors("ChatTooFast") > before.errors("ChatTooFast")
    });
    talker.log_out();
}

#[test]
fn replayed_inputs_move_nobody_and_are_counted() {
    let node = node();
    let mut player = Player::sign_up(&node, "Repeater", YARD);
    let before = node.metrics().errors("Replayed");
    let stands = player.walk([Heading { x: 127, y: 0 }; 3]).trail.last().expect("there were snapshots").1;
    for sequence in [1, 2, 3, 3, 0] {
        player.client.core().send(&Input { sequence, heading_x: 127, heading_y: 0 }).expect("it can be sent");
    }
    player.client.flush().expect("it can be sent");
    node.await_metrics("five replayed inputs", |metrics| metrics.errors("Replayed") >= before + 5);
    for _ in 0..10 {
        assert_eq!(player.snapshot().pos, stands);
    }
    assert_eq!(player.walk([Heading { x: 127, y: 0 }; 3]).corrections, 0, "the sequence goes on");
    player.log_out();
}

#[test]
fn a_second_login_wins_and_keeps_what_the_first_one_did() {
    let node = node();
    let witness = Witness::start(&node, "WitTwo");
    let before = node.metrics().errors("SignedInElsewhere");
    let mut first = Player::sign_up(&node, "Twin", DEPOT);
    for round in 0..5 {
        first.pick_up_any(LANTERN);
        let stands = first.walk([Heading { x: -90, y: 40 }; 5]).trail.last().expect("there were snapshots").1;
        let second = first.who.sign_in(&node);
        assert_eq!(first.closed(), ErrorCode::SignedInElsewhere, "round {round}");
        assert_eq!(second.inventory, first.inventory, "round {round}");
        assert_eq!(second.entered.pos, stands, "round {round}");
        first = second;
    }
    assert_eq!(first.snapshot().pos, first.entered.pos, "the newest plays on");
    node.await_metrics("five ended sessions", |metrics| metrics.errors("SignedInElsewhere") >= before + 5);
    first.log_out();
    witness.finish();
}

#[test]
fn of_many_logins_at_once_one_plays_in_the_end() {
    let node = node();
    let mut player = Player::sign_up(&node, "Crowd", DEPOT);
    player.pick_up_any(LANTERN);
    let (who, inventory) = (player.who.clone(), player.inventory.clone());
    let mut players: Vec<Player> = std::thread::scope(|scope| {
        let entering: Vec<_> = (0..6).map(|_| scope.spawn(|| who.try_sign_in(&node))).collect();
        let entered = entering.into_iter().map(|entering| entering.join().expect("no thread panics"));
        // Those that were overtaken while they signed in are told so as well.
        entered
            .filter_map(|entered| match entered {
                Ok(player) => Some(player),
                Err(ClientError::Closed { code: Some(ErrorCode::SignedInElsewhere), .. }) => None,
                Err(error) => panic!("a sign-in failed: {error}"),
            })
            .collect()
    });
    assert_eq!(player.closed(), ErrorCode::SignedInElsewhere);
    let mut playing = 0;
    for player in &mut players {
        assert_eq!(player.inventory, inventory);
        // Who was overtaken is told within the time of some pings; the last one is answered.
        let request = player.client.core().list_characters();
        request.expect("it can be sent");
        let heard = player.client.wait_for(PATIENCE, |event| match event {
            Event::Closed { code: Some(ErrorCode::SignedInElsewhere), .. } => Some(false),
            Event::Refused { code: Some(ErrorCode::OutOfOrder), .. } => Some(true),
            _ => None,
        });
        match heard {
            Ok(plays) => playing += u32::from(plays),
            Err(ClientError::Io(_) | ClientError::Ended) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(playing, 1);
}

/// Sends a flood on a connection that `begin` brought to its stage.
fn a_flood_ends_its_connection(name: &str, begin: impl Fn(&Node, &mut Wire)) {
    let node = node();
    let witness = Witness::start(&node, &format!("Wit{name}"));
    let before = node.metrics().errors("Flood");
    let mut wire = Wire::connect(&node);
    begin(&node, &mut wire);
    let mut pings = Vec::new();
    for stamp in 0..2000 {
        append(&mut pings, &Ping { stamp });
    }
    // The server may close before it has taken everything.
    wire.try_send_bytes(&pings);
    wire.expect_closed(ErrorCode::Flood);
    node.await_metrics("the flood", |metrics| metrics.errors("Flood") > before);
    witness.finish();
}

#[test]
fn a_flood_of_frames_ends_a_connection_that_plays() {
    a_flood_ends_its_connection("Flood", |node, wire| wire.enter(node, "flooder"));
}

#[test]
fn a_flood_of_frames_ends_a_connection_that_is_signed_in() {
    a_flood_ends_its_connection("Doorflood", |node, wire| wire.sign_up(node, "doorflooder"));
}

#[test]
fn a_flood_of_frames_ends_a_connection_of_a_stranger() {
    a_flood_ends_its_connection("Freshflood", |_, _| {});
}

#[test]
fn those_who_never_read_are_skipped_then_closed_and_cost_no_memory() {
    const DEAF: u64 = 20;
    let options = Options::test_world()
        .with("net-idle-timeout", "1h")
        .with("net-reliable-bytes-max", "4KiB")
        .with("net-frames-per-second-max", "10000");
    let node = Node::start(&options);
    let witness = Witness::start(&node, "WitDeaf");
    let mut deaf: Vec<Wire> = (0..DEAF)
        .map(|nth| {
            let mut wire = Wire::connect_narrow(&node);
            wire.enter(&node, &format!("deaf{nth}"));
            wire
        })
        .collect();
    let before = node.metrics();
    node.await_metrics("snapshots skipped", |metrics| metrics.sum("vyuha_snapshots_skipped_total") > 0);

    // Replies are kept for them, up to a bound.
    let mut pings = Vec::new();
    for stamp in 0..50 {
        append(&mut pings, &Ping { stamp });
    }
    let deadline = Instant::now() + PATIENCE;
    while node.metrics().errors("SlowClient") < DEAF {
        assert!(Instant::now() < deadline, "they are never closed");
        for wire in &mut deaf {
            // Fails once the server has closed.
            wire.try_send_bytes(&pings);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let resident = "process_resident_memory_bytes";
    let grown = node.metrics().value(resident).saturating_sub(before.value(resident));
    assert!(grown < 32 << 20, "{DEAF} deaf clients took {grown} bytes");
    witness.finish();
}

#[test]
fn one_who_reads_late_sees_the_world_as_it_is_now() {
    let node = node();
    let mut late = Player::sign_up(&node, "Late", DEPOT);
    let mut taker = Player::sign_up(&node, "Busy", DEPOT);
    late.snapshot();
    // Meanwhile the world changes, and nothing is read.
    let mut gone = Vec::new();
    for _ in 0..20 {
        taker.snapshot();
        let lantern = taker.items_in_view(LANTERN)[0].id;
        if taker.pick_up(lantern).is_ok() {
            gone.push(lantern);
        }
    }
    assert!(!gone.is_empty());
    let stands: Pos =
        taker.walk([Heading { x: 60, y: 60 }; 10]).trail.last().expect("there were snapshots").1;
    let taker_id = taker.entity();
    late.until("the taker where it is", |core| (core.world().get(taker_id)?.pos == stands).then_some(()));
    for item in gone {
        assert!(late.client.core().world().get(item).is_none(), "{item} is not there any more");
    }
    late.log_out();
    taker.log_out();
}
