//! Runs recordings again without sockets, a thread a shard, as fast as they can, and compares every tick's state with the
//! recorded hashes.
//!
//! A recording that was torn at its end, as by a kill, is run to its last whole tick; one that was changed is run to the
//! change and is a failure. Never writes a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use vyuha_core::SimdLevel;
use vyuha_game::shard::Part;
use vyuha_game::shard::log::{Difference, Head, LogError, Replay};
use vyuha_game::{Content, StateHash};
use vyuha_protocol::ZoneId;

use crate::config::Config;
use crate::node::load_content;
use crate::record;

mod exchange;
mod file;
mod report;

use exchange::{Exchange, Side};
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

/// One shard's recording before its first tick.
struct Run {
    build: String,
    shard: u16,
    replay: Replay,
    log: LogFile,
}

/// What became of one shard's recording.
struct Outcome {
    /// The build that recorded it.
    build: String,
    shard: u16,
    /// Those that are on it after the last tick.
    zones: Vec<ZoneId>,
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
    // All are looked at before any is run, so that what is refused is refused at once.
    let begin =
        |path: &PathBuf| Run::begin(path, content.clone(), simd).with_context(|| path.display().to_string());
    let runs = files.iter().map(begin).collect::<anyhow::Result<Vec<Run>>>()?;
    let outcomes = replay_all(runs, options.until_tick)?;

    print!("{}", report::text(&outcomes, options.hash));
    if options.json {
        println!("{}", report::json(&outcomes, simd, options.hash));
    }
    if let Some(other) = outcomes.iter().find(|outcome| outcome.build != crate::VERSION) {
        eprintln!("note: it was recorded by {}, this is {}", other.build, crate::VERSION);
    }
    if outcomes.iter().any(|outcome| outcome.difference.is_some()) {
        bail!("the states are not as recorded");
    }
    if outcomes.iter().any(|outcome| matches!(outcome.end, End::Unreadable { .. })) {
        bail!("a recording cannot be read to its end");
    }
    Ok(())
}

/// Runs each in a thread of its own, and tells how far they are. A zone that went from one to another goes between them.
fn replay_all(runs: Vec<Run>, until_tick: Option<u64>) -> anyhow::Result<Vec<Outcome>> {
    let bytes: u64 = runs.iter().map(|run| run.log.bytes()).sum();
    let progress = Progress::default();
    let exchange = Exchange::new(runs.len());
    std::thread::scope(|scope| {
        let begin = |run: Run| {
            let (side, progress) = (exchange.side(), &progress);
            scope.spawn(move || run.finish(until_tick, progress, side))
        };
        let threads: Vec<_> = runs.into_iter().map(begin).collect();
        let mut told = Instant::now();
        while !threads.iter().all(ScopedJoinHandle::is_finished) {
            std::thread::sleep(POLL_INTERVAL);
            if told.elapsed() >= PROGRESS_INTERVAL {
                told = Instant::now();
                let done = progress.bytes.load(Ordering::Relaxed) * 100 / bytes.max(1);
                eprintln!("{} ticks, {done}% of the recording", progress.ticks.load(Ordering::Relaxed));
            }
        }
        let ended = threads.into_iter().map(ScopedJoinHandle::join);
        let panicked = |_| anyhow!("a replayed shard panicked: see above");
        ended.map(|outcome| outcome.map_err(panicked)).collect()
    })
}

impl Run {
    fn begin(path: &Path, content: Arc<Content>, simd: SimdLevel) -> anyhow::Result<Run> {
        let mut log = LogFile::open(path)?;
        let head = Head::decode(log.head()?, simd)?;
        let (build, shard) = (head.build.clone(), head.shard);
        Ok(Run { build, shard, replay: Replay::new(head, content)?, log })
    }

    fn finish(self, until_tick: Option<u64>, progress: &Progress, mut zones: Side<'_>) -> Outcome {
        let Run { build, shard, mut replay, mut log } = self;
        let begun = Instant::now();
        let (mut difference, mut tick) = (None, 0);
        let end = loop {
            if difference.is_some() || until_tick.is_some_and(|until| tick >= until) {
                break End::Stopped;
            }
            let at = log.consumed();
            let record = match log.next() {
                Ok(Some(record)) => record,
                Ok(None) => break log.end(),
                Err(error) => break End::Unreadable { at, error },
            };
            match replay.tick(record, &mut zones) {
                Ok(found) => difference = found,
                Err(error @ LogError::ZoneMissing { .. }) => break End::Awaits { error },
                Err(error) => break End::Unreadable { at, error: error.into() },
            }
            tick = replay.shard().tick_number();
            progress.ticks.fetch_add(1, Ordering::Relaxed);
            progress.bytes.fetch_add(log.consumed() - at, Ordering::Relaxed);
        };
        drop(zones);
        let took = begun.elapsed();
        let state = replay.shard();
        let zones = state.zones().map(|zone| zone.id).collect();
        let mut hashes = Vec::new();
        state.hash_parts(&mut hashes);
        let hashes = state.parts().into_iter().zip(hashes).collect();
        let state_hash = state.state_hash();
        Outcome { build, shard, zones, tick, took, state_hash, hashes, difference, end }
    }
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
        self.zones.iter().map(zone).collect()
    }
}
