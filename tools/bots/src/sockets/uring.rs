//! io_uring: a receive that goes on by itself for each connection, and a turn's sends in one call.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode};
use rustix::io::Errno;
use rustix::net::SendFlags;
use socket2::SockAddr;
use vyuha_net::pool::Pool;

use super::{Arrived, Links, SERIAL_MAX, Send, Sink, Wish};

/// Operations that one call submits.
const BATCH: u32 = 2048;
/// Completions that wait in the ring before the kernel must keep them elsewhere.
const COMPLETIONS: u32 = 8192;
/// Arrivals after which a wait ends: fewer than there are buffers.
const ARRIVALS_MAX: usize = BUFFERS as usize / 2;
/// Receive buffers that all clients share.
const BUFFERS: u16 = 1024;
/// Bytes of each: the snapshot of a room with a dozen players.
const BUFFER_BYTES: usize = 2048;
/// The pool's number in the ring.
const POOL: u16 = 0;
/// Calls in which every operation has ended once all are cancelled: one, as far as is known.
const CANCEL_CALLS_MAX: usize = 1000;

/// Marks of an operation's number.
const SEND: u64 = 1 << 63;
const CANCEL: u64 = 1 << 62;
const CONNECT: u64 = 3 << 62;
const MARKS: u64 = 3 << 62;

pub struct UringDriver {
    ring: IoUring,
    pool: Pool<BUFFERS, BUFFER_BYTES>,
    /// Receives and connects that have not ended.
    in_flight: usize,
    outbound: Vec<u8>,
    batch: Vec<Send>,
    /// What came of each send of the batch.
    sent: Vec<Option<i32>>,
    /// Sends of the batch that have not completed.
    open: usize,
    arrivals: Vec<cqueue::Entry>,
    /// Addresses that are being connected to; the kernel has copied them once they are submitted.
    targets: Vec<SockAddr>,
}

