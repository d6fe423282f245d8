//! The calls that change a shard. One that is added to the shard gets its line in [`Call`], and the compiler names the
//! places that are missing.

use std::borrow::Cow;
use std::collections::BTreeMap;

use vyuha_protocol::ZoneId;
use vyuha_protocol::message::ClientMessage;
use vyuha_record::Record as _;

use super::LogError;
use super::bytes::{Bytes, put_blob, put_rows};
use crate::character::CharacterRow;
use crate::gates::Carried;
use crate::inventory::ItemRow;
use crate::shard::{MovingZone, Outbox, SessionId, Shard};

/// Session numbers of a log are below this, because a shard keeps a place for every number up to the highest. A driver's
/// are below its bound on connections, which is at most a million.
pub const SESSIONS_MAX: u32 = 1 << 20;

/// A call that changes a shard, with all that is handed in.
#[derive(Debug, Clone, PartialEq)]
pub enum Call<'a> {
    /// [`Shard::tick`]. The tick's number and the hashes of all parts follow it.
    Tick,
    /// [`Shard::bootstrap`].
    Bootstrap,
    /// [`Shard::join`].
    Join {
        /// The session.
        session: SessionId,
        /// The request that it answers.
        request: u32,
        /// The character's row.
        character: Cow<'a, CharacterRow>,
        /// The rows of what it owns.
        items: Cow<'a, [ItemRow]>,
    },
    /// [`Shard::receive`].
    Receive {
        /// The session.
        session: SessionId,
        /// The message's kind.
        kind: u16,
        /// The message's bytes.
        payload: &'a [u8],
    },
    /// [`Shard::leave`].
    Leave {
        /// The session.
        session: SessionId,
    },
    /// [`Shard::set_durable_open`].
    SetDurableOpen(bool),
    /// [`Shard::arrive`].
    Arrive {
        /// The session.
        session: SessionId,
        /// What is the game's of it.
        carried: Cow<'a, Carried>,
    },
    /// [`Shard::detach`].
    Detach {
        /// The zone.
        zone: ZoneId,
    },
    /// [`Shard::attach`]. The zone itself is in no log: it comes of the replay of the shard that it left.
    Attach {
        /// The zone.
        zone: ZoneId,
        /// Which of its moves this is, from 1.
        moves: u32,
        /// The numbers of its sessions.
        numbers: Cow<'a, [SessionId]>,
        /// Ticks that it missed.
        still_ticks: u32,
    },
    /// [`Shard::set_owes`].
    SetOwes {
        /// The session.
        session: SessionId,
        /// Whether its profile owes.
        owes: bool,
    },
}

/// Where zones are between the shards that are replayed.
pub trait ZoneExchange {
    /// A zone left its shard.
    fn put(&mut self, zone: Box<MovingZone>);

    /// The zone on this move, which ends with that; `None` if it never left.
    fn take(&mut self, zone: ZoneId, moves: u32) -> Option<Box<MovingZone>>;
}

/// The zones between shards that are replayed in step, by one thread.
#[derive(Default)]
pub struct ZonesBetween(BTreeMap<(ZoneId, u32), Box<MovingZone>>);

impl ZoneExchange for ZonesBetween {
    fn put(&mut self, zone: Box<MovingZone>) {
        self.0.insert((zone.id(), zone.moves()), zone);
    }

    fn take(&mut self, zone: ZoneId, moves: u32) -> Option<Box<MovingZone>> {
        self.0.remove(&(zone, moves))
    }
}

