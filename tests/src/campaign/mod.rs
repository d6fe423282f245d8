//! The crash campaign: a node, its Redis, and the database that it writes to, are killed again and again under trading bots, and held to
//! every word that they gave.
//!
//! In each round the bots of `vyuha-bots` sign in, pick up, drop, wear, bank and trade; then the node dies at a random moment,
//! as [`round`] chooses, and is started again. Then, before anybody signs in, the database must hold what [`audit`] asks for:
//! each bot has what it was told, with or without the one request that was under way; the sums of all items are those that the
//! world began with; each item is in one place, where the ledger has brought it. Bots compare once more as they enter.
//!
//! A process that is killed loses what it had not written; what was written and not synced it does not lose. That is what the
//! fault simulator and the journal's own tests are for.

mod audit;
mod round;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::SeedableRng as _;
use rand_pcg::Pcg64Mcg;
use serde::Serialize;
use vyuha_bots::{LedgerEntry, LoadOptions};
use vyuha_test_postgres::Postgres;
use vyuha_test_redis::RedisServer;

use crate::{Database, Node, Options};

/// How the bots' accounts begin.
const PREFIX: &str = "crash";
/// Bots that keep the whole view of the world and check it.
const WATCHERS: u32 = 4;
const ITEM_PAUSE: Duration = Duration::from_millis(300);
const RELOG_INTERVAL: Duration = Duration::from_millis(200);

/// Where the node keeps its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// In its own SQLite file.
    Sqlite,
    /// In a PostgreSQL of the campaign's own, which is killed, too.
    Postgres,
}

/// What campaign is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Campaign {
    /// How often the node dies.
    pub rounds: u32,
    /// Where it keeps its rows.
    pub store: StoreKind,
    /// How many bots play.
    pub bots: u32,
    /// Decides what dies when, and what the bots do; threads and sockets decide the rest.
    pub seed: u64,
}

/// How often what was killed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Kills {
    /// The node, by SIGKILL.
    pub server: u32,
    /// The node, by SIGTERM under the same load.
    pub terminated: u32,
    /// PostgreSQL, by SIGKILL.
    pub postgres: u32,
    /// Redis, by SIGKILL. Nothing of value is in it.
    pub redis: u32,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// The median.
    pub p50: u64,
    /// The longest.
    pub max: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Rounds that were played to their end.
    pub rounds: u32,
    /// Where the rows were.
    pub store: StoreKind,
    /// The seed.
    pub seed: u64,
    /// How many bots played.
    pub bots: u32,
    /// Requests that changed something and were acknowledged.
    pub acknowledged: u64,
    /// Trades among them, as each of the two counts them.
    pub trades: u64,
    /// Requests under way at a death that turned out to be done.
    pub done_unheard: u64,
    /// Requests under way at a death that turned out not to be done.
    pub undone: u64,
    /// Zones that were moved between shards meanwhile.
    pub zones_moved: u64,
    /// What died.
    pub kills: Kills,
    /// What did not hold. After the first round with any, the campaign ends.
    pub violations: usize,
    /// From the start of the node's process on what the last one left until players can connect.
    pub recovery_ms: Recovery,
    /// What did not hold, in words.
    #[serde(skip)]
    pub faults: Vec<String>,
    /// What the round that failed left: the node's folder with its log, a dump of PostgreSQL's database, the bots' ledgers.
    #[serde(skip)]
    pub evidence: Option<PathBuf>,
}

/// A campaign under way.
struct Front {
    campaign: Campaign,
    rng: Pcg64Mcg,
    node: Node,
    postgres: Option<(Postgres, String)>,
    redis: RedisServer,
    ledger: Vec<LedgerEntry>,
    recovery_ms: Vec<u64>,
    report: Report,
}

/// Runs a campaign to its end, or to the first round in which something does not hold; `progress` takes a line a round.
///
/// # Panics
/// Where the machine does not let it: no room, no PostgreSQL, a node that does not start. The node's folder then stays, too.
pub fn run(campaign: Campaign, mut progress: impl FnMut(&str)) -> Report {
    let mut front = Front::open(campaign);
    progress(&format!(
        "seed {}, {} bots, {:?}; data in {}",
        campaign.seed,
        campaign.bots,
        campaign.store,
        front.node.keep_folder(true).display()
    ));
    while front.report.rounds < campaign.rounds && front.report.faults.is_empty() {
        front.report.rounds += 1;
        let line = front.play_round();
        progress(&line);
    }
    if front.report.faults.is_empty() {
        front.last_word();
    }
    front.close()
}

