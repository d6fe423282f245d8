//! Clients in a process of their own, on another core: the inputs of a tick come spread over it, as they do from players.

use std::env;
use std::io::{self, BufRead, BufReader, Error, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde::{Deserialize, Serialize};
use socket2::SockRef;
use vyuha_net::cpu::thread_time;

use super::clients::{CLIENTS_PER_ADDRESS, input_frame};

/// Time between ticks: 30 a second.
pub const TICK: Duration = Duration::from_nanos(1_000_000_000 / 30);
/// The subcommand that is the clients' process.
pub const SUBCOMMAND: &str = "wire-clients";
/// The clients whose turn came in the meantime send together; then they sleep for so long.
const NAP: Duration = Duration::from_micros(100);
/// How long the clients take what is still on its way, at the end.
const LAST: Duration = Duration::from_millis(200);

/// What the clients saw.
#[derive(Debug, Serialize, Deserialize)]
pub struct Seen {
    /// Inputs sent.
    pub inputs: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Processor time of their process since it began to send.
    pub cpu: Duration,
}

/// The clients' process, as the server sees it.
pub struct Process {
    child: Child,
    /// Told to begin by a line, to end by being closed.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// When the next tick is due, once they send.
    due: Option<Instant>,
}

impl Process {
    /// Clients on this processor that are connected and wait, and the server's sockets.
    pub fn start(count: usize, cpu: usize) -> io::Result<(Process, Vec<OwnedFd>)> {
        let mut listeners = Vec::new();
        for nth in 0..count.div_ceil(CLIENTS_PER_ADDRESS) {
            listeners.push(TcpListener::bind((Ipv4Addr::new(127, 0, 0, 1 + nth as u8), 0))?);
        }
        let addresses: io::Result<Vec<SocketAddr>> = listeners.iter().map(TcpListener::local_addr).collect();
        let mut child = Command::new(env::current_exe()?)
            .args([SUBCOMMAND, "--clients", &count.to_string(), "--cpu", &cpu.to_string()])
            .args(addresses?.iter().map(SocketAddr::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take());
        let answers = BufReader::new(answers.ok_or(io::ErrorKind::BrokenPipe)?);
        let mut process = Process { child, orders, answers, due: None };
        let mut accepted = Vec::new();
        for client in 0..count {
            let socket = process.accept(&listeners[client / CLIENTS_PER_ADDRESS])?;
            socket.set_nodelay(true)?;
            accepted.push(socket.into());
        }
        Ok((process, accepted))
    }

    /// A client's connection, unless their process ends instead.
    fn accept(&mut self, listener: &TcpListener) -> io::Result<TcpStream> {
        listener.set_nonblocking(true)?;
        loop {
            match listener.accept() {
                Ok((socket, _)) => return Ok(socket),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(Error::other(format!("the clients' process ended: {status}")));
            }
            thread::sleep(NAP);
        }
    }

    /// When the next tick is due. One that is over late is followed at once.
    pub fn tick(&mut self) -> io::Result<Instant> {
        if self.due.is_none() {
            let orders = self.orders.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
            orders.write_all(b"begin\n")?;
        }
        let now = Instant::now();
        let due = (self.due.unwrap_or(now) + TICK).max(now);
        self.due = Some(due);
        Ok(due)
    }

    /// Ends them.
    pub fn end(&mut self) -> io::Result<Seen> {
        self.orders = None;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.orders = None;
        // It ends when its orders do; one that hangs must not outlive us.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The clients' process: connects, sends once it is told to and until standard input ends, and prints what it saw.
pub fn run_clients(count: usize, cpu: usize, addresses: &[SocketAddr]) -> io::Result<()> {
    super::bind(cpu)?;
    let mut sockets = Vec::with_capacity(count);
    for client in 0..count {
        let address = addresses.get(client / CLIENTS_PER_ADDRESS);
        let socket = TcpStream::connect(address.ok_or_else(|| Error::other("too few addresses"))?)?;
        socket.set_nodelay(true)?;
        // A reset leaves no port waiting: the next run needs as many.
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        sockets.push(socket);
    }
    io::stdin().lock().read_line(&mut String::new())?;
    let (ended, end) = mpsc::channel::<()>();
    thread::spawn(move || {
        // An error is an end as well.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        drop(ended);
    });
    let seen = send_spread(&sockets, &end)?;
    writeln!(io::stdout(), "{}", serde_json::to_string(&seen)?)
}

/// Each sends one input a tick, the first client when it begins and the last when it ends, and takes what has come.
fn send_spread(sockets: &[TcpStream], end: &mpsc::Receiver<()>) -> io::Result<Seen> {
    let mut seen = Seen { inputs: 0, bytes: 0, cpu: Duration::ZERO };
    let (input, mut buffer) = (input_frame(), vec![0; 64 << 10]);
    let (begun, cpu_before) = (Instant::now(), thread_time());
    while end.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
        let wanted = begun.elapsed().as_nanos() * sockets.len() as u128 / TICK.as_nanos();
        while u128::from(seen.inputs) < wanted {
            let socket = &sockets[(seen.inputs % sockets.len() as u64) as usize];
            seen.bytes += receive(socket, &mut buffer)?;
            match send(socket, &input, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(length) if length == input.len() => seen.inputs += 1,
                sent => return Err(Error::other(format!("a client cannot send: {sent:?}"))),
            }
        }
        thread::sleep(NAP);
    }
    seen.cpu = thread_time().saturating_sub(cpu_before);
    let last = Instant::now();
    while last.elapsed() < LAST {
        for socket in sockets {
            seen.bytes += receive(socket, &mut buffer)?;
        }
        thread::sleep(LAST / 10);
    }
    Ok(seen)
}

fn receive(socket: &TcpStream, buffer: &mut [u8]) -> io::Result<u64> {
    match recv(socket, buffer, RecvFlags::DONTWAIT) {
        Ok((_, length)) => Ok(length as u64),
        Err(Errno::AGAIN) => Ok(0),
        Err(error) => Err(error.into()),
    }
}
