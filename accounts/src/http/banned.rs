//! Refuses whoever comes from a banned address, before anything else is done with what they ask: they may appeal, and no more.

use axum::extract::{FromRequestParts as _, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::{App, From};
use crate::problem::{Code, Problem};

/// What is open to everybody: the way to appeal, and what is not of the interface itself, such as the public keys.
fn is_open(path: &str) -> bool {
    path == "/api/v1/appeals" || !path.starts_with("/api/v1/")
}

/// Lets a request on that comes from no banned address.
pub(super) async fn judge(State(app): State<App>, request: Request, next: Next) -> Response {
    if is_open(request.uri().path()) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let from = match From::from_request_parts(&mut parts, &app).await {
        Ok(from) => from,
        Err(problem) => return problem.into_response(),
    };
    match app.bans.covering(from.address, app.now_ms()) {
        Some(ban) => Problem::from(Code::AddressBanned).detail(ban.notice()).into_response(),
        None => next.run(Request::from_parts(parts, body)).await,
    }
}
