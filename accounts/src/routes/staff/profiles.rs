//! What staff does with the profiles of others.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Json;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Staff, needs_account, number as account_number};
use crate::characters;
use crate::debts;
use crate::http::{App, Body};
use crate::problem::{Problem, ProblemBody};
use crate::profiles::{self, By, check_reason};
use crate::routes::profile::{Freeze, Profile, number};
use crate::staff::Permission;

/// An account's profiles as staff sees them.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProfilesOfAccount {
    /// By number.
    profiles: Vec<Profile>,
}

/// What is booked about a profile's debt.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDebtEntry {
    /// What it comes to owe; less than 0 is what is settled.
    #[schema(example = 500, minimum = -1_000_000_000_000_i64, maximum = 1_000_000_000_000_i64)]
    amount: i64,
    /// Why.
    #[schema(example = "a payment was taken back", min_length = 1, max_length = 500)]
    reason: String,
}

/// What a profile owes.
#[derive(Serialize, ToSchema)]
pub(crate) struct Owed {
    /// What it owes now; while that is more than 0, its characters do not trade.
    #[schema(example = 500, minimum = 0)]
    debt: i64,
}

/// List an account's profiles
#[utoipa::path(get, path = "/api/v1/staff/accounts/{account}/profiles", tag = "staff", operation_id = "list_profiles_of_account",
    params(("account" = i64, Path, description = "Its number.")), security(("access_token" = [])),
    responses(
        (status = 200, description = "The account's profiles.", body = ProfilesOfAccount),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Staff,
    Path(subject): Path<String>,
) -> Result<Json<ProfilesOfAccount>, Problem> {
    caller.needs(Permission::Look)?;
    let (subject, now_ms) = (account_number(&subject)?, app.now_ms());
    app.sql
        .transaction(move |tx| {
            needs_account(tx, subject)?;
            let profiles = profiles::list(tx, subject, now_ms)?;
            Ok(Json(ProfilesOfAccount { profiles: profiles.into_iter().map(Profile::from).collect() }))
        })
        .await
}

/// Freeze somebody's profile
///
/// Its owner cannot take that back. Whoever plays one of its characters is taken out of the world.
#[utoipa::path(put, path = "/api/v1/staff/profiles/{profile}/freeze", tag = "staff", operation_id = "freeze_profile_of_account",
    params(("profile" = i64, Path, description = "Its number.")),
    request_body = Freeze, security(("access_token" = [])),
    responses(
        (status = 204, description = "It is frozen."),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn freeze(
    State(app): State<App>,
    caller: Staff,
    Path(profile): Path<String>,
    Body(Freeze { reason }): Body<Freeze>,
) -> Result<StatusCode, Problem> {
    caller.needs(Permission::Suspend)?;
    let (profile, now_ms) = (number(&profile)?, app.now_ms());
    check_reason(&reason)?;
    let (account, characters) = app
        .sql
        .transaction(move |tx| {
            let profile = profiles::load(tx, profile)?;
            caller.needs_touch(tx, profile.account)?;
            profiles::freeze(tx, &profile, By::Staff, &reason, now_ms)?;
            let detail = format!("profile {}: {reason}", profile.id);
            caller.record(tx, now_ms, "freeze", profile.account, &detail)?;
            Ok::<_, Problem>((profile.account, characters::of_profile(tx, &profile, now_ms)?))
        })
        .await?;
    app.game.freeze(account, characters);
    Ok(StatusCode::NO_CONTENT)
}

/// Take a freeze of somebody's profile back
///
/// Whoever froze it.
#[utoipa::path(delete, path = "/api/v1/staff/profiles/{profile}/freeze", tag = "staff", operation_id = "unfreeze_profile_of_account",
    params(("profile" = i64, Path, description = "Its number.")), security(("access_token" = [])),
    responses(
        (status = 204, description = "It is active."),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn unfreeze(
    State(app): State<App>,
    caller: Staff,
    Path(profile): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.needs(Permission::Suspend)?;
    let (profile, now_ms) = (number(&profile)?, app.now_ms());
    app.sql
        .transaction(move |tx| {
            let profile = profiles::load(tx, profile)?;
            caller.needs_touch(tx, profile.account)?;
            profiles::unfreeze(tx, &profile, By::Staff)?;
            caller.record(tx, now_ms, "unfreeze", profile.account, &format!("profile {}", profile.id))?;
            Ok(StatusCode::NO_CONTENT)
        })
        .await
}

/// Book a debt, or its settlement
///
/// Entries are only ever added. Whoever plays with the profile trades no longer from a moment later on, or again.
#[utoipa::path(post, path = "/api/v1/staff/profiles/{profile}/debts", tag = "staff", operation_id = "book_debt",
    params(("profile" = i64, Path, description = "Its number.")),
    request_body = NewDebtEntry, security(("access_token" = [])),
    responses(
        (status = 201, description = "It is booked.", body = Owed),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "More is settled than is owed.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn book(
    State(app): State<App>,
    caller: Staff,
    Path(profile): Path<String>,
    Body(NewDebtEntry { amount, reason }): Body<NewDebtEntry>,
) -> Result<(StatusCode, Json<Owed>), Problem> {
    caller.needs(Permission::BookDebts)?;
    let (profile, now_ms) = (number(&profile)?, app.now_ms());
    check_reason(&reason)?;
    let (account, debt) = app
        .sql
        .transaction(move |tx| {
            let profile = profiles::load(tx, profile)?;
            caller.needs_touch(tx, profile.account)?;
            let debt = debts::book(tx, &profile, amount, &reason, caller.actor(), now_ms)?;
            let detail = format!("profile {}: {amount}: {reason}", profile.id);
            caller.record(tx, now_ms, "book_debt", profile.account, &detail)?;
            Ok::<_, Problem>((profile.account, debt))
        })
        .await?;
    app.game.tell_debt(account, profile);
    Ok((StatusCode::CREATED, Json(Owed { debt })))
}
