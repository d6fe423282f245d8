//! The ring: two indices that only ever rise, each written by one end, and the slots between them.
//!
//! Slots from `head` up to `tail` are the consumer's, all others the producer's. An end moves its own index once it is
//! done with the slots before it (release), and takes over slots up to the other's index once it has read that
//! (acquire). What it last read of the other's index it keeps, and reads it anew only when that is used up.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use crate::bell::{Polled, Wake};
use crate::sync::{Arc, AtomicBool, AtomicUsize, Ordering, Padded, Slots};

struct Shared<T> {
    /// How many items were ever committed, wrapping. Written by the producer.
    tail: Padded<AtomicUsize>,
    /// How many items were ever released, wrapping. Written by the consumer.
    head: Padded<AtomicUsize>,
    producer_gone: AtomicBool,
    consumer_gone: AtomicBool,
    slots: Slots<T>,
}

/// The end that writes. It moves between threads, and is used by one at a time:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>() {}
/// shared::<vyuha_ring::Producer<u8>>();
/// ```
pub struct Producer<T, W: Wake = Polled> {
    shared: Arc<Shared<T>>,
    tail: usize,
    /// Of the consumer's index, the last that was read.
    head_seen: usize,
    wake: W,
    not_sync: PhantomData<Cell<()>>,
}

/// The end that reads. It moves between threads, and is used by one at a time:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>() {}
/// shared::<vyuha_ring::Consumer<u8>>();
/// ```
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: usize,
    /// Of the producer's index, the last that was read.
    tail_seen: usize,
    not_sync: PhantomData<Cell<()>>,
}

/// A ring whose consumer looks at it from time to time.
///
/// `capacity` is in items, and rounded up to a power of two; as many items are made at once, by [`Default`].
///
/// # Panics
/// If `capacity` is 0, or so great that no memory holds it.
pub fn ring<T: Default + Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    ring_with(capacity, Polled)
}

/// A ring whose consumer is told by `wake` when there is something new, and when the producer goes.
///
/// # Panics
/// As [`ring`].
pub fn ring_with<T: Default + Send, W: Wake>(capacity: usize, wake: W) -> (Producer<T, W>, Consumer<T>) {
    starting_at(0, capacity, wake)
}

/// Tests begin where the indices are about to wrap.
pub(crate) fn starting_at<T: Default + Send, W: Wake>(
    index: usize,
    capacity: usize,
    wake: W,
) -> (Producer<T, W>, Consumer<T>) {
    assert!(capacity > 0, "a ring of no items");
    let capacity = capacity.checked_next_power_of_two().expect("the capacity fits into memory");
    let shared = Arc::new(Shared {
        tail: Padded(AtomicUsize::new(index)),
        head: Padded(AtomicUsize::new(index)),
        producer_gone: AtomicBool::new(false),
        consumer_gone: AtomicBool::new(false),
        slots: Slots::new((0..capacity).map(|_| T::default())),
    });
    let producer =
        Producer { shared: shared.clone(), tail: index, head_seen: index, wake, not_sync: PhantomData };
    (producer, Consumer { shared, head: index, tail_seen: index, not_sync: PhantomData })
}

