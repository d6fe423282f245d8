//! The shard as a driver has it: the one place where its inputs are taken down, if they are.

use std::borrow::Cow;
use std::ops::Deref;

use vyuha_protocol::ZoneId;
use vyuha_protocol::message::{ClientMessage, DecodeError};

use super::Call;
use crate::character::CharacterRow;
use crate::gates::Carried;
use crate::inventory::ItemRow;
use crate::shard::{AttachError, JoinError, MovingZone, Outbox, SessionId, Shard};
use crate::systems::TickProbe;

/// Longest record of one tick, in bytes. A tick that brings more ends the recording: what is held for it is bounded.
pub const RECORD_BYTES_MAX: usize = 8 << 20;

/// Where the records of a shard's ticks go, each the payload of a frame.
pub trait Sink: Send {
    /// Takes a tick's record, at once and without waiting. `false` ends the recording: the play goes on without.
    fn take(&mut self, record: Vec<u8>) -> bool;

    /// A tick brought more than [`RECORD_BYTES_MAX`]: the recording has ended.
    fn overflowed(&mut self);
}

/// A shard whose calls are recorded if there is a sink for them; without one it costs nothing. It can be read as the shard
/// itself, but changed only by the calls below: each is one of [`Call`].
pub struct Recorded {
    shard: Shard,
    log: Option<Log>,
}

struct Log {
    sink: Box<dyn Sink>,
    /// The calls since the last tick.
    record: Vec<u8>,
    hashes: Vec<u64>,
}

impl Deref for Recorded {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        &self.shard
    }
}

/// What led to a panic is the record that is wanted most: it goes out without hashes, and a replay makes its calls before it
/// finds that they are missing.
impl Drop for Recorded {
    fn drop(&mut self) {
        if let Some(mut log) = self.log.take()
            && std::thread::panicking()
        {
            log.sink.take(log.record);
        }
    }
}

impl Recorded {
    /// A shard that nothing was called on yet.
    pub fn new(shard: Shard, sink: Option<Box<dyn Sink>>) -> Recorded {
        let log = sink.map(|sink| Log { sink, record: Vec::new(), hashes: Vec::new() });
        Recorded { shard, log }
    }

    /// [`Shard::bootstrap`].
    pub fn bootstrap(&mut self, out: &mut Outbox) {
        self.record(&Call::Bootstrap);
        self.shard.bootstrap(out);
    }

    /// [`Shard::join`].
    ///
    /// # Errors
    /// As there.
    pub fn join(
        &mut self,
        session: SessionId,
        request: u32,
        character: CharacterRow,
        items: &[ItemRow],
        out: &mut Outbox,
    ) -> Result<(), JoinError> {
        self.record(&Call::Join {
            session,
            request,
            character: Cow::Borrowed(&character),
            items: Cow::Borrowed(items),
        });
        self.shard.join(session, request, character, items, out)
    }

    /// [`Shard::arrive`].
    ///
    /// # Errors
    /// As there.
    pub fn arrive(
        &mut self,
        session: SessionId,
        carried: Carried,
        out: &mut Outbox,
    ) -> Result<(), JoinError> {
        self.record(&Call::Arrive { session, carried: Cow::Borrowed(&carried) });
        self.shard.arrive(session, carried, out)
    }

    /// [`Shard::receive`], of a message as it came.
    ///
    /// # Errors
    /// If it is no message: the shard saw nothing of it.
    pub fn receive(
        &mut self,
        session: SessionId,
        kind: u16,
        payload: &[u8],
        out: &mut Outbox,
    ) -> Result<(), DecodeError> {
        let message = ClientMessage::decode(kind, payload)?;
        self.record(&Call::Receive { session, kind, payload });
        self.shard.receive(session, message, out);
        Ok(())
    }

    /// [`Shard::leave`].
    pub fn leave(&mut self, session: SessionId, out: &mut Outbox) {
        self.record(&Call::Leave { session });
        self.shard.leave(session, out);
    }

    /// [`Shard::detach`].
    pub fn detach(&mut self, zone: ZoneId, out: &mut Outbox) -> Option<Box<MovingZone>> {
        self.record(&Call::Detach { zone });
        self.shard.detach(zone, out)
    }

    /// [`Shard::attach`].
    ///
    /// # Errors
    /// As there.
    pub fn attach(
        &mut self,
        moving: Box<MovingZone>,
        numbers: &[SessionId],
        still_ticks: u32,
    ) -> Result<(), AttachError> {
        let (zone, moves) = (moving.id(), moving.moves());
        self.record(&Call::Attach { zone, moves, numbers: Cow::Borrowed(numbers), still_ticks });
        self.shard.attach(moving, numbers, still_ticks)
    }

    /// [`Shard::set_owes`].
    pub fn set_owes(&mut self, session: SessionId, owes: bool, out: &mut Outbox) {
        self.record(&Call::SetOwes { session, owes });
        self.shard.set_owes(session, owes, out);
    }

    /// [`Shard::set_durable_open`].
    pub fn set_durable_open(&mut self, open: bool) {
        self.record(&Call::SetDurableOpen(open));
        self.shard.set_durable_open(open);
    }

    /// [`Shard::tick`]. The time that recording takes after it is told to the probe as a system's.
    pub fn tick(&mut self, probe: &mut impl TickProbe, out: &mut Outbox) {
        self.record(&Call::Tick);
        self.shard.tick(probe, out);
        let Some(log) = &mut self.log else { return };
        self.shard.hash_parts(&mut log.hashes);
        log.record.extend(self.shard.tick_number().to_le_bytes());
        log.record.extend(log.hashes.iter().flat_map(|hash| hash.to_le_bytes()));
        let next = Vec::with_capacity(log.record.len());
        if !log.sink.take(std::mem::replace(&mut log.record, next)) {
            self.log = None;
        }
        probe.lap_system("record");
    }

    /// [`Shard::write_snapshot`], which changes nothing but what is known to have been told: it is not recorded.
    pub fn write_snapshot(&mut self, session: SessionId, out: &mut Vec<u8>) -> bool {
        self.shard.write_snapshot(session, out)
    }

    /// [`Shard::tell_anew`], which changes nothing but what is known to have been told: it is not recorded.
    pub fn tell_anew(&mut self, session: SessionId) -> Option<u32> {
        self.shard.tell_anew(session)
    }

    fn record(&mut self, call: &Call<'_>) {
        let Some(log) = &mut self.log else { return };
        call.encode(&mut log.record);
        if log.record.len() > RECORD_BYTES_MAX {
            log.sink.overflowed();
            self.log = None;
        }
    }
}
