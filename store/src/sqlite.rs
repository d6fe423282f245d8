//! The embedded store: SQLite in WAL mode, one file that stock tools can look into.
//!
//! Applied frames are committed without a sync (`synchronous=NORMAL`): after a power loss the
//! database may stand a little back, at an earlier position, and the journal, which is cut only
//! after a checkpoint, brings it up again. What services insert is synced before they hear of it.

use std::{iter, path::Path, time::Duration};

use rusqlite::{
    Connection, ErrorCode, Row, ToSql, TransactionBehavior, ffi, params, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};
use vyuha_record::{Column, ColumnType, RecordError, Table, Value};

use crate::{
    Changes, Part, Position, Store, StoreError,
    migrate::{self, Engine, OlderSchema},
    schema::{self, LiveColumn},
    store::{check_part, filter_column, find_column},
};

/// Memory for pages of the database.
const CACHE_KIB: i64 = 64 << 10;
/// How long another process that looks into the file may hold the thread up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// More than the statements in use: a few for each table.
const STATEMENTS_MAX: usize = 256;

/// A node's connection to an SQLite file.
pub struct SqliteStore {
    connection: Connection,
    node: String,
    tables: Vec<Table>,
    epoch: u64,
}

impl SqliteStore {
    /// Opens or creates the file, and refuses it unless its schema is of this version, where wanted after migrating
    /// it, and every table in `tables` is there as declared.
    pub fn open(path: &Path, node: &str, tables: &[Table], older: OlderSchema) -> Result<Self, StoreError> {
        let mut connection = Connection::open(path).map_err(failed("open its file"))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed("set a timeout"))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        connection.pragma_update(None, "journal_mode", "wal").map_err(failed("use WAL mode"))?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(failed("set its cache"))?;
        let migrations = migrate::embedded(Engine::Sqlite)?;
        if older == OlderSchema::Migrate {
            migrate::sqlite::migrate(&mut connection, &migrations, migrate::newest(&migrations))?;
        } else {
            migrate::refuse_older(&migrate::sqlite::applied(&connection)?, &migrations)?;
        }
        let differences = schema::differences(tables, sql_type, |table| live_columns(&connection, table))
            .map_err(failed("show its schema"))?;
        if !differences.is_empty() {
            return Err(StoreError::Schema { differences });
        }
        Ok(Self { connection, node: node.into(), tables: tables.to_vec(), epoch: 0 })
    }

    /// What SQLite's own check finds first in a file, if anything.
    pub(crate) fn first_fault(path: &Path) -> Result<Option<String>, StoreError> {
        let connection = Connection::open(path).map_err(failed("open its file"))?;
        let mut check = connection.prepare("PRAGMA integrity_check(1)").map_err(failed("check its file"))?;
        let verdict: String = check.query_row((), |row| row.get(0)).map_err(failed("check its file"))?;
        Ok(Some(verdict).filter(|verdict| verdict != "ok"))
    }

    /// Reads every row of a table as its columns are declared. How many there are.
    pub(crate) fn check_rows(&self, table: &Table) -> Result<u64, StoreError> {
        let sql = format!("SELECT {} FROM \"{}\"", names(table.columns.iter()), table.name);
        let mut select = self.connection.prepare(&sql).map_err(failed("select"))?;
        let mut found = select.query(()).map_err(failed("select"))?;
        let mut rows = 0;
        while let Some(row) = found.next().map_err(failed("select"))? {
            values_of(table, row)?;
            rows += 1;
        }
        Ok(rows)
    }

    /// The position of every node, by name: its epoch and the last frame applied.
    pub(crate) fn positions(&self) -> Result<Vec<(String, u64, u64)>, StoreError> {
        let sql = "SELECT node, epoch, seq FROM position ORDER BY node";
        let mut select = self.connection.prepare(sql).map_err(failed("read the positions"))?;
        let positions = select
            .query_map((), |row| {
                Ok((row.get(0)?, row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64))
            })
            .and_then(Iterator::collect);
        positions.map_err(failed("read the positions"))
    }

    fn known(&self, table: &Table) -> Result<(), StoreError> {
        let known = self.tables.contains(table);
        if known { Ok(()) } else { Err(StoreError::UnknownTable { id: table.id }) }
    }

    /// The rows of a table that a query finds, which names every column.
    fn rows<'a>(
        &self,
        table: &Table,
        sql: &str,
        values: impl Iterator<Item = &'a Value>,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        let mut select = self.connection.prepare_cached(sql).map_err(failed("select"))?;
        let mut found = select.query(params_from_iter(values.map(Bound))).map_err(failed("select"))?;
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(failed("select"))? {
            rows.push(values_of(table, row)?);
        }
        Ok(rows)
    }

    /// Says how the transactions that follow are committed.
    fn synchronous(&self, level: &str) -> Result<(), StoreError> {
        self.connection.pragma_update(None, "synchronous", level).map_err(failed("set its durability"))
    }
}

