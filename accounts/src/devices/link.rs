//! A link from its opened WebSocket to its end: the handshake, then requests and events in sealed messages of JSON.
//!
//! What the account is comes from the handshake alone. A request is done before the next one is read; an event that comes meanwhile
//! waits in the link's queue. So a link makes the server hold one request, one answer and a queue.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use super::device_text;
use super::enrolled::{self, SignedIn};
use super::events::{self, Caught, Event, Publish, Published, Stream};
use super::frames::{Frames, OVERHEAD_BYTES, Opener, Sealer};
use super::handshake::{Fresh, HANDSHAKE_MS_MAX, Handshake, HandshakeError, Step};
use super::links::{End, Joined};
use crate::http::{App, From};
use crate::jwt::ACCESS_MS;
use crate::problem::{Code, Problem};
use crate::secret::random;
use crate::throttle::DEVICE_ADDRESS;

/// The longest message of a device, in bytes: a body in which every character is escaped, and the rest of a request.
pub const MESSAGE_BYTES_MAX: usize = 6 * events::BODY_BYTES_MAX + 1024 + OVERHEAD_BYTES;
/// The time from the beginning of one message of a device to that of the next: more wait in its own buffers.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(50);
/// How often it is looked whether a link may stay and what other nodes have, and a ping is sent.
const LOOK_INTERVAL: Duration = Duration::from_secs(25);
/// How long a device is waited for to take the reason for which its link is closed.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// What a device asks. `request` comes back in the answer.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    /// Answered by `published`, and told to the account's other devices.
    Publish { request: i64, event: Publish },
    /// Answered by `events`.
    CatchUp { request: i64, stream: String, after: i64 },
    /// Answered by `acknowledged`.
    Acknowledge { request: i64, stream: String, sequence: i64 },
    /// Answered by `streams`.
    Streams { request: i64 },
    /// Answered by `token`.
    Token { request: i64 },
}

/// What a device is told.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Told<'a> {
    /// The first message of a link.
    Welcome {
        device: &'a str,
        account: i64,
        session: &'a str,
        access_token: String,
        expires_in: i64,
        server_ms: i64,
        streams: Vec<Stream>,
    },
    /// An event of another device of the account.
    Event {
        event: &'a Event,
    },
    /// A stream has events that were not sent over this link: catch up.
    Behind {
        stream: &'a str,
        sequence: i64,
    },
    Published {
        request: i64,
        stream: String,
        /// Nothing where the event was sent before and is there no more.
        sequence: Option<i64>,
        known: bool,
    },
    Events {
        request: i64,
        stream: String,
        #[serde(flatten)]
        caught: Caught,
    },
    Acknowledged {
        request: i64,
    },
    Streams {
        request: i64,
        streams: Vec<Stream>,
    },
    Token {
        request: i64,
        access_token: String,
        expires_in: i64,
    },
    /// A request was refused, with nothing changed.
    Refused {
        /// Nothing where none could be read.
        request: Option<i64>,
        code: Code,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
}

/// A device whose handshake is done.
struct Linked {
    device: String,
    signed_in: SignedIn,
    frames: Frames,
    finish: Vec<u8>,
    streams: Vec<Stream>,
}

/// One side of the link is gone, or it is to be closed for a reason.
enum Over {
    Gone,
    For(End),
}

impl std::convert::From<HandshakeError> for Over {
    fn from(error: HandshakeError) -> Over {
        Over::For(End::Handshake(error))
    }
}

impl std::convert::From<Problem> for Over {
    fn from(problem: Problem) -> Over {
        Over::For(match problem.code {
            Code::DeviceRefused => End::Handshake(HandshakeError::Refused),
            Code::DeviceBanned => End::Banned,
            Code::AccountSuspended => End::Suspended,
            _ => End::Unavailable,
        })
    }
}

/// Runs a link until it is over. `_room` is its place among the links.
pub(crate) async fn run(mut web: WebSocket, app: App, from: From, _room: OwnedSemaphorePermit) {
    let over = match enter(&mut web, &app, &from).await {
        Ok(linked) => {
            tracing::info!(device = linked.device, account = linked.signed_in.account, "a device is linked");
            talk(&mut web, &app, linked).await
        }
        Err(over) => over,
    };
    let Over::For(end) = over else { return };
    tracing::info!(reason = end.as_str(), "a device's link is closed");
    let farewell = async {
        let reason = end.as_str().into();
        web.send(Message::Close(Some(CloseFrame { code: close_code::POLICY, reason }))).await?;
        // A socket that is closed over unread input takes the last message with it.
        while let Some(Ok(_)) = web.recv().await {}
        Ok::<(), axum::Error>(())
    };
    // One that does not take these few bytes has nobody to tell.
    let _ = timeout(FAREWELL_TIMEOUT, farewell).await;
}

