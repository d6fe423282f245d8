//! What it costs to make players' changes durable, through the node's whole way: a shard's transactions, its journal, the
//! persistence thread, committed in a PostgreSQL of this program's own. Beside it a peer that writes each change when it
//! happens ([`peer`]), on the same server, in turn within each round.
//!
//! Processor time is what counts: that of the persistence thread and of the database's processes, and the peer's own. What the
//! shard and the journal take is not in it: the first would do its work in any case, and the peer has no journal.

mod peer;
mod pipe;
mod ticks;
mod world;

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use vyuha_core::SimdLevel;
use vyuha_test_postgres::Postgres;

use self::peer::{Peer, Work};
use self::pipe::{Cpu, Pipe, Tap};
use self::world::{Doings, People, SAVE_INTERVAL_TICKS, TICK_HZ, World};
use crate::progress::Progress;
use crate::statistics::{spread, thousandths};

pub use self::ticks::TickReport;

/// Most players: one zone holds them.
pub const PLAYERS_MAX: u32 = 20_000;
/// The database as a studio would run it: what is committed is synced.
const SETTINGS: [&str; 4] =
    ["fsync=on", "shared_buffers=1GB", "max_wal_size=8GB", "checkpoint_timeout=15min"];
/// What the peer does in a round.
const PEER_SAVES: u32 = 200;
const PEER_TRADES: u32 = 1000;
/// Trades a second of an outage, and in a tick.
const OUTAGE_TRADES_PER_S: u32 = 2000;
const TRADES_PER_TICK: u32 = OUTAGE_TRADES_PER_S.div_ceil(TICK_HZ as u32);
/// How long an outage is that must drain in time.
const OUTAGE_S: u64 = 3600;
/// Players beside those that are measured, who make the load while ticks are.
const OTHERS: u32 = 2000;
const PATIENCE: Duration = Duration::from_hours(1);

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many players, an even number.
    pub players: u32,
    /// Rounds of saves and trades, ours and the peer's.
    pub rounds: u32,
    /// How long players are saved at their own pace.
    pub seconds: u32,
    /// How many seconds of trades wait when the database comes back.
    pub outage_s: u32,
    /// Rounds of ticks: with the store under load, with the database stopped, and without.
    pub tick_rounds: u32,
    /// How long each of these has its turn.
    pub phase_seconds: u32,
    /// The vector instructions of the shard's zone.
    pub simd: SimdLevel,
}

/// A change as often as it was made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// Microseconds of the persistence thread for one, or of the peer's thread.
    pub client_us: f64,
    /// Microseconds of the database's processes for one.
    pub postgres_us: f64,
    /// Both.
    pub both_us: f64,
    /// How many in a second of the clock.
    pub per_s: f64,
}

/// Ours beside the peer's, medians of the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Beside {
    /// Ours.
    pub ours: Cost,
    /// A statement a row, a commit a change.
    pub peer: Cost,
    /// The peer's processor time over ours of the same round, the median.
    pub ratio: f64,
}

/// Players saved at their own pace.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Steady {
    /// How long, in seconds.
    pub seconds: f64,
    /// Saves in a second.
    pub saves_per_s: f64,
    /// The persistence thread's share of a core, in hundredths.
    pub persistence_percent: f64,
    /// The database's.
    pub postgres_percent: f64,
    /// Both.
    pub both_percent: f64,
    /// Rows of a transaction, the mean.
    pub transaction_rows: f64,
}

/// What waited while the database was gone, and how long it took afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Drain {
    /// Trades that waited.
    pub trades: u64,
    /// Those that the figures below are of: what was committed after the first transaction, which may come before anybody
    /// looks.
    pub measured: f64,
    /// Seconds from the first transaction until all were committed.
    pub seconds: f64,
    /// Trades in a second.
    pub trades_per_s: f64,
    /// How long an hour at 2,000 a second would take at that rate, with another 2,000 a second coming in meanwhile; none
    /// where that never ends.
    pub hour_s: Option<f64>,
    /// Microseconds of processor time for a trade, of both; none where the first transaction took all.
    pub both_us: Option<f64>,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// How many players.
    pub players: u32,
    /// How many processors could be used.
    pub processors: usize,
    /// The machine's load before and after: the mean number of processes that wanted to run, over a minute.
    pub load: [f64; 2],
    /// The version that the server tells.
    pub postgres: String,
    /// A save: the character's row and two slots that changed, beside the row and all slots.
    pub save: Beside,
    /// The peer's save with all slots in one statement.
    pub peer_save_at_once: Cost,
    /// Rows of players in a second: three to a save.
    pub player_rows_per_s: f64,
    /// A trade: two items and two entries in the ledger.
    pub trade: Beside,
    /// Everybody saved once in five seconds.
    pub steady: Steady,
    /// After an outage.
    pub drain: Drain,
    /// The tick with the store, beside the tick without.
    pub tick: TickReport,
}

