//! Tokens that are good once and for a short time. The database decides who comes first.

use vyuha_record::Value;
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

/// Whom a ticket lets into the game.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// The account.
    pub account: i64,
    /// The one of its profiles whose characters may be chosen.
    pub profile: i64,
    /// The one that may be chosen; whichever of the profile without.
    pub character: Option<i64>,
}

/// Makes a ticket into the game.
pub fn issue_ticket(tx: &mut dyn SqlTransaction, admitted: Admitted, now_ms: i64) -> Result<Token, Problem> {
    let Admitted { account, profile, character } = admitted;
    let token = issue(tx, Kind::Ticket, account, now_ms, TICKET_MS)?;
    tx.execute(
        "UPDATE one_time_token SET profile = ?2, character_id = ?3 WHERE hash = ?1",
        &[token.hash.clone().into(), profile.into(), character.map_or(Value::Null, Value::from)],
    )?;
    Ok(token)
}

/// Uses a ticket up; whom it lets in. `None` if it is unknown, was used or is too old.
pub fn redeem_ticket(
    tx: &mut dyn SqlTransaction,
    text: &str,
    now_ms: i64,
) -> Result<Option<Admitted>, Problem> {
    let Some(account) = redeem(tx, Kind::Ticket, text, now_ms)? else { return Ok(None) };
    let hash = shown(Kind::Ticket, text).unwrap_or_default();
    let rows =
        tx.query("SELECT profile, character_id FROM one_time_token WHERE hash = ?1", &[hash.into()])?;
    let Some(row) = rows.first() else { return Ok(None) };
    // One of before there were profiles names none, and is too old in a minute.
    let Some(profile) = row.optional_int(0)? else { return Ok(None) };
    Ok(Some(Admitted { account, profile, character: row.optional_int(1)? }))
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
    fn a_ticket_says_with_what_it_lets_in_once() {
        with_tx(|tx| {
            for character in [None, Some(3)] {
                let admitted = Admitted { account: 7, profile: 2, character };
                let ticket = issue_ticket(tx, admitted, 0)?;
                assert_eq!(redeem_ticket(tx, &ticket.text, TICKET_MS)?, None, "it is too old");
                assert_eq!(redeem_ticket(tx, &ticket.text, 1)?, Some(admitted));
                assert_eq!(redeem_ticket(tx, &ticket.text, 2)?, None, "it was used");
            }
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
