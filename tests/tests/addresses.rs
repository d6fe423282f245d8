//! What one address may do, by TCP and by WebSocket alike: connect, sign in at the same time, and fail at it. Others are
//! served meanwhile.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;

use vyuha_protocol::message::{Hello, Login, RegisterAccount};
use vyuha_protocol::{ErrorCode, PROTOCOL_VERSION};
use vyuha_tests::{Heard, Node, Options, PASSWORD, WebWire, Wire, Witness, socket_from};

const CROWDED: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 7);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 8);

/// A node where this machine's usual address may do all, and its others what strangers may.
fn node(flag: &str, value: &str) -> Node {
    Node::start(&Options::test_world().with("address-exempt", "127.0.0.1").with(flag, value))
}

fn hello(node: &Node) -> Hello {
    Hello { version: PROTOCOL_VERSION, content_hash: node.content().hash }
}

#[test]
fn too_many_connections_of_one_address_are_refused_and_nobody_elses() {
    let node = node("address-connections-per-second-max", "1");
    let witness = Witness::start(&node, "WitCrowd");
    for nth in 0..5 {
        let mut wire = Wire::connect_from(&node, CROWDED);
        wire.greet(&node);
        drop(wire);
        assert_eq!(node.metrics().errors("AddressLimit"), 0, "after {nth}");
    }
    // On a slow machine some of the allowance has come back meanwhile.
    let refused = (0..30).filter(|_| {
        let mut wire = Wire::connect_from(&node, CROWDED);
        wire.send(&hello(&node));
        match wire.hear() {
            Heard::Closing(code) => code == ErrorCode::AddressLimit,
            heard => heard != Heard::Message("Welcome"),
        }
    });
    assert!(refused.count() > 15);
    let mut browser = WebWire::connect_from(&node, CROWDED);
    browser.expect_closed(ErrorCode::AddressLimit);
    node.await_metrics("the refusals", |metrics| metrics.errors("AddressLimit") > 15);
    Wire::connect_from(&node, OTHER).greet(&node);
    let mut browser = WebWire::connect_from(&node, OTHER);
    browser.send(&hello(&node));
    browser.expect("Welcome");
    (0..50).for_each(|_| Wire::connect(&node).greet(&node));
    witness.finish();
}

#[test]
fn one_address_cannot_take_every_place_to_sign_in_from() {
    let node = node("address-handshakes-max", "2");
    let mut held = [Wire::connect_from(&node, CROWDED), Wire::connect_from(&node, CROWDED)];
    for wire in &mut held {
        wire.greet(&node);
    }
    Wire::connect_from(&node, CROWDED).expect_closed(ErrorCode::AddressLimit);
    Wire::connect_from(&node, OTHER).greet(&node);
    drop(held);
    node.await_metrics("no handshake", |metrics| metrics.value("vyuha_handshakes_in_progress") == 0);
    Wire::connect_from(&node, CROWDED).greet(&node);
}

/// The answer to a request for the page, empty if the connection is closed without one.
fn fetch(node: &Node, from: Ipv4Addr) -> String {
    let mut stream = socket_from(from, node.web);
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", node.web);
    let mut answer = Vec::new();
    // Closed by a node that has not read the request, it may be reset.
    let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut answer));
    String::from_utf8(answer).expect("it is text")
}

#[test]
fn pages_are_fetched_as_often_as_one_address_may_and_a_player_is_no_visitor() {
    let node = node("address-connections-per-second-max", "1");
    let is_served = |from| fetch(&node, from).starts_with("HTTP/1.1 200");
    assert!((0..5).all(|_| is_served(CROWDED)));
    // On a slow machine some of the allowance has come back meanwhile.
    assert!((0..30).filter(|_| is_served(CROWDED)).count() < 15);
    assert!(is_served(OTHER), "others are served");
    assert!((0..50).all(|_| is_served(Ipv4Addr::LOCALHOST)), "this one may do all");
    let closed = "vyuha_connections_closed_total{reason=\"AddressLimit\"}";
    node.await_metrics("the refusals", |metrics| metrics.value(closed) >= 15);

    let node = self::node("address-handshakes-max", "2");
    let visits = [0, 1].map(|_| socket_from(CROWDED, node.web));
    node.await_metrics("a third is one too many", |_| fetch(&node, CROWDED).is_empty());
    drop(visits);
    node.await_metrics("a place", |_| fetch(&node, CROWDED).starts_with("HTTP/1.1 200"));
    let _players = [0, 1].map(|_| {
        let mut browser = WebWire::connect_from(&node, CROWDED);
        browser.send(&hello(&node));
        browser.expect("Welcome");
        browser
    });
    node.await_metrics("players are no visitors", |_| fetch(&node, CROWDED).starts_with("HTTP/1.1 200"));
}

#[test]
fn an_address_whose_sign_ins_fail_is_heard_no_more_for_a_while() {
    let node = node("address-failures-per-minute-max", "3");
    Wire::connect(&node).sign_up(&node, "guessed");
    let guess = |wire: &mut Wire| {
        wire.greet(&node);
        let request = wire.next_request();
        wire.send(&Login { request, account: "guessed".into(), password: "not this one".into() });
        request
    };
    for _ in 0..3 {
        let mut wire = Wire::connect_from(&node, CROWDED);
        let request = guess(&mut wire);
        wire.expect_refused(request, ErrorCode::CredentialsWrong);
    }
    let mut wire = Wire::connect_from(&node, CROWDED);
    guess(&mut wire);
    wire.expect_closed(ErrorCode::SignInLimit);
    // However it comes.
    let mut browser = WebWire::connect_from(&node, CROWDED);
    browser.send(&hello(&node));
    browser.expect("Welcome");
    browser.send(&Login { request: 1, account: "guessed".into(), password: PASSWORD.into() });
    browser.expect_closed(ErrorCode::SignInLimit);
    assert_eq!(node.metrics().errors("SignInLimit"), 2);
    let mut wire = Wire::connect_from(&node, OTHER);
    let request = guess(&mut wire);
    wire.expect_refused(request, ErrorCode::CredentialsWrong);
}

#[test]
fn registrations_of_one_address_are_few() {
    let node = node("address-failures-per-minute-max", "2");
    for nth in 0..2 {
        let mut wire = Wire::connect_from(&node, CROWDED);
        wire.sign_up(&node, &format!("newcomer{nth}"));
    }
    let mut wire = Wire::connect_from(&node, CROWDED);
    wire.greet(&node);
    wire.send(&RegisterAccount { request: 1, account: "newcomer2".into(), password: PASSWORD.into() });
    wire.expect_closed(ErrorCode::SignInLimit);
    Wire::connect_from(&node, OTHER).sign_up(&node, "newcomer3");
}
