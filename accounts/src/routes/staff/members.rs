//! Who is staff, and what they are.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Json;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Staff, number};
use crate::http::{App, Body, Caller, From};
use crate::problem::{Code, Problem, ProblemBody};
use crate::staff::{self, Permission, Role};
use crate::throttle::TOKEN_ADDRESS;

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

/// Somebody of the staff, as they see themselves.
#[derive(Serialize, ToSchema)]
pub(crate) struct Member {
    /// Their account.
    account: i64,
    /// Its name.
    name: String,
    /// `support`, `moderator` or `administrator`; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    /// What the role may do, once the second factor is on.
    permissions: Vec<&'static str>,
    /// Whether the second factor is on, without which staff does nothing.
    second_factor: bool,
    /// Whether there is any staff: where there is none, the server's key makes the first.
    staffed: bool,
}

/// Show one's role
///
/// And what it may do. This alone needs no role, so that a page knows what to show.
#[utoipa::path(get, path = "/api/v1/staff/me", tag = "staff", operation_id = "show_own_role",
    security(("access_token" = [])),
    responses((status = 200, description = "The role.", body = Member)))]
pub(crate) async fn me(State(app): State<App>, caller: Caller) -> Result<Json<Member>, Problem> {
    let id = caller.account;
    app.sql
        .transaction(move |tx| {
            let rows = tx.query("SELECT name, second_factor_ms FROM account WHERE id = ?1", &[id.into()])?;
            let row = rows.first().ok_or(Code::Unauthorized)?;
            let role = staff::role_of(tx, id)?;
            let may = Permission::ALL
                .into_iter()
                .filter(|permission| role.is_some_and(|role| role.may(*permission)));
            Ok(Json(Member {
                account: id,
                name: row.text(0)?,
                role: role.map(Role::as_str),
                permissions: may.map(Permission::as_str).collect(),
                second_factor: row.optional_int(1)?.is_some(),
                staffed: staff::is_any(tx)?,
            }))
        })
        .await
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
