//! What must be so: every frame that the journal said was durable, the rows that they come to, and what every transaction
//! must keep. Folds frames by itself, without the code that it judges.

use std::collections::{BTreeMap, BTreeSet};

use vyuha_game::inventory::PLACE_GROUND;
use vyuha_game::ledger::{LedgerRow, PLACE_NOWHERE};
use vyuha_game::{CharacterRow, Content, ItemRow};
use vyuha_record::{Op, Record, Table, Value, transactions};
use vyuha_store::{MemoryDatabase, MemoryStore, Store as _};

use crate::Violation;
use crate::world;

/// The rows of all tables, by table and key.
pub type Rows = BTreeMap<(u16, Vec<Value>), Vec<Value>>;
/// What a character carries, wears and has in its bank: by place and slot, the kind and how many.
pub type Slots = BTreeMap<(i64, i64), (u16, u32)>;

/// The journal as it must be.
pub struct Truth {
    tables: BTreeMap<u16, Table>,
    /// What services put into the database before time began.
    inserted: Rows,
    /// The frames from 1 on.
    frames: Vec<Vec<u8>>,
    /// What all of them come to.
    rows: Rows,
    /// What those up to `applied_seq` come to.
    applied: Rows,
    applied_seq: u64,
    /// Every item id that there ever was.
    item_ids: BTreeSet<i64>,
    /// The zones that each character was in, in order.
    zones: BTreeMap<i64, Vec<i64>>,
    /// How many of each kind there must be.
    sums: BTreeMap<i64, i64>,
}

impl Truth {
    /// A world in which nothing has happened.
    pub fn new(inserted: Rows) -> Truth {
        Truth {
            tables: world::tables().into_iter().map(|table| (table.id, table)).collect(),
            rows: inserted.clone(),
            applied: inserted.clone(),
            inserted,
            frames: Vec::new(),
            applied_seq: 0,
            item_ids: BTreeSet::new(),
            zones: BTreeMap::new(),
            sums: BTreeMap::new(),
        }
    }

    /// The last durable frame.
    pub fn last_seq(&self) -> u64 {
        self.frames.len() as u64
    }

    /// Takes note of the next frame.
    pub fn add(&mut self, payload: &[u8], content: &Content) -> Result<(), Violation> {
        let seq = self.last_seq() + 1;
        for (index, ops) in transactions(payload).enumerate() {
            let broken = |what: &str| Violation::new(format!("transaction {index} of frame {seq}: {what}"));
            let mut changes = Vec::new();
            for op in ops.map_err(|error| broken(&error.to_string()))? {
                let op = op.map_err(|error| broken(&error.to_string()))?;
                changes.push(self.change(&op).map_err(|error| broken(&error))?);
            }
            self.judge(&changes, content).map_err(|what| broken(&what))?;
            self.follow(&changes);
            apply(&mut self.rows, changes);
        }
        self.frames.push(payload.to_vec());
        Ok(())
    }

    /// A frame that was read back from the disk.
    pub fn check_frame(&self, seq: u64, payload: &[u8]) -> Result<(), Violation> {
        let known = &self.frames[seq as usize - 1];
        Violation::unless(known == payload, || {
            format!("frame {seq} of the journal is another one than was durable")
        })
    }

