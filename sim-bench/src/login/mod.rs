//! What signing in costs, through the product's own account service over HTTP: how many a core takes, how long each waits, and
//! what the shard's tick feels of it. And `GET /api/v1/me` with a valid access token, beside a bare axum handler in the same run.
//!
//! Processor time is what is counted by: that of all threads of the service, so that other work on the machine changes little.
//! The clients' own is not in it.

mod clients;
mod service;
mod ticks;

use std::fmt;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;
use vyuha_accounts::devices::measure;
use vyuha_accounts::problem::Problem;
use vyuha_core::SimdLevel;
use vyuha_net::cpu::{threads_by_name, usable};

use self::clients::{Connection, sign_in, sign_in_until};
use self::service::Port;
use self::ticks::{Now, Phase};
use crate::progress::Progress;
use crate::statistics::{Spread, spread, thousandths};
use crate::store::own_processor;
use crate::store::world::{People, World};

/// Accounts that sign in. No session ends for want of room while fewer than twenty times as many do.
const ACCOUNTS: usize = 64;
/// Connections that ask for `/me`: a window of 64 KiB each tenth of a second holds none of so many up.
const ME_CONNECTIONS: usize = 64;
/// How long one side asks for `/me` in a round.
const ME_TURN: Duration = Duration::from_millis(500);
/// Devices that sign in, each way.
const DEVICES: u32 = 4000;
/// Requests of a connection before those that count.
const ME_WARM: usize = 20;
/// The service's threads, as the kernel names them: the port, the hashing and the database's.
const SERVICE_THREADS: [&str; 3] = [API_THREAD, "hash-", "vyuha-sql"];
const API_THREAD: &str = "bench-api";
const BARE_THREAD: &str = "bench-bare";

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// Rounds, in each of which everything has its turn.
    pub rounds: u32,
    /// For how many seconds people sign in, and nobody does, in a round.
    pub phase_seconds: u32,
    /// Clients that sign in at once.
    pub clients: u32,
    /// Players whose shard ticks meanwhile, an even number.
    pub players: u32,
    /// The vector instructions of the shard's zone.
    pub simd: SimdLevel,
}

/// What a password costs there.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Hashing {
    /// `argon2id`.
    pub algorithm: &'static str,
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

/// One way to sign in.
#[derive(Debug, Clone, Serialize)]
pub struct SignIns {
    /// What is shown: `password`.
    pub way: &'static str,
    /// How many there were.
    pub count: usize,
    /// In a second of the clock, by so many clients at once.
    pub per_s: f64,
    /// In a second of processor time of all of the service's threads.
    pub per_s_core: f64,
    /// From the request to the answer, in milliseconds.
    pub ms: Spread,
}

/// The tick while people sign in, beside the tick while nobody does.
#[derive(Debug, Clone, Serialize)]
pub struct Ticks {
    /// Players who walk.
    pub players: u32,
    /// Ticks of each kind.
    pub ticks: [usize; 2],
    /// Whether the shard's thread could be put before all others on a processor of its own.
    pub real_time: bool,
    /// While nobody signs in, in microseconds.
    pub idle_us: Spread,
    /// While people do.
    pub login_us: Spread,
    /// The 99th of a hundred, the second over the first.
    pub p99_ratio: f64,
}

/// `GET /api/v1/me` with a valid access token, beside a bare handler that answers the same.
#[derive(Debug, Clone, Serialize)]
pub struct Me {
    /// In a second of its thread's processor time, the median of the rounds.
    pub per_s_core: f64,
    /// The bare handler's.
    pub bare_per_s_core: f64,
    /// The first over the second of the same round, the median.
    pub ratio: f64,
}

/// What devices sign in by, which have no password: the service's computation alone, without network and database.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Devices {
    /// Challenges made and their answers checked, in a second of a core.
    pub sign_ins_per_s_core: f64,
    /// Handshakes of links, in a second of a core.
    pub handshakes_per_s_core: f64,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// How many processors could be used.
    pub processors: usize,
    /// The machine's load before and after: the mean number of processes that wanted to run, over a minute.
    pub load: [f64; 2],
    /// Clients that signed in at once.
    pub clients: u32,
    /// What a password costs.
    pub hashing: Hashing,
    /// By way.
    pub sign_ins: Vec<SignIns>,
    /// What the shard felt of them.
    pub tick: Ticks,
    /// Sign-ins by a device's key.
    pub devices: Devices,
    /// The cheapest request of somebody who is signed in.
    pub me: Me,
}

