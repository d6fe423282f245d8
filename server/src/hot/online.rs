//! Who plays on this node, and which of them the others have not been told of. Knows no clock and does no I/O.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use vyuha_gateway::OnlineSession;

use super::feed::{ROUND_S, Sighting};

/// Who was not seen for three rounds is gone, though nobody said so.
const GONE_AFTER: Duration = Duration::from_secs(3 * ROUND_S as u64);
/// A session is told again before it expires, twice.
const REFRESH: Duration = Duration::from_mins(5);

/// Who plays, by account. At most as many as there are seats.
#[derive(Debug)]
pub struct Online {
    node: String,
    sessions: HashMap<i64, Entry>,
    /// Characters that play no longer, and that the others were told of.
    ended: Vec<i64>,
}

#[derive(Debug)]
struct Entry {
    session: OnlineSession,
    /// The shard that saw it last.
    shard: u16,
    seen: Instant,
    /// When the others were told of it as it is.
    told: Option<Instant>,
}

impl Online {
    /// Nobody, on the node of this name.
    pub fn new(node: &str) -> Online {
        Online { node: node.to_owned(), sessions: HashMap::new(), ended: Vec::new() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.sessions.len()
    }

    /// Somebody was seen by a shard.
    pub fn see(&mut self, shard: u16, sighting: &Sighting, now: Instant, now_ms: i64) {
        let &Sighting { character, account, ref name, zone, .. } = sighting;
        if let Some(entry) = self.sessions.get(&account)
            && entry.session.character != character
        {
            self.left(entry.shard, account);
        }
        let Online { node, sessions, ended } = self;
        let entry = sessions.entry(account).or_insert_with(|| {
            // Whoever left and came back is not ended any more.
            ended.retain(|ended| *ended != character);
            let (name, node) = (name.clone(), node.clone());
            let session = OnlineSession { character, name, account, node, zone, since_unix_ms: now_ms };
            Entry { session, shard, seen: now, told: None }
        });
        (entry.seen, entry.shard) = (now, shard);
        if entry.session.zone != zone {
            (entry.session.zone, entry.told) = (zone, None);
        }
    }

    /// An account's session on a shard is over. One that another shard has seen since is another one.
    pub fn left(&mut self, shard: u16, account: i64) {
        if self.sessions.get(&account).is_some_and(|entry| entry.shard == shard)
            && let Some(entry) = self.sessions.remove(&account)
        {
            self.ended.push(entry.session.character);
        }
    }

    /// Forgets those who were not seen for long, and has those told again who were told of long ago.
    pub fn look_over(&mut self, now: Instant) {
        let is_gone = |entry: &Entry| now.duration_since(entry.seen) > GONE_AFTER;
        let gone = self.sessions.extract_if(|_, entry| is_gone(entry));
        self.ended.extend(gone.map(|(_, entry)| entry.session.character));
        for entry in self.sessions.values_mut() {
            entry.told = entry.told.filter(|told| now.duration_since(*told) < REFRESH);
        }
    }

    /// What the others were told may be gone: all are to be told of again.
    pub fn forget_telling(&mut self) {
        self.sessions.values_mut().for_each(|entry| entry.told = None);
    }

    /// Up to `count_max` sessions that the others are to be told of. They are again, unless [`Online::told`] says that they were.
    pub fn untold(&self, count_max: usize) -> Vec<OnlineSession> {
        let untold = self.sessions.values().filter(|entry| entry.told.is_none());
        untold.take(count_max).map(|entry| entry.session.clone()).collect()
    }

    /// The others were told of sessions.
    pub fn told(&mut self, sessions: &[OnlineSession], now: Instant) {
        for told in sessions {
            if let Some(entry) = self.sessions.get_mut(&told.account).filter(|entry| entry.session == *told) {
                entry.told = Some(now);
            }
        }
    }

    /// Characters that play no longer since this was last asked.
    pub fn take_ended(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.ended)
    }

    /// Everybody leaves.
    pub fn close(&mut self) {
        self.ended.extend(self.sessions.drain().map(|(_, entry)| entry.session.character));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(account: i64, character: i64, zone: u16) -> Sighting {
        Sighting { character, account, name: format!("C{character}"), zone, x_m: 1.0, y_m: 2.0 }
    }

    fn characters(sessions: &[OnlineSession]) -> Vec<i64> {
        let mut characters: Vec<i64> = sessions.iter().map(|session| session.character).collect();
        characters.sort_unstable();
        characters
    }

    #[test]
    fn who_changes_is_told_of_once_and_again_when_it_is_time() {
        let (mut online, mut now) = (Online::new("n"), Instant::now());
        online.see(0, &seen(1, 10, 7), now, 1_000);
        online.see(0, &seen(2, 20, 7), now, 1_000);
        let untold = online.untold(9);
        assert_eq!((characters(&untold), online.untold(1).len()), (vec![10, 20], 1));
        let first = untold.iter().find(|session| session.character == 10).unwrap();
        let OnlineSession { name, account, node, zone, since_unix_ms, .. } = first;
        assert_eq!(
            (name.as_str(), account, node.as_str(), zone, since_unix_ms),
            ("C10", &1, "n", &7, &1_000)
        );
        online.told(&untold, now);
        assert!(online.untold(9).is_empty());
        // The same again is nothing new; another zone is, and keeps since when it plays.
        online.see(0, &seen(1, 10, 7), now, 2_000);
        online.see(0, &seen(2, 20, 8), now, 2_000);
        let moved = online.untold(9);
        assert_eq!((characters(&moved), moved[0].since_unix_ms), (vec![20], 1_000));
        // It moved on while the others were being told.
        online.see(0, &seen(2, 20, 9), now, 2_000);
        online.told(&moved, now);
        assert_eq!(online.untold(9)[0].zone, 9);
        online.told(&online.untold(9), now);
        now += REFRESH;
        online.see(0, &seen(1, 10, 7), now, 3_000);
        online.see(0, &seen(2, 20, 9), now, 3_000);
        online.look_over(now);
        assert_eq!(characters(&online.untold(9)), [10, 20]);
        online.told(&online.untold(9), now);
        online.forget_telling();
        assert_eq!(characters(&online.untold(9)), [10, 20]);
    }

    #[test]
    fn who_leaves_is_told_of_unless_it_is_back() {
        let (mut online, now) = (Online::new("n"), Instant::now());
        for account in 1..=5 {
            online.see(0, &seen(account, account * 10, 7), now, 0);
        }
        online.left(0, 1);
        online.left(0, 99);
        online.left(0, 2);
        online.see(0, &seen(2, 20, 7), now, 0);
        // Another character of the account takes the place.
        online.see(0, &seen(3, 31, 7), now, 0);
        assert_eq!(online.take_ended(), [10, 30]);
        assert!(online.take_ended().is_empty());
        // On another shard it plays on.
        online.see(1, &seen(5, 50, 8), now, 0);
        online.left(0, 5);
        assert!(online.take_ended().is_empty());
        let later = now + GONE_AFTER + Duration::from_millis(1);
        online.see(0, &seen(4, 40, 7), later, 0);
        online.look_over(later);
        let mut gone = online.take_ended();
        gone.sort_unstable();
        assert_eq!((gone, online.count()), (vec![20, 31, 50], 1));
        online.close();
        assert_eq!((online.take_ended(), online.count()), (vec![40], 0));
    }
}
