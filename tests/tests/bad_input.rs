//! Bad input before and around the game: bytes that are no frames, messages out of place, strangers at the door.
//!
//! Whatever comes gets a stable code or a clean close, is counted, and does nothing to a witness who plays meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use vyuha_protocol::frame::CLIENT_PAYLOAD_BYTES_MAX;
use vyuha_protocol::message::{
    CreateCharacter, Drop, Hello, Input, ListCharacters, Login, Logout, Message, PickUp, Ping,
    RegisterAccount, Say, SelectCharacter, append,
};
use vyuha_protocol::{ErrorCode, PROTOCOL_VERSION};
use vyuha_tests::{Heard, Node, Options, PASSWORD, PATIENCE, Player, SharedNode, Wire, Witness, YARD};

static NODE: SharedNode = SharedNode::new();

fn node() -> Arc<Node> {
    NODE.get(Options::test_world)
}

/// A frame's head.
fn head(length: u32, kind: u16, reserved: u16) -> Vec<u8> {
    let mut head = length.to_le_bytes().to_vec();
    head.extend(kind.to_le_bytes());
    head.extend(reserved.to_le_bytes());
    head
}

/// A frame with these bytes for a payload.
fn frame(kind: u16, payload: &[u8]) -> Vec<u8> {
    [head(payload.len() as u32, kind, 0).as_slice(), payload].concat()
}

