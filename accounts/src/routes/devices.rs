//! Devices: enrolled and revoked by their owner, signed in by their keys, and linked.

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::response::{Json, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use vyuha_gateway::listener::Visitor;

use crate::devices::challenge::CHALLENGE_MS;
use crate::devices::enrolled::{self, is_name};
use crate::devices::keys::{Context, SIGNATURE_BYTES, is_usable, verify};
use crate::devices::link::{self, MESSAGE_BYTES_MAX};
use crate::devices::links::End;
use crate::devices::unhex;
use crate::http::{App, Body, Caller, From};
use crate::jwt::ACCESS_MS;
use crate::login;
use crate::problem::{Code, Problem, ProblemBody};
use crate::sessions::{self, EndReason};
use crate::throttle::DEVICE_ADDRESS;

/// Bytes of a device's id.
const ID_BYTES: usize = 16;
/// Bytes of the buffers of one WebSocket, each way.
const WEB_BUFFER_BYTES: usize = 4 << 10;

/// Something to sign.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeviceChallenge {
    /// Good once. Its bytes, of which this is base64url, are signed.
    challenge: String,
    /// How long it is good, in seconds.
    #[schema(example = 120)]
    expires_in: i64,
}

/// The key by which devices know this server.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeviceServerKey {
    /// An Ed25519 public key, base64url.
    server_key: String,
}

/// A device that is to be enrolled.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrolDevice {
    /// Of `POST /api/v1/devices/challenges`.
    #[schema(max_length = 128)]
    challenge: String,
    /// The device's Ed25519 public key, base64url.
    #[schema(max_length = 64)]
    public_key: String,
    /// Over `vyuha device enrolment 1` and a zero byte, the server's key, the challenge, the account's number (8 bytes, the
    /// highest first) and the public key: base64url.
    #[schema(max_length = 128)]
    signature: String,
    /// What its owner calls it.
    #[schema(example = "Asha's phone", min_length = 1, max_length = 60)]
    name: String,
    /// What it runs on.
    #[schema(example = "android", min_length = 1, max_length = 60)]
    platform: String,
    /// The account's password, where it has one; without one the session must have been opened within 5 minutes.
    #[schema(example = "correct horse battery staple", max_length = 128)]
    password: Option<String>,
    /// A code of the second factor, or a recovery code, where the account asks for one.
    #[schema(example = "123456", max_length = 32)]
    code: Option<String>,
}

/// A device that was enrolled.
#[derive(Serialize, ToSchema)]
pub(crate) struct EnrolledDevice {
    /// Its id, 32 hexadecimal digits.
    device: String,
    /// The account.
    #[schema(example = 7)]
    account: i64,
    /// The key by which it knows this server, base64url: to be kept, and held against every handshake.
    server_key: String,
}

/// A device.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListedDevice {
    /// Its id.
    id: String,
    /// What its owner calls it.
    name: String,
    /// What it runs on.
    platform: String,
    /// When it was enrolled, milliseconds since 1970 UTC.
    enrolled_ms: i64,
    /// When it was last seen, milliseconds since 1970 UTC, to a day.
    seen_ms: i64,
    /// The session that it signed in to last.
    session: Option<String>,
}

/// The account's devices.
#[derive(Serialize, ToSchema)]
pub(crate) struct Devices {
    /// In the order in which they were enrolled; at most 16.
    devices: Vec<ListedDevice>,
}

/// Another name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenameDevice {
    /// What its owner calls it.
    #[schema(example = "Asha's phone", min_length = 1, max_length = 60)]
    name: String,
}

/// A device that signs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceSignIn {
    /// Its id.
    #[schema(max_length = 32)]
    device: String,
    /// Of `POST /api/v1/devices/challenges`.
    #[schema(max_length = 128)]
    challenge: String,
    /// Over `vyuha device sign-in 1` and a zero byte, the server's key, the challenge and the device's id (16 bytes): base64url.
    #[schema(max_length = 128)]
    signature: String,
}

/// A device's access token. There is no refresh token: the device signs in again.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeviceTokens {
    /// To be sent as `Authorization: Bearer ...`.
    access_token: String,
    /// `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// How long the access token is good, in seconds.
    #[schema(example = 900)]
    expires_in: i64,
    /// The device's session.
    session: String,
    /// The account.
    #[schema(example = 7)]
    account: i64,
}

impl std::convert::From<enrolled::Device> for ListedDevice {
    fn from(device: enrolled::Device) -> ListedDevice {
        let enrolled::Device { id, name, platform, enrolled_ms, seen_ms, session } = device;
        ListedDevice { id, name, platform, enrolled_ms, seen_ms, session }
    }
}

