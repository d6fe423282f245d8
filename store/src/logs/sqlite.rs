//! Log tables in an SQLite file: rows past their time are deleted, a little at a time.

use std::{path::Path, thread, time::Duration};

use rusqlite::{Connection, Transaction, TransactionBehavior, params, types::ValueRef};
use vyuha_record::Value;

use super::{LogError, LogTable, Stopped, archive::Archive, period::Span};

/// Rows of one transaction, so that the persistence thread waits for milliseconds at most.
const ROWS_PER_DELETE: usize = 500;
/// Left to the persistence thread between two of them.
const PAUSE: Duration = Duration::from_millis(5);
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Archives and deletes what is past its time; says how many rows went.
pub(super) fn keep(
    path: &Path,
    tables: &[LogTable],
    archive_dir: &Path,
    now_ms: i64,
    stopped: &Stopped,
) -> Result<u64, LogError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let mut retired = 0;
    for table in tables {
        // Rows without a time are not of any period, and stay.
        let oldest_sql = format!("SELECT min({1}) FROM {0} WHERE {1} > 0", table.name, table.time_column);
        loop {
            let oldest: Option<i64> = connection.query_row(&oldest_sql, (), |row| row.get(0))?;
            let Some(span) = oldest.map(|at_ms| table.period.span_of(at_ms)) else { break };
            if span.end_ms > table.cutoff_ms(now_ms) {
                break;
            }
            let archived = archive(&connection, table, span, archive_dir, stopped)?;
            retired += delete(&connection, table, span, stopped)?;
            tracing::info!(table = table.name, file = %archived.display(), "rows past their time were archived");
        }
    }
    Ok(retired)
}

fn archive(
    connection: &Connection,
    table: &LogTable,
    span: Span,
    dir: &Path,
    stopped: &Stopped,
) -> Result<std::path::PathBuf, LogError> {
    let mut archive = Archive::create(dir, format!("{}_{}", table.name, span.label()))?;
    let sql =
        format!("SELECT * FROM {0} WHERE {1} >= ?1 AND {1} < ?2 ORDER BY {1}", table.name, table.time_column);
    let mut select = connection.prepare(&sql)?;
    let names: Vec<_> = select.column_names().map(str::to_owned).collect();
    archive.write(format!("{}\n", names.join(",")).as_bytes())?;
    let columns = select.column_count();
    let mut rows = select.query(params![span.start_ms.max(1), span.end_ms])?;
    while let Some(row) = rows.next()? {
        stopped.check()?;
        let values = (0..columns).map(|index| {
            Ok(match row.get_ref(index)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(int) => Value::Int(int),
                ValueRef::Real(real) => Value::Text(real.to_string()),
                ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Blob(blob) => Value::Blob(blob.to_vec()),
            })
        });
        archive.write_row(&values.collect::<rusqlite::Result<Vec<_>>>()?)?;
    }
    Ok(archive.sync()?.publish()?)
}

/// Some of a span's rows, the same ones until they are deleted. By time they come out of the time's index: in any other order
/// each step would sort all that is left.
fn some_of(table: &LogTable, span: Span) -> String {
    let LogTable { name, time_column: time, .. } = table;
    let (start_ms, end_ms) = (span.start_ms.max(1), span.end_ms);
    format!(
        "rowid IN (SELECT rowid FROM {name} WHERE {time} >= {start_ms} AND {time} < {end_ms} \
         ORDER BY {time}, rowid LIMIT {ROWS_PER_DELETE})"
    )
}

fn delete(connection: &Connection, table: &LogTable, span: Span, stopped: &Stopped) -> Result<u64, LogError> {
    let some = some_of(table, span);
    let delete = format!("DELETE FROM {} WHERE {some}", table.name);
    let rows = format!("(SELECT * FROM {} WHERE {some}) AS gone", table.name);
    let carry = table.carry.as_ref().map(|carry| carry.replace("{rows}", &rows));
    let mut deleted = 0;
    loop {
        stopped.check()?;
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        if let Some(carry) = &carry {
            transaction.execute_batch(carry)?;
        }
        let rows = transaction.execute(&delete, ())?;
        transaction.commit()?;
        if rows == 0 {
            return Ok(deleted);
        }
        deleted += rows as u64;
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        logs::Period,
        migrate::{Target, up},
    };

    #[test]
    fn a_step_looks_at_no_more_rows_than_it_deletes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sqlite");
        up(Target::Sqlite(&path), None).unwrap();
        let connection = Connection::open(&path).unwrap();
        let table = LogTable {
            name: "ledger",
            time_column: "at_ms",
            period: Period::Month,
            is_partitioned: true,
            retention: Duration::ZERO,
            carry: None,
        };
        let sql = format!(
            "EXPLAIN QUERY PLAN DELETE FROM ledger WHERE {}",
            some_of(&table, table.period.span_of(1))
        );
        let mut explain = connection.prepare(&sql).unwrap();
        let plan: Vec<String> =
            explain.query_map((), |row| row.get("detail")).unwrap().collect::<Result<_, _>>().unwrap();
        assert!(plan.iter().any(|step| step.contains("ledger_at")), "{plan:?}");
        assert!(
            !plan.iter().any(|step| step.contains("TEMP B-TREE") || step.starts_with("SCAN")),
            "{plan:?}"
        );
    }
}
