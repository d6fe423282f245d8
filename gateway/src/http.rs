//! The port's routes, and the server around them.

use std::future::{Future, IntoFuture};
use std::io;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use crossbeam::channel::Sender;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

use crate::Gateway;
use crate::cluster::{self, Cluster};
use crate::feed::MARK_UNITS_PER_TILE;
use crate::guard::{Hosts, SECURITY_HEADERS, same_origin};
use crate::listener::{BoundedListener, Bounds, SHUTDOWN_GRACE};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::node::ZoneInfo;
use crate::page;
use crate::ready::Checks;
use crate::scan::{self, ScanOrder, Scans};
use crate::stream::{MESSAGE_BYTES_MAX, Place, serve_page};
use crate::zones::{self, MoveOrder};

/// Pages that may watch at once; each holds at most a few map states.
pub const WATCHERS_MAX: usize = 32;

/// What the admin port's connections may take: the kernel may hold a few map states, too little to fall behind by much.
const BOUNDS: Bounds = Bounds {
    connections_max: 128,
    send_buffer_bytes: 256 << 10,
    unsent_bytes_max: 256 << 10,
    visit_max: None,
    read_window_bytes: 1 << 20,
};

/// What the text of `/metrics` is, to whoever asks for OpenMetrics and to everybody else; it is valid as
/// both.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone)]
pub(crate) struct App {
    pub live: Arc<Live>,
    /// Where orders to move zones go.
    pub orders: mpsc::Sender<MoveOrder>,
    /// What searches for doubled items found.
    pub scans: Scans,
    /// Where orders to search go.
    pub scan_orders: Sender<ScanOrder>,
    /// Hot data.
    pub cluster: Arc<Cluster>,
    metrics: Arc<Metrics>,
    checks: Arc<Checks>,
    hosts: Hosts,
    room: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

/// Serves the gateway on `listener` until `shutdown` completes, then lets answers under way finish for at
/// most two seconds. Must run inside a tokio runtime; a current-thread one will do.
pub async fn serve(
    listener: TcpListener,
    gateway: Gateway,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let Gateway { live, metrics, checks, hosts, reports, orders, scans, scan_orders, cluster, tls } = gateway;
    let cluster = Arc::new(cluster);
    let (stopping, stop) = watch::channel(false);
    let room = Arc::new(Semaphore::new(WATCHERS_MAX));
    let checks = Arc::new(checks);
    let (live_app, room_app) = (live.clone(), room.clone());
    let app = App {
        live: live_app,
        orders,
        scans,
        scan_orders,
        cluster,
        metrics,
        checks,
        hosts,
        room: room_app,
        stop,
    };

    let mut stop = app.stop.clone();
    let listener = BoundedListener::new(listener, BOUNDS).with_tls(tls);
    let server = axum::serve(listener, routes(app)).with_graceful_shutdown(async move {
        // An error means that the sender is gone, which is a stop as well.
        let _ = stop.wait_for(|stopping| *stopping).await;
    });
    let server = async {
        let mut server = std::pin::pin!(server.into_future());
        tokio::select! {
            ended = &mut server => return ended,
            () = shutdown => {}
        }
        stopping.send_replace(true);
        // Pages leave the server's own count when they become WebSockets; their places are all free once they
        // are gone.
        let drained = async {
            let ended = server.await;
            let _all = room.acquire_many(WATCHERS_MAX as u32).await;
            ended
        };
        // What is still open after the grace ends with the process.
        timeout(SHUTDOWN_GRACE, drained).await.unwrap_or(Ok(()))
    };
    tokio::select! {
        ended = server => ended,
        never = live.collect(&reports) => match never {},
    }
}

fn routes(app: App) -> Router {
    page::console()
        .route("/api/node", get(node))
        .route("/api/zones", get(zones::list))
        .route("/api/zones/{id}/walls", get(walls))
        .route("/api/zones/{id}/move", post(zones::move_zone))
        .layer(DefaultBodyLimit::max(zones::ORDER_BYTES_MAX))
        .route("/api/nodes", get(cluster::nodes))
        .route("/api/online", get(cluster::online))
        .route("/api/near", get(cluster::near))
        .route("/api/chat", get(cluster::chat))
        .route(
            "/api/announce",
            post(cluster::announce).layer(DefaultBodyLimit::max(cluster::ANNOUNCE_BYTES_MAX)),
        )
        .route("/api/history", get(history))
        .route("/api/scan", get(scan::last).post(scan::now))
        .route("/api/items/{id}", get(scan::item))
        .route("/api/stream", get(stream))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(readyz))
        .fallback(async || {
            refuse(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path; the console is at /")
        })
        .layer(middleware::from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

/// Turns away requests meant for other hosts, and puts the security headers on every answer.
async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = if app.hosts.allow(request.headers()) {
        next.run(request).await
    } else {
        refuse(
            StatusCode::MISDIRECTED_REQUEST,
            "unknown_host",
            "this port answers only to loopback and to the host names configured for it: add this one to them",
        )
    };
    response.headers_mut().extend(SECURITY_HEADERS);
    response
}

#[derive(Serialize)]
struct NodeBody<'a> {
    version: &'a str,
    commit: &'a str,
    started_unix_ms: u64,
    uptime_s: f32,
    tick_hz: u32,
    shards: u16,
    units_per_tile: u32,
    zones: Vec<ZoneBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    staff: Option<&'a str>,
}

#[derive(Serialize)]
struct ZoneBody<'a> {
    id: u16,
    name: &'a str,
    shard: u16,
    width_tiles: u32,
    height_tiles: u32,
}

