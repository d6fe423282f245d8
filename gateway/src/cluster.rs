//! What nodes tell each other, on the admin port: which there are, who is online where, what was said lately; and
//! announcements to the players of all of them.
//!
//! All of it is read from hot data, which is this node's own where there is no Redis. The port sends no announcement itself: an
//! order goes to whoever took the receiver of [`crate::Gateway::announcements`].

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use vyuha_hot::{HotError, HotStore};
use vyuha_protocol::text::check_chat;

use crate::guard::same_origin;
use crate::http::{App, refuse};

/// Announcements that may wait to be taken.
const ANNOUNCEMENTS_WAITING_MAX: usize = 16;
/// How long it is waited for that an announcement was handed on.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
/// Longest body of an announcement, in bytes: a text of 200 bytes, each of them escaped.
pub(crate) const ANNOUNCE_BYTES_MAX: usize = 2048;
/// The most characters that are listed near a place.
const NEAR_MAX: usize = 100;

/// The channel on which announcements go from node to node.
pub const ANNOUNCEMENTS_CHANNEL: &str = "announcements";

/// The channel of what is said in a zone.
pub fn zone_channel(zone: u16) -> String {
    format!("zone:{zone}")
}

/// What a node says of itself to the others, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeBeat {
    /// Its name, its own among the nodes that share a Redis.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The commit that it was built from.
    pub commit: String,
    /// Where players connect.
    pub listen: String,
    /// Where its admin port is.
    pub admin: String,
    /// When it started, in milliseconds since 1970.
    pub started_unix_ms: i64,
    /// When it said this, by its own clock.
    pub told_unix_ms: i64,
    /// How much it has to do.
    #[serde(flatten)]
    pub load: NodeLoad,
}

/// How much a node has to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeLoad {
    /// Its shards.
    pub shards: u16,
    /// Its zones.
    pub zones: u16,
    /// Characters that play on it.
    pub players: u32,
    /// The slowest shard's 99th percentile of tick times lately, in microseconds.
    pub tick_us_p99: u32,
    /// Ticks left out since the start.
    pub shed_ticks: u64,
}

/// Where a character is online, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnlineSession {
    /// The character.
    pub character: i64,
    /// Its name.
    pub name: String,
    /// Its account.
    pub account: i64,
    /// The node that it plays on.
    pub node: String,
    /// The zone that it is in.
    pub zone: u16,
    /// Since when it plays, in milliseconds since 1970.
    pub since_unix_ms: i64,
}

/// Something that was said, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatLine {
    /// When, in milliseconds since 1970.
    pub at_unix_ms: i64,
    /// Who.
    pub character: i64,
    /// The name of who.
    pub name: String,
    /// What.
    pub text: String,
}

/// An announcement to all players. Dropped unanswered, it is refused.
#[derive(Debug)]
pub struct Announcement {
    /// What is announced: 1 to 200 bytes without control characters.
    pub text: String,
    /// Whom to tell once this node's players are being told: whether the other nodes are too, and if not, why not.
    pub answer: oneshot::Sender<Result<(), HotError>>,
}

/// How the store of hot data is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HotState {
    /// `redis`, or `process` where there is none.
    pub kind: &'static str,
    /// Why it is not asked just now, if it is not.
    pub away: Option<String>,
}

/// Hot data as the port uses it.
pub(crate) struct Cluster {
    pub hot: Arc<dyn HotStore>,
    pub state: Box<dyn Fn() -> HotState + Send + Sync>,
    pub announcements: mpsc::Sender<Announcement>,
}

/// The way of announcements from the port to whoever sends them.
pub(crate) fn announcements() -> (mpsc::Sender<Announcement>, mpsc::Receiver<Announcement>) {
    mpsc::channel(ANNOUNCEMENTS_WAITING_MAX)
}

/// The nodes that live, by name.
pub(crate) async fn nodes(State(app): State<App>) -> Response {
    let state = (app.cluster.state)();
    let nodes = match app.cluster.hot.nodes().await {
        Ok(nodes) => nodes,
        Err(error) => return away(&error),
    };
    // What another program put there is passed over.
    let nodes: Vec<NodeBeat> = nodes.values().filter_map(|beat| serde_json::from_slice(beat).ok()).collect();
    Json(serde_json::json!({ "hot": state, "nodes": nodes })).into_response()
}

#[derive(Deserialize)]
pub(crate) struct WhoQuery {
    character: i64,
}

