//! What a client is told, and what can go wrong in the telling.

use std::io;
use std::time::Duration;

use thiserror::Error;
use vyuha_protocol::frame::FrameError;
use vyuha_protocol::message::{CharacterSummary, DecodeError, InventorySlot, ItemSlot};
use vyuha_protocol::snapshot::SnapshotError;
use vyuha_protocol::{AccountId, CharacterId, EntityId, ErrorCode, Pos, RequestId, ZoneId};

use super::predictor::ReconcileError;
use super::world::WorldError;

/// Something the server said.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Versions and content fit; an account can sign in.
    Welcome {
        /// The server's protocol version.
        version: u32,
        /// The server's build, for people.
        build: String,
    },
    /// The account was registered; it is not signed in by that.
    Registered {
        /// The request that this answers.
        request: RequestId,
    },
    /// The account is signed in.
    LoggedIn {
        /// The request that this answers.
        request: RequestId,
        /// The account.
        account: AccountId,
    },
    /// The account's characters, in order of creation.
    Characters {
        /// The request that this answers.
        request: RequestId,
        /// The characters.
        characters: Vec<CharacterSummary>,
    },
    /// A character was created.
    CharacterCreated {
        /// The request that this answers.
        request: RequestId,
        /// The new character.
        character: CharacterId,
    },
    /// From here on there is a session, which can be taken up again if its connection breaks.
    SessionBegun,
    /// The session goes on over a new connection; the world view begins anew. What was lost follows.
    Resumed,
    /// The character stands in its zone; the world view and the prediction begin anew.
    EnteredZone(EnteredZone),
    /// A request was carried out that needs no other answer.
    Done {
        /// The request that this answers.
        request: RequestId,
    },
    /// Somebody near said something; or what was said in the zone before the character came, or is announced.
    Said {
        /// The speaker; [`vyuha_protocol::message::NOBODY`] of nobody near.
        entity: EntityId,
        /// The speaker's name; empty of an announcement.
        name: String,
        /// What was said.
        text: String,
    },
    /// An item was picked up, durably.
    PickedUp {
        /// The request that this answers.
        request: RequestId,
        /// The entity that was picked up.
        entity: EntityId,
        /// The slot it went to, as it is now.
        slot: InventorySlot,
    },
    /// Items were dropped, durably.
    Dropped {
        /// The request that this answers.
        request: RequestId,
        /// The entity that now lies on the ground.
        entity: EntityId,
        /// The slot as it is now; a count of 0 if it is empty.
        slot: InventorySlot,
    },
    /// Slots changed, durably.
    SlotsChanged {
        /// The request that this answers; 0 if no request was for this change.
        request: RequestId,
        /// The slots that changed, as they are now.
        slots: Vec<ItemSlot>,
    },
    /// What lies in the bank.
    BankOpened {
        /// The request that this answers.
        request: RequestId,
        /// The slots that are not empty.
        slots: Vec<ItemSlot>,
    },
    /// Somebody near asks to trade.
    TradeAsked {
        /// Who.
        entity: EntityId,
        /// Its name.
        name: String,
    },
    /// A trade as it stands now.
    TradeChanged {
        /// With whom.
        partner: EntityId,
        /// Rises with each change of what is offered.
        revision: u32,
        /// What the character offers: inventory slots, each with how many of it.
        yours: Vec<ItemSlot>,
        /// What the other offers.
        theirs: Vec<ItemSlot>,
        /// The step that the character confirmed, 0 to 2.
        your_step: u8,
        /// The step that the other confirmed, 0 to 2.
        their_step: u8,
    },
    /// The trade was carried out, durably.
    TradeDone {
        /// The slots that changed, as they are now.
        slots: Vec<ItemSlot>,
    },
    /// The trade ended without effect.
    TradeEnded {
        /// Why; `None` for a code that is newer than this client.
        code: Option<ErrorCode>,
    },
    /// The server takes the player to be away, or back.
    Away {
        /// Away from now on, or back.
        away: bool,
        /// Seconds after which the server saves the character and closes; 0 for never, or if back.
        closing_s: u32,
    },
    /// The answer to a ping.
    Pong {
        /// The ping's stamp.
        stamp: u64,
    },
    /// The character is saved; the server closes. Nothing follows.
    LoggedOut {
        /// The request that this answers.
        request: RequestId,
    },
    /// A request was refused and changed nothing; the connection goes on.
    Refused {
        /// The request; 0 if the server could not tell which.
        request: RequestId,
        /// Why; `None` for a code that is newer than this client.
        code: Option<ErrorCode>,
        /// The server's words, for people.
        text: String,
    },
    /// The server closes the connection. Nothing follows.
    Closed {
        /// Why; `None` for a code that is newer than this client.
        code: Option<ErrorCode>,
        /// The server's words, for people.
        text: String,
    },
    /// A snapshot was applied: world view and prediction are of its tick, until the next event is taken.
    Snapshot(SnapshotSummary),
}

