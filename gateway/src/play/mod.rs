//! The players' port: the playable page, what a client must hold of the world, and the WebSocket to play over.
//!
//! A WebSocket is one end of a bridge (see [`bridge`]); at the other end is a Unix socket, which is handed to sign-in as
//! if it had been accepted from TCP. So whatever holds of a TCP client, stages, limits, time-outs, errors, holds of a
//! browser, and nothing here knows the rules of the game.
//!
//! The port runs on a thread of its own (a current-thread runtime will do): translating for browsers never takes time
//! from a shard or from sign-in. Memory: [`PlayConfig::connections_max`] connections of about [`CONNECTION_BYTES_MAX`].

mod bridge;
mod world;

use std::future::{Future, IntoFuture};
use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::rustls::ServerConfig;
use vyuha_protocol::msgpack::{CLIENT_MESSAGE_BYTES_MAX, SUBPROTOCOL};

use crate::guard::{SECURITY_HEADERS, same_origin};
use crate::http::refuse;
pub use crate::listener::Doorkeeper;
use crate::listener::{BoundedListener, Bounds, SHUTDOWN_GRACE, Visitor};
use crate::metrics::Metrics;
use crate::page;

pub use world::{PlayWorld, PlayZone};

/// What the kernel may hold of what a browser has not taken, and of that not even been sent: the state of some ticks.
const SEND_BUFFER_BYTES: usize = 32 << 10;
const UNSENT_BYTES_MAX: u32 = 16 << 10;
/// Bytes that a page can have read from it in a tenth of a second, as many as a player over TCP at 30 Hz and more.
const READ_WINDOW_BYTES: usize = 16 << 10;
/// How long a connection may go on that is none of a player: to send a request, and to take the page and a map.
const VISIT_MAX: Duration = Duration::from_mins(1);
/// Bytes of the buffers of one WebSocket, each way.
const WEB_BUFFER_BYTES: usize = 4 << 10;

/// About what one playing browser costs: its buffers here, and twice what the kernel was asked for. A snapshot comes on
/// top while it is passed on.
pub const CONNECTION_BYTES_MAX: usize = 2 * SEND_BUFFER_BYTES
    + 2 * bridge::PAIR_BUFFER_BYTES
    + 2 * WEB_BUFFER_BYTES
    + 2 * CLIENT_MESSAGE_BYTES_MAX;

/// What the players' port is told.
#[derive(Clone, Copy, Debug)]
pub struct PlayConfig {
    /// Connections served at once, pages and players; those after them wait in the kernel's backlog.
    pub connections_max: u32,
    /// How long a browser may take nothing before it is let go; the shard, which counts half of it, says why first.
    pub stall_max: Duration,
    /// WebSocket control frames a second from one browser; one that sends more is let go.
    pub control_frames_per_second_max: u32,
}

/// Where browsers come in.
pub struct Entrance {
    /// Accepts connections.
    pub listener: TcpListener,
    /// How they are secured, if they are.
    pub tls: Option<Arc<ServerConfig>>,
    /// Says which addresses may connect.
    pub doorkeeper: Doorkeeper,
}

/// A player who came by WebSocket.
#[derive(Debug)]
pub struct WebPlayer {
    /// Speaks the binary protocol, as a TCP socket would.
    pub socket: UnixStream,
    /// The browser's address.
    pub address: IpAddr,
}

#[derive(Clone)]
struct App {
    config: PlayConfig,
    world: Arc<world::Served>,
    metrics: Arc<Metrics>,
    players: mpsc::Sender<WebPlayer>,
    /// Cloned into every bridge: closed once all are gone.
    open: mpsc::Sender<()>,
}

