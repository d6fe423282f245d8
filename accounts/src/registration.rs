//! Registrations that wait for their address to be confirmed, and the accounts that they become.
//!
//! There is no account before its address is confirmed, so nobody can hold an address that is another's. Every registration has
//! a password and a token of its own: who confirms one sets the password that was typed for that one.

use vyuha_record::Value;
use vyuha_store::sql::SqlTransaction;

use crate::email::Email;
use crate::problem::{Code, Problem};
use crate::secret::{Kind, Token, hex, random, shown};

/// How long an address can be confirmed.
pub const REGISTRATION_MS: i64 = 24 * 60 * 60_000;
/// Mails to one registration, the first included.
pub const SENDS_MAX: i64 = 5;

/// What is to be mailed.
#[derive(Debug)]
pub struct Begun {
    /// The address.
    pub email: String,
    /// Confirms the address; not to be mailed where it has an account.
    pub verification: Token,
    /// Whether the address has an account already.
    pub taken: bool,
}

/// Keeps a registration; `id` is the hash of the token that names it. The same is done whether the address has an account or not.
pub fn begin(
    tx: &mut dyn SqlTransaction,
    id: &str,
    email: &Email,
    password_hash: &str,
    now_ms: i64,
) -> Result<Begun, Problem> {
    let verification = Token::new(Kind::Verification)?;
    tx.execute(
        "INSERT INTO registration (id, token, email, password_hash, sends, expires_ms)
         VALUES (?1, ?2, ?3, ?4, 1, ?5)",
        &[
            id.into(),
            verification.hash.clone().into(),
            email.as_str().into(),
            password_hash.into(),
            (now_ms + REGISTRATION_MS).into(),
        ],
    )?;
    let email = email.as_str().to_owned();
    Ok(Begun { taken: is_taken(tx, &email)?, email, verification })
}

/// Makes a new token for a registration, in place of the one that was mailed. `None` if there is none, or it was mailed often.
pub fn resend(tx: &mut dyn SqlTransaction, id: &str, now_ms: i64) -> Result<Option<Begun>, Problem> {
    let Some(id) = shown(Kind::Registration, id) else { return Ok(None) };
    let verification = Token::new(Kind::Verification)?;
    let rows = tx.query(
        "UPDATE registration SET token = ?2, sends = sends + 1
         WHERE id = ?1 AND expires_ms > ?3 AND sends < ?4
         RETURNING email",
        &[id.into(), verification.hash.clone().into(), now_ms.into(), SENDS_MAX.into()],
    )?;
    let Some(row) = rows.first() else { return Ok(None) };
    let email = row.text(0)?;
    Ok(Some(Begun { taken: is_taken(tx, &email)?, email, verification }))
}

/// Makes the account of the registration whose token this is; the account's number. Its name is made up: it can be told to
/// others, and tells nothing.
///
/// # Errors
/// [`Code::TokenInvalid`], also where the address has got an account meanwhile.
pub fn confirm(tx: &mut dyn SqlTransaction, text: &str, now_ms: i64) -> Result<i64, Problem> {
    let hash = shown(Kind::Verification, text).ok_or(Code::TokenInvalid)?;
    let rows = tx.query(
        "DELETE FROM registration WHERE token = ?1 AND expires_ms > ?2 RETURNING email, password_hash",
        &[hash.into(), now_ms.into()],
    )?;
    let row = rows.first().ok_or(Code::TokenInvalid)?;
    let (email, password_hash) = (row.text(0)?, row.text(1)?);
    if is_taken(tx, &email)? {
        return Err(Code::TokenInvalid.into());
    }
    create(tx, password_hash, Some(&email), now_ms)
}

/// Makes an account, with an address if that is shown to be its owner's; the account's number. An empty hash is no password's.
pub fn create(
    tx: &mut dyn SqlTransaction,
    password_hash: String,
    email: Option<&str>,
    now_ms: i64,
) -> Result<i64, Problem> {
    if let Some(email) = email {
        tx.execute("DELETE FROM registration WHERE email = ?1", &[email.into()])?;
    }
    let name = format!("player-{}", hex(&random::<8>()?));
    let email = email.map_or(Value::Null, Value::from);
    let rows = tx.query(
        "INSERT INTO account (id, name, password_hash, created_ms, email)
         SELECT COALESCE(MAX(id), 0) + 1, CAST(?1 AS TEXT), CAST(?2 AS TEXT), CAST(?3 AS BIGINT), CAST(?4 AS TEXT)
         FROM account
         RETURNING id",
        &[name.into(), password_hash.into(), now_ms.into(), email],
    )?;
    Ok(rows.first().ok_or(Code::Internal)?.int(0)?)
}

fn is_taken(tx: &mut dyn SqlTransaction, email: &str) -> Result<bool, Problem> {
    Ok(!tx.query("SELECT id FROM account WHERE email = ?1", &[email.into()])?.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_tx;

    fn register(tx: &mut dyn SqlTransaction, email: &str, hash: &str, now_ms: i64) -> (Token, Begun) {
        let id = Token::new(Kind::Registration).unwrap();
        let begun = begin(tx, &id.hash, &Email::parse(email).unwrap(), hash, now_ms).unwrap();
        (id, begun)
    }

    #[test]
    fn an_account_has_the_password_of_the_registration_that_was_confirmed() {
        with_tx(|tx| {
            let (_, mine) = register(tx, "asha@example.com", "mine", 0);
            let (_, thiefs) = register(tx, "asha@example.com", "thiefs", 1);
            assert!(!mine.taken && !thiefs.taken);
            let account = confirm(tx, &mine.verification.text, 2)?;
            let rows =
                tx.query("SELECT password_hash, email FROM account WHERE id = ?1", &[account.into()])?;
            assert_eq!((rows[0].text(0)?, rows[0].text(1)?), ("mine".into(), "asha@example.com".into()));
            for token in [mine, thiefs] {
                let again = confirm(tx, &token.verification.text, 3).unwrap_err();
                assert_eq!(again.code, Code::TokenInvalid);
            }
            let (_, late) = register(tx, "asha@example.com", "late", 4);
            assert!(late.taken);
            assert_eq!(confirm(tx, &late.verification.text, 5).unwrap_err().code, Code::TokenInvalid);
            Ok(())
        });
    }

    #[test]
    fn a_registration_ends_with_its_time() {
        with_tx(|tx| {
            let (id, begun) = register(tx, "asha@example.com", "x", 0);
            assert!(resend(tx, &id.text, REGISTRATION_MS)?.is_none());
            let late = confirm(tx, &begun.verification.text, REGISTRATION_MS).unwrap_err();
            assert_eq!(late.code, Code::TokenInvalid);
            Ok(())
        });
    }

    #[test]
    fn a_resent_token_replaces_the_one_before_and_mails_are_counted() {
        with_tx(|tx| {
            let (id, first) = register(tx, "asha@example.com", "x", 0);
            let mut last = first.verification.text;
            for _ in 1..SENDS_MAX {
                let next = resend(tx, &id.text, 1)?.unwrap();
                assert_eq!(next.email, "asha@example.com");
                assert_eq!(confirm(tx, &last, 1).unwrap_err().code, Code::TokenInvalid);
                last = next.verification.text;
            }
            assert!(resend(tx, &id.text, 1)?.is_none());
            assert!(resend(tx, &last, 1)?.is_none(), "that is no registration's id");
            confirm(tx, &last, 1)?;
            Ok(())
        });
    }
}
