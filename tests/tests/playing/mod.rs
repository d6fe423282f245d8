//! Playing: a real node, real sockets, and players that do what they should, whatever way they came in.

use vyuha_net::client::Event;
use vyuha_protocol::ZoneId;
use vyuha_protocol::motion::Heading;
use vyuha_protocol::units::{TILE_UNITS, metres};
use vyuha_tests::{
    COIN, DEPOT, Heard, LANTERN, Node, Options, PATIENCE, Player, SharedNode, Wire, YARD, http_get,
};

static NODE: SharedNode = SharedNode::new();

const EAST: Heading = Heading { x: 127, y: 0 };
const WEST: Heading = Heading { x: -127, y: 0 };

fn node() -> std::sync::Arc<Node> {
    NODE.get(|| super::come_in(Options::test_world()))
}

/// A round of headings, full and half, straight and slanted, each for `steps` steps.
fn round(steps: usize) -> impl Iterator<Item = Heading> {
    let headings =
        [(-127, 0), (0, 127), (90, 90), (127, -40), (-30, 127), (60, 0), (-90, -90), (0, -64), (127, 127)];
    headings.into_iter().flat_map(move |(x, y)| std::iter::repeat_n(Heading { x, y }, steps))
}

#[test]
fn the_example_world_is_played() {
    let mut node = Node::start(&super::come_in(Options::example_world()));
    let mut player = Player::sign_up(&node, "Asha", ZoneId(1));
    assert_eq!((player.entered.tick_hz, player.entered.inventory.len()), (30, 0));
    player.until("an NPC", |core| core.world().iter().find(|entity| !entity.kind.is_player()).map(|_| ()));
    let walk = player.walk(round(10));
    assert_eq!(walk.corrections, 0);
    assert_ne!(walk.trail.first().map(|step| step.1), walk.trail.last().map(|step| step.1), "it moved");
    player.log_out();
    node.terminate();
}

#[test]
fn an_undisturbed_walk_is_predicted_to_the_bit() {
    let node = node();
    let mut player = Player::sign_up(&node, "Walker", YARD);
    let from = player.entered.pos;
    let walk = player.walk(round(12).chain(round(7)));
    assert!(walk.blocked >= 10, "only {} steps met a wall: the test proves little", walk.blocked);
    assert_eq!(walk.corrections, 0, "the prediction was wrong by so much in all");
    let (_, stands) = *walk.trail.last().expect("there were snapshots");
    assert_eq!(player.pos(), stands, "prediction and server agree once all is acknowledged");
    assert_ne!(stands, from);
    let speed = u64::from(player.entered.speed);
    for pair in walk.trail.windows(2) {
        let ticks = u64::from(pair[1].0 - pair[0].0);
        // A tick runs at most the steps that a session can save up.
        let reach = speed * (ticks + 4);
        assert!(pair[0].1.distance_squared(pair[1].1) <= reach * reach, "{pair:?} in {ticks} ticks");
    }
    player.log_out();
}

#[test]
fn players_see_each_other_come_move_and_go() {
    let node = node();
    let mut anna = Player::sign_up(&node, "Anna", YARD);
    let mut bert = Player::sign_up(&node, "Bert", YARD);
    let (anna_id, bert_id) = (anna.entity(), bert.entity());

    let name = anna.until("Bert", |core| core.world().get(bert_id).map(|entity| entity.name().into_owned()));
    assert_eq!(name, bert.who.name);
    bert.until("Anna", |core| core.world().get(anna_id).map(|_| ()));

    let stands = bert.walk([Heading { x: 127, y: -60 }; 10]).trail.last().expect("there were snapshots").1;
    assert_ne!(stands, bert.entered.pos);
    anna.until("Bert where he went", |core| (core.world().get(bert_id)?.pos == stands).then_some(()));

    // Out of view and back: he leaves and enters by distance alone.
    bert.walk_until(EAST, |at| at.x > metres(75));
    anna.until("Bert go", |core| core.world().get(bert_id).is_none().then_some(()));
    assert_eq!(bert.sees(anna_id), None);
    bert.walk_until(WEST, |at| at.x < metres(15));
    let back = bert.pos();
    anna.until("Bert come back", |core| (core.world().get(bert_id)?.pos == back).then_some(()));

    bert.log_out();
    anna.until("Bert log out", |core| core.world().get(bert_id).is_none().then_some(()));
    anna.log_out();
}

