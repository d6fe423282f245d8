//! The thread `vyuha-store`: it alone uses the database.
//!
//! It reads durable frames from the journal's files (the same way after a crash as in steady
//! state), merges them and applies them; between two such transactions it answers the requests of
//! services. While a full transaction is applied, another thread merges the next. A database that fails or is slow delays nobody else: the journal on disk is the queue.

mod gathering;
mod waiting;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam::{
    channel::{Receiver, Sender, at, bounded, never},
    select,
};
use tokio::sync::{Semaphore, oneshot, watch};
use vyuha_record::Table;

use crate::{
    BreakerState, Position, Store, StoreError,
    journal::{self, OnFailure, Reader},
    panic::panic_text,
};
use gathering::Gathering;
use waiting::Waiting;

/// The first pause after an error; doubled with each further one.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(50);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);
/// So many failures in a row end a shutdown: the journal keeps what was not applied.
const SHUTDOWN_TRIES_MAX: u32 = 5;
/// Requests answered between two applies, so that neither side starves the other.
const REQUESTS_PER_TURN_MAX: usize = 64;

/// How long a node's frames wait for others on their way to the database; see [`PersistenceConfig::linger`].
pub const LINGER: Duration = Duration::from_millis(500);

/// How the thread works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PersistenceConfig {
    /// A transaction takes frames until it has so many rows, and always whole frames. Twice that and a frame more bounds
    /// the thread's memory: the next transaction is merged while one is applied.
    pub transaction_rows: usize,
    /// So long a frame waits for others to go with it in one transaction, unless that is full or somebody waits for the
    /// frame ([`Handle::wait_applied`]): a transaction costs the database as much as many rows.
    pub linger: Duration,
    /// How many requests may wait for the thread; further callers wait before they queue.
    pub queue_requests: usize,
}

impl Default for PersistenceConfig {
    fn default() -> Self {
        Self { transaction_rows: 4000, linger: Duration::ZERO, queue_requests: 256 }
    }
}

/// What the thread has done since it started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PersistenceStats {
    /// The last frame in the database.
    pub applied_seq: u64,
    /// The last frame in the journal; the lag is the difference.
    pub durable_seq: u64,
    /// Bytes of the journal that are not in the database yet.
    pub lag_bytes: u64,
    /// How long the oldest frame that is not in the database has waited, as seen by whoever asked for these figures
    /// from time to time.
    pub lag: Duration,
    /// Row images written or deleted.
    pub rows: u64,
    /// Transactions committed from the journal.
    pub transactions: u64,
    /// Rows of the last one.
    pub transaction_rows: u64,
    /// Requests taken up.
    pub requests: u64,
    /// Failures of applying or of checkpoints.
    pub errors: u64,
    /// The failure that is being waited out; `None` while all is well.
    pub last_error: Option<String>,
    /// Whether the database is asked.
    pub breaker: BreakerState,
}

/// The thread.
pub struct Persistence {
    handle: Handle,
    thread: JoinHandle<Result<(), StoreError>>,
}

/// The way to the thread. Clones share it.
#[derive(Clone)]
pub struct Handle {
    messages: Sender<Message>,
    permits: Arc<Semaphore>,
    applied: watch::Receiver<u64>,
    hurry: Sender<()>,
    shared: Arc<Shared>,
    journal: Arc<journal::Shared>,
}

enum Message {
    Request(Request),
    Shutdown,
}

type Request = Box<dyn FnOnce(&mut dyn Store) + Send>;

#[derive(Default)]
struct Shared {
    applied_seq: AtomicU64,
    /// The last frame that somebody waits for.
    wanted_seq: AtomicU64,
    rows: AtomicU64,
    transactions: AtomicU64,
    transaction_rows: AtomicU64,
    /// Where the last frame in the database ends.
    applied_place: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
    last_error: Mutex<Option<String>>,
    breaker: Mutex<BreakerState>,
    waiting: Mutex<Waiting>,
}

