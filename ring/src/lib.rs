//! Bounded rings from one thread to one other, and the bell that wakes whoever waits for them.
//!
//! A [`ring`] has one [`Producer`] and one [`Consumer`]. Its slots are made once: the producer writes into them in
//! place ([`Producer::reserve`], [`Producer::commit`]), the consumer reads them in place ([`Consumer::ready`],
//! [`Consumer::release`]), and each end touches what the other one writes once a batch, not once an item.
//!
//! Who looks at its ring once a tick needs no waking. Who waits has a [`Sleeper`], with as many [`Bell`]s as there are
//! rings that it waits for ([`ring_with`]): a thread sleeps in [`Sleeper::wait`], a task in [`Sleeper::poll`]. A ring
//! whose consumer is awake costs the producer one fence and one load a batch; one that sleeps is woken once.
//!
//! Neither end ever waits for the other: a full ring refuses, an empty one has nothing. What nobody read is dropped with
//! the later of both ends. Nothing here allocates after a ring is made, but for what a sleeping thread takes to be woken
//! by. All of it is checked by loom: `cargo xtask loom`.

mod bell;
#[cfg(all(test, loom))]
mod loom_tests;
mod spsc;
mod sync;
#[cfg(all(test, not(loom)))]
mod tests;

pub use bell::{Bell, Polled, Sleeper, Wake, bell};
pub use spsc::{Consumer, Producer, ring, ring_with};
