use std::sync::Arc;

use vyuha_protocol::units::metres;
use vyuha_protocol::{ItemId, ItemKind, TileMap};

use super::*;
use crate::content::GroundSpawn;
use crate::random::Rng;

#[test]
fn reach_is_a_circle() {
    let from = Pos { x: 100_000, y: 100_000 };
    let check = |dx: i32, dy: i32, expected| {
        let to = Pos { x: from.x.wrapping_add_signed(dx), y: from.y.wrapping_add_signed(dy) };
        assert_eq!(within_reach(from, to, metres(3)), expected, "{dx}, {dy}");
    };
    check(0, 0, true);
    check(6144, 0, true);
    check(-6145, 0, false);
    check(4344, 4344, true);
    check(4345, -4345, false);
    check(-6144, 1, false);
}

#[test]
fn litter_is_chosen_as_often_as_there_are_heaps() {
    let spawns = [(1, 5, 90), (2, 1, 10)].map(|(kind, count, number)| GroundSpawn {
        kind: ItemKind(kind),
        count,
        number,
    });
    let mut rng = Rng::new(3, 3);
    let picks: Vec<(ItemKind, u32)> = (0..1000).map(|_| litter(&spawns, &mut rng).unwrap()).collect();
    assert!(picks.iter().all(|pick| [(ItemKind(1), 5), (ItemKind(2), 1)].contains(pick)));
    let rare = picks.iter().filter(|(kind, _)| kind.0 == 2).count();
    assert!((60..140).contains(&rare), "{rare} of about 100");
    assert_eq!(litter(&[], &mut rng), None);
}

#[test]
fn an_item_lies_there_until_it_is_taken_once() {
    let mut zone = Zone::new(Arc::new(TileMap::open(40, 40)));
    let mut ground = Ground::default();
    let stack = Stack { id: ItemId(5), kind: ItemKind(6), count: 70_000, wear: 0 };
    let at = Pos::tile_centre(3, 4);
    let entity = ground.lay(&mut zone, stack, at);
    assert_eq!((zone.position(entity), zone.state(entity)), (Some(at), Some(u16::MAX)));
    assert_eq!(zone.kind(entity), Some(EntityKind::item(ItemKind(6))));
    assert_eq!(ground.take(&mut zone, entity), Some(GroundItem { stack, at }));
    assert_eq!(ground.take(&mut zone, entity), None);
    assert_eq!((ground.count(), zone.position(entity)), (0, None));
}