impl Shared {
    fn breaker(&self) -> MutexGuard<'_, BreakerState> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_error(&self) -> MutexGuard<'_, Option<String>> {
        // It is only ever replaced: it is whole even after a panic.
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Persistence {
    /// Starts the thread. `position` is what [`Store::begin_epoch`] gave, which shut out whoever used the node's
    /// position before; `on_failure` is called from the thread, once, if it is itself shut out or panics.
    pub fn start(
        store: Box<dyn Store>,
        position: Position,
        reader: Reader,
        tables: &[Table],
        config: PersistenceConfig,
        on_failure: OnFailure,
    ) -> Result<Self, StoreError> {
        let (worker, handle) = Worker::open(store, position, reader, tables, config);
        let thread = thread::Builder::new()
            .name("vyuha-store".into())
            .spawn(move || worker.run(on_failure))
            .map_err(StoreError::Thread)?;
        Ok(Self { handle, thread })
    }

    /// The way to the thread.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Answers the requests that wait, applies every durable frame, syncs and closes the database.
    /// Handles then answer [`StoreError::Stopped`].
    ///
    /// # Errors
    /// The last one, where the database keeps failing: the journal keeps what was not applied.
    pub fn shutdown(self) -> Result<(), StoreError> {
        let Self { handle, thread } = self;
        // Where the thread has ended already, joining it says why.
        let _ = handle.messages.send(Message::Shutdown);
        thread.join().unwrap_or(Err(StoreError::Stopped))
    }
}

impl Handle {
    /// Runs `work` on the thread, and waits for its answer. Work that blocks holds everybody up.
    ///
    /// Work is skipped where the caller is gone before its turn.
    pub async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| StoreError::Stopped)?;
        let (reply, answer) = oneshot::channel();
        let request = Box::new(move |store: &mut dyn Store| {
            if !reply.is_closed() {
                // A caller that left meanwhile wants no answer.
                let _ = reply.send(work(store));
            }
            drop(permit);
        });
        self.messages.try_send(Message::Request(request)).map_err(|_| StoreError::Stopped)?;
        answer.await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Waits until the frame `seq` is in the database.
    pub async fn wait_applied(&self, seq: u64) -> Result<(), StoreError> {
        let mut applied = self.applied.clone();
        self.shared.wanted_seq.fetch_max(seq, Ordering::AcqRel);
        // A full channel holds a hint that the thread has yet to see; one that has ended says so below.
        let _ = self.hurry.try_send(());
        applied.wait_for(|applied| *applied >= seq).await.map_err(|_| StoreError::Stopped)?;
        Ok(())
    }

    /// The last frame in the database: one load.
    pub fn applied(&self) -> u64 {
        self.shared.applied_seq.load(Ordering::Acquire)
    }

    /// Counters for metrics and readiness.
    pub fn stats(&self) -> PersistenceStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // First what lags: a lag that is not there is never shown.
        let (applied_seq, applied_place) = (self.applied(), load(&self.shared.applied_place));
        let (durable_seq, durable_place) = (self.journal.durable_seq(), self.journal.durable_place());
        let lag_bytes =
            if applied_seq < durable_seq { durable_place.saturating_sub(applied_place) } else { 0 };
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        PersistenceStats {
            applied_seq,
            durable_seq,
            lag_bytes,
            lag: waiting.longest(durable_seq, applied_seq, Instant::now()),
            transaction_rows: load(&self.shared.transaction_rows),
            breaker: *self.shared.breaker(),
            rows: load(&self.shared.rows),
            transactions: load(&self.shared.transactions),
            requests: load(&self.shared.requests),
            errors: load(&self.shared.errors),
            last_error: self.shared.last_error().clone(),
        }
    }
}

struct Worker {
    store: Box<dyn Store>,
    gathering: Gathering,
    /// Whether the next transaction is merged while one is applied.
    is_overlapping: bool,
    nudges: Receiver<()>,
    hurried: Receiver<()>,
    linger: Duration,
    /// Until when what was merged waits.
    linger_until: Option<Instant>,
    messages: Receiver<Message>,
    epoch: u64,
    applied_seq: u64,
    publish: watch::Sender<u64>,
    shared: Arc<Shared>,
    checkpointed_segment: Option<u64>,
    retry: Option<Retry>,
    closing: bool,
    /// How often the lease is renewed, where there is one, and when next.
    renew_every: Option<Duration>,
    renew_at: Instant,
}

struct Retry {
    at: Instant,
    tries: u32,
}

impl Worker {
    /// Begins an epoch and stands where the database does.
    fn open(
        store: Box<dyn Store>,
        position: Position,
        reader: Reader,
        tables: &[Table],
        config: PersistenceConfig,
    ) -> (Self, Handle) {
        let shared = Arc::new(Shared::default());
        shared.applied_seq.store(position.seq, Ordering::Relaxed);
        let (publish, applied) = watch::channel(position.seq);
        // One more than there are permits: there is always room for the shutdown.
        let (messages, received) = bounded(config.queue_requests + 1);
        let journal = reader.shared.clone();
        let nudges = reader.nudges().clone();
        let gathering = Gathering::new(reader, tables, position.seq, config.transaction_rows);
        let place = gathering.reader.place_of(position.seq + 1);
        shared.applied_place.store(place, Ordering::Relaxed);
        let (hurry, hurried) = bounded(1);
        let renew_every = store.lease_renewal();
        let worker = Self {
            hurried,
            is_overlapping: true,
            linger: config.linger,
            linger_until: None,
            renew_every,
            renew_at: Instant::now(),
            nudges,
            store,
            gathering,
            messages: received,
            epoch: position.epoch,
            applied_seq: position.seq,
            publish,
            shared: shared.clone(),
            checkpointed_segment: None,
            retry: None,
            closing: false,
        };
        let permits = Arc::new(Semaphore::new(config.queue_requests));
        (worker, Handle { messages, permits, applied, hurry, shared, journal })
    }

