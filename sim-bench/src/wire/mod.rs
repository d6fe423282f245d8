//! What a client's sockets cost a server in a tick: ours beside other ways to serve them, and beside the bare system
//! calls.
//!
//! Each client sends 24 bytes and gets 400, once a tick, over TCP on loopback, and with TLS 22 more each way. The clients live in the server's own
//! thread and take their turn between its ticks; processor time is that of the thread, and the clients' share of it is
//! not counted. So neither a second core nor what else the machine does is in the figure. All ways run in turns, round by
//! round, each on connections of its own; nobody waits for a clock, so that what is driven by events meets all of them at
//! once, which is the best that can happen to it.
//!
//! Apart, the clients have a process and a core of their own, and their inputs come spread over ticks of a thirtieth of a
//! second, as players' do; the server's figure is all its thread's time.

pub mod apart;
mod clients;
mod epoll;
mod glommio_streams;
mod tls;
mod tokio_streams;
mod transports;

use std::fmt;
use std::os::fd::OwnedFd;
use std::thread;

use clap::ValueEnum;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;
use thiserror::Error;
use vyuha_protocol::frame::{CLIENT_PAYLOAD_BYTES_MAX, first_frame};

use self::clients::{Clients, SNAPSHOT_BYTES, snapshot_frame};
use crate::progress::Progress;
use crate::statistics::{spread, thousandths};

/// Most clients: all the addresses that they connect to, full.
pub const CLIENTS_MAX: usize = 1_000_000;
/// Files besides the clients' and the server's sockets.
const OTHER_FILES: u64 = 100;

/// A way to serve sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Mode {
    /// One `recv` and one `send` a client, and nothing else: what the kernel takes.
    Floor,
    /// The server's transport on io_uring.
    Vyuha,
    /// The same with TLS 1.3, every frame sealed.
    VyuhaTls,
    /// The server's transport on plain system calls.
    Plain,
    /// Readiness by epoll, edge-triggered; `recv` and `send`.
    Epoll,
    /// Tokio's streams, a task a client.
    Tokio,
    /// Glommio's streams, a task a client.
    GlommioStreams,
}

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// The ways, in the order in which they take turns.
    pub modes: Vec<Mode>,
    /// Numbers of clients.
    pub clients: Vec<usize>,
    /// How often each way has its turn.
    pub rounds: usize,
    /// Ticks that count, in each turn.
    pub ticks: usize,
    /// Whether the clients have a process and a core of their own.
    pub apart: bool,
}

/// One way with one number of clients.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The way.
    pub mode: Mode,
    /// How many clients.
    pub clients: usize,
    /// Processor time of the server for one tick of one client, in microseconds: the median of the rounds' medians.
    pub us_per_client_tick: f64,
    /// The same of the best round.
    pub us_min: f64,
    /// The same of the clients, into whose time falls what the kernel does to wake a server that is driven by events.
    pub us_of_clients: f64,
    /// Inputs that the server saw of each client in a tick. Above 1 it was late: it had fewer ticks, with more to read in each.
    pub inputs_per_client_tick: f64,
    /// Times the floor of the same round, the median of the rounds; if the floor was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_floor: Option<f64>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// By number of clients, then as the ways were named.
    pub rows: Vec<Row>,
}

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum WireError {
    /// Too few files may be open.
    #[error(
        "{clients} clients need {needed} open files, {limit} are allowed: raise RLIMIT_NOFILE (ulimit -n {needed})"
    )]
    Files {
        /// How many clients.
        clients: usize,
        /// Files that they need.
        needed: u64,
        /// The limit, which was raised as far as it could be.
        limit: u64,
    },
    /// The system does not say which processors there are.
    #[error("the processors of this process are not told")]
    Cpus(#[source] std::io::Error),
    /// The system refused something.
    #[error("{mode:?} with {clients} clients cannot be set up: {text}")]
    SetUp {
        /// The way.
        mode: Mode,
        /// How many clients.
        clients: usize,
        /// What is wrong.
        text: String,
    },
    /// TLS asked for where clients have a process of their own.
    #[error("vyuha_tls is measured with clients in the server's thread only: leave --apart or that mode out")]
    TlsApart,
    /// One processor for two.
    #[error("clients apart need a core of their own, and this process may use one: leave --apart out")]
    OneCpu,
    /// Not everything arrived, so that the time says nothing.
    #[error(
        "{mode:?} with {clients} clients lost something: {inputs} inputs of {expected} and {bytes} bytes arrived"
    )]
    Lost {
        /// The way.
        mode: Mode,
        /// How many clients.
        clients: usize,
        /// Inputs that the server saw.
        inputs: u64,
        /// One of each client a tick.
        expected: u64,
        /// Bytes that the clients saw.
        bytes: u64,
    },
}

