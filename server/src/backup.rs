//! `vyuha backup` and `vyuha restore`: what is asked and what is told; the work is `vyuha_store::backup`'s.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytesize::ByteSize;
use serde_json::json;
use vyuha_store::backup::{self, Restored};

use crate::config::Config;
use crate::node::tables;

/// What `vyuha backup` was asked for beside the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupOptions {
    /// The file to write.
    pub file: PathBuf,
    /// Print the result as one JSON object on the last line of stdout.
    pub json: bool,
}

/// What `vyuha restore` was asked for beside the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOptions {
    /// The file that `vyuha backup` wrote.
    pub file: PathBuf,
    /// Only see whether it can be restored.
    pub verify: bool,
    /// Print the result as one JSON object on the last line of stdout.
    pub json: bool,
}

/// Copies the data of a node to a file.
pub fn back_up(config: &Config, options: &BackupOptions) -> anyhow::Result<()> {
    let BackupOptions { file, json } = options;
    eprintln!("copying {} to {} ...", config.data.dir.display(), file.display());
    let made = backup::back_up(&config.data.dir, file)?;
    println!("{}, SHA-256 {}", ByteSize(made.bytes), made.sha256);
    if *json {
        println!("{}", json!({ "file": file, "bytes": made.bytes, "sha256": made.sha256 }));
    }
    Ok(())
}

/// Makes a folder of data of a copy.
pub fn restore(config: &Config, options: &RestoreOptions) -> anyhow::Result<()> {
    let RestoreOptions { file, verify, json } = options;
    let restored = if *verify {
        let beside = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = tempfile::Builder::new().prefix(".vyuha-verify-").tempdir_in(beside);
        let folder = folder.with_context(|| format!("no folder can be made in {}", beside.display()))?;
        eprintln!("restoring {} to a temporary folder ...", file.display());
        backup::restore(file, folder.path(), &tables())?
    } else {
        eprintln!("restoring {} to {} ...", file.display(), config.data.dir.display());
        backup::restore(file, &config.data.dir, &tables())?
    };
    println!("{}", in_words(&restored));
    if *json {
        println!("{}", in_json(file, *verify, &restored));
    }
    Ok(())
}

fn in_words(restored: &Restored) -> String {
    let rows = restored.rows.iter().map(|(table, rows)| format!("  {table:<12} {rows:>12} rows"));
    let positions = restored
        .positions
        .iter()
        .map(|(node, epoch, seq)| format!("  journal of node {node}: up to frame {seq} (epoch {epoch})"));
    let lines: Vec<String> = rows.chain(positions).collect();
    format!("{} whole and sound:\n{}", ByteSize(restored.backup.bytes), lines.join("\n"))
}

fn in_json(file: &Path, verify: bool, restored: &Restored) -> serde_json::Value {
    let positions = restored.positions.iter();
    json!({
        "file": file,
        "bytes": restored.backup.bytes,
        "sha256": restored.backup.sha256,
        "restored": !verify,
        "rows": restored.rows.iter().map(|&(table, rows)| (table.to_owned(), rows.into())).collect::<serde_json::Map<_, _>>(),
        "positions": positions.map(|(node, epoch, seq)| json!({ "node": node, "epoch": epoch, "seq": seq })).collect::<Vec<_>>(),
    })
}
