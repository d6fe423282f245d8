//! Moves zones between shards, by order and by what they cost; and `vyuha zones`, which gives the orders.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use vyuha_gateway::{MoveOrder, MoveRefused, ZoneMoved};

use crate::balance::{Balance, Policy, Step};
use crate::config::Config;
use crate::doors::ShardDoors;
use crate::events::{About, Events, What};
use crate::placement::ZoneTable;

/// How long the node's answer is waited for: longer than it waits for a zone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// What `vyuha zones` was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZonesCommand {
    /// Where the zones are.
    List,
    /// A zone is to go to a shard.
    Move {
        /// The zone's id.
        zone: u16,
        /// The shard.
        to: u16,
    },
}

/// Hands on the orders that come, and gives some where the balance asks for it, until it is dropped.
pub async fn move_zones(
    config: Config,
    zones: Arc<ZoneTable>,
    doors: Rc<ShardDoors>,
    events: Events,
    mut orders: mpsc::Receiver<MoveOrder>,
) {
    let interval = config.shard.balance_interval;
    let policy = Policy::new(config.shard.balance_gain, config.tick());
    let balancing = async {
        if interval.is_zero() {
            return;
        }
        let mut balance = Balance::new(policy, config.shards() as u16);
        loop {
            tokio::time::sleep(interval).await;
            if let Some(step) = balance.look(&zones.take_loads()) {
                carry_out(step, &doors, &events).await;
            }
        }
    };
    let ordered = async {
        while let Some(order) = orders.recv().await {
            let (answer, answered) = oneshot::channel();
            doors.move_zone(MoveOrder { zone: order.zone, to: order.to, answer });
            let events = events.clone();
            tokio::task::spawn_local(async move {
                let Ok(outcome) = answered.await else { return };
                note(&events, &outcome, "by order");
                // Whoever asked may have gone.
                let _ = order.answer.send(outcome);
            });
        }
    };
    tokio::join!(balancing, ordered);
}

fn note(events: &Events, outcome: &Result<ZoneMoved, MoveRefused>, why: &str) {
    if let Ok(ZoneMoved { zone, from, to, sessions, .. }) = outcome {
        let about = About { zone: (*zone).into(), ..About::default() };
        let detail = format!("{why}, from shard {from} to shard {to} with {sessions} sessions");
        events.note(What::ZoneMoved, about, detail);
    }
}

async fn carry_out(Step { zone, to }: Step, doors: &ShardDoors, events: &Events) {
    let (answer, answered) = oneshot::channel();
    doors.move_zone(MoveOrder { zone: zone.0, to, answer });
    let Ok(outcome) = answered.await else { return };
    note(events, &outcome, "for balance");
    if let Err(why) = outcome {
        tracing::warn!(zone = zone.0, to, %why, "a zone was not moved to balance the shards");
    }
}

/// Runs `vyuha zones` against the node at `admin.address`.
///
/// # Errors
/// If no node answers there, or it refuses.
pub fn run(config: &Config, command: ZonesCommand, as_json: bool) -> anyhow::Result<()> {
    let answer = match command {
        ZonesCommand::List => ask(config, "GET", "/api/zones", None)?,
        ZonesCommand::Move { zone, to } => {
            ask(config, "POST", &format!("/api/zones/{zone}/move"), Some(json!({ "shard": to })))?
        }
    };
    let text = match command {
        _ if as_json => format!("{answer}\n"),
        ZonesCommand::List => list_text(&answer),
        ZonesCommand::Move { .. } => moved_text(&answer),
    };
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to stdout")
}

fn list_text(answer: &Value) -> String {
    let mut text = format!("{:>5}  {:>5}  {:>7}  {:>9}  name\n", "zone", "shard", "players", "us a tick");
    for zone in answer["zones"].as_array().into_iter().flatten() {
        let number = |key: &str| zone[key].as_u64().unwrap_or_default();
        let tick_us = zone["tick_us"].as_f64().unwrap_or_default();
        let name = zone["name"].as_str().unwrap_or_default();
        let (id, shard, players) = (number("id"), number("shard"), number("players"));
        let _ = writeln!(text, "{id:>5}  {shard:>5}  {players:>7}  {tick_us:>9.1}  {name}");
    }
    text
}

fn moved_text(answer: &Value) -> String {
    let number = |key: &str| answer[key].as_u64().unwrap_or_default();
    let gap_ticks = answer["gap_ticks"].as_f64().unwrap_or_default();
    let (zone, from, to, sessions) = (number("zone"), number("from"), number("to"), number("sessions"));
    format!(
        "zone {zone} went from shard {from} to shard {to} with {sessions} sessions; {gap_ticks:.1} ticks lay between two of its own\n"
    )
}

/// One request to the admin port: the answer's JSON.
///
/// # Errors
/// If no node answers there, or it refuses.
pub fn ask(config: &Config, method: &str, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
    let address = reachable(config.admin.address);
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        // HTTP/1.0: the answer comes whole and ends with the connection.
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = asked()
        .with_context(|| format!("no node answers at {address}: name its admin port with --admin-address"))?;
    let no_answer = || anyhow!("what answers at {address} is no node of this version");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(no_answer)?;
    let body: Value = serde_json::from_str(body).map_err(|_| no_answer())?;
    if head.split(' ').nth(1) == Some("200") {
        return Ok(body);
    }
    match (body["error"]["code"].as_str(), body["error"]["message"].as_str()) {
        (Some(code), Some(message)) => bail!("{code}: {message}"),
        _ => Err(no_answer()),
    }
}

/// Where a node can be reached that listens at an address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_listens_everywhere_is_reached_on_this_machine() {
        for (listens, reached) in
            [("0.0.0.0:7780", "127.0.0.1:7780"), ("[::]:7780", "[::1]:7780"), ("10.1.2.3:80", "10.1.2.3:80")]
        {
            let reached: SocketAddr = reached.parse().unwrap();
            assert_eq!(reachable(listens.parse().unwrap()), reached);
        }
    }

    #[test]
    fn answers_are_put_into_lines() {
        let zone = json!({ "id": 2, "name": "Depot", "shard": 1, "players": 30, "tick_us": 812.345 });
        let text = list_text(&json!({ "shards": 2, "zones": [zone] }));
        let wanted = " zone  shard  players  us a tick  name\n    2      1       30      812.3  Depot\n";
        assert_eq!(text, wanted);
        let moved =
            json!({ "zone": 2, "from": 1, "to": 0, "sessions": 30, "gap_ms": 50.0, "gap_ticks": 1.52 });
        let wanted =
            "zone 2 went from shard 1 to shard 0 with 30 sessions; 1.5 ticks lay between two of its own\n";
        assert_eq!(moved_text(&moved), wanted);
    }
}
