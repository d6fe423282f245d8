use vyuha_protocol::units::metres;
use vyuha_protocol::{CharacterId, Pos, TileMap, ZoneId};

use super::*;

#[test]
fn a_blocked_place_becomes_the_spawn_point() {
    let mut map = TileMap::open(10, 10);
    map.set_wall(4, 4);
    let spawn = Pos::tile_centre(1, 1);
    let check = |place: Pos, expected| assert_eq!(arrival(&map, place, spawn), expected, "{place:?}");
    check(Pos::tile_centre(5, 4), Pos::tile_centre(5, 4));
    check(Pos::tile_centre(4, 4), spawn);
    check(Pos::tile_centre(0, 3), spawn);
    check(Pos { x: u32::MAX, y: u32::MAX }, spawn);
}

#[test]
fn newcomers_begin_apart_and_where_they_can_walk() {
    let mut map = TileMap::open(100, 100);
    // A wall that leaves the north to those who begin there.
    (0..100).for_each(|x| map.set_wall(x, 60));
    let spawn = Pos::tile_centre(50, 30);
    let places: Vec<Pos> = (1..=200).map(|id| newcomer_place(&map, spawn, 200, CharacterId(id))).collect();
    assert!(places.iter().all(|place| map.is_open(*place) && place.tile().1 < 60));
    let far = places.iter().filter(|place| place.distance_squared(spawn) > u64::from(metres(10)).pow(2));
    assert!(far.count() > 100, "they are all near the spawn point");
    assert_eq!(newcomer_place(&map, spawn, 200, CharacterId(7)), places[6]);
    assert_eq!(newcomer_place(&map, spawn, 0, CharacterId(7)), spawn);
}

#[test]
fn every_session_has_its_turn_once_an_interval() {
    let mut turns: Vec<usize> = (1000..1150).flat_map(|tick| slots_due(tick, 150, 1501)).collect();
    turns.sort_unstable();
    assert_eq!(turns, (0..1501).collect::<Vec<_>>());
    assert_eq!(slots_due(77, 150, 1500).count(), 10);
    assert_eq!(slots_due(7, 150, 0).count(), 0);
}

#[test]
fn rows_hold_places() {
    let (name, name_key) = ("Abe".to_owned(), "abe".to_owned());
    let mut row = CharacterRow { id: 1, account: 2, name, name_key, zone: 1, x: -5, y: 7, created_ms: 0 };
    assert_eq!(row.place(), Pos { x: u32::MAX, y: 7 });
    row.set_place(ZoneId(3), Pos { x: 8, y: 9 });
    assert_eq!((row.zone, row.place()), (3, Pos { x: 8, y: 9 }));
}
