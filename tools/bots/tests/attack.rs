//! Attackers against a server that takes what comes and closes after a while.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vyuha_bots::{AttackOptions, Kind, Kinds, LoadError, attack};

fn options(target: std::net::SocketAddr) -> AttackOptions {
    AttackOptions {
        target,
        attackers: 24,
        kinds: Kinds::default(),
        sources: 3,
        content_hash: [7; 32],
        seed: 1,
        duration: Some(Duration::from_secs(4)),
        cpu: None,
    }
}

#[test]
fn every_kind_does_what_it_is_for_and_tells_what_came_of_it() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = listener.local_addr().unwrap();
    let over = AtomicBool::new(false);
    let (report, from) = std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let mut from = BTreeMap::new();
            while !over.load(Ordering::Relaxed) {
                let (mut stream, address) = listener.accept().unwrap();
                *from.entry(address.ip()).or_insert(0) += 1;
                scope.spawn(move || {
                    stream.set_read_timeout(Some(Duration::from_millis(1300))).unwrap();
                    let (mut bytes, mut taken) = ([0; 4096], 0);
                    while let Ok(length @ 1..) = stream.read(&mut bytes) {
                        taken += length;
                    }
                    taken
                });
            }
            from
        });
        let report = attack(&options(target), &AtomicBool::new(false)).unwrap();
        over.store(true, Ordering::Relaxed);
        drop(std::net::TcpStream::connect(target).unwrap());
        (report, server.join().unwrap())
    });
    assert_eq!(report.kinds.keys().copied().collect::<Vec<_>>(), Kind::ALL);
    for (kind, of) in &report.kinds {
        assert_eq!((of.attackers, of.failed), (4, 0), "{kind:?}");
        assert!(of.connections >= 4, "{kind:?}: {of:?}");
        let speaks = !matches!(kind, Kind::HalfOpen | Kind::Storm);
        assert_eq!(of.bytes_out > 0, speaks, "{kind:?}: {of:?}");
        assert_eq!(of.closed.is_empty(), *kind == Kind::Storm || *kind == Kind::Loris, "{kind:?}: {of:?}");
        if *kind == Kind::Loris {
            assert!(of.bytes_out <= 4 * 5, "{of:?}");
        }
    }
    assert!(report.kinds[&Kind::Storm].connections > 2 * report.kinds[&Kind::HalfOpen].connections);
    let sources: Vec<String> = from.keys().map(ToString::to_string).collect();
    assert_eq!(sources, ["127.0.0.1", "127.66.0.1", "127.66.0.2", "127.66.0.3"]);
    assert!(report.summary().contains("half-open"));
}

#[test]
fn impossible_attacks_are_refused() {
    let sound = options(([127, 0, 0, 1], 1).into());
    for (attackers, sources) in [(0, 1), (20_001, 1), (1, 0), (1, 1001)] {
        let refused = attack(&AttackOptions { attackers, sources, ..sound.clone() }, &AtomicBool::new(false));
        assert!(matches!(refused, Err(LoadError::Attackers { .. })), "{attackers} {sources}");
    }
}