impl<'a> Call<'a> {
    /// Appends the call: its number and what is handed in.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Call::Tick => out.push(0),
            Call::Bootstrap => out.push(1),
            Call::Join { session, request, character, items } => {
                out.push(2);
                out.extend(session.0.to_le_bytes());
                out.extend(request.to_le_bytes());
                put_blob(out, |out| character.encode(out));
                put_rows(out, items);
            }
            Call::Receive { session, kind, payload } => {
                out.push(3);
                out.extend(session.0.to_le_bytes());
                out.extend(kind.to_le_bytes());
                put_blob(out, |out| out.extend(*payload));
            }
            Call::Leave { session } => {
                out.push(4);
                out.extend(session.0.to_le_bytes());
            }
            Call::SetDurableOpen(open) => out.extend([5, u8::from(*open)]),
            Call::Arrive { session, carried } => {
                out.push(6);
                out.extend(session.0.to_le_bytes());
                put_blob(out, |out| carried.character.encode(out));
                put_rows(out, &carried.items);
                out.extend(carried.request.to_le_bytes());
                out.extend(carried.nonce.to_le_bytes());
                out.extend(carried.sequence.to_le_bytes());
                out.extend(carried.chat_ticks.to_le_bytes());
                out.push(u8::from(carried.owes));
            }
            Call::Detach { zone } => {
                out.push(7);
                out.extend(zone.0.to_le_bytes());
            }
            Call::Attach { zone, moves, numbers, still_ticks } => {
                out.push(8);
                out.extend(zone.0.to_le_bytes());
                out.extend(moves.to_le_bytes());
                out.extend((numbers.len() as u32).to_le_bytes());
                out.extend(numbers.iter().flat_map(|number| number.0.to_le_bytes()));
                out.extend(still_ticks.to_le_bytes());
            }
            Call::SetOwes { session, owes } => {
                out.push(9);
                out.extend(session.0.to_le_bytes());
                out.push(u8::from(*owes));
            }
        }
    }

    /// Takes a call off the front.
    pub(super) fn decode(bytes: &mut Bytes<'a>) -> Result<Call<'a>, LogError> {
        Ok(match bytes.u8()? {
            0 => Call::Tick,
            1 => Call::Bootstrap,
            2 => Call::Join {
                session: session(bytes)?,
                request: bytes.u32()?,
                character: Cow::Owned(bytes.row()?),
                items: Cow::Owned(bytes.list(Bytes::row)?),
            },
            3 => Call::Receive { session: session(bytes)?, kind: bytes.u16()?, payload: bytes.blob()? },
            4 => Call::Leave { session: session(bytes)? },
            5 => Call::SetDurableOpen(yes_or_no(bytes)?),
            6 => Call::Arrive {
                session: session(bytes)?,
                carried: Cow::Owned(Carried {
                    character: bytes.row()?,
                    items: bytes.list(Bytes::row)?,
                    request: bytes.u32()?,
                    nonce: bytes.u32()?,
                    sequence: bytes.u32()?,
                    chat_ticks: bytes.u64()?,
                    owes: yes_or_no(bytes)?,
                }),
            },
            7 => Call::Detach { zone: bytes.u16().map(ZoneId)? },
            8 => Call::Attach {
                zone: bytes.u16().map(ZoneId)?,
                moves: bytes.u32()?,
                numbers: Cow::Owned(bytes.list(session)?),
                still_ticks: bytes.u32()?,
            },
            9 => Call::SetOwes { session: session(bytes)?, owes: yes_or_no(bytes)? },
            other => return Err(LogError::Call(other)),
        })
    }

    /// Makes the call. What a shard refused when it was recorded it refuses again.
    pub(super) fn make(
        self,
        shard: &mut Shard,
        out: &mut Outbox,
        zones: &mut dyn ZoneExchange,
    ) -> Result<(), LogError> {
        match self {
            Call::Tick => shard.tick(&mut (), out),
            Call::Bootstrap => shard.bootstrap(out),
            Call::Join { session, request, character, items } => {
                // Whoever could not be taken in is not in the recorded state either.
                let _ = shard.join(session, request, character.into_owned(), &items, out);
            }
            Call::Receive { session, kind, payload } => {
                shard.receive(session, ClientMessage::decode(kind, payload)?, out);
            }
            Call::Leave { session } => shard.leave(session, out),
            Call::SetDurableOpen(open) => shard.set_durable_open(open),
            Call::Arrive { session, carried } => {
                // As above.
                let _ = shard.arrive(session, carried.into_owned(), out);
            }
            Call::Detach { zone } => {
                if let Some(zone) = shard.detach(zone, out) {
                    zones.put(zone);
                }
            }
            Call::Attach { zone, moves, numbers, still_ticks } => {
                let moving = zones.take(zone, moves).ok_or(LogError::ZoneMissing { zone, moves })?;
                // As above.
                let _ = shard.attach(moving, &numbers, still_ticks);
            }
            Call::SetOwes { session, owes } => shard.set_owes(session, owes, out),
        }
        Ok(())
    }
}

fn yes_or_no(bytes: &mut Bytes<'_>) -> Result<bool, LogError> {
    match bytes.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(LogError::Range("a yes or no")),
    }
}

fn session(bytes: &mut Bytes<'_>) -> Result<SessionId, LogError> {
    match bytes.u32()? {
        number @ 0..SESSIONS_MAX => Ok(SessionId(number)),
        _ => Err(LogError::Range("a session's number")),
    }
}
