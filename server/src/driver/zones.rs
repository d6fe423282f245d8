//! Zones that go from shard to shard: out of this one at a tick's end, on their way when that tick is durable, and into this one.
//!
//! A zone is out of its shard until the other one has it: nothing happens in it, its clients are sent nothing, and what they
//! send waits. Whoever comes for it meanwhile waits where the zone is awaited.

use std::time::Instant;

use tokio::sync::oneshot;
use vyuha_game::shard::{MovingZone, SessionId};
use vyuha_gateway::{MoveOrder, MoveRefused, ZoneMoved};
use vyuha_net::transport::Transport;
use vyuha_protocol::ZoneId;

use super::{Driver, DriverError};
use crate::doors::{Notice, Request, SeatChange, Traveller, ZoneArrival};
use crate::sessions::Moving;

/// A zone that is out of the shard and not handed over yet.
pub(super) struct ZoneOut {
    zone: Box<MovingZone>,
    /// Its sessions by number and serial, in the order that it has them in.
    sessions: Vec<(SessionId, u64)>,
    to: u16,
    answer: oneshot::Sender<Result<ZoneMoved, MoveRefused>>,
    /// What must be durable first.
    batch: u64,
    /// When its last tick began.
    ticked: Instant,
}

impl ZoneOut {
    /// Begins to tell a session of the zone anew; its last request. `None` if it is not one of this zone's.
    pub(super) fn tell_anew(&mut self, id: SessionId, serial: u64) -> Option<u32> {
        // The number may be another session's by now.
        if self.sessions.contains(&(id, serial)) { self.zone.tell_anew(id) } else { None }
    }
}

impl<T: Transport> Driver<T> {
    /// Takes an order to let a zone go, which is done at the end of the tick.
    pub(super) fn take_order(&mut self, order: MoveOrder) {
        let is_here = self.parts.shard.has_zone(ZoneId(order.zone));
        let is_ordered = self.orders.iter().any(|other| other.zone == order.zone);
        if self.drained {
            order.refuse(MoveRefused::Stopping);
        } else if is_ordered || !is_here {
            order.refuse(MoveRefused::IsMoving);
        } else if order.to == self.parts.neighbours.own {
            order.refuse(MoveRefused::AlreadyThere);
        } else if !self.backlog.is_empty() {
            order.refuse(MoveRefused::JournalBusy);
        } else {
            self.orders.push(order);
        }
    }

    /// The kernel is to let go of the sockets of zones that are to go, by the next tick.
    pub(super) fn prepare_zones(&mut self) {
        let Driver { parts, sessions, orders, .. } = self;
        for id in orders.iter().flat_map(|order| parts.shard.sessions_in(ZoneId(order.zone))) {
            if let Some(conn) = sessions.get(id).and_then(|session| session.conn) {
                parts.transport.prepare_release(conn);
            }
        }
    }

    /// Takes the zones out that were ordered to go, once their clients were sent what their last tick brought.
    pub(super) fn take_zones_out(&mut self) -> Result<(), DriverError> {
        if self.orders.is_empty() {
            return Ok(());
        }
        let out_before = self.zones_out.len();
        for MoveOrder { zone, to, answer } in std::mem::take(&mut self.orders) {
            let zone = self.parts.shard.detach(ZoneId(zone), &mut self.outbox);
            let zone = zone.expect("it was here when the order was taken, and no zone goes between");
            let mut sessions = Vec::with_capacity(zone.sessions().len());
            for (id, _) in zone.sessions() {
                let session = self.sessions.get_mut(id).expect("who plays in the shard has a session");
                session.moving = Some(Box::default());
                sessions.push((id, session.serial));
            }
            let ticked = self.parts.telemetry.begun();
            self.zones_out.push(ZoneOut { zone, sessions, to, answer, batch: 0, ticked });
        }
        self.hand_out_or_give_up()?;
        for out in &mut self.zones_out[out_before..] {
            out.batch = self.batch_last;
        }
        Ok(())
    }

    /// Hands on the zones whose last tick is durable and whose connections the kernel has let go of.
    pub(super) fn hand_zones_on(&mut self) {
        for out in std::mem::take(&mut self.zones_out) {
            if out.batch <= self.durable && self.release_connections(&out.sessions) {
                self.hand_zone_on(out);
            } else {
                self.zones_out.push(out);
            }
        }
    }

