//! Runs recordings again without sockets, a thread a shard, as fast as they can, and compares every tick's state with the
//! recorded hashes.
//!
//! A recording that was torn at its end, as by a kill, is run to its last whole tick; one that was changed is run to the
//! change and is a failure. Never writes a file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use vyuha_core::SimdLevel;
use vyuha_game::shard::Part;
use vyuha_game::shard::log::{Difference, Head, Replay};
use vyuha_game::{Content, StateHash};
use vyuha_protocol::ZoneId;

use crate::config::Config;
use crate::node::load_content;
use crate::record;

mod file;
mod report;

use file::{End, LogFile};

/// Time between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
/// How often the main thread looks whether all are done.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// What `vyuha replay` was asked for beside the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayOptions {
    /// The folder that was recorded to.
    pub recording: PathBuf,
    /// The last tick to run; without it all are.
    pub until_tick: Option<u64>,
    /// Print the last state's hashes by zone and column.
    pub hash: bool,
    /// Print the result as one JSON object on the last line of stdout.
    pub json: bool,
}

/// What became of one shard's recording.
struct Outcome {
    head: Head,
    /// The last tick that was run.
    tick: u64,
    took: Duration,
    state_hash: u64,
    hashes: Vec<(Part, u64)>,
    difference: Option<Difference>,
    end: End,
}

/// The hashes of a zone: over all columns, and of each.
struct ZoneHashes {
    id: ZoneId,
    whole: u64,
    columns: Vec<(&'static str, u64)>,
}

/// Bytes and ticks that all threads have done so far.
#[derive(Default)]
struct Progress {
    bytes: AtomicU64,
    ticks: AtomicU64,
}

/// Replays every recording of a folder.
///
/// # Errors
/// If one cannot be replayed, was changed, or a state differs.
pub fn run(config: &Config, options: &ReplayOptions) -> anyhow::Result<()> {
    let dir = &options.recording;
    let files = record::files(dir).with_context(|| format!("{} cannot be read", dir.display()))?;
    if files.is_empty() {
        bail!("{} holds no recording: name the folder that `vyuha serve --record` wrote", dir.display());
    }
    let content = Arc::new(load_content(config)?);
    let simd = config.shard.simd.level();
    let logs = files.iter().map(|path| LogFile::open(path)).collect::<anyhow::Result<Vec<LogFile>>>()?;
    let bytes = logs.iter().map(LogFile::bytes).sum();
    let outcomes = replay_all(logs, bytes, &content, simd, options.until_tick)?;

    print!("{}", report::text(&outcomes, options.hash));
    if options.json {
        println!("{}", report::json(&outcomes, simd, options.hash));
    }
    if let Some(other) = outcomes.iter().find(|outcome| outcome.head.build != crate::VERSION) {
        eprintln!("note: it was recorded by {}, this is {}", other.head.build, crate::VERSION);
    }
    if outcomes.iter().any(|outcome| outcome.difference.is_some()) {
        bail!("the states are not as recorded");
    }
    if outcomes.iter().any(|outcome| matches!(outcome.end, End::Unreadable { .. })) {
        bail!("a recording cannot be read to its end");
    }
    Ok(())
}

fn replay_all(
    logs: Vec<LogFile>,
    bytes: u64,
    content: &Arc<Content>,
    simd: SimdLevel,
    until_tick: Option<u64>,
) -> anyhow::Result<Vec<Outcome>> {
    let progress = Progress::default();
    std::thread::scope(|scope| {
        let replay = |log: LogFile| {
            let progress = &progress;
            scope.spawn(move || {
                let path = log.path().display().to_string();
                replay_shard(log, content.clone(), simd, until_tick, progress).with_context(|| path)
            })
        };
        let threads: Vec<_> = logs.into_iter().map(replay).collect();
        let mut told = Instant::now();
        while !threads.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::sleep(POLL_INTERVAL);
            if told.elapsed() >= PROGRESS_INTERVAL {
                told = Instant::now();
                let (done, ticks) =
                    (progress.bytes.load(Ordering::Relaxed), progress.ticks.load(Ordering::Relaxed));
                eprintln!("{ticks} ticks, {}% of the recording", done * 100 / bytes.max(1));
            }
        }
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| bail!("a replayed shard panicked: see above")))
            .collect()
    })
}

fn replay_shard(
    mut log: LogFile,
    content: Arc<Content>,
    simd: SimdLevel,
    until_tick: Option<u64>,
    progress: &Progress,
) -> anyhow::Result<Outcome> {
    let head = Head::decode(log.head()?, simd)?;
    let mut replay = Replay::new(head.clone(), content)?;
    let begun = Instant::now();
    let (mut difference, mut tick) = (None, 0);
    let end = loop {
        if difference.is_some() || until_tick.is_some_and(|until| tick >= until) {
            break End::Stopped;
        }
        let before = log.consumed();
        let record = match log.next() {
            Ok(Some(record)) => record,
            Ok(None) => break log.end(),
            Err(error) => break End::Unreadable { at: before, error },
        };
        match replay.tick(record) {
            Ok(found) => difference = found,
            Err(error) => break End::Unreadable { at: before, error: error.into() },
        }
        tick = replay.shard().tick_number();
        progress.ticks.fetch_add(1, Ordering::Relaxed);
        progress.bytes.fetch_add(log.consumed() - before, Ordering::Relaxed);
    };
    let took = begun.elapsed();
    let shard = replay.shard();
    let mut hashes = Vec::new();
    shard.hash_parts(&mut hashes);
    let hashes = shard.parts().into_iter().zip(hashes).collect();
    Ok(Outcome { head, tick, took, state_hash: shard.state_hash(), hashes, difference, end })
}

impl Outcome {
    fn zones(&self) -> Vec<ZoneHashes> {
        let columns_of = |id: ZoneId| self.hashes.iter().filter(move |(part, _)| part.zone == Some(id));
        let zone = |&id: &ZoneId| {
            let mut whole = StateHash::default();
            columns_of(id).for_each(|(_, hash)| whole.write(*hash));
            let columns = columns_of(id).map(|(part, hash)| (part.column, *hash)).collect();
            ZoneHashes { id, whole: whole.finish(), columns }
        };
        self.head.config.zones.iter().map(zone).collect()
    }
}
