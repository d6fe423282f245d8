//! Who signs in: the account behind what was typed, and how often it may be tried.

use vyuha_record::Value;
use vyuha_store::sql::SqlTransaction;

use crate::http::Caller;
use crate::problem::{Code, Problem};
use crate::second_factor;
use crate::service::Service;
use crate::sessions;
use crate::throttle::{CODE, Counted, LOGIN_ACCOUNT, LOGIN_ADDRESS, LOGIN_PAIR, Rule, Throttle};

/// The longest text that is looked up as a login, in bytes: that of an e-mail address.
const LOGIN_BYTES_MAX: usize = 254;

/// How long after a session was opened its owner counts as one who has just signed in.
pub const FRESH_MS: i64 = 5 * 60_000;

/// The columns of [`Account`].
macro_rules! columns {
    () => {
        "id, password_hash, second_factor_ms, suspended_until_ms, suspension_reason"
    };
}

/// What is needed of an account to sign in.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: i64,
    /// The password's hash; empty where there is no password.
    pub password_hash: String,
    /// Whether a code is needed.
    pub second_factor: bool,
    /// Until when the account is suspended, if it was, milliseconds since 1970 UTC; and why.
    pub suspended: Option<(i64, String)>,
}

impl Account {
    /// Whether there is a password that signs in.
    pub fn has_password(&self) -> bool {
        !self.password_hash.is_empty()
    }

    /// # Errors
    /// [`Code::AccountSuspended`], with the reason.
    pub fn needs_no_suspension(&self, now_ms: i64) -> Result<(), Problem> {
        match &self.suspended {
            Some((until_ms, reason)) if *until_ms > now_ms => {
                let until =
                    if *until_ms == i64::MAX { "for good".into() } else { format!("until {until_ms}") };
                Err(Problem::from(Code::AccountSuspended).detail(format!("{until}: {reason}")))
            }
            _ => Ok(()),
        }
    }
}

/// Counts an attempt to sign in to an account, however it is named, from a site.
///
/// # Errors
/// How long to wait, in milliseconds.
pub fn count_attempt<'t>(
    throttle: &'t Throttle,
    login: &str,
    site: &str,
    now_ms: i64,
) -> Result<Counted<'t>, i64> {
    let login = login.to_ascii_lowercase();
    let pair = format!("{login}\0{site}");
    let subjects: [(Rule, &str); 3] = [(LOGIN_PAIR, &pair), (LOGIN_ADDRESS, site), (LOGIN_ACCOUNT, &login)];
    throttle.count(now_ms, &subjects)
}

/// The account of an e-mail address or a name.
pub fn find(tx: &mut dyn SqlTransaction, login: &str) -> Result<Option<Account>, Problem> {
    // A database may take no text with a zero in it.
    if login.len() > LOGIN_BYTES_MAX || login.contains('\0') {
        return Ok(None);
    }
    let login = login.to_ascii_lowercase();
    // No name holds an '@', and every address does.
    let sql = if login.contains('@') {
        concat!("SELECT ", columns!(), " FROM account WHERE email = ?1")
    } else {
        concat!("SELECT ", columns!(), " FROM account WHERE name = ?1")
    };
    first(tx, sql, login.into())
}

/// The account of a number.
pub fn load(tx: &mut dyn SqlTransaction, id: i64) -> Result<Option<Account>, Problem> {
    first(tx, concat!("SELECT ", columns!(), " FROM account WHERE id = ?1"), id.into())
}

fn first(tx: &mut dyn SqlTransaction, sql: &'static str, value: Value) -> Result<Option<Account>, Problem> {
    let rows = tx.query(sql, &[value])?;
    let account = |row: &vyuha_store::sql::SqlRow| {
        Ok(Account {
            id: row.int(0)?,
            password_hash: row.text(1)?,
            second_factor: row.optional_int(2)?.is_some(),
            suspended: row.optional_int(3)?.zip(row.optional_text(4)?),
        })
    };
    rows.first().map(account).transpose()
}