/// Measures every way with every number of clients.
pub fn measure(options: &Options) -> Result<Report, WireError> {
    let cpus = vyuha_net::cpu::usable().map_err(WireError::Cpus)?;
    let (&[first, ..], &[.., last]) = (&cpus[..], &cpus[..]) else { return Err(WireError::OneCpu) };
    if options.apart && options.modes.contains(&Mode::VyuhaTls) {
        return Err(WireError::TlsApart);
    }
    if options.apart && first == last {
        return Err(WireError::OneCpu);
    }
    let place = Place { cpu: last, clients_cpu: options.apart.then_some(first) };
    let mut rows = Vec::new();
    for &clients in &options.clients {
        allow_files(clients, options.apart)?;
        let turns = options.rounds * options.modes.len();
        let mut progress = Progress::new(format!("{clients} clients, turns"), turns);
        let mut rounds = vec![Vec::new(); options.modes.len()];
        for turn in 0..turns {
            let index = turn % options.modes.len();
            rounds[index].push(run(options.modes[index], clients, options.ticks, place)?);
            progress.at(turn + 1);
        }
        let floor = options.modes.iter().position(|mode| *mode == Mode::Floor);
        for (mode, turns) in options.modes.iter().zip(&rounds) {
            let median = |of: &dyn Fn((usize, &Turn)) -> f64| {
                spread(&turns.iter().enumerate().map(of).collect::<Vec<_>>())
            };
            let server = median(&|(_, turn)| turn.server_us);
            let own = median(&|(_, turn)| turn.clients_us);
            let of_floor =
                |floor: usize| median(&|(round, turn)| turn.server_us / rounds[floor][round].server_us);
            rows.push(Row {
                mode: *mode,
                clients,
                us_per_client_tick: thousandths(server.p50),
                us_min: thousandths(server.min),
                us_of_clients: thousandths(own.p50),
                inputs_per_client_tick: thousandths(median(&|(_, turn)| turn.inputs).p50),
                of_floor: floor.map(|floor| thousandths(of_floor(floor).p50)),
            });
        }
    }
    Ok(Report { rows })
}

impl Mode {
    /// The name under which it is printed.
    fn name(self) -> String {
        self.to_possible_value().expect("none is hidden").get_name().to_owned()
    }

    /// Serves until the clients have had enough; returns how many inputs were seen.
    fn serve(self, clients: &mut Clients, sockets: Vec<OwnedFd>, cpu: usize) -> Result<u64, String> {
        match self {
            Mode::Floor => epoll::serve_bare(clients, &sockets),
            Mode::Vyuha => transports::serve_vyuha(clients, sockets),
            Mode::VyuhaTls => transports::serve_vyuha_tls(clients, sockets),
            Mode::Plain => transports::serve_plain(clients, sockets),
            Mode::Epoll => epoll::serve(clients, &sockets),
            Mode::Tokio => tokio_streams::serve(clients, sockets),
            Mode::GlommioStreams => glommio_streams::serve(clients, sockets, cpu),
        }
    }
}

