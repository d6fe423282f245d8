//! Judges signed calls before anything else is done with them, kept answers included.

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::{App, BODY_BYTES_MAX, From};
use crate::problem::{Code, Problem};
use crate::signed::{self, SIGNATURE, SIGNATURE_INPUT};
use crate::throttle::TOKEN_ADDRESS;

/// Where signatures count; elsewhere they are not looked at.
const PATHS: &str = "/api/v1/staff/";

/// Lets a call with a good signature on, as its key's.
pub(super) async fn judge(State(app): State<App>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let is_signed = headers.contains_key(SIGNATURE) || headers.contains_key(SIGNATURE_INPUT);
    if !is_signed || !request.uri().path().starts_with(PATHS) {
        return next.run(request).await;
    }
    match signed(&app, request).await {
        Ok(request) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn signed(app: &App, request: Request) -> Result<Request, Problem> {
    let (mut parts, body) = request.into_parts();
    let from = From::from_request_parts(&mut parts, app).await?;
    if parts.headers.contains_key(header::AUTHORIZATION) {
        return Err(
            Problem::from(Code::SignatureInvalid).detail("a call is signed or bears a token, not both")
        );
    }
    let now_ms = app.now_ms();
    let counted = app.throttle.count(now_ms, &[(TOKEN_ADDRESS, &from.site)]).map_err(Problem::too_many)?;
    let judged = async {
        let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| Code::BodyTooLarge)?;
        let signed = app.peers.verify(&parts.method, &parts.uri, &parts.headers, &body, now_ms)?;
        let taken = signed.clone();
        app.sql.transaction(move |tx| signed::take(tx, &taken)).await?;
        Ok((signed, body))
    };
    let (signed, body) = counted.judge(judged.await)?;
    parts.extensions.insert(signed);
    Ok(Request::from_parts(parts, Body::from(body)))
}