/// Where a character is online.
pub(crate) async fn online(
    State(app): State<App>,
    query: Result<Query<WhoQuery>, QueryRejection>,
) -> Response {
    let Ok(Query(WhoQuery { character })) = query else {
        return refuse(StatusCode::BAD_REQUEST, "bad_query", "ask with ?character=ID");
    };
    match app.cluster.hot.session(character).await {
        Ok(Some(session)) => json_text(session),
        Ok(None) => refuse(StatusCode::NOT_FOUND, "not_online", "no node says that this character plays"),
        Err(error) => away(&error),
    }
}

#[derive(Deserialize)]
pub(crate) struct NearQuery {
    zone: u16,
    x_m: f64,
    y_m: f64,
    radius_m: f64,
}

/// Who was near a place within the last minutes.
pub(crate) async fn near(
    State(app): State<App>,
    query: Result<Query<NearQuery>, QueryRejection>,
) -> Response {
    let Ok(Query(NearQuery { zone, x_m, y_m, radius_m })) = query else {
        return refuse(StatusCode::BAD_REQUEST, "bad_query", "ask with ?zone=ID&x_m=X&y_m=Y&radius_m=R");
    };
    match app.cluster.hot.near(zone, x_m, y_m, radius_m, NEAR_MAX).await {
        Ok(near) => {
            let near = near.iter().map(
                |near| serde_json::json!({ "character": near.character, "distance_m": near.distance_m }),
            );
            Json(serde_json::json!({ "zone": zone, "near": near.collect::<Vec<_>>() })).into_response()
        }
        Err(HotError::Invalid(why)) => refuse(StatusCode::BAD_REQUEST, "bad_query", why),
        Err(error) => away(&error),
    }
}

#[derive(Deserialize)]
pub(crate) struct ChatQuery {
    zone: u16,
}

/// What was said in a zone lately, oldest first.
pub(crate) async fn chat(
    State(app): State<App>,
    query: Result<Query<ChatQuery>, QueryRejection>,
) -> Response {
    let Ok(Query(ChatQuery { zone })) = query else {
        return refuse(StatusCode::BAD_REQUEST, "bad_query", "ask with ?zone=ID");
    };
    match app.cluster.hot.recent_chat(&zone_channel(zone), usize::MAX).await {
        Ok(lines) => {
            let lines: Vec<ChatLine> =
                lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect();
            Json(serde_json::json!({ "zone": zone, "lines": lines })).into_response()
        }
        Err(error) => away(&error),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnnounceBody {
    text: String,
}

/// Announces something to the players of every node that shares the store.
pub(crate) async fn announce(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Json<AnnounceBody>, JsonRejection>,
) -> Response {
    if !same_origin(&headers) {
        return refuse(StatusCode::FORBIDDEN, "foreign_origin", "only this port's own page may announce");
    }
    let Ok(Json(AnnounceBody { text })) = body else {
        return refuse(StatusCode::BAD_REQUEST, "bad_body", "send {\"text\": \"...\"} as application/json");
    };
    if check_chat(&text).is_err() {
        return refuse(
            StatusCode::BAD_REQUEST,
            "bad_text",
            "an announcement has 1 to 200 bytes and no control characters",
        );
    }
    let (answer, answered) = oneshot::channel();
    let stopping = || refuse(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the node is stopping");
    match app.cluster.announcements.try_send(Announcement { text, answer }) {
        Ok(()) => {}
        Err(mpsc::error::TrySendError::Full(_)) => {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "busy", "others are being announced; ask again");
        }
        Err(mpsc::error::TrySendError::Closed(_)) => return stopping(),
    }
    match timeout(ANSWER_TIMEOUT, answered).await {
        Ok(Ok(Ok(()))) => Json(serde_json::json!({ "reaches": "every node" })).into_response(),
        Ok(Ok(Err(error))) => {
            Json(serde_json::json!({ "reaches": "this node", "reason": error.to_string() })).into_response()
        }
        Ok(Err(_)) => stopping(),
        Err(_) => refuse(StatusCode::GATEWAY_TIMEOUT, "no_answer", "the node is behind; ask again"),
    }
}

/// What a store holds as JSON, as it is.
fn json_text(text: Vec<u8>) -> Response {
    ([(axum::http::header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn away(error: &HotError) -> Response {
    let body = serde_json::json!({ "error": { "code": "hot_away", "message": error.to_string() } });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}