impl Store for SqliteStore {
    fn position(&mut self) -> Result<Position, StoreError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT epoch, seq FROM position WHERE node = ?1")
            .map_err(failed("read the position"))?;
        match select.query_row(params![self.node], position_of) {
            Ok(position) => Ok(position),
            Err(rusqlite::Error::QueryReturnedNoRows) => Ok(Position::default()),
            Err(error) => Err(failed("read the position")(error)),
        }
    }

    fn begin_epoch(&mut self) -> Result<Position, StoreError> {
        self.synchronous("full")?;
        let sql = "INSERT INTO position (node, epoch, seq) \
                   SELECT ?1, COALESCE(MAX(epoch), 0) + 1, 0 FROM position WHERE true \
                   ON CONFLICT (node) DO UPDATE SET epoch = excluded.epoch RETURNING epoch, seq";
        let position = self
            .connection
            .query_row(sql, params![self.node], position_of)
            .map_err(failed("begin an epoch"))?;
        self.epoch = position.epoch;
        Ok(position)
    }

    fn apply(&mut self, changes: &Changes, from: u64, to: u64) -> Result<(), StoreError> {
        for changes in &changes.tables {
            self.known(&changes.table)?;
            changes.upserts.iter().try_for_each(|row| changes.table.check(row))?;
        }
        self.synchronous("normal")?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed("begin a transaction"))?;
        let moved = transaction
            .prepare_cached("UPDATE position SET seq = ?1 WHERE node = ?2 AND epoch = ?3 AND seq = ?4")
            .and_then(|mut update| {
                update.execute(params![to as i64, self.node, self.epoch as i64, from as i64])
            })
            .map_err(failed("move the position"))?;
        if moved != 1 {
            return Err(StoreError::Fenced { node: self.node.clone(), epoch: self.epoch, seq: from });
        }
        for changes in &changes.tables {
            execute_each(&transaction, &delete_sql(&changes.table), &changes.deletes)?;
            execute_each(&transaction, &upsert_sql(&changes.table), &changes.upserts)?;
        }
        transaction.commit().map_err(failed("commit"))
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        let busy: i64 = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))
            .map_err(failed("checkpoint"))?;
        if busy == 0 { Ok(()) } else { Err(StoreError::CheckpointBlocked) }
    }

    fn insert(&mut self, table: &Table, row: &[Value]) -> Result<(), StoreError> {
        self.known(table)?;
        table.check(row)?;
        self.synchronous("full")?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed("begin a transaction"))?;
        let held = transaction
            .prepare_cached("SELECT 1 FROM position WHERE node = ?1 AND epoch = ?2")
            .and_then(|mut select| select.exists(params![self.node, self.epoch as i64]))
            .map_err(failed("read the position"))?;
        if self.epoch != 0 && !held {
            return Err(StoreError::Fenced { node: self.node.clone(), epoch: self.epoch, seq: 0 });
        }
        execute_each(&transaction, &insert_sql(table), &[row])?;
        transaction.commit().map_err(failed("commit"))
    }

    fn select(&mut self, table: &Table, filter: &[(&str, Value)]) -> Result<Vec<Vec<Value>>, StoreError> {
        self.known(table)?;
        let mut conditions = Vec::new();
        for (name, value) in filter {
            conditions.push(format!("\"{}\" IS ?", filter_column(table, name, value)?.1.name));
        }
        let filtered = if conditions.is_empty() { "" } else { " WHERE " };
        let sql = format!(
            "SELECT {} FROM \"{}\"{filtered}{} ORDER BY {}",
            names(table.columns.iter()),
            table.name,
            conditions.join(" AND "),
            names(table.key_columns())
        );
        self.rows(table, &sql, filter.iter().map(|(_, value)| value))
    }

    fn select_part(
        &mut self,
        table: &Table,
        first: &Value,
        part: Part<'_>,
        rows_max: usize,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        self.known(table)?;
        check_part(table, first, part)?;
        let key: Vec<_> = table.key_columns().map(|column| format!("\"{}\"", column.name)).collect();
        let (rest, order, after): (&[Value], _, _) = match part {
            Part::After(rest) => {
                let marks = vec!["?"; rest.len()].join(", ");
                (rest, "", format!(" AND ({}) > ({marks})", key[1..].join(", ")))
            }
            Part::Last => (&[], " DESC", String::new()),
        };
        let by: Vec<_> = key.iter().map(|column| format!("{column}{order}")).collect();
        let sql = format!(
            "SELECT {} FROM \"{}\" WHERE {} = ?{after} ORDER BY {} LIMIT {rows_max}",
            names(table.columns.iter()),
            table.name,
            key[0],
            by.join(", ")
        );
        self.rows(table, &sql, iter::once(first).chain(rest))
    }

    fn max_key(&mut self, table: &Table, column: &str) -> Result<Option<i64>, StoreError> {
        self.known(table)?;
        let (_, found) = find_column(table, column)?;
        if found.ty != ColumnType::Int {
            return Err(StoreError::UnknownColumn { table: table.name.into(), column: column.into() });
        }
        let sql = format!("SELECT MAX(\"{}\") FROM \"{}\"", found.name, table.name);
        self.connection.query_row(&sql, (), |row| row.get(0)).map_err(failed("find the greatest key"))
    }
}

