//! What profiles owe: entries that are only ever added, by the staff, and whose sum is the debt.
//!
//! While a profile owes, its characters do not trade: the game is told when they enter, and when that changes.

use vyuha_record::Value;
use vyuha_store::sql::SqlTransaction;

use crate::problem::{Code, Problem};
use crate::profiles::Profile;

/// The most that is owed, and that one entry is about.
pub const DEBT_MAX: i64 = 1_000_000_000_000;

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub id: i64,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// What came to be owed; less than 0 is what was settled.
    pub amount: i64,
    /// Why.
    pub reason: String,
}

/// Adds to what a profile owes, or with less than 0 takes from it; what it owes then.
///
/// # Errors
/// [`Code::BodyInvalid`] for 0 and what is beyond [`DEBT_MAX`], [`Code::DebtExceeded`] for more than is owed.
pub fn book(
    tx: &mut dyn SqlTransaction,
    profile: &Profile,
    amount: i64,
    reason: &str,
    actor: i64,
    now_ms: i64,
) -> Result<i64, Problem> {
    let debt = profile.debt.checked_add(amount).filter(|debt| *debt <= DEBT_MAX && amount != 0);
    let debt =
        debt.ok_or_else(|| Problem::from(Code::BodyInvalid).detail("that is not a possible amount"))?;
    if debt < 0 {
        return Err(Code::DebtExceeded.into());
    }
    tx.execute("UPDATE profile SET debt = ?2 WHERE id = ?1", &[profile.id.into(), debt.into()])?;
    tx.execute(
        "INSERT INTO profile_debt (id, profile, at_ms, amount, reason, actor)
         SELECT COALESCE(MAX(id), 0) + 1, CAST(?1 AS BIGINT), CAST(?2 AS BIGINT), CAST(?3 AS BIGINT), CAST(?4 AS TEXT), CAST(?5 AS BIGINT)
         FROM profile_debt",
        &[profile.id.into(), now_ms.into(), amount.into(), reason.into(), actor.into()],
    )?;
    Ok(debt)
}

/// A profile's entries, newest first; those before a number.
pub fn entries(
    tx: &mut dyn SqlTransaction,
    profile: i64,
    before: i64,
    limit: usize,
) -> Result<Vec<Entry>, Problem> {
    let rows = tx.query(
        "SELECT id, at_ms, amount, reason FROM profile_debt WHERE profile = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3",
        &[profile.into(), before.into(), Value::Int(limit as i64)],
    )?;
    rows.iter()
        .map(|row| {
            Ok(Entry { id: row.int(0)?, at_ms: row.int(1)?, amount: row.int(2)?, reason: row.text(3)? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles;
    use crate::testing::{databases, with_tx};
    use proptest::prelude::*;

    #[test]
    fn a_debt_is_the_sum_of_its_entries_and_never_below_nothing() {
        with_tx(|tx| {
            let id = profiles::first(tx, 7, 0)?;
            let mut check = |amount: i64, expected: Result<i64, Code>| {
                let profile = profiles::load(tx, id).unwrap();
                let booked = book(tx, &profile, amount, "why", 1, amount.saturating_abs());
                assert_eq!(booked.map_err(|problem| problem.code), expected, "{amount}");
            };
            check(0, Err(Code::BodyInvalid));
            check(-1, Err(Code::DebtExceeded));
            check(100, Ok(100));
            check(DEBT_MAX, Err(Code::BodyInvalid));
            check(i64::MAX, Err(Code::BodyInvalid));
            check(i64::MIN, Err(Code::DebtExceeded));
            check(DEBT_MAX - 100, Ok(DEBT_MAX));
            check(-DEBT_MAX, Ok(0));
            check(5, Ok(5));
            let amounts: Vec<i64> = entries(tx, id, i64::MAX, 10)?.iter().map(|entry| entry.amount).collect();
            assert_eq!(amounts, [5, -DEBT_MAX, DEBT_MAX - 100, 100]);
            let last = entries(tx, id, i64::MAX, 1)?;
            assert_eq!(entries(tx, id, last[0].id, 1)?[0].amount, -DEBT_MAX);
            assert_eq!(entries(tx, id + 1, i64::MAX, 10)?, []);
            Ok(())
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn whatever_is_booked_the_entries_add_up(amounts in proptest::collection::vec(-50..50i64, 1..15)) {
            let (_dir, databases) = databases();
            for mut database in databases {
                let mut work = |tx: &mut dyn SqlTransaction| {
                    let id = profiles::first(tx, 7, 0).unwrap();
                    let mut owed = 0;
                    for amount in &amounts {
                        let profile = profiles::load(tx, id).unwrap();
                        let booked = book(tx, &profile, *amount, "why", 1, 0);
                        assert_eq!(booked.is_ok(), *amount != 0 && owed + amount >= 0);
                        owed = booked.unwrap_or(owed);
                        let sum: i64 = entries(tx, id, i64::MAX, 100).unwrap().iter().map(|entry| entry.amount).sum();
                        assert_eq!((profiles::load(tx, id).unwrap().debt, sum), (owed, owed));
                    }
                    false
                };
                database.transact(&mut work).unwrap();
            }
        }
    }
}
