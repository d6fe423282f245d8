//! A look into a node's database with stock tools, while the node is down.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use rusqlite::{Connection, Row};
use tempfile::TempDir;
use vyuha_game::inventory::{INVENTORY_SLOTS, PLACE_GROUND, PLACE_INVENTORY};
use vyuha_protocol::CharacterId;
use vyuha_protocol::message::InventorySlot;

use crate::Node;

/// The database's file and what SQLite keeps beside it, in the data directory.
const FILES: [&str; 2] = ["world.sqlite", "world.sqlite-wal"];

/// A copy of the database, as the node left it.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    _folder: TempDir,
}

/// A row of the table of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// Its id.
    pub id: i64,
    /// What it is.
    pub kind: i64,
    /// How many.
    pub count: i64,
    /// On the ground or in an inventory.
    pub place: i64,
    /// The zone or the character.
    pub owner: i64,
    /// The slot in an inventory.
    pub slot: i64,
}

impl Database {
    /// Copies the database of a node that has ended, however it did. A copy, so that looking at it changes nothing: the
    /// last to close a database folds its write-ahead log into it.
    pub fn of(node: &mut Node) -> Database {
        assert!(!node.is_running(), "the node still writes");
        let folder = tempfile::tempdir().expect("there is room for a folder");
        for file in FILES {
            let from = node.data_dir().join(file);
            if from.exists() {
                fs::copy(from, folder.path().join(file)).expect("the database can be copied");
            }
        }
        let connection = Connection::open(folder.path().join(FILES[0])).expect("the database can be opened");
        let sound: String = connection
            .query_row("PRAGMA integrity_check", (), |row| row.get(0))
            .expect("the database can be read");
        assert_eq!(sound, "ok", "the database is damaged");
        Database { connection, _folder: folder }
    }

    /// Every item, by rising id.
    pub fn items(&self) -> Vec<Item> {
        let item = |row: &Row<'_>| {
            Ok(Item {
                id: row.get(0)?,
                kind: row.get(1)?,
                count: row.get(2)?,
                place: row.get(3)?,
                owner: row.get(4)?,
                slot: row.get(5)?,
            })
        };
        let sql = "SELECT id, kind, count, place, owner, slot FROM item ORDER BY id";
        let mut statement = self.connection.prepare(sql).expect("there is a table of items");
        let items = statement.query_map((), item).expect("the items can be read");
        items.collect::<Result<_, _>>().expect("the items can be read")
    }

    /// What every character carries, by slot.
    pub fn inventories(&self) -> BTreeMap<CharacterId, BTreeMap<u8, InventorySlot>> {
        let mut inventories: BTreeMap<CharacterId, BTreeMap<u8, InventorySlot>> = BTreeMap::new();
        for item in self.items().iter().filter(|item| item.place == PLACE_INVENTORY) {
            let slot =
                InventorySlot { slot: item.slot as u8, kind: item.kind as u16, count: item.count as u32 };
            inventories.entry(CharacterId(item.owner)).or_default().insert(slot.slot, slot);
        }
        inventories
    }

    /// How many there are of each kind of item, wherever they are.
    pub fn count_by_kind(&self) -> BTreeMap<i64, i64> {
        let mut counts = BTreeMap::new();
        for item in self.items() {
            *counts.entry(item.kind).or_default() += item.count;
        }
        counts
    }

    /// Everything about items that must hold in any database, whatever happened to the node; what does not is said.
    pub fn item_violations(&self) -> Vec<String> {
        let (mut violations, mut ids, mut slots) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let numbers = |sql: &str| -> BTreeSet<i64> {
            let mut statement = self.connection.prepare(sql).expect("there is such a table");
            let numbers = statement.query_map((), |row| row.get(0)).expect("it can be read");
            numbers.collect::<Result<_, _>>().expect("it can be read")
        };
        let characters = numbers("SELECT id FROM character");
        for item in self.items() {
            let mut check = |holds: bool, what: &str| {
                if !holds {
                    violations.push(format!("{what}: {item:?}"));
                }
            };
            check(ids.insert(item.id), "an id twice");
            check(item.count >= 1, "an empty stack");
            match item.place {
                PLACE_GROUND => {}
                PLACE_INVENTORY => {
                    check(characters.contains(&item.owner), "carried by nobody");
                    check((0..INVENTORY_SLOTS as i64).contains(&item.slot), "in no slot");
                    check(slots.insert((item.owner, item.slot)), "two in one slot");
                }
                _ => check(false, "nowhere"),
            }
        }
        violations
    }
}
