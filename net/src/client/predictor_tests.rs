use std::collections::VecDeque;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use vyuha_protocol::motion::{Heading, displacement, step};
use vyuha_protocol::{Pos, TileMap};

use super::predictor::{INPUTS_PENDING_MAX, Predictor, ReconcileError, Reconciled};

const SPEED: u16 = 341;

fn predictor(map: &Arc<TileMap>) -> Predictor {
    Predictor::new(map.clone(), SPEED, Pos::tile_centre(1, 1)).unwrap()
}

#[test]
fn a_prediction_starts_only_on_open_ground_at_a_possible_speed() {
    let map = Arc::new(TileMap::open(8, 8));
    assert!(Predictor::new(map.clone(), 2047, Pos::tile_centre(1, 1)).is_some());
    assert!(Predictor::new(map.clone(), 2048, Pos::tile_centre(1, 1)).is_none());
    assert!(Predictor::new(map.clone(), SPEED, Pos::tile_centre(0, 1)).is_none());
    assert!(Predictor::new(map, SPEED, Pos { x: u32::MAX, y: u32::MAX }).is_none());
}

#[test]
fn a_lost_input_is_corrected_by_its_length() {
    let map = Arc::new(TileMap::open(64, 64));
    let mut predictor = predictor(&map);
    let start = predictor.pos();
    let east = Heading { x: 127, y: 0 };
    for sequence in 1..=3 {
        assert_eq!(predictor.step(east).unwrap().0, sequence);
    }
    // The server lost the second of them.
    let got = predictor.reconcile(2, Pos { x: start.x + 341, ..start });
    let pos = Pos { x: start.x + 682, ..start };
    assert_eq!(got, Ok(Reconciled { pos, correction: 341 }));
    assert_eq!((predictor.pos(), predictor.pending()), (pos, 1));
}

#[test]
fn what_contradicts_the_inputs_is_refused() {
    let map = Arc::new(TileMap::open(8, 8));
    let mut predictor = predictor(&map);
    let pos = predictor.pos();
    predictor.step(Heading::default()).unwrap();
    predictor.step(Heading::default()).unwrap();
    predictor.reconcile(1, pos).unwrap();
    for ack in [0, 3] {
        let fault = ReconcileError::AckInvalid { ack, acknowledged: 1, sent: 2 };
        assert_eq!(predictor.reconcile(ack, pos), Err(fault));
    }
    let wall = Pos::tile_centre(0, 0);
    assert_eq!(predictor.reconcile(2, wall), Err(ReconcileError::Blocked(wall)));
    assert_eq!(predictor.pending(), 1);
}

#[test]
fn inputs_stop_at_the_bound() {
    let mut predictor = predictor(&Arc::new(TileMap::open(8, 8)));
    for _ in 0..INPUTS_PENDING_MAX {
        predictor.step(Heading::default()).unwrap();
    }
    assert_eq!(predictor.step(Heading::default()), None);
    predictor.reconcile(1, predictor.pos()).unwrap();
    assert!(predictor.step(Heading::default()).is_some());
}

fn maze() -> impl Strategy<Value = Arc<TileMap>> {
    vec((1u32..9, 1u32..9), 0..25).prop_map(|walls| {
        let mut map = TileMap::open(10, 10);
        for (x, y) in walls.into_iter().filter(|&wall| wall != (1, 1)) {
            map.set_wall(x, y);
        }
        Arc::new(map)
    })
}

proptest! {
    /// A server that takes inputs late and in bursts, and loses some; its snapshots arrive late too.
    #[test]
    fn the_prediction_is_the_servers_place_once_all_is_acknowledged(
        map in maze(),
        course in vec((any::<i8>(), any::<i8>(), 0usize..4, prop::bool::weighted(0.05), 0usize..3), 1..120),
    ) {
        let mut predictor = predictor(&map);
        let mut server = predictor.pos();
        let (mut queue, mut snapshots) = (VecDeque::new(), VecDeque::new());
        let (mut acked, mut lost_any) = (0, false);
        for (x, y, burst, lost, delivered) in course {
            let heading = Heading { x, y };
            let (sequence, _) = predictor.step(heading).unwrap();
            queue.push_back((sequence, heading, lost));
            for (sequence, heading, lost) in queue.drain(..burst.min(queue.len())) {
                acked = sequence;
                lost_any |= lost;
                if !lost {
                    server = step(&map, server, displacement(heading, SPEED));
                }
            }
            snapshots.push_back((acked, server, lost_any));
            for (ack, pos, lost_any) in snapshots.drain(..delivered.min(snapshots.len())) {
                let before = predictor.pos();
                let reconciled = predictor.reconcile(ack, pos).unwrap();
                prop_assert!(lost_any || reconciled.correction == 0);
                prop_assert_eq!(reconciled.correction == 0, reconciled.pos == before);
            }
        }
        for (sequence, heading, lost) in queue {
            acked = sequence;
            if !lost {
                server = step(&map, server, displacement(heading, SPEED));
            }
        }
        let reconciled = predictor.reconcile(acked, server).unwrap();
        prop_assert_eq!(reconciled.pos, server);
        prop_assert_eq!(predictor.pos(), server);
        prop_assert_eq!(predictor.pending(), 0);
    }
}
