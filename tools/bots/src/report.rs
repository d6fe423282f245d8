//! What a load tells: as it goes, and at the end.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::inventory::Book;
use crate::measure::{Distribution, Measures, Window, Windows, total};
use crate::role::Role;

/// How a load stands, once a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Seconds since the load began.
    pub seconds: f64,
    /// Whether all are in the world and figures are taken.
    pub measuring: bool,
    /// Clients asked for.
    pub clients: u32,
    /// Clients in the world.
    pub playing: u32,
    /// Snapshots received in the last second, by all clients together.
    pub snapshots: u64,
    /// Bytes received in the last second, by all clients together.
    pub bytes_in: u64,
    /// 99 of 100 gaps between snapshots were at most so many milliseconds, so far; 0 before the first.
    pub snapshot_gap_p99_ms: f64,
    /// Gaps between snapshots in the last second.
    pub snapshot_gap_last_ms: Distribution,
    /// Connections that ended without having been asked to, so far.
    pub disconnects: u64,
    /// What contradicts the protocol or a bot's own book, so far.
    pub errors: u64,
}

/// What one bot was told. The server must never lose any of it, whatever happens to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LedgerEntry {
    /// The account's name.
    pub account: String,
    /// Its password.
    pub password: String,
    /// The character's name.
    pub character: String,
    /// What it carries, and what came and went.
    pub book: Book,
}

/// What a load measured. Distributions, counts and rates are of the measured time: from when every client was in
/// the world, or could not get there, to when the first was asked to leave at the end. Errors, disconnects and retries are of the whole load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadReport {
    /// Clients asked for.
    pub clients: u32,
    /// Clients in the world when measuring began.
    pub connected: u32,
    /// How long it was measured, in seconds.
    pub seconds: f64,
    /// Time between consecutive snapshots of one client.
    pub snapshot_gap_ms: Distribution,
    /// Time from an input's sending to the snapshot that acknowledges it.
    pub input_to_snapshot_ms: Distribution,
    /// Time from ping to pong.
    pub rtt_ms: Distribution,
    /// Time from breaking off to having the session again, of resumers.
    pub resumed_ms: Distribution,
    /// Sessions taken up by their tickets, in a second.
    pub resumed_per_s: f64,
    /// Snapshots received.
    pub snapshots: u64,
    /// Bytes that a client received in a second, on average.
    pub bytes_in_per_client_s: f64,
    /// Bytes that a client sent in a second, on average.
    pub bytes_out_per_client_s: f64,
    /// Inputs sent.
    pub inputs: u64,
    /// Requests sent by playing clients: say, pick up, drop, log out.
    pub commands: u64,
    /// How many of these were refused.
    pub commands_refused: u64,
    /// How many of these were refused, by the error code's name.
    pub refused_by_code: BTreeMap<&'static str, u64>,
    /// Pick-ups that were carried out.
    pub picked_up: u64,
    /// Drops that were carried out.
    pub dropped: u64,
    /// Trades that were carried out, as each of the two counts them.
    pub traded: u64,
    /// Texts heard.
    pub heard: u64,
    /// Snapshots that corrected a prediction.
    pub corrections: u64,
    /// Clients that logged out and in again.
    pub relogs: u64,
    /// Connections that reconnecters dropped without a word, to sign in again.
    pub reconnects: u64,
    /// Connections that ended without having been asked to.
    pub disconnects: u64,
    /// Why they ended.
    pub disconnects_by_reason: BTreeMap<String, u64>,
    /// Attempts to sign in that did not come through and were made again.
    pub sign_in_retries: u64,
    /// What contradicts the protocol or a bot's own book; clients that were given up.
    pub errors: u64,
    /// The first of these in words.
    pub error_samples: Vec<String>,
    /// CPU time of the bots' thread for one step of one client with all that it received, in microseconds.
    pub bots_cpu_us_per_client_tick: f64,
    /// The bots' thread's share of its processor: 1 is all of it, and then the figures are the load client's own.
    pub bots_cpu_share: f64,
    /// Steps that were left out because the bots' thread was too late for them.
    pub steps_missed: u64,
    /// What drove the sockets: `io_uring`, or `epoll` where that is not to be had.
    pub driver: &'static str,
    /// The figures of each role that somebody has.
    pub roles: BTreeMap<Role, RoleReport>,
    /// What each bot was told, in order.
    #[serde(skip)]
    pub ledger: Vec<LedgerEntry>,
}