impl std::convert::From<Vec<enrolled::Device>> for Devices {
    fn from(devices: Vec<enrolled::Device>) -> Devices {
        Devices { devices: devices.into_iter().map(ListedDevice::from).collect() }
    }
}

/// Get a challenge
///
/// To enrol a device, or to sign one in.
#[utoipa::path(post, path = "/api/v1/devices/challenges", tag = "devices", operation_id = "begin_device_challenge",
    responses((status = 201, description = "Something to sign.", body = DeviceChallenge)))]
pub(crate) async fn challenge(
    State(app): State<App>,
) -> Result<(StatusCode, Json<DeviceChallenge>), Problem> {
    let challenge = app.devices.challenges.issue(app.now_ms())?;
    Ok((StatusCode::CREATED, Json(DeviceChallenge { challenge, expires_in: CHALLENGE_MS / 1000 })))
}

/// Get the server's key
#[utoipa::path(get, path = "/api/v1/devices/server-key", tag = "devices", operation_id = "device_server_key",
    responses((status = 200, description = "The key by which devices know this server.", body = DeviceServerKey)))]
pub(crate) async fn server_key(State(app): State<App>) -> Json<DeviceServerKey> {
    Json(DeviceServerKey { server_key: URL_SAFE_NO_PAD.encode(app.devices.key.public()) })
}

/// List the devices
#[utoipa::path(get, path = "/api/v1/me/devices", tag = "devices", operation_id = "list_devices",
    security(("access_token" = [])),
    responses((status = 200, description = "The devices.", body = Devices)))]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Devices>, Problem> {
    let devices = app.sql.transaction(move |tx| enrolled::list(tx, caller.account)).await?;
    Ok(Json(devices.into()))
}

