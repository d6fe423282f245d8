//! The node's way to the database, and what it takes of processors.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::time::{ClockId, clock_gettime};
use vyuha_game::ledger::LedgerRow;
use vyuha_game::systems::TABLES;
use vyuha_net::cpu::threads_by_name;
use vyuha_record::{Record as _, Table, Transaction};
use vyuha_store::journal::{Batch, SEGMENT_BYTES_DEFAULT};
use vyuha_store::logs::{LogTable, Period};
use vyuha_store::migrate::OlderSchema;
use vyuha_store::{
    AccountRow, Durability, DurabilityConfig, LINGER, PersistenceConfig, PersistenceStats, PostgresSettings,
    Producer, StoreConfig, SubmitError,
};
use vyuha_test_postgres::Postgres;

use super::world::People;

/// The defaults of the server's settings.
const TIMEOUT: Duration = Duration::from_secs(10);
const LEASE: Duration = Duration::from_secs(15);
const QUEUE_BATCHES: usize = 1024;
const LEDGER_RETENTION: Duration = Duration::from_hours(730 * 24);
/// More than any backlog of this program.
const JOURNAL_BYTES_MAX: u64 = 64 << 30;
/// People of one batch when the database is filled, each of them a character and its items.
const SEED_PEOPLE_PER_BATCH: u32 = 100;

/// Processor time that was taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    /// By the persistence thread, and what merges ahead of it.
    pub persistence: Duration,
    /// By the server's processes.
    pub postgres: Duration,
}

impl Cpu {
    /// Since the processes and threads began.
    pub fn read(postgres: &Postgres) -> anyhow::Result<Cpu> {
        // What merges ahead are threads of a moment, so it is counted as what is not others'.
        let threads = threads_by_name("").context("the threads cannot be listed")?;
        let others = threads.iter().filter(|thread| !thread.name.starts_with("vyuha-store"));
        let others: Duration = others.map(|thread| thread.cpu).sum();
        let all = clock_gettime(ClockId::ProcessCPUTime);
        let all = Duration::new(all.tv_sec as u64, all.tv_nsec as u32);
        Ok(Cpu { persistence: all.saturating_sub(others), postgres: postgres.cpu() })
    }

    /// Since another reading.
    pub fn since(self, before: Cpu) -> Cpu {
        Cpu {
            persistence: self.persistence.saturating_sub(before.persistence),
            postgres: self.postgres.saturating_sub(before.postgres),
        }
    }

    /// Both.
    pub fn both(self) -> Duration {
        self.persistence + self.postgres
    }
}

/// A producer's end: numbers batches and waits where the journal's queue is full.
pub struct Tap {
    producer: Producer,
    number: u64,
}