impl<'a> From<&'a ZoneInfo> for ZoneBody<'a> {
    fn from(zone: &'a ZoneInfo) -> ZoneBody<'a> {
        ZoneBody {
            id: zone.id,
            name: &zone.name,
            shard: zone.shard.get(),
            width_tiles: zone.width_tiles,
            height_tiles: zone.height_tiles,
        }
    }
}

async fn node(State(app): State<App>) -> Response {
    let node = app.live.node();
    let started = node.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    Json(NodeBody {
        version: &node.version,
        commit: &node.commit,
        started_unix_ms: started.as_millis() as u64,
        uptime_s: app.live.uptime().as_secs_f32(),
        tick_hz: node.tick_hz,
        shards: node.shards,
        units_per_tile: MARK_UNITS_PER_TILE,
        zones: node.zones.iter().map(ZoneBody::from).collect(),
        staff: node.staff.as_deref(),
    })
    .into_response()
}

async fn walls(State(app): State<App>, Path(id): Path<String>) -> Response {
    let zone = id.parse::<u16>().ok().and_then(|id| app.live.node().zones.iter().find(|zone| zone.id == id));
    match zone {
        Some(zone) => {
            ([(header::CONTENT_TYPE, "application/octet-stream")], zone.walls.clone()).into_response()
        }
        None => {
            refuse(StatusCode::NOT_FOUND, "unknown_zone", "this node has no such zone; /api/node lists them")
        }
    }
}

async fn history(State(app): State<App>) -> Response {
    match app.live.history_json() {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => {
            tracing::error!(%error, "the history cannot be written as JSON");
            refuse(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the history cannot be written; see the log",
            )
        }
    }
}

async fn stream(
    State(app): State<App>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    if !same_origin(&headers) {
        return refuse(StatusCode::FORBIDDEN, "foreign_origin", "only this port's own page may watch");
    }
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let Ok(permit) = app.room.try_acquire_owned() else {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_watchers",
            "close another console page first",
        );
    };
    let place = Place::new(permit, app.metrics.watchers.clone());
    upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| serve_page(socket, app.live, app.stop, place))
}

async fn metrics(State(app): State<App>, headers: HeaderMap) -> Response {
    let asks_open_metrics = |value: &header::HeaderValue| {
        value.to_str().is_ok_and(|accept| accept.contains("application/openmetrics-text"))
    };
    let open_metrics = headers.get_all(header::ACCEPT).iter().any(asks_open_metrics);
    let content_type = if open_metrics { OPEN_METRICS } else { PROMETHEUS_TEXT };
    match app.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            refuse(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the metrics cannot be written; see the log",
            )
        }
    }
}

async fn readyz(State(app): State<App>) -> Response {
    let readiness = app.checks.run();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// An error answer: a stable code for programs and a sentence for people.
pub(crate) fn refuse(status: StatusCode, code: &'static str, message: &'static str) -> Response {
    (status, Json(serde_json::json!({ "error": { "code": code, "message": message } }))).into_response()
}
