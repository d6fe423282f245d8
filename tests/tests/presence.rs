//! Whoever gives no sign of itself is marked away, then saved and let go. Whoever has a session finds it again, even where
//! there is no room for anybody else.

use std::time::{Duration, Instant};

use vyuha_net::client::{ClientError, Event};
use vyuha_protocol::ErrorCode;
use vyuha_protocol::message::Login;
use vyuha_protocol::motion::Heading;
use vyuha_tests::{DEPOT, Node, Options, PASSWORD, PATIENCE, Player, Wire};

const EAST: Heading = Heading { x: 127, y: 0 };

/// Waits until the player is told that it is away, or back.
fn told(player: &mut Player) -> (bool, u32) {
    let told = player.client.wait_for(PATIENCE, |event| match event {
        Event::Away { away, closing_s } => Some((*away, *closing_s)),
        _ => None,
    });
    told.expect("the node says so")
}

#[test]
fn who_is_away_is_marked_seen_and_in_the_end_saved_and_closed() {
    let options = Options::test_world()
        .with("session-afk", "2s")
        .with("session-afk-kick", "6s")
        .with("session-grace", "20s");
    let node = Node::start(&options);
    let mut player = Player::sign_up(&node, "Dreamer", DEPOT);
    let mut witness = Player::sign_up(&node, "Watcher", DEPOT);
    player.walk([EAST; 5]);
    let (entity, begun) = (player.entity(), Instant::now());
    assert_eq!(told(&mut player), (true, 4));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let state_seen = |witness: &mut Player, state: u16| {
        witness.until("that somebody is away", |core| {
            core.world().get(entity).filter(|entity| entity.state == state).map(drop)
        });
    };
    state_seen(&mut witness, 1);
    let request = player.client.core().say("back").unwrap();
    player.client.flush().unwrap();
    assert_eq!(told(&mut player), (false, 0));
    state_seen(&mut witness, 0);
    assert!(request.0 > 0);
    assert_eq!(told(&mut player), (true, 4));
    let stood = player.catch_up().pos;
    // The witness gives a sign.
    assert_eq!(witness.walk([EAST; 2]).corrections, 0);
    assert_eq!(player.closed(), ErrorCode::AwayTooLong);
    node.await_metrics("the reason", |metrics| metrics.errors("AwayTooLong") >= 1);
    let resumed = player.client.resume(node.listen);
    assert!(
        matches!(
            resumed,
            Err(ClientError::Refused { code: Some(ErrorCode::ResumeRefused), .. }
                | ClientError::Closed { code: Some(ErrorCode::ResumeRefused), .. })
        ),
        "{resumed:?}"
    );
    let mut again = player.who.sign_in(&node);
    assert_eq!(again.pos(), stood, "it was saved");
    again.log_out();
}

#[test]
fn a_full_node_lets_those_come_back_who_are_there_already() {
    let options = Options::test_world()
        .with("net-connections-max", "2")
        .with("net-handshakes-max", "2")
        .with("session-grace", "60s");
    let node = Node::start(&options);
    let mut broken = Player::sign_up(&node, "Broken", DEPOT);
    let mut open = Player::sign_up(&node, "Open", DEPOT);
    broken.snapshot();
    broken.client.shut_down();
    for _ in 0..5 {
        // One whose connection broke, and one whose connection the node still holds for good.
        broken.client.resume(node.listen).expect("its session is there");
        open.client.resume(node.listen).expect("its session is there");
        let mut stranger = Wire::connect(&node);
        stranger.greet(&node);
        stranger.send(&Login { request: 1, account: "stranger".into(), password: PASSWORD.into() });
        stranger.expect_closed(ErrorCode::ServerFull);
    }
    broken.snapshot();
    broken.log_out();
    open.snapshot();
    open.log_out();
}
