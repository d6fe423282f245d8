//! What one address may do, by TCP and by WebSocket alike: connect, sign in at the same time, and fail at it. Others are
//! served meanwhile.

use std::net::Ipv4Addr;

use vyuha_protocol::message::{Hello, Login, RegisterAccount};
use vyuha_protocol::{ErrorCode, PROTOCOL_VERSION};
use vyuha_tests::{Heard, Node, Options, PASSWORD, WebWire, Wire, Witness};

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
