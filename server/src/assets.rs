//! Client assets: the port that serves them, and `vyuha assets`, which publishes them.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use vyuha_assets::{Store, Version, publish};

use crate::config::Config;
use crate::port::PortThread;

/// What `vyuha assets` was asked for.
pub enum AssetsCommand {
    /// A folder is to become a version.
    Publish {
        /// The folder.
        folder: PathBuf,
        /// The version's name.
        version: Version,
        /// Whether clients are to go on with the version they take now.
        keep_latest: bool,
    },
    /// Clients are to take this version.
    Latest(Version),
}

/// Serves the configured store of assets on `listener`.
pub fn serve(config: &Config, listener: TcpListener) -> anyhow::Result<PortThread> {
    let store = open(config)?;
    PortThread::start("vyuha-assets", "the assets' port", PortThread::runtime()?, |stopping| async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        vyuha_assets::serve(listener, store, stopping.stopped()).await.context("the assets' port failed")
    })
}

/// Runs `vyuha assets`.
pub fn run(config: &Config, command: AssetsCommand, json: bool) -> anyhow::Result<()> {
    let store = open(config)?;
    let runtime = PortThread::runtime()?;
    match command {
        AssetsCommand::Publish { folder, version, keep_latest } => {
            let mut tenth = 0;
            let progress = |done: usize, all: usize| {
                if done * 10 / all > tenth {
                    tenth = done * 10 / all;
                    eprintln!("{done} of {all} files");
                }
            };
            let published = runtime.block_on(publish(&store, &folder, version, !keep_latest, progress))?;
            let text = if json {
                serde_json::to_string(&published)?
            } else {
                format!(
                    "version {}: {} files, {} bytes; {} files, {} bytes were new",
                    published.version,
                    published.files,
                    published.bytes,
                    published.files_new,
                    published.bytes_new
                )
            };
            writeln!(std::io::stdout(), "{text}")?;
        }
        AssetsCommand::Latest(version) => {
            runtime.block_on(async {
                // Only what is there can be taken.
                store.manifest(&version).await?;
                store.set_latest(&version).await
            })?;
            writeln!(std::io::stdout(), "clients take version {version}")?;
        }
    }
    Ok(())
}

fn open(config: &Config) -> anyhow::Result<Store> {
    if config.assets.store.is_empty() {
        bail!("assets.store says nowhere: set it to a folder, or to s3://BUCKET/PREFIX");
    }
    Store::open(&config.assets.store).with_context(|| format!("assets.store = {}", config.assets.store))
}