/// Raises the limit of open files, if it must be; clients apart have it as well.
fn allow_files(clients: usize, apart: bool) -> Result<(), WireError> {
    let needed = clients as u64 * if apart { 1 } else { 2 } + OTHER_FILES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|limit| limit >= needed) {
        return Ok(());
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    match maximum.or(current).filter(|limit| raised.is_err() || *limit < needed) {
        Some(limit) => Err(WireError::Files { clients, needed, limit }),
        None => Ok(()),
    }
}

/// What a tick took in one turn, the median of the ticks, in microseconds a client.
#[derive(Debug, Clone, Copy)]
struct Turn {
    server_us: f64,
    clients_us: f64,
    /// Inputs that the server saw, of each client a tick.
    inputs: f64,
}

/// Where it all runs.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The server's processor.
    cpu: usize,
    /// That of the clients, if they have a process of their own.
    clients_cpu: Option<usize>,
}

/// One turn of a way, on a thread of its own.
fn run(mode: Mode, clients: usize, ticks: usize, place: Place) -> Result<Turn, WireError> {
    let turn = move || {
        let set_up = |text: String| WireError::SetUp { mode, clients, text };
        // A move to another processor is in nobody's figure.
        bind(place.cpu).map_err(|error| set_up(error.to_string()))?;
        let connected = match place.clients_cpu {
            Some(cpu) => Clients::connect_apart(clients, ticks, cpu),
            None => Clients::connect(clients, ticks),
        };
        let (mut there, sockets) = connected.map_err(|error| set_up(error.to_string()))?;
        let inputs = mode.serve(&mut there, sockets, place.cpu).map_err(set_up)?;
        // What the last tick brought may still be on its way. Apart, the clients keep their own time: they may be behind a
        // little at the end.
        let (expected, bytes) = ((there.turns() * clients) as u64, there.bytes_received());
        let late = if place.clients_cpu.is_some() { expected / 10 + 4 * clients as u64 } else { 0 };
        let snapshots = bytes / SNAPSHOT_BYTES as u64;
        if inputs + late + (clients as u64) < expected || snapshots + (clients as u64) < expected {
            return Err(WireError::Lost { mode, clients, inputs, expected, bytes });
        }
        let of_each = |times_us: &[f64]| spread(times_us).p50 / clients as f64;
        Ok(Turn {
            server_us: of_each(there.times_us()),
            clients_us: of_each(there.own_times_us()),
            inputs: inputs as f64 / expected as f64,
        })
    };
    thread::spawn(turn).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Binds the thread to a processor.
fn bind(cpu: usize) -> std::io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// How many whole frames these bytes hold.
fn count_frames(mut bytes: &[u8]) -> u64 {
    let mut frames = 0;
    while let Ok(Some(frame)) = first_frame(bytes, CLIENT_PAYLOAD_BYTES_MAX) {
        bytes = &bytes[frame.bytes()..];
        frames += 1;
    }
    frames
}

/// What the server sends, made anew for each client as a server has to.
struct Snapshots {
    frame: Vec<u8>,
}

impl Snapshots {
    fn new() -> Snapshots {
        Snapshots { frame: snapshot_frame() }
    }

    /// The frame of one client in one tick.
    fn make(&mut self, client: usize, tick: u64) -> &[u8] {
        let at = SNAPSHOT_BYTES - 16;
        self.frame[at..at + 8].copy_from_slice(&tick.to_le_bytes());
        self.frame[at + 8..].copy_from_slice(&(client as u64).to_le_bytes());
        &self.frame
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut clients = 0;
        for row in &self.rows {
            if row.clients != clients {
                clients = row.clients;
                writeln!(f, "{clients} clients: microseconds of a core, a client and tick")?;
            }
            let Row { mode, us_per_client_tick, us_min, us_of_clients, inputs_per_client_tick, .. } = row;
            let name = mode.name();
            write!(
                f,
                "  {name:16}{us_per_client_tick:8.3}   best {us_min:8.3}   clients {us_of_clients:8.3}   \
                 {inputs_per_client_tick:.2} inputs a tick"
            )?;
            match row.of_floor {
                Some(times) => writeln!(f, "   {times:.2} times the floor")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}