/// The handshake, as an attempt to sign in.
async fn enter(web: &mut WebSocket, app: &App, from: &From) -> Result<Linked, Over> {
    let counted = app.throttle.count(app.now_ms(), &[(DEVICE_ADDRESS, &from.site)]);
    let counted = counted.map_err(|_| Over::For(End::TooManyAttempts))?;
    let handshake = shake(web, app, from.address);
    let handshake = timeout(Duration::from_millis(HANDSHAKE_MS_MAX.unsigned_abs()), handshake);
    let entered = handshake.await.unwrap_or_else(|_| Err(HandshakeError::Timeout.into()));
    // Also where the other side went away: it made us work for nothing.
    if matches!(entered, Err(Over::Gone | Over::For(End::Handshake(_) | End::Banned | End::Suspended))) {
        counted.stands();
    }
    entered
}

/// The handshake up to the server's last message, which is yet to be sent.
async fn shake(web: &mut WebSocket, app: &App, address: IpAddr) -> Result<Linked, Over> {
    let began = Instant::now();
    let mut handshake = Handshake::new(0);
    loop {
        let message = match web.recv().await {
            Some(Ok(Message::Binary(message))) => message,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Text(_))) => return Err(HandshakeError::Malformed.into()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Over::Gone),
        };
        let fresh = Fresh { nonce: random()?, ephemeral: random()? };
        let now_ms = began.elapsed().as_millis() as i64;
        match handshake.receive(&message, &app.devices.key, &fresh, now_ms)? {
            Step::Send(reply) => {
                web.send(Message::Binary(reply.into())).await.map_err(|_| Over::Gone)?;
            }
            Step::LookUp(device) => {
                let device = device_text(device);
                let named = device.clone();
                let found = app.sql.transaction(move |tx| enrolled::find(tx, &named)).await?;
                let (finish, frames) = handshake.judge(found.as_ref().map(|found| &found.public_key))?;
                let shown = found.ok_or(HandshakeError::Refused)?;
                let (now_ms, address) = (app.now_ms(), address.to_string());
                let signing = app.sql.transaction(move |tx| {
                    let signed_in = enrolled::sign_in(tx, &shown, &address, now_ms)?;
                    let streams = events::streams(tx, signed_in.account, &shown.id)?;
                    Ok::<_, Problem>((signed_in, streams))
                });
                let (signed_in, streams) = signing.await?;
                return Ok(Linked { device, signed_in, frames, finish, streams });
            }
        }
    }
}

async fn talk(web: &mut WebSocket, app: &App, linked: Linked) -> Over {
    let Linked { device, signed_in, frames, finish, streams } = linked;
    let SignedIn { account, session, ended } = signed_in;
    app.revoke(&ended);
    let Joined { mut queue, mut closing, place } = app.devices.links.join(account, &device, &session);
    // It may have ended before the link was there to be closed.
    if app.revoked.contains(&session) {
        return Over::For(End::SessionOver);
    }
    let over = {
        let Frames { sealer, opener } = frames;
        let (to, from) = web.split();
        let told = streams.iter().map(|stream| (stream.stream.clone(), stream.sequence)).collect();
        let mut talk = Talk { app, account, device, session, to, sealer, told };
        tokio::select! {
            biased;
            end = &mut closing => end.map_or(Over::Gone, Over::For),
            over = async {
                match talk.begin(finish, streams).await {
                    Ok(()) => talk.go_on(from, opener, &mut queue).await,
                    Err(over) => over,
                }
            } => over,
        }
    };
    drop(place);
    over
}

/// A link that is past its handshake.
struct Talk<'a> {
    app: &'a App,
    account: i64,
    device: String,
    session: String,
    to: SplitSink<&'a mut WebSocket, Message>,
    sealer: Sealer,
    /// The last sequence of each stream that the device was told of.
    told: HashMap<String, i64>,
}

