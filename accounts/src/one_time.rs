//! Tokens that are good once and for a short time. The database decides who comes first.

use vyuha_store::sql::SqlTransaction;

use crate::problem::Problem;
use crate::secret::{Kind, Token, shown};

/// How long a password can be reset.
pub const RESET_MS: i64 = 30 * 60_000;
/// How long a ticket into the game is good.
pub const TICKET_MS: i64 = 60_000;
/// The account of tokens that are nobody's: they are made so that a request does the same work whoever exists.
pub const NOBODY: i64 = 0;

fn purpose(kind: Kind) -> &'static str {
    match kind {
        Kind::Reset => "reset",
        Kind::Ticket => "ticket",
        Kind::Verification | Kind::Registration | Kind::Refresh | Kind::Flow | Kind::Browser => "none",
    }
}

/// Makes a token for an account; it is good for `lasts_ms`.
pub fn issue(
    tx: &mut dyn SqlTransaction,
    kind: Kind,
    account: i64,
    now_ms: i64,
    lasts_ms: i64,
) -> Result<Token, Problem> {
    let token = Token::new(kind)?;
    tx.execute(
        "INSERT INTO one_time_token (hash, purpose, account, expires_ms) VALUES (?1, ?2, ?3, ?4)",
        &[token.hash.clone().into(), purpose(kind).into(), account.into(), (now_ms + lasts_ms).into()],
    )?;
    Ok(token)
}

/// Whose token it is, without using it.
pub fn peek(
    tx: &mut dyn SqlTransaction,
    kind: Kind,
    text: &str,
    now_ms: i64,
) -> Result<Option<i64>, Problem> {
    let Some(hash) = shown(kind, text) else { return Ok(None) };
    let rows = tx.query(
        "SELECT account FROM one_time_token
         WHERE hash = ?1 AND purpose = ?2 AND used_ms IS NULL AND expires_ms > ?3",
        &[hash.into(), purpose(kind).into(), now_ms.into()],
    )?;
    owner(&rows)
}

/// Uses a token up; whose it was. `None` if it is unknown, was used or is too old.
pub fn redeem(
    tx: &mut dyn SqlTransaction,
    kind: Kind,
    text: &str,
    now_ms: i64,
) -> Result<Option<i64>, Problem> {
    let Some(hash) = shown(kind, text) else { return Ok(None) };
    let rows = tx.query(
        "UPDATE one_time_token SET used_ms = ?3
         WHERE hash = ?1 AND purpose = ?2 AND used_ms IS NULL AND expires_ms > ?3
         RETURNING account",
        &[hash.into(), purpose(kind).into(), now_ms.into()],
    )?;
    owner(&rows)
}

/// Takes back every token of a kind that an account has.
pub fn revoke(tx: &mut dyn SqlTransaction, kind: Kind, account: i64) -> Result<(), Problem> {
    tx.execute(
        "DELETE FROM one_time_token WHERE account = ?1 AND purpose = ?2",
        &[account.into(), purpose(kind).into()],
    )?;
    Ok(())
}

fn owner(rows: &[vyuha_store::sql::SqlRow]) -> Result<Option<i64>, Problem> {
    let account = rows.first().map(|row| row.int(0)).transpose()?;
    Ok(account.filter(|account| *account != NOBODY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_tx;

    #[test]
    fn a_token_is_good_once_for_its_purpose_and_its_time() {
        with_tx(|tx| {
            let token = issue(tx, Kind::Ticket, 7, 1000, TICKET_MS)?;
            assert_eq!(redeem(tx, Kind::Reset, &token.text, 1001)?, None);
            assert_eq!(redeem(tx, Kind::Reset, &token.text.replace("vyt_", "vyp_"), 1001)?, None);
            assert_eq!(redeem(tx, Kind::Ticket, &token.text, 1000 + TICKET_MS)?, None);
            assert_eq!(peek(tx, Kind::Ticket, &token.text, 1001)?, Some(7));
            assert_eq!(redeem(tx, Kind::Ticket, &token.text, 1001)?, Some(7));
            assert_eq!(peek(tx, Kind::Ticket, &token.text, 1002)?, None);
            assert_eq!(redeem(tx, Kind::Ticket, &token.text, 1002)?, None);
            assert_eq!(redeem(tx, Kind::Ticket, "vyt_", 1002)?, None);
            Ok(())
        });
    }

    #[test]
    fn what_is_taken_back_or_nobodys_is_no_good() {
        with_tx(|tx| {
            let ticket = issue(tx, Kind::Ticket, 7, 0, TICKET_MS)?;
            let others = issue(tx, Kind::Ticket, 8, 0, TICKET_MS)?;
            let nobodys = issue(tx, Kind::Reset, NOBODY, 0, RESET_MS)?;
            revoke(tx, Kind::Ticket, 7)?;
            assert_eq!(redeem(tx, Kind::Ticket, &ticket.text, 1)?, None);
            assert_eq!(redeem(tx, Kind::Ticket, &others.text, 1)?, Some(8));
            assert_eq!(redeem(tx, Kind::Reset, &nobodys.text, 1)?, None);
            Ok(())
        });
    }
}
