//! What `GET /api/v1/me` shows of an account, kept for a moment so that a page that asks again and again costs the database
//! nothing.
//!
//! What this service writes is shown by it at once: whoever changes name, address or second factor says so
//! ([`Overviews::forget`]), after the write. What another node wrote is shown within [`FRESH_MS`].

use std::sync::{Mutex, MutexGuard, PoisonError};

use vyuha_store::sql::SqlTransaction;

use crate::problem::Problem;
use crate::recent::Recent;

/// How long it is shown before the database is asked again, in milliseconds.
pub const FRESH_MS: i64 = 5_000;
/// Accounts that are kept at once, of at most about 0.5 KiB each.
pub const OVERVIEWS_MAX: usize = 16_384;

/// What its owner is shown of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// Its name.
    pub name: String,
    /// Its address, if it has one.
    pub email: Option<String>,
    /// Whether signing in takes a code.
    pub second_factor: bool,
    /// When it was made, milliseconds since 1970 UTC.
    pub created_ms: i64,
}

/// Those of the recent past.
#[derive(Debug)]
pub struct Overviews(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    recent: Recent<i64, (i64, Overview)>,
    /// Counts what was forgotten.
    changes: u64,
}

/// What is to be read from the database: it was not kept, or for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown {
    changes: u64,
}

impl Default for Overviews {
    fn default() -> Overviews {
        Overviews(Mutex::new(Kept { recent: Recent::new(OVERVIEWS_MAX), changes: 0 }))
    }
}

impl Overviews {
    /// The account's, as it was a moment ago.
    ///
    /// # Errors
    /// [`Unknown`], with which what is read now can be kept.
    pub fn get(&self, account: i64, now_ms: i64) -> Result<Overview, Unknown> {
        let mut kept = self.lock();
        match kept.recent.get(&account) {
            // A clock that was set back makes nothing fresh.
            Some((at_ms, overview)) if (0..FRESH_MS).contains(&(now_ms - *at_ms)) => Ok(overview.clone()),
            _ => Err(Unknown { changes: kept.changes }),
        }
    }

    /// Keeps what was read at this time, unless it may have been changed meanwhile.
    pub fn keep(&self, Unknown { changes }: Unknown, account: i64, now_ms: i64, overview: Overview) {
        let mut kept = self.lock();
        if kept.changes == changes {
            kept.recent.put(account, (now_ms, overview));
        }
    }

    /// The account was changed.
    pub fn forget(&self, account: i64) {
        let mut kept = self.lock();
        kept.changes += 1;
        kept.recent.remove(&account);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A panic between two of its statements leaves it usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads an account's; none where there is no such account.
pub fn load(tx: &mut dyn SqlTransaction, account: i64) -> Result<Option<Overview>, Problem> {
    let sql = "SELECT name, email, second_factor_ms, created_ms FROM account WHERE id = ?1";
    let rows = tx.query(sql, &[account.into()])?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Overview {
        name: row.text(0)?,
        email: row.optional_text(1)?,
        second_factor: row.optional_int(2)?.is_some(),
        created_ms: row.int(3)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Overview {
        Overview { name: name.into(), email: None, second_factor: false, created_ms: 0 }
    }

    #[test]
    fn it_is_shown_for_a_while_and_then_read_again() {
        let overviews = Overviews::default();
        let unknown = overviews.get(7, 1_000).unwrap_err();
        overviews.keep(unknown, 7, 1_000, named("asha"));
        for (now_ms, is_fresh) in [(1_000, true), (5_999, true), (6_000, false), (999, false)] {
            assert_eq!(overviews.get(7, now_ms).is_ok(), is_fresh, "at {now_ms}");
        }
        assert!(overviews.get(8, 1_000).is_err());
    }

    #[test]
    fn what_was_changed_is_not_shown_as_it_was() {
        let overviews = Overviews::default();
        let unknown = overviews.get(7, 0).unwrap_err();
        overviews.keep(unknown, 7, 0, named("asha"));
        overviews.forget(7);
        let unknown = overviews.get(7, 0).unwrap_err();
        // It is changed after it was read, and before what was read is kept.
        overviews.forget(7);
        overviews.keep(unknown, 7, 0, named("asha"));
        assert!(overviews.get(7, 0).is_err());
    }
}