/// What was measured of the bots of one role.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoleReport {
    /// Clients in the world when measuring began.
    pub clients: u32,
    /// As in [`LoadReport`].
    pub snapshot_gap_ms: Distribution,
    /// As in [`LoadReport`].
    pub input_to_snapshot_ms: Distribution,
    /// As in [`LoadReport`].
    pub rtt_ms: Distribution,
    /// As in [`LoadReport`].
    pub bytes_in_per_client_s: f64,
    /// As in [`LoadReport`].
    pub bytes_out_per_client_s: f64,
    /// As in [`LoadReport`].
    pub commands: u64,
    /// As in [`LoadReport`].
    pub commands_refused: u64,
    /// As in [`LoadReport`].
    pub corrections: u64,
    /// As in [`LoadReport`].
    pub reconnects: u64,
    /// Connections that ended without having been asked to, in the measured time.
    pub disconnects: u64,
}

impl RoleReport {
    fn new(clients: u32, seconds: f64, window: &Window) -> RoleReport {
        let client_seconds = f64::from(clients) * seconds;
        RoleReport {
            clients,
            snapshot_gap_ms: window.snapshot_gap.distribution(),
            input_to_snapshot_ms: window.input_to_snapshot.distribution(),
            rtt_ms: window.rtt.distribution(),
            bytes_in_per_client_s: ratio(window.bytes_in as f64, client_seconds),
            bytes_out_per_client_s: ratio(window.bytes_out as f64, client_seconds),
            commands: window.commands,
            commands_refused: window.refused.values().sum(),
            corrections: window.corrections,
            reconnects: window.reconnects,
            disconnects: window.disconnects,
        }
    }
}

fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// What a load is apart from what its clients counted.
#[derive(Default)]
pub struct Frame {
    /// What drove the sockets.
    pub driver: &'static str,
    /// Clients asked for.
    pub clients: u32,
    /// Clients in the world when measuring began.
    pub connected: u32,
    /// How long it was measured, in seconds.
    pub seconds: f64,
    /// CPU time of the thread in that time, in nanoseconds.
    pub cpu_ns: u64,
    /// Clients in the world when measuring began, by [`Role`].
    pub connected_by_role: [u32; Role::ALL.len()],
    /// Steps left out in that time.
    pub steps_missed: u64,
}

impl LoadReport {
    /// Sums a load up.
    pub fn new(frame: &Frame, windows: &Windows, measures: Measures, ledger: Vec<LedgerEntry>) -> LoadReport {
        let client_seconds = f64::from(frame.connected) * frame.seconds;
        let window = total(windows);
        let by_role = Role::ALL.into_iter().zip(frame.connected_by_role).zip(windows);
        let roles = by_role
            .filter(|((_, clients), _)| *clients > 0)
            .map(|((role, clients), window)| (role, RoleReport::new(clients, frame.seconds, window)))
            .collect();
        LoadReport {
            clients: frame.clients,
            connected: frame.connected,
            seconds: frame.seconds,
            snapshot_gap_ms: window.snapshot_gap.distribution(),
            input_to_snapshot_ms: window.input_to_snapshot.distribution(),
            rtt_ms: window.rtt.distribution(),
            resumed_ms: window.resumed.distribution(),
            resumed_per_s: ratio(window.resumed.distribution().count as f64, frame.seconds),
            snapshots: window.snapshots,
            bytes_in_per_client_s: ratio(window.bytes_in as f64, client_seconds),
            bytes_out_per_client_s: ratio(window.bytes_out as f64, client_seconds),
            inputs: window.inputs,
            commands: window.commands,
            commands_refused: window.refused.values().sum(),
            refused_by_code: window.refused,
            picked_up: window.picked_up,
            dropped: window.dropped,
            traded: window.traded,
            heard: window.heard,
            corrections: window.corrections,
            relogs: window.relogs,
            reconnects: window.reconnects,
            disconnects: measures.disconnects.values().sum(),
            disconnects_by_reason: measures.disconnects,
            sign_in_retries: measures.sign_in_retries,
            errors: measures.errors,
            error_samples: measures.error_samples,
            bots_cpu_us_per_client_tick: ratio(frame.cpu_ns as f64 / 1000.0, window.client_ticks as f64),
            bots_cpu_share: ratio(frame.cpu_ns as f64 / 1e9, frame.seconds),
            steps_missed: frame.steps_missed,
            driver: frame.driver,
            roles,
            ledger,
        }
    }