impl Talk<'_> {
    async fn begin(&mut self, finish: Vec<u8>, streams: Vec<Stream>) -> Result<(), Over> {
        self.to.send(Message::Binary(finish.into())).await.map_err(|_| Over::Gone)?;
        let access_token = self.app.access_token(self.account, &self.session)?;
        let (device, session) = (self.device.clone(), self.session.clone());
        self.tell(&Told::Welcome {
            device: &device,
            account: self.account,
            session: &session,
            access_token,
            expires_in: ACCESS_MS / 1000,
            server_ms: self.app.now_ms(),
            streams,
        })
        .await
    }

    async fn go_on(
        &mut self,
        mut from: SplitStream<&mut WebSocket>,
        mut opener: Opener,
        queue: &mut tokio::sync::mpsc::Receiver<Arc<Event>>,
    ) -> Over {
        let mut look = interval_at(Instant::now() + LOOK_INTERVAL, LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next = Instant::now();
        loop {
            let done = tokio::select! {
                message = async { sleep_until(next).await; from.next().await } => {
                    next = Instant::now() + MESSAGE_INTERVAL;
                    match message {
                        Some(Ok(Message::Binary(message))) => match opener.open(&message) {
                            Ok(request) => self.take(&request).await,
                            Err(_) => Err(Over::For(End::Forged)),
                        },
                        Some(Ok(Message::Text(_))) => Err(Over::For(End::Forged)),
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                        Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Over::Gone),
                    }
                }
                Some(event) = queue.recv() => {
                    self.note(&event.stream, event.sequence);
                    self.tell(&Told::Event { event: &event }).await
                }
                _ = look.tick() => self.look().await,
            };
            if let Err(over) = done {
                return over;
            }
        }
    }

    /// Takes a request, and answers it.
    async fn take(&mut self, request: &[u8]) -> Result<(), Over> {
        let (number, answered) = match serde_json::from_slice::<Request>(request) {
            Ok(request) => {
                let number = request.number();
                (Some(number), self.answer(request).await)
            }
            Err(error) => {
                let code = if error.is_data() { Code::BodyInvalid } else { Code::BodyMalformed };
                (None, Err(Problem::from(code).detail(error.to_string())))
            }
        };
        match answered {
            Ok(told) => self.tell(&told).await,
            Err(Problem { code, detail, retry_after_s }) => {
                let detail = detail.map(std::borrow::Cow::into_owned);
                self.tell(&Told::Refused { request: number, code, detail, retry_after: retry_after_s }).await
            }
        }
    }

    async fn answer(&mut self, request: Request) -> Result<Told<'static>, Problem> {
        let (account, device, now_ms) = (self.account, self.device.clone(), self.app.now_ms());
        let sql = &self.app.sql;
        Ok(match request {
            Request::Publish { request, event } => {
                let stream = event.stream.clone();
                let published =
                    sql.transaction(move |tx| events::publish(tx, account, &device, &event, now_ms)).await?;
                match published {
                    Published::New(event) => {
                        let sequence = event.sequence;
                        self.note(&stream, sequence);
                        self.app.devices.links.deliver(account, &Arc::new(event));
                        Told::Published { request, stream, sequence: Some(sequence), known: false }
                    }
                    Published::Known(sequence) => Told::Published { request, stream, sequence, known: true },
                }
            }
            Request::CatchUp { request, stream, after } => {
                let name = stream.clone();
                let caught =
                    sql.transaction(move |tx| events::catch_up(tx, account, &name, after, now_ms)).await?;
                Told::Events { request, stream, caught }
            }
            Request::Acknowledge { request, stream, sequence } => {
                sql.transaction(move |tx| events::acknowledge(tx, account, &device, &stream, sequence))
                    .await?;
                Told::Acknowledged { request }
            }
            Request::Streams { request } => {
                let streams = sql.transaction(move |tx| events::streams(tx, account, &device)).await?;
                Told::Streams { request, streams }
            }
            Request::Token { request } => {
                let access_token = self.app.access_token(account, &self.session)?;
                Told::Token { request, access_token, expires_in: ACCESS_MS / 1000 }
            }
        })
    }

    /// Looks whether the link may stay, and whether there is anything that it was not told of: by another node, or by nobody.
    async fn look(&mut self) -> Result<(), Over> {
        let (account, now_ms) = (self.account, self.app.now_ms());
        let (device, session) = (self.device.clone(), self.session.clone());
        let looked = self
            .app
            .sql
            .transaction(move |tx| {
                if !enrolled::stays(tx, &device, &session, now_ms)? {
                    return Ok(None);
                }
                events::streams(tx, account, &device).map(Some)
            })
            .await;
        // While the database is away a link stays.
        if let Ok(streams) = looked {
            for Stream { stream, sequence, .. } in streams.ok_or(Over::For(End::SessionOver))? {
                if self.note(&stream, sequence) {
                    self.tell(&Told::Behind { stream: &stream, sequence }).await?;
                }
            }
        }
        self.to.send(Message::Ping(axum::body::Bytes::new())).await.map_err(|_| Over::Gone)
    }

    /// Notes that the device is told of a stream's event; whether it was not before.
    fn note(&mut self, stream: &str, sequence: i64) -> bool {
        let told = self.told.entry(stream.to_owned()).or_default();
        let before = *told;
        *told = before.max(sequence);
        before < sequence
    }

    async fn tell(&mut self, told: &Told<'_>) -> Result<(), Over> {
        let text = serde_json::to_vec(told).map_err(|error| {
            tracing::error!(%error, "a message to a device cannot be written");
            Over::For(End::Unavailable)
        })?;
        let sealed = self.sealer.seal(&text).map_err(|_| Over::For(End::Forged))?;
        self.to.send(Message::Binary(sealed.into())).await.map_err(|_| Over::Gone)
    }
}

impl Request {
    fn number(&self) -> i64 {
        match self {
            Request::Publish { request, .. }
            | Request::CatchUp { request, .. }
            | Request::Acknowledge { request, .. }
            | Request::Streams { request }
            | Request::Token { request } => *request,
        }
    }
}
