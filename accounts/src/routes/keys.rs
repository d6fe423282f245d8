//! For services that verify access tokens.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Json};

use crate::http::App;
use crate::keyring::JwkSet;

/// Public keys
///
/// Access tokens are JWTs signed with one of these (EdDSA, Ed25519). A key is here for a day before it is used: a copy may be
/// kept for some hours.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "keys", operation_id = "public_keys",
    responses((status = 200, description = "The keys.", body = JwkSet)))]
pub(crate) async fn public(State(app): State<App>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "public, max-age=3600")], Json(app.keys.public()))
}
