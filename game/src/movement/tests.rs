use proptest::prelude::*;
use vyuha_protocol::motion::Heading;
use vyuha_protocol::{Pos, TileMap};

use super::*;

const EAST: Heading = Heading { x: 127, y: 0 };
const SPEED: u16 = 341;

fn start() -> Pos {
    Pos::tile_centre(2, 2)
}

/// Plays a script against one session and compares, after each tick, the steps gone so far and the input that
/// is acknowledged. Letters: `i` sends the next input, `t` is a tick.
fn check(script: &str, expected: &[(u32, u32)]) {
    let map = TileMap::open(200, 5);
    let (mut steering, mut sent, mut at) = (Steering::default(), 0, start());
    let mut got = Vec::new();
    for letter in script.chars() {
        if letter == 'i' {
            sent += 1;
            steering.receive(sent, EAST);
        } else {
            at = steering.advance(&map, at, SPEED).unwrap_or(at);
            got.push(((at.x - start().x) / u32::from(SPEED), steering.processed()));
        }
    }
    assert_eq!(got, expected, "{script}");
}

#[test]
fn a_step_a_tick_and_a_bounded_bank() {
    check("ititit", &[(1, 1), (2, 2), (3, 3)]);
    check("tttiit", &[(0, 0), (0, 0), (0, 0), (2, 2)]);
    check("ttttttttiiiiiitt", &[(0, 0); 8].into_iter().chain([(4, 4), (5, 5)]).collect::<Vec<_>>());
    check("iiiitttt", &[(1, 1), (2, 2), (3, 3), (4, 4)]);
    check("iiiiiiiiiit", &[(1, 3)]);
}

#[test]
fn inputs_are_taken_in_rising_order() {
    for (sequences, expected) in [
        (&[1, 2][..], &[(0, false), (0, false)][..]),
        (&[1, 4], &[(0, false), (2, false)]),
        (&[u32::MAX], &[(u32::MAX - 1, false)]),
    ] {
        let mut steering = Steering::default();
        let got: Vec<Received> = sequences.iter().map(|&sequence| steering.receive(sequence, EAST)).collect();
        let expected: Vec<Received> =
            expected.iter().map(|&(skipped, dropped)| Received::Queued { skipped, dropped }).collect();
        assert_eq!(got, expected, "{sequences:?}");
        for &old in sequences.iter().chain([&0]) {
            assert_eq!(steering.receive(old, EAST), Received::Replayed, "{old} after {sequences:?}");
        }
    }
}

#[test]
fn a_full_queue_drops_its_oldest_which_counts_as_processed() {
    let mut steering = Steering::default();
    for sequence in 1..=INPUTS_QUEUED_MAX as u32 {
        assert_eq!(steering.receive(sequence, EAST), Received::Queued { skipped: 0, dropped: false });
    }
    assert_eq!(steering.processed(), 0);
    assert_eq!(steering.receive(9, EAST), Received::Queued { skipped: 0, dropped: true });
    assert_eq!(steering.processed(), 1);
    steering.advance(&TileMap::open(50, 5), start(), SPEED);
    assert_eq!(steering.processed(), 2);
}

fn script() -> impl Strategy<Value = Vec<Option<(u32, i8, i8)>>> {
    let input = (0u32..4, any::<i8>(), any::<i8>());
    proptest::collection::vec(proptest::option::weighted(0.7, input), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nobody_is_faster_than_a_step_a_tick(script in script()) {
        let map = TileMap::open(300, 300);
        let (mut steering, mut sequence, mut at, mut ticks) = (Steering::default(), 0, Pos::tile_centre(150, 150), 0u64);
        let from = at;
        for act in script {
            if let Some((skip, x, y)) = act {
                sequence += skip;
                steering.receive(sequence, Heading { x, y });
            } else {
                ticks += 1;
                at = steering.advance(&map, at, SPEED).unwrap_or(at);
                prop_assert!(from.distance_squared(at) <= (ticks * u64::from(SPEED)).pow(2));
            }
        }
    }

    #[test]
    fn replaying_what_is_not_acknowledged_gives_the_servers_place(script in script()) {
        let mut map = TileMap::open(20, 20);
        (3..15).for_each(|n| map.set_wall(n, 18 - n));
        let (mut steering, mut sequence, mut server) = (Steering::default(), 0, start());
        let mut sent: Vec<(u32, Heading)> = Vec::new();
        for act in script {
            match act {
                // As many in flight as the server keeps: none is dropped, as with a client that minds the bound.
                Some((_, x, y)) if sent.iter().filter(|(sent, _)| *sent > steering.processed()).count() < INPUTS_QUEUED_MAX => {
                    sequence += 1;
                    sent.push((sequence, Heading { x, y }));
                    steering.receive(sequence, Heading { x, y });
                }
                Some(_) => {}
                None => {
                    let (acknowledged, before) = (steering.processed(), server);
                    server = steering.advance(&map, server, SPEED).unwrap_or(server);
                    let newly = sent.iter().filter(|(n, _)| *n > acknowledged && *n <= steering.processed());
                    prop_assert_eq!(walk(&map, before, newly.map(|(_, heading)| *heading), SPEED), server);
                }
            }
        }
        let unacknowledged: Vec<Heading> =
            sent.iter().filter(|(n, _)| *n > steering.processed()).map(|(_, heading)| *heading).collect();
        let predicted = walk(&map, server, unacknowledged, SPEED);
        for _ in 0..INPUTS_QUEUED_MAX {
            server = steering.advance(&map, server, SPEED).unwrap_or(server);
        }
        prop_assert_eq!(predicted, server);
    }
}
