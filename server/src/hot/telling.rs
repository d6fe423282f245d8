//! Tells hot data what the shards handed over: positions, who is online, what was said; and whoever comes into a zone what was
//! said there before.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use vyuha_gateway::{ChatLine, Metrics, OnlineSession, zone_channel};
use vyuha_hot::{Position, RedisStats};
use vyuha_protocol::message::{self, NOBODY, Said};
use vyuha_protocol::text::{check_character_name, check_chat};

use super::Hot;
use super::feed::{HotBatch, HotFeeds};
use super::online::Online;
use crate::clock;
use crate::doors::{ShardDoors, Telling};

/// How often the control plane looks what there is to tell.
const TURN: Duration = Duration::from_millis(250);
/// Sessions that are told of at once.
const SESSIONS_AT_ONCE: usize = 500;
/// Lines of chat that somebody is shown who comes into a zone.
const LINES_SHOWN: usize = 20;

/// Who plays, shared by what tells of it and what ends it.
pub type Presence = Rc<RefCell<Online>>;

/// Tells until it is dropped.
pub async fn tell(
    hot: Hot,
    node: String,
    mut feeds: HotFeeds,
    presence: Presence,
    doors: Rc<ShardDoors>,
    metrics: Arc<Metrics>,
) {
    let stats = RedisStats::default();
    let mut teller = Teller { hot, node, presence, doors, metrics, stats, connections: 0 };
    let mut every = tokio::time::interval(TURN);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        teller.turn(feeds.take()).await;
    }
}

/// Says that nobody plays here any more: what is left of it expires.
pub async fn tell_the_end(hot: Hot, node: &str, presence: Presence) {
    presence.borrow_mut().close();
    let ended = presence.borrow_mut().take_ended();
    for ended in ended.chunks(SESSIONS_AT_ONCE) {
        if hot.store.end_sessions(node, ended).await.is_err() {
            return;
        }
    }
}

struct Teller {
    hot: Hot,
    node: String,
    presence: Presence,
    doors: Rc<ShardDoors>,
    metrics: Arc<Metrics>,
    /// As they were in the last turn.
    stats: RedisStats,
    /// The connections that the sessions were told by.
    connections: u64,
}

impl Teller {
    async fn turn(&mut self, batches: Vec<(u16, HotBatch)>) {
        let (now, now_ms) = (Instant::now(), clock::unix_ms());
        self.metrics.hot.batches.inc_by(batches.len() as u64);
        let mut positions: BTreeMap<u16, Vec<Position>> = BTreeMap::new();
        let mut entered: BTreeMap<u16, Vec<(u16, i64)>> = BTreeMap::new();
        let mut lines: BTreeMap<u16, Vec<Vec<u8>>> = BTreeMap::new();
        for (shard, HotBatch { seen, entered: came, spoken, left }) in batches {
            for sighting in seen.iter().chain(&came) {
                self.presence.borrow_mut().see(shard, sighting, now, now_ms);
                let &super::feed::Sighting { character, zone, x_m, y_m, .. } = sighting;
                positions.entry(zone).or_default().push(Position { character, x_m, y_m });
            }
            for sighting in came {
                entered.entry(sighting.zone).or_default().push((shard, sighting.account));
            }
            for said in spoken {
                let line = ChatLine {
                    at_unix_ms: now_ms,
                    character: said.character,
                    name: said.name,
                    text: said.text,
                };
                lines.entry(said.zone.0).or_default().push(json(&line));
            }
            for account in left {
                self.presence.borrow_mut().left(shard, account);
            }
        }
        // First what was said before: who came hears of the rest by itself.
        for (zone, who) in entered {
            self.show_recent(zone, &who).await;
        }
        for (zone, lines) in lines {
            if self.hot.store.push_chat(&zone_channel(zone), &lines).await.is_err() {
                self.metrics.hot.dropped.inc_by(lines.len() as u64);
            }
        }
        for (zone, positions) in positions {
            if self.hot.store.put_positions(zone, &positions).await.is_err() {
                self.metrics.hot.dropped.inc_by(positions.len() as u64);
            }
        }
        self.tell_sessions(now).await;
        self.keep_figures();
    }

    async fn show_recent(&self, zone: u16, who: &[(u16, i64)]) {
        // Nobody misses what Redis would have said.
        let Ok(lines) = self.hot.store.recent_chat(&zone_channel(zone), LINES_SHOWN).await else { return };
        let frames: Arc<[Vec<u8>]> = lines.iter().filter_map(|line| retold(line)).collect();
        if frames.is_empty() {
            return;
        }
        for &(shard, account) in who {
            self.doors.tell(shard, Telling { account: Some(account), frames: frames.clone() });
        }
    }

    /// Tells of sessions that began, changed or ended. What fails is told in a later turn.
    async fn tell_sessions(&mut self, now: Instant) {
        let connections = self.hot.connections();
        if self.connections != connections {
            // Another Redis, or the same one without what it held.
            self.connections = connections;
            self.presence.borrow_mut().forget_telling();
        }
        self.presence.borrow_mut().look_over(now);
        let ended = self.presence.borrow_mut().take_ended();
        for ended in ended.chunks(SESSIONS_AT_ONCE) {
            // Those that Redis does not hear of expire.
            if self.hot.store.end_sessions(&self.node, ended).await.is_err() {
                break;
            }
        }
        loop {
            let untold = self.presence.borrow().untold(SESSIONS_AT_ONCE);
            let sessions: Vec<(i64, Vec<u8>)> =
                untold.iter().map(|session: &OnlineSession| (session.character, json(session))).collect();
            if sessions.is_empty() || self.hot.store.put_sessions(&sessions).await.is_err() {
                return;
            }
            self.presence.borrow_mut().told(&untold, now);
        }
    }

    fn keep_figures(&mut self) {
        let figures = &self.metrics.hot;
        figures.sessions.set(self.presence.borrow().count() as u64);
        let Some(stats) = self.hot.stats() else { return };
        figures.breaker.set(stats.breaker as u64);
        figures.answered.inc_by(stats.answered - self.stats.answered);
        figures.failed.inc_by(stats.failed - self.stats.failed);
        self.stats = stats;
    }
}

/// The frame that tells of something that nobody near says.
pub fn said(name: String, text: String) -> Vec<u8> {
    let mut frame = Vec::new();
    message::append(&mut frame, &Said { entity: NOBODY, name, text });
    frame
}

/// The frame that tells of a line as it was stored. What no player can have said is passed over: another program put it there.
fn retold(line: &[u8]) -> Option<Vec<u8>> {
    let ChatLine { name, text, .. } = serde_json::from_slice(line).ok()?;
    (check_character_name(&name).is_ok() && check_chat(&text).is_ok()).then(|| said(name, text))
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("names, texts and numbers can be written as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_players_can_say_is_retold() {
        let long = "x".repeat(100_000);
        for (name, text, is_retold) in [
            ("Asha", "hello", true),
            ("Asha", "", false),
            ("Asha", "a\nb", false),
            ("Asha", long.as_str(), false),
            ("", "hello", false),
            ("A\u{1b}[2J", "hello", false),
            (long.as_str(), "hello", false),
        ] {
            let line = ChatLine { at_unix_ms: 1, character: 2, name: name.to_owned(), text: text.to_owned() };
            assert_eq!(retold(&json(&line)).is_some(), is_retold, "{name:?} {text:?}");
        }
        assert_eq!(retold(b"{}"), None);
    }
}
