//! The second factor: codes by time (TOTP, RFC 6238: SHA-1, 6 digits, 30 s, as every authenticator knows it) and recovery
//! codes. Each code is good once; the database decides who comes first.

use totp_rs::{Builder, Secret, Totp};
use vyuha_record::Value;
use vyuha_store::sql::SqlTransaction;

use crate::problem::{Code, Problem};
use crate::secret::{hash, random};
use crate::vault::Vault;

/// Recovery codes that are given out.
pub const RECOVERY_CODES: usize = 10;
/// The longest text that is judged as a code, in bytes.
const CODE_BYTES_MAX: usize = 32;
/// Bytes of the shared secret (RFC 4226 asks for 20).
const SECRET_BYTES: usize = 20;
/// Random bytes of a recovery code: 16 characters in base 32.
const RECOVERY_BYTES: usize = 10;

/// What a person puts into an authenticator.
#[derive(Debug)]
pub struct Enrolment {
    /// The shared secret in base 32.
    pub secret: String,
    /// The same as a link or a QR code.
    pub url: String,
}

/// Whether the account's second factor is on.
pub fn is_on(tx: &mut dyn SqlTransaction, account: i64) -> Result<bool, Problem> {
    let rows = tx.query("SELECT second_factor_ms FROM account WHERE id = ?1", &[account.into()])?;
    Ok(rows.first().map(|row| row.optional_int(0)).transpose()?.flatten().is_some())
}

/// Begins to set one up: it is on once a code of it was shown.
pub fn begin(
    tx: &mut dyn SqlTransaction,
    vault: &Vault,
    issuer: &str,
    account: i64,
    label: &str,
) -> Result<Enrolment, Problem> {
    if is_on(tx, account)? {
        return Err(Code::SecondFactorPresent.into());
    }
    let secret = random::<SECRET_BYTES>()?;
    let sealed = vault.seal(&place(account), &secret)?;
    tx.execute("DELETE FROM second_factor WHERE account = ?1", &[account.into()])?;
    let sql = "INSERT INTO second_factor (account, secret, last_step) VALUES (?1, ?2, 0)";
    tx.execute(sql, &[account.into(), sealed.into()])?;
    // A colon would end the label.
    let totp = builder(&secret)
        .with_account_name(label.replace(':', "_"))
        .with_issuer(Some(issuer.replace(':', "_")));
    let url = totp.build().and_then(|totp| totp.to_url()).map_err(|error| {
        tracing::error!(%error, "a second factor's link cannot be made");
        Problem::from(Code::Internal)
    })?;
    Ok(Enrolment { secret: Secret::from(secret.to_vec()).to_base32(), url })
}

/// Turns it on with its first code; the recovery codes, which are shown this once.
pub fn confirm(
    tx: &mut dyn SqlTransaction,
    vault: &Vault,
    account: i64,
    code: &str,
    now_ms: i64,
) -> Result<Vec<String>, Problem> {
    if is_on(tx, account)? {
        return Err(Code::SecondFactorPresent.into());
    }
    let rows = tx.query("SELECT account FROM second_factor WHERE account = ?1", &[account.into()])?;
    if rows.is_empty() {
        return Err(Code::SecondFactorAbsent.into());
    }
    if !check_totp(tx, vault, account, code, now_ms)? {
        return Err(Code::SecondFactorWrong.into());
    }
    let on = "UPDATE account SET second_factor_ms = ?2 WHERE id = ?1 AND second_factor_ms IS NULL";
    if tx.execute(on, &[account.into(), now_ms.into()])? == 0 {
        return Err(Code::SecondFactorPresent.into());
    }
    tx.execute("DELETE FROM recovery_code WHERE account = ?1", &[account.into()])?;
    let mut codes = Vec::with_capacity(RECOVERY_CODES);
    for _ in 0..RECOVERY_CODES {
        let code = Secret::from(random::<RECOVERY_BYTES>()?.to_vec()).to_base32();
        let sql = "INSERT INTO recovery_code (account, hash) VALUES (?1, ?2)";
        tx.execute(sql, &[account.into(), hash(&code).into()])?;
        let groups: Vec<&str> = (0..4).map(|group| &code[group * 4..group * 4 + 4]).collect();
        codes.push(groups.join("-"));
    }
    Ok(codes)
}

/// Whether a code, by time or for recovery, is good; it is used up then.
pub fn check(
    tx: &mut dyn SqlTransaction,
    vault: &Vault,
    account: i64,
    code: &str,
    now_ms: i64,
) -> Result<bool, Problem> {
    if code.len() > CODE_BYTES_MAX {
        return Ok(false);
    }
    if check_totp(tx, vault, account, code, now_ms)? {
        return Ok(true);
    }
    let plain: String =
        code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect();
    let used = tx.execute(
        "UPDATE recovery_code SET used_ms = ?3 WHERE account = ?1 AND hash = ?2 AND used_ms IS NULL",
        &[account.into(), hash(&plain).into(), now_ms.into()],
    )?;
    Ok(used == 1)
}

/// Turns it off.
pub fn remove(tx: &mut dyn SqlTransaction, account: i64) -> Result<(), Problem> {
    let id: Value = account.into();
    for sql in [
        "UPDATE account SET second_factor_ms = NULL WHERE id = ?1",
        "DELETE FROM second_factor WHERE account = ?1",
        "DELETE FROM recovery_code WHERE account = ?1",
    ] {
        tx.execute(sql, std::slice::from_ref(&id))?;
    }
    Ok(())
}

