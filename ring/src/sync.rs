//! What loom replaces in a model: atomics, threads, and the cells that two threads share.

#[cfg(loom)]
pub use loom::{
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    thread,
};
#[cfg(not(loom))]
pub use std::{
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    thread,
};

use std::cell::UnsafeCell;

/// A thread that may sleep.
#[cfg(not(loom))]
pub struct Parker(thread::Thread);

#[cfg(not(loom))]
impl Parker {
    /// Of the thread that asks.
    pub fn here() -> Self {
        Self(thread::current())
    }

    /// Sleeps until it was unparked since the last time, or for no reason. Only for the thread that it is of.
    pub fn park(&self) {
        debug_assert_eq!(thread::current().id(), self.0.id(), "a thread sends only itself to sleep");
        thread::park();
    }

    pub fn unpark(&self) {
        self.0.unpark();
    }
}

/// The same in a model. Loom's own `unpark` also ends other sleeps than parking, which no thread does.
#[cfg(loom)]
pub struct Parker(loom::sync::Notify);

#[cfg(loom)]
impl Parker {
    pub fn here() -> Self {
        Self(loom::sync::Notify::new())
    }

    pub fn park(&self) {
        self.0.wait();
    }

    pub fn unpark(&self) {
        self.0.notify();
    }
}

/// On cache lines of its own: two, since processors fetch them in pairs.
#[repr(align(128))]
pub struct Padded<T>(pub T);

/// As many items as a power of two, each of which belongs to one thread at a time. Who that is, only the caller knows.
pub struct Slots<T> {
    items: Box<[UnsafeCell<T>]>,
    /// Accessed whenever an item is: loom fails a model in which two threads have it at once.
    #[cfg(loom)]
    marks: Box<[loom::cell::UnsafeCell<()>]>,
}

// SAFETY: items are reached through `range` alone, whose callers answer for each having one owner at a time, and
// they move between threads as `T: Send` allows.
unsafe impl<T: Send> Send for Slots<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> Slots<T> {
    /// # Panics
    /// If the number is no power of two.
    pub fn new(items: impl Iterator<Item = T>) -> Self {
        let items: Box<[_]> = items.map(UnsafeCell::new).collect();
        assert!(items.len().is_power_of_two(), "the number of slots is a power of two");
        Self {
            #[cfg(loom)]
            marks: items.iter().map(|_| loom::cell::UnsafeCell::new(())).collect(),
            items,
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// The slots of `len` indices from `start` on, in order: up to the last slot, then from the first.
    ///
    /// # Safety
    /// `len` is at most the number of slots, and for as long as the slices live nobody else uses these slots.
    #[inline]
    #[allow(clippy::mut_from_ref, reason = "each slot has one owner at a time, as UnsafeCell has")]
    pub unsafe fn range(&self, start: usize, len: usize) -> (&mut [T], &mut [T]) {
        debug_assert!(len <= self.len());
        #[cfg(loom)]
        for index in 0..len {
            self.marks[start.wrapping_add(index) & (self.len() - 1)].with_mut(|_| ());
        }
        let start = start & (self.len() - 1);
        let first = len.min(self.len() - start);
        let items = UnsafeCell::raw_get(self.items.as_ptr());
        // SAFETY: both slices lie within the items, do not overlap since `len` is at most their number, and are the
        // caller's alone. Cells have the layout of what they hold. The safe version is a lock.
        unsafe {
            (
                std::slice::from_raw_parts_mut(items.add(start), first),
                std::slice::from_raw_parts_mut(items, len - first),
            )
        }
    }
}