/// Measures it all.
pub fn measure(options: &Options) -> anyhow::Result<Report> {
    let load_before = load_average();
    let processors = vyuha_net::cpu::usable().context("the processors cannot be listed")?.len();
    let folder = tempfile::tempdir().context("no temporary folder can be made")?;
    eprintln!("a database is filled with what {} players carry", options.players);
    let players = People { first: 1, count: options.players };
    let others = People { first: players.first + i64::from(options.players), count: OTHERS };
    let mut postgres = Postgres::start();
    for setting in SETTINGS {
        postgres.set(setting);
    }
    postgres.stop();
    postgres.start_again();
    let url = postgres.database();
    let data_dir = folder.path().join("data");
    pipe::seed(&url, &data_dir, &[players, others])?;
    let peer_url = copy_database(&postgres, &url);
    let version = postgres.psql(&url, "SHOW server_version");

    let mut bench = Bench {
        world: World::new(players, 1, options.simd)?,
        peer: Peer::new(&peer_url, players)?,
        postgres,
        url,
        data_dir,
        others,
        saves: Vec::new(),
        trades: Vec::new(),
        at_once: Vec::new(),
    };
    let (pipe, mut taps) = Pipe::open(&bench.url, &bench.data_dir, 1)?;
    let mut progress = Progress::new("rounds of saves and trades", options.rounds as usize);
    for round in 0..=options.rounds {
        bench.round(&pipe, &mut taps[0], round > 0)?;
        progress.at(round as usize);
    }
    eprintln!("players are saved at their own pace for {} s", options.seconds);
    let steady = bench.steady(&pipe, &mut taps[0], options.seconds)?;
    eprintln!("the database stops for {} s of trades", options.outage_s);
    let drain = bench.drain(&pipe, &mut taps[0], options.outage_s)?;
    pipe.close(taps)?;
    let (save, trade) = (beside(&bench.saves), beside(&bench.trades));
    let peer_save_at_once = median(&bench.at_once);
    let tick = bench.ticks(options)?;
    Ok(Report {
        players: options.players,
        processors,
        load: [load_before, load_average()],
        postgres: version,
        save,
        peer_save_at_once,
        player_rows_per_s: thousandths(3.0 * save.ours.per_s),
        trade,
        steady,
        drain,
        tick,
    })
}

struct Bench {
    world: World,
    peer: Peer,
    postgres: Postgres,
    url: String,
    data_dir: PathBuf,
    others: People,
    /// Ours and the peer's, by round.
    saves: Vec<[Cost; 2]>,
    trades: Vec<[Cost; 2]>,
    at_once: Vec<Cost>,
}

impl Bench {
    /// Everybody is saved once, and trades once, by us and, fewer of them, by the peer.
    fn round(&mut self, pipe: &Pipe, tap: &mut Tap, counts: bool) -> anyhow::Result<()> {
        let people = self.world.people();
        let saves = Doings { save: true, ..Doings::default() };
        let ours = self.ours(pipe, tap, saves, SAVE_INTERVAL_TICKS, people)?;
        let peer = self.peers(Work::Saves, PEER_SAVES)?;
        let at_once = self.peers(Work::SavesAtOnce, PEER_SAVES)?;
        let ticks = people.div_ceil(TRADES_PER_TICK);
        let trading = Doings { trades: TRADES_PER_TICK, ..Doings::default() };
        let ours_trading = self.ours(pipe, tap, trading, ticks, ticks * TRADES_PER_TICK)?;
        let peer_trading = self.peers(Work::Trades, PEER_TRADES)?;
        // The first round fills caches, of the peer's connection too.
        if counts {
            self.saves.push([ours, peer]);
            self.trades.push([ours_trading, peer_trading]);
            self.at_once.push(at_once);
        }
        Ok(())
    }