pub(crate) struct Bound<'a>(pub(crate) &'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Int(int) => ValueRef::Integer(*int),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(blob) => ValueRef::Blob(blob),
        }))
    }
}

pub(crate) fn failed(action: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| StoreError::Sqlite { action, source }
}

/// Runs one statement with each list of values.
fn execute_each(connection: &Connection, sql: &str, rows: &[impl AsRef<[Value]>]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(sql).map_err(failed("prepare a statement"))?;
    for row in rows {
        statement
            .execute(params_from_iter(row.as_ref().iter().map(Bound)))
            .map_err(|error| conflict(&error).unwrap_or_else(|| failed("write a row")(error)))?;
    }
    Ok(())
}

/// Reads "UNIQUE constraint failed: account.name" (the columns of a key are separated by ", ").
pub(crate) fn conflict(error: &rusqlite::Error) -> Option<StoreError> {
    let rusqlite::Error::SqliteFailure(code, Some(text)) = error else { return None };
    let unique = [ffi::SQLITE_CONSTRAINT_UNIQUE, ffi::SQLITE_CONSTRAINT_PRIMARYKEY];
    if code.code != ErrorCode::ConstraintViolation || !unique.contains(&code.extended_code) {
        return None;
    }
    let (table, column) = text.rsplit_once(": ")?.1.split(", ").next()?.split_once('.')?;
    Some(StoreError::Conflict { table: table.into(), column: column.into() })
}

fn position_of(row: &Row<'_>) -> rusqlite::Result<Position> {
    Ok(Position { epoch: row.get::<_, i64>(0)? as u64, seq: row.get::<_, i64>(1)? as u64 })
}

fn values_of(table: &Table, row: &Row<'_>) -> Result<Vec<Value>, StoreError> {
    let mut values = Vec::with_capacity(table.columns.len());
    for (index, column) in table.columns.iter().enumerate() {
        let value = match row.get_ref(index).map_err(failed("read a row"))? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(int) => Value::Int(int),
            ValueRef::Text(text) => {
                Value::Text(str::from_utf8(text).map_err(|_| RecordError::NotUtf8)?.to_owned())
            }
            ValueRef::Blob(blob) => Value::Blob(blob.to_vec()),
            // Only stock tools can put one here, into a BIGINT or BLOB column: refused as text is.
            ValueRef::Real(real) => Value::Text(real.to_string()),
        };
        column.check(&value)?;
        values.push(value);
    }
    Ok(values)
}

fn names(columns: impl Iterator<Item = &'static Column>) -> String {
    columns.map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ")
}

fn insert_sql(table: &Table) -> String {
    let marks = vec!["?"; table.columns.len()].join(", ");
    format!("INSERT INTO \"{}\" ({}) VALUES ({marks})", table.name, names(table.columns.iter()))
}

fn upsert_sql(table: &Table) -> String {
    let others = table.columns.iter().filter(|column| !column.key);
    let sets: Vec<_> = others.map(|column| format!("\"{0}\" = excluded.\"{0}\"", column.name)).collect();
    let action = if sets.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", sets.join(", ")) };
    format!("{} ON CONFLICT ({}) DO {action}", insert_sql(table), names(table.key_columns()))
}

fn delete_sql(table: &Table) -> String {
    let keys: Vec<_> = table.key_columns().map(|column| format!("\"{}\" = ?", column.name)).collect();
    format!("DELETE FROM \"{}\" WHERE {}", table.name, keys.join(" AND "))
}

fn live_columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<LiveColumn>> {
    // A unique index over one column, other than that of the key ('pk').
    let sql = "SELECT c.name, c.type, c.pk > 0, c.\"notnull\" = 0, EXISTS (
                   SELECT 1 FROM pragma_index_list(?1) i
                   WHERE i.\"unique\" = 1 AND i.partial = 0 AND i.origin <> 'pk'
                     AND (SELECT group_concat(x.name) FROM pragma_index_info(i.name) x) = c.name
               )
               FROM pragma_table_info(?1) c";
    let mut select = connection.prepare(sql)?;
    let columns = select.query_map(params![table], |row| {
        Ok(LiveColumn {
            name: row.get(0)?,
            ty: row.get(1)?,
            key: row.get(2)?,
            nullable: row.get(3)?,
            unique: row.get(4)?,
            partitions: false,
        })
    })?;
    columns.collect()
}

fn sql_type(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Int => "BIGINT",
        ColumnType::Text => "TEXT",
        ColumnType::Blob => "BLOB",
    }
}