    /// The rows of a database that was fed up to a frame.
    pub fn check_database(&mut self, database: &MemoryDatabase, seq: u64) -> Result<(), Violation> {
        Violation::unless(seq <= self.last_seq(), || {
            format!("the database was fed frame {seq}, but only {} are durable", self.last_seq())
        })?;
        if seq < self.applied_seq {
            (self.applied, self.applied_seq) = (self.inserted.clone(), 0);
        }
        for seq in self.applied_seq..seq {
            let payload = &self.frames[seq as usize];
            for ops in transactions(payload) {
                let ops = ops.expect("it was read before");
                let changes =
                    ops.map(|op| self.change(&op.expect("it was read before")).expect("as above")).collect();
                apply(&mut self.applied, changes);
            }
        }
        self.applied_seq = seq;
        let found = read(database);
        let mut differences =
            self.applied.iter().filter(|(key, row)| found.get(*key) != Some(*row)).map(|(key, _)| key);
        let missing = differences.next();
        let odd = missing.or_else(|| found.keys().find(|key| !self.applied.contains_key(*key)));
        match odd {
            None => Ok(()),
            Some(key) => Err(Violation::new(format!(
                "the database at frame {seq} is not what the journal's first {seq} frames come to: key {key:?} is {:?}, not {:?}",
                found.get(key),
                self.applied.get(key)
            ))),
        }
    }

    /// What a character has, by all that is durable.
    pub fn belongings(&self, character: i64) -> Slots {
        let items: Vec<ItemRow> = self.items().collect();
        belongings(character, &items)
    }

    /// A character's row, by all that is durable.
    pub fn character(&self, id: i64) -> CharacterRow {
        let row = self.rows.get(&(CharacterRow::TABLE.id, vec![Value::Int(id)]));
        CharacterRow::from_values(row.expect("characters are never deleted")).expect("it was read before")
    }

    /// The zones that a character was in since the world began, by all that is durable.
    pub fn zones_of(&self, character: i64) -> &[i64] {
        self.zones.get(&character).map_or(&[], |zones| zones)
    }

    /// Every item, by all that is durable.
    pub fn items(&self) -> impl Iterator<Item = ItemRow> {
        let of_items = self.rows.iter().filter(|((table, _), _)| *table == ItemRow::TABLE.id);
        of_items.map(|(_, row)| ItemRow::from_values(row).expect("it was judged before"))
    }

    fn change(&self, op: &Op<'_>) -> Result<Change, String> {
        let table = |id: u16| self.tables.get(&id).ok_or(format!("there is no table {id}"));
        Ok(match *op {
            Op::Put { table: id, row } => {
                let values = table(id)?.decode_values(row).map_err(|error| error.to_string())?;
                ((id, table(id)?.key_of(&values)), Some(values))
            }
            Op::Delete { table: id, key } => {
                ((id, table(id)?.decode_key(key).map_err(|error| error.to_string())?), None)
            }
        })
    }

    /// Takes note of who goes where.
    fn follow(&mut self, changes: &[Change]) {
        for ((table, _), row) in changes {
            let Some(row) = row.as_ref().filter(|_| *table == CharacterRow::TABLE.id) else { continue };
            let row = CharacterRow::from_values(row).expect("it was decoded as a row of its table");
            let zones = self.zones.entry(row.id).or_default();
            if zones.last() != Some(&row.zone) {
                zones.push(row.zone);
            }
        }
    }

