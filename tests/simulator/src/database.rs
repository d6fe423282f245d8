//! The database with its faults: the store's twin in memory, which fails as told and, when the power goes, may stand where
//! it stood at any moment since it was last synced, as SQLite may.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use vyuha_record::{Table, Value};
use vyuha_store::{Changes, MemoryDatabase, MemoryStore, Part, Position, Store, StoreError};

use crate::Bug;
use crate::world;

/// The name under which the node keeps its position.
pub const NODE: &str = "simulated";

/// The database. Clones share it.
#[derive(Clone)]
pub struct Database {
    live: MemoryDatabase,
    state: Arc<Mutex<State>>,
}

struct State {
    rng: Pcg64,
    /// What was applied since the last sync, the synced state first.
    unsynced: Vec<MemoryDatabase>,
    is_out: bool,
    /// Chance that an apply fails: it was not begun, or its answer is lost.
    failure_chance: f64,
    bug: Option<Bug>,
}

/// A node's connection to it.
struct FaultyStore {
    database: Database,
    inner: MemoryStore,
}

impl Database {
    /// An empty database.
    pub fn new(seed: u64, failure_chance: f64, bug: Option<Bug>) -> Database {
        let live = MemoryDatabase::default();
        let state = State {
            rng: Pcg64::seed_from_u64(seed),
            unsynced: vec![live.copy()],
            is_out: false,
            failure_chance,
            bug,
        };
        Database { live, state: Arc::new(Mutex::new(state)) }
    }

    /// Connects a node.
    pub fn connect(&self) -> Box<dyn Store> {
        let inner = MemoryStore::open(&self.live, NODE, &world::tables());
        Box::new(FaultyStore { database: self.clone(), inner })
    }

    /// What it holds now.
    pub fn live(&self) -> &MemoryDatabase {
        &self.live
    }

    /// Its position, whether it answers or not.
    pub fn position(&self) -> Position {
        let mut store = MemoryStore::open(&self.live, NODE, &world::tables());
        store.position().expect("the twin in memory answers")
    }

    /// Lets it answer nothing, or all again.
    pub fn set_out(&self, is_out: bool) {
        self.state().is_out = is_out;
    }

    /// Lets nothing go wrong any more.
    pub fn heal(&self) {
        let mut state = self.state();
        (state.is_out, state.failure_chance) = (false, 0.0);
    }

    /// The power went: what was not synced is there up to any moment.
    pub fn power_loss(&self) {
        let mut state = self.state();
        let kept = state.unsynced.len();
        let at = state.rng.random_range(0..kept);
        self.live.restore(&state.unsynced[at]);
        state.unsynced = vec![self.live.copy()];
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn synced(&self) {
        self.state().unsynced = vec![self.live.copy()];
    }

    fn answer(&self) -> Result<(), StoreError> {
        if self.state().is_out { Err(failed()) } else { Ok(()) }
    }
}

fn failed() -> StoreError {
    StoreError::Thread(std::io::Error::other("planted: the database is away"))
}

impl Store for FaultyStore {
    fn position(&mut self) -> Result<Position, StoreError> {
        self.database.answer()?;
        self.inner.position()
    }

    fn begin_epoch(&mut self) -> Result<Position, StoreError> {
        self.database.answer()?;
        let position = self.inner.begin_epoch()?;
        self.database.synced();
        Ok(position)
    }

    fn apply(&mut self, changes: &Changes, from: u64, to: u64) -> Result<(), StoreError> {
        self.database.answer()?;
        let (fails, is_lost, bug) = {
            let mut state = self.database.state();
            let chance = state.failure_chance;
            (state.rng.random_bool(chance), state.rng.random::<bool>(), state.bug)
        };
        if fails && !is_lost {
            if bug == Some(Bug::TornApply) {
                let half = Changes { tables: changes.tables.iter().take(1).cloned().collect() };
                self.inner.apply(&half, from, to)?;
            }
            return Err(failed());
        }
        self.inner.apply(changes, from, to)?;
        let copy = self.database.live.copy();
        self.database.state().unsynced.push(copy);
        if fails { Err(failed()) } else { Ok(()) }
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.database.answer()?;
        if self.database.state().bug != Some(Bug::NoCheckpoint) {
            self.database.synced();
        }
        Ok(())
    }

    fn insert(&mut self, table: &Table, row: &[Value]) -> Result<(), StoreError> {
        self.database.answer()?;
        self.inner.insert(table, row)?;
        self.database.synced();
        Ok(())
    }

    fn select(&mut self, table: &Table, filter: &[(&str, Value)]) -> Result<Vec<Vec<Value>>, StoreError> {
        self.database.answer()?;
        self.inner.select(table, filter)
    }

    fn select_part(
        &mut self,
        table: &Table,
        first: &Value,
        part: Part<'_>,
        rows_max: usize,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        self.database.answer()?;
        self.inner.select_part(table, first, part, rows_max)
    }

    fn max_key(&mut self, table: &Table, column: &str) -> Result<Option<i64>, StoreError> {
        self.database.answer()?;
        self.inner.max_key(table, column)
    }
}