    fn run(mut self, on_failure: OnFailure) -> Result<(), StoreError> {
        let ended = catch_unwind(AssertUnwindSafe(|| self.serve()));
        let ended = ended.unwrap_or_else(|panic| Err(StoreError::Panicked(panic_text(&*panic))));
        if let Err(error) = &ended
            && !self.closing
        {
            let reason = error.to_string();
            tracing::error!(%reason, "persistence stopped for good");
            *self.shared.last_error() = Some(reason.clone());
            on_failure(&reason);
        }
        ended
    }

    /// Until it is shut down, or shut out.
    fn serve(&mut self) -> Result<(), StoreError> {
        loop {
            *self.shared.breaker() = self.store.breaker();
            self.answer_waiting();
            if self.retry.as_ref().is_none_or(|retry| retry.at <= Instant::now()) {
                match self.renew().and_then(|()| self.apply()) {
                    Ok(true) => continue,
                    Ok(false) if self.closing && self.messages.is_empty() => return self.close(),
                    Ok(false) => {}
                    Err(error) => self.failed(error)?,
                }
            }
            if !self.closing || self.retry.is_some() {
                self.wait();
            }
        }
    }

    /// Takes one transaction's worth of frames to the database; false where there are none, or those that there are wait
    /// for others.
    fn apply(&mut self) -> Result<bool, StoreError> {
        let from = self.applied_seq;
        self.gathering.fill()?;
        let to = self.gathering.seq();
        if to == from {
            self.recovered();
            return Ok(false);
        }
        if self.lingers() {
            return Ok(false);
        }
        let rows = self.gathering.rows() as u64;
        let place = self.gathering.reader.place_of(to + 1);
        self.apply_gathered(from, to)?;
        self.renewed();
        self.recovered();
        self.shared.rows.fetch_add(rows, Ordering::Relaxed);
        self.shared.transactions.fetch_add(1, Ordering::Relaxed);
        self.shared.transaction_rows.store(rows, Ordering::Relaxed);
        self.advance(to, place);
        let segment = self.gathering.reader.segment_of(to);
        if segment != self.checkpointed_segment {
            self.checkpointed_segment = segment;
            self.checkpoint();
        }
        Ok(true)
    }

    fn apply_gathered(&mut self, from: u64, to: u64) -> Result<(), StoreError> {
        // After a full transaction mostly comes another.
        let is_overlapping = self.is_overlapping && self.gathering.is_full();
        let changes = self.gathering.take();
        let Self { store, gathering, .. } = self;
        if !is_overlapping {
            return store.apply(&changes, from, to);
        }
        thread::scope(|scope| {
            let name = "vyuha-store-in".to_owned();
            let ahead = thread::Builder::new().name(name).spawn_scoped(scope, || gathering.fill());
            let applied = store.apply(&changes, from, to);
            if let Ok(ahead) = ahead
                && let Err(panic) = ahead.join()
            {
                resume_unwind(panic);
            }
            // What could not be merged is met again in the next turn.
            applied
        })
    }

    /// Whether what was merged waits for more.
    fn lingers(&mut self) -> bool {
        let is_wanted = self.shared.wanted_seq.load(Ordering::Acquire) > self.applied_seq;
        if self.linger.is_zero()
            || self.gathering.is_full()
            || is_wanted
            || self.closing
            || self.retry.is_some()
        {
            self.linger_until = None;
            return false;
        }
        let now = Instant::now();
        let lingers = *self.linger_until.get_or_insert(now + self.linger) > now;
        if !lingers {
            self.linger_until = None;
        }
        lingers
    }

    /// Renews the lease where it is time to.
    fn renew(&mut self) -> Result<(), StoreError> {
        if self.renew_every.is_some() && self.renew_at <= Instant::now() {
            self.store.renew_lease()?;
            self.renewed();
        }
        Ok(())
    }

    fn renewed(&mut self) {
        if let Some(every) = self.renew_every {
            self.renew_at = Instant::now() + every;
        }
    }

    /// `place` is where the frame behind begins.
    fn advance(&mut self, applied_seq: u64, place: u64) {
        self.applied_seq = applied_seq;
        self.shared.applied_place.store(place, Ordering::Relaxed);
        self.shared.applied_seq.store(applied_seq, Ordering::Release);
        self.publish.send_replace(applied_seq);
    }

