//! Plain system calls, where io_uring is not to be had: one poll for all, one call a receive and one a send.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, connect, recv, send, sockopt};

use super::{Arrived, Links, Send, Sink, Wish};

/// Connections that one poll tells of.
const EVENTS_MAX: usize = 1024;
/// Bytes read at once.
const READ_BYTES: usize = 1 << 16;
/// Bytes that a slow connection reads at once.
const SLOW_READ_BYTES: usize = 2048;

pub struct PolledDriver {
    epoll: OwnedFd,
    events: Vec<Event>,
    scratch: Vec<u8>,
    outbound: Vec<u8>,
    batch: Vec<Send>,
}

impl PolledDriver {
    pub fn new() -> io::Result<PolledDriver> {
        Ok(PolledDriver {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS_MAX),
            scratch: vec![0; READ_BYTES],
            outbound: Vec::new(),
            batch: Vec::new(),
        })
    }

    pub fn turn(
        &mut self,
        links: &mut Links,
        wait: Duration,
        woken: &mut dyn FnMut(),
        sink: Sink<'_>,
    ) -> io::Result<()> {
        for (wish, slot, serial) in std::mem::take(&mut links.wishes) {
            self.carry_out(links, (wish, slot, serial), sink)?;
        }
        links.take_batch(&mut self.outbound, &mut self.batch);
        for entry in &self.batch {
            let Some(link) = links.link(entry.slot, entry.serial) else { continue };
            let bytes = entry.fresh.as_ref().map_or(&link.unsent[..], |range| &self.outbound[range.clone()]);
            let sent = send(link.fd(), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            // What failed is over, or takes nothing just now.
            links.sent(entry, &self.outbound, sent.unwrap_or(0));
        }
        links.batch_sent();
        let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        woken();
        for event in std::mem::take(&mut self.events) {
            let number = event.data.u64();
            let (slot, serial) = (number as u32, (number >> 32) as u32);
            let Some(link) = links.link(slot, serial) else { continue };
            if link.connected {
                self.read(links, slot, serial, READ_BYTES, sink);
            } else {
                judge_connect(links, slot, serial, sink)?;
            }
        }
        self.events = Vec::with_capacity(EVENTS_MAX);
        Ok(())
    }

    fn carry_out(
        &mut self,
        links: &mut Links,
        (wish, slot, serial): (Wish, u32, u32),
        sink: Sink<'_>,
    ) -> io::Result<()> {
        let Some(link) = links.link(slot, serial) else { return Ok(()) };
        let data = EventData::new_u64(u64::from(serial) << 32 | u64::from(slot));
        match wish {
            Wish::Connect => {
                let Some(target) = link.target else { return Ok(()) };
                match connect(link.fd(), &target) {
                    Ok(()) | Err(Errno::INPROGRESS) => {
                        epoll::add(&self.epoll, link.fd(), data, EventFlags::OUT)?;
                    }
                    Err(error) => sink(links, slot, Arrived::Failed(io::Error::from(error).kind())),
                }
            }
            Wish::Receive if link.slow => self.read(links, slot, serial, SLOW_READ_BYTES, sink),
            Wish::Receive => epoll::modify(&self.epoll, link.fd(), data, EventFlags::IN)?,
            Wish::Cancel => epoll::modify(&self.epoll, link.fd(), data, EventFlags::empty())?,
        }
        Ok(())
    }

    /// Reads once; what is left shows in the next poll.
    fn read(&mut self, links: &mut Links, slot: u32, serial: u32, bytes_max: usize, sink: Sink<'_>) {
        let Some(link) = links.link(slot, serial) else { return };
        match recv(link.fd(), &mut self.scratch[..bytes_max], RecvFlags::DONTWAIT) {
            Ok((0, _)) => sink(links, slot, Arrived::Ended),
            Ok((length, _)) => links.arrived(slot, &self.scratch[..length], sink),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => sink(links, slot, Arrived::Failed(io::Error::from(error).kind())),
        }
    }
}

/// Whether the connection came about.
fn judge_connect(links: &mut Links, slot: u32, serial: u32, sink: Sink<'_>) -> io::Result<()> {
    let Some(link) = links.link(slot, serial) else { return Ok(()) };
    match sockopt::socket_error(link.fd())? {
        Ok(()) => links.connected(slot, serial),
        Err(error) => sink(links, slot, Arrived::Failed(io::Error::from(error).kind())),
    }
    Ok(())
}
