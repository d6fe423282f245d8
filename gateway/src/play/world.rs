//! What a client must hold of the world before it plays, in the form in which it is served.

use std::fmt::Write as _;
use std::io;

use axum::body::Bytes;
use serde::Serialize;

/// The world, as given at the port's start.
#[derive(Clone, Debug, Default)]
pub struct PlayWorld {
    /// The node's version, for people.
    pub version: String,
    /// What clients name in `Hello`.
    pub content_hash: [u8; 32],
    /// The zones.
    pub zones: Vec<PlayZone>,
    /// The items: kind and name.
    pub items: Vec<(u16, String)>,
    /// The NPCs: kind and name.
    pub npcs: Vec<(u16, String)>,
}

/// A zone, as a client must know it.
#[derive(Clone, Debug)]
pub struct PlayZone {
    /// Its id.
    pub id: u16,
    /// Its name, for people.
    pub name: String,
    /// Tiles from west to east.
    pub width_tiles: u32,
    /// Tiles from north to south.
    pub height_tiles: u32,
    /// Position units within which an item can be picked up.
    pub reach: u32,
    /// A character a tile, row by row from the north-west, as in the content's map files.
    pub tiles: Vec<u8>,
}

#[derive(Serialize)]
struct WorldBody<'a> {
    version: &'a str,
    content_hash: &'a str,
    zones: Vec<ZoneBody<'a>>,
    items: Vec<KindBody<'a>>,
    npcs: Vec<KindBody<'a>>,
}

#[derive(Serialize)]
struct ZoneBody<'a> {
    id: u16,
    name: &'a str,
    width_tiles: u32,
    height_tiles: u32,
    reach: u32,
}

#[derive(Serialize)]
struct KindBody<'a> {
    id: u16,
    name: &'a str,
}

fn kinds(kinds: &[(u16, String)]) -> Vec<KindBody<'_>> {
    kinds.iter().map(|(id, name)| KindBody { id: *id, name }).collect()
}

/// The world, ready to be sent.
pub(super) struct Served {
    hash: String,
    json: Bytes,
    tiles: Vec<(u16, Bytes)>,
}

impl Served {
    pub(super) fn new(world: &PlayWorld) -> io::Result<Served> {
        let mut hash = String::new();
        for byte in world.content_hash {
            write!(hash, "{byte:02x}").map_err(io::Error::other)?;
        }
        let zones = world.zones.iter().map(|zone| ZoneBody {
            id: zone.id,
            name: &zone.name,
            width_tiles: zone.width_tiles,
            height_tiles: zone.height_tiles,
            reach: zone.reach,
        });
        let body = WorldBody {
            version: &world.version,
            content_hash: &hash,
            zones: zones.collect(),
            items: kinds(&world.items),
            npcs: kinds(&world.npcs),
        };
        let json = serde_json::to_vec(&body)?.into();
        let tiles = world.zones.iter().map(|zone| (zone.id, Bytes::from(zone.tiles.clone()))).collect();
        Ok(Served { hash, json, tiles })
    }

    pub(super) fn json(&self) -> Bytes {
        self.json.clone()
    }

    /// A zone's tiles, as the content of this hash has them.
    pub(super) fn tiles(&self, content_hash: &str, zone: u16) -> Option<Bytes> {
        let (_, tiles) = self.tiles.iter().find(|(id, _)| *id == zone)?;
        (content_hash == self.hash).then(|| tiles.clone())
    }
}