    /// Lets the journal reuse what is synced in the database. A failure only keeps segments for
    /// longer: the next one is tried at the next segment.
    fn checkpoint(&mut self) {
        match self.store.checkpoint() {
            Ok(()) => self.gathering.reader.release(self.applied_seq),
            Err(error) => {
                tracing::warn!(%error, "a checkpoint failed; the journal keeps its segments until the next");
                self.shared.errors.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Ends the waiting out of an error, if there was one; before the frame is published as applied.
    fn recovered(&mut self) {
        if self.retry.take().is_some() {
            *self.shared.last_error() = None;
        }
    }

    /// Plans to go on from where the database says it is: the transaction may have been committed
    /// although it failed.
    fn failed(&mut self, error: StoreError) -> Result<(), StoreError> {
        let tries = self.retry.as_ref().map_or(0, |retry| retry.tries) + 1;
        self.shared.errors.fetch_add(1, Ordering::Relaxed);
        *self.shared.last_error() = Some(error.to_string());
        tracing::warn!(%error, tries, "writing to the database failed; the journal keeps what is to be written");
        match self.store.position() {
            Ok(position) if position.epoch != self.epoch => return Err(error),
            Ok(position) => {
                self.advance(position.seq, self.gathering.reader.place_of(position.seq + 1));
            }
            Err(StoreError::Unavailable { .. }) => {}
            Err(error) => tracing::warn!(%error, "the database's position cannot be read"),
        }
        self.gathering.begin_after(self.applied_seq);
        self.linger_until = None;
        if self.closing && tries >= SHUTDOWN_TRIES_MAX {
            return Err(error);
        }
        let delay = RETRY_DELAY_MIN.saturating_mul(1 << (tries - 1).min(16)).min(RETRY_DELAY_MAX);
        // Nodes that share a database and lost it together do not come back in step.
        let mut delay = delay.mul_f64(rand::random_range(0.5..=1.0));
        if let StoreError::Unavailable { retry_after, .. } = error {
            delay = delay.max(retry_after);
        }
        self.retry = Some(Retry { at: Instant::now() + delay, tries });
        Ok(())
    }

    /// Sleeps until there is a frame, a message, or time to try again.
    fn wait(&mut self) {
        let renewal = self.renew_every.map(|_| self.renew_at);
        let due =
            self.retry.as_ref().map(|retry| retry.at).or(renewal.into_iter().chain(self.linger_until).min());
        let due = due.map_or_else(never, at);
        // While an error is waited out, new frames are no reason to wake.
        let nudges = if self.retry.is_some() { never() } else { self.nudges.clone() };
        select! {
            recv(nudges) -> nudge => {
                if nudge.is_err() {
                    // The journal has ended, in order or not: what it made durable is still applied.
                    self.nudges = never();
                }
            }
            recv(self.messages) -> message => self.answer(message.unwrap_or(Message::Shutdown)),
            recv(self.hurried) -> _ => {}
            recv(due) -> _ => {}
        }
    }

    fn answer_waiting(&mut self) {
        for message in self.messages.clone().try_iter().take(REQUESTS_PER_TURN_MAX) {
            self.answer(message);
        }
    }

    fn answer(&mut self, message: Message) {
        match message {
            Message::Request(request) => {
                self.shared.requests.fetch_add(1, Ordering::Relaxed);
                request(&mut *self.store);
            }
            Message::Shutdown => self.closing = true,
        }
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.store.checkpoint()?;
        self.gathering.reader.release(self.applied_seq);
        if let Err(error) = self.store.release_lease() {
            tracing::warn!(%error, "the lease was not given back: another process may start this node once it ends");
        }
        Ok(())
    }
}

/// The persistence thread's work without the thread, for the fault simulator: whoever drives it says when it is done.
#[cfg(feature = "simulation")]
pub struct SteppedPersistence(Worker);

#[cfg(feature = "simulation")]
impl SteppedPersistence {
    /// As [`Persistence::start`], without a thread.
    pub fn open(
        store: Box<dyn Store>,
        position: Position,
        reader: Reader,
        tables: &[Table],
        config: PersistenceConfig,
    ) -> (Self, Handle) {
        // Nobody here waits for the clock.
        let config = PersistenceConfig { linger: Duration::ZERO, ..config };
        let (mut worker, handle) = Worker::open(store, position, reader, tables, config);
        // What happens in which order is the seed's to say.
        worker.is_overlapping = false;
        (Self(worker), handle)
    }

    /// Answers requests that wait, then applies one transaction's worth of frames; false where there are none, or the
    /// database failed. How long the thread would wait after that is the caller's to say.
    ///
    /// # Errors
    /// If it was shut out.
    pub fn step(&mut self) -> Result<bool, StoreError> {
        self.0.answer_waiting();
        self.0.renew().and_then(|()| self.0.apply()).or_else(|error| self.0.failed(error).map(|()| false))
    }

    /// Syncs the database and lets the journal go of what is in it.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.0.close()
    }
}
