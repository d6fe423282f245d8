//! What staff does, and other servers in its place. Each of it takes a role and a second factor, or a key that may do it, and leaves
//! a deed in the log.

use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use vyuha_record::Value;
use vyuha_store::sql::{SqlRow, SqlTransaction};

use crate::http::{App, Body, Caller, From, Parameters};
use crate::one_time;
use crate::problem::{Code, Problem, ProblemBody};
use crate::second_factor;
use crate::secret::Kind;
use crate::sessions::{self, EndReason};
use crate::signed::Signed;
use crate::staff::{self, Deed, Permission, Role};
use crate::throttle::TOKEN_ADDRESS;

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

    /// Their account; 0 for another server.
    pub(super) fn account(&self) -> i64 {
        match self {
            Staff::Member { account, .. } => *account,
            Staff::Service(_) => SERVICE,
        }
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

/// The key that makes the first administrator.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdminKey {
    /// What the file `api.admin_key_file` holds.
    #[schema(max_length = 256)]
    key: String,
}

/// A role.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Appointment {
    /// `support`, `moderator` or `administrator`.
    #[schema(example = "moderator")]
    role: String,
}

/// A suspension.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suspend {
    /// Until when, milliseconds since 1970 UTC; for good without.
    until_ms: Option<i64>,
    /// Why; the person is told.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// An account as staff sees it.
#[derive(Serialize, ToSchema)]
pub(crate) struct FoundAccount {
    /// Its number.
    account: i64,
    /// Its name.
    name: String,
    /// Its address, if it has one.
    email: Option<String>,
    /// When it was made, milliseconds since 1970 UTC.
    created_ms: i64,
    /// Whether signing in takes a code.
    second_factor: bool,
    /// Until when it is suspended, milliseconds since 1970 UTC, if it was.
    suspended_until_ms: Option<i64>,
    /// Why.
    suspension_reason: Option<String>,
    /// Its role, if it is staff's.
    role: Option<String>,
}

/// A page of accounts.
#[derive(Serialize, ToSchema)]
pub(crate) struct FoundAccounts {
    /// By number.
    accounts: Vec<FoundAccount>,
    /// For `after`, to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

/// Something that staff did.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoggedDeed {
    /// Its number.
    id: i64,
    /// When, milliseconds since 1970 UTC.
    at_ms: i64,
    /// Who did it; 0 for another server, whose key `detail` begins with.
    actor: i64,
    /// What.
    action: String,
    /// To which account.
    subject: i64,
    /// What was said of it.
    detail: String,
    /// SHA-256 over this deed and the chain of the one before.
    chain: String,
}

/// A page of the log.
#[derive(Serialize, ToSchema)]
pub(crate) struct StaffLog {
    /// Newest first.
    deeds: Vec<LoggedDeed>,
    /// For `before`, to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

/// Which accounts.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AccountPage {
    /// What name or address begins with.
    #[param(max_length = 254)]
    search: Option<String>,
    /// Accounts of the page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<i64>,
}

/// Which deeds.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogPage {
    /// Deeds of the page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<usize>,
    /// `next` of the page before.
    before: Option<i64>,
}

