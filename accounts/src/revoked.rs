//! Sessions that ended while access tokens of theirs may still be good. In this process; at its start it is read from the
//! database. It holds no more than ended within the life of one access token.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::jwt::ACCESS_MS;

/// The list.
#[derive(Debug, Default)]
pub struct Revoked {
    until_ms: Mutex<HashMap<String, i64>>,
}

impl Revoked {
    /// A session ended.
    pub fn add(&self, session: &str, ended_ms: i64) {
        let mut until_ms = self.lock();
        until_ms.retain(|_, until| *until >= ended_ms);
        until_ms.insert(session.to_owned(), ended_ms + ACCESS_MS);
    }

    /// Whether this session ended a while ago.
    pub fn contains(&self, session: &str) -> bool {
        self.lock().contains_key(session)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, i64>> {
        // A panic between two of its statements leaves it usable.
        self.until_ms.lock().unwrap_or_else(PoisonError::into_inner)
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
    }
}
