//! One io_uring with a pool of receive buffers: what is asked of the kernel, and what it answers.
//!
//! The kernel writes to the pool and reads what is sent only inside a call of [`Ring::enter`] or [`Ring::send`]
//! (`DEFER_TASKRUN`), on the thread that made the ring (`SINGLE_ISSUER`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::squeue::Entry;
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode};
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::pool::Pool;

/// Receive buffers that all connections share.
const BUFFERS: u16 = 4096;
/// Bytes of each: some ticks' worth of inputs.
const BUFFER_BYTES: usize = 256;
/// Operations that one submission takes: enough that its cost is nobody's, few enough that what is sent stays in the
/// second-level cache.
pub const BATCH: usize = 1024;
/// Completions that wait in the ring before the kernel must keep them elsewhere.
const COMPLETIONS: u32 = 8192;
/// Deferred completions that one call lets the kernel run: fewer than there are buffers, so that they are back in the
/// pool before it is empty.
const COMPLETIONS_PER_CALL_MAX: usize = 2048;
/// The pool's number in the ring.
const POOL: u16 = 0;
/// Calls, beside one for each, in which all receives have ended once they are cancelled.
const CANCEL_CALLS_MAX: usize = 1000;

/// Flag of `io_uring_enter`, as Linux has it; the crate keeps its own to itself.
const ENTER_GETEVENTS: u32 = 1;

/// Marks of an operation's number.
const SEND: u64 = 1 << 63;
const CANCEL: u64 = 1 << 62;
/// Serial numbers of receives: they come round after a thousand million, when nobody remembers the first.
pub const SERIAL_MAX: u32 = (1 << 30) - 1;

const _: () = assert!(COMPLETIONS as usize > BATCH + BUFFERS as usize);
const _: () = assert!(COMPLETIONS_PER_CALL_MAX < BUFFERS as usize);

/// A connection's receive, told from every other by its serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receive {
    pub slot: u32,
    pub serial: u32,
}

/// What came of a receive.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub receive: Receive,
    /// Bytes, 0 at the stream's end.
    pub result: Result<usize, Errno>,
    /// Where they are. To be given back with [`Ring::give_back`].
    pub buffer: Option<u16>,
    /// Whether the receive goes on.
    pub more: bool,
}

pub struct Ring {
    kernel: IoUring,
    pool: Pool<BUFFERS, BUFFER_BYTES>,
    /// Receives and cancellations to be submitted, in order.
    wishes: Vec<Entry>,
    /// Arrivals that were met while sends were waited for.
    early: Vec<Arrival>,
    /// Receives that have not ended.
    receives: usize,
    /// The sends of one batch, and what came of each.
    sends: Vec<Entry>,
    sent: Vec<Option<i32>>,
}

impl Ring {
    /// A ring for the calling thread. Fails where the kernel refuses io_uring, is older than 6.1, or is short of memory.
    pub fn open() -> io::Result<Ring> {
        let kernel = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(BATCH as u32)?;
        let pool = Pool::new();
        // SAFETY: the list of buffers is page-aligned, has BUFFERS entries, and lives until no operation is in flight
        // any more and the ring is gone (`drop`).
        unsafe { kernel.submitter().register_buf_ring_with_flags(pool.address(), BUFFERS, POOL, 0)? };
        let (wishes, early, sends, sent) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Ok(Ring { kernel, pool, wishes, early, receives: 0, sends, sent })
    }