impl Front {
    fn open(campaign: Campaign) -> Front {
        let postgres = (campaign.store == StoreKind::Postgres).then(|| {
            let server = Postgres::start();
            let url = server.database();
            (server, url)
        });
        let redis = RedisServer::start();
        // Small segments and many saves, so that the journal goes round while it is looked at.
        let mut options = Options::test_world()
            .with("journal-segment", "1MiB")
            .with("character-save-interval", "100ms")
            .with("store-timeout", "5s")
            .with("store-lease", "3s")
            .with("redis-url", &redis.url());
        if let Some((_, url)) = &postgres {
            options = options.with("store-url", url);
        }
        let mut node = Node::start(&options);
        // The world is laid out before anybody counts what is in it.
        node.terminate();
        node.start_again();
        Front {
            campaign,
            rng: Pcg64Mcg::seed_from_u64(campaign.seed),
            node,
            postgres,
            redis,
            ledger: Vec::new(),
            recovery_ms: Vec::new(),
            report: Report {
                rounds: 0,
                store: campaign.store,
                seed: campaign.seed,
                bots: campaign.bots,
                acknowledged: 0,
                trades: 0,
                done_unheard: 0,
                undone: 0,
                zones_moved: 0,
                kills: Kills::default(),
                violations: 0,
                recovery_ms: Recovery::default(),
                faults: Vec::new(),
                evidence: None,
            },
        }
    }

    /// What the bots are to do this time; they go on from what they were told before.
    fn load(&self) -> LoadOptions {
        LoadOptions {
            seed: self.campaign.seed.wrapping_add(self.report.rounds.into()),
            account_prefix: PREFIX.to_owned(),
            watchers: WATCHERS,
            relog_interval: RELOG_INTERVAL,
            item_pause: ITEM_PAUSE,
            ledger: self.ledger.clone(),
            ..LoadOptions::new(self.node.listen, self.campaign.bots, self.node.content())
        }
    }

    /// Starts what died again, and compares before anybody comes in.
    fn recover(&mut self) {
        self.node.start_again();
        self.recovery_ms.push(self.node.ready_after.as_millis() as u64);
        let database = match &self.postgres {
            Some((server, url)) => Database::on_postgres(server, url),
            None => Database::beside(&self.node),
        };
        let audit = audit::audit(&database, &self.ledger);
        self.report.done_unheard += audit.done_unheard;
        self.report.undone += audit.undone;
        self.report.faults.extend(audit.faults);
    }

    /// All sign in once more, compare and leave, and the node ends in good order.
    fn last_word(&mut self) {
        let options = LoadOptions { duration: Some(Duration::from_millis(500)), ..self.load() };
        let report = vyuha_bots::run(&options, |_| {}, &AtomicBool::new(false)).expect("the bots can play");
        self.report.faults.extend(report.error_samples);
        if report.connected < self.campaign.bots {
            let (connected, bots) = (report.connected, self.campaign.bots);
            self.report.faults.push(format!("only {connected} of {bots} bots came in at the end"));
        }
        self.ledger = report.ledger;
        self.node.terminate();
        self.recover();
    }

    fn close(mut self) -> Report {
        let mut report = self.report;
        report.acknowledged = self.ledger.iter().map(|entry| entry.book.acknowledged).sum();
        report.trades = self.ledger.iter().map(|entry| entry.book.traded).sum();
        report.violations = report.faults.len();
        self.recovery_ms.sort_unstable();
        report.recovery_ms = Recovery {
            p50: self.recovery_ms.get(self.recovery_ms.len() / 2).copied().unwrap_or_default(),
            max: self.recovery_ms.last().copied().unwrap_or_default(),
        };
        if report.faults.is_empty() {
            self.node.keep_folder(false);
        } else {
            let folder = self.node.keep_folder(true);
            let write = |name: &str, text: &[u8]| {
                std::fs::write(folder.join(name), text).expect("there is room for evidence");
            };
            write("faults", report.faults.join("\n").as_bytes());
            write("ledgers.json", &serde_json::to_vec(&self.ledger).expect("a ledger is JSON"));
            if let Some((server, url)) = &self.postgres {
                let dumped = server.command("pg_dump").arg(url).output().expect("pg_dump can be started");
                write("postgres.sql", &dumped.stdout);
            }
            report.evidence = Some(folder);
        }
        report
    }
}

/// Lets the bots play in a thread of their own until told to stop.
struct Playing<'scope> {
    stop: &'scope AtomicBool,
    thread: std::thread::ScopedJoinHandle<'scope, vyuha_bots::LoadReport>,
}

impl<'scope> Playing<'scope> {
    fn start<'env>(
        scope: &'scope std::thread::Scope<'scope, 'env>,
        options: &'scope LoadOptions,
        stop: &'scope AtomicBool,
    ) -> Playing<'scope> {
        let play = || vyuha_bots::run(options, |_| {}, stop).expect("the bots can play");
        Playing { stop, thread: scope.spawn(play) }
    }

    /// To be called once the node is gone: nobody is left to say goodbye to.
    fn end(self) -> vyuha_bots::LoadReport {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the bots do not panic")
    }
}

/// How many there are of each kind.
type Totals = BTreeMap<u16, i64>;
