//! Every message, declared once.
//!
//! A message's payload is its rkyv archive (little-endian, unaligned), validated and then read in place. The
//! snapshot alone has a layout of its own: see [`crate::snapshot`]. Clients behind WebSockets speak the same messages
//! in MessagePack: see [`crate::msgpack`].

use rkyv::rancor::Failure;
use thiserror::Error;

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

macro_rules! messages {
    (
        $(#[$enum_doc:meta])* $enum_name:ident;
        $( $(#[doc = $doc:literal])* $kind:literal $name:ident {
            $( #[doc = $field_doc:literal] $(#[serde($($serde:tt)*)])? $field:ident: $ty:ty ),* $(,)?
        } )*
    ) => {
        $(
            $(#[doc = $doc])*
            #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, serde::Serialize, serde::Deserialize)]
            #[derive(Debug, Clone, PartialEq)]
            #[serde(deny_unknown_fields)]
            pub struct $name { $( #[doc = $field_doc] $(#[serde($($serde)*)])? pub $field: $ty, )* }

            impl Message for $name {
                const KIND: u16 = $kind;
                const NAME: &'static str = stringify!($name);
                const DOC: &'static str = concat!($($doc),*);
                const FIELDS: &'static [Field] = &[$(Field {
                    name: stringify!($field),
                    form: stringify!($ty),
                    doc: $field_doc,
                    offset: std::mem::offset_of!(rkyv::Archived<$name>, $field),
                }),*];
                const FIXED_BYTES: usize = size_of::<rkyv::Archived<$name>>();

                fn archive(&self, out: &mut Vec<u8>) {
                    rkyv::api::high::to_bytes_in::<_, Failure>(self, out)
                        .expect("archiving to memory does not fail");
                }
            }
        )*

        $(#[$enum_doc])*
        #[derive(Clone, Copy)]
        pub enum $enum_name<'a> {
            $( $(#[doc = $doc])* $name(&'a rkyv::Archived<$name>), )*
        }

        impl<'a> $enum_name<'a> {
            /// Every message of this direction.
            pub const ALL: &'static [Description] =
                &[$(($name::NAME, $kind, $name::DOC, $name::FIELDS, $name::FIXED_BYTES)),*];

            /// Validates a payload and hands out its message in place.
            pub fn decode(kind: u16, payload: &'a [u8]) -> Result<Self, DecodeError> {
                match kind {
                    $( $kind => rkyv::access::<rkyv::Archived<$name>, Failure>(payload)
                        .map($enum_name::$name)
                        .map_err(|Failure| DecodeError::Malformed(stringify!($name))), )*
                    _ => Err(DecodeError::UnknownKind(kind)),
                }
            }

            /// The message's name, as metrics show it.
            pub fn name(&self) -> &'static str {
                match self { $( $enum_name::$name(_) => stringify!($name), )* }
            }

            /// Appends the message's MessagePack form.
            pub fn append_msgpack(&self, out: &mut Vec<u8>) {
                match self {
                    $( $enum_name::$name(archived) => {
                        let message = rkyv::deserialize::<$name, Failure>(*archived)
                            .expect("what was validated is read");
                        msgpack::append(out, &message);
                    } )*
                }
            }

            /// Reads a message's MessagePack form and appends the message as a frame; nothing where it is refused.
            pub fn append_frame_of_msgpack(frames: &mut Vec<u8>, bytes: &[u8]) -> Result<(), MsgpackError> {
                let (name, fields) = msgpack::split(bytes)?;
                match name {
                    $( stringify!($name) => append(frames, &msgpack::read_fields::<$name>(fields)?), )*
                    _ => return Err(MsgpackError::UnknownName),
                }
                Ok(())
            }
        }
    };
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
        /// The item's entity, as the snapshots name it.
        entity: u32,
    }
    /// Drops items from an inventory slot to the ground. Answered by [`Dropped`] once that is durable.
    0x0013 Drop {
        /// Rises with each request of the connection.
        request: u32,
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
    /// Somebody near said something.
    0x8011 Said {
        /// The speaker's entity.
        entity: u32,
        /// The speaker's name.
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

macro_rules! parts {
    ($( $(#[doc = $doc:literal])* $name:ident: $($derive:ident),* {
        $( #[doc = $field_doc:literal] $field:ident: $ty:ty ),* $(,)?
    } )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, serde::Serialize, serde::Deserialize)]
            #[derive($($derive),*)]
            #[serde(deny_unknown_fields)]
            pub struct $name { $( #[doc = $field_doc] pub $field: $ty, )* }
        )*

        /// Whatever is part of messages.
        pub const PARTS: &[PartDescription] = &[$((
            stringify!($name),
            concat!($($doc),*),
            &[$(Field {
                name: stringify!($field),
                form: stringify!($ty),
                doc: $field_doc,
                offset: std::mem::offset_of!(rkyv::Archived<$name>, $field),
            }),*],
        )),*];
    };
}

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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{CLIENT_PAYLOAD_BYTES_MAX, FRAME_HEAD_BYTES, first_frame};
    use proptest::prelude::*;

    /// Sends a message through bytes at every alignment and compares what comes out.
    macro_rules! check {
        ($direction:ident, $message:expr, $name:ident) => {{
            let message: $name = $message;
            for offset in 0..8 {
                let mut bytes = vec![0xaa; offset];
                append(&mut bytes, &message);
                let frame = first_frame(&bytes[offset..], CLIENT_PAYLOAD_BYTES_MAX).unwrap().unwrap();
                assert_eq!(frame.kind, $name::KIND);
                let $direction::$name(archived) = $direction::decode(frame.kind, frame.payload).unwrap()
                else {
                    panic!("{} came back as another message", $name::NAME)
                };
                let back: $name = rkyv::deserialize::<$name, Failure>(archived).unwrap();
                assert_eq!(back, message);
            }
            let (mut frame, mut packed, mut back) = (Vec::new(), Vec::new(), Vec::new());
            append(&mut frame, &message);
            $direction::decode($name::KIND, &frame[FRAME_HEAD_BYTES..]).unwrap().append_msgpack(&mut packed);
            $direction::append_frame_of_msgpack(&mut back, &packed).unwrap();
            assert_eq!(back, frame, "{} by MessagePack", $name::NAME);
        }};
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn messages_survive_the_wire(request: u32, text in ".{0,40}", n: i64, small: u8, count: u32, flag: bool) {
            let slot = InventorySlot { slot: small, kind: small as u16, count };
            check!(ClientMessage, Hello { version: request, content_hash: [small; 32] }, Hello);
            check!(ClientMessage, Login { request, account: text.clone(), password: text.clone() }, Login);
            check!(ClientMessage, RedeemTicket { request, ticket: text.clone() }, RedeemTicket);
            check!(ClientMessage, SelectCharacter { request, character: n }, SelectCharacter);
            check!(ClientMessage, Input { sequence: request, heading_x: small as i8, heading_y: -3 }, Input);
            check!(ClientMessage, Say { request, text: text.clone() }, Say);
            check!(ClientMessage, Drop { request, slot: small, count }, Drop);
            let characters = vec![CharacterSummary { character: n, name: text.clone(), zone: 3 }; small as usize % 5];
            check!(ServerMessage, Characters { request, characters }, Characters);
            check!(ServerMessage, PickedUp { request, entity: count, slot }, PickedUp);
            check!(ClientMessage, Resume { ticket: [small; 16], received: count }, Resume);
            check!(ServerMessage, Resumed { ticket: [small; 16], request }, Resumed);
            check!(ServerMessage, Error { request, code: 7, closing: flag, text: text.clone() }, Error);
            let inventory = vec![slot; small as usize % 28];
            check!(ServerMessage, EnteredZone { request, zone: 1, tick_hz: 30, speed: 9, entity: 4, x: 5, y: 6, inventory }, EnteredZone);
        }

        #[test]
        fn any_payload_is_refused_or_read_without_panic(
            choice in 0usize..64, bytes in proptest::collection::vec(any::<u8>(), 0..96),
        ) {
            let (_, kind, ..) = ClientMessage::ALL[choice % ClientMessage::ALL.len()];
            let _ = ClientMessage::decode(kind, &bytes);
            let (_, kind, ..) = ServerMessage::ALL[choice % ServerMessage::ALL.len()];
            let _ = ServerMessage::decode(kind, &bytes);
        }
    }

    #[test]
    fn truncated_and_unknown_are_refused() {
        let mut bytes = Vec::new();
        append(&mut bytes, &Say { request: 1, text: "a text long enough to lie out of line".into() });
        let payload = &bytes[crate::frame::FRAME_HEAD_BYTES..];
        // An archive is read from its end: what is shorter than the message's fixed part can be nothing, what
        // points before the payload's begin is refused.
        for cut in 0..size_of::<rkyv::Archived<Say>>() {
            let got = ClientMessage::decode(Say::KIND, &payload[..cut]).err();
            assert_eq!(got, Some(DecodeError::Malformed("Say")), "cut to {cut}");
        }
        let headless = ClientMessage::decode(Say::KIND, &payload[1..]).err();
        assert_eq!(headless, Some(DecodeError::Malformed("Say")));
        assert_eq!(ClientMessage::decode(0xdead, payload).err(), Some(DecodeError::UnknownKind(0xdead)));
    }

    #[test]
    fn kinds_are_unique_and_tell_the_direction() {
        let mut kinds: Vec<u16> = ClientMessage::ALL.iter().chain(ServerMessage::ALL).map(|m| m.1).collect();
        kinds.push(crate::snapshot::SNAPSHOT_KIND);
        kinds.sort_unstable();
        assert!(kinds.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(ClientMessage::ALL.iter().all(|m| m.1 < 0x8000));
        assert!(ServerMessage::ALL.iter().all(|m| m.1 >= 0x8000));
    }
}