/// Measures it all.
pub fn measure(options: &Options) -> anyhow::Result<Report> {
    let load_before = crate::store::load_average();
    let cpus = usable().context("the processors cannot be listed")?;
    let folder = tempfile::tempdir().context("no temporary folder can be made")?;
    // The shard has the last processor for itself, where there are two.
    let own_cpu = cpus.split_last().filter(|(_, rest)| !rest.is_empty());
    if let Some((_, rest)) = own_cpu {
        // Whatever is started from here on follows this thread.
        let mut set = CpuSet::new();
        for &cpu in rest {
            set.set(cpu);
        }
        sched_setaffinity(None, &set).context("the shard cannot get a processor of its own")?;
    }
    let own_cpu = own_cpu.map(|(&cpu, _)| cpu);
    let (api, logins) = service::serve(API_THREAD, folder.path(), ACCOUNTS)?;
    let bare = service::serve_bare(BARE_THREAD)?;
    let me = measure_me(&api, &bare, &logins[0], options.rounds)?;
    let (sign_ins, tick) = measure_sign_ins(&api, &logins, own_cpu, options)?;
    bare.end()?;
    api.end()?;
    let cost = service::cost();
    Ok(Report {
        processors: cpus.len(),
        load: [load_before, crate::store::load_average()],
        clients: options.clients,
        hashing: Hashing {
            algorithm: "argon2id",
            memory_kib: cost.memory_kib,
            passes: cost.passes,
            lanes: cost.lanes,
        },
        sign_ins: vec![sign_ins],
        tick,
        devices: measure_devices()?,
        me,
    })
}

fn measure_devices() -> anyhow::Result<Devices> {
    let rate = |computed: Result<Duration, Problem>| {
        let took = computed.map_err(|problem| anyhow!("a device cannot sign in: {problem:?}"))?;
        anyhow::Ok(thousandths(f64::from(DEVICES) / took.as_secs_f64()))
    };
    Ok(Devices {
        sign_ins_per_s_core: rate(measure::sign_ins(DEVICES))?,
        handshakes_per_s_core: rate(measure::handshakes(DEVICES))?,
    })
}

/// Ours and the bare handler in turn, every other round the other way round.
fn measure_me(api: &Port, bare: &Port, login: &str, rounds: u32) -> anyhow::Result<Me> {
    let token = sign_in(&mut Connection::open(api.address)?, login)?;
    let request = format!("GET /api/v1/me HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\n\r\n");
    let sides = [(api.address, API_THREAD), (bare.address, BARE_THREAD)];
    let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    let mut progress = Progress::new("rounds of /me", rounds as usize);
    for round in 0..rounds as usize {
        let mut of_round = [0.0; 2];
        for turn in 0..sides.len() {
            let side = (round + turn) % sides.len();
            let (address, thread) = sides[side];
            of_round[side] = ask_me(address, thread, request.as_bytes())?;
        }
        rates.iter_mut().zip(of_round).for_each(|(rates, rate)| rates.push(rate));
        ratios.push(of_round[0] / of_round[1]);
        progress.at(round);
    }
    let [per_s_core, bare_per_s_core] = rates.map(|rates| thousandths(spread(&rates).p50));
    Ok(Me { per_s_core, bare_per_s_core, ratio: thousandths(spread(&ratios).p50) })
}

/// Answers in a second of this thread's processor time, where many connections always have a request waiting.
fn ask_me(address: SocketAddr, thread: &str, request: &[u8]) -> anyhow::Result<f64> {
    let connections = (0..ME_CONNECTIONS).map(|_| Connection::open(address));
    let mut connections = connections.collect::<anyhow::Result<Vec<_>>>()?;
    let mut ask_all = || -> anyhow::Result<()> {
        connections.iter_mut().try_for_each(|connection| connection.send(request))?;
        connections.iter_mut().try_for_each(|connection| connection.answer(200).map(drop))
    };
    for _ in 0..ME_WARM {
        ask_all()?;
    }
    let (before, begun, mut asked) = (cpu(&[thread])?, Instant::now(), 0);
    while begun.elapsed() < ME_TURN {
        ask_all()?;
        asked += ME_CONNECTIONS;
    }
    let spent = cpu(&[thread])?.saturating_sub(before);
    Ok(asked as f64 / spent.as_secs_f64())
}

