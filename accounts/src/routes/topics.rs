//! The WebSocket of topics.

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, State, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use vyuha_gateway::listener::Visitor;
use vyuha_topics::message::CLIENT_MESSAGE_BYTES_MAX;
use vyuha_topics::{Crowded, SUBPROTOCOL};

use crate::http::{App, From, identify};
use crate::problem::{Code, Problem, ProblemBody};
use crate::topics::Listener;

/// What a WebSocket reads and writes at once.
const BUFFER_BYTES: usize = 4096;

/// Subscribe to topics
///
/// A WebSocket of the sub-protocol `vyuha.topics.v1`, whose messages are in MessagePack. It is authorised by an access token in
/// the header, by the browser's cookie from a page of the site itself or of one of `api.origins`, or by the first message.
/// docs/topics.md has the messages.
#[utoipa::path(get, path = "/api/v1/topics", tag = "topics", operation_id = "open_topics",
    responses(
        (status = 101, description = "From here on it is a WebSocket."),
        (status = 401, description = "The access token, or the cookie, is not good.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "A cookie vouches for pages of ours alone.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 426, description = "This is no WebSocket of `vyuha.topics.v1`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "There are too many connections from this address.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "There are too many connections, or the database does not answer.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn open(
    State(app): State<App>,
    ConnectInfo(visitor): ConnectInfo<Visitor>,
    from: From,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|_| Code::UpgradeRequired)?.protocols([SUBPROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        return Err(Code::UpgradeRequired.into());
    }
    let identity = identify(&headers, &app).await?;
    let listener = Listener::new(app, &from.site, identity).map_err(|crowded| match crowded {
        Crowded::Server => Problem { retry_after_s: Some(2), ..Code::Unavailable.into() },
        Crowded::Site => Code::TooManyConnections.into(),
    })?;
    let upgrade = upgrade
        .max_message_size(CLIENT_MESSAGE_BYTES_MAX)
        .max_frame_size(CLIENT_MESSAGE_BYTES_MAX)
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES);
    Ok(upgrade.on_upgrade(async move |socket| {
        visitor.stay();
        listener.serve(socket).await;
    }))
}
