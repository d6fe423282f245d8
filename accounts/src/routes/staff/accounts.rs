//! Accounts as staff finds them, and what ends: their sessions, and their stay in the game.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use vyuha_record::Value;
use vyuha_store::sql::SqlRow;

use super::bans::ListedBan;
use super::characters::{FoundCharacter, characters_of};
use super::{Staff, beginning, cut, needs_search, needs_text, number, page};
use crate::bans;
use crate::http::{App, Body, Parameters};
use crate::problem::{Code, Problem, ProblemBody};
use crate::routes::session::is_id;
use crate::sessions::{self, EndReason, Listed, SESSIONS_MAX};
use crate::staff::Permission;

/// The number of no account.
const NOBODY: i64 = -1;

/// The beginning of a query whose rows [`found`] reads.
macro_rules! found_columns {
    () => {
        "SELECT a.id, a.name, a.email, a.created_ms, a.second_factor_ms, a.suspended_until_ms,
                a.suspension_reason, s.role
         FROM account a LEFT JOIN staff s ON s.account = a.id"
    };
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

/// An account and what belongs to it, as staff sees it.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountDetail {
    /// The account.
    account: FoundAccount,
    /// The ban that holds of it, if one does.
    ban: Option<ListedBan>,
    /// Its characters, by number, at most 100.
    characters: Vec<FoundCharacter>,
    /// Its sessions that last, newest first.
    sessions: Vec<AccountSession>,
}

/// A session, as staff sees it.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountSession {
    /// Its id.
    id: String,
    /// What the client said that it is (`User-Agent`).
    agent: String,
    /// Where it was opened from.
    address: String,
    /// When it was opened, milliseconds since 1970 UTC.
    created_ms: i64,
    /// When it was last seen, milliseconds since 1970 UTC.
    seen_ms: i64,
    /// When it ends, milliseconds since 1970 UTC.
    expires_ms: i64,
}

/// Somebody who is to leave the game.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kick {
    /// Why; it is in the log.
    #[schema(min_length = 1, max_length = 500, example = "stuck in a wall")]
    reason: String,
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

/// Which accounts.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AccountPage {
    /// What name or address begins with, or the account's number.
    #[param(max_length = 254)]
    search: Option<String>,
    /// Accounts of the page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<i64>,
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
    needs_search(&search)?;
    let (pattern, id) = (beginning(&search), search.parse().unwrap_or(NOBODY));
    let mut accounts = app
        .sql
        .transaction(move |tx| {
            let rows = tx.query(
                concat!(
                    found_columns!(),
                    " WHERE a.id > ?1 AND (a.name LIKE ?2 ESCAPE '!' OR a.email LIKE ?2 ESCAPE '!' OR a.id = ?3)
                      ORDER BY a.id LIMIT ?4"
                ),
                &[
                    after.unwrap_or(i64::MIN).into(),
                    pattern.clone().into(),
                    id.into(),
                    Value::Int(limit as i64 + 1),
                ],
            )?;
            rows.iter().map(found).collect::<Result<Vec<_>, Problem>>()
        })
        .await?;
    let next = cut(&mut accounts, limit, |account| account.account);
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

/// Show an account
///
/// With its characters, its sessions and the ban that holds of it.
#[utoipa::path(get, path = "/api/v1/staff/accounts/{account}", tag = "staff", operation_id = "show_account_to_staff",
    params(("account" = i64, Path, description = "Its number.")), security(("access_token" = [])),
    responses(
        (status = 200, description = "The account.", body = AccountDetail),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Staff,
    Path(subject): Path<String>,
) -> Result<Json<AccountDetail>, Problem> {
    caller.needs(Permission::Look)?;
    let (subject, now_ms) = (number(&subject)?, app.now_ms());
    app.sql
        .transaction(move |tx| {
            let rows = tx.query(concat!(found_columns!(), " WHERE a.id = ?1"), &[subject.into()])?;
            let account = found(rows.first().ok_or(Code::AccountUnknown)?)?;
            let ban = bans::of_account(tx, subject, now_ms)?.map(ListedBan::from);
            let characters = characters_of(tx, subject)?;
            let sessions = sessions::list(tx, subject, None, SESSIONS_MAX, now_ms)?;
            let session = |Listed { id, agent, address, created_ms, seen_ms, expires_ms }| AccountSession {
                id,
                agent,
                address,
                created_ms,
                seen_ms,
                expires_ms,
            };
            let sessions = sessions.into_iter().map(session).collect();
            Ok(Json(AccountDetail { account, ban, characters, sessions }))
        })
        .await
}

/// End one of an account's sessions
#[utoipa::path(delete, path = "/api/v1/staff/accounts/{account}/sessions/{session}", tag = "staff", operation_id = "end_session_of_account",
    params(("account" = i64, Path, description = "Its number."), ("session" = String, Path, description = "The session's id.")),
    security(("access_token" = [])),
    responses(
        (status = 204, description = "It is over."),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "There is no such account, or it has no such session: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn end_session(
    State(app): State<App>,
    caller: Staff,
    Path((subject, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    caller.needs(Permission::EndSessions)?;
    let (subject, now_ms) = (number(&subject)?, app.now_ms());
    if !is_id(&session) {
        return Err(Code::SessionUnknown.into());
    }
    let id = session.clone();
    app.sql
        .transaction(move |tx| {
            caller.needs_touch(tx, subject)?;
            if !sessions::end(tx, subject, &id, EndReason::Staff, now_ms)? {
                return Err(Problem::from(Code::SessionUnknown));
            }
            caller.record(tx, now_ms, "end_session", subject, &id)
        })
        .await?;
    app.revoke(&[session]);
    Ok(StatusCode::NO_CONTENT)
}

/// Kick
///
/// Whoever plays with the account leaves the game, with the character saved. They may come back at once.
#[utoipa::path(post, path = "/api/v1/staff/accounts/{account}/kick", tag = "staff", operation_id = "kick_account",
    params(("account" = i64, Path, description = "Its number.")), request_body = Kick, security(("access_token" = [])),
    responses(
        (status = 204, description = "They leave, if they play on this node."),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn kick(
    State(app): State<App>,
    caller: Staff,
    Path(subject): Path<String>,
    Body(Kick { reason }): Body<Kick>,
) -> Result<StatusCode, Problem> {
    caller.needs(Permission::EndSessions)?;
    let (subject, now_ms) = (number(&subject)?, app.now_ms());
    needs_text(&reason, "a reason")?;
    app.sql
        .transaction(move |tx| {
            caller.needs_touch(tx, subject)?;
            caller.record(tx, now_ms, "kick", subject, &reason)
        })
        .await?;
    app.kick(subject);
    Ok(StatusCode::NO_CONTENT)
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
