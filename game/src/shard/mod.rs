//! The shard: zones and the sessions in them, as a pure state machine.
//!
//! It is driven from outside: sessions come (`join`), what their clients send is handed in (`receive`), they go
//! (`leave`), and `tick` moves everything on. What comes of it is in the [`Outbox`]. The same calls in the same
//! order give the same outboxes, snapshots and state hashes on every machine.
//!
//! It does no I/O, reads no clock, knows no thread and has no randomness but its seed's. No client's input makes
//! it panic. Its memory is bounded by the number of sessions (a session's queue of inputs holds
//! [`crate::movement::INPUTS_QUEUED_MAX`]), by the content (NPCs, items on the ground) and by what the driver
//! leaves in the outbox.

mod audit;
mod banking;
mod commands;
mod config;
mod crossing;
mod hashes;
mod items;
pub mod log;
mod moving;
mod outbox;
pub(crate) mod passes;
mod session;
#[cfg(test)]
pub(crate) mod tests;
mod trading;
mod zone;

use std::sync::Arc;

use vyuha_core::{Subscriber, Zone};
use vyuha_protocol::frame::append_frame;
use vyuha_protocol::snapshot::SNAPSHOT_KIND;
use vyuha_protocol::{ItemId, ItemKind, Pos, ZoneId};

use crate::character::{CharacterRow, arrival};
use crate::content::Content;
use crate::ground::ZoneRow;
use crate::inventory::{ItemRow, Stack};
use crate::ledger::{Holder, Ledger, Movement, Reason};
use crate::systems::{Runs, SYSTEMS, TickProbe};
use crate::trade::Trades;

pub use config::{JoinError, ShardConfig, ShardError};
pub use hashes::Part;
pub use moving::{AttachError, MovingZone};
pub use outbox::{Counts, Departed, LeaveCause, Left, OutMessage, Outbox, Spoken};
pub use session::SessionId;

use session::Sessions;
use zone::ZoneState;

/// Zones and the sessions in them. See the module.
pub struct Shard {
    config: ShardConfig,
    content: Arc<Content>,
    tick: u64,
    zones: Vec<ZoneState>,
    sessions: Sessions,
    /// How many sessions have begun.
    sessions_begun: u32,
    item_ids: ItemIds,
    ledger: Ledger,
    trades: Trades,
    durable_open: bool,
    /// Who walked onto a gate in the last tick.
    at_gates: Vec<SessionId>,
    /// Items that lay where the map is blocked now, to be saved where they lie instead.
    moved: Vec<ItemRow>,
}

/// A zone of a shard, for consoles and metrics.
pub struct ZoneSummary<'a> {
    /// The zone.
    pub id: ZoneId,
    /// Characters in it.
    pub players: usize,
    /// NPCs in it.
    pub npcs: usize,
    /// Items on its ground.
    pub items: usize,
    /// Its columns, for those who want every entity.
    pub zone: &'a Zone,
}

/// Where a session's character is.
#[derive(Debug, Clone, Copy)]
pub struct Whereabouts<'a> {
    /// The character, as it was saved last.
    pub character: &'a CharacterRow,
    /// The zone that it is in.
    pub zone: ZoneId,
    /// The place there.
    pub at: Pos,
}

/// The ids that the shard gives to new items.
#[derive(Clone, Copy)]
struct ItemIds {
    next: i64,
    stride: i64,
}

impl ItemIds {
    fn issue(&mut self) -> ItemId {
        let id = self.next;
        self.next += self.stride;
        ItemId(id)
    }
}

