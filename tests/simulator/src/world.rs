//! What is the same in every run: the small world, and who may sign in.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use vyuha_game::character::newcomer_place;
use vyuha_game::{CharacterRow, Content, TABLES};
use vyuha_net::client::ClientContent;
use vyuha_protocol::CharacterId;
use vyuha_record::{Record as _, Table};
use vyuha_store::AccountRow;

/// Ticks a second of every node.
pub const TICK_HZ: u16 = 30;
/// Characters of each account: the second is for who plays from two places with two of them.
pub const CHARACTERS_PER_ACCOUNT: i64 = 2;

/// The world of `content/`.
pub fn content() -> Arc<Content> {
    static CONTENT: LazyLock<Arc<Content>> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("content");
        Arc::new(Content::load(&folder).expect("the simulator's content is sound"))
    });
    CONTENT.clone()
}

/// The same as a client holds it.
pub fn client_content() -> Arc<ClientContent> {
    static CONTENT: LazyLock<Arc<ClientContent>> = LazyLock::new(|| {
        let content = content();
        let maps = content.zones.iter().map(|zone| (zone.id, zone.map.clone())).collect();
        Arc::new(ClientContent { hash: content.hash, maps })
    });
    CONTENT.clone()
}

/// Every table of a node.
pub fn tables() -> Vec<Table> {
    [&[AccountRow::TABLE], TABLES].concat()
}

/// The name to sign in with.
pub fn account_name(account: i64) -> String {
    format!("account{account}")
}

/// The accounts, from 1.
pub fn accounts(number: i64) -> impl Iterator<Item = AccountRow> {
    (1..=number).map(|id| AccountRow::new(id, account_name(id), "", 0))
}

/// The characters of as many accounts, before they first play.
pub fn characters(content: &Content, accounts: i64) -> Vec<CharacterRow> {
    let characters = (1..=accounts * CHARACTERS_PER_ACCOUNT).map(|id| {
        let zone = &content.zones[id as usize % content.zones.len()];
        let at = newcomer_place(&zone.map, zone.spawn, zone.spawn_stroll_m, CharacterId(id));
        CharacterRow {
            id,
            account: (id - 1) / CHARACTERS_PER_ACCOUNT + 1,
            name: format!("Player {id}"),
            name_key: format!("player {id}"),
            zone: i64::from(zone.id.0),
            x: i64::from(at.x),
            y: i64::from(at.y),
            created_ms: 0,
        }
    });
    characters.collect()
}
