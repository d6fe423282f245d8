//! Sign-in: from an accepted socket to a character handed to its shard.
//!
//! Runs on the control plane, one task a connection. Everything a stranger can send before playing ends here: with an
//! answer, a stable code, or a close. Never touches a zone.

mod accounts;
mod characters;
mod request;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{Instrument as _, field, trace_span};
use vyuha_accounts::Service;
use vyuha_accounts::characters::Newcomer;
use vyuha_accounts::names::Names;
use vyuha_accounts::problem::{Code, Problem};
use vyuha_game::{CharacterRow, Content, ItemRow};
use vyuha_gateway::Metrics;
use vyuha_gateway::accounts::Accounts;
use vyuha_net::transport::Stream;
use vyuha_protocol::frame::{CLIENT_PAYLOAD_BYTES_MAX, FrameError, first_frame};
use vyuha_protocol::message::{self, ClientMessage, DecodeError, Message, Pong, Welcome};
use vyuha_protocol::{ErrorCode, PROTOCOL_VERSION};
use vyuha_record::Record;
use vyuha_store::sql::Sql;
use vyuha_store::{Handle, Store, StoreError, TRACE_TARGET};

use crate::addresses::Place;
use crate::client_stream::ClientStream;
use crate::doors::{Admission, Resumption, ShardDoors};
use crate::events::{About, Events, What};
use crate::knocking::Knocker;
use crate::seats::{Claim, Seats};
use crate::tickets::{self, Ticket};
use request::Request;

/// Sign-in attempts and registrations on one connection; the next one closes it.
const ATTEMPTS_MAX: u32 = 5;
/// How long a client is waited for to take the last message.
pub const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// What sign-in needs of the node.
pub struct SignIn {
    /// The world, for its hash and its starting zones.
    pub content: Arc<Content>,
    /// Password hashing.
    pub accounts: Accounts,
    /// The HTTP API, whose tickets are taken; none where it is off.
    pub api: Option<Arc<Service>>,
    /// The database.
    pub store: Handle,
    /// The same for what the HTTP API does too.
    pub sql: Sql,
    /// What characters may be called.
    pub names: Names,
    /// Where they begin.
    pub newcomer: Newcomer,
    /// Who plays.
    pub seats: Rc<Seats>,
    /// The way to the shards.
    pub doors: Rc<ShardDoors>,
    /// The node's figures.
    pub metrics: Arc<Metrics>,
    /// The log of operations.
    pub events: Events,
    /// Whether clients may register accounts.
    pub open_registration: bool,
    /// Time from connection to signed in.
    pub handshake_timeout: Duration,
    /// Longest silence after that.
    pub idle_timeout: Duration,
    /// Frames a second from one client.
    pub frames_per_second_max: u32,
    /// Accounts that may play at once.
    pub players_max: usize,
    /// Set when the node is to end: whoever signs in is told.
    pub stopping: watch::Receiver<bool>,
}

/// How a connection's sign-in ended.
enum End {
    /// A character enters the world.
    Enter(Box<Entry>),
    /// A session whose connection broke goes on with this one.
    Resume(Resume),
    /// The client went away.
    Gone,
    /// It speaks no TLS, or broke it.
    BrokeTls,
    /// The server closes it for this reason, which the client is told.
    Close(ErrorCode),
}

/// Somebody who comes back.
struct Resume {
    account: i64,
    shard: u16,
    received: u32,
    ticket: Ticket,
}

/// Somebody who is about to play.
struct Entry {
    claim: Claim,
    ticket: Ticket,
    request: u32,
    character: CharacterRow,
    items: Vec<ItemRow>,
    owes: bool,
}

/// What was asked for and could not be done.
enum Refusal {
    /// The request is refused; the connection goes on.
    Refuse(ErrorCode),
    /// The connection ends.
    End(End),
}

impl End {
    /// How it ended, in traces.
    fn name(&self) -> &'static str {
        match self {
            End::Enter(_) => "entered",
            End::Resume(_) => "resumed",
            End::Gone => "gone",
            End::BrokeTls => "broke_tls",
            End::Close(code) => code.name(),
        }
    }

    /// The end of a stream that failed.
    fn of(error: &std::io::Error) -> End {
        if error.kind() == std::io::ErrorKind::InvalidData { End::BrokeTls } else { End::Gone }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Refusal {
        Refusal::Refuse(code)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        tracing::error!(%error, "a sign-in could not use the database");
        Refusal::Refuse(ErrorCode::Unavailable)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        Refusal::Refuse(match problem.code {
            Code::CharacterUnknown => ErrorCode::CharacterUnknown,
            Code::CharacterDeleted => ErrorCode::CharacterDeleted,
            Code::CharacterLimit => ErrorCode::CharacterLimit,
            Code::CharacterNameInvalid => ErrorCode::CharacterNameInvalid,
            Code::CharacterNameRefused => ErrorCode::CharacterNameRefused,
            Code::CharacterNameTaken => ErrorCode::CharacterNameTaken,
            Code::ProfileFrozen => ErrorCode::ProfileFrozen,
            Code::CredentialsWrong => ErrorCode::CredentialsWrong,
            // What failed is in the log.
            _ => ErrorCode::Unavailable,
        })
    }
}

