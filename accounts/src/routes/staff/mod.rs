//! What staff does, and other servers in its place. Each of it takes a role and a second factor, or a key that may do it, and leaves
//! a deed in the log.

pub(crate) mod accounts;
pub(crate) mod announcements;
pub(crate) mod appeals;
pub(crate) mod bans;
pub(crate) mod characters;
pub(crate) mod devices;
pub(crate) mod log;
pub(crate) mod members;
pub(crate) mod profiles;
pub(crate) mod suspension;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use vyuha_store::sql::SqlTransaction;

use crate::http::{App, Caller};
use crate::problem::{Code, Problem};
use crate::second_factor;
use crate::signed::Signed;
use crate::staff::{self, Permission, Role};

/// Rows of one page, by default and at most.
const PAGE: usize = 20;
const PAGE_MAX: usize = 100;
/// The longest text that is searched for, in characters: that of an e-mail address.
const SEARCH_CHARS_MAX: usize = 254;
/// Who did it, in the log, where another server did.
const SERVICE: i64 = 0;
/// The longest reason, in characters.
const REASON_CHARS_MAX: usize = 500;

/// Who acts on the accounts of others.
pub(crate) enum Staff {
    /// Somebody of the staff, with the second factor on.
    Member {
        /// Their account.
        account: i64,
        /// What they are.
        role: Role,
    },
    /// Another server, which signed its call.
    Service(Signed),
}

impl FromRequestParts<App> for Staff {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Staff, Problem> {
        if let Some(signed) = parts.extensions.get::<Signed>() {
            return Ok(Staff::Service(signed.clone()));
        }
        let Caller { account, .. } = Caller::from_request_parts(parts, app).await?;
        let role = app.sql.transaction(move |tx| {
            let role = staff::role_of(tx, account)?.ok_or(Code::Forbidden)?;
            if !second_factor::is_on(tx, account)? {
                return Err(
                    Problem::from(Code::Forbidden).detail("staff signs in with a second factor: set it up")
                );
            }
            Ok(role)
        });
        Ok(Staff::Member { account, role: role.await? })
    }
}

impl Staff {
    pub(super) fn needs(&self, permission: Permission) -> Result<(), Problem> {
        let may = match self {
            Staff::Member { role, .. } => role.may(permission),
            Staff::Service(signed) => signed.permissions.contains(&permission),
        };
        if may { Ok(()) } else { Err(Code::Forbidden.into()) }
    }

    /// Their account; that of no account where it is another server.
    fn actor(&self) -> i64 {
        match self {
            Staff::Member { account, .. } => *account,
            Staff::Service(_) => SERVICE,
        }
    }

    /// Whether they may do something to an account, which there must be.
    pub(super) fn needs_touch(&self, tx: &mut dyn SqlTransaction, subject: i64) -> Result<(), Problem> {
        needs_account(tx, subject)?;
        let other = staff::role_of(tx, subject)?;
        let may = match self {
            // The role may have been taken away since the request came.
            Staff::Member { account, role } => {
                let has_still = staff::role_of(tx, *account)? == Some(*role);
                has_still && *account != subject && role.may_touch(other)
            }
            Staff::Service(_) => other.is_none(),
        };
        if may { Ok(()) } else { Err(Code::Forbidden.into()) }
    }

    /// Adds what they did to the log.
    pub(super) fn record(
        &self,
        tx: &mut dyn SqlTransaction,
        now_ms: i64,
        action: &str,
        subject: i64,
        detail: &str,
    ) -> Result<(), Problem> {
        match self {
            Staff::Member { account, .. } => staff::record(tx, now_ms, *account, action, subject, detail),
            Staff::Service(signed) => {
                let detail = format!("key {}: {detail}", signed.key);
                staff::record(tx, now_ms, SERVICE, action, subject, &detail)
            }
        }
    }
}

/// # Errors
/// [`Code::AccountUnknown`].
pub(super) fn needs_account(tx: &mut dyn SqlTransaction, account: i64) -> Result<(), Problem> {
    let found = tx.query("SELECT id FROM account WHERE id = ?1", &[account.into()])?;
    if found.is_empty() { Err(Code::AccountUnknown.into()) } else { Ok(()) }
}

pub(super) fn number(text: &str) -> Result<i64, Problem> {
    text.parse().map_err(|_| Code::AccountUnknown.into())
}

/// Whether this can be why something is refused to somebody, and until when.
pub(super) fn needs_reason(reason: &str, until_ms: Option<i64>, now_ms: i64) -> Result<(), Problem> {
    needs_text(reason, "a reason")?;
    if until_ms.is_some_and(|until_ms| until_ms <= now_ms || until_ms == i64::MAX) {
        return Err(Problem::from(Code::BodyInvalid).detail("what ends, ends in the future"));
    }
    Ok(())
}

/// Whether a text can be told to people: so long, and nothing in it that a database does not take.
fn needs_text(text: &str, what: &'static str) -> Result<(), Problem> {
    if (1..=REASON_CHARS_MAX).contains(&text.chars().count()) && !text.contains('\0') {
        Ok(())
    } else {
        Err(Problem::from(Code::BodyInvalid).detail(format!("{what} has 1 to 500 characters")))
    }
}

/// Whether a text can be searched for.
fn needs_search(text: &str) -> Result<(), Problem> {
    let is_good = text.chars().count() <= SEARCH_CHARS_MAX && !text.contains('\0');
    if is_good { Ok(()) } else { Err(Code::QueryInvalid.into()) }
}

/// Takes what is over the page's length off a list that was asked for one more; what comes last on the page, where there is more.
fn cut<T>(rows: &mut Vec<T>, limit: usize, number: impl Fn(&T) -> i64) -> Option<i64> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    rows.last().map(number).filter(|_| more)
}

pub(super) fn page(limit: Option<usize>) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(PAGE);
    if (1..=PAGE_MAX).contains(&limit) { Ok(limit) } else { Err(Code::QueryInvalid.into()) }
}

/// The pattern of what begins with a text, in which no character of the text means anything.
fn beginning(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 1);
    for character in text.to_ascii_lowercase().chars() {
        if matches!(character, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(character);
    }
    pattern + "%"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_means_its_characters() {
        let check = |text: &str, pattern: &str| assert_eq!(beginning(text), pattern);
        check("", "%");
        check("Asha", "asha%");
        check("a_b%c!", "a!_b!%c!!%");
        check("' OR 1=1", "' or 1=1%");
    }
}
