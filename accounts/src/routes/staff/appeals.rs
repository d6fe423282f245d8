//! Appeals: filed by whom a ban keeps out, who can do nothing else here, and decided by staff.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Staff, cut, needs_text, page};
use crate::appeals::{self, Appeal, Decision};
use crate::bans::{self, Target};
use crate::http::{App, Body, From, Parameters};
use crate::login;
use crate::problem::{Code, Problem, ProblemBody};
use crate::staff::{Permission, Role};

/// What a banned person has to say.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAppeal {
    /// The e-mail address, or the account's name.
    #[schema(example = "asha@example.com", max_length = 254)]
    login: String,
    /// The password.
    #[schema(example = "correct horse battery staple", max_length = 128)]
    password: String,
    /// What they say.
    #[schema(min_length = 1, max_length = 500, example = "It was my brother.")]
    text: String,
}

/// An appeal that was filed.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppealFiled {
    /// Its number.
    appeal: i64,
    /// The ban that it is against.
    ban: i64,
}

/// An appeal.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListedAppeal {
    /// Its number.
    appeal: i64,
    /// The ban that it is against.
    ban: i64,
    /// What that was put for.
    reason: String,
    /// Whose it is.
    account: i64,
    /// What they said.
    text: String,
    /// When, milliseconds since 1970 UTC.
    filed_ms: i64,
    /// When it was decided, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_ms: Option<i64>,
    /// By whom; 0 for another server.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_by: Option<i64>,
    /// Whether the ban was lifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    granted: Option<bool>,
    /// What the person is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
}

/// A page of appeals.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListedAppeals {
    /// Those that wait oldest first, those that were decided newest first.
    appeals: Vec<ListedAppeal>,
    /// For `after`, to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

/// Which appeals.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AppealPage {
    /// Those that were decided, in place of those that wait.
    decided: Option<bool>,
    /// Appeals of the page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<i64>,
}

/// What staff makes of an appeal.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDecision {
    /// Whether the ban is lifted.
    granted: bool,
    /// What the person is told.
    #[schema(min_length = 1, max_length = 500, example = "You have had two warnings.")]
    answer: String,
}

/// Appeal
///
/// Against the ban that holds of the account, or else of the address that this comes from. Once for each ban; sent again, the
/// refusal says what was decided. Wrong passwords count as those of signing in.
#[utoipa::path(post, path = "/api/v1/appeals", tag = "account", operation_id = "file_appeal",
    request_body = NewAppeal,
    responses(
        (status = 201, description = "Staff will see it.", body = AppealFiled),
        (status = 401, description = "The login or the password is wrong.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "Nothing is banned, or an appeal was filed before: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many failures.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn file(
    State(app): State<App>,
    from: From,
    Body(NewAppeal { login, password, text }): Body<NewAppeal>,
) -> Result<(StatusCode, Json<AppealFiled>), Problem> {
    needs_text(&text, "an appeal")?;
    let now_ms = app.now_ms();
    let counted =
        login::count_attempt(&app.throttle, &login, &from.site, now_ms).map_err(Problem::too_many)?;
    let account = app.sql.transaction(move |tx| login::find(tx, &login)).await?;
    let right = login::verify(&app, &password, account.as_ref()).await?;
    let Some(account) = account.filter(|_| right).map(|account| account.id) else {
        counted.stands();
        return Err(Code::CredentialsWrong.into());
    };
    drop(counted);
    let of_address = app.bans.covering(from.address, now_ms);
    let filed = app.sql.transaction(move |tx| {
        let ban = bans::of_account(tx, account, now_ms)?.or_else(|| of_address.clone());
        let ban = ban.ok_or(Code::NotBanned)?;
        let appeal = appeals::file(tx, &ban, account, &text, now_ms)?;
        Ok::<_, Problem>(AppealFiled { appeal, ban: ban.id })
    });
    Ok((StatusCode::CREATED, Json(filed.await?)))
}

/// List appeals
#[utoipa::path(get, path = "/api/v1/staff/appeals", tag = "staff", operation_id = "list_appeals",
    params(AppealPage), security(("access_token" = [])),
    responses(
        (status = 200, description = "A page of appeals.", body = ListedAppeals),
        (status = 400, description = "A parameter is unknown or out of range.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Staff,
    Parameters(AppealPage { decided, limit, after }): Parameters<AppealPage>,
) -> Result<Json<ListedAppeals>, Problem> {
    caller.needs(Permission::Look)?;
    let limit = page(limit)?;
    let open = !decided.unwrap_or(false);
    let mut found = app.sql.transaction(move |tx| appeals::list(tx, open, after, limit + 1)).await?;
    let next = cut(&mut found, limit, |appeal| appeal.id);
    let listed = |Appeal { id, ban, reason, account, said, filed_ms, decision }| ListedAppeal {
        appeal: id,
        ban,
        reason,
        account,
        text: said,
        filed_ms,
        decided_ms: decision.as_ref().map(|decision: &Decision| decision.at_ms),
        decided_by: decision.as_ref().map(|decision| decision.actor),
        granted: decision.as_ref().map(|decision| decision.granted),
        answer: decision.map(|decision| decision.answer),
    };
    Ok(Json(ListedAppeals { appeals: found.into_iter().map(listed).collect(), next }))
}

/// Decide an appeal
///
/// Granted, it lifts the ban. Whoever put the ban decides no appeal against it, but for administrators.
#[utoipa::path(put, path = "/api/v1/staff/appeals/{appeal}/decision", tag = "staff", operation_id = "decide_appeal",
    params(("appeal" = i64, Path, description = "Its number.")), request_body = NewDecision, security(("access_token" = [])),
    responses(
        (status = 204, description = "It is decided."),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "There is no such appeal.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It is decided already, or the request is under way: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn decide(
    State(app): State<App>,
    caller: Staff,
    Path(appeal): Path<String>,
    Body(NewDecision { granted, answer }): Body<NewDecision>,
) -> Result<StatusCode, Problem> {
    caller.needs(Permission::Suspend)?;
    let id: i64 = appeal.parse().map_err(|_| Code::AppealUnknown)?;
    needs_text(&answer, "an answer")?;
    let now_ms = app.now_ms();
    app.sql
        .transaction(move |tx| {
            let (appeal, ban) = appeals::waiting(tx, id)?;
            caller.needs_touch(tx, appeal.account)?;
            let is_own = matches!(&caller, Staff::Member { account, role } if *account == ban.actor && *role != Role::Administrator);
            if is_own {
                let detail = "somebody else decides about your own ban";
                return Err(Problem::from(Code::Forbidden).detail(detail));
            }
            let decision = Decision { at_ms: now_ms, actor: caller.actor(), granted, answer: answer.clone() };
            appeals::decide(tx, id, &decision)?;
            if granted {
                bans::lift(tx, &ban, caller.actor(), now_ms)?;
            }
            let action = if granted { "grant_appeal" } else { "refuse_appeal" };
            let of = if matches!(ban.target, Target::Range(_)) { " of addresses" } else { "" };
            let detail = format!("appeal {id}, ban {}{of}: {answer}", ban.id);
            caller.record(tx, now_ms, action, appeal.account, &detail)
        })
        .await?;
    app.refresh_bans().await?;
    Ok(StatusCode::NO_CONTENT)
}
