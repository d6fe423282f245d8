//! The log of what staff did, as it is read.

use axum::extract::State;
use axum::response::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Staff, cut, page};
use crate::http::{App, Parameters};
use crate::problem::{Code, Problem, ProblemBody};
use crate::staff::{self, Deed, LogFilter, Permission};

/// The longest name of an action that is asked for, in bytes.
const ACTION_BYTES_MAX: usize = 32;

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
    /// Those of one who did them; 0 for other servers.
    #[param(minimum = 0)]
    actor: Option<i64>,
    /// Those that were done to one account.
    #[param(minimum = 0)]
    subject: Option<i64>,
    /// Those of one kind, such as `ban`.
    #[param(max_length = 32)]
    action: Option<String>,
    /// Those since a time, milliseconds since 1970 UTC.
    since_ms: Option<i64>,
    /// Those before a time.
    until_ms: Option<i64>,
}

/// Read what staff did
///
/// Of one account who is no staff, whoever looks accounts up may read what was done to it.
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
    Parameters(asked): Parameters<LogPage>,
) -> Result<Json<StaffLog>, Problem> {
    let LogPage { limit, before, actor, subject, action, since_ms, until_ms } = asked;
    caller.needs(if subject.is_some() { Permission::Look } else { Permission::ReadLog })?;
    let limit = page(limit)?;
    let action = action.unwrap_or_default();
    // No number below zero is anybody's.
    if action.len() > ACTION_BYTES_MAX
        || action.contains('\0')
        || [actor, subject].iter().flatten().any(|id| *id < 0)
    {
        return Err(Code::QueryInvalid.into());
    }
    let filter = LogFilter { before, actor, subject, action, since_ms, until_ms };
    let mut deeds = app
        .sql
        .transaction(move |tx| {
            if let Some(subject) = subject
                && staff::role_of(tx, subject)?.is_some()
            {
                caller.needs(Permission::ReadLog)?;
            }
            staff::log(tx, &filter, limit + 1)
        })
        .await?;
    let next = cut(&mut deeds, limit, |deed| deed.id);
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
