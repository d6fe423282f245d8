//! What every request goes through: an id, a version, a time limit, a count, and the headers of every answer.

use std::sync::{Arc, OnceLock};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::uri::{PathAndQuery, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, field};
use vyuha_gateway::Metrics;
use vyuha_store::TRACE_TARGET;

use super::REQUEST_TIMEOUT;
use crate::problem::{Code, Problem};
use crate::secret::random_id;
use crate::trace;

/// Names a request, in logs and answers; a caller may name its own.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Which version of the interface answers; of a request whose path does not say it.
pub(crate) const API_VERSION: HeaderName = HeaderName::from_static("api-version");

/// The longest id that a caller may give, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 64;
const VERSION: HeaderValue = HeaderValue::from_static("1");

/// The page of the document runs its own scripts and styles only; it sets styles on elements.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// What a request that no route took is counted as.
const NO_ROUTE: &str = "none";

/// The route that took a request, once it is known.
#[derive(Clone, Default)]
struct Route(Arc<OnceLock<MatchedPath>>);

/// Tells the frame which route took the request.
pub(super) async fn note_route(request: Request, next: Next) -> Response {
    if let (Some(route), Some(path)) =
        (request.extensions().get::<Route>(), request.extensions().get::<MatchedPath>())
    {
        // A request is routed once.
        let _ = route.0.set(path.clone());
    }
    next.run(request).await
}

/// Takes a request through.
pub(super) async fn frame(State(metrics): State<Arc<Metrics>>, mut request: Request, next: Next) -> Response {
    let (begun, route) = (Instant::now(), Route::default());
    request.extensions_mut().insert(route.clone());
    // What others call a method is theirs; it must not become ours to keep.
    let method = match request.method().as_str() {
        method @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS") => method.to_owned(),
        _ => "other".to_owned(),
    };
    let id = match request.headers().get(REQUEST_ID).filter(|id| is_request_id(id.as_bytes())) {
        Some(id) => id.clone(),
        None => match random_id().map(|id| HeaderValue::from_str(&id)) {
            Ok(Ok(id)) => id,
            Ok(Err(_)) => return Problem::from(Code::Internal).into_response(),
            Err(problem) => return problem.into_response(),
        },
    };
    let span = tracing::info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = %request.method(),
        path = request.uri().path()
    );
    let sent = tracing::trace_span!(
        target: TRACE_TARGET,
        "request",
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = method,
        http.route = field::Empty,
        http.response.status_code = field::Empty,
        vyuha.request_id = id.to_str().unwrap_or_default(),
    );
    trace::go_on(&sent, request.headers());
    let mut response = match versioned(&mut request) {
        Ok(()) => {
            let answered = timeout(REQUEST_TIMEOUT, next.run(request));
            let answered = answered.instrument(sent.clone()).instrument(span.clone()).await;
            answered.unwrap_or_else(|_| Problem::from(Code::RequestTimeout).into_response())
        }
        Err(code) => Problem::from(code).into_response(),
    };
    let status = response.status().as_u16();
    span.in_scope(|| tracing::debug!(status, "answered"));
    let route = route.0.get().map_or(NO_ROUTE, MatchedPath::as_str);
    metrics.api.observe(&method, route, status, begun.elapsed());
    if !sent.is_disabled() {
        trace::rename(&sent, format!("{method} {route}"));
        sent.record("http.route", route);
        sent.record("http.response.status_code", status);
        if response.status().is_server_error() {
            sent.record("otel.status_code", "ERROR");
        }
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(value);
    }
    headers.insert(REQUEST_ID, id);
    headers.insert(API_VERSION, VERSION);
    response
}

pub(super) async fn not_found() -> Problem {
    Code::NotFound.into()
}

pub(super) async fn method_not_allowed() -> Problem {
    Code::MethodNotAllowed.into()
}

fn is_request_id(id: &[u8]) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

/// Gives a path under `/api/` without a version the one that the header asks for.
fn versioned(request: &mut Request) -> Result<(), Code> {
    let asked = request.headers().get(API_VERSION);
    if asked.is_some_and(|asked| asked != VERSION) {
        return Err(Code::VersionUnknown);
    }
    let path = request.uri().path();
    let Some(rest) = path.strip_prefix("/api/") else { return Ok(()) };
    let first = rest.split('/').next().unwrap_or_default();
    if first == "v1" || first == "docs" {
        return Ok(());
    }
    let is_version = first.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok());
    if is_version || asked.is_none() {
        return Err(Code::VersionUnknown);
    }
    let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
    let path = PathAndQuery::try_from(format!("/api/v1/{rest}{query}")).map_err(|_| Code::NotFound)?;
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(path);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Code::NotFound)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_path_or_in_the_header() {
        #[track_caller]
        fn check(path: &str, header: Option<&str>, expected: Result<&str, Code>) {
            let mut request = Request::builder().uri(path);
            if let Some(header) = header {
                request = request.header(API_VERSION, header);
            }
            let mut request = request.body(axum::body::Body::empty()).unwrap();
            let versioned = versioned(&mut request).map(|()| request.uri().to_string());
            assert_eq!(versioned, expected.map(str::to_owned), "{path} {header:?}");
        }
        check("/api/v1/me?a=b", None, Ok("/api/v1/me?a=b"));
        check("/api/v1/me", Some("1"), Ok("/api/v1/me"));
        check("/api/me?a=b", Some("1"), Ok("/api/v1/me?a=b"));
        check("/api/me", None, Err(Code::VersionUnknown));
        check("/api/me", Some("2"), Err(Code::VersionUnknown));
        check("/api/v1/me", Some("2"), Err(Code::VersionUnknown));
        check("/api/v2/me", None, Err(Code::VersionUnknown));
        check("/api/v2/me", Some("1"), Err(Code::VersionUnknown));
        check("/api/docs/", None, Ok("/api/docs/"));
        check("/.well-known/jwks.json", None, Ok("/.well-known/jwks.json"));
        check("/", None, Ok("/"));
    }

    #[test]
    fn request_ids_of_callers_are_words() {
        let check = |id: &str, good: bool| assert_eq!(is_request_id(id.as_bytes()), good, "{id:?}");
        check("a", true);
        check("0f-A_9.z", true);
        check(&"x".repeat(64), true);
        check("", false);
        check(&"x".repeat(65), false);
        check("a b", false);
        check("a\"b", false);
        check("ä", false);
    }
}
