//! Who signs in: the account behind what was typed, and how often it may be tried.

use tracing::{Instrument as _, trace_span};
use vyuha_record::Value;
use vyuha_store::TRACE_TARGET;
use vyuha_store::sql::SqlTransaction;

use crate::problem::{Code, Problem};
use crate::service::Service;
use crate::throttle::{Counted, LOGIN_ACCOUNT, LOGIN_ADDRESS, LOGIN_PAIR, Rule, Throttle};

/// The longest text that is looked up as a login, in bytes: that of an e-mail address.
const LOGIN_BYTES_MAX: usize = 254;

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
pub fn count_attempt(throttle: &Throttle, login: &str, site: &str, now_ms: i64) -> Result<Counted, i64> {
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

/// The account of somebody signed in who shows the password once more.
///
/// # Errors
/// [`Code::CredentialsWrong`], and after some of those [`Code::TooManyAttempts`].
pub async fn prove_password(
    service: &Service,
    id: i64,
    site: &str,
    password: &str,
) -> Result<Account, Problem> {
    let counted = count_attempt(&service.throttle, &format!("#{id}"), site, service.now_ms())
        .map_err(Problem::too_many)?;
    let judged = async {
        let account = service.sql.transaction(move |tx| load(tx, id)).await?.ok_or(Code::Unauthorized)?;
        let right = verify(service, password, Some(&account)).await?;
        Ok::<_, Problem>((account, right))
    };
    // What could not be judged was no failure.
    let (account, right) = judged.await.inspect_err(|_| service.throttle.take_back(&counted))?;
    if !right {
        return Err(Code::CredentialsWrong.into());
    }
    service.throttle.take_back(&counted);
    Ok(account)
}

/// Whether the password is the account's; it takes as long where there is no account.
pub async fn verify(service: &Service, password: &str, account: Option<&Account>) -> Result<bool, Problem> {
    let hash = account.map(|account| account.password_hash.as_str());
    let span = trace_span!(target: TRACE_TARGET, "password.verify");
    match service.hasher.verify(password, hash).instrument(span).await {
        // A password that is too long is nobody's.
        Err(vyuha_gateway::accounts::AccountsError::Password(_)) => Ok(false),
        verified => Ok(verified?),
    }
}
