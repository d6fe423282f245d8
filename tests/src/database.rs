//! A look into a node's database with stock tools: its SQLite file, or the PostgreSQL that it writes to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tempfile::TempDir;
use vyuha_game::bank::BANK_SLOTS;
use vyuha_game::content::{Content, EQUIPMENT_SLOTS};
use vyuha_game::inventory::{
    INVENTORY_SLOTS, ItemRow, PLACE_BANK, PLACE_EQUIPMENT, PLACE_GROUND, PLACE_INVENTORY,
};
use vyuha_game::ledger::{LedgerRow, scan};
use vyuha_protocol::message::InventorySlot;
use vyuha_protocol::{CharacterId, ItemKind};
use vyuha_record::{Record, Value};
use vyuha_test_postgres::Postgres;

use crate::{Node, test_world};

/// The database's file and what SQLite keeps beside it, in the data directory.
const FILES: [&str; 2] = ["world.sqlite", "world.sqlite-wal"];

/// A database as it stands.
#[derive(Debug)]
pub struct Database<'a> {
    source: Source<'a>,
    /// The world that was played.
    content: &'static Content,
}

#[derive(Debug)]
enum Source<'a> {
    Sqlite { connection: Connection, _folder: Option<TempDir> },
    Postgres { server: &'a Postgres, url: &'a str },
}

impl<'a> Database<'a> {
    /// Copies the database of a node of the test world that has ended, however it did. A copy, so that looking at it changes nothing: the
    /// last to close a database folds its write-ahead log into it.
    pub fn of(node: &mut Node) -> Database<'static> {
        assert!(!node.is_running(), "the node still writes");
        let folder = tempfile::tempdir().expect("there is room for a folder");
        for file in FILES {
            let from = node.data_dir().join(file);
            if from.exists() {
                fs::copy(from, folder.path().join(file)).expect("the database can be copied");
            }
        }
        Database::open(&folder.path().join(FILES[0]), Some(folder))
    }

    /// The file of a node that runs.
    pub fn beside(node: &Node) -> Database<'static> {
        Database::open(&node.data_dir().join(FILES[0]), None)
    }

    fn open(path: &Path, folder: Option<TempDir>) -> Database<'static> {
        let connection = Connection::open(path).expect("the database can be opened");
        let sound: String = connection
            .query_row("PRAGMA integrity_check", (), |row| row.get(0))
            .expect("the database can be read");
        assert_eq!(sound, "ok", "the database is damaged");
        Database { source: Source::Sqlite { connection, _folder: folder }, content: test_world() }
    }

    /// The database at `url` of a server that runs.
    pub fn on_postgres(server: &'a Postgres, url: &'a str) -> Database<'a> {
        Database { source: Source::Postgres { server, url }, content: test_world() }
    }

    /// Every item, by rising id.
    pub fn items(&self) -> Vec<ItemRow> {
        self.rows("ORDER BY id")
    }

    /// The whole ledger.
    pub fn ledger(&self) -> Vec<LedgerRow> {
        self.rows("ORDER BY source, seq, idx")
    }

    /// Every row of a table that holds integers only.
    fn rows<R: Record>(&self, order: &str) -> Vec<R> {
        let columns: Vec<&str> = R::TABLE.columns.iter().map(|column| column.name).collect();
        let sql = format!("SELECT {} FROM {} {order}", columns.join(", "), R::TABLE.name);
        let row = |fields: Vec<String>| {
            let values = fields.iter().map(|field| Value::Int(field.parse().expect("it is a number")));
            R::from_values(&values.collect::<Vec<_>>()).expect("it is a row of its table")
        };
        self.query(&sql).into_iter().map(row).collect()
    }

    /// What a query finds, as text.
    fn query(&self, sql: &str) -> Vec<Vec<String>> {
        match &self.source {
            Source::Sqlite { connection, .. } => {
                let mut statement = connection.prepare(sql).expect("there is such a table");
                let columns = statement.column_count();
                let text = |value: ValueRef<'_>| match value {
                    ValueRef::Integer(int) => int.to_string(),
                    ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    value => panic!("{sql}: {value:?}"),
                };
                let rows = statement.query_map((), |row| {
                    (0..columns).map(|column| row.get_ref(column).map(text)).collect::<rusqlite::Result<_>>()
                });
                rows.and_then(Iterator::collect).expect("it can be read")
            }
            Source::Postgres { server, url } => {
                let lines = server.psql(url, sql);
                lines.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
            }
        }
    }

    /// The id of each character, by name.
    pub fn characters(&self) -> BTreeMap<String, CharacterId> {
        let id = |text: &str| CharacterId(text.parse().expect("it is a number"));
        let rows = self.query("SELECT name, id FROM character").into_iter();
        rows.map(|row| (row[0].clone(), id(&row[1]))).collect()
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
        let characters: BTreeSet<i64> = self.characters().into_values().map(|id| id.0).collect();
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
