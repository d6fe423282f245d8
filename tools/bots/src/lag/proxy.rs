//! The sockets of the proxy.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rand_pcg::Pcg32;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, connect, recv, send, shutdown,
    socket_with, sockopt,
};

use super::Conditions;
use super::line::Line;

/// The listener among the events.
const LISTENER: u64 = u64::MAX;
/// Sockets that one poll tells of.
const EVENTS_MAX: usize = 256;
/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;
/// How long a turn waits at the most, in nanoseconds: then it looks whether it is to stop.
const TURN_NS: u64 = 50_000_000;

pub struct Proxy {
    listener: TcpListener,
    target: SocketAddr,
    conditions: Conditions,
    seed: u64,
    accepted: u64,
    began: Instant,
    epoll: OwnedFd,
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    /// When bytes arrive, and on which line; what has gone since is void.
    arrivals: BinaryHeap<Reverse<(u64, usize, usize)>>,
}

/// A connection and the one that it is passed on to. Line `n` leads from socket `n` to the other.
struct Pair {
    sockets: [OwnedFd; 2],
    lines: [Line; 2],
    /// Nothing more comes from this socket.
    ended: [bool; 2],
    /// That was passed on to the other.
    shut: [bool; 2],
    /// This socket takes nothing just now.
    blocked: [bool; 2],
}

impl Proxy {
    pub fn new(
        listen: SocketAddr,
        target: SocketAddr,
        conditions: Conditions,
        seed: u64,
    ) -> io::Result<Proxy> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Proxy {
            listener,
            target,
            conditions,
            seed,
            accepted: 0,
            began: Instant::now(),
            epoll,
            pairs: Vec::new(),
            free: Vec::new(),
            arrivals: BinaryHeap::new(),
        })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for something to do, and does it.
    pub fn turn(&mut self) -> io::Result<()> {
        let due_ns = self.arrivals.peek().map_or(u64::MAX, |Reverse((due_ns, ..))| *due_ns);
        let wait_ns = due_ns.saturating_sub(self.clock()).min(TURN_NS);
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut events),
            Some(&Timespec { tv_sec: 0, tv_nsec: wait_ns as i64 }),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events {
            if event.data.u64() == LISTENER {
                self.accept()?;
            } else {
                let number = event.data.u64() as usize;
                self.serve(number / 2, number % 2);
            }
        }
        while let Some(&Reverse((due_ns, index, side))) = self.arrivals.peek()
            && due_ns <= self.clock()
        {
            self.arrivals.pop();
            self.with(index, |pair, proxy| pair.deliver(proxy, index, side));
        }
        Ok(())
    }

    fn clock(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let near = match self.listener.accept() {
                Ok((stream, _)) => OwnedFd::from(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            // Whoever cannot be passed on is let go: it sees its connection end.
            let Ok(far) = self.open() else { continue };
            let index = self.free.pop().unwrap_or_else(|| {
                self.pairs.push(None);
                self.pairs.len() - 1
            });
            self.accepted += 2;
            let line = |way| Line::new(&self.conditions, Pcg32::new(self.seed, self.accepted + way));
            let pair = Pair {
                sockets: [near, far],
                lines: [line(0), line(1)],
                ended: [false; 2],
                shut: [false; 2],
                blocked: [false; 2],
            };
            let watched = pair.sockets.iter().zip(0..).try_for_each(|(socket, side)| {
                rustix::io::ioctl_fionbio(socket, true)?;
                sockopt::set_tcp_nodelay(socket, true)?;
                let data = EventData::new_u64((index * 2 + side) as u64);
                epoll::add(&self.epoll, socket, data, EventFlags::IN)
            });
            match watched {
                Ok(()) => self.pairs[index] = Some(pair),
                Err(_) => self.free.push(index),
            }
        }
    }

    fn open(&self) -> Result<OwnedFd, Errno> {
        let family = if self.target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket =
            socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
        match connect(&socket, &self.target) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error),
        }
    }

    /// A socket has bytes, or room.
    fn serve(&mut self, index: usize, side: usize) {
        self.with(index, |pair, proxy| {
            pair.read(proxy, index, side)?;
            pair.blocked[side] = false;
            pair.deliver(proxy, index, 1 - side)
        });
    }

    /// Lets a pair act; one that fails or has nothing more to pass on is closed.
    fn with(&mut self, index: usize, act: impl FnOnce(&mut Pair, &mut Proxy) -> Result<(), Errno>) {
        let Some(mut pair) = self.pairs.get_mut(index).and_then(Option::take) else { return };
        let goes_on = act(&mut pair, self).and_then(|()| pair.watch(self, index));
        if goes_on.is_ok() && pair.shut != [true; 2] {
            self.pairs[index] = Some(pair);
        } else {
            self.free.push(index);
        }
    }
}

impl Pair {
    fn read(&mut self, proxy: &mut Proxy, index: usize, side: usize) -> Result<(), Errno> {
        let room = self.lines[side].room().min(READ_BYTES);
        if self.ended[side] || room == 0 {
            return Ok(());
        }
        let mut scratch = [0; READ_BYTES];
        match recv(&self.sockets[side], &mut scratch[..room], RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                self.ended[side] = true;
                self.deliver(proxy, index, side)
            }
            Ok((length, _)) => {
                let was_empty = self.lines[side].next_ns().is_none();
                self.lines[side].put(&scratch[..length], proxy.clock());
                if was_empty {
                    self.expect(proxy, index, side);
                }
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Hands what has arrived on a line to the other socket.
    fn deliver(&mut self, proxy: &mut Proxy, index: usize, side: usize) -> Result<(), Errno> {
        let to = 1 - side;
        let now_ns = proxy.clock();
        while !self.blocked[to] {
            let bytes = self.lines[side].arrived(now_ns);
            if bytes.is_empty() {
                break;
            }
            match send(&self.sockets[to], bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(length) => self.lines[side].take(length),
                Err(Errno::AGAIN) => self.blocked[to] = true,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        if self.lines[side].next_ns().is_none() {
            if self.ended[side] && !self.shut[side] {
                self.shut[side] = true;
                shutdown(&self.sockets[to], Shutdown::Write)?;
            }
        } else if !self.blocked[to] {
            self.expect(proxy, index, side);
        }
        Ok(())
    }

    /// Notes when the line's next bytes arrive.
    fn expect(&self, proxy: &mut Proxy, index: usize, side: usize) {
        if let Some(next_ns) = self.lines[side].next_ns() {
            proxy.arrivals.push(Reverse((next_ns, index, side)));
        }
    }

    /// Polls the sockets for what can be dealt with.
    fn watch(&self, proxy: &Proxy, index: usize) -> Result<(), Errno> {
        for side in 0..2 {
            let mut flags = EventFlags::empty();
            flags.set(EventFlags::IN, !self.ended[side] && self.lines[side].room() > 0);
            flags.set(EventFlags::OUT, self.blocked[side]);
            let data = EventData::new_u64((index * 2 + side) as u64);
            epoll::modify(&proxy.epoll, self.sockets[side].as_fd(), data, flags)?;
        }
        Ok(())
    }
}
