//! Memory for what an io_uring receives: a list of free buffers, shared with the kernel, and the buffers.
//!
//! Whoever registers a pool with a ring, which is `unsafe`, sees to it that the kernel writes to it only inside calls that
//! borrow the pool exclusively (`DEFER_TASKRUN`), and that no receive is under way when it is dropped, or else
//! [leaks](Pool::leak) it.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

const PAGE_BYTES: usize = 4096;

/// So many buffers, a power of two, of so many bytes each, and the list of them, in one allocation.
pub struct Pool<const BUFFERS: u16, const BUFFER_BYTES: usize> {
    base: NonNull<BufRingEntry>,
    /// Buffers put into the list since the start, wrapping.
    tail: u16,
    leaked: bool,
}

impl<const BUFFERS: u16, const BUFFER_BYTES: usize> Pool<BUFFERS, BUFFER_BYTES> {
    /// Where the buffers begin, behind the list that tells the kernel of them.
    const OFFSET: usize = BUFFERS as usize * size_of::<BufRingEntry>();
    const BYTES: usize = Self::OFFSET + BUFFERS as usize * BUFFER_BYTES;

    /// A pool whose every buffer is in the list.
    #[allow(clippy::new_without_default, reason = "it takes megabytes: nobody should get one by default")]
    pub fn new() -> Self {
        const { assert!(BUFFERS.is_power_of_two() && Self::OFFSET.is_multiple_of(PAGE_BYTES)) };
        let layout = Self::layout();
        // SAFETY: the layout is not empty.
        let base = unsafe { alloc_zeroed(layout) };
        let base = NonNull::new(base).unwrap_or_else(|| handle_alloc_error(layout)).cast();
        let mut pool = Pool { base, tail: 0, leaked: false };
        for buffer in 0..BUFFERS {
            pool.put(buffer);
        }
        pool.publish();
        pool
    }

    /// Where the list is, for the ring that is to know of it.
    pub fn address(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    fn layout() -> Layout {
        Layout::from_size_align(Self::BYTES, PAGE_BYTES).expect("the size is valid and constant")
    }

    fn buffer(&self, buffer: u16) -> *mut u8 {
        assert!(buffer < BUFFERS, "the kernel was given no buffer {buffer}");
        // SAFETY: within the allocation, by the check.
        unsafe { self.base.cast::<u8>().add(Self::OFFSET + buffer as usize * BUFFER_BYTES).as_ptr() }
    }

    /// The bytes at the head of a buffer that the kernel has filled.
    ///
    /// # Panics
    /// If there is no such buffer, or it is not as long.
    pub fn bytes(&self, buffer: u16, length: usize) -> &[u8] {
        assert!(length <= BUFFER_BYTES, "{length} bytes are more than a buffer holds");
        // SAFETY: within the allocation and initialised from the start; the kernel writes only inside calls that borrow
        // the ring exclusively, and no buffer that was not given back.
        unsafe { slice::from_raw_parts(self.buffer(buffer), length) }
    }

    /// Puts a buffer into the list; the kernel sees it after [`publish`](Self::publish).
    pub fn put(&mut self, buffer: u16) {
        let address = self.buffer(buffer) as u64;
        let place = (self.tail % BUFFERS) as usize;
        // SAFETY: within the list at the allocation's head, which is aligned; the kernel reads entries only up to the
        // published tail, and as many are in the list at most as it has places.
        let entry = unsafe { self.base.add(place).as_mut() };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Tells the kernel of the buffers in the list.
    pub fn publish(&mut self) {
        // SAFETY: the base is that of the list; its first entry holds the tail, which is aligned, and which the kernel
        // reads as the atomic that it is.
        unsafe {
            let tail = BufRingEntry::tail(self.base.as_ptr());
            (*tail.cast::<AtomicU16>()).store(self.tail, Ordering::Release);
        }
    }

    /// Leaves the memory to the kernel for good.
    pub fn leak(&mut self) {
        self.leaked = true;
    }
}

impl<const BUFFERS: u16, const BUFFER_BYTES: usize> Drop for Pool<BUFFERS, BUFFER_BYTES> {
    fn drop(&mut self) {
        if !self.leaked {
            // SAFETY: allocated with this layout, and nobody else knows of it: the ring saw to that.
            unsafe { dealloc(self.base.cast().as_ptr(), Self::layout()) };
        }
    }
}
