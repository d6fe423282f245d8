//! Files and manifests over HTTP.
//!
//! | path | what | kept by caches |
//! |---|---|---|
//! | `/files/HASH/NAME` | a file; NAME only says what type it is, and may be anything | for ever |
//! | `/manifests/VERSION` | what a version is made of, as JSON | for ever |
//! | `/manifests/latest` | the same of the version that clients take | asked for again each time |
//!
//! Ranges (one at a time), `If-None-Match`, `If-Range` and `HEAD` are answered as RFC 9110 says.

use std::future::Future;
use std::io;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use http_range_header::{EndPosition, StartPosition, SyntacticallyCorrectRange};
use object_store::GetRange;
use serde::Serialize;
use tokio::net::TcpListener;
use vyuha_gateway::listener::{self, BoundedListener, Bounds};

use crate::manifest::{Hash, Version};
use crate::store::{Object, Store, StoreError};

const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
/// A file is whatever a studio put there: no browser is to run it as a page of this port.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox; frame-ancestors 'none'"),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin")),
];
/// What the port's connections may take. A download lasts as long as bytes move.
const BOUNDS: Bounds = Bounds {
    connections_max: 1024,
    send_buffer_bytes: 256 << 10,
    unsent_bytes_max: 256 << 10,
    visit_max: None,
    read_window_bytes: 16 << 10,
};

/// Serves `store` on `listener` until `shutdown` completes, then lets answers under way finish for a moment.
///
/// # Errors
/// Where the port fails.
pub async fn serve(
    listener: TcpListener,
    store: Store,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener::serve(BoundedListener::new(listener, BOUNDS), router(store), shutdown).await
}

fn router(store: Store) -> Router {
    Router::new()
        .route("/files/{hash}/{name}", get(file))
        .route("/manifests/{version}", get(manifest))
        .fallback(async || Refusal::NotFound)
        .method_not_allowed_fallback(async || Refusal::MethodNotAllowed)
        .with_state(store)
}

/// Why a request gets nothing; the names in the answers are stable.
#[derive(Debug)]
enum Refusal {
    NotFound,
    MethodNotAllowed,
    /// Of a file of so many bytes.
    RangeNotSatisfiable(u64),
    Unavailable,
}

/// Problem details (RFC 9457).
#[derive(Serialize)]
struct Problem {
    status: u16,
    code: &'static str,
    title: &'static str,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, title) = match self {
            Refusal::NotFound => (StatusCode::NOT_FOUND, "not_found", "There is no such asset."),
            Refusal::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Assets are fetched by GET and HEAD.")
            }
            Refusal::RangeNotSatisfiable(_) => (
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range_not_satisfiable",
                "The asset has no bytes in this range.",
            ),
            Refusal::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "assets_unavailable",
                "The store of assets does not answer: try again.",
            ),
        };
        let problem = Json(Problem { status: status.as_u16(), code, title });
        let mut response = (status, HEADERS, problem).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Refusal::RangeNotSatisfiable(bytes) => {
                headers.insert(header::CONTENT_RANGE, value(format!("bytes */{bytes}")));
            }
            Refusal::Unavailable => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            Refusal::MethodNotAllowed => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            Refusal::NotFound => {}
        }
        response
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        match error {
            StoreError::Missing(_) => Refusal::NotFound,
            error => {
                tracing::warn!(%error, "assets cannot be served");
                Refusal::Unavailable
            }
        }
    }
}