/// Enrol a device
///
/// It shows that it has the key, and its owner that they are it. An account has at most 16 devices; a key is one device's.
#[utoipa::path(post, path = "/api/v1/me/devices", tag = "devices", operation_id = "enrol_device",
    request_body = EnrolDevice, security(("access_token" = [])),
    responses(
        (status = 201, description = "It is enrolled.", body = EnrolledDevice),
        (status = 401, description = "The access token, the password or the code is not good, or the session is too old: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The device is banned; `detail` says why.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The key is a device's, or there are too many devices: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The challenge, the key, its signature or a name is not good: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many failures.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn enrol(
    State(app): State<App>,
    caller: Caller,
    from: From,
    Body(EnrolDevice { challenge, public_key, signature, name, platform, password, code }): Body<EnrolDevice>,
) -> Result<(StatusCode, Json<EnrolledDevice>), Problem> {
    needs_name(&name)?;
    needs_name(&platform)?;
    // Whoever has an access token has it for a quarter of an hour; a device is for good.
    let account = login::prove_owner(&app, &caller, &from.site, password, code).await?.id;
    let (now_ms, server) = (app.now_ms(), app.devices.key.public());
    let challenge = app.devices.challenges.read(&challenge, now_ms)?;
    let public_key: [u8; 32] = bytes(&public_key).filter(is_usable).ok_or(Code::KeyInvalid)?;
    let signature: [u8; SIGNATURE_BYTES] = bytes(&signature).ok_or(Code::KeyInvalid)?;
    let signed = challenge.for_enrolment(&server, account, &public_key);
    if !verify(&public_key, Context::Enrolment, &signed, &signature) {
        return Err(Code::KeyInvalid.into());
    }
    let device = app
        .sql
        .transaction(move |tx| {
            if !sessions::lasts(tx, account, &caller.session, now_ms)? {
                return Err(Problem::from(Code::Unauthorized));
            }
            challenge.use_up(tx)?;
            enrolled::enrol(tx, account, &public_key, &name, &platform, now_ms)
        })
        .await?;
    let server_key = URL_SAFE_NO_PAD.encode(server);
    Ok((StatusCode::CREATED, Json(EnrolledDevice { device, account, server_key })))
}

/// Rename a device
#[utoipa::path(put, path = "/api/v1/me/devices/{device}", tag = "devices", operation_id = "rename_device",
    params(("device" = String, Path, description = "Its id.")),
    request_body = RenameDevice, security(("access_token" = [])),
    responses(
        (status = 204, description = "It is called that."),
        (status = 404, description = "The account has no such device.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn rename(
    State(app): State<App>,
    caller: Caller,
    Path(device): Path<String>,
    Body(RenameDevice { name }): Body<RenameDevice>,
) -> Result<StatusCode, Problem> {
    needs_device(&device)?;
    needs_name(&name)?;
    app.sql.transaction(move |tx| enrolled::rename(tx, caller.account, &device, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Revoke a device
///
/// Its session ends, its link is closed, and its key signs nobody in.
#[utoipa::path(delete, path = "/api/v1/me/devices/{device}", tag = "devices", operation_id = "revoke_device",
    params(("device" = String, Path, description = "Its id.")), security(("access_token" = [])),
    responses(
        (status = 204, description = "It is no device any more."),
        (status = 404, description = "The account has no such device.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(device): Path<String>,
) -> Result<StatusCode, Problem> {
    needs_device(&device)?;
    let (id, now_ms) = (device.clone(), app.now_ms());
    let ended = app
        .sql
        .transaction(move |tx| enrolled::revoke(tx, caller.account, &id, EndReason::Device, now_ms))
        .await?;
    app.devices.links.close_device(&device, End::Revoked);
    app.revoke(&ended);
    Ok(StatusCode::NO_CONTENT)
}

/// Sign a device in
///
/// By its key, in place of a password and a code. Its session goes on, or begins.
#[utoipa::path(post, path = "/api/v1/devices/sign-in", tag = "devices", operation_id = "sign_in_device",
    request_body = DeviceSignIn,
    responses(
        (status = 201, description = "It is signed in.", body = DeviceTokens),
        (status = 401, description = "There is no such device, or the signature is not its.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The device is banned, or the account is suspended: see `code`; `detail` says why.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The challenge is unknown, was answered or is too old.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many failures.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn sign_in(
    State(app): State<App>,
    from: From,
    Body(DeviceSignIn { device, challenge, signature }): Body<DeviceSignIn>,
) -> Result<(StatusCode, Json<DeviceTokens>), Problem> {
    let now_ms = app.now_ms();
    let challenge = app.devices.challenges.read(&challenge, now_ms)?;
    let id: [u8; ID_BYTES] = unhex(&device).ok_or(Code::DeviceRefused)?;
    let signature: [u8; SIGNATURE_BYTES] = bytes(&signature).ok_or(Code::DeviceRefused)?;
    let counted = app.throttle.count(now_ms, &[(DEVICE_ADDRESS, &from.site)]).map_err(Problem::too_many)?;
    let signed = challenge.for_sign_in(&app.devices.key.public(), &id);
    let address = from.address.to_string();
    let signed_in = app.sql.transaction(move |tx| {
        let shown = enrolled::find(tx, &device)?.ok_or(Code::DeviceRefused)?;
        if !verify(&shown.public_key, Context::SignIn, &signed, &signature) {
            return Err(Problem::from(Code::DeviceRefused));
        }
        challenge.use_up(tx)?;
        enrolled::sign_in(tx, &shown, &address, now_ms)
    });
    let signed_in = counted.judge(signed_in.await)?;
    app.revoke(&signed_in.ended);
    let enrolled::SignedIn { account, session, .. } = signed_in;
    let access_token = app.access_token(account, &session)?;
    let expires_in = ACCESS_MS / 1000;
    let tokens = DeviceTokens { access_token, token_type: "Bearer", expires_in, session, account };
    Ok((StatusCode::CREATED, Json(tokens)))
}

/// Open a device's link
///
/// A WebSocket: the handshake, then the events of the account's devices, in sealed binary messages. See docs/devices.md.
#[utoipa::path(get, path = "/api/v1/devices/link", tag = "devices", operation_id = "open_device_link",
    responses(
        (status = 101, description = "The WebSocket is open: the device sends its first message."),
        (status = 426, description = "The request opens no WebSocket.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many failures.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn link(
    State(app): State<App>,
    from: From,
    ConnectInfo(visitor): ConnectInfo<Visitor>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|_| Code::UpgradeRequired)?;
    // An attempt is counted once it is made.
    drop(app.throttle.count(app.now_ms(), &[(DEVICE_ADDRESS, &from.site)]).map_err(Problem::too_many)?);
    let Some(room) = app.devices.links.room() else {
        return Err(Problem { retry_after_s: Some(LINKS_RETRY_S), ..Code::Unavailable.into() });
    };
    visitor.stay();
    let upgrade = upgrade
        .read_buffer_size(WEB_BUFFER_BYTES)
        .write_buffer_size(WEB_BUFFER_BYTES)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |web| link::run(web, app, from, room)))
}

/// Seconds after which there may be room for another link.
const LINKS_RETRY_S: u64 = 10;

/// Whether a text can be a device's id.
pub(super) fn needs_device(text: &str) -> Result<(), Problem> {
    unhex::<ID_BYTES>(text).map(|_| ()).ok_or_else(|| Code::DeviceUnknown.into())
}

fn needs_name(text: &str) -> Result<(), Problem> {
    if is_name(text) {
        return Ok(());
    }
    Err(Problem::from(Code::BodyInvalid).detail("a name or platform has 1 to 60 characters, none of control"))
}

fn bytes<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}
