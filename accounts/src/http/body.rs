//! Bodies and queries, read strictly.

use axum::body::HttpBody as _;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::problem::{Code, Problem};

/// A JSON body of this shape and no other.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, Problem> {
        let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.and_then(|value| value.split(';').next()).map(str::trim);
        if !media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json")) {
            return Err(Code::ContentTypeUnsupported.into());
        }
        let bytes = axum::body::Bytes::from_request(request, state).await.map_err(|error| unread(&error))?;
        // A list would be taken for the fields in their order.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            let is_json = serde_json::from_slice::<IgnoredAny>(&bytes).is_ok();
            return Err(if is_json { Code::BodyInvalid } else { Code::BodyMalformed }.into());
        }
        serde_json::from_slice(&bytes).map(Body).map_err(|error| {
            let code = if error.is_data() { Code::BodyInvalid } else { Code::BodyMalformed };
            Problem::from(code).detail(error.to_string())
        })
    }
}

/// A JSON body of this shape, or none at all.
pub(crate) struct BodyIfAny<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for BodyIfAny<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<BodyIfAny<T>, Problem> {
        if request.body().is_end_stream() {
            return Ok(BodyIfAny(T::default()));
        }
        Body::from_request(request, state).await.map(|Body(body)| BodyIfAny(body))
    }
}

fn unread(error: &BytesRejection) -> Problem {
    match error {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Code::BodyTooLarge.into()
        }
        error if error.status() == StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge.into(),
        _ => Code::BodyMalformed.into(),
    }
}

/// A query of this shape and no other.
pub(crate) struct Parameters<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Parameters<T>, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Parameters(query)),
            Err(error) => Err(Problem::from(Code::QueryInvalid).detail(error.body_text())),
        }
    }
}
