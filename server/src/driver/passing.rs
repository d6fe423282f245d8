//! Sessions that go from shard to shard: out of this one once they are durable, and into this one.

use vyuha_net::transport::Transport;
use vyuha_protocol::ErrorCode;

use super::Driver;
use crate::doors::{Arrival, Notice, Request, SeatChange};

/// Ticks for which a shard knows where a session went: far longer than the control plane needs to hear of it.
const PASSED_TICKS: u64 = 1000;

impl<T: Transport> Driver<T> {
    /// Where an account's session went that was here until just now.
    pub(super) fn passed_to(&self, account: i64) -> Option<u16> {
        self.passed.iter().find(|(_, passed, _)| *passed == account).map(|(.., shard)| *shard)
    }

    /// Hands on those who go to another shard and whose connections the kernel has let go of.
    pub(super) fn pass_on(&mut self) {
        while self.passed.front().is_some_and(|(tick, ..)| tick + PASSED_TICKS < self.ticks) {
            self.passed.pop_front();
        }
        for (id, serial, account) in std::mem::take(&mut self.passing) {
            if !self.is_current(id, serial) {
                // It ended on the way; all that it did is durable.
                self.forget(account);
                continue;
            }
            let conn = self.sessions.get(id).and_then(|session| session.conn);
            let connection = conn.and_then(|conn| self.parts.transport.release(conn));
            if conn.is_some() && connection.is_none() {
                self.passing.push((id, serial, account));
                continue;
            }
            let Some(session) = self.sessions.remove(id) else { continue };
            let Some(moving) = session.moving else { continue };
            let shard = self.parts.neighbours.shard_of(moving.carried.zone());
            let moves = session.moves + 1;
            // Told before the other shard can tell of its end.
            self.parts.left.push(Notice { account, change: SeatChange::Moved { shard, moves } });
            self.parts.left.tell();
            self.passed.push_back((self.ticks, account, shard));
            let arrival = Arrival {
                account,
                carried: moving.carried,
                connection,
                frames: moving.frames,
                mailbox: session.mailbox,
                ticket_unconfirmed: session.ticket_unconfirmed,
                moves,
            };
            self.parts.neighbours.hand(shard, Request::Arrive(Box::new(arrival)));
        }
    }

    /// Goes on with a session that comes from another shard.
    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let Arrival { account, carried, connection, frames, mailbox, ticket_unconfirmed, moves } = arrival;
        self.passed.retain(|(_, passed, _)| *passed != account);
        let conn = connection.and_then(|mut released| {
            released.unread.splice(..0, frames);
            self.take_over(account, |transport| transport.readmit(released))
        });
        let id = self.sessions.next_id();
        if let Err(error) = self.parts.shard.arrive(id, carried, &mut self.outbox) {
            tracing::error!(%error, account, "a character could not enter the zone that it went to");
            if let Some(conn) = conn {
                self.turn_away(conn, ErrorCode::Unavailable);
            }
            return self.forget(account);
        }
        self.sessions.insert(account);
        if let Some(session) = self.sessions.get_mut(id) {
            (session.mailbox, session.ticket_unconfirmed, session.moves) =
                (mailbox, ticket_unconfirmed, moves);
        }
        match conn {
            _ if self.drained => {
                if let Some(conn) = conn {
                    self.sessions.attach(id, conn);
                }
                self.end(id, Some(ErrorCode::ShuttingDown));
            }
            Some(conn) => {
                self.sessions.attach(id, conn);
            }
            None if self.awaits(id) => {
                self.sessions.await_until(id, self.ticks + u64::from(self.parts.grace_ticks));
            }
            None => self.end(id, None),
        }
    }
}
