//! The clients, in the server's thread or in a process of their own.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;
use vyuha_net::client::ClientTls;
use vyuha_net::cpu::thread_time;
use vyuha_protocol::frame::{FRAME_HEAD_BYTES, append_frame};

use super::apart::Process;

/// What a client sends a tick, head included.
pub const INPUT_BYTES: usize = 24;
/// What it gets a tick, head included.
pub const SNAPSHOT_BYTES: usize = 400;
/// Ticks before those that count: buffers and caches are as they will be.
const WARM_TICKS: usize = 5;
/// Clients that connect to one address: each address has some 28,000 ports to connect from.
pub const CLIENTS_PER_ADDRESS: usize = 5000;

/// What the server does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A tick, for which all inputs are there.
    Tick,
    /// A tick at this moment; until then it lives as it does between ticks.
    TickAt(Instant),
    /// It ends.
    End,
}

impl Next {
    /// Sleeps until the tick is due; `false` if none is.
    pub fn wait(self) -> bool {
        if let Next::TickAt(due) = self {
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        self != Next::End
    }
}

/// Clients, and what the server's ticks took.
#[derive(Default)]
pub struct Clients {
    /// Theirs, unless they have a process of their own.
    sockets: Vec<OwnedFd>,
    apart: Option<Process>,
    count: usize,
    /// Their ends of TLS sessions, if they speak TLS.
    tls: Vec<ClientTls>,
    /// Ticks that count.
    ticks: usize,
    input: Vec<u8>,
    buffer: Vec<u8>,
    plain: Vec<u8>,
    sealed: Vec<u8>,
    turns: usize,
    inputs: u64,
    bytes: u64,
    /// Processor time when the server's tick began.
    begun: Duration,
    times_us: Vec<f64>,
    own_times_us: Vec<f64>,
}

impl Clients {
    /// Clients that are connected, and the server's sockets.
    pub fn connect(count: usize, ticks: usize) -> io::Result<(Clients, Vec<OwnedFd>)> {
        let (mut sockets, mut accepted) = (Vec::new(), Vec::new());
        for begin in (0..count).step_by(CLIENTS_PER_ADDRESS) {
            let address = Ipv4Addr::new(127, 0, 0, 1 + (begin / CLIENTS_PER_ADDRESS) as u8);
            let listener = TcpListener::bind((address, 0))?;
            for _ in begin..count.min(begin + CLIENTS_PER_ADDRESS) {
                let client = TcpStream::connect(listener.local_addr()?)?;
                client.set_nodelay(true)?;
                // A reset leaves no port waiting: the next run needs as many.
                SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
                let (socket, _) = listener.accept()?;
                socket.set_nodelay(true)?;
                sockets.push(client.into());
                accepted.push(socket.into());
            }
        }
        let clients = Clients {
            sockets,
            count,
            ticks,
            input: input_frame(),
            buffer: vec![0; 4096],
            ..Clients::default()
        };
        Ok((clients, accepted))
    }

    /// The same in a process of their own on this processor, which sends their inputs spread over the tick.
    pub fn connect_apart(count: usize, ticks: usize, cpu: usize) -> io::Result<(Clients, Vec<OwnedFd>)> {
        let (process, accepted) = Process::start(count, cpu)?;
        Ok((Clients { apart: Some(process), count, ticks, ..Clients::default() }, accepted))
    }

    /// Lets them speak TLS.
    pub fn speak_tls(&mut self, tls: Vec<ClientTls>) {
        self.tls = tls;
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The server's tick is over. Those in its thread take what came and send an input each; what is next.
    pub fn turn(&mut self) -> Result<Next, String> {
        let now = thread_time();
        if self.turns > WARM_TICKS {
            self.times_us.push(microseconds(now.saturating_sub(self.begun)));
        }
        if let Some(process) = &mut self.apart {
            if self.turns == WARM_TICKS + self.ticks {
                let seen = process.end().map_err(|error| format!("the clients end: {error}"))?;
                (self.inputs, self.bytes) = (seen.inputs, seen.bytes);
                self.own_times_us.push(microseconds(seen.cpu) / seen.inputs as f64 * self.count as f64);
                return Ok(Next::End);
            }
            let due = process.tick().map_err(|error| format!("the clients do not begin: {error}"))?;
            self.turns += 1;
            self.begun = thread_time();
            return Ok(Next::TickAt(due));
        }
        self.take().map_err(|error| format!("a client cannot receive: {error}"))?;
        if self.turns == WARM_TICKS + self.ticks {
            return Ok(Next::End);
        }
        self.turns += 1;
        self.inputs += self.count as u64;
        for (client, socket) in self.sockets.iter().enumerate() {
            let mut input = &self.input;
            if let Some(tls) = self.tls.get_mut(client) {
                self.sealed.clear();
                tls.seal(input, &mut self.sealed)
                    .map_err(|error| format!("a client cannot seal: {error}"))?;
                input = &self.sealed;
            }
            let sent = send(socket, input, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            if sent != Ok(input.len()) {
                return Err(format!("a client cannot send: {sent:?}"));
            }
        }
        self.begun = thread_time();
        if self.turns > WARM_TICKS {
            self.own_times_us.push(microseconds(self.begun.saturating_sub(now)));
        }
        Ok(Next::Tick)
    }

    fn take(&mut self) -> io::Result<()> {
        for (client, socket) in self.sockets.iter().enumerate() {
            match recv(socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, bytes)) => {
                    self.bytes += match self.tls.get_mut(client) {
                        Some(tls) => {
                            self.plain.clear();
                            self.sealed.clear();
                            tls.open(&self.buffer[..bytes], &mut self.plain, &mut self.sealed)?;
                            self.plain.len() as u64
                        }
                        None => bytes as u64,
                    };
                }
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Ends every connection.
    pub fn leave(&mut self) {
        self.sockets.clear();
        self.apart = None;
        self.tls.clear();
    }

    /// Ticks of the server.
    pub fn turns(&self) -> usize {
        self.turns
    }

    /// Bytes received by all of them.
    pub fn bytes_received(&self) -> u64 {
        self.bytes
    }

    /// The server's processor time in each tick that counts, in microseconds.
    pub fn times_us(&self) -> &[f64] {
        &self.times_us
    }

    /// The clients' own, in microseconds; only the mean, if they have a process of their own.
    pub fn own_times_us(&self) -> &[f64] {
        &self.own_times_us
    }
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// An input as a client sends it.
pub fn input_frame() -> Vec<u8> {
    let mut frame = Vec::new();
    append_frame(&mut frame, 1, |out| out.extend([7; INPUT_BYTES - FRAME_HEAD_BYTES]));
    frame
}

/// A snapshot as the server sends it.
pub fn snapshot_frame() -> Vec<u8> {
    let mut frame = Vec::new();
    append_frame(&mut frame, 2, |out| out.extend([3; SNAPSHOT_BYTES - FRAME_HEAD_BYTES]));
    frame
}