/// Become the first administrator
///
/// With the key of this server, while there is no staff.
#[utoipa::path(post, path = "/api/v1/staff/first", tag = "staff", operation_id = "become_first_administrator",
    request_body = AdminKey, security(("access_token" = [])),
    responses(
        (status = 204, description = "The account is an administrator's."),
        (status = 403, description = "That is not the key, or there is staff already.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many attempts.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn first(
    State(app): State<App>,
    caller: Caller,
    from: From,
    Body(AdminKey { key }): Body<AdminKey>,
) -> Result<StatusCode, Problem> {
    let now_ms = app.now_ms();
    let counted = app.throttle.count(now_ms, &[(TOKEN_ADDRESS, &from.site)]).map_err(Problem::too_many)?;
    if !app.is_admin_key(&key) {
        counted.stands();
        return Err(Code::Forbidden.into());
    }
    drop(counted);
    app.sql
        .transaction(move |tx| {
            if staff::is_any(tx)? {
                return Err(Problem::from(Code::Forbidden));
            }
            staff::appoint(tx, caller.account, Some(Role::Administrator), now_ms)?;
            staff::record(tx, now_ms, caller.account, "appoint", caller.account, "administrator, by the key")
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Appoint
#[utoipa::path(put, path = "/api/v1/staff/members/{account}", tag = "staff", operation_id = "appoint_staff",
    params(("account" = i64, Path, description = "Its number.")),
    request_body = Appointment, security(("access_token" = [])),
    responses(
        (status = 204, description = "The account has the role."),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn appoint(
    State(app): State<App>,
    caller: Staff,
    Path(subject): Path<String>,
    Body(Appointment { role }): Body<Appointment>,
) -> Result<StatusCode, Problem> {
    caller.needs(Permission::Appoint)?;
    let subject = number(&subject)?;
    let role = Role::parse(&role).ok_or_else(|| {
        Problem::from(Code::BodyInvalid).detail("a role is support, moderator or administrator")
    })?;
    set_role(&app, caller, subject, Some(role)).await
}

/// Dismiss
#[utoipa::path(delete, path = "/api/v1/staff/members/{account}", tag = "staff", operation_id = "dismiss_staff",
    params(("account" = i64, Path, description = "Its number.")), security(("access_token" = [])),
    responses(
        (status = 204, description = "The account has no role."),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn dismiss(
    State(app): State<App>,
    caller: Staff,
    Path(subject): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.needs(Permission::Appoint)?;
    set_role(&app, caller, number(&subject)?, None).await
}

async fn set_role(app: &App, caller: Staff, subject: i64, role: Option<Role>) -> Result<StatusCode, Problem> {
    let now_ms = app.now_ms();
    app.sql
        .transaction(move |tx| {
            caller.needs_touch(tx, subject)?;
            staff::appoint(tx, subject, role, now_ms)?;
            let action = if role.is_some() { "appoint" } else { "dismiss" };
            caller.record(tx, now_ms, action, subject, role.map_or("", Role::as_str))
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Look accounts up
#[utoipa::path(get, path = "/api/v1/staff/accounts", tag = "staff", operation_id = "search_accounts",
    params(AccountPage), security(("access_token" = [])),
    responses(
        (status = 200, description = "A page of accounts.", body = FoundAccounts),
        (status = 400, description = "A parameter is unknown or out of range.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn search(
    State(app): State<App>,
    caller: Staff,
    Parameters(AccountPage { search, limit, after }): Parameters<AccountPage>,
) -> Result<Json<FoundAccounts>, Problem> {
    caller.needs(Permission::Look)?;
    let limit = page(limit)?;
    let search = search.unwrap_or_default();
    if search.chars().count() > SEARCH_CHARS_MAX || search.contains('\0') {
        return Err(Code::QueryInvalid.into());
    }
    let pattern = beginning(&search);
    let mut accounts = app
        .sql
        .transaction(move |tx| {
            let rows = tx.query(
                "SELECT a.id, a.name, a.email, a.created_ms, a.second_factor_ms, a.suspended_until_ms,
                        a.suspension_reason, s.role
                 FROM account a LEFT JOIN staff s ON s.account = a.id
                 WHERE a.id > ?1 AND (a.name LIKE ?2 ESCAPE '!' OR a.email LIKE ?2 ESCAPE '!')
                 ORDER BY a.id LIMIT ?3",
                &[after.unwrap_or(i64::MIN).into(), pattern.clone().into(), Value::Int(limit as i64 + 1)],
            )?;
            rows.iter().map(found).collect::<Result<Vec<_>, Problem>>()
        })
        .await?;
    let more = accounts.len() > limit;
    accounts.truncate(limit);
    let next = accounts.last().map(|last| last.account).filter(|_| more);
    Ok(Json(FoundAccounts { accounts, next }))
}

fn found(row: &SqlRow) -> Result<FoundAccount, Problem> {
    Ok(FoundAccount {
        account: row.int(0)?,
        name: row.text(1)?,
        email: row.optional_text(2)?,
        created_ms: row.int(3)?,
        second_factor: row.optional_int(4)?.is_some(),
        suspended_until_ms: row.optional_int(5)?,
        suspension_reason: row.optional_text(6)?,
        role: row.optional_text(7)?,
    })
}

/// End an account's sessions
#[utoipa::path(delete, path = "/api/v1/staff/accounts/{account}/sessions", tag = "staff", operation_id = "end_sessions_of_account",
    params(("account" = i64, Path, description = "Its number.")), security(("access_token" = [])),
    responses(
        (status = 204, description = "They are over."),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn end_sessions(
    State(app): State<App>,
    caller: Staff,
    Path(subject): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.needs(Permission::EndSessions)?;
    let (subject, now_ms) = (number(&subject)?, app.now_ms());
    let ended = app
        .sql
        .transaction(move |tx| {
            caller.needs_touch(tx, subject)?;
            caller.record(tx, now_ms, "end_sessions", subject, "")?;
            sessions::end_all(tx, subject, None, EndReason::Staff, now_ms)
        })
        .await?;
    app.revoke(&ended);
    Ok(StatusCode::NO_CONTENT)
}

/// Suspend an account
///
/// Its sessions end, and whoever plays is thrown out.
#[utoipa::path(put, path = "/api/v1/staff/accounts/{account}/suspension", tag = "staff", operation_id = "suspend_account",
    params(("account" = i64, Path, description = "Its number.")),
    request_body = Suspend, security(("access_token" = [])),
    responses(
        (status = 204, description = "It is suspended."),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn suspend(
    State(app): State<App>,
    caller: Staff,
    Path(subject): Path<String>,
    Body(Suspend { until_ms, reason }): Body<Suspend>,
) -> Result<StatusCode, Problem> {
    caller.needs(Permission::Suspend)?;
    let (subject, now_ms) = (number(&subject)?, app.now_ms());
    needs_reason(&reason, until_ms, now_ms)?;
    let ended = app
        .sql
        .transaction(move |tx| {
            caller.needs_touch(tx, subject)?;
            let until_ms = until_ms.unwrap_or(i64::MAX);
            tx.execute(
                "UPDATE account SET suspended_until_ms = ?2, suspension_reason = ?3 WHERE id = ?1",
                &[subject.into(), until_ms.into(), reason.clone().into()],
            )?;
            let detail = format!("until {until_ms}: {reason}");
            caller.record(tx, now_ms, "suspend", subject, &detail)?;
            one_time::revoke(tx, Kind::Ticket, subject)?;
            sessions::end_all(tx, subject, None, EndReason::Staff, now_ms)
        })
        .await?;
    app.revoke(&ended);
    app.throw_out(subject);
    Ok(StatusCode::NO_CONTENT)
}

/// Take a suspension back
#[utoipa::path(delete, path = "/api/v1/staff/accounts/{account}/suspension", tag = "staff", operation_id = "lift_suspension",
    params(("account" = i64, Path, description = "Its number.")), security(("access_token" = [])),
    responses(
        (status = 204, description = "It is not suspended."),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn lift(
    State(app): State<App>,
    caller: Staff,
    Path(subject): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.needs(Permission::Suspend)?;
    let (subject, now_ms) = (number(&subject)?, app.now_ms());
    app.sql
        .transaction(move |tx| {
            caller.needs_touch(tx, subject)?;
            tx.execute(
                "UPDATE account SET suspended_until_ms = NULL, suspension_reason = NULL WHERE id = ?1",
                &[subject.into()],
            )?;
            caller.record(tx, now_ms, "lift", subject, "")
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Read what staff did
#[utoipa::path(get, path = "/api/v1/staff/log", tag = "staff", operation_id = "read_staff_log",
    params(LogPage), security(("access_token" = [])),
    responses(
        (status = 200, description = "A page of the log.", body = StaffLog),
        (status = 400, description = "A parameter is unknown or out of range.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn log(
    State(app): State<App>,
    caller: Staff,
    Parameters(LogPage { limit, before }): Parameters<LogPage>,
) -> Result<Json<StaffLog>, Problem> {
    caller.needs(Permission::ReadLog)?;
    let limit = page(limit)?;
    let before = before.unwrap_or(i64::MAX);
    let mut deeds = app.sql.transaction(move |tx| staff::log(tx, before, limit + 1)).await?;
    let more = deeds.len() > limit;
    deeds.truncate(limit);
    let next = deeds.last().map(|last| last.id).filter(|_| more);
    let logged = |Deed { id, at_ms, actor, action, subject, detail, chain }| LoggedDeed {
        id,
        at_ms,
        actor,
        action,
        subject,
        detail,
        chain,
    };
    Ok(Json(StaffLog { deeds: deeds.into_iter().map(logged).collect(), next }))
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
    let length = reason.chars().count();
    // A database may take no text with a zero in it.
    let is_text = (1..=REASON_CHARS_MAX).contains(&length) && !reason.contains('\0');
    if !is_text || until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
        let detail = "a reason has 1 to 500 characters, and its end is in the future";
        return Err(Problem::from(Code::BodyInvalid).detail(detail));
    }
    Ok(())
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
