//! The end of an account: all that is kept about its owner goes, after time to change one's mind.
//!
//! What stays names nobody: the account's number, under a made-up name, so that it is not given again; entries of the ledger and of
//! debts, which name numbers of characters and profiles; and the log of what the staff did, to which is only ever added.

use vyuha_store::sql::SqlTransaction;

use crate::characters;
use crate::one_time::NOBODY;
use crate::problem::{Code, Problem};
use crate::service::Service;

/// Accounts that are erased in one round of upkeep; the others are in the next.
const ERASED_MAX: i64 = 100;

/// What is done to every row about an account; `?1` is its number. Whoever keeps something else about people adds it here.
const STATEMENTS: &[&str] = &[
    "DELETE FROM registration WHERE email IN (SELECT email FROM account WHERE id = ?1)",
    "DELETE FROM one_time_token WHERE account = ?1",
    "DELETE FROM refresh_token WHERE session IN (SELECT id FROM session WHERE account = ?1)",
    "DELETE FROM browser_session WHERE session IN (SELECT id FROM session WHERE account = ?1)",
    "DELETE FROM session WHERE account = ?1",
    "DELETE FROM second_factor WHERE account = ?1",
    "DELETE FROM recovery_code WHERE account = ?1",
    "DELETE FROM identity_flow WHERE account = ?1 OR proven = ?1",
    "DELETE FROM identity WHERE account = ?1",
    "DELETE FROM device_cursor WHERE device IN (SELECT id FROM device WHERE account = ?1)",
    "DELETE FROM device_event WHERE account = ?1",
    "DELETE FROM device_stream WHERE account = ?1",
    "DELETE FROM device WHERE account = ?1",
    "DELETE FROM staff WHERE account = ?1",
    "UPDATE event SET detail = '' WHERE account = ?1",
    "UPDATE account SET name = 'erased-' || CAST(id AS TEXT), password_hash = '', email = NULL, second_factor_ms = NULL,
                        suspended_until_ms = NULL, suspension_reason = NULL
     WHERE id = ?1",
];

/// When an account is erased, if it is to be, milliseconds since 1970 UTC.
pub fn due_ms(tx: &mut dyn SqlTransaction, account: i64) -> Result<Option<i64>, Problem> {
    let rows =
        tx.query("SELECT erase_ms FROM erasure WHERE account = ?1 AND erased_ms IS NULL", &[account.into()])?;
    Ok(rows.first().map(|row| row.int(0)).transpose()?)
}

/// Has an account erased in `grace_ms`, unless somebody signs in until then; when that is.
pub fn request(
    tx: &mut dyn SqlTransaction,
    account: i64,
    grace_ms: i64,
    now_ms: i64,
) -> Result<i64, Problem> {
    let erase_ms = now_ms + grace_ms;
    tx.execute(
        "INSERT INTO erasure (account, requested_ms, erase_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT (account) DO UPDATE SET requested_ms = excluded.requested_ms, erase_ms = excluded.erase_ms",
        &[account.into(), now_ms.into(), erase_ms.into()],
    )?;
    Ok(erase_ms)
}

/// Somebody has signed in: the account is not erased.
///
/// # Errors
/// [`Code::CredentialsWrong`] where it has been.
pub fn restore(tx: &mut dyn SqlTransaction, account: i64) -> Result<(), Problem> {
    tx.execute("DELETE FROM erasure WHERE account = ?1 AND erased_ms IS NULL", &[account.into()])?;
    let erased = tx.query("SELECT account FROM erasure WHERE account = ?1", &[account.into()])?;
    if erased.is_empty() { Ok(()) } else { Err(Code::CredentialsWrong.into()) }
}

/// Erases an account whose time is over, and which must not play; whether it did.
pub fn erase(tx: &mut dyn SqlTransaction, account: i64, now_ms: i64) -> Result<bool, Problem> {
    let due = tx.execute(
        "UPDATE erasure SET erased_ms = ?2 WHERE account = ?1 AND erase_ms <= ?2 AND erased_ms IS NULL",
        &[account.into(), now_ms.into()],
    )?;
    if due == 0 {
        return Ok(false);
    }
    for character in characters::list(tx, account, now_ms)? {
        characters::end(tx, &character, now_ms)?;
        characters::purge(tx, character.id, now_ms)?;
    }
    tx.execute(
        "UPDATE profile SET account = ?2, name = '', name_key = CAST(id AS TEXT), settings = '{}', frozen_reason = ''
         WHERE account = ?1",
        &[account.into(), NOBODY.into()],
    )?;
    for sql in STATEMENTS {
        tx.execute(sql, &[account.into()])?;
    }
    Ok(true)
}

/// Erases every account whose time is over; one that plays is thrown out, and erased the next time.
pub async fn erase_due(service: &Service) -> Result<(), Problem> {
    let now_ms = service.now_ms();
    let due = service.sql.transaction(move |tx| {
        let rows = tx.query(
            "SELECT account FROM erasure WHERE erase_ms <= ?1 AND erased_ms IS NULL ORDER BY erase_ms, account LIMIT ?2",
            &[now_ms.into(), ERASED_MAX.into()],
        )?;
        rows.iter().map(|row| Ok(row.int(0)?)).collect::<Result<Vec<_>, Problem>>()
    });
    for account in due.await? {
        if service.game.playing(account).await?.is_some() {
            service.throw_out(account);
            continue;
        }
        if service.sql.transaction(move |tx| erase(tx, account, now_ms)).await? {
            tracing::info!(account, "an account was erased");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
