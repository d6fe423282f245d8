//! The bots' sockets, driven in turns: one wait, everything that arrived, and one batch of sends.
//!
//! A turn costs a system call or two however many clients it serves, where io_uring is to be had; elsewhere it polls
//! and makes one call a receive and one a send. Nothing here knows what a byte means.

mod polled;
mod tls;
mod uring;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, bind, shutdown, socket_with, sockopt};
use vyuha_net::client::{ClientTls, ServerTrust};

use self::polled::PolledDriver;
use self::uring::UringDriver;

/// Most bytes that wait to be sent on one connection.
const UNSENT_BYTES_MAX: usize = 1 << 16;
/// Addresses of this machine that connections within it come from, 127.0.0.2 and up: each has 28,000 ports of its own.
const SOURCES: u32 = 16;
/// Serial numbers of connections come round after a thousand million, when nobody remembers the first.
const SERIAL_MAX: u32 = (1 << 30) - 1;
/// What the kernel holds of a connection that reads slowly, in bytes.
const SLOW_BUFFER_BYTES: usize = 4096;

/// What came of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrived<'a> {
    /// Bytes, in order.
    Bytes(&'a [u8]),
    /// The peer has closed its side.
    Ended,
    /// It could not be made, or broke.
    Failed(ErrorKind),
}

/// What is done with what arrives: it may send, open and close.
pub type Sink<'a> = &'a mut dyn FnMut(&mut Links, u32, Arrived<'_>);

/// The connections and what is to be done about them in the next turn.
pub struct Links {
    slots: Vec<Link>,
    serial_last: u32,
    /// The driver's sockets block; only its operations do not.
    blocking: bool,
    outbound: Vec<u8>,
    batch: Vec<Send>,
    /// Connections with more to send than their send of this turn.
    later: Vec<(u32, u32)>,
    /// Counts batches.
    turn: u32,
    wishes: Vec<(Wish, u32, u32)>,
    /// Whom they take for the server, if they speak TLS.
    trust: Option<ServerTrust>,
    /// What is to be sealed, or was opened; kept for its memory.
    plain: Vec<u8>,
}

/// One client's connection, if it has one.
#[derive(Default)]
struct Link {
    socket: Option<OwnedFd>,
    serial: u32,
    target: Option<SocketAddr>,
    tls: Option<Box<ClientTls>>,
    /// Bytes that could not be sent yet, sealed where it speaks TLS.
    unsent: Vec<u8>,
    /// The batch that has a send of it.
    batched: u32,
    connected: bool,
    /// Reads only when it is told to.
    slow: bool,
    /// A receive is in flight.
    receiving: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Connect,
    Receive,
    /// End the receive that goes on by itself.
    Cancel,
}

/// A send of the turn: bytes of `outbound`, or a connection's unsent ones.
#[derive(Debug, Clone)]
struct Send {
    slot: u32,
    serial: u32,
    fresh: Option<Range<usize>>,
}

enum Driver {
    Uring(Box<UringDriver>),
    Polled(PolledDriver),
}

/// The sockets of a load.
pub struct Sockets {
    /// Before the links: operations in flight end first.
    driver: Driver,
    /// The connections.
    pub links: Links,
}

impl Sockets {
    /// Room for so many connections, none open, which speak TLS with the server that is trusted, if one is. Driven by
    /// io_uring where the kernel lets it.
    pub fn new(clients: u32, trust: Option<ServerTrust>) -> io::Result<Sockets> {
        match UringDriver::new() {
            Ok(driver) => Ok(Sockets::with(Driver::Uring(Box::new(driver)), clients, trust)),
            Err(_) => Sockets::polled(clients, trust),
        }
    }

    /// As [`Sockets::new`], by plain system calls.
    pub fn polled(clients: u32, trust: Option<ServerTrust>) -> io::Result<Sockets> {
        Ok(Sockets::with(Driver::Polled(PolledDriver::new()?), clients, trust))
    }

    fn with(driver: Driver, clients: u32, trust: Option<ServerTrust>) -> Sockets {
        let links = Links {
            slots: (0..clients).map(|_| Link::default()).collect(),
            serial_last: 0,
            blocking: matches!(driver, Driver::Uring(_)),
            outbound: Vec::new(),
            batch: Vec::new(),
            later: Vec::new(),
            turn: 1,
            wishes: Vec::new(),
            trust,
            plain: Vec::new(),
        };
        Sockets { driver, links }
    }

    /// What drives them, in a word.
    pub fn driver(&self) -> &'static str {
        match self.driver {
            Driver::Uring(_) => "io_uring",
            Driver::Polled(_) => "epoll",
        }
    }

    /// Sends what was queued, waits until much has arrived or the time is up, and hands out what arrived. `woken` is
    /// called in between.
    pub fn turn(&mut self, wait: Duration, woken: &mut dyn FnMut(), sink: Sink<'_>) -> io::Result<()> {
        match &mut self.driver {
            Driver::Uring(driver) => driver.turn(&mut self.links, wait, woken, sink),
            Driver::Polled(driver) => driver.turn(&mut self.links, wait, woken, sink),
        }
    }
}