#[test]
fn what_is_said_is_heard_by_those_near_and_not_by_those_far() {
    let node = node();
    let mut speaker = Player::sign_up(&node, "Speaker", YARD);
    let mut near = Player::sign_up(&node, "Near", YARD);
    let mut far = Player::sign_up(&node, "Far", YARD);
    far.walk_until(EAST, |at| at.x > metres(35));
    let speaker_id = speaker.entity();
    near.until("the speaker", |core| core.world().get(speaker_id).map(|_| ()));

    assert_eq!(speaker.say("नमस्ते, is anybody there?"), Ok(()));
    let heard = near.client.wait_for(PATIENCE, |event| match event {
        Event::Said { entity, name, text } => Some((*entity, name.clone(), text.clone())),
        _ => None,
    });
    assert_eq!(
        heard.expect("it is heard"),
        (speaker_id, speaker.who.name.clone(), "नमस्ते, is anybody there?".into())
    );

    // The far one hears its own voice next, and not what was said before.
    let request = far.client.core().say("nobody here").expect("it can be sent");
    let mut heard = Vec::new();
    let done = far.client.wait_for(PATIENCE, |event| {
        if let Event::Said { name, .. } = event {
            heard.push(name.clone());
        }
        matches!(event, Event::Done { request: done } if *done == request).then_some(())
    });
    done.expect("it was said");
    assert_eq!(heard, [far.who.name.clone()]);
    for player in [speaker, near, far] {
        player.log_out();
    }
}

#[test]
fn an_item_goes_from_the_ground_to_a_hand_and_back_for_all_to_see() {
    let node = node();
    let mut taker = Player::sign_up(&node, "Taker", DEPOT);
    let mut other = Player::sign_up(&node, "Other", DEPOT);
    let before = node.metrics();

    taker.until("a lantern", |core| {
        core.world().iter().find(|entity| entity.kind.as_item() == Some(LANTERN)).map(|_| ())
    });
    let lantern = taker.items_in_view(LANTERN)[0];
    other.until("the lantern", |core| core.world().get(lantern.id).map(|_| ()));

    let slot = taker.pick_up(lantern.id).expect("nobody else takes lanterns");
    assert_eq!((slot.slot, slot.kind, slot.count), (0, LANTERN.0, 1));
    taker.until("the lantern gone", |core| core.world().get(lantern.id).is_none().then_some(()));
    other.until("the lantern gone", |core| core.world().get(lantern.id).is_none().then_some(()));

    let (dropped, slot) = taker.drop_items(0, 1).expect("it is there");
    assert_eq!((slot.slot, slot.count), (0, 0));
    let stands = taker.pos();
    let seen = other.until("the lantern back", |core| core.world().get(dropped).copied());
    assert_eq!((seen.kind.as_item(), seen.state, seen.pos), (Some(LANTERN), 1, stands));

    // Stacks: heaps join in the hand, and a part can be laid down.
    let first = taker.pick_up_any(COIN);
    let both = taker.pick_up_any(COIN);
    assert_eq!(both.slot, first.slot);
    assert!(both.count > first.count);
    let (part, left) = taker.drop_items(both.slot, 3).expect("there are more than three");
    assert_eq!(left.count, both.count - 3);
    let seen = other.until("three coins", |core| core.world().get(part).copied());
    assert_eq!((seen.kind.as_item(), seen.state), (Some(COIN), 3));

    node.await_metrics("the commands", |metrics| {
        let rose = |command: &str, by: u64| {
            let sample = format!("vyuha_commands_total{{command=\"{command}\"}}");
            metrics.value(&sample) >= before.value(&sample) + by
        };
        rose("PickUp", 3) && rose("Drop", 2)
    });
    taker.log_out();
    other.log_out();
}

