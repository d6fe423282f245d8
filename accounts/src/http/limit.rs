//! Counts every call to a route, and refuses those that are too many: `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers-10) with every answer, `Retry-After` with a refusal.

use axum::extract::{FromRequestParts as _, MatchedPath, Request, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::http::{HeaderName, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::caller::bearer;
use super::{App, From};
use crate::limits::{Judged, Subject};
use crate::problem::{Code, Problem};
use crate::signed::Signed;

/// What the limits are.
pub(super) const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of them.
pub(super) const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// Lets a call on that is not too many.
pub(super) async fn judge(State(app): State<App>, request: Request, next: Next) -> Response {
    // A browser that asks whether a page may call at all.
    if request.method() == Method::OPTIONS {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let from = match From::from_request_parts(&mut parts, &app).await {
        Ok(from) => from,
        Err(problem) => return problem.into_response(),
    };
    let path = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let Judged { policy, left, wait } =
        app.limits.judge(app.now_ms(), &parts.method, path, &subject(&app, &parts), &from.site);
    let mut response = match wait {
        None => next.run(Request::from_parts(parts, body)).await,
        Some(wait) => {
            let retry_after_s = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let problem = Problem { retry_after_s: Some(retry_after_s.max(1)), ..Code::RateLimited.into() };
            problem.into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(POLICY, policy);
    headers.insert(LEFT, left);
    response
}

/// Who calls, without asking the database: who shows a token that is no good counts as nobody.
fn subject(app: &App, parts: &Parts) -> Subject {
    if let Some(signed) = parts.extensions.get::<Signed>() {
        return Subject::Key(signed.key.clone());
    }
    let account = if parts.headers.contains_key(header::AUTHORIZATION) {
        let claims = bearer(&parts.headers)
            .and_then(|token| app.keys.verify(token, &app.config.site, app.now_ms()).ok())
            .filter(|claims| !app.revoked.contains(&claims.sid));
        claims.and_then(|claims| claims.sub.parse().ok())
    } else {
        app.site.token(&parts.headers).and_then(|cookie| app.limits.account_of_cookie(cookie))
    };
    account.map_or(Subject::Nobody, Subject::Account)
}
