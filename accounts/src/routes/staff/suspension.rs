//! Accounts that are suspended: the ban that holds of an account, by the account.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::bans::ban_account;
use super::{Staff, needs_reason, number};
use crate::bans;
use crate::http::{App, Body};
use crate::problem::{Problem, ProblemBody};
use crate::staff::Permission;

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

/// Suspend an account
///
/// The same as a ban of the account, in place of the one that holds of it. Its sessions end, and whoever plays is thrown out.
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
    ban_account(&app, caller, subject, until_ms, reason, "suspend").await?;
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
            if let Some(ban) = bans::of_account(tx, subject, now_ms)? {
                bans::lift(tx, &ban, caller.actor(), now_ms)?;
            }
            caller.record(tx, now_ms, "lift", subject, "")
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