    /// Receives from a socket from the next [`enter`](Self::enter) on, until it ends or is cancelled. The socket must be
    /// open until then.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, receive: Receive) {
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), POOL).build();
        self.wishes.push(entry.user_data(receive.number()));
        self.receives += 1;
    }

    /// Ends a receive at the next [`enter`](Self::enter): it arrives once more, without more to come.
    pub fn cancel(&mut self, receive: Receive) {
        let entry = opcode::AsyncCancel::new(receive.number()).build();
        self.wishes.push(entry.user_data(CANCEL));
    }

    /// Whether a call of [`enter`](Self::enter) would do anything.
    pub fn wants_enter(&mut self) -> bool {
        let wishes = !self.wishes.is_empty();
        let queue = self.kernel.submission();
        wishes || !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    /// Submits all that was asked for. `false` if the kernel is short of something and did not take all of it: to be
    /// called again.
    pub fn submit(&mut self) -> bool {
        for _ in 0..self.wishes.len() / BATCH + 2 {
            if self.wishes.is_empty() && self.kernel.submission().is_empty() {
                return true;
            }
            self.enter(0);
        }
        false
    }

    /// Submits what was asked for and lets the kernel do some of what it has deferred: as many completions as are
    /// `expected`, at least some twenty, so that whoever wants all calls until no more arrive. Never waits; but where
    /// fewer are there than expected, the kernel may give the processor to others for a moment.
    pub fn enter(&mut self, expected: usize) {
        let (submitter, mut queue, _) = self.kernel.split();
        let now = self.wishes.len().min(queue.capacity() - queue.len());
        // SAFETY: receives name no memory but the registered pool, and cancellations none at all.
        unsafe { queue.push_multiple(&self.wishes[..now]) }.expect("there was room");
        let to_submit = queue.len() as u32;
        drop(queue);
        self.wishes.drain(..now);
        check_entered(if expected > 0 {
            let expected = expected.min(COMPLETIONS_PER_CALL_MAX);
            let at_once = Timespec::new();
            submitter.submit_with_args(expected, &SubmitArgs::new().timespec(&at_once))
        } else {
            // SAFETY: no argument is passed.
            unsafe { submitter.enter::<()>(to_submit, 0, ENTER_GETEVENTS, None) }
        });
    }

    /// Takes all arrivals that are there.
    pub fn arrivals(&mut self, into: &mut Vec<Arrival>) {
        into.append(&mut self.early);
        for completion in self.kernel.completion() {
            if let Some(arrival) = arrival(&completion) {
                self.receives -= usize::from(!arrival.more);
                into.push(arrival);
            }
        }
    }

    /// The bytes that arrived in a buffer which was not given back since.
    pub fn bytes(&self, buffer: u16, length: usize) -> &[u8] {
        self.pool.bytes(buffer, length)
    }

    /// Gives an arrival's buffer back; the kernel uses it again after [`offer`](Self::offer).
    pub fn give_back(&mut self, buffer: u16) {
        self.pool.put(buffer);
    }

    /// Tells the kernel of the buffers that were given back.
    pub fn offer(&mut self) {
        self.pool.publish();
    }

    /// Sends at most [`BATCH`] times, and returns once all is sent that the sockets take at once: how many bytes of each.
    pub fn send<'a>(
        &mut self,
        sends: impl Iterator<Item = (BorrowedFd<'a>, &'a [u8])>,
    ) -> impl Iterator<Item = Result<usize, Errno>> {
        let flags = (SendFlags::DONTWAIT | SendFlags::NOSIGNAL).bits().cast_signed();
        self.sends.clear();
        self.sends.extend(sends.zip(0..).map(|((socket, bytes), number)| {
            let entry = opcode::Send::new(Fd(socket.as_raw_fd()), bytes.as_ptr(), bytes.len() as u32);
            entry.flags(flags).build().user_data(SEND | number)
        }));
        self.sent.clear();
        self.sent.resize(self.sends.len(), None);
        let guard = AbortOnUnwind;
        self.send_batch();
        std::mem::forget(guard);
        self.sent.iter().map(|sent| outcome(sent.expect("all were waited for")))
    }

    fn send_batch(&mut self) {
        let Ring { kernel, sends, sent, early, receives, .. } = self;
        while !kernel.submission().is_empty() {
            // An earlier submission was cut short.
            check_entered(kernel.submit());
        }
        // SAFETY: what is sent is borrowed by the caller until all of it has completed below; should that not come to
        // pass, the process ends.
        unsafe { kernel.submission().push_multiple(sends) }.expect("there is room");
        let mut open = sends.len();
        while open > 0 {
            let to_submit = kernel.submission().len() as u32;
            // Sends that must not wait complete within the submission, so that nothing is ever waited for; but if one
            // does not, it is. What is received meanwhile stays deferred.
            let (wait, flags) = if to_submit > 0 { (0, 0) } else { (1, ENTER_GETEVENTS) };
            // SAFETY: no argument is passed.
            check_entered(unsafe { kernel.submitter().enter::<()>(to_submit, wait, flags, None) });
            for completion in kernel.completion() {
                let number = completion.user_data();
                if number & SEND != 0 {
                    let place = sent.get_mut((number & !SEND) as usize).expect("it is one of the batch");
                    *place = Some(completion.result());
                    open -= 1;
                } else if let Some(arrival) = arrival(&completion) {
                    *receives -= usize::from(!arrival.more);
                    early.push(arrival);
                }
            }
        }
    }
}

impl Drop for Ring {
    /// Ends every receive, so that the kernel no longer knows of the pool when it is freed.
    fn drop(&mut self) {
        // What was never submitted is not in flight.
        self.receives -= self.wishes.iter().filter(|entry| entry.get_user_data() != CANCEL).count();
        self.wishes.clear();
        let mut arrivals = Vec::new();
        for _ in 0..CANCEL_CALLS_MAX + self.receives {
            if self.receives == 0 {
                return;
            }
            if arrivals.is_empty() {
                // Fails where there is nothing to cancel any more, which the arrivals tell.
                let _ = self.kernel.submitter().register_sync_cancel(None, CancelBuilder::any());
            }
            self.enter(0);
            arrivals.clear();
            self.arrivals(&mut arrivals);
        }
        self.pool.leak();
    }
}

impl Receive {
    fn number(self) -> u64 {
        u64::from(self.serial) << 32 | u64::from(self.slot)
    }
}

/// What a completion tells, if it is that of a receive.
fn arrival(completion: &cqueue::Entry) -> Option<Arrival> {
    let number = completion.user_data();
    if number & (SEND | CANCEL) != 0 {
        return None;
    }
    Some(Arrival {
        receive: Receive { slot: number as u32, serial: (number >> 32) as u32 },
        result: outcome(completion.result()),
        buffer: cqueue::buffer_select(completion.flags()),
        more: cqueue::more(completion.flags()),
    })
}

fn outcome(result: i32) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| Errno::from_raw_os_error(-result))
}

/// # Panics
/// If the ring cannot be used any more, which only a mistake in here brings about.
fn check_entered(entered: io::Result<usize>) {
    let Err(error) = entered else { return };
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    // Fewer than expected; a signal came; or the kernel is short of memory or of room for completions. It is asked again.
    let passing = [Errno::TIME, Errno::INTR, Errno::AGAIN, Errno::BUSY, Errno::NOMEM];
    assert!(errno.is_some_and(|errno| passing.contains(&errno)), "the ring cannot be entered: {error}");
}

/// Ends the process rather than let go of bytes that the kernel may still read.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}
