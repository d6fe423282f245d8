//! Sessions that go from shard to shard: out of this one once they are durable, and into this one. And what comes here for a
//! zone or a session that is elsewhere: it is handed on, or waits for the zone.

use vyuha_game::shard::SessionId;
use vyuha_net::transport::{ConnId, Transport};
use vyuha_protocol::{ErrorCode, ZoneId};

use super::Driver;
use crate::doors::{Arrival, Notice, Request, SeatChange, Traveller};
use crate::seats::Stay;

/// Ticks for which a shard knows where a session went: far longer than the control plane needs to hear of it.
const PASSED_TICKS: u64 = 1000;

impl<T: Transport> Driver<T> {
    /// Where an account's session went that was here until just now.
    fn passed_to(&self, account: i64) -> Option<u16> {
        self.passed.get(&account).map(|(_, shard)| *shard)
    }

    /// Deals with what was asked, or sees to it that another shard does.
    pub(super) fn answer(&mut self, request: Request) {
        if let Some(account) = about_session(&request) {
            if let Some(shard) = self.passed_to(account) {
                return self.parts.neighbours.hand(shard, request);
            }
            let entering = |(_, parked): &&(i64, Request)| entering(parked) == Some(account);
            if let Some(&(zone, _)) = self.parked.iter().find(entering) {
                return self.parked.push((zone, request));
            }
        }
        match request {
            Request::Admit(admission) if self.is_for_here(admission.character.zone) => self.admit(*admission),
            Request::Admit(admission) => {
                self.send_on(admission.character.zone, Request::Admit(admission));
            }
            Request::Arrive(arrival) if self.is_for_here(arrival.carried.character.zone) => {
                self.arrive(*arrival);
            }
            Request::Arrive(arrival) => {
                self.send_on(arrival.carried.character.zone, Request::Arrive(arrival));
            }
            Request::Resume(resumption) => self.resume(*resumption),
            Request::Kick { account, code } => {
                if let Some(id) = self.sessions.of_account(account) {
                    self.end(id, Some(code));
                }
            }
            Request::Owes { account, owes } => self.set_owes(account, owes),
            Request::Tell(telling) => self.tellings.push(telling),
            Request::Move(order) => self.take_order(order),
            Request::Zone(arrival) => self.zone_arrives(*arrival),
        }
    }

    /// Notes whether a session's profile owes; of one that is on its way to another shard once that is to be told.
    fn set_owes(&mut self, account: i64, owes: bool) {
        let Some(id) = self.sessions.of_account(account) else { return };
        if self.sessions.get(id).is_some_and(|session| session.moving.is_some()) {
            self.owing.retain(|(other, _)| *other != account);
            return self.owing.push((account, owes));
        }
        self.parts.shard.set_owes(id, owes, &mut self.outbox);
    }

    /// Whether a zone is here, or nowhere, which its shard is the one to say.
    fn is_for_here(&self, zone: i64) -> bool {
        let is_here = u16::try_from(zone).is_ok_and(|zone| self.parts.shard.has_zone(ZoneId(zone)));
        is_here || self.parts.neighbours.zones.shard_of(zone).is_none()
    }

    /// Hands somebody on who comes for a zone that is not here, or lets them wait for it.
    fn send_on(&mut self, zone: i64, mut request: Request) {
        let shard = self.parts.neighbours.zones.shard_of(zone).unwrap_or(self.parts.neighbours.own);
        if shard == self.parts.neighbours.own {
            return self.parked.push((zone, request));
        }
        let (account, stay) = match &mut request {
            Request::Admit(admission) => (admission.character.account, &mut admission.stay),
            Request::Arrive(arrival) => (arrival.carried.character.account, &mut arrival.traveller.stay),
            _ => unreachable!("only who enters comes for a zone"),
        };
        *stay = stay.next();
        let stay = *stay;
        self.hand_on(account, stay, shard, request);
    }

    /// Hands somebody to another shard. Until the control plane has heard of it, what it asks of them here is handed on too.
    fn hand_on(&mut self, account: i64, stay: Stay, shard: u16, request: Request) {
        self.parts.neighbours.hand(shard, request);
        if shard != self.parts.neighbours.own {
            self.passed.insert(account, (self.ticks, shard));
            self.parts.left.push(Notice { account, change: SeatChange::Moved { shard, stay } });
        }
    }