/// Who is signed in.
#[derive(Clone, Copy)]
struct SignedIn {
    account: i64,
    /// The profile and the character that its ticket is for; whichever of the account without.
    profile: Option<i64>,
    character: Option<i64>,
}

/// Where a connection stands.
#[derive(Clone, Copy)]
enum Stage {
    /// Nothing was said yet.
    Fresh,
    /// The versions fit.
    Greeted,
    /// Signed in.
    SignedIn(SignedIn),
}

struct Connection<'a> {
    node: &'a SignIn,
    place: &'a Place,
    knocker: &'a Knocker,
    stream: ClientStream,
    received: Vec<u8>,
    stage: Stage,
    request_last: u32,
    attempts: u32,
    /// Frames since the second began.
    second: (Instant, u32),
}

impl SignIn {
    /// Speaks with one client until its socket is handed to a shard or closed. What comes back is to be closed, and told why.
    pub async fn welcome(
        &self,
        stream: ClientStream,
        place: &Place,
        knocker: &Knocker,
    ) -> Option<(ClientStream, ErrorCode)> {
        self.metrics.connections.inc();
        self.metrics.handshakes_in_progress.inc();
        let mut connection = Connection {
            node: self,
            place,
            knocker,
            stream,
            received: Vec::new(),
            stage: Stage::Fresh,
            request_last: 0,
            attempts: 0,
            second: (Instant::now(), 0),
        };
        let mut stopping = self.stopping.clone();
        let span = trace_span!(
            target: TRACE_TARGET,
            "sign_in",
            otel.kind = "server",
            vyuha.account = field::Empty,
            vyuha.end = field::Empty,
        );
        let end = tokio::select! {
            end = connection.run().instrument(span.clone()) => end,
            _ = stopping.wait_for(|stopping| *stopping) => End::Close(ErrorCode::ShuttingDown),
            () = knocker.must_go() => End::Close(ErrorCode::ServerFull),
        };
        if !span.is_disabled() {
            span.record("vyuha.end", end.name());
            if let Stage::SignedIn(SignedIn { account, .. }) = connection.stage {
                span.record("vyuha.account", account);
            }
        }
        drop(span);
        self.metrics.handshakes_in_progress.dec();
        let Connection { stream, received, .. } = connection;
        match end {
            End::Enter(entry) => {
                let Entry { claim, ticket, request, character, items, owes } = *entry;
                let shard = self.doors.shard_of(character.zone);
                let stream = taken_from_control(stream)?;
                let stay = claim.stay();
                let about =
                    About { account: character.account, character: character.id, zone: character.zone };
                let admission = Admission { stream, received, request, character, items, owes, ticket, stay };
                match self.doors.admit(shard, admission) {
                    Ok(()) => {
                        self.events.note(What::Entered, about, "");
                        claim.play(shard);
                    }
                    Err(back) => return turned_back(back.stream),
                }
                None
            }
            End::Resume(Resume { account, shard, received: messages, ticket }) => {
                let stream = taken_from_control(stream)?;
                let resumption = Resumption { account, stream, unread: received, received: messages, ticket };
                match self.doors.resume(shard, resumption) {
                    Ok(()) => None,
                    Err(back) => turned_back(back.stream),
                }
            }
            End::Gone => {
                self.metrics.closed("peer").inc();
                None
            }
            End::BrokeTls => {
                self.metrics.closed("tls").inc();
                None
            }
            End::Close(code) => Some((stream, code)),
        }
    }

    /// Counts a connection that was closed without a word, because too many others are being told the same.
    pub fn drop_connection(&self, code: ErrorCode) {
        self.metrics.closed(code.name()).inc();
    }

    /// Whether nobody can come who does not play.
    fn is_full(&self) -> bool {
        self.seats.count() >= self.players_max
    }