/// Serves players who come by `entrance` until `shutdown` completes; whoever comes to play is sent to `players`. Then answers
/// under way, and bridges whose other end was closed, may finish for at most two seconds. Must run inside a tokio
/// runtime.
///
/// # Errors
/// If the world cannot be written as JSON.
pub async fn serve_players(
    entrance: Entrance,
    config: PlayConfig,
    world: &PlayWorld,
    metrics: Arc<Metrics>,
    players: mpsc::Sender<WebPlayer>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let bounds = Bounds {
        connections_max: config.connections_max as usize,
        send_buffer_bytes: SEND_BUFFER_BYTES,
        unsent_bytes_max: UNSENT_BYTES_MAX,
        visit_max: Some(VISIT_MAX),
        read_window_bytes: READ_WINDOW_BYTES,
    };
    let (open, mut all_closed) = mpsc::channel(1);
    let world = Arc::new(world::Served::new(world)?);
    let app = App { config, world, metrics, players, open };
    let (stopping, mut stop) = watch::channel(false);
    let service = routes(app).into_make_service_with_connect_info::<Visitor>();
    let Entrance { listener, tls, doorkeeper } = entrance;
    let listener = BoundedListener::new(listener, bounds).with_tls(tls).with_doorkeeper(doorkeeper);
    let server = axum::serve(listener, service).with_graceful_shutdown(async move {
        // An error means that the sender is gone, which is a stop as well.
        let _ = stop.wait_for(|stopping| *stopping).await;
    });
    let mut server = std::pin::pin!(server.into_future());
    tokio::select! {
        ended = &mut server => return ended,
        () = shutdown => {}
    }
    stopping.send_replace(true);
    let finished = async {
        let ended = server.await;
        // Nothing is ever sent: it ends when the last bridge does.
        all_closed.recv().await;
        ended
    };
    // What is still open after the grace ends with the process.
    timeout(SHUTDOWN_GRACE, finished).await.unwrap_or(Ok(()))
}

fn routes(app: App) -> Router {
    page::game()
        .route("/play", get(play))
        .route("/world.json", get(world))
        .route("/maps/{content_hash}/{zone}", get(map))
        .fallback(async || {
            refuse(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path; the game is at /")
        })
        .layer(middleware::from_fn(protect))
        .with_state(app)
}

/// Puts the security headers on every answer; one that says itself how long it may be kept is left that.
async fn protect(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

async fn world(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], app.world.json()).into_response()
}

/// A zone's tiles, a character each. What is at such an address never changes.
async fn map(State(app): State<App>, Path((content_hash, zone)): Path<(String, String)>) -> Response {
    let tiles = zone.parse().ok().and_then(|zone| app.world.tiles(&content_hash, zone));
    match tiles {
        Some(tiles) => (
            [
                (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=us-ascii")),
                (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
            ],
            tiles,
        )
            .into_response(),
        None => {
            refuse(StatusCode::NOT_FOUND, "unknown_map", "this node has no such map; /world.json lists them")
        }
    }
}

async fn play(
    State(app): State<App>,
    ConnectInfo(visitor): ConnectInfo<Visitor>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    if !same_origin(&headers) {
        return refuse(StatusCode::FORBIDDEN, "foreign_origin", "only this port's own page may play");
    }
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols([SUBPROTOCOL]),
        Err(rejection) => return rejection.into_response(),
    };
    if upgrade.selected_protocol().is_none() {
        return refuse(
            StatusCode::BAD_REQUEST,
            "unknown_subprotocol",
            "ask for the sub-protocol of docs/protocol.md",
        );
    }
    let Ok(place) = app.players.clone().try_reserve_owned() else {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_full",
            "too many players come at once: try again",
        );
    };
    upgrade
        .max_message_size(CLIENT_MESSAGE_BYTES_MAX)
        .max_frame_size(CLIENT_MESSAGE_BYTES_MAX)
        .read_buffer_size(WEB_BUFFER_BYTES)
        .write_buffer_size(WEB_BUFFER_BYTES)
        .on_upgrade(async move |web| {
            let (game, socket) = match bridge::pair() {
                Ok(pair) => pair,
                Err(error) => {
                    // Out of file descriptors, most likely: others that end make room.
                    tracing::warn!(%error, "a browser could not be let in");
                    return;
                }
            };
            visitor.stay();
            place.send(WebPlayer { socket, address: visitor.address });
            app.metrics.web_connections.inc();
            bridge::run(web, game, app.config).await;
            app.metrics.web_connections.dec();
            drop(app.open);
        })
}
