//! A rate for each address, in bounded memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};

/// While the table is full, how often it is looked through for what can be forgotten: once in so many questions.
const QUESTIONS_A_SEARCH: u32 = 1024;

/// Counts what addresses do, and says when it is too often. The table is keyed by addresses as they are given.
pub(super) struct Rate<C: Clock> {
    limiter: RateLimiter<Question, Table, C, NoOpMiddleware<C::Instant>>,
    addresses_max: usize,
    questions_when_full: AtomicU32,
}

#[derive(Clone)]
struct Table(Arc<Mutex<Cells>>);

struct Cells {
    /// When each address will have regained all, as `governor` counts it.
    regained: HashMap<IpAddr, Nanos>,
    /// The same, of all that find no place.
    others: Option<Nanos>,
    addresses_max: usize,
}

/// An address, and whether asking for it changes nothing.
#[derive(Clone, Hash, PartialEq, Eq)]
struct Question {
    address: IpAddr,
    is_look: bool,
}

impl<C: Clock> Rate<C> {
    pub fn new(quota: Quota, addresses_max: usize, clock: C) -> Rate<C> {
        let cells = Cells { regained: HashMap::new(), others: None, addresses_max };
        let table = Table(Arc::new(Mutex::new(cells)));
        let limiter = RateLimiter::new(quota, table, clock);
        Rate { limiter, addresses_max, questions_when_full: AtomicU32::new(0) }
    }

    /// Counts something that an address does; `false`, and not counted, if it is too often.
    pub fn count(&self, address: IpAddr) -> bool {
        if self.limiter.len() >= self.addresses_max {
            let questions = self.questions_when_full.fetch_add(1, Ordering::Relaxed);
            if questions.is_multiple_of(QUESTIONS_A_SEARCH) {
                self.limiter.retain_recent();
            }
        }
        self.limiter.check_key(&Question { address, is_look: false }).is_ok()
    }

    /// Whether it would be counted; nothing is.
    pub fn has_room(&self, address: IpAddr) -> bool {
        self.limiter.check_key(&Question { address, is_look: true }).is_ok()
    }

    /// Addresses that are remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.limiter.len()
    }
}

impl Table {
    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for Table {
    type Key = Question;

    fn measure_and_replace<T, F, E>(&self, question: &Question, judge: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let Cells { regained, others, addresses_max } = &mut *self.cells();
        let Question { address, is_look } = question;
        let known = regained.get(address).copied();
        let is_one_of_others = known.is_none() && regained.len() >= *addresses_max;
        let before = if is_one_of_others { *others } else { known };
        let (judged, after) = judge(before)?;
        match is_look {
            true => {}
            false if is_one_of_others => *others = Some(after),
            false => _ = regained.insert(*address, after),
        }
        Ok(judged)
    }
}

impl ShrinkableKeyedStateStore<Question> for Table {
    fn retain_recent(&self, drop_below: Nanos) {
        self.cells().regained.retain(|_, regained| *regained > drop_below);
    }

    fn shrink_to_fit(&self) {
        self.cells().regained.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.cells().regained.len()
    }

    fn is_empty(&self) -> bool {
        self.cells().regained.is_empty()
    }
}
