//! Signing in, staying in, and signing out.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::document::BEARER;
use crate::http::{App, Body, Caller, From, Parameters};
use crate::jwt::ACCESS_MS;
use crate::login;
use crate::problem::{Code, Problem, ProblemBody};
use crate::service::Service;
use crate::sessions::{self, EndReason, Grant, Listed, Opened, Shown};

/// Sessions of one page, by default and at most.
const PAGE: usize = 20;
const PAGE_MAX: usize = 100;
/// More than the id of any session, in bytes.
const ID_BYTES_MAX: usize = 40;

/// Somebody who signs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    /// The e-mail address, or the account's name.
    #[schema(example = "asha@example.com", max_length = 254)]
    login: String,
    /// The password.
    #[schema(example = "correct horse battery staple", max_length = 128)]
    password: String,
    /// A code of the second factor, or a recovery code, where the account asks for one.
    #[schema(example = "123456", max_length = 32)]
    code: Option<String>,
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshSession {
    /// The newest one of the session.
    refresh_token: String,
}

/// A session's tokens.
#[derive(Serialize, ToSchema)]
pub(crate) struct Tokens {
    /// To be sent as `Authorization: Bearer ...`.
    access_token: String,
    /// `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// How long the access token is good, in seconds.
    #[schema(example = 900)]
    expires_in: i64,
    /// Gives the next pair; good once. One that is used twice ends the session.
    refresh_token: String,
    /// The session.
    session: String,
    /// The account.
    #[schema(example = 7)]
    account: i64,
}

/// A session.
#[derive(Serialize, ToSchema)]
pub(crate) struct Session {
    /// Its id.
    id: String,
    /// What the client said that it is (`User-Agent`).
    agent: String,
    /// Where it was opened from.
    address: String,
    /// When it was opened, milliseconds since 1970 UTC.
    created_ms: i64,
    /// When it was last refreshed, milliseconds since 1970 UTC.
    seen_ms: i64,
    /// When it ends, milliseconds since 1970 UTC.
    expires_ms: i64,
    /// Whether it is the one that asks.
    current: bool,
}

/// A page of sessions.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sessions {
    /// Newest first.
    sessions: Vec<Session>,
    /// For `after`, to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Which page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// Sessions of the page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<usize>,
    /// `next` of the page before.
    #[param(max_length = 64)]
    after: Option<String>,
}

