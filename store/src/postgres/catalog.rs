//! What the database says of its own tables.

use std::collections::HashMap;

use tokio_postgres::{Client, Error};

use crate::schema::LiveColumn;

/// The columns of a table; none where there is no such table.
pub(super) async fn columns(client: &Client, table: &str) -> Result<Vec<LiveColumn>, Error> {
    let sql = "SELECT a.attname::text, upper(format_type(a.atttypid, a.atttypmod)), NOT a.attnotnull,
            EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary
                    AND a.attnum = ANY (i.indkey)),
            EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique AND NOT i.indisprimary
                    AND i.indisvalid AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum),
            EXISTS (SELECT FROM pg_partitioned_table p WHERE p.partrelid = a.attrelid
                    AND a.attnum = ANY (p.partattrs))
        FROM pg_attribute a
        WHERE a.attrelid = to_regclass(quote_ident($1)) AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum";
    let rows = client.query(sql, &[&table]).await?;
    rows.iter()
        .map(|row| {
            Ok(LiveColumn {
                name: row.try_get(0)?,
                ty: row.try_get(1)?,
                nullable: row.try_get(2)?,
                key: row.try_get(3)?,
                unique: row.try_get(4)?,
                partitions: row.try_get(5)?,
            })
        })
        .collect()
}

/// What each unique index of the game's tables keeps apart: its name, then the table and its first column. An index of a partition
/// is one of the table that it is a part of.
pub(super) async fn unique_columns(client: &Client) -> Result<HashMap<String, (String, String)>, Error> {
    let sql = "SELECT n.relname::text, t.relname::text, a.attname::text
        FROM pg_index i
        JOIN pg_class n ON n.oid = i.indexrelid
        JOIN pg_class t ON t.oid = COALESCE(pg_partition_root(i.indrelid), i.indrelid)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indisunique AND t.relnamespace = to_regnamespace(current_schema())";
    let rows = client.query(sql, &[]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?)))).collect()
}
