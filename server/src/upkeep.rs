//! What an operator does to a node's data beside running the node: `vyuha migrate` and `vyuha journal`.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde_json::json;
use vyuha_store::journal::{Inspection, OsDisk, inspect};
use vyuha_store::migrate::{self, OlderSchema, Status, Target};
use vyuha_store::{DataDir, LeaseTerms, Position, PostgresStore, SqliteStore, Store, StoreConfig};

use crate::config::Config;
use crate::node;

/// What `vyuha migrate` is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migration {
    /// Up to a version; without one to the newest.
    Up(Option<u32>),
    /// Down to a version.
    Down {
        /// The version.
        to: u32,
        /// Whether rows may be lost by it.
        lose_data: bool,
    },
    /// Nothing: only say where it stands.
    Status,
}

/// Migrates the configured database, and prints where its schema stands.
pub fn migrate(config: &Config, migration: Migration, json: bool) -> anyhow::Result<()> {
    let store = node::store_config(config)?;
    // A node that uses the file has the directory.
    let lock = || DataDir::lock(&config.data.dir);
    let (_lock, path) = match (&store, migration) {
        (StoreConfig::Postgres { .. }, _) => (None, None),
        (StoreConfig::Sqlite, Migration::Status) => (None, Some(DataDir::database_in(&config.data.dir))),
        (StoreConfig::Sqlite, _) => (Some(lock()?), Some(DataDir::database_in(&config.data.dir))),
    };
    let target = match (&store, &path) {
        (StoreConfig::Postgres { settings, .. }, _) => Target::Postgres(settings),
        (StoreConfig::Sqlite, path) => Target::Sqlite(path.as_deref().expect("it was set above")),
    };
    let status = match migration {
        Migration::Up(to) => migrate::up(target, to)?,
        Migration::Down { to, lose_data } => migrate::down(target, to, lose_data)?,
        Migration::Status => migrate::status(target)?,
    };
    if json {
        println!("{}", status_json(&status));
    } else {
        print!("{}", status_text(&status));
    }
    status.fault.map_or(Ok(()), |fault| Err(anyhow::anyhow!(fault)))
}

fn status_json(status: &Status) -> serde_json::Value {
    let applied = status.applied.iter().map(
        |applied| json!({ "version": applied.version, "name": applied.name, "sha256": applied.checksum }),
    );
    let pending = status.pending.iter().map(|(version, name)| json!({ "version": version, "name": name }));
    json!({
        "version": status.version(),
        "applied": applied.collect::<Vec<_>>(),
        "pending": pending.collect::<Vec<_>>(),
        "fault": status.fault,
    })
}

fn status_text(status: &Status) -> String {
    let mut out = format!("schema version {}\n", status.version());
    for applied in &status.applied {
        let short = applied.checksum.get(..12).unwrap_or(&applied.checksum);
        let _ = writeln!(out, "  applied  {:04} {}  {short}", applied.version, applied.name);
    }
    for (version, name) in &status.pending {
        let _ = writeln!(out, "  pending  {version:04} {name}");
    }
    out
}

/// Prints what the journal holds and how far the database was fed from it.
///
/// # Errors
/// Where `verify` and the journal is damaged or does not fit the database.
pub fn journal(config: &Config, verify: bool, json: bool) -> anyhow::Result<()> {
    let dir = DataDir::journal_in(&config.data.dir);
    let mut inspection =
        inspect(&OsDisk, &dir).with_context(|| format!("no journal in {}", dir.display()))?;
    let position = position(config);
    if let (Ok(position), Some((first, last))) = (&position, inspection.frames()) {
        if last < position.seq {
            inspection.faults.push(format!(
                "the journal ends at frame {last}, but the database was fed up to frame {}",
                position.seq
            ));
        } else if first > position.seq + 1 {
            inspection.faults.push(format!(
                "the journal starts at frame {first}, but the database was fed only up to frame {}",
                position.seq
            ));
        }
    }
    if json {
        println!("{}", journal_json(&inspection, &position));
    } else {
        print!("{}", journal_text(&inspection, &position));
    }
    let faults = inspection.faults.len();
    anyhow::ensure!(!verify || faults == 0, "the journal in {} has {faults} faults", dir.display());
    Ok(())
}