    /// What a transaction must keep: the sum of each kind of item, unless it lays one new heap of litter; ids that are
    /// given once; a slot for each item; a row of the ledger for each movement.
    fn judge(&mut self, changes: &[Change], content: &Content) -> Result<(), String> {
        let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
        // By place, owner and kind: what the items say, less what the ledger does.
        let mut held: BTreeMap<(i64, i64, i64), i64> = BTreeMap::new();
        let mut fresh = Vec::new();
        let mut after = BTreeMap::new();
        for ((table, key), new) in changes {
            if let Some(row) = new.as_ref().filter(|_| *table == LedgerRow::TABLE.id) {
                let row = LedgerRow::from_values(row).map_err(|error| error.to_string())?;
                *held.entry((row.to_place, row.to_owner, row.kind)).or_default() -= row.count;
                if row.from_place != PLACE_NOWHERE {
                    *held.entry((row.from_place, row.from_owner, row.kind)).or_default() += row.count;
                }
            }
            if *table != ItemRow::TABLE.id {
                continue;
            }
            let id = (*table, key.clone());
            let old = after.get(&id).cloned().unwrap_or_else(|| self.rows.get(&id).cloned());
            for (row, sign) in [(&old, -1), (new, 1)] {
                let Some(row) = row else { continue };
                let row = ItemRow::from_values(row).map_err(|error| error.to_string())?;
                row.stack(content).map_err(|error| error.to_string())?;
                *sums.entry(row.kind).or_default() += sign * row.count;
                *held.entry((row.place, row.owner, row.kind)).or_default() += sign * row.count;
            }
            if let (None, Some(new)) = (&old, new) {
                let row = ItemRow::from_values(new).map_err(|error| error.to_string())?;
                if !self.item_ids.insert(row.id) {
                    return Err(format!("item id {} is given a second time", row.id));
                }
                fresh.push(row);
            }
            after.insert(id, new.clone());
        }
        held.retain(|_, sum| *sum != 0);
        if let Some(((place, owner, kind), sum)) = held.first_key_value() {
            return Err(format!(
                "owner {owner} has {sum} more of kind {kind} at place {place} than the ledger says"
            ));
        }
        sums.retain(|_, sum| *sum != 0);
        if let [only] = &fresh[..]
            && after.len() == 1
            && is_litter(only, content)
        {
            *self.sums.entry(only.kind).or_default() += only.count;
            sums.clear();
        }
        if let Some((kind, sum)) = sums.first_key_value() {
            return Err(format!("it changes how many items of kind {kind} there are by {sum}"));
        }
        let mut slots = BTreeSet::new();
        let untouched =
            self.rows.iter().filter(|(key, _)| key.0 == ItemRow::TABLE.id && !after.contains_key(*key));
        for row in untouched.map(|(_, row)| row).chain(after.values().flatten()) {
            let row = ItemRow::from_values(row).map_err(|error| error.to_string())?;
            if row.place != PLACE_GROUND && !slots.insert((row.place, row.owner, row.slot)) {
                return Err(format!(
                    "character {} has two items in slot {} of place {}",
                    row.owner, row.slot, row.place
                ));
            }
        }
        Ok(())
    }

    /// Whether there are as many items as were ever laid out.
    pub fn check_sums(&self) -> Result<(), Violation> {
        let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
        for row in self.items() {
            *sums.entry(row.kind).or_default() += row.count;
        }
        Violation::unless(sums == self.sums, || {
            format!("{sums:?} items by kind, {:?} were laid out", self.sums)
        })
    }
}

/// What a character has of these items. What keeps a slot in the bank is none.
pub fn belongings(character: i64, items: &[ItemRow]) -> Slots {
    let held =
        items.iter().filter(|row| row.place != PLACE_GROUND && row.owner == character && row.count > 0);
    held.map(|row| ((row.place, row.slot), (row.kind as u16, row.count as u32))).collect()
}

type Change = ((u16, Vec<Value>), Option<Vec<Value>>);

fn apply(rows: &mut Rows, changes: Vec<Change>) {
    for (key, row) in changes {
        match row {
            Some(row) => drop(rows.insert(key, row)),
            None => drop(rows.remove(&key)),
        }
    }
}

/// Whether an item is what a zone lays out by itself.
fn is_litter(row: &ItemRow, content: &Content) -> bool {
    let zone = content.zones.iter().find(|zone| i64::from(zone.id.0) == row.owner);
    let spawns = zone.map_or(&[][..], |zone| &zone.ground);
    row.place == PLACE_GROUND
        && spawns
            .iter()
            .any(|spawn| (i64::from(spawn.kind.0), i64::from(spawn.count)) == (row.kind, row.count))
}

/// All that a database holds.
pub fn read(database: &MemoryDatabase) -> Rows {
    let tables = world::tables();
    let mut store = MemoryStore::open(database, "", &tables);
    let mut rows = Rows::new();
    for table in &tables {
        let found = store.select(table, &[]).expect("the twin in memory answers");
        rows.extend(found.into_iter().map(|row| ((table.id, table.key_of(&row)), row)));
    }
    rows
}
