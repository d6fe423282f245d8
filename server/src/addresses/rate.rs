//! A rate for each address, in bounded memory.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

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
    limiter: RateLimiter<IpAddr, Table, C, NoOpMiddleware<C::Instant>>,
    /// The limiter's own.
    table: Table,
    questions_when_full: Cell<u32>,
}

#[derive(Clone)]
struct Table(Rc<Cells>);

struct Cells {
    /// When each address will have regained all, as `governor` counts it.
    regained: RefCell<HashMap<IpAddr, Nanos>>,
    /// The same, of all that find no place.
    others: Cell<Option<Nanos>>,
    addresses_max: usize,
    /// What is asked now changes nothing.
    is_looking: Cell<bool>,
}

impl<C: Clock> Rate<C> {
    pub fn new(quota: Quota, addresses_max: usize, clock: C) -> Rate<C> {
        let table = Table(Rc::new(Cells {
            regained: RefCell::default(),
            others: Cell::default(),
            addresses_max,
            is_looking: Cell::new(false),
        }));
        let limiter = RateLimiter::new(quota, table.clone(), clock);
        Rate { limiter, table, questions_when_full: Cell::new(0) }
    }

    /// Counts something that an address does; `false`, and not counted, if it is too often.
    pub fn count(&self, address: IpAddr) -> bool {
        if self.limiter.len() >= self.table.0.addresses_max {
            let questions = self.questions_when_full.get();
            self.questions_when_full.set(questions.wrapping_add(1));
            if questions.is_multiple_of(QUESTIONS_A_SEARCH) {
                self.limiter.retain_recent();
            }
        }
        self.limiter.check_key(&address).is_ok()
    }

    /// Whether it would be counted; nothing is.
    pub fn has_room(&self, address: IpAddr) -> bool {
        self.table.0.is_looking.set(true);
        let has_room = self.limiter.check_key(&address).is_ok();
        self.table.0.is_looking.set(false);
        has_room
    }

    /// Addresses that are remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.limiter.len()
    }
}

impl StateStore for Table {
    type Key = IpAddr;

    fn measure_and_replace<T, F, E>(&self, address: &IpAddr, judge: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut regained = self.0.regained.borrow_mut();
        let known = regained.get(address).copied();
        let is_one_of_others = known.is_none() && regained.len() >= self.0.addresses_max;
        let before = if is_one_of_others { self.0.others.get() } else { known };
        let (judged, after) = judge(before)?;
        match self.0.is_looking.get() {
            true => {}
            false if is_one_of_others => self.0.others.set(Some(after)),
            false => _ = regained.insert(*address, after),
        }
        Ok(judged)
    }
}

impl ShrinkableKeyedStateStore<IpAddr> for Table {
    fn retain_recent(&self, drop_below: Nanos) {
        self.0.regained.borrow_mut().retain(|_, regained| *regained > drop_below);
    }

    fn shrink_to_fit(&self) {
        self.0.regained.borrow_mut().shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.0.regained.borrow().len()
    }

    fn is_empty(&self) -> bool {
        self.0.regained.borrow().is_empty()
    }
}