/// How far the database was fed; an error in words where it cannot be asked.
fn position(config: &Config) -> Result<Position, String> {
    let node = config.node.name.as_str();
    let ask = || -> anyhow::Result<Position> {
        let mut store: Box<dyn Store> = match node::store_config(config)? {
            StoreConfig::Sqlite => {
                let path = DataDir::database_in(&config.data.dir);
                anyhow::ensure!(path.exists(), "there is no {}", path.display());
                Box::new(SqliteStore::open(&path, node, &[], OlderSchema::Refuse)?)
            }
            StoreConfig::Postgres { settings, lease_ttl } => {
                // Nothing is begun under it.
                let lease = LeaseTerms {
                    holder: String::new(),
                    home: String::new(),
                    ttl: lease_ttl,
                    journal_exists: true,
                };
                Box::new(PostgresStore::open(&settings, node, &[], lease, OlderSchema::Refuse)?)
            }
        };
        Ok(store.position()?)
    };
    ask().map_err(|error| format!("{error:#}"))
}

/// The name of a table of this version.
fn table_name(id: u16) -> String {
    let tables = node::tables();
    let known = tables.iter().find(|table| table.id == id);
    known.map_or_else(|| format!("unknown table {id}"), |table| table.name.to_owned())
}

fn journal_json(inspection: &Inspection, position: &Result<Position, String>) -> serde_json::Value {
    let segments = inspection.segments.iter().map(|segment| {
        json!({
            "number": segment.number,
            "bytes": segment.bytes,
            "used_bytes": segment.used_bytes,
            "schema": format!("{:016x}", segment.schema),
            "first_seq": segment.first_seq,
            "last_seq": segment.last_seq,
            "transactions": segment.transactions,
        })
    });
    let tables = inspection.tables.iter().map(|(id, table)| {
        json!({
            "table": table_name(*id),
            "puts": table.puts,
            "deletes": table.deletes,
            "bytes": table.bytes,
        })
    });
    let position = match position {
        Ok(position) => json!({ "epoch": position.epoch, "seq": position.seq }),
        Err(reason) => json!({ "unknown": reason }),
    };
    json!({
        "first_seq": inspection.frames().map(|frames| frames.0),
        "last_seq": inspection.frames().map(|frames| frames.1),
        "database": position,
        "torn_bytes": inspection.torn_bytes,
        "faults": inspection.faults,
        "segments": segments.collect::<Vec<_>>(),
        "tables": tables.collect::<Vec<_>>(),
    })
}

fn journal_text(inspection: &Inspection, position: &Result<Position, String>) -> String {
    let mut out = match inspection.frames() {
        Some((first, last)) => format!("frames {first} to {last}\n"),
        None => "no frames\n".to_owned(),
    };
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing into text cannot fail.
        let _ = writeln!(out, "{text}");
    };
    match position {
        Ok(position) => {
            line(format_args!("database: fed up to frame {}, epoch {}", position.seq, position.epoch));
        }
        Err(reason) => line(format_args!("database: {reason}")),
    }
    for segment in &inspection.segments {
        line(format_args!(
            "segment {:>6}: frames {} to {}, {} transactions, {} of {} bytes, schema {:016x}",
            segment.number,
            segment.first_seq,
            segment.last_seq,
            segment.transactions,
            segment.used_bytes,
            segment.bytes,
            segment.schema
        ));
    }
    for (id, table) in &inspection.tables {
        line(format_args!(
            "{}: {} rows written, {} deleted, {} bytes",
            table_name(*id),
            table.puts,
            table.deletes,
            table.bytes
        ));
    }
    if inspection.torn_bytes > 0 {
        line(format_args!("torn tail: {} bytes of a write that was not finished", inspection.torn_bytes));
    }
    for fault in &inspection.faults {
        line(format_args!("FAULT: {fault}"));
    }
    out
}