fn check_totp(
    tx: &mut dyn SqlTransaction,
    vault: &Vault,
    account: i64,
    code: &str,
    now_ms: i64,
) -> Result<bool, Problem> {
    let rows = tx.query("SELECT secret FROM second_factor WHERE account = ?1", &[account.into()])?;
    let Some(row) = rows.first() else { return Ok(false) };
    let secret = vault.unseal(&place(account), &row.text(0)?).map_err(|error| {
        tracing::error!(%error, account, "a second factor cannot be checked");
        Problem::from(Code::Internal)
    })?;
    let totp: Totp = builder(&secret).build_noncompliant();
    let Some(step) = totp.check(code, now_ms.max(0).unsigned_abs() / 1000) else { return Ok(false) };
    let taken = tx.execute(
        "UPDATE second_factor SET last_step = ?2 WHERE account = ?1 AND last_step < ?2",
        &[account.into(), step.cast_signed().into()],
    )?;
    Ok(taken == 1)
}

fn builder(secret: &[u8]) -> Builder {
    Builder::new().with_secret(secret.to_vec())
}

fn place(account: i64) -> String {
    format!("second_factor {account}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_tx;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn with_vault(test: impl Fn(&mut dyn SqlTransaction, &Vault) -> Result<(), Problem>) {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(&dir.path().join("key")).unwrap();
        with_tx(|tx| {
            let sql = "INSERT INTO account (id, name, password_hash, created_ms) VALUES (7, 'asha', '$', 0)";
            tx.execute(sql, &[])?;
            test(tx, &vault)
        });
    }

    fn code(enrolment: &Enrolment, at_ms: i64) -> String {
        let secret = Secret::try_from_base32(&enrolment.secret).unwrap();
        Builder::new().with_secret(secret).build_noncompliant().generate(at_ms as u64 / 1000).to_string()
    }

    #[test]
    fn it_is_on_once_a_code_was_shown_and_each_code_is_good_once() {
        with_vault(|tx, vault| {
            assert_eq!(confirm(tx, vault, 7, "123456", NOW_MS).unwrap_err().code, Code::SecondFactorAbsent);
            let enrolment = begin(tx, vault, "Vyuha: here", 7, "asha")?;
            assert!(enrolment.url.starts_with("otpauth://totp/"), "{}", enrolment.url);
            assert!(enrolment.url.contains(&enrolment.secret));
            assert!(!is_on(tx, 7)?);
            assert_eq!(confirm(tx, vault, 7, "0", NOW_MS).unwrap_err().code, Code::SecondFactorWrong);
            let now = code(&enrolment, NOW_MS);
            assert_eq!(confirm(tx, vault, 7, &now, NOW_MS)?.len(), RECOVERY_CODES);
            assert!(is_on(tx, 7)?);
            assert!(!check(tx, vault, 7, &now, NOW_MS)?, "it was used");
            let next = code(&enrolment, NOW_MS + 30_000);
            assert!(check(tx, vault, 7, &next, NOW_MS)?, "the clocks may differ by one step");
            assert!(!check(tx, vault, 7, &now, NOW_MS)?, "an older one");
            assert!(!check(tx, vault, 7, &code(&enrolment, NOW_MS + 90_000), NOW_MS)?);
            assert_eq!(begin(tx, vault, "x", 7, "asha").unwrap_err().code, Code::SecondFactorPresent);
            assert_eq!(confirm(tx, vault, 7, &next, NOW_MS).unwrap_err().code, Code::SecondFactorPresent);
            remove(tx, 7)?;
            assert!(!is_on(tx, 7)?);
            assert!(!check(tx, vault, 7, &code(&enrolment, NOW_MS + 60_000), NOW_MS + 60_000)?);
            Ok(())
        });
    }

    #[test]
    fn a_recovery_code_is_good_once_however_it_is_typed() {
        with_vault(|tx, vault| {
            let enrolment = begin(tx, vault, "x", 7, "asha")?;
            let codes = confirm(tx, vault, 7, &code(&enrolment, NOW_MS), NOW_MS)?;
            assert_eq!(codes[0].len(), 19);
            let typed = codes[0].to_lowercase().replace('-', " ");
            assert!(check(tx, vault, 7, &typed, NOW_MS)?);
            assert!(!check(tx, vault, 7, &codes[0], NOW_MS)?);
            assert!(!check(tx, vault, 8, &codes[1], NOW_MS)?, "that is another's");
            assert!(check(tx, vault, 7, &codes[1], NOW_MS)?);
            for wrong in ["", "-", "000000", &"1".repeat(1000), "ééééé"] {
                assert!(!check(tx, vault, 7, wrong, NOW_MS)?, "{wrong}");
            }
            Ok(())
        });
    }

    #[test]
    fn a_secret_that_was_moved_to_another_account_does_not_open() {
        with_vault(|tx, vault| {
            let enrolment = begin(tx, vault, "x", 7, "asha")?;
            tx.execute("UPDATE second_factor SET account = 8", &[])?;
            let moved = check(tx, vault, 8, &code(&enrolment, NOW_MS), NOW_MS);
            assert_eq!(moved.unwrap_err().code, Code::Internal);
            Ok(())
        });
    }
}
