//! The search for doubled and lost items on the admin port: what it found last, an order to search now, and an item's history.
//!
//! The port searches nothing itself: an order goes to whoever took the receiver of [`crate::Gateway::scan_orders`], and waits
//! for that one's answer. Ids of items are text in JSON: they are too great for the numbers of a browser.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::guard::same_origin;
use crate::http::{App, refuse};

/// Orders that may wait to be taken.
const ORDERS_WAITING_MAX: usize = 16;
/// How long an order's answer is waited for; a search that takes longer goes on.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// What is asked of the one that searches. Dropped unanswered, it is refused as stopping.
#[derive(Debug)]
pub enum ScanOrder {
    /// To search now.
    Scan(oneshot::Sender<Result<ScanReport, String>>),
    /// For the history of an item.
    Item(i64, oneshot::Sender<Result<ItemHistory, String>>),
}

/// A movement of items, as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScanMovement {
    /// When, in milliseconds since 1970.
    pub at_unix_ms: i64,
    /// Why, in a word.
    pub reason: &'static str,
    /// The item that moved.
    pub item: String,
    /// Its kind.
    pub kind: i64,
    /// How many.
    pub count: i64,
    /// From where, such as `inventory of character 7`.
    pub from: String,
    /// To where.
    pub to: String,
    /// Which run of which shard wrote it.
    pub source: String,
    /// The source's transaction.
    pub seq: i64,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScanFinding {
    /// What, in a sentence.
    pub what: String,
    /// The item that it is about, if it is about one.
    pub item: Option<String>,
    /// How it came about: the last movements of the item, or of the kind with that holder; the newest last.
    pub history: Vec<ScanMovement>,
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScanReport {
    /// When it began, in milliseconds since 1970.
    pub began_unix_ms: i64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Items that there are.
    pub items: u64,
    /// Entries of the ledger that were new since the last search.
    pub ledger_rows: u64,
    /// How much was found.
    pub findings_total: u64,
    /// The first of it.
    pub findings: Vec<ScanFinding>,
}

/// Where an item is and how it came there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ItemHistory {
    /// The item.
    pub item: String,
    /// Every row that has its id; one is as it should be, none if it was used up or merged into another stack.
    pub places: Vec<ItemPlace>,
    /// Its last movements, the newest last. Those that went into an archive are not here.
    pub history: Vec<ScanMovement>,
}

/// A row of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ItemPlace {
    /// Its kind.
    pub kind: i64,
    /// How many.
    pub count: i64,
    /// With whom, such as `bank of character 7`.
    pub holder: String,
    /// In which slot.
    pub slot: i64,
}

/// How the searches stand; every clone says the same.
#[derive(Clone, Debug, Default)]
pub struct Scans(Arc<Mutex<Standing>>);

#[derive(Clone, Debug, Default, Serialize)]
struct Standing {
    /// The last search that came to its end.
    last: Option<ScanReport>,
    /// Why the last attempt did not, if it did not.
    error: Option<String>,
}

impl Scans {
    /// Notes what a search came to.
    pub fn publish(&self, outcome: Result<ScanReport, String>) {
        let mut standing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(report) => *standing = Standing { last: Some(report), error: None },
            Err(error) => standing.error = Some(error),
        }
    }

    fn standing(&self) -> Standing {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The way of orders from the port to whoever carries them out.
pub(crate) fn orders() -> (Sender<ScanOrder>, Receiver<ScanOrder>) {
    bounded(ORDERS_WAITING_MAX)
}

/// What the last search found.
pub(crate) async fn last(State(app): State<App>) -> Response {
    Json(app.scans.standing()).into_response()
}

/// Searches now and answers with what was found.
pub(crate) async fn now(State(app): State<App>, headers: HeaderMap) -> Response {
    if !same_origin(&headers) {
        return refuse(StatusCode::FORBIDDEN, "foreign_origin", "only this port's own page may give orders");
    }
    ask(&app, ScanOrder::Scan).await
}

/// An item's history.
pub(crate) async fn item(State(app): State<App>, Path(id): Path<String>) -> Response {
    match id.parse::<i64>() {
        Ok(id) => ask(&app, |answer| ScanOrder::Item(id, answer)).await,
        Err(_) => refuse(StatusCode::NOT_FOUND, "unknown_item", "an item's id is a number"),
    }
}

async fn ask<T: Serialize>(
    app: &App,
    order: impl FnOnce(oneshot::Sender<Result<T, String>>) -> ScanOrder,
) -> Response {
    let (answer, answered) = oneshot::channel();
    let stopping = || refuse(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the node is stopping");
    match app.scan_orders.try_send(order(answer)) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "busy", "other searches wait; ask again");
        }
        Err(TrySendError::Disconnected(_)) => return stopping(),
    }
    match timeout(ANSWER_TIMEOUT, answered).await {
        Ok(Ok(Ok(found))) => Json(found).into_response(),
        Ok(Ok(Err(error))) => {
            let body = serde_json::json!({ "error": { "code": "database", "message": error } });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
        Ok(Err(_)) => stopping(),
        Err(_) => refuse(
            StatusCode::GATEWAY_TIMEOUT,
            "no_answer",
            "it takes longer than this answer can wait: see GET /api/scan later",
        ),
    }
}