async fn file(
    State(store): State<Store>,
    Path((hash, name)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let hash: Hash = hash.parse().map_err(|_| Refusal::NotFound)?;
    let kind = mime_guess::from_path(&name).first_or_octet_stream();
    let head = Head { tag: value(format!("\"{hash}\"")), cached: FOR_EVER, kind: value(kind.to_string()) };
    send(&store, &Object::File(hash), head, &method, &headers).await
}

async fn manifest(
    State(store): State<Store>,
    Path(version): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (version, cached) = match version.as_str() {
        "latest" => (store.latest().await?, ASK_AGAIN),
        version => (version.parse::<Version>().map_err(|_| Refusal::NotFound)?, FOR_EVER),
    };
    let kind = HeaderValue::from_static("application/json");
    // A version never changes: its name tells what is in it.
    let head = Head { tag: value(format!("\"{version}\"")), cached, kind };
    send(&store, &Object::Manifest(version), head, &method, &headers).await
}

/// What an answer says of what it brings.
struct Head {
    tag: HeaderValue,
    cached: HeaderValue,
    kind: HeaderValue,
}

/// Sends what is in the store as it is read, or as much of it as is asked for.
async fn send(
    store: &Store,
    object: &Object,
    Head { tag, cached, kind }: Head,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let bytes = store.size(object).await?;
    let head = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, cached),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (header::CONTENT_TYPE, kind),
    ];
    if is_known(headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, HEADERS, head).into_response());
    }
    // A part of what the client has of another content would be of no use to it.
    let may_be_part = headers.get(header::IF_RANGE).is_none_or(|known| *known == tag);
    let range = headers.get(header::RANGE).filter(|_| may_be_part && method == Method::GET);
    let range = range.map(|range| part(range, bytes)).transpose()?.flatten();
    let (status, from, to) = match range {
        Some((from, to)) => (StatusCode::PARTIAL_CONTENT, from, to),
        None => (StatusCode::OK, 0, bytes),
    };
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        let range = range.map(|(from, to)| GetRange::Bounded(from..to));
        Body::from_stream(store.get(object, range).await?.into_stream())
    };
    let mut response = (status, HEADERS, head, body).into_response();
    response.headers_mut().insert(header::CONTENT_LENGTH, (to - from).into());
    if status == StatusCode::PARTIAL_CONTENT {
        let range = value(format!("bytes {from}-{}/{bytes}", to - 1));
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    Ok(response)
}

/// Whether the client has it already.
fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|known| known.to_str().ok());
    known.flat_map(|known| known.split(',')).any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag.as_bytes()
    })
}

/// The bytes that are asked for, from the first to before the last; none where all are to be sent, as for what is no range
/// of bytes and for several at once.
fn part(range: &HeaderValue, bytes: u64) -> Result<Option<(u64, u64)>, Refusal> {
    let parsed = range.to_str().ok().and_then(|range| http_range_header::parse_range_header(range).ok());
    let Some(parsed) = parsed.filter(|parsed| parsed.ranges.len() == 1) else { return Ok(None) };
    let SyntacticallyCorrectRange { start, end } = parsed.ranges[0];
    let (from, to) = match (start, end) {
        (StartPosition::Index(first), EndPosition::Index(last)) if first > last => return Ok(None),
        (StartPosition::Index(first), EndPosition::Index(last)) => (first, last.saturating_add(1).min(bytes)),
        (StartPosition::Index(first), EndPosition::LastByte) => (first, bytes),
        (StartPosition::FromLast(count), _) => (bytes.saturating_sub(count), bytes),
    };
    if from >= to {
        return Err(Refusal::RangeNotSatisfiable(bytes));
    }
    Ok(Some((from, to)))
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("hashes, numbers and media types are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_standard() {
        let check = |range: &'static str, bytes: u64, expected: Option<Option<(u64, u64)>>| {
            assert_eq!(part(&HeaderValue::from_static(range), bytes).ok(), expected, "{range} of {bytes}");
        };
        check("bytes=0-9", 100, Some(Some((0, 10))));
        check("bytes=90-", 100, Some(Some((90, 100))));
        check("bytes=-10", 100, Some(Some((90, 100))));
        check("bytes=-0", 100, Some(None));
        check("bytes=0-0", 1, Some(Some((0, 1))));
        check("bytes=50-1000", 100, Some(Some((50, 100))));
        check("bytes=-1000", 100, Some(Some((0, 100))));
        check("bytes=100-", 100, None);
        check("bytes=100-200", 100, None);
        check("bytes=0-", 0, None);
        check("bytes=0-1,5-6", 100, Some(None));
        check("bytes=5-2", 100, Some(None));
        check("lines=0-1", 100, Some(None));
        check("bytes=a-b", 100, Some(None));
        check("bytes=18446744073709551615-", 100, None);
        check("bytes=0-18446744073709551615", 100, Some(Some((0, 100))));
    }
}