/// Sign in
///
/// Opens a session. After 5 failures within 15 minutes for one login from one address it is refused for a while, whether there
/// is such an account or not.
#[utoipa::path(post, path = "/api/v1/sessions", tag = "sessions", operation_id = "sign_in",
    request_body = SignIn,
    responses(
        (status = 201, description = "A session was opened.", body = Tokens),
        (status = 401, description = "Login or password is wrong, or a code is needed or wrong: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The account is suspended; `detail` says why.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many failures.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn sign_in(
    State(app): State<App>,
    from: From,
    Body(wanted): Body<SignIn>,
) -> Result<(StatusCode, Json<Tokens>), Problem> {
    give(&app, open_by_password(&app, &from, wanted, Grant::Refresh).await?)
}

/// Opens a session for who shows a password, and a code where the account asks for one.
pub(super) async fn open_by_password(
    app: &Service,
    from: &From,
    SignIn { login, password, code }: SignIn,
    grant: Grant,
) -> Result<Opened, Problem> {
    let counted =
        login::count_attempt(&app.throttle, &login, &from.site, app.now_ms()).map_err(Problem::too_many)?;
    let account = app.sql.transaction(move |tx| login::find(tx, &login)).await?;
    let right = login::verify(app, &password, account.as_ref()).await?;
    let Some(account) = account.filter(|_| right) else {
        counted.stands();
        return Err(Code::CredentialsWrong.into());
    };
    drop(counted);
    account.needs_no_suspension(app.now_ms())?;
    if account.second_factor {
        login::prove_code(app, account.id, code).await?;
    }
    let rehashed = if app.hasher.is_outdated(&account.password_hash) {
        Some(app.hasher.hash(&password).await?)
    } else {
        None
    };
    let (agent, address, now_ms) = (from.agent.clone(), from.address.to_string(), app.now_ms());
    let opened = app
        .sql
        .transaction(move |tx| {
            // The password may have been changed while this one was verified.
            if !login::is_unchanged(tx, &account)? {
                return Err(Problem::from(Code::CredentialsWrong));
            }
            if let Some(hash) = &rehashed {
                login::set_password(tx, account.id, hash)?;
            }
            sessions::open(tx, account.id, grant, &agent, &address, now_ms)
        })
        .await?;
    app.revoke(&opened.ended);
    app.notify_sign_in(&opened, &from.address.to_string());
    Ok(opened)
}

/// Gives a session's first tokens.
pub(super) fn give(
    app: &Service,
    Opened { account, session, token, .. }: Opened,
) -> Result<(StatusCode, Json<Tokens>), Problem> {
    Ok((StatusCode::CREATED, Json(tokens(app, account, session, token.text)?)))
}

/// Get the next tokens
///
/// The refresh token that is shown is good no longer. One that had been used before was copied: its session ends.
#[utoipa::path(post, path = "/api/v1/sessions/refresh", tag = "sessions", operation_id = "refresh_session",
    request_body = RefreshSession,
    responses(
        (status = 200, description = "The next pair.", body = Tokens),
        (status = 401, description = "The token is unknown or was used, or the session is over.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn refresh(
    State(app): State<App>,
    Body(RefreshSession { refresh_token }): Body<RefreshSession>,
) -> Result<Json<Tokens>, Problem> {
    let now_ms = app.now_ms();
    let shown = app.sql.transaction(move |tx| sessions::rotate(tx, &refresh_token, now_ms)).await?;
    match shown {
        Shown::Rotated { account, session, refresh } => {
            Ok(Json(tokens(&app, account, session, refresh.text)?))
        }
        Shown::Reused { account, session } => {
            tracing::warn!(account, session, "a refresh token came back: its session was ended");
            app.revoke(std::slice::from_ref(&session));
            app.notify_ended(account, &[session], EndReason::Reuse);
            Err(Code::RefreshInvalid.into())
        }
        Shown::Refused => Err(Code::RefreshInvalid.into()),
    }
}

/// List the sessions
///
/// Those that last, newest first.
#[utoipa::path(get, path = "/api/v1/me/sessions", tag = "sessions", operation_id = "list_sessions",
    params(Page), security(("access_token" = [])),
    responses(
        (status = 200, description = "A page of sessions.", body = Sessions),
        (status = 400, description = "A parameter is unknown or out of range.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(Page { limit, after }): Parameters<Page>,
) -> Result<Json<Sessions>, Problem> {
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Code::QueryInvalid.into());
    }
    let after = after.map(|after| cursor(&after).ok_or(Code::QueryInvalid)).transpose()?;
    let (account, now_ms) = (caller.account, app.now_ms());
    let mut found =
        app.sql.transaction(move |tx| sessions::list(tx, account, after.as_ref(), limit + 1, now_ms)).await?;
    let next = (found.len() > limit).then(|| {
        found.truncate(limit);
        found.last().map(|last| format!("{}.{}", last.created_ms, last.id))
    });
    let session = |Listed { id, agent, address, created_ms, seen_ms, expires_ms }| Session {
        current: id == caller.session,
        id,
        agent,
        address,
        created_ms,
        seen_ms,
        expires_ms,
    };
    Ok(Json(Sessions { sessions: found.into_iter().map(session).collect(), next: next.flatten() }))
}

/// End a session
///
/// One's own of this very token as well: that signs out. Its access tokens are good no longer, at once.
#[utoipa::path(delete, path = "/api/v1/me/sessions/{session}", tag = "sessions", operation_id = "end_session",
    params(("session" = String, Path, description = "Its id.")), security(("access_token" = [])),
    responses(
        (status = 204, description = "It is over."),
        (status = 404, description = "The account has no such session.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn end(
    State(app): State<App>,
    caller: Caller,
    Path(session): Path<String>,
) -> Result<StatusCode, Problem> {
    if !is_id(&session) {
        return Err(Code::SessionUnknown.into());
    }
    let (id, now_ms) = (session.clone(), app.now_ms());
    let ended = app
        .sql
        .transaction(move |tx| sessions::end(tx, caller.account, &id, EndReason::Owner, now_ms))
        .await?;
    if !ended {
        return Err(Code::SessionUnknown.into());
    }
    app.revoke(std::slice::from_ref(&session));
    app.notify_ended(caller.account, &[session], EndReason::Owner);
    Ok(StatusCode::NO_CONTENT)
}

/// End all other sessions
#[utoipa::path(delete, path = "/api/v1/me/sessions", tag = "sessions", operation_id = "end_other_sessions",
    security(("access_token" = [])),
    responses((status = 204, description = "They are over.")))]
pub(crate) async fn end_others(State(app): State<App>, caller: Caller) -> Result<StatusCode, Problem> {
    let now_ms = app.now_ms();
    let ended = app
        .sql
        .transaction(move |tx| {
            sessions::end_all(tx, caller.account, Some(&caller.session), EndReason::Owner, now_ms)
        })
        .await?;
    app.revoke(&ended);
    app.notify_ended(caller.account, &ended, EndReason::Owner);
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a text can be the id of a session.
fn is_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Where the page before ended.
fn cursor(text: &str) -> Option<(i64, String)> {
    let (created_ms, id) = text.split_once('.')?;
    Some((created_ms.parse().ok()?, id.to_owned())).filter(|_| is_id(id))
}

fn tokens(app: &Service, account: i64, session: String, refresh_token: String) -> Result<Tokens, Problem> {
    Ok(Tokens {
        access_token: app.access_token(account, &session)?,
        token_type: "Bearer",
        expires_in: ACCESS_MS / 1000,
        refresh_token,
        session,
        account,
    })
}

// What the attributes above name.
const _: () = assert!(matches!(BEARER.as_bytes(), b"access_token"));
