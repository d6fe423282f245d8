//! One node: its shards, its journal and its control plane.

use crate::config::Config;

/// Runs a node until it is told to stop.
pub fn serve(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("not built yet")
}