    /// A zone came or went: who waited for it comes again.
    pub(super) fn admit_parked(&mut self, zone: ZoneId) {
        let waits = |(parked, _): &mut (i64, Request)| *parked == i64::from(zone.0);
        let parked: Vec<_> = self.parked.extract_if(.., waits).collect();
        for (_, request) in parked {
            self.answer(request);
        }
    }

    /// Hands on those who go to another shard and whose connections the kernel has let go of.
    pub(super) fn pass_on(&mut self) {
        if self.ticks.is_multiple_of(PASSED_TICKS) {
            self.passed.retain(|_, (tick, _)| *tick + PASSED_TICKS >= self.ticks);
        }
        for (id, serial, account) in std::mem::take(&mut self.passing) {
            if !self.is_current(id, serial) {
                // It ended on the way; all that it did is durable.
                self.forget(account);
                continue;
            }
            let conn = self.sessions.get(id).and_then(|session| session.conn);
            let released = conn.and_then(|conn| self.parts.transport.release(conn));
            if conn.is_some() && released.is_none() {
                self.passing.push((id, serial, account));
                continue;
            }
            let Some(moving) = self.sessions.get_mut(id).and_then(|session| session.moving.as_mut()) else {
                continue;
            };
            moving.released = released;
            let Some(carried) = moving.carried.take() else { continue };
            let Some(traveller) = self.take_traveller(id) else { continue };
            let zone = carried.character.zone;
            let shard = self.parts.neighbours.zones.shard_of(zone).unwrap_or(0);
            let stay = traveller.stay;
            self.hand_on(account, stay, shard, Request::Arrive(Box::new(Arrival { carried, traveller })));
        }
    }

    /// Goes on with a session that comes from another shard.
    fn arrive(&mut self, arrival: Arrival) {
        let Arrival { carried, mut traveller } = arrival;
        let account = carried.character.account;
        self.passed.remove(&account);
        let conn = self.connect(&mut traveller, account);
        let id = self.sessions.next_id();
        if let Err(error) = self.parts.shard.arrive(id, carried, &mut self.outbox) {
            tracing::error!(%error, account, "a character could not enter the zone that it went to");
            if let Some(conn) = conn {
                self.turn_away(conn, ErrorCode::Unavailable);
            }
            return self.forget(account);
        }
        self.sessions.insert(account);
        self.settle(id, traveller, conn);
    }

    /// Takes the connection over that a session comes with, and what waits in it either way.
    pub(super) fn connect(&mut self, traveller: &mut Traveller, account: i64) -> Option<ConnId> {
        let mut released = traveller.connection.take()?;
        released.unread.splice(..0, std::mem::take(&mut traveller.frames));
        self.take_over(account, |transport| transport.readmit(released))
    }

    /// Lets a session go on that came from another shard, by its connection or awaited.
    pub(super) fn settle(&mut self, id: SessionId, traveller: Traveller, conn: Option<ConnId>) {
        let Traveller { awaited_ticks, mailbox, ticket_unconfirmed, stay, .. } = traveller;
        if let Some(session) = self.sessions.get_mut(id) {
            (session.mailbox, session.ticket_unconfirmed, session.stay) = (mailbox, ticket_unconfirmed, stay);
        }
        if let Some(conn) = conn {
            self.sessions.attach(id, conn);
        }
        if self.drained {
            self.end(id, Some(ErrorCode::ShuttingDown));
        } else if conn.is_none() && self.awaits(id) {
            let awaited_ticks = awaited_ticks.unwrap_or(u64::from(self.parts.grace_ticks));
            self.sessions.await_until(id, self.ticks + awaited_ticks);
        } else if conn.is_none() {
            self.end(id, None);
        }
    }
}

/// The account whose session something is asked of.
fn about_session(request: &Request) -> Option<i64> {
    match request {
        Request::Resume(resumption) => Some(resumption.account),
        Request::Kick { account, .. } | Request::Owes { account, .. } => Some(*account),
        Request::Tell(telling) => telling.account,
        _ => None,
    }
}

/// The account of somebody who comes for a zone.
fn entering(request: &Request) -> Option<i64> {
    match request {
        Request::Admit(admission) => Some(admission.character.account),
        Request::Arrive(arrival) => Some(arrival.carried.character.account),
        _ => None,
    }
}