/// Bytes that end a connection wherever they come, by what is wrong with them.
fn broken_frames() -> Vec<(&'static str, Vec<u8>, ErrorCode)> {
    let mut cut = Vec::new();
    append(&mut cut, &Say { request: 900, text: "a text that is long enough to lie out of line".into() });
    let mut long_string = vec![0xff; 12];
    long_string[4..8].copy_from_slice(&0xffff_ffbf_u32.to_le_bytes());
    let too_long = CLIENT_PAYLOAD_BYTES_MAX + 1;
    vec![
        (
            "one byte too long",
            [head(too_long, Say::KIND, 0), vec![0; too_long as usize]].concat(),
            ErrorCode::FrameTooLarge,
        ),
        ("as long as can be said", head(u32::MAX, Say::KIND, 0), ErrorCode::FrameTooLarge),
        ("reserved bytes", head(4, Ping::KIND, 1), ErrorCode::Malformed),
        ("a kind that is none", frame(0x7777, &[0; 8]), ErrorCode::UnknownKind),
        ("kind zero", frame(0, &[]), ErrorCode::UnknownKind),
        ("a server's message", frame(0x8001, &[0; 12]), ErrorCode::UnknownKind),
        ("a snapshot", frame(0x8100, &[0; 20]), ErrorCode::UnknownKind),
        ("an empty payload", frame(Ping::KIND, &[]), ErrorCode::Malformed),
        ("half a payload", frame(Say::KIND, &cut[cut.len() - 6..]), ErrorCode::Malformed),
        (
            "a string that begins before the payload",
            frame(Say::KIND, &cut[cut.len() - 12..]),
            ErrorCode::Malformed,
        ),
        ("a string of 4 GiB", frame(Say::KIND, &long_string), ErrorCode::Malformed),
        (
            "a string that is not UTF-8",
            frame(Say::KIND, &[1, 0, 0, 0, 0xc3, 0x28, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            ErrorCode::Malformed,
        ),
    ]
}

/// Sends each broken frame on a connection that `begin` brought to its stage.
fn broken_frames_end_the_connection(stage: &str, begin: impl Fn(&Node, &mut Wire, usize)) {
    let node = node();
    let witness = Witness::start(&node, &format!("Wit{stage}"));
    for (nth, (what, bytes, code)) in broken_frames().into_iter().enumerate() {
        println!("{stage}: {what}");
        let before = node.metrics().errors(code.name());
        let mut wire = Wire::connect(&node);
        begin(&node, &mut wire, nth);
        wire.send_bytes(&bytes);
        wire.expect_closed(code);
        node.await_metrics(what, |metrics| metrics.errors(code.name()) > before);
    }
    witness.finish();
}

#[test]
fn broken_frames_end_a_fresh_connection() {
    broken_frames_end_the_connection("Fresh", |_, _, _| {});
}

#[test]
fn broken_frames_end_a_connection_that_is_signed_in() {
    broken_frames_end_the_connection("Signed", |node, wire, nth| wire.sign_up(node, &format!("signed{nth}")));
}

#[test]
fn broken_frames_end_a_connection_that_plays() {
    broken_frames_end_the_connection("Plays", |node, wire, nth| wire.enter(node, &format!("plays{nth}")));
}

#[test]
fn a_frame_that_comes_byte_by_byte_is_a_frame() {
    let node = node();
    let mut wire = Wire::connect(&node);
    let mut hello = Vec::new();
    append(&mut hello, &Hello { version: PROTOCOL_VERSION, content_hash: node.content().hash });
    for byte in hello {
        wire.send_bytes(&[byte]);
    }
    wire.expect("Welcome");
}

#[test]
fn connections_that_break_off_anywhere_leave_nothing_behind() {
    let node = node();
    let witness = Witness::start(&node, "WitBreaks");
    let before = node.metrics();
    let mut ping = Vec::new();
    append(&mut ping, &Ping { stamp: 1 });
    for cut in [0, 1, 7, 8, 9, 15] {
        let mut fresh = Wire::connect(&node);
        fresh.send_bytes(&ping[..cut]);
        fresh.stop_sending();
        assert_eq!(fresh.hear(), Heard::End, "cut at {cut}");

        let name = format!("breaks{cut}");
        let mut playing = Wire::connect(&node);
        playing.enter(&node, &name);
        playing.send_bytes(&ping[..cut]);
        if cut % 2 == 0 {
            playing.stop_sending();
            assert_eq!(playing.hear(), Heard::End, "cut at {cut}");
        } else {
            playing.reset();
        }
    }
    node.await_metrics("the connections closed", |metrics| {
        let closed = "vyuha_connections_closed_total";
        metrics.sum(closed) >= before.sum(closed) + 12
    });
    witness.finish();
}

#[test]
fn random_bytes_are_refused_and_harm_nobody() {
    let node = node();
    let witness = Witness::start(&node, "WitRandom");
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    for nth in 0..60 {
        let mut wire = Wire::connect(&node);
        if nth % 6 == 0 {
            wire.enter(&node, &format!("random{nth}"));
        } else if nth % 2 == 0 {
            wire.greet(&node);
        }
        // Half of it in frames of known kinds, so that it gets past the framing.
        let mut bytes = Vec::new();
        for _ in 0..rng.random_range(1..8) {
            let payload: Vec<u8> = (0..rng.random_range(0..64)).map(|_| rng.random()).collect();
            let kind = [1, 2, 3, 4, 5, 6, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15][rng.random_range(0..12)];
            bytes.extend(if rng.random() { frame(kind, &payload) } else { payload });
        }
        // The server may have closed over the first of it.
        if wire.try_send_bytes(&bytes) {
            wire.stop_sending();
        }
        while wire.hear() != Heard::End {}
    }
    witness.finish();
}

#[test]
fn other_versions_and_other_content_are_turned_away() {
    let node = node();
    let hash = node.content().hash;
    for (version, content_hash, code) in [
        (PROTOCOL_VERSION + 1, hash, ErrorCode::VersionMismatch),
        (0, hash, ErrorCode::VersionMismatch),
        (PROTOCOL_VERSION, [0; 32], ErrorCode::ContentMismatch),
        (u32::MAX, [0; 32], ErrorCode::VersionMismatch),
    ] {
        let before = node.metrics().errors(code.name());
        let mut wire = Wire::connect(&node);
        wire.send(&Hello { version, content_hash });
        wire.expect_closed(code);
        assert!(node.metrics().errors(code.name()) > before);
    }
}

/// Sends one message and expects that it is refused as out of order and that the connection goes on.
fn out_of_order<M: Message>(wire: &mut Wire, request: u32, message: &M) {
    wire.send(message);
    wire.expect_refused(request, ErrorCode::OutOfOrder);
    wire.send(&Ping { stamp: 1 });
    wire.expect("Pong");
}

#[test]
fn messages_out_of_place_are_refused_and_the_connection_goes_on() {
    let node = node();
    let (account, password) = ("outoforder".to_owned(), PASSWORD.to_owned());
    let mut wire = Wire::connect(&node);
    let before = node.metrics().errors("OutOfOrder");

    // Before hello.
    let login = |request| Login { request, account: account.clone(), password: password.clone() };
    let register =
        |request| RegisterAccount { request, account: account.clone(), password: password.clone() };
    out_of_order(&mut wire, 1, &login(1));
    out_of_order(&mut wire, 2, &register(2));
    out_of_order(&mut wire, 0, &Input { sequence: 1, heading_x: 0, heading_y: 0 });
    wire.greet(&node);

    // Before login.
    out_of_order(&mut wire, 0, &Hello { version: PROTOCOL_VERSION, content_hash: node.content().hash });
    out_of_order(&mut wire, 3, &ListCharacters { request: 3 });
    out_of_order(&mut wire, 4, &CreateCharacter { request: 4, name: "Nobody".into() });
    out_of_order(&mut wire, 5, &SelectCharacter { request: 5, character: 1 });
    out_of_order(&mut wire, 6, &Say { request: 6, text: "hello".into() });
    out_of_order(&mut wire, 7, &PickUp { request: 7, nonce: 0, entity: 1 });
    out_of_order(&mut wire, 8, &Drop { request: 8, nonce: 0, slot: 0, count: 1 });
    out_of_order(&mut wire, 9, &Logout { request: 9 });

    // Signed in.
    wire.send(&register(10));
    wire.expect("AccountRegistered");
    wire.send(&login(11));
    wire.expect("LoggedIn");
    out_of_order(&mut wire, 12, &login(12));
    out_of_order(&mut wire, 13, &register(13));
    out_of_order(&mut wire, 0, &Input { sequence: 1, heading_x: 0, heading_y: 0 });
    node.await_metrics("fourteen refusals", |metrics| metrics.errors("OutOfOrder") >= before + 14);

    // Playing.
    let mut wire = Wire::connect(&node);
    wire.enter(&node, "outofplace");
    out_of_order(&mut wire, 100, &login(100));
    out_of_order(&mut wire, 101, &register(101));
    out_of_order(&mut wire, 102, &ListCharacters { request: 102 });
    out_of_order(&mut wire, 103, &CreateCharacter { request: 103, name: "Nobody".into() });
    out_of_order(&mut wire, 104, &SelectCharacter { request: 104, character: 1 });
    out_of_order(&mut wire, 0, &Hello { version: PROTOCOL_VERSION, content_hash: node.content().hash });
    node.await_metrics("twenty refusals", |metrics| metrics.errors("OutOfOrder") >= before + 20);
}

#[test]
fn a_request_id_that_does_not_rise_is_refused_and_not_acted_on() {
    let node = node();
    let before = node.metrics().errors("Replayed");
    let mut wire = Wire::connect(&node);
    wire.sign_up(&node, "replayer");
    wire.send(&ListCharacters { request: 50 });
    wire.expect("Characters");
    for request in [50, 49, 0] {
        wire.send(&CreateCharacter { request, name: "Replayed".into() });
        wire.expect_refused(request, ErrorCode::Replayed);
    }
    // It was not acted on: the name is still free.
    wire.send(&CreateCharacter { request: 51, name: "Replayed".into() });
    wire.expect("CharacterCreated");

    let mut wire = Wire::connect(&node);
    wire.enter(&node, "replays");
    wire.send(&Say { request: 70, text: "once".into() });
    wire.expect("Said");
    wire.expect("Done");
    for request in [70, 1, 0] {
        wire.send(&Say { request, text: "twice".into() });
        wire.expect_refused(request, ErrorCode::Replayed);
    }
    wire.send(&Say { request: u32::MAX, text: "last".into() });
    wire.expect("Said");
    wire.expect("Done");
    wire.send(&Logout { request: u32::MAX });
    wire.expect_refused(u32::MAX, ErrorCode::Replayed);
    node.await_metrics("seven refusals", |metrics| metrics.errors("Replayed") >= before + 7);
}

#[test]
fn accounts_are_refused_by_name_password_and_credentials() {
    let node = node();
    let long = "x".repeat(33);
    let long_password = "x".repeat(129);
    let mut wire = Wire::connect(&node);
    wire.sign_up(&node, "taken");
    let names = ["ab", &long, "with space", "umläut", "", "taken", "TAKEN"];
    for (nth, name) in names.into_iter().enumerate() {
        let code = if nth < 5 { ErrorCode::AccountNameInvalid } else { ErrorCode::AccountNameTaken };
        refused_once(&node, code, |request| RegisterAccount {
            request,
            account: name.into(),
            password: PASSWORD.into(),
        });
    }
    for password in ["", "seven77", &long_password] {
        refused_once(&node, ErrorCode::PasswordInvalid, |request| RegisterAccount {
            request,
            account: "wellnamed".into(),
            password: password.into(),
        });
    }
    // Whether the account is there is nobody's business.
    let unknown = ["taken", "unknown", "", "not even a name", &long];
    for (account, password) in
        unknown.map(|account| (account, "wrong password")).into_iter().chain([("taken", "")])
    {
        refused_once(&node, ErrorCode::CredentialsWrong, |request| Login {
            request,
            account: account.into(),
            password: password.into(),
        });
    }
    let mut wire = Wire::connect(&node);
    wire.greet(&node);
    wire.send(&Login { request: 1, account: "Taken".into(), password: PASSWORD.into() });
    wire.expect("LoggedIn");
}

/// Sends a request on a connection of its own, which must be refused with this code, be counted, and go on.
fn refused_once<M: Message>(node: &Node, code: ErrorCode, message: impl Fn(u32) -> M) {
    let before = node.metrics().errors(code.name());
    let mut wire = Wire::connect(node);
    wire.greet(node);
    wire.send(&message(7));
    wire.expect_refused(7, code);
    wire.send(&Ping { stamp: 1 });
    wire.expect("Pong");
    assert!(node.metrics().errors(code.name()) > before, "{code} is counted");
}

#[test]
fn guessing_passwords_on_one_connection_ends_it() {
    let node = node();
    let mut wire = Wire::connect(&node);
    wire.greet(&node);
    let guess = |request| Login { request, account: "unknown".into(), password: "wrong password".into() };
    for request in 1..=5 {
        wire.send(&guess(request));
        wire.expect_refused(request, ErrorCode::CredentialsWrong);
    }
    wire.send(&guess(6));
    wire.expect_closed(ErrorCode::Flood);
}

#[test]
fn characters_are_refused_by_name_number_and_owner() {
    let node = node();
    let mut wire = Wire::connect(&node);
    wire.sign_up(&node, "creator");
    let mut request = 10;
    let mut create = |wire: &mut Wire, name: &str| {
        request += 1;
        wire.send(&CreateCharacter { request, name: name.into() });
        request
    };
    for name in ["", "Ab", " Abe", "Abe ", "A  be", "1abc", "Abcdefghijklmnopq", "Abé", "A\nbe", "A_be"] {
        let request = create(&mut wire, name);
        wire.expect_refused(request, ErrorCode::CharacterNameInvalid);
    }
    create(&mut wire, "Sole Keeper");
    wire.expect("CharacterCreated");
    for name in ["Sole Keeper", "sole keeper", "SOLE KEEPER"] {
        let request = create(&mut wire, name);
        wire.expect_refused(request, ErrorCode::CharacterNameTaken);
    }
    for nth in 1..8 {
        create(&mut wire, &format!("Keeper{nth}"));
        wire.expect("CharacterCreated");
    }
    let request = create(&mut wire, "Keeper8");
    wire.expect_refused(request, ErrorCode::CharacterLimit);

    let owner = Player::sign_up(&node, "Rightful", YARD);
    for (request, character) in (1000..).zip([owner.who.character.0, 0, -1, i64::MAX, i64::MIN]) {
        wire.send(&SelectCharacter { request, character });
        wire.expect_refused(request, ErrorCode::CharacterUnknown);
    }
    owner.log_out();
}

#[test]
fn a_closed_registration_is_closed_and_login_is_not() {
    let mut node = Node::start(&Options::test_world());
    let who = Player::sign_up(&node, "Early", YARD).log_out();
    node.terminate();
    node.start_again_with("accounts-open-registration", "false");
    refused_once(&node, ErrorCode::RegistrationClosed, |request| RegisterAccount {
        request,
        account: "late".into(),
        password: PASSWORD.into(),
    });
    who.sign_in(&node).log_out();
}

#[test]
fn those_who_do_not_sign_in_or_say_nothing_are_closed() {
    let options = Options::test_world().with("net-handshake-timeout", "4s").with("net-idle-timeout", "4s");
    let node = Node::start(&options);
    let mut ping = Vec::new();
    append(&mut ping, &Ping { stamp: 1 });

    let mut silent = Wire::connect(&node);
    let mut half = Wire::connect(&node);
    half.send_bytes(&ping[..5]);
    let mut greeted = Wire::connect(&node);
    greeted.greet(&node);
    let mut signed_in = Wire::connect(&node);
    signed_in.sign_up(&node, "dozer");
    let mut playing = Wire::connect(&node);
    playing.enter(&node, "sleeper");
    let mut half_playing = Wire::connect(&node);
    half_playing.enter(&node, "dreamer");
    half_playing.send_bytes(&ping[..5]);
    let witness = Witness::start(&node, "WitIdle");

    // A byte a second is as good as nothing: no whole frame ever comes.
    let mut dripping = Wire::connect(&node);
    let mut dripping_in_play = Wire::connect(&node);
    dripping_in_play.enter(&node, "dripper");
    for byte in &ping[..ping.len() - 1] {
        if !(dripping.try_send_bytes(&[*byte]) & dripping_in_play.try_send_bytes(&[*byte])) {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    for wire in [&mut silent, &mut half, &mut greeted, &mut dripping] {
        wire.expect_closed(ErrorCode::HandshakeTimeout);
    }
    for wire in [&mut signed_in, &mut playing, &mut half_playing, &mut dripping_in_play] {
        wire.expect_closed(ErrorCode::IdleTimeout);
    }
    node.await_metrics("what was closed", |metrics| {
        metrics.errors("HandshakeTimeout") >= 4 && metrics.errors("IdleTimeout") >= 4
    });
    witness.finish();
}

#[test]
fn a_node_with_enough_players_says_so_and_makes_room_again() {
    let options = Options::test_world().with("net-connections-max", "2").with("net-handshakes-max", "2");
    let node = Node::start(&options);
    let witness = Witness::start(&node, "WitMany");
    let second = Player::sign_up(&node, "Second", YARD);
    let before = node.metrics().errors("ServerFull");
    let mut third = Wire::connect(&node);
    third.greet(&node);
    third.send(&Login { request: 1, account: "third".into(), password: "password".into() });
    third.expect_closed(ErrorCode::ServerFull);
    assert!(node.metrics().errors("ServerFull") > before);
    let second = second.log_out();
    // The seat is free once what was saved is in the database.
    let deadline = Instant::now() + PATIENCE;
    while second.try_sign_in(&node).is_err() {
        assert!(Instant::now() < deadline, "there is no room again");
    }
    witness.finish();
}

#[test]
fn who_keeps_the_node_waiting_makes_room_for_who_comes() {
    let node = Node::start(&Options::test_world().with("net-handshakes-max", "2"));
    let witness = Witness::start(&node, "WitFull");
    let mut first = Wire::connect(&node);
    first.greet(&node);
    let mut second = Wire::connect(&node);
    node.await_metrics("two handshakes", |metrics| metrics.value("vyuha_handshakes_in_progress") == 2);
    let mut third = Wire::connect(&node);
    third.greet(&node);
    first.expect_closed(ErrorCode::ServerFull);
    // Of those who have signed in nobody has to go.
    third.register("thirdone");
    second.greet(&node);
    second.register("secondone");
    Wire::connect(&node).expect_closed(ErrorCode::ServerFull);
    drop((second, third));
    node.await_metrics("no handshake", |metrics| metrics.value("vyuha_handshakes_in_progress") == 0);
    Wire::connect(&node).greet(&node);
    witness.finish();
}