#[test]
fn a_ping_is_answered_at_every_stage() {
    let node = node();
    let mut client = node.client();
    let ping = |client: &mut vyuha_net::client::BlockingClient, stamp: u64| {
        client.core().ping(stamp).expect("it can be sent");
        let pong = client.wait_for(PATIENCE, |event| match event {
            Event::Pong { stamp } => Some(*stamp),
            _ => None,
        });
        assert_eq!(pong.expect("a ping is answered"), stamp);
    };
    ping(&mut client, 1);
    client.register("pinger", vyuha_tests::PASSWORD).expect("the account is registered");
    client.log_in("pinger", vyuha_tests::PASSWORD).expect("the account is signed in");
    ping(&mut client, u64::MAX);
    client.enter("Pinger").expect("the character enters");
    ping(&mut client, 0);

    let mut fresh = Wire::connect(&node);
    fresh.send(&vyuha_protocol::message::Ping { stamp: 5 });
    assert_eq!(fresh.hear(), Heard::Message("Pong"), "even before hello");
    client.log_out().expect("the character is saved");
}

#[test]
fn logging_out_closes_in_good_order_and_keeps_place_and_things() {
    let node = node();
    let mut player = Player::sign_up(&node, "Leaver", DEPOT);
    player.pick_up_any(COIN);
    let stands = player.walk([EAST; 9]).trail.last().expect("there were snapshots").1;
    let request = player.client.core().log_out().expect("it can be sent");
    let answered =
        player.client.answer(request, |event| matches!(event, Event::LoggedOut { .. }).then_some(()));
    answered.expect("the character is saved");
    let after = player.client.wait_for(PATIENCE, |_| Some(()));
    assert!(matches!(after, Err(vyuha_net::client::ClientError::Ended)), "the server closes: {after:?}");

    let again = player.who.sign_in(&node);
    assert_eq!(again.entered.pos, stands);
    assert_eq!(again.inventory, player.inventory);
    again.log_out();
}

#[test]
fn zones_on_both_shards_are_played() {
    let node = node();
    let (status, body) = http_get(node.admin, "/api/node");
    assert_eq!(status, 200, "{body}");
    let listed: serde_json::Value = serde_json::from_str(&body).expect("it is JSON");
    let zones = listed["zones"].as_array().expect("zones are listed");
    let shard_of =
        |zone: ZoneId| zones.iter().find(|listed| listed["id"] == zone.0).map(|zone| &zone["shard"]);
    assert_eq!(zones.len(), 3);
    assert_ne!(shard_of(YARD), shard_of(DEPOT), "{body}");

    let mut here = Player::sign_up(&node, "Here", YARD);
    let mut there = Player::sign_up(&node, "There", DEPOT);
    assert_eq!((here.entered.zone, there.entered.zone), (YARD, DEPOT));
    let (here_id, there_id) = (here.entity(), there.entity());
    here.until("itself", |core| core.world().get(here_id).map(|_| ()));
    there.until("itself", |core| core.world().get(there_id).map(|_| ()));
    // Entities are numbered zone by zone, so others are told by name.
    let sees = |player: &mut Player, name: &str| {
        player.client.core().world().players().any(|other| other.name() == name)
    };
    assert!(!sees(&mut here, &there.who.name) && !sees(&mut there, &here.who.name));
    for player in [&mut here, &mut there] {
        assert_eq!(player.walk([WEST; 12]).corrections, 0);
    }
    node.await_metrics("a session on each shard", |metrics| {
        (0..2).all(|shard| metrics.value(&format!("vyuha_sessions{{shard=\"{shard}\"}}")) >= 1)
    });
    here.log_out();
    there.log_out();
}

#[test]
fn many_tiny_inputs_never_outrun_a_walker() {
    let node = node();
    let mut player = Player::sign_up(&node, "Racer", YARD);
    let begun = player.snapshot().tick;
    // Three inputs for each snapshot: the node takes one a tick and drops the oldest.
    for _ in 0..20 {
        player.snapshot();
        for _ in 0..3 {
            player.client.core().input(EAST).expect("the step can be sent");
        }
        player.client.flush().expect("the steps can be sent");
    }
    let last = player.snapshot();
    let from = player.entered.pos;
    let ticks = u64::from(last.tick - begun) + 5;
    let gone = u64::from(last.pos.x - from.x);
    assert!(gone <= ticks * u64::from(player.entered.speed), "{gone} units in {ticks} ticks");
    assert!(gone > u64::from(TILE_UNITS), "it walked all the same");
    assert_eq!(last.pos.y, from.y);
    player.log_out();
}