/// Whether the account is still as it was when its password was verified. If so it stays so until the transaction ends: this is a
/// write, for which another that changes the password waits.
pub fn is_unchanged(tx: &mut dyn SqlTransaction, account: &Account) -> Result<bool, Problem> {
    let same = tx.execute(
        "UPDATE account SET password_hash = ?2 WHERE id = ?1 AND password_hash = ?2",
        &[account.id.into(), account.password_hash.clone().into()],
    )?;
    Ok(same == 1 && load(tx, account.id)?.as_ref() == Some(account))
}

/// Replaces the hash of a password by one of another.
pub fn set_password(tx: &mut dyn SqlTransaction, account: i64, hash: &str) -> Result<(), Problem> {
    tx.execute("UPDATE account SET password_hash = ?2 WHERE id = ?1", &[account.into(), hash.into()])?;
    Ok(())
}

/// The account's address, if it has one.
pub fn email_of(tx: &mut dyn SqlTransaction, account: i64) -> Result<Option<String>, Problem> {
    let rows = tx.query("SELECT email FROM account WHERE id = ?1", &[account.into()])?;
    Ok(rows.first().map(|row| row.optional_text(0)).transpose()?.flatten())
}

/// The account of somebody signed in who shows once more that it is theirs: by the password; where there is none, by a session
/// that was opened a moment ago; and by a code of the second factor, where there is one.
///
/// # Errors
/// [`Code::CredentialsWrong`], [`Code::SignInAgain`], those of [`prove_code`], and after some of them [`Code::TooManyAttempts`].
pub(crate) async fn prove_owner(
    service: &Service,
    caller: &Caller,
    site: &str,
    password: Option<String>,
    code: Option<String>,
) -> Result<Account, Problem> {
    let (id, session, now_ms) = (caller.account, caller.session.clone(), service.now_ms());
    let found = service.sql.transaction(move |tx| {
        // The access token may be good for longer than the session.
        let opened_ms = sessions::opened_ms(tx, id, &session, now_ms)?.ok_or(Code::Unauthorized)?;
        Ok::<_, Problem>((load(tx, id)?.ok_or(Code::Unauthorized)?, opened_ms))
    });
    let (account, opened_ms) = found.await?;
    if account.has_password() {
        let counted = count_attempt(&service.throttle, &format!("#{id}"), site, now_ms);
        let counted = counted.map_err(Problem::too_many)?;
        if !verify(service, &password.unwrap_or_default(), Some(&account)).await? {
            counted.stands();
            return Err(Code::CredentialsWrong.into());
        }
    } else if now_ms - opened_ms >= FRESH_MS {
        return Err(Code::SignInAgain.into());
    }
    if account.second_factor {
        prove_code(service, id, code).await?;
    }
    Ok(account)
}

/// Uses up a code of the second factor.
///
/// # Errors
/// [`Code::SecondFactorRequired`] without one, [`Code::SecondFactorWrong`] with a wrong one, [`Code::TooManyAttempts`].
pub async fn prove_code(service: &Service, account: i64, code: Option<String>) -> Result<(), Problem> {
    let code = code.ok_or(Code::SecondFactorRequired)?;
    let now_ms = service.now_ms();
    let counted =
        service.throttle.count(now_ms, &[(CODE, &account.to_string())]).map_err(Problem::too_many)?;
    let vault = service.vault.clone();
    let check = move |tx: &mut dyn SqlTransaction| second_factor::check(tx, &vault, account, &code, now_ms);
    if !service.sql.transaction(check).await? {
        counted.stands();
        return Err(Code::SecondFactorWrong.into());
    }
    Ok(())
}

/// Whether the password is the account's; it takes as long where there is no account.
pub async fn verify(service: &Service, password: &str, account: Option<&Account>) -> Result<bool, Problem> {
    let hash = account.map(|account| account.password_hash.as_str());
    match service.hasher.verify(password, hash).await {
        // A password that is too long is nobody's.
        Err(vyuha_gateway::accounts::AccountsError::Password(_)) => Ok(false),
        verified => Ok(verified?),
    }
}
