//! The store's twin in memory: the same answers, nothing on disk. For tests: unique columns are
//! checked by looking at every row.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use vyuha_record::{ColumnType, Table, Value};

use crate::{
    Changes, Part, Position, Store, StoreError,
    store::{check_part, filter_column, find_column},
};

/// What outlives a [`MemoryStore`], as a file outlives a connection. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryDatabase(Arc<Mutex<Contents>>);

impl MemoryDatabase {
    /// A database with the same contents and a life of its own.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.contents().clone())))
    }

    /// Takes over the contents of another, under everybody who is connected.
    pub fn restore(&self, other: &Self) {
        let contents = other.contents().clone();
        *self.contents() = contents;
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // Tables are replaced whole: what a panic interrupted was not begun.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Rows = BTreeMap<Vec<Value>, Vec<Value>>;

#[derive(Debug, Clone, Default)]
struct Contents {
    positions: BTreeMap<String, Position>,
    tables: BTreeMap<u16, Rows>,
}

/// A node's connection to a [`MemoryDatabase`].
#[derive(Debug)]
pub struct MemoryStore {
    database: MemoryDatabase,
    node: String,
    tables: Vec<Table>,
    epoch: u64,
}

impl MemoryStore {
    /// Connects `node`.
    pub fn open(database: &MemoryDatabase, node: &str, tables: &[Table]) -> Self {
        Self { database: database.clone(), node: node.into(), tables: tables.to_vec(), epoch: 0 }
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.database.contents()
    }

    fn known(&self, table: &Table) -> Result<(), StoreError> {
        let known = self.tables.contains(table);
        if known { Ok(()) } else { Err(StoreError::UnknownTable { id: table.id }) }
    }

    fn rows(&self, table: &Table) -> Result<Rows, StoreError> {
        self.known(table)?;
        Ok(self.contents().tables.get(&table.id).cloned().unwrap_or_default())
    }
}

impl Store for MemoryStore {
    fn position(&mut self) -> Result<Position, StoreError> {
        Ok(self.contents().positions.get(&self.node).copied().unwrap_or_default())
    }

    fn begin_epoch(&mut self) -> Result<Position, StoreError> {
        let position = {
            let mut contents = self.contents();
            let newest = contents.positions.values().map(|position| position.epoch).max().unwrap_or(0);
            let position = contents.positions.entry(self.node.clone()).or_default();
            position.epoch = newest + 1;
            *position
        };
        self.epoch = position.epoch;
        Ok(position)
    }

    fn apply(&mut self, changes: &Changes, from: u64, to: u64) -> Result<(), StoreError> {
        let expected = Position { epoch: self.epoch, seq: from };
        if self.epoch == 0 || self.position()? != expected {
            return Err(StoreError::Fenced { node: self.node.clone(), epoch: self.epoch, seq: from });
        }
        let mut changed = Vec::new();
        for changes in &changes.tables {
            let mut rows = self.rows(&changes.table)?;
            for key in &changes.deletes {
                rows.remove(key);
            }
            for row in &changes.upserts {
                changes.table.check(row)?;
                let key = changes.table.key_of(row);
                check_unique(&changes.table, &rows, &key, row)?;
                rows.insert(key, row.clone());
            }
            changed.push((changes.table.id, rows));
        }
        let mut contents = self.contents();
        contents.tables.extend(changed);
        contents.positions.insert(self.node.clone(), Position { epoch: self.epoch, seq: to });
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn insert(&mut self, table: &Table, row: &[Value]) -> Result<(), StoreError> {
        self.known(table)?;
        table.check(row)?;
        if self.epoch != 0 && self.position()?.epoch != self.epoch {
            return Err(StoreError::Fenced { node: self.node.clone(), epoch: self.epoch, seq: 0 });
        }
        let mut contents = self.contents();
        let rows = contents.tables.entry(table.id).or_default();
        let key = table.key_of(row);
        check_unique(table, rows, &key, row)?;
        match rows.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(row.to_vec());
                Ok(())
            }
            Entry::Occupied(_) => {
                let column = table.key_columns().next().expect("a table has a key").name;
                Err(StoreError::Conflict { table: table.name.into(), column: column.into() })
            }
        }
    }

    fn select(&mut self, table: &Table, filter: &[(&str, Value)]) -> Result<Vec<Vec<Value>>, StoreError> {
        let mut conditions = Vec::new();
        for (name, value) in filter {
            conditions.push((filter_column(table, name, value)?.0, value));
        }
        let rows = self.rows(table)?.into_values();
        Ok(rows.filter(|row| conditions.iter().all(|&(index, value)| row[index] == *value)).collect())
    }

    fn select_part(
        &mut self,
        table: &Table,
        first: &Value,
        part: Part<'_>,
        rows_max: usize,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        check_part(table, first, part)?;
        let rows = self.rows(table)?.into_iter().filter(|(key, _)| key[0] == *first);
        Ok(match part {
            Part::After(rest) => {
                rows.filter(|(key, _)| key[1..] > *rest).map(|(_, row)| row).take(rows_max).collect()
            }
            Part::Last => rows.rev().map(|(_, row)| row).take(rows_max).collect(),
        })
    }

    fn max_key(&mut self, table: &Table, column: &str) -> Result<Option<i64>, StoreError> {
        let (index, found) = find_column(table, column)?;
        if found.ty != ColumnType::Int {
            return Err(StoreError::UnknownColumn { table: table.name.into(), column: column.into() });
        }
        let ints = self.rows(table)?.into_values().filter_map(|row| match row[index] {
            Value::Int(int) => Some(int),
            _ => None,
        });
        Ok(ints.max())
    }
}

/// Null is never a duplicate, as in SQL.
fn check_unique(table: &Table, rows: &Rows, key: &[Value], row: &[Value]) -> Result<(), StoreError> {
    for (index, column) in table.columns.iter().enumerate().filter(|(_, column)| column.unique) {
        let taken = |(other, values): (&Vec<Value>, &Vec<Value>)| other != key && values[index] == row[index];
        if row[index] != Value::Null && rows.iter().any(taken) {
            return Err(StoreError::Conflict { table: table.name.into(), column: column.name.into() });
        }
    }
    Ok(())
}
