//! The SQL of a table, and how rows are handed to it: a column is one array, so that a statement takes any number of
//! rows.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::{
    Row,
    types::{IsNull, ToSql, Type, to_sql_checked},
};
use vyuha_record::{Column, ColumnType, RecordError, Table, Value};

use super::failed;
use crate::{Part, StoreError};

/// Milliseconds since 1970 by the database's clock: the one clock that all nodes share.
pub(super) const NOW_MS: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// One value of a row that was checked.
#[derive(Debug)]
pub(crate) struct Bound<'a>(pub &'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(int) => int.to_sql_checked(ty, out),
            Value::Text(text) => text.to_sql_checked(ty, out),
            Value::Blob(blob) => blob.to_sql_checked(ty, out),
        }
    }

    /// What is within decides.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// What a query found whose columns nothing declares.
pub(crate) fn read_row(row: &Row) -> Result<Vec<Value>, StoreError> {
    let value = |(index, column): (usize, &tokio_postgres::Column)| {
        let read = match *column.type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(index).map(Value::from),
            Type::TEXT => row.try_get::<_, Option<String>>(index).map(Value::from),
            Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(index).map(Value::from),
            _ => {
                let (column, expected) = ("of a query", ColumnType::Int);
                return Err(RecordError::WrongType { column, expected, found: None }.into());
            }
        };
        read.map_err(|error| failed("read a row", &error))
    };
    row.columns().iter().enumerate().map(value).collect()
}

/// One column of many rows.
#[derive(Debug)]
pub(super) enum Array<'a> {
    Int(Vec<Option<i64>>),
    Text(Vec<Option<&'a str>>),
    Blob(Vec<Option<&'a [u8]>>),
}

impl<'a> Array<'a> {
    pub fn param(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Int(ints) => ints,
            Self::Text(texts) => texts,
            Self::Blob(blobs) => blobs,
        }
    }

    /// The column at `index` of rows that were checked.
    fn of(column: &Column, index: usize, rows: &'a [Vec<Value>]) -> Self {
        let values = rows.iter().map(|row| &row[index]);
        match column.ty {
            ColumnType::Int => Self::Int(
                values.map(|value| if let Value::Int(int) = value { Some(*int) } else { None }).collect(),
            ),
            ColumnType::Text => Self::Text(
                values
                    .map(|value| if let Value::Text(text) = value { Some(text.as_str()) } else { None })
                    .collect(),
            ),
            ColumnType::Blob => Self::Blob(
                values
                    .map(|value| if let Value::Blob(blob) = value { Some(blob.as_slice()) } else { None })
                    .collect(),
            ),
        }
    }
}

/// The columns of `rows`, which hold a value for each of `columns` and were checked.
pub(super) fn arrays(columns: impl Iterator<Item = &'static Column>, rows: &[Vec<Value>]) -> Vec<Array<'_>> {
    columns.enumerate().map(|(index, column)| Array::of(column, index, rows)).collect()
}

pub(super) fn insert(table: &Table) -> String {
    let marks: Vec<_> = (1..=table.columns.len()).map(|n| format!("${n}")).collect();
    format!("INSERT INTO \"{}\" ({}) VALUES ({})", table.name, names(table.columns.iter()), marks.join(", "))
}

/// For rows that are new.
pub(super) fn append(table: &Table) -> String {
    format!(
        "INSERT INTO \"{}\" ({}) SELECT * FROM {}",
        table.name,
        names(table.columns.iter()),
        unnest(table.columns.iter())
    )
}

/// `key` is the key that the database has: that of a partitioned table holds what it is partitioned by as well.
pub(super) fn upsert(table: &Table, key: &[String]) -> String {
    let others = table.columns.iter().filter(|column| !key.iter().any(|name| name == column.name));
    let sets: Vec<_> = others.map(|column| format!("\"{0}\" = excluded.\"{0}\"", column.name)).collect();
    let action = if sets.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", sets.join(", ")) };
    let key: Vec<_> = key.iter().map(|name| format!("\"{name}\"")).collect();
    format!("{} ON CONFLICT ({}) DO {action}", append(table), key.join(", "))
}

pub(super) fn delete(table: &Table) -> String {
    let same: Vec<_> =
        table.key_columns().map(|column| format!("t.\"{0}\" = k.\"{0}\"", column.name)).collect();
    format!(
        "DELETE FROM \"{}\" t USING {} AS k ({}) WHERE {}",
        table.name,
        unnest(table.key_columns()),
        names(table.key_columns()),
        same.join(" AND ")
    )
}

/// The rows in which each named column has its value, null as well, by key.
pub(super) fn select(table: &Table, filter: &[(&str, Value)]) -> String {
    let mut marks = 0;
    let conditions = filter.iter().map(|(name, value)| {
        // `IS NOT DISTINCT FROM` would say both, and use no index.
        if *value == Value::Null {
            return format!("\"{name}\" IS NULL");
        }
        marks += 1;
        format!("\"{name}\" = ${marks}")
    });
    let conditions: Vec<_> = conditions.collect();
    let filtered = if conditions.is_empty() { "" } else { " WHERE " };
    format!(
        "SELECT {} FROM \"{}\"{filtered}{} ORDER BY {}",
        names(table.columns.iter()),
        table.name,
        conditions.join(" AND "),
        ordered_key(table).join(", ")
    )
}

/// As [`crate::Store::select_part`], of `$1` and the other columns of the key.
pub(super) fn select_part(table: &Table, part: Part<'_>, rows_max: usize) -> String {
    let key = ordered_key(table);
    let (order, after) = match part {
        Part::After(rest) => {
            let marks: Vec<_> = (2..2 + rest.len()).map(|n| format!("${n}")).collect();
            ("", format!(" AND ({}) > ({})", key[1..].join(", "), marks.join(", ")))
        }
        Part::Last => (" DESC", String::new()),
    };
    let by: Vec<_> = key.iter().map(|column| format!("{column}{order}")).collect();
    let first = table.key_columns().next().expect("a table has a key").name;
    format!(
        "SELECT {} FROM \"{}\" WHERE \"{first}\" = $1{after} ORDER BY {} LIMIT {rows_max}",
        names(table.columns.iter()),
        table.name,
        by.join(", ")
    )
}

/// The columns of the key as rows are ordered by them: text by its bytes, as every other store orders it, whatever the
/// database's language.
fn ordered_key(table: &Table) -> Vec<String> {
    let column = |column: &Column| match column.ty {
        ColumnType::Text => format!("\"{}\" COLLATE \"C\"", column.name),
        ColumnType::Int | ColumnType::Blob => format!("\"{}\"", column.name),
    };
    table.key_columns().map(column).collect()
}

/// As PostgreSQL names the type, in capitals.
pub(super) fn type_name(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Int => "BIGINT",
        ColumnType::Text => "TEXT",
        ColumnType::Blob => "BYTEA",
    }
}

fn names(columns: impl Iterator<Item = &'static Column>) -> String {
    columns.map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ")
}

fn unnest(columns: impl Iterator<Item = &'static Column>) -> String {
    let arrays = columns.zip(1..).map(|(column, n)| format!("${n}::{}[]", type_name(column.ty)));
    format!("unnest({})", arrays.collect::<Vec<_>>().join(", "))
}