impl UringDriver {
    /// A ring for the calling thread. Fails where the kernel refuses io_uring, is older than 6.1, or is short of memory.
    pub fn new() -> io::Result<UringDriver> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(BATCH)?;
        let pool = Pool::new();
        // SAFETY: the list of buffers is page-aligned, has BUFFERS entries, and lives until no operation is in flight
        // any more (`drop`).
        unsafe { ring.submitter().register_buf_ring_with_flags(pool.address(), BUFFERS, POOL, 0)? };
        Ok(UringDriver {
            ring,
            pool,
            in_flight: 0,
            outbound: Vec::new(),
            batch: Vec::new(),
            sent: Vec::new(),
            open: 0,
            arrivals: Vec::new(),
            targets: Vec::new(),
        })
    }

    pub fn turn(
        &mut self,
        links: &mut Links,
        wait: Duration,
        woken: &mut dyn FnMut(),
        sink: Sink<'_>,
    ) -> io::Result<()> {
        self.carry_out(links)?;
        self.send_batch(links, wait)?;
        woken();
        self.judge_batch(links);
        let arrivals = std::mem::take(&mut self.arrivals);
        for arrival in &arrivals {
            self.take(links, arrival, sink);
        }
        self.pool.publish();
        self.arrivals = arrivals;
        self.arrivals.clear();
        Ok(())
    }

    /// Puts receives, connects and cancellations into the queue.
    fn carry_out(&mut self, links: &mut Links) -> io::Result<()> {
        self.targets.clear();
        let mut wishes = std::mem::take(&mut links.wishes);
        // No address may move once its entry is made.
        self.targets.reserve(wishes.len());
        for (wish, slot, serial) in wishes.drain(..) {
            let Some(link) = links.link(slot, serial) else { continue };
            let number = u64::from(serial) << 32 | u64::from(slot);
            let fd = Fd(link.fd().as_raw_fd());
            let entry = match wish {
                Wish::Connect => {
                    let Some(target) = link.target else { continue };
                    self.targets.push(target.into());
                    let target = self.targets.last().expect("it was just pushed");
                    opcode::Connect::new(fd, target.as_ptr().cast(), target.len())
                        .build()
                        .user_data(CONNECT | number)
                }
                Wish::Receive if link.receiving => continue,
                Wish::Receive => {
                    link.receiving = true;
                    let entry =
                        if link.slow { receive_once(fd) } else { opcode::RecvMulti::new(fd, POOL).build() };
                    entry.user_data(number)
                }
                Wish::Cancel if !link.receiving => continue,
                Wish::Cancel => opcode::AsyncCancel::new(number).build().user_data(CANCEL),
            };
            self.in_flight += usize::from(wish != Wish::Cancel);
            self.push(&entry)?;
        }
        links.wishes = wishes;
        if !self.targets.is_empty() {
            // The addresses are copied by the submission.
            self.submit_all()?;
        }
        Ok(())
    }

    /// Queues the batch, submits all there is, and waits until much has arrived or the time is up.
    fn send_batch(&mut self, links: &mut Links, wait: Duration) -> io::Result<()> {
        let (mut outbound, mut batch) = (std::mem::take(&mut self.outbound), std::mem::take(&mut self.batch));
        links.take_batch(&mut outbound, &mut batch);
        self.sent.clear();
        self.sent.resize(batch.len(), None);
        let guard = AbortOnUnwind;
        let queued = self.queue_batch(links, &outbound, &batch);
        let arrived = queued.and_then(|()| self.wait(wait));
        // What is sent must stay where it is until the kernel has it, whatever else failed.
        let completed = self.complete_sends();
        (self.outbound, self.batch) = (outbound, batch);
        if completed.is_ok() {
            std::mem::forget(guard);
        }
        completed.and(arrived)
    }

    fn queue_batch(&mut self, links: &mut Links, outbound: &[u8], batch: &[Send]) -> io::Result<()> {
        // Sends that must not wait complete within the submission.
        let flags = (SendFlags::DONTWAIT | SendFlags::NOSIGNAL).bits().cast_signed();
        for (send, number) in batch.iter().zip(0_u64..) {
            let Some(link) = links.link(send.slot, send.serial) else { continue };
            let bytes = send.fresh.as_ref().map_or(&link.unsent[..], |range| &outbound[range.clone()]);
            let entry = opcode::Send::new(Fd(link.fd().as_raw_fd()), bytes.as_ptr(), bytes.len() as u32)
                .flags(flags)
                .build()
                .user_data(SEND | number);
            self.push(&entry)?;
            self.open += 1;
        }
        Ok(())
    }

    fn wait(&mut self, wait: Duration) -> io::Result<()> {
        let until = Timespec::from(wait);
        let want = if wait.is_zero() { 0 } else { self.open + ARRIVALS_MAX };
        let arguments = SubmitArgs::new().timespec(&until);
        let (submitter, _, _) = self.ring.split();
        check_entered(submitter.submit_with_args(want, &arguments))?;
        self.take_completions();
        Ok(())
    }

    fn complete_sends(&mut self) -> io::Result<()> {
        self.submit_all()?;
        while self.open > 0 {
            check_entered(self.ring.submitter().submit_and_wait(1))?;
            self.take_completions();
        }
        Ok(())
    }

    fn submit_all(&mut self) -> io::Result<()> {
        while !self.ring.submission().is_empty() {
            check_entered(self.ring.submit())?;
            self.take_completions();
        }
        Ok(())
    }

    fn push(&mut self, entry: &Entry) -> io::Result<()> {
        loop {
            // SAFETY: receives name no memory but the registered pool, connects name addresses that stay until they are
            // submitted (`carry_out`), and sends bytes that stay until they have completed (`send_batch`).
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            check_entered(self.ring.submit())?;
            self.take_completions();
        }
    }

    fn take_completions(&mut self) {
        for completion in self.ring.completion() {
            let number = completion.user_data();
            match number & MARKS {
                SEND => {
                    self.sent[(number & !MARKS) as usize] = Some(completion.result());
                    self.open -= 1;
                }
                CANCEL => {}
                _ => {
                    self.in_flight -= usize::from(!cqueue::more(completion.flags()));
                    self.arrivals.push(completion);
                }
            }
        }
    }

    fn judge_batch(&mut self, links: &mut Links) {
        for (send, sent) in self.batch.iter().zip(&self.sent) {
            // What failed is over, or takes nothing just now.
            let sent = sent.map_or(0, |sent| usize::try_from(sent).unwrap_or(0));
            links.sent(send, &self.outbound, sent);
        }
        links.batch_sent();
    }

    /// Hands out one arrival.
    fn take(&mut self, links: &mut Links, arrival: &cqueue::Entry, sink: Sink<'_>) {
        let number = arrival.user_data();
        let (slot, serial) = (number as u32, (number >> 32) as u32 & SERIAL_MAX);
        let buffer = cqueue::buffer_select(arrival.flags());
        if let Some(link) = links.link(slot, serial) {
            let is_connect = number & MARKS == CONNECT;
            let more = cqueue::more(arrival.flags());
            if !is_connect {
                link.receiving = more;
            }
            let again = !is_connect && !more && !link.slow;
            match (arrival.result(), buffer) {
                (0, _) if is_connect => links.connected(slot, serial),
                (0, _) => sink(links, slot, Arrived::Ended),
                (length @ 1.., Some(buffer)) => {
                    if again {
                        links.wishes.push((Wish::Receive, slot, serial));
                    }
                    links.arrived(slot, self.pool.bytes(buffer, length as usize), sink);
                }
                (result, _) => match Errno::from_raw_os_error(-result) {
                    Errno::NOBUFS | Errno::INTR | Errno::AGAIN | Errno::NOMEM | Errno::CANCELED => {
                        if again {
                            links.wishes.push((Wish::Receive, slot, serial));
                        }
                    }
                    errno => sink(links, slot, Arrived::Failed(io::Error::from(errno).kind())),
                },
            }
        }
        if let Some(buffer) = buffer {
            self.pool.put(buffer);
        }
    }
}

impl Drop for UringDriver {
    /// Ends every operation, so that the kernel no longer knows of the pool when it is freed.
    fn drop(&mut self) {
        for _ in 0..CANCEL_CALLS_MAX {
            if self.in_flight == 0 {
                return;
            }
            // Fails where there is nothing to cancel any more, which the completions tell.
            let _ = self.ring.submitter().register_sync_cancel(None, CancelBuilder::any());
            let at_once = Timespec::new();
            let _ =
                self.ring.submitter().submit_with_args(ARRIVALS_MAX, &SubmitArgs::new().timespec(&at_once));
            self.take_completions();
            self.arrivals.clear();
        }
        self.pool.leak();
    }
}

/// A receive that ends with the first bytes.
fn receive_once(fd: Fd) -> Entry {
    opcode::Recv::new(fd, std::ptr::null_mut(), 0).buf_group(POOL).build().flags(Flags::BUFFER_SELECT)
}

fn check_entered(entered: io::Result<usize>) -> io::Result<()> {
    let Err(error) = entered else { return Ok(()) };
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    // Time is up; a signal came; or the kernel is short of memory or of room for completions, and is asked again.
    let passing = [Errno::TIME, Errno::INTR, Errno::AGAIN, Errno::BUSY, Errno::NOMEM];
    if errno.is_some_and(|errno| passing.contains(&errno)) { Ok(()) } else { Err(error) }
}

/// Ends the process rather than let go of bytes that the kernel may still read.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}