    /// So many ticks as fast as they go, until all that came of them is committed.
    fn ours(
        &mut self,
        pipe: &Pipe,
        tap: &mut Tap,
        doings: Doings,
        ticks: u32,
        times: u32,
    ) -> anyhow::Result<Cost> {
        let (before, begun) = (Cpu::read(&self.postgres)?, Instant::now());
        for _ in 0..ticks {
            self.world.tick(doings)?;
            tap.submit(&mut self.world.out.transactions)?;
        }
        tap.flush();
        pipe.drain(PATIENCE)?;
        let spent = Cpu::read(&self.postgres)?.since(before);
        Ok(cost(spent.persistence, spent.postgres, begun.elapsed(), times))
    }

    fn peers(&mut self, work: Work, times: u32) -> anyhow::Result<Cost> {
        let (before, begun) = (Cpu::read(&self.postgres)?, Instant::now());
        let client = self.peer.run(work, times)?;
        Ok(cost(client, Cpu::read(&self.postgres)?.since(before).postgres, begun.elapsed(), times))
    }

    fn steady(&mut self, pipe: &Pipe, tap: &mut Tap, seconds: u32) -> anyhow::Result<Steady> {
        let doings = Doings { save: true, ..Doings::default() };
        let ticks = seconds * u32::from(TICK_HZ);
        let mut progress = Progress::new("seconds at the players' own pace", seconds as usize);
        let (before, stats, begun) = (Cpu::read(&self.postgres)?, pipe.stats(), Instant::now());
        for tick in 0..ticks {
            let due = begun + Duration::from_secs(1) * tick / u32::from(TICK_HZ);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.world.tick(doings)?;
            tap.submit(&mut self.world.out.transactions)?;
            progress.at((tick / u32::from(TICK_HZ)) as usize);
        }
        let made_in = begun.elapsed();
        tap.flush();
        pipe.drain(PATIENCE)?;
        let (spent, elapsed) = (Cpu::read(&self.postgres)?.since(before), begun.elapsed());
        let percent = |time: Duration| thousandths(100.0 * time.as_secs_f64() / elapsed.as_secs_f64());
        let now = pipe.stats();
        let saves = f64::from(ticks) * f64::from(self.world.people()) / f64::from(SAVE_INTERVAL_TICKS);
        Ok(Steady {
            seconds: thousandths(elapsed.as_secs_f64()),
            saves_per_s: thousandths(saves / made_in.as_secs_f64()),
            persistence_percent: percent(spent.persistence),
            postgres_percent: percent(spent.postgres),
            both_percent: percent(spent.both()),
            transaction_rows: thousandths(
                (now.rows - stats.rows) as f64 / (now.transactions - stats.transactions).max(1) as f64,
            ),
        })
    }

    /// Trades while the database is stopped, which it must take once it is back.
    fn drain(&mut self, pipe: &Pipe, tap: &mut Tap, outage_s: u32) -> anyhow::Result<Drain> {
        self.postgres.stop();
        let ticks = outage_s * u32::from(TICK_HZ);
        let doings = Doings { trades: TRADES_PER_TICK, ..Doings::default() };
        let mut progress = Progress::new("seconds of trades", outage_s as usize);
        for tick in 0..ticks {
            self.world.tick(doings)?;
            tap.submit(&mut self.world.out.transactions)?;
            progress.at((tick / u32::from(TICK_HZ)) as usize);
        }
        tap.flush();
        let trades = u64::from(ticks * TRADES_PER_TICK);
        let stopped = pipe.stats();
        self.postgres.start_again();
        pipe.drain_past(stopped.applied_seq, PATIENCE)?;
        let (before, first, begun) = (Cpu::read(&self.postgres)?, pipe.stats(), Instant::now());
        pipe.drain(PATIENCE)?;
        let (spent, elapsed) = (Cpu::read(&self.postgres)?.since(before), begun.elapsed());
        let rows = |since: u64| (pipe.stats().rows - since) as f64;
        let measured = trades as f64 * rows(first.rows) / rows(stopped.rows);
        let per_s = measured / elapsed.as_secs_f64();
        let gain_per_s = per_s - f64::from(OUTAGE_TRADES_PER_S);
        let waiting = (OUTAGE_S * u64::from(OUTAGE_TRADES_PER_S)) as f64;
        Ok(Drain {
            trades,
            measured: thousandths(measured),
            seconds: thousandths(elapsed.as_secs_f64()),
            trades_per_s: thousandths(per_s),
            hour_s: (gain_per_s > 0.0).then(|| thousandths(waiting / gain_per_s)),
            both_us: (measured > 0.0).then(|| thousandths(spent.both().as_secs_f64() * 1e6 / measured)),
        })
    }
}