impl Shard {
    /// A shard with its zones, NPCs and what lies on the ground: `ground` and `known` are the stored rows of
    /// items and zones.
    ///
    /// # Errors
    /// If the configuration does not fit the content, or a row on the ground cannot be played with.
    pub fn new(
        config: ShardConfig,
        content: Arc<Content>,
        ground: &[ItemRow],
        known: &[ZoneRow],
    ) -> Result<Shard, ShardError> {
        if config.save_interval_ticks == 0 {
            return Err(ShardError::SaveInterval);
        }
        if config.requests_per_second_max == 0 {
            return Err(ShardError::Requests);
        }
        if config.item_id_stride < 1 {
            return Err(ShardError::ItemIdStride(config.item_id_stride));
        }
        let mut zones: Vec<ZoneState> = Vec::with_capacity(config.zones.len());
        for &id in &config.zones {
            if zones.iter().any(|zone| zone.id == id) {
                return Err(ShardError::ZoneTwice(id));
            }
            let at =
                content.zones.iter().position(|zone| zone.id == id).ok_or(ShardError::ZoneUnknown(id))?;
            let (zone_hz, tick_hz) = (content.zones[at].kind.tick_hz, config.tick_hz);
            if tick_hz == 0 || !tick_hz.is_multiple_of(zone_hz) {
                return Err(ShardError::TickRate { zone: id, zone_hz, tick_hz });
            }
            zones.push(ZoneState::new(&content, at, u64::from(tick_hz / zone_hz), config.seed, config.simd));
        }
        let item_ids = ItemIds { next: config.next_item_id, stride: config.item_id_stride };
        let ledger = Ledger::new(config.next_item_id, config.began_ms, config.tick_hz);
        let mut shard = Shard {
            config,
            content,
            tick: 0,
            zones,
            sessions: Sessions::default(),
            sessions_begun: 0,
            item_ids,
            ledger,
            trades: Trades::default(),
            durable_open: true,
            at_gates: Vec::new(),
            moved: Vec::new(),
        };
        for zone in &mut shard.zones {
            zone.is_new = !known.iter().any(|row| row.id == i64::from(zone.id.0));
        }
        ground.iter().try_for_each(|row| shard.load_ground(row))?;
        Ok(shard)
    }

    /// Lays out what a zone has when it is new, in every zone that is. To be called once,
    /// before the first tick; nothing of it is there for certain until its transactions are durable.
    pub fn bootstrap(&mut self, out: &mut Outbox) {
        let moved = std::mem::take(&mut self.moved);
        out.transact(|transaction| moved.iter().for_each(|row| transaction.put(row)));
        for zone in 0..self.zones.len() {
            if !std::mem::take(&mut self.zones[zone].is_new) {
                continue;
            }
            let content = Arc::clone(&self.content);
            let content = &content.zones[self.zones[zone].content];
            for spawn in &content.ground {
                (0..spawn.number).for_each(|_| self.lay_litter(zone, spawn.kind, spawn.count, out));
            }
            let row = ZoneRow { id: i64::from(content.id.0), heaps: i64::from(content.litter_target()) };
            out.transact(|transaction| transaction.put(&row));
        }
    }

    /// Ends a session whose connection broke or was ended: its character is saved and gone. Does nothing if there
    /// is no such session, so that a driver need not know who left first.
    pub fn leave(&mut self, session: SessionId, out: &mut Outbox) {
        self.end(session, LeaveCause::Disconnected, out);
    }

    /// Moves everything on by one tick.
    pub fn tick(&mut self, probe: &mut impl TickProbe, out: &mut Outbox) {
        self.tick += 1;
        for system in SYSTEMS {
            if let Runs::BeforeSteps(pass) = system.runs {
                pass(self, out);
                probe.lap_system(system.name);
            }
        }
        for zone in 0..self.zones.len() {
            let due = self.zones[zone].ticks_since_step(self.tick) == 0;
            self.zones[zone].stepped = due;
            if due {
                probe.begin_zone();
                for system in SYSTEMS {
                    if let Runs::EachStep(pass) = system.runs {
                        pass(self, zone);
                        probe.lap_system(system.name);
                    }
                }
                self.zones[zone].zone.step(probe);
                probe.end_zone(self.zones[zone].id);
            }
        }
        for system in SYSTEMS {
            if let Runs::EachTick(pass) = system.runs {
                pass(self, out);
                probe.lap_system(system.name);
            }
        }
    }

