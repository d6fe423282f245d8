//! The interface itself: one table of routes, which the document is made of too, in a frame that every request goes through.

mod banned;
mod body;
mod caller;
pub(crate) mod document;
mod frame;
mod idempotency;
mod limit;
mod signature;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::{Extension, Router, middleware};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::cors::{AllowCredentials, AllowOrigin, CorsLayer};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;
use vyuha_gateway::listener::{self, BoundedListener, Bounds};
use vyuha_topics::CloseReason;

pub(crate) use body::{Body, BodyIfAny, Parameters};
pub(crate) use caller::{Caller, From, identify, identify_token};

use crate::routes::{
    browser, character, devices, identity, keys, me, password, person, profile, registration, second_factor,
    session, staff, ticket, topics,
};
use crate::service::Service;

/// What every handler is given.
pub(crate) type App = Arc<Service>;

/// The longest body that is read, in bytes.
pub const BODY_BYTES_MAX: usize = 16 << 10;
/// How long a request may take, from its head to its answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter answers are not compressed, those with tokens among them: their length must tell nothing.
const COMPRESSED_BYTES_MIN: u64 = 2048;
/// How long a browser may keep what it was told of other origins.
const CORS_AGE: Duration = Duration::from_mins(10);

/// How long those who listen to topics may take to hear that the server ends, and how often it is looked.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);
const FAREWELL_LOOK: Duration = Duration::from_millis(20);

/// What the port's connections may take.
const BOUNDS: Bounds = Bounds {
    connections_max: 1024,
    send_buffer_bytes: 256 << 10,
    unsent_bytes_max: 256 << 10,
    visit_max: Some(Duration::from_mins(5)),
    read_window_bytes: 64 << 10,
};

/// Serves the interface on `listener` until `shutdown` completes, then lets answers under way finish for a moment.
///
/// # Errors
/// Where the port fails.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let topics = service.topics.clone();
    let shutdown = async move {
        shutdown.await;
        topics.lock().close_all(CloseReason::ShuttingDown, |_| true);
    };
    let topics = service.topics.clone();
    let served = listener::serve(BoundedListener::new(listener, BOUNDS), router(service), shutdown).await;
    // Whoever listens is told; who does not read is waited for for a moment.
    let told = async {
        while topics.lock().figures().connections > 0 {
            sleep(FAREWELL_LOOK).await;
        }
    };
    let _ = timeout(FAREWELL_TIMEOUT, told).await;
    served
}

/// The routes and the document, which the same lines make.
fn table() -> OpenApiRouter<App> {
    let kept = middleware::from_fn_with_state(idempotency::Answers::default(), idempotency::keep);
    let account = [
        routes!(registration::register),
        routes!(registration::resend),
        routes!(registration::confirm),
        routes!(session::sign_in),
        routes!(session::refresh),
        routes!(browser::sign_in, browser::sign_out),
        routes!(browser::complete),
        routes!(session::list, session::end_others),
        routes!(session::end),
        routes!(password::request_reset),
        routes!(password::reset),
        routes!(password::change),
        routes!(me::me, person::delete),
        routes!(person::export),
        routes!(second_factor::begin),
        routes!(second_factor::confirm),
        routes!(second_factor::remove),
        routes!(identity::providers),
        routes!(identity::begin),
        routes!(identity::complete),
        routes!(identity::list),
        routes!(identity::begin_link),
        routes!(identity::link),
        routes!(identity::unlink),
    ];
    let play = [
        routes!(devices::challenge),
        routes!(devices::server_key),
        routes!(devices::sign_in),
        routes!(devices::link),
        routes!(devices::list, devices::enrol),
        routes!(devices::rename, devices::revoke),
        routes!(profile::list, profile::create),
        routes!(profile::activate),
        routes!(profile::rename, profile::delete),
        routes!(profile::settings, profile::put_settings),
        routes!(profile::freeze, profile::unfreeze),
        routes!(profile::debts),
        routes!(character::list),
        routes!(character::create),
        routes!(character::delete),
        routes!(character::restore),
        routes!(ticket::issue),
        routes!(topics::open),
    ];
    let staff = [
        routes!(staff::devices::list),
        routes!(staff::devices::ban, staff::devices::lift),
        routes!(staff::members::me),
        routes!(staff::members::first),
        routes!(staff::members::appoint, staff::members::dismiss),
        routes!(staff::accounts::search),
        routes!(staff::accounts::show),
        routes!(staff::accounts::end_sessions),
        routes!(staff::accounts::end_session),
        routes!(staff::accounts::kick),
        routes!(staff::characters::search),
        routes!(staff::suspension::suspend, staff::suspension::lift),
        routes!(staff::bans::list, staff::bans::put),
        routes!(staff::bans::lift),
        routes!(staff::appeals::file),
        routes!(staff::appeals::list),
        routes!(staff::appeals::decide),
        routes!(staff::announcements::announce),
        routes!(staff::log::log),
        routes!(staff::profiles::list),
        routes!(staff::profiles::freeze, staff::profiles::unfreeze),
        routes!(staff::profiles::book),
        routes!(keys::public),
    ];
    // Around what a path does, not around the paths: a method that a path does not take is refused whatever its key.
    let add = |all: OpenApiRouter<App>, routes: UtoipaMethodRouter<App>| {
        all.routes(routes.map(|methods| methods.route_layer(kept.clone())))
    };
    account.into_iter().chain(play).chain(staff).fold(OpenApiRouter::with_openapi(document::head()), add)
}

/// The document of the interface: OpenAPI 3.1.
pub fn document() -> OpenApi {
    document::complete(table().into_openapi())
}

/// The whole interface.
pub fn router(service: Arc<Service>) -> Router {
    let origins: Vec<HeaderValue> =
        service.config.origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    let metrics = service.metrics.clone();
    let (routes, document) = table().split_for_parts();
    let routes = routes
        .method_not_allowed_fallback(frame::method_not_allowed)
        .layer(middleware::from_fn_with_state(service.clone(), limit::judge))
        .layer(middleware::from_fn_with_state(service.clone(), signature::judge))
        .layer(middleware::from_fn_with_state(service.clone(), banned::judge))
        .layer(Extension(service.clone()))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(frame::note_route))
        .merge(SwaggerUi::new("/api/docs").url("/api/v1/openapi.json", document::complete(document)))
        .merge(vyuha_gateway::staff())
        .fallback(frame::not_found)
        .with_state(service);
    // The frame is around the routing: it may change the path.
    Router::new()
        .fallback_service(routes)
        .layer(middleware::from_fn_with_state(metrics, frame::frame))
        .layer(cors(origins))
        .layer(CompressionLayer::new().compress_when(SizeAbove::new(COMPRESSED_BYTES_MIN)))
}

fn cors(origins: Vec<HeaderValue>) -> CorsLayer {
    let known = origins.clone();
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            frame::API_VERSION,
            frame::REQUEST_ID,
            HeaderName::from_static(idempotency::KEY),
        ])
        .expose_headers([
            header::ETAG,
            header::RETRY_AFTER,
            frame::API_VERSION,
            frame::REQUEST_ID,
            limit::POLICY,
            limit::LEFT,
        ])
        // The cookie is SameSite=Strict: it goes to no origin of another site, listed or not.
        .allow_credentials(AllowCredentials::predicate(move |origin, _| known.contains(origin)))
        .max_age(CORS_AGE)
}
