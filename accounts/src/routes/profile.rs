//! The profiles of one's own account.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Json, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::staff::page;
use crate::characters;
use crate::debts::{self, Entry};
use crate::http::{App, Body, Caller, Parameters};
use crate::problem::{Code, Problem, ProblemBody};
use crate::profiles::{self, By, Frozen, check_reason};
use crate::sessions;

/// That a profile is frozen.
#[derive(Serialize, ToSchema)]
pub(super) struct FrozenProfile {
    /// Since when, milliseconds since 1970 UTC.
    since_ms: i64,
    /// `owner` or `staff`, whose freeze the owner cannot take back.
    #[schema(example = "owner")]
    by: &'static str,
    /// Why.
    #[schema(example = "on holiday")]
    reason: String,
}

/// A profile.
#[derive(Serialize, ToSchema)]
pub(crate) struct Profile {
    /// Its number.
    #[schema(example = 3)]
    id: i64,
    /// Its name.
    #[schema(example = "Main")]
    name: String,
    /// `active` or `frozen`.
    #[schema(example = "active")]
    state: &'static str,
    /// Who froze it, and why, where it is frozen.
    #[serde(skip_serializing_if = "Option::is_none")]
    frozen: Option<FrozenProfile>,
    /// What it owes; while it is more than 0, its characters do not trade.
    #[schema(example = 0, minimum = 0)]
    debt: i64,
    /// When it was made, milliseconds since 1970 UTC.
    created_ms: i64,
}

impl From<profiles::Profile> for Profile {
    fn from(profile: profiles::Profile) -> Profile {
        let frozen = |Frozen { since_ms, by, reason }| FrozenProfile { since_ms, by: by.as_str(), reason };
        Profile {
            id: profile.id,
            name: profile.name,
            state: if profile.frozen.is_some() { "frozen" } else { "active" },
            frozen: profile.frozen.map(frozen),
            debt: profile.debt,
            created_ms: profile.created_ms,
        }
    }
}

/// An account's profiles.
#[derive(Serialize, ToSchema)]
pub(crate) struct Profiles {
    /// By number; at least one.
    profiles: Vec<Profile>,
    /// The one that the session plays with.
    #[schema(example = 3)]
    active: i64,
}

/// A profile's name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileName {
    /// 1 to 32 characters, unlike the account's others.
    #[schema(example = "Second life", min_length = 1, max_length = 32)]
    name: String,
}

/// A profile that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeProfile {
    /// Its number.
    #[schema(example = 4)]
    profile: i64,
}

/// A profile that is chosen.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Choice {
    /// Its number.
    #[schema(example = 4)]
    profile: i64,
}

/// A freeze.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Freeze {
    /// Why.
    #[schema(example = "on holiday", min_length = 1, max_length = 500)]
    pub(super) reason: String,
}

/// A profile's settings as they are.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProfileSettings {
    /// Whatever clients keep there.
    #[schema(value_type = Object, example = json!({ "volume": 7 }))]
    settings: Value,
    /// How often they were put, from 1; what `ETag` holds.
    #[schema(example = 2)]
    version: i64,
}

/// A profile's settings as they are to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutSettings {
    /// Any object of at most 8,192 bytes as JSON without spaces.
    #[schema(value_type = Object, example = json!({ "volume": 7 }))]
    settings: Map<String, Value>,
}

/// List the profiles
#[utoipa::path(get, path = "/api/v1/me/profiles", tag = "profiles", operation_id = "list_profiles",
    security(("access_token" = [])),
    responses((status = 200, description = "The account's profiles.", body = Profiles)))]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Profiles>, Problem> {
    let now_ms = app.now_ms();
    app.sql
        .transaction(move |tx| {
            let active = profiles::active(tx, caller.account, &caller.session, now_ms)?.id;
            let profiles =
                profiles::list(tx, caller.account, now_ms)?.into_iter().map(Profile::from).collect();
            Ok(Json(Profiles { profiles, active }))
        })
        .await
}