impl Tap {
    /// Hands over what a tick came to; what has nothing in it is no batch. Says the batch's number.
    pub fn submit(&mut self, bytes: &mut Vec<u8>) -> anyhow::Result<u64> {
        if bytes.is_empty() {
            return Ok(self.number);
        }
        let mut batch = Batch { number: self.number + 1, bytes: std::mem::take(bytes) };
        loop {
            match self.producer.submit(batch) {
                Ok(()) => break,
                Err(SubmitError::Full(full)) => {
                    batch = full;
                    thread::sleep(Duration::from_micros(200));
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.number += 1;
        Ok(self.number)
    }

    /// The last batch that is on disk.
    pub fn durable(&self) -> u64 {
        self.producer.durable()
    }

    /// Waits until all that was handed over is on disk.
    pub fn flush(&self) {
        while self.durable() < self.number {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The journal, the persistence thread and the database.
pub struct Pipe {
    durability: Durability,
    failed: Arc<AtomicBool>,
}

impl Pipe {
    /// Opens a database, with this many ways in.
    pub fn open(url: &str, data_dir: &Path, taps: usize) -> anyhow::Result<(Pipe, Vec<Tap>)> {
        let settings = PostgresSettings::new(url, None, None, None, TIMEOUT)?;
        let config = DurabilityConfig {
            data_dir: data_dir.into(),
            node: "sim-bench".to_owned(),
            producers: taps,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            journal_bytes_max: JOURNAL_BYTES_MAX,
            queue_batches: QUEUE_BATCHES,
            store: StoreConfig::Postgres { settings: Box::new(settings), lease_ttl: LEASE },
            logs: vec![LogTable {
                name: LedgerRow::TABLE.name,
                time_column: "at_ms",
                period: Period::Month,
                is_partitioned: true,
                retention: LEDGER_RETENTION,
                carry: None,
            }],
            archive_dir: data_dir.join("archive"),
            older_schema: OlderSchema::Migrate,
            persistence: PersistenceConfig { linger: LINGER, ..PersistenceConfig::default() },
        };
        let failed = Arc::new(AtomicBool::new(false));
        let on_stopped: vyuha_store::OnStopped = {
            let failed = failed.clone();
            Arc::new(move |reason: &str| {
                eprintln!("the store stopped: {reason}");
                failed.store(true, Ordering::Relaxed);
            })
        };
        let tables: Vec<Table> = [AccountRow::TABLE].iter().chain(TABLES).copied().collect();
        let (durability, producers) = Durability::open(&config, &tables, &on_stopped)?;
        let taps = producers.into_iter().map(|producer| Tap { producer, number: 0 }).collect();
        Ok((Pipe { durability, failed }, taps))
    }

    /// Waits until all that is on disk is in the database.
    pub fn drain(&self, patience: Duration) -> anyhow::Result<()> {
        self.wait_for(self.durability.durable_seq(), patience)
    }

    /// Waits until more is in the database than this.
    pub fn drain_past(&self, applied_seq: u64, patience: Duration) -> anyhow::Result<()> {
        self.wait_for(applied_seq + 1, patience)
    }

    fn wait_for(&self, applied_seq: u64, patience: Duration) -> anyhow::Result<()> {
        let handle = self.durability.handle();
        let deadline = Instant::now() + patience;
        while handle.applied() < applied_seq {
            ensure!(!self.failed.load(Ordering::Relaxed), "the store stopped, see above");
            if Instant::now() > deadline {
                bail!("the database did not catch up within {patience:?}: {:?}", handle.stats().last_error);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// What the persistence thread has done.
    pub fn stats(&self) -> PersistenceStats {
        self.durability.handle().stats()
    }

    /// The mean time of a frame's write and sync since another reading, in milliseconds, with that reading's figures.
    pub fn frame_ms_since(&self, before: (u64, u64)) -> (f64, (u64, u64)) {
        let stats = self.durability.journal_stats();
        let now = (stats.frames, stats.write_ns);
        ((now.1 - before.1) as f64 / 1e6 / (now.0 - before.0).max(1) as f64, now)
    }

    /// Ends both threads in good order.
    pub fn close(self, taps: Vec<Tap>) -> anyhow::Result<()> {
        drop(taps);
        Ok(self.durability.shutdown()?)
    }
}

/// Fills a database with these people's rows, by the same way.
pub fn seed(url: &str, data_dir: &Path, people: &[People]) -> anyhow::Result<()> {
    let (pipe, mut taps) = Pipe::open(url, data_dir, 1)?;
    for people in people {
        for index in (0..people.count).step_by(SEED_PEOPLE_PER_BATCH as usize) {
            let mut bytes = Vec::new();
            for index in index..people.count.min(index + SEED_PEOPLE_PER_BATCH) {
                let mut transaction = Transaction::begin(&mut bytes);
                transaction.put(&people.character(index));
                people.items(index).iter().for_each(|row| transaction.put(row));
                transaction.commit();
            }
            taps[0].submit(&mut bytes)?;
        }
    }
    taps[0].flush();
    pipe.drain(Duration::from_mins(10))?;
    pipe.close(taps)
}
