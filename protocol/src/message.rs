//! Every message, declared once.
//!
//! A message's payload is its rkyv archive (little-endian, unaligned), validated and then read in place. The
//! snapshot alone has a layout of its own: see [`crate::snapshot`]. Clients behind WebSockets speak the same messages
//! in MessagePack: see [`crate::msgpack`].

mod declare;
#[cfg(test)]
mod tests;

use rkyv::rancor::Failure;
use thiserror::Error;

use declare::{messages, parts};

use crate::frame::append_frame;
use crate::msgpack::{self, MsgpackError};

/// A message that can be framed.
pub trait Message {
    /// The number in its frame's head.
    const KIND: u16;
    /// Its name in the field's terms, as metrics show it.
    const NAME: &'static str;

    /// What it is for, as `docs/protocol.md` says it.
    const DOC: &'static str;
    /// Its fields in order.
    const FIELDS: &'static [Field];
    /// Bytes of its archive's fixed part.
    const FIXED_BYTES: usize;

    /// Appends the message's archive, without a head.
    fn archive(&self, out: &mut Vec<u8>);
}

/// A field of a message, as `docs/protocol.md` shows it.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its Rust type.
    pub form: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// Where it stands in the archive's fixed part, in bytes.
    pub offset: usize,
}

/// What describes a message: name, kind, purpose, fields, bytes of the fixed part.
pub type Description = (&'static str, u16, &'static str, &'static [Field], usize);

/// Why a payload was refused.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum DecodeError {
    /// No message of this direction has this kind.
    #[error("no message has kind {0:#06x}")]
    UnknownKind(u16),
    /// The bytes are no valid archive of the message.
    #[error("the payload is no valid {0}")]
    Malformed(&'static str),
}

/// Appends a message as a frame.
#[inline]
pub fn append<M: Message>(out: &mut Vec<u8>, message: &M) {
    append_frame(out, M::KIND, |out| message.archive(out));
}

messages! {
    /// A message from a client, read in place.
    ClientMessage;

    /// Opens a connection: what the client speaks and holds. Answered by [`Welcome`] or an [`Error`] and close.
    0x0001 Hello {
        /// The client's [`crate::PROTOCOL_VERSION`].
        version: u32,
        /// SHA-256 of the client's content, as the server computes it.
        #[serde(with = "serde_bytes")]
        content_hash: [u8; 32],
    }
    /// Registers an account. Answered by [`AccountRegistered`].
    0x0002 RegisterAccount {
        /// Rises with each request of the connection.
        request: u32,
        /// 3 to 32 of a-z, 0-9, '_', '.', '-'; upper case is taken as lower case.
        account: String,
        /// 8 to 128 bytes.
        password: String,
    }
    /// Signs in. Answered by [`LoggedIn`].
    0x0003 Login {
        /// Rises with each request of the connection.
        request: u32,
        /// The account's name.
        account: String,
        /// The account's password.
        password: String,
    }
    /// Signs in with a ticket of the HTTP API (`POST /api/v1/tickets`) in place of a password. Answered by [`LoggedIn`]; refused
    /// with `TicketRequired` if the ticket is unknown, was used or is too old.
    0x0008 RedeemTicket {
        /// Rises with each request of the connection.
        request: u32,
        /// The ticket as the API gave it.
        ticket: String,
    }
    /// Asks for the account's characters. Answered by [`Characters`].
    0x0004 ListCharacters {
        /// Rises with each request of the connection.
        request: u32,
    }
    /// Creates a character. Answered by [`CharacterCreated`].
    0x0005 CreateCharacter {
        /// Rises with each request of the connection.
        request: u32,
        /// 3 to 16 letters, digits or single inner spaces, beginning with a letter; unique whatever the case.
        name: String,
    }
    /// Enters the world. Answered by [`EnteredZone`]; a session of the account elsewhere is ended first.
    0x0006 SelectCharacter {
        /// Rises with each request of the connection.
        request: u32,
        /// The character's id, from [`Characters`].
        character: i64,
    }
    /// Takes up a session whose connection broke, from any address, instead of signing in. Answered by [`Resumed`]; refused
    /// with `ResumeRefused`, after which the connection can sign in as usual.
    0x0007 Resume {
        /// The newest ticket that the client got.
        #[serde(with = "serde_bytes")]
        ticket: [u8; 16],
        /// Numbered messages received since the session began, as [`is_numbered`] counts them.
        received: u32,
    }

    /// One step's steering. The server takes one a tick, in order; never answered, but acknowledged by the next
    /// snapshot's `input_ack`.
    0x0010 Input {
        /// Rises by one a step, from 1.
        sequence: u32,
        /// Eastward, -127 to 127.
        heading_x: i8,
        /// Southward, -127 to 127.
        heading_y: i8,
    }
    /// Says something to those near. Answered by [`Done`]; those near, the speaker too, get [`Said`].
    0x0011 Say {
        /// Rises with each request of the connection.
        request: u32,
        /// 1 to 200 bytes without control characters.
        text: String,
    }
    /// Picks up an item from the ground within reach. Answered by [`PickedUp`] once that is durable.
    0x0012 PickUp {
        /// Rises with each request of the connection.
        request: u32,
        /// The session's number, from [`EnteredZone`].
        nonce: u32,
        /// The item's entity, as the snapshots name it.
        entity: u32,
    }
    /// Drops items from an inventory slot to the ground. Answered by [`Dropped`] once that is durable.
    0x0013 Drop {
        /// Rises with each request of the connection.
        request: u32,
        /// The session's number, from [`EnteredZone`].
        nonce: u32,
        /// The slot, 0 to 27.
        slot: u8,
        /// How many, at least 1.
        count: u32,
    }
    /// Asks for a sign of life, at any stage. Answered by [`Pong`].
    0x0014 Ping {
        /// Echoed.
        stamp: u64,
    }
    /// Leaves in good order. Answered by [`LoggedOut`] once the character is saved; then the server closes.
    0x0015 Logout {
        /// Rises with each request of the connection.
        request: u32,
    }
    /// Tells how many messages arrived, so that the server need not keep them for a [`Resume`]. Never answered. To be sent
    /// after [`Resumed`] and then at least once for each 8 KiB of numbered messages: of a client that leaves it out what was
    /// kept is dropped at a bound, and its session ends with its connection.
    0x0016 Acknowledge {
        /// Numbered messages received since the session began, as [`is_numbered`] counts them.
        received: u32,
    }

    /// Moves a stack within the inventory or the bank: it joins one of its kind that has room for all of it, else the two slots
    /// change places. In the bank only where there is one near. Answered by [`SlotsChanged`] once that is durable.
    0x0020 Move {
        /// Rises with each request of the connection.
        request: u32,
        /// The session's number, from [`EnteredZone`].
        nonce: u32,
        /// 0 in the inventory, 3 in the bank.
        place: u8,
        /// The slot.
        from: u16,
        /// Another slot of the same place.
        to: u16,
    }
    /// Puts on what an inventory slot holds; what was worn in its place comes into that slot. Answered by [`SlotsChanged`] once
    /// that is durable.
    0x0021 Equip {
        /// Rises with each request of the connection.
        request: u32,
        /// The session's number, from [`EnteredZone`].
        nonce: u32,
        /// The slot, 0 to 27.
        slot: u8,
    }
    /// Takes off what is worn. Answered by [`SlotsChanged`] once that is durable.
    0x0022 Unequip {
        /// Rises with each request of the connection.
        request: u32,
        /// The session's number, from [`EnteredZone`].
        nonce: u32,
        /// What is worn there: the number of an equipment slot.
        slot: u8,
    }
    /// Asks what lies in the character's bank. Only near a bank. Answered by [`BankOpened`].
    0x0023 OpenBank {
        /// Rises with each request of the connection.
        request: u32,
    }
    /// Puts items from an inventory slot into the bank: to a stack that has room for all of them, else where a placeholder keeps
    /// a slot for their kind, else into the tab. Only near a bank. Answered by [`SlotsChanged`] once that is durable.
    0x0024 Deposit {
        /// Rises with each request of the connection.
        request: u32,
        /// The session's number, from [`EnteredZone`].
        nonce: u32,
        /// The inventory slot, 0 to 27.
        slot: u8,
        /// How many, at least 1.
        count: u32,
        /// The tab, 0 to 7; its slots are 50 times its number and the 49 after.
        tab: u8,
    }
    /// Takes items out of the bank. Only near a bank. Answered by [`SlotsChanged`] once that is durable.
    0x0025 Withdraw {
        /// Rises with each request of the connection.
        request: u32,
        /// The session's number, from [`EnteredZone`].
        nonce: u32,
        /// The bank slot, 0 to 399.
        slot: u16,
        /// How many, at least 1; or 0, of a placeholder, to give its slot up.
        count: u32,
        /// Whether a slot that becomes empty is kept for the kind by a placeholder.
        keep: bool,
    }
    /// Asks another character within reach to trade. Answered by [`Done`]; the other is told by [`TradeAsked`].
    0x0028 AskTrade {
        /// Rises with each request of the connection.
        request: u32,
        /// The other's entity.
        entity: u32,
    }
    /// Agrees to trade with who asked. Answered by [`Done`]; both are told by [`TradeChanged`].
    0x0029 AcceptTrade {
        /// Rises with each request of the connection.
        request: u32,
        /// The entity of who asked.
        entity: u32,
    }
    /// Says how much of an inventory slot is offered, in place of what was. While any of it is, the slot cannot be used otherwise.
    /// Withdraws every confirmation. Answered by [`Done`]; both are told by [`TradeChanged`].
    0x002a Offer {
        /// Rises with each request of the connection.
        request: u32,
        /// The session's number, from [`EnteredZone`].
        nonce: u32,
        /// The slot, 0 to 27.
        slot: u8,
        /// How many; 0 for none.
        count: u32,
    }
    /// Confirms the trade as it stands: step 1 of what both offer, and step 2 once both have confirmed step 1. Answered by
    /// [`Done`]; both are told by [`TradeChanged`], or by [`TradeDone`] once that is durable when both have confirmed step 2.
    0x002b ConfirmTrade {
        /// Rises with each request of the connection.
        request: u32,
        /// The session's number, from [`EnteredZone`].
        nonce: u32,
        /// The revision that the player saw, from [`TradeChanged`].
        revision: u32,
        /// 1 or 2.
        step: u8,
    }
    /// Ends the trade. Answered by [`Done`]; both are told by [`TradeEnded`].
    0x002c CancelTrade {
        /// Rises with each request of the connection.
        request: u32,
    }
}

messages! {
    /// A message from a server, read in place. Snapshots are not among them.
    ServerMessage;

    /// The answer to [`Hello`].
    0x8001 Welcome {
        /// The server's [`crate::PROTOCOL_VERSION`].
        version: u32,
        /// The server's build, for people.
        build: String,
    }
    /// An account was registered.
    0x8002 AccountRegistered {
        /// The request's id.
        request: u32,
    }
    /// The client is signed in.
    0x8003 LoggedIn {
        /// The request's id.
        request: u32,
        /// The account's id.
        account: i64,
    }
    /// The account's characters.
    0x8004 Characters {
        /// The request's id.
        request: u32,
        /// In order of creation.
        characters: Vec<CharacterSummary>,
    }
    /// A character was created.
    0x8005 CharacterCreated {
        /// The request's id.
        request: u32,
        /// The new character's id.
        character: i64,
    }
    /// The character stands in its zone; snapshots follow. Also without a request, when it walked through a gate: the zone and all
    /// that is seen are new, requests and inputs go on with their numbers.
    0x8006 EnteredZone {
        /// The request's id; 0 if the character walked there.
        request: u32,
        /// The zone's number.
        zone: u16,
        /// Steps a second in this zone, and snapshots.
        tick_hz: u16,
        /// Position units a step at full deflection.
        speed: u16,
        /// The character's entity.
        entity: u32,
        /// Position units from the western edge.
        x: u32,
        /// Position units from the northern edge.
        y: u32,
        /// What the character carries; slots not named are empty. Empty when it walked there: nothing of it has changed.
        inventory: Vec<InventorySlot>,
        /// What it wears, likewise.
        worn: Vec<ItemSlot>,
        /// The session's number, which commands about items carry: one that was meant for another session is refused.
        nonce: u32,
    }
    /// What takes the session up again if its connection breaks, once. The session begins here: numbered messages are
    /// counted from this one on.
    0x8007 Ticket {
        /// A secret.
        #[serde(with = "serde_bytes")]
        ticket: [u8; 16],
    }
    /// The session goes on; the numbered messages that the client lacks follow in order, then full snapshots.
    0x8008 Resumed {
        /// Takes the place of the one that was used, once anything was received after this.
        #[serde(with = "serde_bytes")]
        ticket: [u8; 16],
        /// The last request that the server received. Those after it are to be sent again, no others: their answers follow.
        request: u32,
    }

    /// A request was carried out that needs no other answer.
    0x8010 Done {
        /// The request's id.
        request: u32,
    }
    /// Somebody near said something; or, of nobody near ([`NOBODY`]), what was said in the zone before the character came, or,
    /// without a name, what is announced to all.
    0x8011 Said {
        /// The speaker's entity; 4294967295 of nobody near.
        entity: u32,
        /// The speaker's name; empty of an announcement.
        name: String,
        /// What was said.
        text: String,
    }
    /// An item was picked up, durably.
    0x8012 PickedUp {
        /// The request's id.
        request: u32,
        /// The entity that was picked up.
        entity: u32,
        /// The slot it went to, as it is now.
        slot: InventorySlot,
    }
    /// Items were dropped, durably.
    0x8013 Dropped {
        /// The request's id.
        request: u32,
        /// The entity that now lies on the ground.
        entity: u32,
        /// The slot as it is now; a count of 0 if it is empty.
        slot: InventorySlot,
    }
    /// The answer to [`Ping`].
    0x8014 Pong {
        /// The ping's stamp.
        stamp: u64,
    }
    /// The character is saved; the server closes the connection.
    0x8015 LoggedOut {
        /// The request's id.
        request: u32,
    }
    /// Slots changed, durably.
    0x8016 SlotsChanged {
        /// The request's id; 0 if no request was for this change.
        request: u32,
        /// The slots that changed, as they are now.
        slots: Vec<ItemSlot>,
    }
    /// What lies in the character's bank.
    0x8017 BankOpened {
        /// The request's id.
        request: u32,
        /// The slots that are not empty.
        slots: Vec<ItemSlot>,
    }
    /// Somebody near asks to trade.
    0x8020 TradeAsked {
        /// Whose entity.
        entity: u32,
        /// Whose name.
        name: String,
    }
    /// A trade as it stands now.
    0x8021 TradeChanged {
        /// The other's entity.
        partner: u32,
        /// Rises with each change of what is offered.
        revision: u32,
        /// What the character offers: its inventory slots, each with how many of it.
        yours: Vec<ItemSlot>,
        /// What the other offers, likewise.
        theirs: Vec<ItemSlot>,
        /// The step that the character confirmed, 0 to 2.
        your_step: u8,
        /// The step that the other confirmed, 0 to 2.
        their_step: u8,
    }
    /// A trade was carried out, durably.
    0x8022 TradeDone {
        /// The slots that changed, as they are now.
        slots: Vec<ItemSlot>,
    }
    /// A trade ended without effect.
    0x8023 TradeEnded {
        /// Why: the number of an [`crate::ErrorCode`].
        code: u16,
    }
    /// Whether the player is taken to be away: nothing but pings, acknowledgements and steps on the spot came of its client for a
    /// while. Those who see the character see it too. The next step or request changes it back.
    0x8018 Away {
        /// Whether it is away from now on, or back.
        away: bool,
        /// Seconds after which the character is saved and the connection closed with `AwayTooLong`; 0 for never, or if it is back.
        closing_s: u32,
    }
    /// A request was refused, or, with `closing`, the connection ends.
    0x80ff Error {
        /// The request's id; 0 if it was not a request's.
        request: u32,
        /// An [`crate::ErrorCode`]'s number.
        code: u16,
        /// Whether the server closes the connection.
        closing: bool,
        /// For people.
        text: String,
    }
}

/// [`Said::entity`] of what nobody near said: no entity ever has it.
pub const NOBODY: u32 = u32::MAX;

/// Whether a message of this kind to a client that plays is numbered: it is kept until it was acknowledged, and each arrives
/// once, whatever becomes of connections. An [`Error`] that closes the connection is not, whatever this says of its kind.
pub const fn is_numbered(kind: u16) -> bool {
    !matches!(
        kind,
        Welcome::KIND | Ticket::KIND | Resumed::KIND | Pong::KIND | crate::snapshot::SNAPSHOT_KIND
    )
}

/// What is part of messages: name, purpose, fields.
pub type PartDescription = (&'static str, &'static str, &'static [Field]);

parts! {
    /// A character in a list.
    CharacterSummary: Debug, Clone, PartialEq {
        /// The character's id.
        character: i64,
        /// The character's name.
        name: String,
        /// The zone it stands in.
        zone: u16,
    }
    /// An inventory slot's content.
    InventorySlot: Debug, Clone, Copy, PartialEq, Eq {
        /// 0 to 27.
        slot: u8,
        /// The item's kind.
        kind: u16,
        /// How many; 0 if the slot is empty.
        count: u32,
    }
    /// A slot's content, wherever it is.
    ItemSlot: Debug, Clone, Copy, PartialEq, Eq {
        /// 0 in the inventory, 2 worn, 3 in the bank.
        place: u8,
        /// 0 to 27 in the inventory, 0 to 10 worn, 0 to 399 in the bank.
        slot: u16,
        /// The item's kind; 0 if the slot is empty.
        kind: u16,
        /// How many; with a kind, 0 is a placeholder.
        count: u32,
        /// How often it was used, of as often as its kind can be.
        wear: u16,
        /// The item's id; 0 if the slot is empty. What does not stack keeps it for good.
        item: i64,
    }
}