    /// Appends a session's snapshot as a frame. `false`, and nothing appended, if there is no such session or its
    /// zone did not step in the last tick.
    pub fn write_snapshot(&mut self, session: SessionId, out: &mut Vec<u8>) -> bool {
        let Some(session) = self.sessions.get_mut(session) else { return false };
        let zone = &mut self.zones[session.zone];
        if !zone.stepped {
            return false;
        }
        let centre = zone.place_of(session.entity);
        let input_ack = session.steering.processed();
        let subscriber = Subscriber { centre, input_ack, bytes_max: self.config.snapshot_bytes_max };
        append_frame(out, SNAPSHOT_KIND, |out| {
            zone.zone.write_snapshot(&mut session.view, &subscriber, out);
        });
        true
    }

    /// Whether durable commands are taken. While they are not, they are refused with `JournalBusy`; characters are
    /// saved all the same: that is at most one row a session and interval.
    pub fn set_durable_open(&mut self, open: bool) {
        self.durable_open = open;
    }

    /// How many ticks there were.
    pub fn tick_number(&self) -> u64 {
        self.tick
    }

    /// The zones, in the order of the configuration.
    pub fn zones(&self) -> impl Iterator<Item = ZoneSummary<'_>> {
        self.zones.iter().map(|zone| ZoneSummary {
            id: zone.id,
            players: zone.players.len(),
            npcs: zone.npcs.count(),
            items: zone.ground.count(),
            zone: &zone.zone,
        })
    }

    /// Where a session's character is; `None` if there is no such session.
    pub fn whereabouts(&self, session: SessionId) -> Option<Whereabouts<'_>> {
        let session = self.sessions.get(session)?;
        let zone = &self.zones[session.zone];
        let at = zone.place_of(session.entity);
        Some(Whereabouts { character: &session.character, zone: zone.id, at })
    }

    fn end(&mut self, session: SessionId, cause: LeaveCause, out: &mut Outbox) {
        let Some(mut ended) = self.sessions.remove(session) else { return };
        self.abandon_trade(session, out);
        let zone = &mut self.zones[ended.zone];
        let at = zone.place_of(ended.entity);
        ended.character.set_place(zone.id, at);
        out.transact(|transaction| transaction.put(&ended.character));
        zone.zone.despawn(ended.entity);
        zone.players.remove(&ended.entity);
        let (character, account) = (ended.character.id, ended.character.account);
        out.left.push(Left { session, character, account, cause });
    }

    fn load_ground(&mut self, row: &ItemRow) -> Result<(), ShardError> {
        let stack = row.stack(&self.content)?;
        let (id, place) = row.ground_place()?;
        let zone = self.zones.iter_mut().find(|zone| zone.id == id).ok_or(ShardError::ZoneUnknown(id))?;
        let content = &self.content.zones[zone.content];
        let at = arrival(&content.map, place, content.spawn);
        zone.ground.lay(&mut zone.zone, stack, at);
        if at != place {
            self.moved.push(ItemRow::lying(stack, id, at));
        }
        Ok(())
    }

    /// Lays a new item at a random place of a zone, durably.
    fn lay_litter(&mut self, zone: usize, kind: ItemKind, count: u32, out: &mut Outbox) {
        let stack = Stack { id: self.item_ids.issue(), kind, count, wear: 0 };
        let zone = &mut self.zones[zone];
        let content = &self.content.zones[zone.content];
        let at = crate::place::random_open_place(&content.map, content.spawn, &mut zone.rng);
        zone.ground.lay(&mut zone.zone, stack, at);
        let mut posting = self.ledger.posting(self.tick);
        out.transact(|transaction| {
            transaction.put(&ItemRow::lying(stack, zone.id, at));
            let (from, to) = (Holder::Nowhere, Holder::Ground(zone.id));
            let reason = Reason::Litter;
            posting.moved(transaction, &Movement { reason, stack, from, to, counterparty: None });
        });
    }
}
