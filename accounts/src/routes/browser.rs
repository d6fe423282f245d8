//! Sessions of pages in a browser: signing in gives a cookie that no script can read.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::identity::{self, CompleteFlow};
use super::session::{self, SignIn};
use crate::http::{App, Body, Caller, From};
use crate::problem::{Problem, ProblemBody};
use crate::sessions::{self, EndReason, Grant, Opened};

/// A session of a page in a browser. Its cookie is in `Set-Cookie`.
#[derive(Serialize, ToSchema)]
pub(crate) struct BrowserSession {
    /// The session.
    session: String,
    /// The account.
    #[schema(example = 7)]
    account: i64,
}

/// Sign in in a browser
///
/// The same as signing in, but for what is given: a cookie (`HttpOnly`, `SameSite=Strict`) in place of tokens. Asked by a page
/// of the site itself, or of one of `api.origins`, alone. Every write that the cookie vouches for needs such an `Origin`.
#[utoipa::path(post, path = "/api/v1/browser-session", tag = "sessions", operation_id = "sign_in_in_browser",
    request_body = SignIn,
    responses(
        (status = 201, description = "A session was opened.", body = BrowserSession, headers(("Set-Cookie" = String, description = "The session's cookie."))),
        (status = 401, description = "Login or password is wrong, or a code is needed or wrong: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The account is suspended, or no page of ours asks: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many failures.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn sign_in(
    State(app): State<App>,
    from: From,
    headers: HeaderMap,
    Body(wanted): Body<SignIn>,
) -> Result<Response, Problem> {
    app.site.needs_own_page(&Method::POST, &headers)?;
    Ok(give(&app, session::open_by_password(&app, &from, wanted, Grant::Cookie).await?))
}

/// Sign in in a browser with a provider's answer
///
/// The same as signing in with a provider's answer, but for what is given: a cookie in place of tokens.
#[utoipa::path(post, path = "/api/v1/identity-providers/{provider}/browser-session", tag = "identities", operation_id = "complete_identity_sign_in_in_browser",
    params(("provider" = String, Path, description = "Its name.")), request_body = CompleteFlow,
    responses(
        (status = 201, description = "A session was opened.", body = BrowserSession, headers(("Set-Cookie" = String, description = "The session's cookie."))),
        (status = 401, description = "The answer proves nothing, or a code is needed or wrong: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The account is suspended, accounts cannot be registered here, or no page of ours asks: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "There is no such provider.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The address has an account that must be signed in to first.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`flow` is unknown, was used or is too old, or `state` is another's.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many failures.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The provider, or the database, does not answer: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn complete(
    State(app): State<App>,
    from: From,
    headers: HeaderMap,
    Path(provider): Path<String>,
    Body(back): Body<CompleteFlow>,
) -> Result<Response, Problem> {
    app.site.needs_own_page(&Method::POST, &headers)?;
    Ok(give(&app, identity::open(&app, &from, &provider, back, Grant::Cookie).await?))
}

/// Sign out in a browser
///
/// Ends the session of the cookie, or of the access token, and has the browser forget the cookie.
#[utoipa::path(delete, path = "/api/v1/browser-session", tag = "sessions", operation_id = "sign_out_in_browser",
    security(("access_token" = [])),
    responses((status = 204, description = "The session is over.", headers(("Set-Cookie" = String, description = "An empty cookie.")))))]
pub(crate) async fn sign_out(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let (session, now_ms) = (caller.session.clone(), app.now_ms());
    app.sql
        .transaction(move |tx| sessions::end(tx, caller.account, &session, EndReason::Owner, now_ms))
        .await?;
    app.revoke(std::slice::from_ref(&caller.session));
    app.notify_ended(caller.account, &[caller.session], EndReason::Owner);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, app.site.forget())]).into_response())
}

/// Gives a session's cookie.
fn give(app: &App, Opened { account, session, token, .. }: Opened) -> Response {
    let cookie = [(header::SET_COOKIE, app.site.keep(&token.text))];
    (StatusCode::CREATED, cookie, Json(BrowserSession { session, account })).into_response()
}
