//! What staff does about devices.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Staff, needs_reason, number};
use crate::devices::links::End;
use crate::devices::{bans, enrolled};
use crate::http::{App, Body};
use crate::problem::{Problem, ProblemBody};
use crate::routes::devices::{Devices, needs_device};
use crate::sessions::EndReason;
use crate::staff::Permission;

/// A ban.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BanDevice {
    /// Until when, milliseconds since 1970 UTC; for good without.
    until_ms: Option<i64>,
    /// Why; the device is told.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// List an account's devices
#[utoipa::path(get, path = "/api/v1/staff/accounts/{account}/devices", tag = "staff", operation_id = "list_devices_of_account",
    params(("account" = i64, Path, description = "Its number.")), security(("access_token" = [])),
    responses(
        (status = 200, description = "Its devices.", body = Devices),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Staff,
    Path(subject): Path<String>,
) -> Result<Json<Devices>, Problem> {
    caller.needs(Permission::Look)?;
    let subject = number(&subject)?;
    let devices = app.sql.transaction(move |tx| enrolled::list(tx, subject)).await?;
    Ok(Json(devices.into()))
}

/// Ban a device
///
/// Its session ends, its link is closed, and its key signs nobody in and is enrolled by nobody.
#[utoipa::path(put, path = "/api/v1/staff/devices/{device}/ban", tag = "staff", operation_id = "ban_device",
    params(("device" = String, Path, description = "Its id.")),
    request_body = BanDevice, security(("access_token" = [])),
    responses(
        (status = 204, description = "It is banned."),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "There is no such device.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn ban(
    State(app): State<App>,
    caller: Staff,
    Path(device): Path<String>,
    Body(BanDevice { until_ms, reason }): Body<BanDevice>,
) -> Result<StatusCode, Problem> {
    caller.needs(Permission::Suspend)?;
    needs_device(&device)?;
    let (id, now_ms) = (device.clone(), app.now_ms());
    needs_reason(&reason, until_ms, now_ms)?;
    let ended = app
        .sql
        .transaction(move |tx| {
            let owner = bans::owner(tx, &id)?;
            caller.needs_touch(tx, owner)?;
            let until_ms = until_ms.unwrap_or(i64::MAX);
            bans::ban(tx, &id, until_ms, &reason, now_ms)?;
            caller.record(tx, now_ms, "ban_device", owner, &format!("{id} until {until_ms}: {reason}"))?;
            enrolled::end_session(tx, owner, &id, EndReason::Staff, now_ms)
        })
        .await?;
    app.devices.links.close_device(&device, End::Banned);
    app.revoke(&ended);
    Ok(StatusCode::NO_CONTENT)
}

/// Take the ban of a device back
#[utoipa::path(delete, path = "/api/v1/staff/devices/{device}/ban", tag = "staff", operation_id = "lift_device_ban",
    params(("device" = String, Path, description = "Its id.")), security(("access_token" = [])),
    responses(
        (status = 204, description = "It is not banned."),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "There is no such device.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn lift(
    State(app): State<App>,
    caller: Staff,
    Path(device): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.needs(Permission::Suspend)?;
    needs_device(&device)?;
    let now_ms = app.now_ms();
    app.sql
        .transaction(move |tx| {
            let owner = bans::owner(tx, &device)?;
            caller.needs_touch(tx, owner)?;
            bans::lift(tx, &device)?;
            caller.record(tx, now_ms, "lift_device_ban", owner, &device)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