/// People sign in, and nobody does, in turn, beside the shard.
fn measure_sign_ins(
    api: &Port,
    logins: &[String],
    own_cpu: Option<usize>,
    options: &Options,
) -> anyhow::Result<(SignIns, Ticks)> {
    let mut world = World::new(People { first: 1, count: options.players }, 1, options.simd)?;
    let (now, phase_time) = (Now::new(), Duration::from_secs(options.phase_seconds.into()));
    let (mut took, mut elapsed, mut spent) = (Vec::new(), Duration::ZERO, Duration::ZERO);
    let ((samples, real_time), ran) = thread::scope(|scope| {
        let shard = scope.spawn(|| {
            let real_time = own_processor(own_cpu);
            ticks::run(&mut world, &now).map(|samples| (samples, real_time))
        });
        let mut run = || -> anyhow::Result<()> {
            let mut progress = Progress::new("rounds of sign-ins", options.rounds as usize);
            for round in 0..options.rounds as usize {
                let phases = [Phase::Idle, Phase::Login];
                for turn in 0..phases.len() {
                    let phase = phases[(round + turn) % phases.len()];
                    now.set(phase);
                    if phase == Phase::Idle {
                        thread::sleep(phase_time);
                    } else {
                        let (before, begun) = (cpu(&SERVICE_THREADS)?, Instant::now());
                        took.extend(storm(api.address, logins, options.clients, begun + phase_time)?);
                        elapsed += begun.elapsed();
                        spent += cpu(&SERVICE_THREADS)?.saturating_sub(before);
                    }
                    now.set(Phase::Pause);
                }
                progress.at(round);
            }
            Ok(())
        };
        let ran = run();
        now.set(Phase::Over);
        let ticked = shard.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ticked.map(|ticked| (ticked, ran))
    })?;
    ran?;
    let ms: Vec<f64> = took.iter().map(|took| took.as_secs_f64() * 1000.0).collect();
    let count = ms.len() as f64;
    let sign_ins = SignIns {
        way: "password",
        count: ms.len(),
        per_s: thousandths(count / elapsed.as_secs_f64()),
        per_s_core: thousandths(count / spent.as_secs_f64()),
        ms: spread(&ms).rounded(),
    };
    let [idle, login] = &samples;
    let tick = Ticks {
        players: options.players,
        ticks: [idle.len(), login.len()],
        real_time,
        idle_us: spread(idle).rounded(),
        login_us: spread(login).rounded(),
        p99_ratio: thousandths(spread(login).p99 / spread(idle).p99),
    };
    Ok((sign_ins, tick))
}

/// Many sign in until a time, each with accounts of its own; how long each sign-in took.
fn storm(to: SocketAddr, logins: &[String], clients: u32, until: Instant) -> anyhow::Result<Vec<Duration>> {
    let share = logins.len() / clients as usize;
    thread::scope(|scope| {
        let shares = logins.chunks(share).take(clients as usize);
        let clients: Vec<_> =
            shares.map(|logins| scope.spawn(move || sign_in_until(to, logins, until))).collect();
        let mut took = Vec::new();
        for client in clients {
            took.extend(client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(took)
    })
}

/// Clients that may sign in at once: each has two accounts of its own.
pub const CLIENTS_MAX: u32 = ACCOUNTS as u32 / 2;

/// Processor time of the threads whose names begin so.
fn cpu(names: &[&str]) -> anyhow::Result<Duration> {
    let mut sum = Duration::ZERO;
    for name in names {
        let threads = threads_by_name(name).context("the threads cannot be listed")?;
        sum += threads.iter().map(|thread| thread.cpu).sum::<Duration>();
    }
    Ok(sum)
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hashing, tick, devices, me, .. } = self;
        writeln!(
            out,
            "{} processors, a load of {} before and {} after; Argon2id with {} KiB, {} passes, {} lanes; {} clients at once",
            self.processors,
            self.load[0],
            self.load[1],
            hashing.memory_kib,
            hashing.passes,
            hashing.lanes,
            self.clients
        )?;
        for SignIns { way, count, per_s, per_s_core, ms } in &self.sign_ins {
            writeln!(
                out,
                "{count} sign-ins by {way}: {per_s_core:.1} a second a core, {per_s:.1} by the clock; {:.1} ms at best, {:.1} \
                 median, {:.1} p99",
                ms.min, ms.p50, ms.p99
            )?;
        }
        writeln!(
            out,
            "devices, computation alone: {:.0} sign-ins and {:.0} handshakes of links a second a core",
            devices.sign_ins_per_s_core, devices.handshakes_per_s_core
        )?;
        let before_all = if tick.real_time { "before all others" } else { "not before all others" };
        writeln!(out, "the tick of {} players, the shard {before_all}:", tick.players)?;
        for (what, us, ticks) in
            [("idle", tick.idle_us, tick.ticks[0]), ("sign-ins", tick.login_us, tick.ticks[1])]
        {
            writeln!(
                out,
                "  {what:<10} {:8.0} us at best, {:8.0} median, {:8.0} p99, of {ticks}",
                us.min, us.p50, us.p99
            )?;
        }
        writeln!(out, "  p99 over that of idle: {:.3}", tick.p99_ratio)?;
        writeln!(
            out,
            "GET /api/v1/me: {:.0} a second of processor time, a bare handler {:.0}: {:.3}",
            me.per_s_core, me.bare_per_s_core, me.ratio
        )
    }
}
