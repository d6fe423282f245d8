//! A look into a node's database with stock tools, while the node is down.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use rusqlite::{Connection, Row};
use tempfile::TempDir;
use vyuha_game::bank::BANK_SLOTS;
use vyuha_game::content::{Content, EQUIPMENT_SLOTS};
use vyuha_game::inventory::{
    INVENTORY_SLOTS, ItemRow, PLACE_BANK, PLACE_EQUIPMENT, PLACE_GROUND, PLACE_INVENTORY,
};
use vyuha_game::ledger::{LedgerRow, scan};
use vyuha_protocol::message::InventorySlot;
use vyuha_protocol::{CharacterId, ItemKind};

use crate::{Node, test_world};

/// The database's file and what SQLite keeps beside it, in the data directory.
const FILES: [&str; 2] = ["world.sqlite", "world.sqlite-wal"];

/// A copy of the database, as the node left it.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    /// The world that was played.
    content: &'static Content,
    _folder: TempDir,
}

impl Database {
    /// Copies the database of a node of the test world that has ended, however it did. A copy, so that looking at it changes nothing: the
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
        Database { connection, content: test_world(), _folder: folder }
    }

    /// Every item, by rising id.
    pub fn items(&self) -> Vec<ItemRow> {
        self.rows("SELECT id, kind, count, place, owner, slot, x, y, wear FROM item ORDER BY id", |row| {
            Ok(ItemRow {
                id: row.get(0)?,
                kind: row.get(1)?,
                count: row.get(2)?,
                place: row.get(3)?,
                owner: row.get(4)?,
                slot: row.get(5)?,
                x: row.get(6)?,
                y: row.get(7)?,
                wear: row.get(8)?,
            })
        })
    }

    /// The whole ledger.
    pub fn ledger(&self) -> Vec<LedgerRow> {
        let sql = "SELECT source, seq, idx, at_ms, reason, item, kind, count, from_place, from_owner, to_place, \
                   to_owner, counterparty FROM ledger ORDER BY source, seq, idx";
        self.rows(sql, |row| {
            Ok(LedgerRow {
                source: row.get(0)?,
                seq: row.get(1)?,
                idx: row.get(2)?,
                at_ms: row.get(3)?,
                reason: row.get(4)?,
                item: row.get(5)?,
                kind: row.get(6)?,
                count: row.get(7)?,
                from_place: row.get(8)?,
                from_owner: row.get(9)?,
                to_place: row.get(10)?,
                to_owner: row.get(11)?,
                counterparty: row.get(12)?,
            })
        })
    }

    fn rows<T>(&self, sql: &str, read: impl Fn(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
        let mut statement = self.connection.prepare(sql).expect("there is such a table");
        let rows = statement.query_map((), |row| read(row)).expect("it can be read");
        rows.collect::<Result<_, _>>().expect("it can be read")
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

    /// [`Database::item_violations`], and whether there is as much of everything as the world began with.
    pub fn world_violations(&self) -> Vec<String> {
        let mut violations = self.item_violations();
        let mut expected = BTreeMap::new();
        for spawn in self.content.zones.iter().flat_map(|zone| &zone.ground) {
            *expected.entry(i64::from(spawn.kind.0)).or_default() += i64::from(spawn.count * spawn.number);
        }
        let counts = self.count_by_kind();
        if counts != expected {
            violations.push(format!("there are {counts:?} of each kind, not {expected:?}"));
        }
        violations
    }

    /// How many there are of each kind of item, wherever they are.
    fn count_by_kind(&self) -> BTreeMap<i64, i64> {
        let mut counts = BTreeMap::new();
        for item in self.items() {
            *counts.entry(item.kind).or_default() += item.count;
        }
        counts
    }

    /// Everything about items that must hold in any database, whatever happened to the node; what does not is said.
    pub fn item_violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        let characters: BTreeSet<i64> =
            self.rows("SELECT id FROM character", |row| row.get(0)).into_iter().collect();
        let items = self.items();
        let stacks = |kind| {
            let item = u16::try_from(kind).ok().and_then(|kind| self.content.item(ItemKind(kind)));
            item.is_some_and(|item| item.stack_max > 1)
        };
        violations.extend(scan(&items, &self.ledger(), stacks).iter().map(ToString::to_string));
        for item in items {
            let mut check = |holds: bool, what: &str| {
                if !holds {
                    violations.push(format!("{what}: {item:?}"));
                }
            };
            check(item.count >= 1 || item.place == PLACE_BANK, "an empty stack");
            let slots = match item.place {
                PLACE_GROUND => continue,
                PLACE_INVENTORY => INVENTORY_SLOTS,
                PLACE_EQUIPMENT => EQUIPMENT_SLOTS.len(),
                PLACE_BANK => BANK_SLOTS,
                _ => 0,
            };
            check((0..slots as i64).contains(&item.slot), "in no slot");
            check(characters.contains(&item.owner), "of nobody");
        }
        violations
    }
}