    /// Whether the load did what it was to do: somebody played, and nothing contradicted anything.
    pub fn succeeded(&self) -> bool {
        self.connected > 0 && self.errors == 0
    }

    /// The summary in words, a few lines.
    pub fn summary(&self) -> String {
        let (gap, input, rtt) = (self.snapshot_gap_ms, self.input_to_snapshot_ms, self.rtt_ms);
        let mut text = format!(
            "{} of {} clients played for {:.1} s: {} errors, {} disconnects.",
            self.connected, self.clients, self.seconds, self.errors, self.disconnects,
        );
        let measured = format!(
            "\nSnapshots came every {:.1} ms (median), {:.1} ms at p99, {:.1} ms at most; inputs were acknowledged \
             after {:.1} ms (median), {:.1} ms at p99; pings took {:.1} ms, {:.1} ms at p99.\n\
             Each client received {:.0} and sent {:.0} bytes a second. {} predictions were corrected.\n\
             {} commands, {} of them refused; {} items picked up, {} dropped, {} trades, {} logged out and in again.\n\
             The bots' own thread spent {:.1} us on each step of a client, {:.0}% of its processor, and left out {} steps.",
            gap.p50,
            gap.p99,
            gap.max,
            input.p50,
            input.p99,
            rtt.p50,
            rtt.p99,
            self.bytes_in_per_client_s,
            self.bytes_out_per_client_s,
            self.corrections,
            self.commands,
            self.commands_refused,
            self.picked_up,
            self.dropped,
            self.traded / 2,
            self.relogs,
            self.bots_cpu_us_per_client_tick,
            self.bots_cpu_share * 100.0,
            self.steps_missed,
        );
        if self.connected > 0 {
            text += &measured;
        }
        if self.resumed_ms.count > 0 {
            text.extend([format!(
                "\n{:.0} sessions a second were taken up again, after {:.1} ms (median), {:.1} ms at p99.",
                self.resumed_per_s, self.resumed_ms.p50, self.resumed_ms.p99
            )]);
        }
        if self.roles.len() > 1 {
            text.extend(self.roles.iter().map(|(role, of)| {
                format!(
                    "\n{:>6} {:<11}  snapshots every {:.1} ms, {:.1} ms at p99; inputs {:.1} ms, {:.1} ms at p99; {} disconnects",
                    of.clients,
                    role.name(),
                    of.snapshot_gap_ms.p50,
                    of.snapshot_gap_ms.p99,
                    of.input_to_snapshot_ms.p50,
                    of.input_to_snapshot_ms.p99,
                    of.disconnects,
                )
            }));
        }
        let reasons = self.disconnects_by_reason.iter();
        text.extend(reasons.map(|(reason, times)| format!("\nDisconnected {times} times: {reason}")));
        text.extend(self.error_samples.iter().map(|sample| format!("\nError: {sample}")));
        text
    }
}