/// How a character entered a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnteredZone {
    /// The request that this answers; 0 if the character walked there.
    pub request: RequestId,
    /// The zone.
    pub zone: ZoneId,
    /// Steps a second in this zone, and snapshots; at least 1.
    pub tick_hz: u16,
    /// Position units a step at full deflection, at most [`vyuha_protocol::units::STEP_UNITS_MAX`].
    pub speed: u16,
    /// The character's entity.
    pub entity: EntityId,
    /// Where it stands, on an open tile.
    pub pos: Pos,
    /// What the character carries; slots not named are empty. Empty when it walked there: nothing of it has changed.
    pub inventory: Vec<InventorySlot>,
    /// What the character wears, likewise.
    pub worn: Vec<ItemSlot>,
}

/// What a snapshot changed, in figures; the changes themselves are in the world view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// The zone's tick that it is the state after; rises.
    pub tick: u32,
    /// The last input that the server processed.
    pub input_ack: u32,
    /// Where the server says the character stands, after that input.
    pub pos: Pos,
    /// How far the predicted place jumped, in position units; 0 when the prediction was right.
    pub correction: u32,
    /// Entities that were not in view before.
    pub entered: u32,
    /// Entities that moved or changed.
    pub changed: u32,
    /// Entities no longer in view.
    pub left: u32,
    /// Records that contradict the view, such as an update for an entity that is not in the cell: faults of the
    /// server, which change nothing.
    pub strays: u32,
}

/// Why what the server sent cannot be followed. The connection is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// The stream of frames is broken.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A payload is no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A payload is no snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A snapshot cannot be applied to the view.
    #[error(transparent)]
    World(#[from] WorldError),
    /// A snapshot contradicts what the client sent.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// A message answers no open request of its kind.
    #[error("{message} answers request {request}, which is not open or asked for something else")]
    NotAsked {
        /// The message's name.
        message: &'static str,
        /// The request that it names.
        request: RequestId,
    },
    /// A message does not belong to this stage of the connection.
    #[error("{0} is not expected at this stage of the connection")]
    OutOfOrder(&'static str),
    /// The character entered a zone that the content does not have.
    #[error("the server has zone {0}, which this client's content lacks")]
    ZoneUnknown(ZoneId),
    /// The zone's rate or speed is out of range, or the character stands in a wall.
    #[error("the server's figures for zone {0} are out of range")]
    ZoneInvalid(ZoneId),
    /// A snapshot is not newer than the one before.
    #[error("snapshot of tick {tick} came after that of tick {last}")]
    TickNotRising {
        /// The snapshot's tick.
        tick: u32,
        /// The tick of the snapshot before.
        last: u32,
    },
    /// More bytes were fed than are held: events must be taken in between.
    #[error(
        "over {} bytes are waiting to be read; take events before feeding more",
        super::RECEIVED_BYTES_MAX
    )]
    ReceivedFull,
}

/// Why a message was not appended. Nothing was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendError {
    /// The outgoing buffer is full: the server does not read.
    #[error("over {} bytes are waiting to be sent; flush before sending more", super::OUTGOING_BYTES_MAX)]
    OutgoingFull,
    /// The message is longer than a server accepts.
    #[error("the message is longer than {} bytes", vyuha_protocol::frame::CLIENT_PAYLOAD_BYTES_MAX)]
    TooLong,
    /// Too many requests wait for an answer.
    #[error("{} requests wait for an answer; take their replies first", super::REQUESTS_PENDING_MAX)]
    TooManyRequests,
    /// Too many inputs wait to be acknowledged.
    #[error("{} inputs are not acknowledged; wait for a snapshot", super::INPUTS_PENDING_MAX)]
    TooManyInputs,
    /// There is no session to be taken up again.
    #[error("there is no session to take up again; sign in")]
    NoSession,
    /// The server has not said yet whether the session goes on.
    #[error("the session is being taken up again; wait until it is")]
    Resuming,
    /// No character stands in a zone.
    #[error("no character stands in a zone; select one first")]
    NotInZone,
    /// The connection ended, or no request number is left.
    #[error("the connection is over; open a new one")]
    Over,
}

/// Why a client cannot go on, or did not get what it waited for.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// What the server sent cannot be followed.
    #[error("the server sent what cannot be followed: {0}")]
    Fault(#[from] Fault),
    /// A message could not be appended.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The server refused the request.
    #[error("the server refused: {text}")]
    Refused {
        /// Why; `None` for a code that is newer than this client.
        code: Option<ErrorCode>,
        /// The server's words.
        text: String,
    },
    /// The server said why it closes the connection.
    #[error("the server closed the connection: {text}")]
    Closed {
        /// Why; `None` for a code that is newer than this client.
        code: Option<ErrorCode>,
        /// The server's words.
        text: String,
    },
    /// The connection ended without a word.
    #[error("the server ended the connection without a word")]
    Ended,
    /// What was waited for did not come in time.
    #[error("no such event within {0:?}")]
    TimedOut(Duration),
}