    /// Takes the connections of sessions out of the transport. `false` while the kernel has one of them.
    fn release_connections(&mut self, sessions: &[(SessionId, u64)]) -> bool {
        let mut all = true;
        for &(id, serial) in sessions {
            let Some(session) = self.sessions.get_mut(id).filter(|session| session.serial == serial) else {
                continue;
            };
            let Some(conn) = session.conn else { continue };
            match self.parts.transport.release(conn) {
                Some(released) => {
                    session.moving.get_or_insert_default().released = Some(released);
                    self.sessions.detach(id);
                }
                None => all = false,
            }
        }
        all
    }

    fn hand_zone_on(&mut self, out: ZoneOut) {
        let ZoneOut { zone, sessions, to, answer, ticked, .. } = out;
        let own = self.parts.neighbours.own;
        // A node that ends keeps its zones where they are, and everyone is let go there.
        let to = if self.drained { own } else { to };
        let id = zone.id();
        let mut gone = Vec::with_capacity(sessions.len());
        let mut travellers = Vec::with_capacity(sessions.len());
        for ((id, serial), (_, account)) in sessions.into_iter().zip(zone.sessions()) {
            let traveller = if self.is_current(id, serial) { self.take_traveller(id) } else { None };
            if let Some(traveller) = traveller.as_ref().filter(|_| to != own) {
                gone.push(Notice { account, change: SeatChange::Moved { shard: to, stay: traveller.stay } });
                self.passed.insert(account, (self.ticks, to));
            }
            travellers.push(traveller);
        }
        let arrival = ZoneArrival { zone, travellers, from: own, ticked, answer };
        self.parts.neighbours.zones.set(id, to);
        self.parts.neighbours.hand(to, Request::Zone(Box::new(arrival)));
        if to == own {
            return;
        }
        // Until the control plane has heard of it, what it asks of them here is handed on.
        for notice in gone {
            self.parts.left.push(notice);
        }
        self.admit_parked(id);
    }

    /// What goes with a session beside the game; the session ends here.
    pub(super) fn take_traveller(&mut self, id: SessionId) -> Option<Traveller> {
        let session = self.sessions.remove(id)?;
        let Moving { frames, released, .. } = *session.moving?;
        Some(Traveller {
            connection: released,
            awaited_ticks: session.away_until.map(|until| until.saturating_sub(self.ticks)),
            frames,
            mailbox: session.mailbox,
            ticket_unconfirmed: session.ticket_unconfirmed,
            stay: session.stay.next(),
        })
    }

    /// Goes on with a zone that comes from another shard.
    pub(super) fn zone_arrives(&mut self, arrival: ZoneArrival) {
        let ZoneArrival { zone, travellers, from, ticked, answer } = arrival;
        let id = zone.id();
        let mut come = Vec::with_capacity(travellers.len());
        for ((_, account), traveller) in zone.sessions().zip(travellers) {
            self.passed.remove(&account);
            come.push((self.sessions.insert(account), account, traveller));
        }
        let gap = self.parts.telemetry.begun() - ticked;
        let gap_ticks = gap.as_secs_f32() * self.parts.tick_hz as f32;
        let still_ticks = (gap_ticks.round() as u32).saturating_sub(1);
        let numbers: Vec<SessionId> = come.iter().map(|(number, ..)| *number).collect();
        self.parts
            .shard
            .attach(zone, &numbers, still_ticks)
            .expect("a zone is in one shard at a time, and a number that is free here is free in the shard");
        for (number, account, traveller) in come {
            match traveller {
                Some(mut traveller) => {
                    let conn = self.connect(&mut traveller, account);
                    self.settle(number, traveller, conn);
                }
                // It ended on the way.
                None => self.end(number, None),
            }
        }
        self.admit_parked(id);
        let own = self.parts.neighbours.own;
        let told = if from == own {
            Err(MoveRefused::Stopping)
        } else {
            self.parts.telemetry.zone_moved(gap);
            let gap_ms = gap.as_secs_f32() * 1e3;
            let sessions = numbers.len() as u32;
            tracing::info!(zone = id.0, from, to = own, sessions, gap_ms, "a zone was moved");
            Ok(ZoneMoved { zone: id.0, from, to: own, sessions, gap_ms, gap_ticks })
        };
        // Whoever asked may have gone.
        let _ = answer.send(told);
    }
}
