//! Sessions that ended while access tokens of theirs may still be good: those of this process, those that other nodes tell of, and,
//! from its start on, those of the database. It holds no more than ended within the life of one access token.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::jwt::ACCESS_MS;

/// The list.
#[derive(Debug, Default)]
pub struct Revoked(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    until_ms: HashMap<String, i64>,
    /// The same in the order in which they were added, which is nearly that in which they go.
    order: VecDeque<(i64, String)>,
    /// Those that other nodes were not told of; none is kept where there are none.
    untold: Option<VecDeque<(i64, String)>>,
}

impl Revoked {
    /// Empty. Where it `is_shared`, what is added is kept until other nodes were told.
    pub fn new(is_shared: bool) -> Revoked {
        Revoked(Mutex::new(List { untold: is_shared.then(VecDeque::new), ..List::default() }))
    }

    /// A session ended here.
    pub fn add(&self, session: &str, ended_ms: i64) {
        let mut list = self.lock();
        list.add(session, ended_ms);
        if let Some(untold) = &mut list.untold {
            while untold.front().is_some_and(|(until, _)| *until < ended_ms) {
                untold.pop_front();
            }
            untold.push_back((ended_ms + ACCESS_MS, session.to_owned()));
        }
    }

    /// Another node says that a session ended, at this time or before; whether that is news.
    pub fn hear(&self, session: &str, now_ms: i64) -> bool {
        let mut list = self.lock();
        let is_news = !list.until_ms.contains_key(session);
        if is_news {
            list.add(session, now_ms);
        }
        is_news
    }

    /// Whether this session ended a while ago.
    pub fn contains(&self, session: &str) -> bool {
        self.lock().until_ms.contains_key(session)
    }

    /// Some that other nodes were not told of, the oldest first.
    pub fn untold(&self, most: usize) -> Vec<String> {
        let list = self.lock();
        list.untold.iter().flatten().take(most).map(|(_, session)| session.clone()).collect()
    }

    /// Other nodes were told of these, which were the oldest.
    pub fn told(&self, told: &[String]) {
        let Some(untold) = &mut self.lock().untold else { return };
        for session in told {
            untold.pop_front_if(|(_, oldest)| oldest == session);
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        // A panic between two of its statements leaves it usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn add(&mut self, session: &str, ended_ms: i64) {
        while let Some((_, oldest)) = self.order.pop_front_if(|(until, _)| *until < ended_ms) {
            // It may have been added once more since.
            if self.until_ms.get(&oldest).is_some_and(|until| *until < ended_ms) {
                self.until_ms.remove(&oldest);
            }
        }
        self.until_ms.insert(session.to_owned(), ended_ms + ACCESS_MS);
        self.order.push_back((ended_ms + ACCESS_MS, session.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_stays_as_long_as_its_tokens() {
        let revoked = Revoked::default();
        revoked.add("a", 0);
        revoked.add("b", ACCESS_MS);
        assert!(revoked.contains("a") && revoked.contains("b") && !revoked.contains("c"));
        revoked.add("c", ACCESS_MS + 1);
        assert!(!revoked.contains("a") && revoked.contains("b") && revoked.contains("c"));
        assert_eq!(revoked.untold(9), [""; 0]);
    }

    #[test]
    fn what_was_not_told_is_told_once_and_in_time() {
        let revoked = Revoked::new(true);
        revoked.add("a", 0);
        revoked.add("b", 1);
        revoked.hear("c", 1);
        assert!(revoked.contains("c"));
        assert_eq!(revoked.untold(1), ["a"]);
        assert_eq!(revoked.untold(9), ["a", "b"]);
        revoked.told(&["a".to_owned()]);
        assert_eq!(revoked.untold(9), ["b"]);
        // Nobody needs to hear any more of a session whose tokens are over.
        revoked.add("d", ACCESS_MS + 2);
        assert_eq!(revoked.untold(9), ["d"]);
    }
}