    /// Tells a client why its connection ends, as far as it listens, and closes.
    pub async fn say_farewell(&self, mut stream: ClientStream, code: ErrorCode) {
        say_farewell(&self.metrics, &mut stream, code).await;
    }
}

impl Connection<'_> {
    async fn run(&mut self) -> End {
        let mut deadline = Instant::now() + self.node.handshake_timeout;
        self.knocker.set_awaited(true);
        match timeout_at(deadline, self.stream.shake_hands(&mut self.received)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return End::of(&error),
            Err(_) => return End::Close(self.timeout_code()),
        }
        loop {
            self.knocker.set_awaited(!matches!(self.stage, Stage::SignedIn(_)));
            let next = timeout_at(deadline, self.next_request()).await;
            self.knocker.set_awaited(false);
            let request = match next {
                Ok(Ok(request)) => request,
                Ok(Err(end)) => return end,
                Err(_) => return End::Close(self.timeout_code()),
            };
            if self.is_flooding() {
                return End::Close(ErrorCode::Flood);
            }
            let number = request.number();
            if let Some(number) = number {
                if number <= self.request_last {
                    if let Err(end) = self.refuse(number, ErrorCode::Replayed).await {
                        return end;
                    }
                    continue;
                }
                self.request_last = number;
            }
            // What the server itself waits for is bounded too: a database that is away must not hold connections.
            let span = trace_span!(target: TRACE_TARGET, "sign_in.request", otel.name = request.name());
            let Ok(done) = timeout_at(deadline, self.carry_out(request).instrument(span)).await else {
                return End::Close(ErrorCode::Unavailable);
            };
            match done {
                Ok(()) => {}
                Err(Refusal::End(end)) => return end,
                Err(Refusal::Refuse(code)) => {
                    if let Err(end) = self.refuse(number.unwrap_or(0), code).await {
                        return end;
                    }
                }
            }
            if let Stage::SignedIn(_) = self.stage {
                deadline = Instant::now() + self.node.idle_timeout;
            }
        }
    }

    /// Counts a frame; whether there were too many in this second.
    fn is_flooding(&mut self) -> bool {
        let (begun, frames) = &mut self.second;
        if begun.elapsed() >= Duration::from_secs(1) {
            (*begun, *frames) = (Instant::now(), 0);
        }
        *frames += 1;
        *frames > self.node.frames_per_second_max
    }

    fn timeout_code(&self) -> ErrorCode {
        match self.stage {
            Stage::SignedIn(_) => ErrorCode::IdleTimeout,
            Stage::Fresh | Stage::Greeted => ErrorCode::HandshakeTimeout,
        }
    }

    /// Waits for a whole frame and takes its request out. Reads no more than one buffer ahead.
    async fn next_request(&mut self) -> Result<Request, End> {
        loop {
            match first_frame(&self.received, CLIENT_PAYLOAD_BYTES_MAX) {
                Ok(Some(frame)) => {
                    let bytes = frame.bytes();
                    let request = ClientMessage::decode(frame.kind, frame.payload).map(|message| {
                        self.node.metrics.command(message.name()).inc();
                        Request::take(message)
                    });
                    self.received.drain(..bytes);
                    return request.map_err(|error| {
                        End::Close(match error {
                            DecodeError::UnknownKind(_) => ErrorCode::UnknownKind,
                            DecodeError::Malformed(_) => ErrorCode::Malformed,
                        })
                    });
                }
                Ok(None) => {}
                Err(FrameError::TooLarge { .. }) => return Err(End::Close(ErrorCode::FrameTooLarge)),
                Err(FrameError::Reserved) => return Err(End::Close(ErrorCode::Malformed)),
            }
            match self.stream.read(&mut self.received).await {
                Ok(true) => {}
                Ok(false) => return Err(End::Gone),
                Err(error) => return Err(End::of(&error)),
            }
        }
    }

    async fn carry_out(&mut self, request: Request) -> Result<(), Refusal> {
        match (self.stage, request) {
            (_, Request::Ping { stamp }) => self.send(&Pong { stamp }).await,
            (Stage::Fresh, Request::Hello { version, content_hash }) => {
                self.greet(version, content_hash).await
            }
            // Only a session that is there already can be taken up.
            (Stage::Greeted, Request::Register { .. } | Request::Login { .. }) if self.node.is_full() => {
                Err(Refusal::End(End::Close(ErrorCode::ServerFull)))
            }
            (Stage::Greeted, Request::Login { .. }) if self.place.has_failed_too_often() => {
                Err(Refusal::End(End::Close(ErrorCode::SignInLimit)))
            }
            (Stage::Greeted, Request::Register { request, account, password }) => {
                self.register(request, &account, &password).await
            }
            (Stage::Greeted, Request::Login { request, account, password }) => {
                self.log_in(request, &account, &password).await
            }
            (Stage::Greeted, Request::Ticket { request, ticket }) => self.redeem(request, ticket).await,
            (Stage::Greeted, Request::Resume { ticket, received }) => self.resume(ticket, received),
            (Stage::SignedIn(who), Request::List { request }) => self.list(request, who).await,
            (Stage::SignedIn(who), Request::Create { request, name }) => {
                self.create(request, who, name).await
            }
            (Stage::SignedIn(who), Request::Select { request, character }) => {
                self.select(request, who, character).await
            }
            _ => Err(ErrorCode::OutOfOrder.into()),
        }
    }

    async fn greet(&mut self, version: u32, content_hash: [u8; 32]) -> Result<(), Refusal> {
        if version != PROTOCOL_VERSION {
            return Err(Refusal::End(End::Close(ErrorCode::VersionMismatch)));
        }
        if content_hash != self.node.content.hash {
            return Err(Refusal::End(End::Close(ErrorCode::ContentMismatch)));
        }
        self.stage = Stage::Greeted;
        self.send(&Welcome { version: PROTOCOL_VERSION, build: crate::VERSION.to_owned() }).await
    }

    /// Counts an attempt; too many on one connection end it.
    fn attempt(&mut self) -> Result<(), Refusal> {
        self.attempts += 1;
        if self.attempts > ATTEMPTS_MAX { Err(Refusal::End(End::Close(ErrorCode::Flood))) } else { Ok(()) }
    }

    /// Finds the session that a ticket takes up.
    fn resume(&mut self, shown: [u8; 16], received: u32) -> Result<(), Refusal> {
        self.attempt()?;
        let resumed = self.node.seats.resume(&shown, secret()?);
        let (account, shard, ticket) = resumed.ok_or(ErrorCode::ResumeRefused)?;
        Err(Refusal::End(End::Resume(Resume { account, shard, received, ticket })))
    }

    async fn refuse(&mut self, request: u32, code: ErrorCode) -> Result<(), End> {
        self.node.metrics.error(code.name()).inc();
        let reply = error_message(request, code, false);
        self.send(&reply).await.map_err(|_| End::Gone)
    }

    async fn send<M: Message>(&mut self, message: &M) -> Result<(), Refusal> {
        let mut frame = Vec::new();
        message::append(&mut frame, message);
        self.stream.write_all(&frame).await.map_err(|_| Refusal::End(End::Gone))
    }
}

