//! A node and bots that play on it, in one process.

use std::path::PathBuf;

use crate::config::Config;

/// What `vyuha demo` was asked for beside the node's own configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoOptions {
    /// Bots that play, each over a TCP connection of its own.
    pub clients: u32,
    /// How long they play; without it until Ctrl-C.
    pub seconds: Option<u64>,
    /// Print the summary as one JSON object on the last line of stdout.
    pub json: bool,
    /// Keep the data here; without it a temporary folder is used and removed.
    pub data: Option<PathBuf>,
}

/// Runs the demonstration to its end.
pub fn run(_config: Config, _options: &DemoOptions) -> anyhow::Result<()> {
    anyhow::bail!("not built yet")
}