/// Make a profile
#[utoipa::path(post, path = "/api/v1/me/profiles", tag = "profiles", operation_id = "create_profile",
    request_body = ProfileName, security(("access_token" = [])),
    responses(
        (status = 201, description = "There is a new profile.", body = MadeProfile),
        (status = 409, description = "The name is taken, or the account has as many as it may have: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(ProfileName { name }): Body<ProfileName>,
) -> Result<(StatusCode, Json<MadeProfile>), Problem> {
    let (now_ms, most) = (app.now_ms(), app.config.profiles_max);
    app.sql
        .transaction(move |tx| {
            needs_session(tx, &caller, now_ms)?;
            // The first one is there by itself.
            profiles::list(tx, caller.account, now_ms)?;
            let profile = profiles::create(tx, caller.account, &name, most, now_ms)?;
            Ok((StatusCode::CREATED, Json(MadeProfile { profile })))
        })
        .await
}

/// Rename a profile
#[utoipa::path(put, path = "/api/v1/me/profiles/{profile}", tag = "profiles", operation_id = "rename_profile",
    params(("profile" = i64, Path, description = "Its number.")),
    request_body = ProfileName, security(("access_token" = [])),
    responses(
        (status = 204, description = "It has that name."),
        (status = 409, description = "The name is taken.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn rename(
    State(app): State<App>,
    caller: Caller,
    Path(profile): Path<String>,
    Body(ProfileName { name }): Body<ProfileName>,
) -> Result<StatusCode, Problem> {
    let (profile, now_ms) = (number(&profile)?, app.now_ms());
    app.sql
        .transaction(move |tx| {
            needs_session(tx, &caller, now_ms)?;
            profiles::rename(tx, caller.account, profile, &name, now_ms)?;
            Ok(StatusCode::NO_CONTENT)
        })
        .await
}

/// Delete a profile
///
/// One without characters, deleted ones that can come back among them; and never the last one.
#[utoipa::path(delete, path = "/api/v1/me/profiles/{profile}", tag = "profiles", operation_id = "delete_profile",
    params(("profile" = i64, Path, description = "Its number.")), security(("access_token" = [])),
    responses(
        (status = 204, description = "It is gone."),
        (status = 409, description = "It has characters, owes, is frozen by the staff, or is the last one: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(profile): Path<String>,
) -> Result<StatusCode, Problem> {
    let (profile, now_ms) = (number(&profile)?, app.now_ms());
    app.sql
        .transaction(move |tx| {
            needs_session(tx, &caller, now_ms)?;
            profiles::delete(tx, caller.account, profile, now_ms)?;
            Ok(StatusCode::NO_CONTENT)
        })
        .await
}

/// Play with another profile
///
/// The session's tickets are for it from now on. A character that plays already plays on.
#[utoipa::path(put, path = "/api/v1/me/profile", tag = "profiles", operation_id = "choose_profile",
    request_body = Choice, security(("access_token" = [])),
    responses(
        (status = 204, description = "The session plays with it."),
        (status = 409, description = "The profile is frozen.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn activate(
    State(app): State<App>,
    caller: Caller,
    Body(Choice { profile }): Body<Choice>,
) -> Result<StatusCode, Problem> {
    let now_ms = app.now_ms();
    app.sql
        .transaction(move |tx| {
            needs_session(tx, &caller, now_ms)?;
            profiles::activate(tx, caller.account, &caller.session, profile, now_ms)?;
            Ok(StatusCode::NO_CONTENT)
        })
        .await
}

/// Show a profile's settings
#[utoipa::path(get, path = "/api/v1/me/profiles/{profile}/settings", tag = "profiles", operation_id = "show_profile_settings",
    params(("profile" = i64, Path, description = "Its number.")), security(("access_token" = [])),
    responses((status = 200, description = "The settings.", body = ProfileSettings,
        headers(("ETag" = String, description = "Their version, for `If-Match`.")))))]
pub(crate) async fn settings(
    State(app): State<App>,
    caller: Caller,
    Path(profile): Path<String>,
) -> Result<Response, Problem> {
    let (profile, now_ms) = (number(&profile)?, app.now_ms());
    let (text, version) =
        app.sql.transaction(move |tx| profiles::settings(tx, caller.account, profile, now_ms)).await?;
    let settings = serde_json::from_str(&text).map_err(|error| {
        tracing::error!(profile, %error, "a profile's settings are no JSON");
        Problem::from(Code::Internal)
    })?;
    Ok(([(header::ETAG, etag(version))], Json(ProfileSettings { settings, version })).into_response())
}

/// Replace a profile's settings
#[utoipa::path(put, path = "/api/v1/me/profiles/{profile}/settings", tag = "profiles", operation_id = "put_profile_settings",
    params(
        ("profile" = i64, Path, description = "Its number."),
        ("If-Match" = String, Header, description = "The version that is replaced, as `ETag` told it; `*` for whichever.", example = "\"2\""),
    ),
    request_body = PutSettings, security(("access_token" = [])),
    responses(
        (status = 204, description = "They are replaced.", headers(("ETag" = String, description = "Their version now."))),
        (status = 412, description = "They have been changed since.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 428, description = "`If-Match` is missing.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn put_settings(
    State(app): State<App>,
    caller: Caller,
    Path(profile): Path<String>,
    headers: HeaderMap,
    Body(PutSettings { settings }): Body<PutSettings>,
) -> Result<Response, Problem> {
    let (profile, now_ms) = (number(&profile)?, app.now_ms());
    let version = wanted_version(&headers)?;
    let settings = Value::Object(settings).to_string();
    let version = app
        .sql
        .transaction(move |tx| {
            needs_session(tx, &caller, now_ms)?;
            profiles::put_settings(tx, caller.account, profile, version, &settings, now_ms)
        })
        .await?;
    Ok((StatusCode::NO_CONTENT, [(header::ETAG, etag(version))]).into_response())
}

/// Freeze a profile
///
/// Its characters do not enter the world, and whoever plays one is taken out of it.
#[utoipa::path(put, path = "/api/v1/me/profiles/{profile}/freeze", tag = "profiles", operation_id = "freeze_profile",
    params(("profile" = i64, Path, description = "Its number.")),
    request_body = Freeze, security(("access_token" = [])),
    responses(
        (status = 204, description = "It is frozen."),
        (status = 409, description = "The staff froze it.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn freeze(
    State(app): State<App>,
    caller: Caller,
    Path(profile): Path<String>,
    Body(Freeze { reason }): Body<Freeze>,
) -> Result<StatusCode, Problem> {
    let (profile, now_ms) = (number(&profile)?, app.now_ms());
    check_reason(&reason)?;
    let account = caller.account;
    let characters = app
        .sql
        .transaction(move |tx| {
            needs_session(tx, &caller, now_ms)?;
            let profile = profiles::find(tx, account, profile, now_ms)?;
            profiles::freeze(tx, &profile, By::Owner, &reason, now_ms)?;
            characters::of_profile(tx, &profile, now_ms)
        })
        .await?;
    app.game.freeze(account, characters);
    Ok(StatusCode::NO_CONTENT)
}

/// Take a freeze of one's own back
#[utoipa::path(delete, path = "/api/v1/me/profiles/{profile}/freeze", tag = "profiles", operation_id = "unfreeze_profile",
    params(("profile" = i64, Path, description = "Its number.")), security(("access_token" = [])),
    responses(
        (status = 204, description = "It is active."),
        (status = 409, description = "The staff froze it.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn unfreeze(
    State(app): State<App>,
    caller: Caller,
    Path(profile): Path<String>,
) -> Result<StatusCode, Problem> {
    let (profile, now_ms) = (number(&profile)?, app.now_ms());
    app.sql
        .transaction(move |tx| {
            needs_session(tx, &caller, now_ms)?;
            let profile = profiles::find(tx, caller.account, profile, now_ms)?;
            profiles::unfreeze(tx, &profile, By::Owner)?;
            Ok(StatusCode::NO_CONTENT)
        })
        .await
}

/// An entry about a debt.
#[derive(Serialize, ToSchema)]
pub(super) struct DebtEntry {
    /// Its number.
    #[schema(example = 1)]
    id: i64,
    /// When, milliseconds since 1970 UTC.
    at_ms: i64,
    /// What came to be owed; less than 0 is what was settled.
    #[schema(example = 500)]
    amount: i64,
    /// Why.
    #[schema(example = "a payment was taken back")]
    reason: String,
}

/// A page of a profile's debts and their settlements.
#[derive(Serialize, ToSchema)]
pub(crate) struct Debts {
    /// What is owed now.
    #[schema(example = 500, minimum = 0)]
    debt: i64,
    /// Newest first.
    entries: Vec<DebtEntry>,
    /// For `before`, to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

/// Which entries.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DebtPage {
    /// Entries of the page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<usize>,
    /// `next` of the page before.
    before: Option<i64>,
}

/// List a profile's debts
///
/// What it came to owe, and what of it was settled. While it owes, its characters do not trade.
#[utoipa::path(get, path = "/api/v1/me/profiles/{profile}/debts", tag = "profiles", operation_id = "list_debts",
    params(("profile" = i64, Path, description = "Its number."), DebtPage), security(("access_token" = [])),
    responses(
        (status = 200, description = "A page of entries.", body = Debts),
        (status = 400, description = "A parameter is unknown or out of range.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn debts(
    State(app): State<App>,
    caller: Caller,
    Path(profile): Path<String>,
    Parameters(DebtPage { limit, before }): Parameters<DebtPage>,
) -> Result<Json<Debts>, Problem> {
    let (profile, now_ms) = (number(&profile)?, app.now_ms());
    let (limit, before) = (page(limit)?, before.unwrap_or(i64::MAX));
    let (debt, mut found) = app
        .sql
        .transaction(move |tx| {
            let debt = profiles::find(tx, caller.account, profile, now_ms)?.debt;
            Ok::<_, Problem>((debt, debts::entries(tx, profile, before, limit + 1)?))
        })
        .await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().map(|last| last.id).filter(|_| more);
    let entry = |Entry { id, at_ms, amount, reason }| DebtEntry { id, at_ms, amount, reason };
    Ok(Json(Debts { debt, entries: found.into_iter().map(entry).collect(), next }))
}

/// The access token may be good for longer than its session.
pub(super) fn needs_session(
    tx: &mut dyn vyuha_store::sql::SqlTransaction,
    caller: &Caller,
    now_ms: i64,
) -> Result<(), Problem> {
    let lasts = sessions::lasts(tx, caller.account, &caller.session, now_ms)?;
    if lasts { Ok(()) } else { Err(Code::Unauthorized.into()) }
}

/// The number in a path.
pub(super) fn number(text: &str) -> Result<i64, Problem> {
    text.parse().map_err(|_| Code::ProfileUnknown.into())
}

fn etag(version: i64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).expect("a number is a header's value")
}

/// The version that `If-Match` names; `None` for whichever.
fn wanted_version(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let value = values.next().ok_or(Code::PreconditionRequired)?.to_str().unwrap_or_default().trim();
    if values.next().is_some() {
        return Err(Code::PreconditionRequired.into());
    }
    if value == "*" {
        return Ok(None);
    }
    // What was never an ETag of ours matches nothing.
    let version = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')?.parse().ok());
    version.map(Some).ok_or_else(|| Code::PreconditionFailed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_or_whichever() {
        let check = |values: &[&str], expected: Result<Option<i64>, Code>| {
            let headers: HeaderMap =
                values.iter().map(|value| (header::IF_MATCH, value.parse().unwrap())).collect();
            assert_eq!(wanted_version(&headers).map_err(|problem| problem.code), expected, "{values:?}");
        };
        check(&["\"3\""], Ok(Some(3)));
        check(&["*"], Ok(None));
        check(&[], Err(Code::PreconditionRequired));
        check(&["\"3\"", "\"4\""], Err(Code::PreconditionRequired));
        for other in ["", "3", "\"", "\"x\"", "W/\"3\"", "\"3\", \"4\""] {
            check(&[other], Err(Code::PreconditionFailed));
        }
        assert_eq!(etag(3), "\"3\"");
    }
}
