//! What one address may do: connect, sign in at the same time, and fail at it. The game's door and the pages' port each have
//! budgets of their own.
//!
//! An address is one of IPv4, or a /64 network of IPv6, which is what one subscriber has. Exempt ones may do all. It keeps
//! nobody out for good, and knows nothing of accounts.
//!
//! Memory: three tables of at most [`ADDRESSES_MAX`] addresses, some 8 MiB together; what an address has regained is forgotten
//! once a table is full. If all of it is of the last minute, the addresses that find no place share one budget.

mod rate;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use governor::Quota;
use governor::clock::{Clock, MonotonicClock};

use crate::config::{Address, Networks, masked};
use rate::Rate;

/// Addresses that are remembered of each rate.
const ADDRESSES_MAX: usize = 1 << 16;
/// Leading bits of an IPv6 address that count.
const IPV6_BITS: u8 = 64;
/// How many seconds' worth of connections may come at once.
const CONNECTIONS_BURST_S: u32 = 5;

/// What every address did lately.
pub struct Addresses<C: Clock = MonotonicClock> {
    exempt: Networks,
    connections: Rate<C>,
    failures: Rate<C>,
    registrations: Rate<C>,
    handshakes_max: u32,
    /// Places taken, by address; those that are exempt are not counted.
    handshakes: Mutex<HashMap<IpAddr, u32>>,
}

/// An address's place to sign in from, given back on drop.
pub struct Place<C: Clock = MonotonicClock> {
    addresses: Arc<Addresses<C>>,
    /// None if it is exempt.
    address: Option<IpAddr>,
}

impl<C: Clock + Clone> Addresses<C> {
    /// Nobody has done anything yet.
    ///
    /// # Panics
    /// If one of the limits is 0.
    pub fn new(limits: &Address, clock: C) -> Addresses<C> {
        let positive = |number: u32| NonZeroU32::new(number).expect("no limit is 0");
        let per_second = positive(limits.connections_per_second_max);
        let burst = per_second.saturating_mul(positive(CONNECTIONS_BURST_S));
        let connections = Quota::per_second(per_second).allow_burst(burst);
        let failures = Quota::per_minute(positive(limits.failures_per_minute_max));
        Addresses {
            exempt: limits.exempt.clone(),
            connections: Rate::new(connections, ADDRESSES_MAX, clock.clone()),
            failures: Rate::new(failures, ADDRESSES_MAX, clock.clone()),
            registrations: Rate::new(failures, ADDRESSES_MAX, clock),
            handshakes_max: limits.handshakes_max,
            handshakes: Mutex::default(),
        }
    }

    /// Somebody has connected: their place, or `None` if it was too often lately or there are too many.
    pub fn connect(self: &Arc<Self>, address: IpAddr) -> Option<Place<C>> {
        let address = self.judged(address);
        if let Some(address) = address {
            let mut handshakes = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = handshakes.get(&address).copied().unwrap_or(0);
            if taken >= self.handshakes_max || !self.connections.count(address) {
                return None;
            }
            handshakes.insert(address, taken + 1);
        }
        Some(Place { addresses: self.clone(), address })
    }

    /// The address that an address counts as; none if it is exempt.
    fn judged(&self, address: IpAddr) -> Option<IpAddr> {
        let address = address.to_canonical();
        let bits = if address.is_ipv4() { 32 } else { IPV6_BITS };
        (!self.exempt.contain(address)).then(|| masked(address, bits))
    }
}

impl<C: Clock + Clone> Place<C> {
    /// Whether another failed sign-in would be one too many: none is to be tried.
    pub fn has_failed_too_often(&self) -> bool {
        self.address.is_some_and(|address| !self.addresses.failures.has_room(address))
    }

    /// A sign-in has failed.
    pub fn count_failure(&self) {
        if let Some(address) = self.address {
            self.addresses.failures.count(address);
        }
    }

    /// An account is to be registered: whether it may be.
    pub fn may_register(&self) -> bool {
        self.address.is_none_or(|address| self.addresses.registrations.count(address))
    }
}

impl<C: Clock> Drop for Place<C> {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut handshakes = self.addresses.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        if let std::collections::hash_map::Entry::Occupied(mut taken) = handshakes.entry(address) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}
