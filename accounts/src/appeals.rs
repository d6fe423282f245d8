//! Appeals: what banned people say to their ban, once for each, and what staff decided.

use vyuha_record::Value;
use vyuha_store::sql::{SqlRow, SqlTransaction};

use crate::bans::{self, Ban};
use crate::problem::{Code, Problem};

/// An appeal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appeal {
    /// Its number, from 1.
    pub id: i64,
    /// Against what.
    pub ban: i64,
    /// What that was put for.
    pub reason: String,
    /// Whose.
    pub account: i64,
    /// What they said.
    pub said: String,
    /// When, milliseconds since 1970 UTC.
    pub filed_ms: i64,
    /// What was decided, if it was.
    pub decision: Option<Decision>,
}

/// What was decided of an appeal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// By whom; 0 for another server.
    pub actor: i64,
    /// Whether the ban was lifted.
    pub granted: bool,
    /// What the person is told.
    pub answer: String,
}

/// The beginning of a query whose rows are [`Appeal`]s.
macro_rules! select {
    () => {
        "SELECT a.id, a.ban, a.account, a.said, a.filed_ms, a.decided_ms, a.decided_by, a.granted, a.answer, b.reason
         FROM appeal a JOIN ban b ON b.id = a.ban WHERE "
    };
}

/// Files an appeal; its number.
///
/// # Errors
/// [`Code::AppealPresent`] where the account has appealed against this ban: what came of it is the detail.
pub fn file(
    tx: &mut dyn SqlTransaction,
    ban: &Ban,
    account: i64,
    said: &str,
    now_ms: i64,
) -> Result<i64, Problem> {
    let rows =
        tx.query(concat!(select!(), "a.ban = ?1 AND a.account = ?2"), &[ban.id.into(), account.into()])?;
    if let Some(row) = rows.first() {
        let detail = match appeal(row)?.decision {
            None => "it is not decided yet".to_owned(),
            Some(decision) => format!("it was refused: {}", decision.answer),
        };
        return Err(Problem::from(Code::AppealPresent).detail(detail));
    }
    let rows = tx.query("SELECT id FROM appeal ORDER BY id DESC LIMIT 1", &[])?;
    let id = rows.first().map_or(Ok(0), |row| row.int(0))? + 1;
    tx.execute(
        "INSERT INTO appeal (id, ban, account, said, filed_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        &[id.into(), ban.id.into(), account.into(), said.into(), now_ms.into()],
    )?;
    Ok(id)
}

/// Appeals: those that wait, oldest first, after a number; or those that were decided, newest first, before it.
pub fn list(
    tx: &mut dyn SqlTransaction,
    open: bool,
    after: Option<i64>,
    limit: usize,
) -> Result<Vec<Appeal>, Problem> {
    let limit = Value::Int(limit as i64);
    let rows = if open {
        let sql = concat!(select!(), "a.decided_ms IS NULL AND a.id > ?1 ORDER BY a.id LIMIT ?2");
        tx.query(sql, &[after.unwrap_or(0).into(), limit])?
    } else {
        let sql = concat!(select!(), "a.decided_ms IS NOT NULL AND a.id < ?1 ORDER BY a.id DESC LIMIT ?2");
        tx.query(sql, &[after.unwrap_or(i64::MAX).into(), limit])?
    };
    rows.iter().map(appeal).collect()
}

/// An appeal that waits, and the ban that it is against.
///
/// # Errors
/// [`Code::AppealUnknown`], [`Code::AppealDecided`].
pub fn waiting(tx: &mut dyn SqlTransaction, id: i64) -> Result<(Appeal, Ban), Problem> {
    let rows = tx.query(concat!(select!(), "a.id = ?1"), &[id.into()])?;
    let appeal = rows.first().map(appeal).transpose()?.ok_or(Code::AppealUnknown)?;
    if appeal.decision.is_some() {
        return Err(Code::AppealDecided.into());
    }
    let ban = bans::find(tx, appeal.ban)?.ok_or(Code::AppealUnknown)?;
    Ok((appeal, ban))
}

/// Decides one that waits. Whether the ban is lifted is for the caller to see to, in the same transaction.
pub fn decide(tx: &mut dyn SqlTransaction, id: i64, decision: &Decision) -> Result<(), Problem> {
    tx.execute(
        "UPDATE appeal SET decided_ms = ?2, decided_by = ?3, granted = ?4, answer = ?5
         WHERE id = ?1 AND decided_ms IS NULL",
        &[
            id.into(),
            decision.at_ms.into(),
            decision.actor.into(),
            i64::from(decision.granted).into(),
            decision.answer.clone().into(),
        ],
    )?;
    Ok(())
}

fn appeal(row: &SqlRow) -> Result<Appeal, Problem> {
    let decision = match row.optional_int(5)? {
        None => None,
        Some(at_ms) => {
            Some(Decision { at_ms, actor: row.int(6)?, granted: row.int(7)? != 0, answer: row.text(8)? })
        }
    };
    Ok(Appeal {
        id: row.int(0)?,
        ban: row.int(1)?,
        account: row.int(2)?,
        said: row.text(3)?,
        reason: row.text(9)?,
        filed_ms: row.int(4)?,
        decision,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bans::Target;
    use crate::testing::with_tx;

    #[test]
    fn one_appeal_for_each_ban_is_filed_and_decided_once() {
        with_tx(|tx| {
            let put = |tx: &mut dyn SqlTransaction, now_ms| {
                let id = bans::put(tx, &Target::Account(7), None, "bots", 1, now_ms).unwrap();
                bans::find(tx, id).unwrap().unwrap()
            };
            let first = put(tx, 1);
            let id = file(tx, &first, 7, "it was my brother", 2)?;
            let refused = |filed: Result<i64, Problem>| filed.unwrap_err();
            let again = refused(file(tx, &first, 7, "please", 3));
            assert_eq!(
                (again.code, again.detail.as_deref()),
                (Code::AppealPresent, Some("it is not decided yet"))
            );
            assert_eq!(waiting(tx, id)?.1, first);
            assert_eq!(list(tx, true, None, 10)?.len(), 1);
            let decision = Decision { at_ms: 4, actor: 1, granted: false, answer: "no".into() };
            decide(tx, id, &decision)?;
            assert_eq!(
                refused(file(tx, &first, 7, "please", 5)).detail.as_deref(),
                Some("it was refused: no")
            );
            assert_eq!(waiting(tx, id).unwrap_err().code, Code::AppealDecided);
            assert_eq!(waiting(tx, id + 1).unwrap_err().code, Code::AppealUnknown);
            assert_eq!(list(tx, true, None, 10)?, []);
            assert_eq!(list(tx, false, None, 10)?[0].decision, Some(decision));
            let second = put(tx, 6);
            assert_eq!(file(tx, &second, 7, "please", 7)?, 2);
            assert_eq!(list(tx, true, Some(2), 10)?, []);
            Ok(())
        });
    }
}
