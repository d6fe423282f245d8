//! A world of rooms for thousands of players who see only those in their own: what `vyuha demo` plays with a crowd.
//!
//! Each room is a walled place in the middle of a cell of its own, so far from the cell's border that no other cell comes
//! into view. Newcomers are dealt out to the rooms in turn.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use vyuha_protocol::units::CELL_TILES;

/// Players to a room.
pub const ROOM_PLAYERS: u32 = 8;
/// Most rooms in a zone.
const ZONE_ROOMS_MAX: u32 = 320;
/// How far a player sees, in metres: the least that content may say.
const VIEW_M: u32 = 8;
/// Tiles between a room and its cell's border: more than is seen.
const MARGIN_TILES: u32 = VIEW_M + 1;
/// Tiles along the side of a room.
const ROOM_TILES: u32 = CELL_TILES - 2 * MARGIN_TILES;
const _: () = assert!(MARGIN_TILES > VIEW_M && ROOM_TILES >= 4);

/// Writes the world's files into a folder: room for so many players in zones of the same size, as many zones to each
/// shard.
pub fn write(folder: &Path, players: u32, shards: u32) -> io::Result<()> {
    let rooms = players.div_ceil(ROOM_PLAYERS).max(1);
    let zones = rooms.div_ceil(ZONE_ROOMS_MAX).next_multiple_of(shards.max(1));
    let zone_rooms = rooms.div_ceil(zones);
    let columns = zone_rooms.isqrt().max(1);
    fs::create_dir_all(folder)?;
    fs::write(
        folder.join("items.toml"),
        "[[items]]\nid = 1\nkey = \"coin\"\nname = \"Coin\"\nstack_max = 1000\n",
    )?;
    fs::write(folder.join("npcs.toml"), "npcs = []\n")?;
    fs::write(folder.join("rooms.map"), map(zone_rooms, columns))?;
    fs::write(folder.join("world.toml"), world(zones, zone_rooms, columns))
}

fn world(zones: u32, zone_rooms: u32, columns: u32) -> String {
    let tile = |room: u32| {
        let middle = CELL_TILES / 2;
        format!("[{}, {}]", room % columns * CELL_TILES + middle, room / columns * CELL_TILES + middle)
    };
    let begin: Vec<String> = (0..zone_rooms).map(tile).collect();
    let (begin, spawn) = (begin.join(", "), tile(0));
    let mut world = format!(
        "[[zone_kinds]]\nkey = \"rooms\"\ntick_hz = 30\nplayer_speed_cm_s = 300\nview_radius_m = {VIEW_M}\n\
         hearing_radius_m = {ROOM_TILES}\nreach_cm = 300\nground_items_max = 4000\nlitter_interval_s = 60\n"
    );
    for id in 1..=zones {
        write!(
            world,
            "\n[[zones]]\nid = {id}\nname = \"Rooms {id}\"\nkind = \"rooms\"\nmap = \"rooms.map\"\nspawn = {spawn}\n\
             spawn_stroll_m = 8\nbegin = [{begin}]\nstart = true\nnpcs = []\nground = []\n"
        )
        .expect("a string takes all that is written");
    }
    world
}

fn map(zone_rooms: u32, columns: u32) -> String {
    let inside = |tile: u32| (MARGIN_TILES..MARGIN_TILES + ROOM_TILES).contains(&(tile % CELL_TILES));
    let mut map = String::new();
    for y in 0..zone_rooms.div_ceil(columns) * CELL_TILES {
        map.extend((0..columns * CELL_TILES).map(|x| {
            let room = y / CELL_TILES * columns + x / CELL_TILES;
            if inside(x) && inside(y) && room < zone_rooms { '.' } else { '#' }
        }));
        map.push('\n');
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use vyuha_game::Content;
    use vyuha_game::character::newcomer_place;
    use vyuha_protocol::CharacterId;
    use vyuha_protocol::units::{CELL_UNITS, metres};

    #[test]
    fn newcomers_fill_the_rooms_evenly_and_nobody_sees_another_room() {
        for (players, shards) in [(1, 1), (8, 2), (2001, 1), (10_000, 1), (10_000, 3)] {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), players, shards).unwrap();
            let content = Content::load(folder.path()).unwrap();
            let zones: Vec<_> = content.start_zones().collect();
            assert_eq!(zones.len() % shards as usize, 0);
            let mut in_room = BTreeMap::new();
            for id in 1..=players as usize {
                let zone = zones[id % zones.len()];
                let begin = zone.begin(id / zones.len());
                let at = newcomer_place(&zone.map, begin, zone.spawn_stroll_m, CharacterId(id as i64));
                assert_eq!(at.cell(), begin.cell(), "out of the room");
                *in_room.entry((zone.id, at.cell())).or_insert(0) += 1;
            }
            assert!(in_room.values().all(|&players| players <= 2 * ROOM_PLAYERS), "{players}: {in_room:?}");
            if players == 10_000 && shards == 1 {
                let even =
                    in_room.values().all(|players| (ROOM_PLAYERS - 1..=ROOM_PLAYERS).contains(players));
                assert!(in_room.len() == 1252 && even, "four zones of 313 rooms: {in_room:?}");
            }
            for zone in zones {
                for y in 0..zone.map.height() {
                    for x in (0..zone.map.width()).filter(|&x| !zone.map.is_wall(x, y)) {
                        let edges = [x, y].map(|tile| metres(tile % CELL_TILES));
                        let seen = zone.kind.view.radius_units;
                        assert!(edges.iter().all(|&at| at > seen && CELL_UNITS - at - metres(1) > seen));
                    }
                }
            }
        }
    }
}
