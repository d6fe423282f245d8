//! Clients that mean no good, by the hundred: those who play notice nothing, those who come find in, and nothing of it is
//! left behind. And clients that come back by the hundred.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vyuha_bots::{AttackOptions, Kind, Kinds, LoadOptions, Role, Roles, attack, run};
use vyuha_tests::{Identity, Node, Options, Player, Witness, YARD};

#[test]
fn attackers_are_refused_each_for_its_reason_and_nobody_else_notices() {
    let options = Options::test_world()
        .with("address-exempt", "127.0.0.0/16")
        .with("address-failures-per-minute-max", "5")
        .with("net-handshake-timeout", "2s");
    let node = Node::start(&options);
    let witness = Witness::start(&node, "WitSiege");
    let over = AtomicBool::new(false);
    let siege = AttackOptions {
        target: node.listen,
        attackers: 240,
        kinds: Kinds::default(),
        sources: 12,
        content_hash: node.content().hash,
        seed: 1,
        duration: Some(Duration::from_secs(12)),
        cpu: None,
    };
    let report = std::thread::scope(|scope| {
        let report = scope.spawn(|| {
            let report = attack(&siege, &AtomicBool::new(false)).expect("it can attack");
            over.store(true, Ordering::Relaxed);
            report
        });
        // Who is not an attacker signs in meanwhile as ever.
        let mut who: Option<Identity> = None;
        let mut came = 0;
        while !over.load(Ordering::Relaxed) {
            let player = match who.take() {
                None => Player::sign_up(&node, "Commuter", YARD),
                Some(who) => who.sign_in(&node),
            };
            who = Some(player.log_out());
            came += 1;
        }
        assert!(came > 2, "{came} sign-ins");
        report.join().expect("the attack ends")
    });
    witness.finish();
    let closed = |kind: Kind, code: &str| report.kinds[&kind].closed.get(code).copied().unwrap_or(0);
    assert!(closed(Kind::HalfOpen, "HandshakeTimeout") > 0, "{report:#?}");
    assert!(closed(Kind::Loris, "HandshakeTimeout") > 0, "{report:#?}");
    assert!(closed(Kind::Flood, "Flood") > 0, "{report:#?}");
    assert!(closed(Kind::Guess, "SignInLimit") > 0, "{report:#?}");
    let broken = ["FrameTooLarge", "Malformed", "UnknownKind"];
    assert!(broken.iter().map(|code| closed(Kind::Garbage, code)).sum::<u64>() > 0, "{report:#?}");
    node.await_metrics("that all are gone", |metrics| metrics.value("vyuha_handshakes_in_progress") == 0);
    assert_eq!(
        node.log().matches(" WARN ").count() + node.log().matches("ERROR").count(),
        0,
        "{}",
        node.log()
    );
}

#[test]
fn those_who_come_back_by_the_hundred_all_find_their_sessions() {
    let node = Node::start(&Options::test_world().with("session-grace", "20s"));
    let options = LoadOptions {
        duration: Some(Duration::from_secs(4)),
        roles: Roles::all(Role::Resumer),
        resumptions_per_second: 50,
        ..LoadOptions::new(node.listen, 30, node.content())
    };
    let report = run(&options, |_| {}, &AtomicBool::new(false)).expect("it can play");
    assert_eq!((report.errors, report.disconnects, report.corrections), (0, 0, 0), "{}", report.summary());
    assert_eq!(report.connected, 30);
    // On a slow machine fewer are taken up than were asked for, but each of these was.
    assert!(report.resumed_ms.count > 40, "{}", report.summary());
}