impl Links {
    /// Begins to connect; what is sent meanwhile waits. An earlier connection of the slot is closed.
    pub fn open(&mut self, slot: u32, target: SocketAddr) -> io::Result<()> {
        self.close(slot);
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let mut flags = SocketFlags::CLOEXEC;
        flags.set(SocketFlags::NONBLOCK, !self.blocking);
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        // A step is a few bytes that must not wait for the acknowledgement of the last one.
        sockopt::set_tcp_nodelay(&socket, true)?;
        if let IpAddr::V4(ip) = target.ip()
            && ip.is_loopback()
        {
            let source = Ipv4Addr::new(127, 0, 0, 2 + (slot % SOURCES) as u8);
            bind(&socket, &SocketAddr::from((source, 0)))?;
        }
        self.serial_last = (self.serial_last + 1) & SERIAL_MAX;
        let link = &mut self.slots[slot as usize];
        let tls = self.trust.as_ref().map(|trust| trust.begin(&mut link.unsent)).transpose()?;
        link.tls = tls.map(Box::new);
        link.socket = Some(socket);
        link.serial = self.serial_last;
        link.target = Some(target);
        self.wishes.push((Wish::Connect, slot, link.serial));
        Ok(())
    }

    /// Ends a connection without a word; nothing more is heard of it.
    pub fn close(&mut self, slot: u32) {
        let link = &mut self.slots[slot as usize];
        let Some(socket) = link.socket.take() else { return };
        // Ends a receive in flight, too, which would keep the connection open. Fails where it is over already.
        let _ = shutdown(&socket, Shutdown::Both);
        *link = Link { serial: link.serial, ..Link::default() };
    }

    /// Sends what `write` appends, with the next turn. Returns how many bytes that are, or `None`, and sends nothing, if
    /// the peer does not read or there is no connection.
    pub fn send(&mut self, slot: u32, write: impl FnOnce(&mut Vec<u8>)) -> Option<usize> {
        let link = &self.slots[slot as usize];
        if link.socket.is_none() || link.unsent.len() > UNSENT_BYTES_MAX {
            return None;
        }
        if link.tls.is_some() { self.send_sealed(slot, write) } else { Some(self.put(slot, write)) }
    }

    /// Has what `write` appends sent with the next turn. Returns how many bytes that are.
    fn put(&mut self, slot: u32, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let link = &mut self.slots[slot as usize];
        let serial = link.serial;
        let is_batched = link.batched == self.turn;
        if !link.connected || is_batched || !link.unsent.is_empty() {
            let before = link.unsent.len();
            write(&mut link.unsent);
            let bytes = link.unsent.len() - before;
            if is_batched && before == 0 {
                // Behind the send that is in the batch already: should that be cut short, this must not overtake.
                self.later.push((slot, serial));
            } else if !is_batched {
                self.resend(slot);
            }
            return bytes;
        }
        let before = self.outbound.len();
        write(&mut self.outbound);
        let fresh = before..self.outbound.len();
        let bytes = fresh.len();
        if bytes > 0 {
            link.batched = self.turn;
            self.batch.push(Send { slot, serial, fresh: Some(fresh) });
        }
        bytes
    }

    /// Tries again to send what could not be sent.
    pub fn resend(&mut self, slot: u32) {
        let link = &mut self.slots[slot as usize];
        if link.connected && !link.unsent.is_empty() && link.batched != self.turn {
            link.batched = self.turn;
            self.batch.push(Send { slot, serial: link.serial, fresh: None });
        }
    }

    /// Lets a connection read only when it is told to, and the kernel hold little of it, or lets it read again.
    pub fn set_slow(&mut self, slot: u32, slow: bool) -> io::Result<()> {
        let link = &mut self.slots[slot as usize];
        if link.slow == slow {
            return Ok(());
        }
        let Some(socket) = &link.socket else { return Ok(()) };
        link.slow = slow;
        if slow {
            sockopt::set_socket_recv_buffer_size(socket, SLOW_BUFFER_BYTES)?;
        }
        self.wishes.push((if slow { Wish::Cancel } else { Wish::Receive }, slot, link.serial));
        Ok(())
    }

    /// Lets a slow connection read once.
    pub fn read_once(&mut self, slot: u32) {
        let link = &self.slots[slot as usize];
        if link.slow && !link.receiving {
            self.wishes.push((Wish::Receive, slot, link.serial));
        }
    }

    fn link(&mut self, slot: u32, serial: u32) -> Option<&mut Link> {
        self.slots.get_mut(slot as usize).filter(|link| link.serial == serial && link.socket.is_some())
    }

    /// A connection is there: sends what waited for it, and reads.
    fn connected(&mut self, slot: u32, serial: u32) {
        let Some(link) = self.link(slot, serial) else { return };
        link.connected = true;
        self.wishes.push((Wish::Receive, slot, serial));
        self.resend(slot);
    }

    /// The batch that is to be sent now; what is queued from here on goes with the next.
    fn take_batch(&mut self, outbound: &mut Vec<u8>, batch: &mut Vec<Send>) {
        outbound.clear();
        batch.clear();
        std::mem::swap(&mut self.outbound, outbound);
        std::mem::swap(&mut self.batch, batch);
        self.turn = self.turn.wrapping_add(1);
    }

    /// The batch was sent: what had to wait for it goes with the next.
    fn batch_sent(&mut self) {
        for (slot, serial) in std::mem::take(&mut self.later) {
            if self.link(slot, serial).is_some() {
                self.resend(slot);
            }
        }
    }

    /// Notes what came of a send. A failure is left to the receive to tell.
    fn sent(&mut self, send: &Send, outbound: &[u8], sent: usize) {
        let Some(link) = self.slots.get_mut(send.slot as usize).filter(|link| link.serial == send.serial)
        else {
            return;
        };
        if link.socket.is_none() {
            return;
        }
        match &send.fresh {
            // More may have been queued behind bytes of this very turn.
            Some(range) if sent < range.len() => {
                link.unsent.splice(..0, outbound[range.clone()][sent..].iter().copied());
            }
            Some(_) => {}
            None => drop(link.unsent.drain(..sent)),
        }
    }
}

impl Link {
    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_ref().expect("a link is asked for its socket only while it has one").as_fd()
    }
}

#[cfg(test)]
mod tests;