fn secret() -> Result<[u8; 16], Refusal> {
    tickets::secret().map_err(|error| {
        tracing::error!(%error, "the kernel gives no random numbers");
        ErrorCode::Unavailable.into()
    })
}

/// A client whose shard takes nobody just now.
fn turned_back(stream: Stream) -> Option<(ClientStream, ErrorCode)> {
    Some((ClientStream::from_stream(stream).ok()?, ErrorCode::ServerFull))
}

/// A stream for a shard; none if it cannot be had, which closes it.
fn taken_from_control(stream: ClientStream) -> Option<Stream> {
    match stream.into_stream() {
        Ok(stream) => Some(stream),
        Err(error) => {
            tracing::error!(%error, "a socket could not be taken from the control plane");
            None
        }
    }
}

/// The next free id of a table; whoever inserts with it must do so in the same call.
fn next_id<R: Record>(store: &mut dyn Store) -> Result<i64, StoreError> {
    Ok(store.max_key(&R::TABLE, "id")?.unwrap_or(0) + 1)
}

/// The message that refuses a request or, with `closing`, ends a connection.
pub fn error_message(request: u32, code: ErrorCode, closing: bool) -> message::Error {
    message::Error { request, code: code as u16, closing, text: code.text().to_owned() }
}

/// Tells a client why its connection ends, as far as it listens, and closes.
async fn say_farewell(metrics: &Metrics, stream: &mut ClientStream, code: ErrorCode) {
    metrics.error(code.name()).inc();
    metrics.closed(code.name()).inc();
    let mut frame = Vec::new();
    message::append(&mut frame, &error_message(0, code, true));
    let farewell = async {
        stream.shake_hands(&mut Vec::new()).await?;
        stream.write_all(&frame).await?;
        stream.finish().await
    };
    // A client that does not take these few bytes, or sends on and on, has nobody to tell.
    let _ = timeout(FAREWELL_TIMEOUT, farewell).await;
}
