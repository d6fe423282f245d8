use std::time::Duration;

use governor::clock::FakeRelativeClock;
use proptest::prelude::*;

use super::*;

fn addresses(exempt: &str) -> (Arc<Addresses<FakeRelativeClock>>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    let limits = Address {
        connections_per_second_max: 2,
        handshakes_max: 4,
        failures_per_minute_max: 3,
        exempt: exempt.parse().unwrap(),
    };
    (Arc::new(Addresses::new(&limits, clock.clone())), clock)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// How many of so many attempts to connect, one after another, succeed.
fn connected(addresses: &Arc<Addresses<FakeRelativeClock>>, address: &str, attempts: u32) -> u32 {
    (0..attempts).filter(|_| addresses.connect(ip(address)).is_some()).count() as u32
}

#[test]
fn connections_come_five_seconds_worth_at_once_and_then_at_their_rate() {
    let (addresses, clock) = addresses("");
    assert_eq!(connected(&addresses, "192.0.2.1", 30), 10);
    assert_eq!(connected(&addresses, "192.0.2.2", 30), 10, "another address");
    clock.advance(Duration::from_millis(1600));
    assert_eq!(connected(&addresses, "192.0.2.1", 30), 3);
    clock.advance(Duration::from_hours(1));
    assert_eq!(connected(&addresses, "192.0.2.1", 30), 10);
}

#[test]
fn addresses_are_told_apart_as_far_as_subscribers_are() {
    for (one, other, together) in [
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "::ffff:192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
        ("2001:db8::1", "2001:db8:0:1::1", false),
        ("::1", "::ffff:0.0.0.1", false),
    ] {
        let (addresses, _) = addresses("");
        assert_eq!(connected(&addresses, one, 10), 10);
        assert_eq!(connected(&addresses, other, 1) == 0, together, "{one} {other}");
    }
}

#[test]
fn places_to_sign_in_from_are_few_and_come_back() {
    let (addresses, clock) = addresses("");
    clock.advance(Duration::from_mins(1));
    let mut places: Vec<_> = (0..4).map(|_| addresses.connect(ip("192.0.2.1")).unwrap()).collect();
    assert!(addresses.connect(ip("192.0.2.1")).is_none());
    assert!(addresses.connect(ip("192.0.2.2")).is_some());
    places.pop();
    assert!(addresses.connect(ip("192.0.2.1")).is_some());
    drop(places);
    assert!(addresses.handshakes.lock().unwrap().is_empty(), "nothing is kept of who has left");
}

#[test]
fn failures_are_counted_by_address_and_looking_costs_nothing() {
    let (addresses, clock) = addresses("");
    let place = addresses.connect(ip("192.0.2.1")).unwrap();
    let beside = addresses.connect(ip("192.0.2.1")).unwrap();
    let other = addresses.connect(ip("192.0.2.2")).unwrap();
    for _ in 0..3 {
        (0..9).for_each(|_| assert!(!place.has_failed_too_often()));
        place.count_failure();
    }
    assert!(place.has_failed_too_often() && beside.has_failed_too_often() && !other.has_failed_too_often());
    clock.advance(Duration::from_secs(20));
    assert!(!place.has_failed_too_often(), "one of three a minute is regained");
    place.count_failure();
    assert!(place.has_failed_too_often());
    assert_eq!(
        (0..9).filter(|_| place.may_register()).count(),
        3,
        "registrations are counted for themselves"
    );
}

#[test]
fn who_is_exempt_may_do_all() {
    let (addresses, _) = addresses("192.0.2.0/24,::1");
    let places: Vec<_> = (0..99).map(|_| addresses.connect(ip("192.0.2.77")).unwrap()).collect();
    places.iter().for_each(Place::count_failure);
    assert!(!places[0].has_failed_too_often());
    assert_eq!(connected(&addresses, "::1", 99), 99);
    assert_eq!(connected(&addresses, "::2", 99), 10);
    assert_eq!(addresses.connections.len(), 1, "nothing is kept of them");
}

#[test]
fn a_full_table_forgets_who_has_regained_all_and_lets_the_rest_share() {
    let clock = FakeRelativeClock::default();
    let quota = Quota::per_second(NonZeroU32::new(2).unwrap());
    let rate = Rate::new(quota, 10, clock.clone());
    let nth = |nth: u32| IpAddr::V4(nth.into());
    assert!((0..10).all(|address| rate.count(nth(address))));
    let others = (10..30).filter(|&address| rate.count(nth(address))).count();
    assert_eq!((others, rate.len()), (2, 10));
    assert!(rate.count(nth(3)), "who is known has its own");
    clock.advance(Duration::from_secs(2));
    assert!((0..2048).any(|_| rate.count(nth(40)) && rate.len() < 10), "it is looked through");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However many addresses do what when, none does more than its rate allows, and no more are kept than the bound.
    #[test]
    fn nobody_beats_the_rate_and_memory_is_bounded(acts in prop::collection::vec((0..12u32, 0..700u64), 1..300)) {
        let clock = FakeRelativeClock::default();
        let rate = Rate::new(Quota::per_second(NonZeroU32::new(3).unwrap()), 8, clock.clone());
        let mut now_ms = 0;
        let mut done: HashMap<u32, Vec<u64>> = HashMap::new();
        for (who, wait_ms) in acts {
            clock.advance(Duration::from_millis(wait_ms));
            now_ms += wait_ms;
            let address = IpAddr::V4(who.into());
            let has_room = rate.has_room(address);
            prop_assert_eq!(rate.count(address), has_room);
            if has_room {
                done.entry(who).or_default().push(now_ms);
            }
            prop_assert!(rate.len() <= 8);
        }
        for times in done.values() {
            for (first, from) in times.iter().enumerate() {
                for (last, to) in times.iter().enumerate().skip(first) {
                    prop_assert!((last - first + 1) as u64 <= 3 + (to - from) * 3 / 1000 + 1);
                }
            }
        }
    }
}
