//! The bell: how one who waits for rings is woken, once a sleep.
//!
//! The protocol. The sleeper looks at its rings; if there is nothing it stores how it is to be woken, says that it is
//! armed, and **looks once more**. The producer publishes, and **then** asks whether the sleeper is armed. Between the two
//! steps each has a sequentially consistent fence, so that one of them sees the other: either the sleeper finds the item
//! or the producer finds the sleeper. The producer that finds it armed takes the waker out, which disarms it: no other
//! one wakes it again before it is armed anew.

use std::cell::UnsafeCell;
use std::sync::Arc as StdArc;
use std::task::{self, Context, Poll, Waker};

use crate::sync::{Arc, AtomicUsize, Ordering, Parker, fence, thread};

/// How a producer tells the consumer of its ring that there is something new.
pub trait Wake {
    /// Called after each batch was committed, and after the producer went.
    fn wake(&self);
}

/// The consumer looks by itself: nothing to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Polled;

impl Wake for Polled {
    #[inline]
    fn wake(&self) {}
}

/// Nobody is to be woken; the waker's cell is the sleeper's.
const AWAKE: usize = 0;
/// The sleeper is to be woken; the cell is whose who changes this state.
const ARMED: usize = 1;
/// A producer takes the waker out; the cell is that producer's.
const TAKEN: usize = 2;

struct Shared {
    state: AtomicUsize,
    waker: WakerCell,
}

/// A producer's way to wake the sleeper. Clones wake the same one.
#[derive(Clone)]
pub struct Bell {
    shared: Arc<Shared>,
}

/// Waits until a bell says that there may be something: one for all clones of a bell.
pub struct Sleeper {
    shared: Arc<Shared>,
}

/// A bell and the one that it wakes.
pub fn bell() -> (Bell, Sleeper) {
    let shared = Arc::new(Shared { state: AtomicUsize::new(AWAKE), waker: WakerCell::new() });
    (Bell { shared: shared.clone() }, Sleeper { shared })
}

impl Wake for Bell {
    #[inline]
    fn wake(&self) {
        // What was published is before this fence, the question after it: see the protocol.
        fence(Ordering::SeqCst);
        if self.shared.state.load(Ordering::Relaxed) == ARMED {
            self.shared.wake();
        }
    }
}

impl Shared {
    #[cold]
    fn wake(&self) {
        // Acquire: the waker that the sleeper stored. A failure means that another one wakes it, or that it woke.
        if self.state.compare_exchange(ARMED, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return;
        }
        // SAFETY: who changes the state to TAKEN has the cell until it changes it again.
        let waker = unsafe { self.waker.replace(None) };
        // Release: the sleeper may store the next one.
        self.state.store(AWAKE, Ordering::Release);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Sleeper {
    /// Blocks this thread until `is_ready`, which is asked at once and whenever a bell rang. It must look at what the
    /// bells' producers publish ([`Consumer::is_empty`](crate::Consumer::is_empty),
    /// [`Consumer::is_closed`](crate::Consumer::is_closed)), or nothing wakes it.
    pub fn wait(&mut self, mut is_ready: impl FnMut() -> bool) {
        if is_ready() {
            return;
        }
        let parked = StdArc::new(Parked(Parker::here()));
        let waker = Waker::from(parked.clone());
        let mut context = Context::from_waker(&waker);
        while self.poll(&mut context, &mut is_ready).is_pending() {
            parked.0.park();
        }
    }

    /// Ready if `is_ready` says so, which is asked as for [`Self::wait`]; otherwise the task is woken when a bell rings.
    pub fn poll(&mut self, context: &mut Context<'_>, mut is_ready: impl FnMut() -> bool) -> Poll<()> {
        if is_ready() {
            return Poll::Ready(());
        }
        if !self.disarm() {
            // A bell rings at this very moment, perhaps for an older waker: ask again.
            thread::yield_now();
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        // SAFETY: in the state AWAKE the cell is the sleeper's.
        drop(unsafe { self.shared.waker.replace(Some(context.waker().clone())) });
        // Release: whoever wakes it finds the waker.
        self.shared.state.store(ARMED, Ordering::Release);
        // Armed before this fence, the second look after it: see the protocol.
        fence(Ordering::SeqCst);
        if is_ready() {
            // If a bell was faster it costs one waking in vain.
            self.disarm();
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Takes the cell back; false where a producer has it at the moment.
    fn disarm(&mut self) -> bool {
        // Acquire: whoever had the cell is done with it.
        let state = &self.shared.state;
        match state.compare_exchange(ARMED, AWAKE, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => true,
            Err(state) => state == AWAKE,
        }
    }
}

/// A thread that sleeps in [`Sleeper::wait`].
struct Parked(Parker);

impl task::Wake for Parked {
    fn wake(self: StdArc<Self>) {
        self.0.unpark();
    }
}

/// How the sleeper is to be woken.
struct WakerCell {
    waker: UnsafeCell<Option<Waker>>,
    /// Accessed whenever the waker is: loom fails a model in which two threads have it at once.
    #[cfg(loom)]
    mark: loom::cell::UnsafeCell<()>,
}

// SAFETY: `replace` is the only access, and its callers answer for there being one at a time. Wakers are Send.
unsafe impl Sync for WakerCell {}

impl WakerCell {
    fn new() -> Self {
        Self {
            waker: UnsafeCell::new(None),
            #[cfg(loom)]
            mark: loom::cell::UnsafeCell::new(()),
        }
    }

    /// # Safety
    /// Nobody else uses the cell at the same time.
    unsafe fn replace(&self, waker: Option<Waker>) -> Option<Waker> {
        #[cfg(loom)]
        self.mark.with_mut(|_| ());
        // SAFETY: the caller alone uses the cell. The safe version is a lock, for which a producer could wait.
        unsafe { std::mem::replace(&mut *self.waker.get(), waker) }
    }
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bell")
    }
}

impl std::fmt::Debug for Sleeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sleeper")
    }
}
