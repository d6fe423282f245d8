//! System calls: bare, and led by epoll.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::apart::TICK;
use super::clients::{Clients, Next, SNAPSHOT_BYTES};
use super::{Snapshots, count_frames};

/// Events taken with one call.
const EVENTS: usize = 1024;

/// One `recv` and one `send` a client. What is received is not looked at, and what is sent is always the same.
pub fn serve_bare(clients: &mut Clients, sockets: &[OwnedFd]) -> Result<u64, String> {
    let (mut inputs, mut buffer) = (0, [0; 2048]);
    let mut snapshots = Snapshots::new();
    let frame = snapshots.make(0, 0);
    while clients.turn()?.wait() {
        for socket in sockets {
            let length = receive(socket, &mut buffer)?;
            inputs += count_frames(&buffer[..length]);
        }
        for socket in sockets {
            transmit(socket, frame)?;
        }
    }
    Ok(inputs)
}

/// Reads what is ready, then sends to everyone.
pub fn serve(clients: &mut Clients, sockets: &[OwnedFd]) -> Result<u64, String> {
    let failed = |error: Errno| format!("epoll fails: {error}");
    let ready = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
    for (index, socket) in sockets.iter().enumerate() {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&ready, socket, epoll::EventData::new_u64(index as u64), flags).map_err(failed)?;
    }
    let (mut inputs, mut buffer) = (0, [0; 2048]);
    let (mut snapshots, mut tick) = (Snapshots::new(), 0);
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        let due = match clients.turn()? {
            Next::End => break,
            Next::Tick => None,
            Next::TickAt(due) => Some(due),
        };
        loop {
            events.clear();
            let left = due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now()));
            let left_at_most = Timespec { tv_sec: 0, tv_nsec: left.as_nanos().min(TICK.as_nanos()) as i64 };
            let found =
                epoll::wait(&ready, spare_capacity(&mut events), Some(&left_at_most)).map_err(failed)?;
            if found == 0 && left.is_zero() {
                break;
            }
            for event in &events {
                let length = receive(&sockets[event.data.u64() as usize], &mut buffer)?;
                inputs += count_frames(&buffer[..length]);
            }
        }
        for (index, socket) in sockets.iter().enumerate() {
            transmit(socket, snapshots.make(index, tick))?;
        }
        tick += 1;
    }
    Ok(inputs)
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<usize, String> {
    match recv(socket, buffer, RecvFlags::DONTWAIT) {
        Ok((_, length)) => Ok(length),
        Err(Errno::AGAIN) => Ok(0),
        Err(error) => Err(format!("the server cannot receive: {error}")),
    }
}

fn transmit(socket: &OwnedFd, frame: &[u8]) -> Result<(), String> {
    match send(socket, frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(SNAPSHOT_BYTES) => Ok(()),
        sent => Err(format!("the server cannot send: {sent:?}")),
    }
}