/// Lets a second database hold what the first does.
fn copy_database(postgres: &Postgres, url: &str) -> String {
    let name = url.rsplit('/').next().unwrap_or_default();
    postgres.psql("postgres", &format!("CREATE DATABASE peer TEMPLATE {name}"));
    let peer = postgres.url("peer");
    for url in [url, &peer] {
        postgres.psql(url, "VACUUM ANALYZE");
    }
    postgres.psql(url, "CHECKPOINT");
    peer
}

fn cost(client: Duration, postgres: Duration, elapsed: Duration, times: u32) -> Cost {
    let us = |time: Duration| thousandths(time.as_secs_f64() * 1e6 / f64::from(times));
    Cost {
        client_us: us(client),
        postgres_us: us(postgres),
        both_us: us(client + postgres),
        per_s: thousandths(f64::from(times) / elapsed.as_secs_f64()),
    }
}

fn median(costs: &[Cost]) -> Cost {
    let of = |pick: fn(&Cost) -> f64| thousandths(spread(&costs.iter().map(pick).collect::<Vec<_>>()).p50);
    Cost {
        client_us: of(|cost| cost.client_us),
        postgres_us: of(|cost| cost.postgres_us),
        both_us: of(|cost| cost.both_us),
        per_s: of(|cost| cost.per_s),
    }
}

fn beside(rounds: &[[Cost; 2]]) -> Beside {
    let ratios: Vec<f64> = rounds.iter().map(|[ours, peer]| peer.both_us / ours.both_us).collect();
    Beside {
        ours: median(&rounds.iter().map(|[ours, _]| *ours).collect::<Vec<_>>()),
        peer: median(&rounds.iter().map(|[_, peer]| *peer).collect::<Vec<_>>()),
        ratio: thousandths(spread(&ratios).p50),
    }
}

/// Over the last minute; 0 where the system does not tell.
fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0.0)
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { save, trade, steady, drain, peer_save_at_once, .. } = self;
        writeln!(
            out,
            "{} players, PostgreSQL {}, {} processors, a load of {} before and {} after",
            self.players, self.postgres, self.processors, self.load[0], self.load[1]
        )?;
        let mut line = |what: &str, cost: &Cost| {
            writeln!(
                out,
                "{what:<30} {:8.1} us: {:7.1} here, {:7.1} in the database; {:8.0} a second",
                cost.both_us, cost.client_us, cost.postgres_us, cost.per_s
            )
        };
        line("a save", &save.ours)?;
        line("  peer, a statement a row", &save.peer)?;
        line("  peer, all slots in one", peer_save_at_once)?;
        line("a trade", &trade.ours)?;
        line("  peer", &trade.peer)?;
        writeln!(
            out,
            "the peer's processor time over ours: {:.1} a save, {:.1} a trade",
            save.ratio, trade.ratio
        )?;
        writeln!(
            out,
            "at {:.0} saves a second, {:.0} rows a transaction: {:.2}% of a core here, {:.2}% in the database, {:.2}% in all",
            steady.saves_per_s,
            steady.transaction_rows,
            steady.persistence_percent,
            steady.postgres_percent,
            steady.both_percent
        )?;
        let or_none = |figure: Option<f64>| figure.map_or("?".to_owned(), |figure| format!("{figure:.1}"));
        writeln!(
            out,
            "{} trades that had waited: {:.1} s, {:.0} a second, {} us of processor time each; an hour at {OUTAGE_TRADES_PER_S} \
             a second: {} s",
            drain.trades,
            drain.seconds,
            drain.trades_per_s,
            or_none(drain.both_us),
            or_none(drain.hour_s)
        )?;
        write!(out, "{}", self.tick)
    }
}
