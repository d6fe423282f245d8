//! The zones on the admin port: where each is and what it costs, and orders to move one to another shard.
//!
//! The port moves nothing itself: an order goes to whoever took the receiver of [`crate::Gateway::move_orders`], and waits for
//! that one's answer.

use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::guard::same_origin;
use crate::http::{App, refuse};

/// Orders that may wait to be taken.
const ORDERS_WAITING_MAX: usize = 16;
/// How long an order's answer is waited for. A zone that waits for a slow disk moves all the same.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest body of an order, in bytes.
pub(crate) const ORDER_BYTES_MAX: usize = 256;

/// An order to move a zone to a shard. Dropped unanswered, it is refused as [`MoveRefused::Stopping`].
#[derive(Debug)]
pub struct MoveOrder {
    /// The zone's id.
    pub zone: u16,
    /// The shard that it is to go to.
    pub to: u16,
    /// Whom to tell what became of it.
    pub answer: oneshot::Sender<Result<ZoneMoved, MoveRefused>>,
}

impl MoveOrder {
    /// Tells who gave the order that nothing comes of it.
    pub fn refuse(self, why: MoveRefused) {
        // Whoever asked may have gone.
        let _ = self.answer.send(Err(why));
    }
}

/// A zone that was moved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ZoneMoved {
    /// The zone's id.
    pub zone: u16,
    /// The shard that it was on.
    pub from: u16,
    /// The shard that it is on.
    pub to: u16,
    /// The sessions that went with it.
    pub sessions: u32,
    /// From the last tick that it had where it was to its first where it is, in milliseconds.
    pub gap_ms: f32,
    /// The same in ticks: 1 is what lies between two ticks of a zone that stays.
    pub gap_ticks: f32,
}

/// Why a zone is not moved. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveRefused {
    /// There is no such zone.
    #[error("this node has no such zone; /api/zones lists them")]
    UnknownZone,
    /// There is no such shard.
    #[error("this node has no such shard; they are numbered from 0")]
    UnknownShard,
    /// It is on that shard.
    #[error("the zone is on that shard already")]
    AlreadyThere,
    /// It is on its way, or another order for it is not done.
    #[error("the zone is being moved; ask again when it has arrived")]
    IsMoving,
    /// The zone's last changes could not be made durable soon.
    #[error("the journal is behind, so the zone would stand still for long; ask again")]
    JournalBusy,
    /// More orders wait than are taken.
    #[error("other zones are being moved; ask again")]
    Busy,
    /// The node ends.
    #[error("the node is stopping")]
    Stopping,
}

impl MoveRefused {
    /// A stable code for programs.
    pub fn code(self) -> &'static str {
        match self {
            MoveRefused::UnknownZone => "unknown_zone",
            MoveRefused::UnknownShard => "unknown_shard",
            MoveRefused::AlreadyThere => "already_there",
            MoveRefused::IsMoving => "is_moving",
            MoveRefused::JournalBusy => "journal_busy",
            MoveRefused::Busy => "busy",
            MoveRefused::Stopping => "stopping",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            MoveRefused::UnknownZone | MoveRefused::UnknownShard => StatusCode::NOT_FOUND,
            MoveRefused::AlreadyThere | MoveRefused::IsMoving => StatusCode::CONFLICT,
            MoveRefused::JournalBusy | MoveRefused::Busy | MoveRefused::Stopping => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}

/// The way of orders from the port to whoever carries them out.
pub(crate) fn orders() -> (mpsc::Sender<MoveOrder>, mpsc::Receiver<MoveOrder>) {
    mpsc::channel(ORDERS_WAITING_MAX)
}

#[derive(Serialize)]
struct ZoneBody<'a> {
    id: u16,
    name: &'a str,
    shard: u16,
    players: u32,
    npcs: u32,
    items: u32,
    tick_us: f32,
}

/// Every zone with its shard, who is in it and what it costs.
pub(crate) async fn list(State(app): State<App>) -> Response {
    let reports = app.live.zones();
    let of = |id| reports.iter().find(|report| report.zone == id).cloned().unwrap_or_default();
    let zones: Vec<ZoneBody<'_>> = app
        .live
        .node()
        .zones
        .iter()
        .map(|zone| {
            let report = of(zone.id);
            ZoneBody {
                id: zone.id,
                name: &zone.name,
                shard: zone.shard.get(),
                players: report.players,
                npcs: report.npcs,
                items: report.items,
                tick_us: report.tick_us,
            }
        })
        .collect();
    Json(serde_json::json!({ "shards": app.live.node().shards, "zones": zones })).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoveBody {
    shard: u16,
}

/// Moves a zone and answers when it has arrived.
pub(crate) async fn move_zone(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Json<MoveBody>, JsonRejection>,
) -> Response {
    if !same_origin(&headers) {
        return refuse(StatusCode::FORBIDDEN, "foreign_origin", "only this port's own page may give orders");
    }
    let Ok(Json(MoveBody { shard: to })) = body else {
        return refuse(StatusCode::BAD_REQUEST, "bad_body", "send {\"shard\": number} as application/json");
    };
    let Ok(zone) = id.parse::<u16>() else { return refused(MoveRefused::UnknownZone) };
    let (answer, answered) = oneshot::channel();
    match app.orders.try_send(MoveOrder { zone, to, answer }) {
        Ok(()) => {}
        Err(mpsc::error::TrySendError::Full(_)) => return refused(MoveRefused::Busy),
        Err(mpsc::error::TrySendError::Closed(_)) => return refused(MoveRefused::Stopping),
    }
    match timeout(ANSWER_TIMEOUT, answered).await {
        Ok(Ok(Ok(moved))) => Json(moved).into_response(),
        Ok(Ok(Err(why))) => refused(why),
        Ok(Err(_)) => refused(MoveRefused::Stopping),
        Err(_) => refuse(
            StatusCode::GATEWAY_TIMEOUT,
            "no_answer",
            "the zone has not arrived yet; it moves all the same: see /api/zones",
        ),
    }
}

fn refused(why: MoveRefused) -> Response {
    let body = serde_json::json!({ "error": { "code": why.code(), "message": why.to_string() } });
    (why.status(), Json(body)).into_response()
}