impl<T, W: Wake> Producer<T, W> {
    /// How many items the ring holds: a power of two.
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// Whether the consumer is gone: nothing committed from now on is read.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.shared.consumer_gone.load(Ordering::Relaxed)
    }

    /// Free slots to write to, in their order: the first slice, then the second. As many as there are, but at most
    /// `items_max`; none of a closed ring. They hold what the consumer left in them, and stay the producer's until
    /// [`Self::commit`].
    #[inline]
    pub fn reserve(&mut self, items_max: usize) -> (&mut [T], &mut [T]) {
        let items = if self.is_closed() { 0 } else { items_max.min(self.free(items_max)) };
        // SAFETY: the slots from tail to a capacity after head are the producer's: the consumer released them, which
        // `free` acquired, and gets them back only by `commit`, which the borrow keeps from being called.
        unsafe { self.shared.slots.range(self.tail, items) }
    }

    /// Hands over the first `items` slots of those last reserved, and tells the consumer once.
    ///
    /// # Panics
    /// If so many were not free when it was last asked for.
    #[inline]
    pub fn commit(&mut self, items: usize) {
        assert!(items <= self.free_seen(), "only slots that were reserved are committed");
        if items > 0 {
            self.tail = self.tail.wrapping_add(items);
            self.shared.tail.0.store(self.tail, Ordering::Release);
            self.wake.wake();
        }
    }

    /// Hands over one item; gives it back if the ring is full or closed. What was in its slot is dropped.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        match self.reserve(1) {
            ([slot], _) => *slot = item,
            _ => return Err(item),
        }
        self.commit(1);
        Ok(())
    }

    /// Free slots by what is known of the consumer.
    #[inline]
    fn free_seen(&self) -> usize {
        self.shared.slots.len() - self.tail.wrapping_sub(self.head_seen)
    }

    /// Free slots; exact where fewer than `wanted` are known of.
    #[inline]
    fn free(&mut self, wanted: usize) -> usize {
        if self.free_seen() < wanted {
            self.head_seen = self.shared.head.0.load(Ordering::Acquire);
        }
        self.free_seen()
    }
}

impl<T, W: Wake> Drop for Producer<T, W> {
    fn drop(&mut self) {
        // Release: who sees this sees all that was committed.
        self.shared.producer_gone.store(true, Ordering::Release);
        self.wake.wake();
    }
}

impl<T> Consumer<T> {
    /// How many items the ring holds: a power of two.
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// Whether nothing is there to be read just now.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.shared.tail.0.load(Ordering::Acquire) == self.head
    }

    /// Whether the producer is gone and everything it committed was released: nothing more will come.
    pub fn is_closed(&self) -> bool {
        // In this order: what was committed before the producer went is seen after that was.
        self.shared.producer_gone.load(Ordering::Acquire) && self.is_empty()
    }

    /// All that was committed and not released, oldest first: the first slice, then the second. Items may be changed
    /// and taken out; what is left in a slot stays there until the producer writes over it.
    #[inline]
    pub fn ready(&mut self) -> (&mut [T], &mut [T]) {
        self.tail_seen = self.shared.tail.0.load(Ordering::Acquire);
        // SAFETY: the slots from head to tail are the consumer's: the producer committed them, which the load
        // acquired, and gets them back only by `release`, which the borrow keeps from being called.
        unsafe { self.shared.slots.range(self.head, self.tail_seen.wrapping_sub(self.head)) }
    }

    /// Gives the first `items` slots of those that were ready back to the producer.
    ///
    /// # Panics
    /// If so many were not ready when it was last asked.
    #[inline]
    pub fn release(&mut self, items: usize) {
        assert!(items <= self.tail_seen.wrapping_sub(self.head), "only items that were ready are released");
        if items > 0 {
            self.head = self.head.wrapping_add(items);
            self.shared.head.0.store(self.head, Ordering::Release);
        }
    }

    /// The oldest item, which stays in its place until it is released.
    #[inline]
    pub fn peek(&mut self) -> Option<&mut T> {
        if self.tail_seen == self.head {
            self.tail_seen = self.shared.tail.0.load(Ordering::Acquire);
        }
        let items = usize::from(self.tail_seen != self.head);
        // SAFETY: as in `ready`; `items` is at most what is ready.
        let (oldest, _) = unsafe { self.shared.slots.range(self.head, items) };
        oldest.first_mut()
    }

    /// Takes the oldest item out and leaves a default one in its place.
    #[inline]
    pub fn pop(&mut self) -> Option<T>
    where
        T: Default,
    {
        let item = std::mem::take(self.peek()?);
        self.release(1);
        Some(item)
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        // Nothing of the producer's depends on it: it only stops.
        self.shared.consumer_gone.store(true, Ordering::Relaxed);
    }
}

impl<T, W: Wake> fmt::Debug for Producer<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (capacity, closed) = (self.capacity(), self.is_closed());
        f.debug_struct("Producer").field("capacity", &capacity).field("closed", &closed).finish()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (capacity, closed) = (self.capacity(), self.is_closed());
        f.debug_struct("Consumer").field("capacity", &capacity).field("closed", &closed).finish()
    }
}
