//! The worlds that the tests play: the example world, and a small one of their own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use vyuha_game::content::Content;
use vyuha_net::client::ClientContent;
use vyuha_protocol::{ItemKind, ZoneId};

/// The test world's zone for walking: long, with walls, a reach of 3 m, a view of 20 m and voices that carry 12 m.
pub const YARD: ZoneId = ZoneId(1);
/// The test world's zone for things: all that lies there is in view and within reach of everybody.
pub const DEPOT: ZoneId = ZoneId(2);
/// The test world's zone with room for 8 things on the ground, of which 7 are there.
pub const CLOSET: ZoneId = ZoneId(3);
/// Stacks to a million.
pub const COIN: ItemKind = ItemKind(1);
/// Stacks to 5.
pub const HERB: ItemKind = ItemKind(2);
/// Does not stack.
pub const LANTERN: ItemKind = ItemKind(3);

/// The folder of the test world.
pub fn test_world_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("world")
}

/// The test world.
pub fn test_world() -> &'static Content {
    static WORLD: OnceLock<Content> = OnceLock::new();
    WORLD.get_or_init(|| Content::load(&test_world_folder()).expect("the test world is sound"))
}

/// What a client must hold of a world to play in it.
pub fn client_content(content: &Content) -> Arc<ClientContent> {
    let maps = content.zones.iter().map(|zone| (zone.id, zone.map.clone())).collect();
    Arc::new(ClientContent { hash: content.hash, maps })
}
