//! Idempotency keys: a write that was done and is sent again with its key is answered again, and not done again.
//!
//! Answers are kept in this process, for a quarter of an hour, bounded in number and size; a key counts for its caller alone (the
//! key that signed, the access token, the browser's cookie, or the address of one who has none of them), and what names one kind
//! of caller never names another. A key that comes back with another request is refused.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{App, BODY_BYTES_MAX, From};
use crate::problem::{Code, Problem};
use crate::signed::Signed;

/// The header.
pub(crate) const KEY: &str = "idempotency-key";
/// How long an answer is kept.
pub const KEPT: Duration = Duration::from_mins(15);
/// Answers kept at once; past it the oldest is forgotten.
pub const ANSWERS_MAX: usize = 4096;
/// The longest answer that is kept, in bytes.
pub const ANSWER_BYTES_MAX: usize = 16 << 10;
const KEY_BYTES_MAX: usize = 64;

type Sum = [u8; 32];

/// The answers of the recent past.
#[derive(Clone, Default)]
pub(super) struct Answers(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    by_key: HashMap<Sum, Entry>,
    order: VecDeque<(Instant, Sum)>,
}

struct Entry {
    request: Sum,
    /// `None` while the request is under way.
    answer: Option<(StatusCode, HeaderMap, Bytes)>,
}

/// Answers writes that carry a key.
pub(super) async fn keep(
    State(answers): State<Answers>,
    Extension(app): Extension<App>,
    request: Request,
    next: Next,
) -> Response {
    let Some(key) = request.headers().get(KEY) else { return next.run(request).await };
    if request.method() == Method::GET || request.method() == Method::HEAD {
        return next.run(request).await;
    }
    let is_key = |key: &[u8]| {
        (1..=KEY_BYTES_MAX).contains(&key.len())
            && key.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
    };
    if !is_key(key.as_bytes()) {
        return Problem::from(Code::IdempotencyKeyInvalid).into_response();
    }
    let (mut parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return Problem::from(Code::BodyTooLarge).into_response();
    };
    let key = match own_key(&mut parts, &app).await {
        Ok(key) => key,
        Err(problem) => return problem.into_response(),
    };
    let fingerprint = sum(&[parts.method.as_str().as_bytes(), parts.uri.to_string().as_bytes(), &body]);
    match answers.begin(key, fingerprint) {
        Begun::New => {}
        Begun::Kept(response) => return response,
    }
    // Forgets the key if the request is given up on the way.
    let mut pending = Pending { answers: &answers, key, done: false };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    // What was refused changed nothing: it may be tried again, and takes no place from what was done.
    if !response.status().is_success() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, ANSWER_BYTES_MAX).await else {
        tracing::error!("an answer is too long to be kept under its idempotency key");
        return Problem::from(Code::Internal).into_response();
    };
    answers.finish(&key, (parts.status, parts.headers.clone(), body.clone()));
    pending.done = true;
    Response::from_parts(parts, Body::from(body))
}

/// The key, as its caller's own.
async fn own_key(parts: &mut Parts, app: &App) -> Result<Sum, Problem> {
    let from = From::from_request_parts(parts, app).await?;
    let key = parts.headers[KEY].as_bytes();
    Ok(if let Some(signed) = parts.extensions.get::<Signed>() {
        sum(&[b"key", signed.key.as_bytes(), key])
    } else if let Some(token) = parts.headers.get(header::AUTHORIZATION) {
        sum(&[b"bearer", token.as_bytes(), key])
    } else if let Some(cookie) = app.site.token(&parts.headers) {
        sum(&[b"cookie", cookie.as_bytes(), key])
    } else {
        sum(&[b"address", from.address.to_string().as_bytes(), key])
    })
}

enum Begun {
    New,
    Kept(Response),
}

impl Answers {
    fn begin(&self, key: Sum, request: Sum) -> Begun {
        let mut kept = self.lock();
        let now = Instant::now();
        while let Some((at, oldest)) = kept.order.front().copied()
            && (now.duration_since(at) >= KEPT || kept.order.len() >= ANSWERS_MAX)
        {
            kept.order.pop_front();
            kept.by_key.remove(&oldest);
        }
        let problem = |code: Code| Begun::Kept(Problem::from(code).into_response());
        match kept.by_key.get(&key) {
            Some(entry) if entry.request != request => problem(Code::IdempotencyKeyReused),
            Some(Entry { answer: None, .. }) => problem(Code::IdempotencyInProgress),
            Some(Entry { answer: Some((status, headers, body)), .. }) => {
                Begun::Kept((*status, headers.clone(), body.clone()).into_response())
            }
            None => {
                kept.by_key.insert(key, Entry { request, answer: None });
                kept.order.push_back((now, key));
                Begun::New
            }
        }
    }

    fn finish(&self, key: &Sum, answer: (StatusCode, HeaderMap, Bytes)) {
        if let Some(entry) = self.lock().by_key.get_mut(key) {
            entry.answer = Some(answer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A panic between two of its statements leaves it usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Pending<'a> {
    answers: &'a Answers,
    key: Sum,
    done: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.done {
            let mut kept = self.answers.lock();
            kept.by_key.remove(&self.key);
            kept.order.retain(|(_, key)| *key != self.key);
        }
    }
}

fn sum(parts: &[&[u8]]) -> Sum {
    let mut sum = Sha256::new();
    for part in parts {
        sum.update((part.len() as u64).to_le_bytes());
        sum.update(part);
    }
    sum.finalize().into()
}
