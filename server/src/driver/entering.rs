//! Those who come to a shard: new ones, ones who take their session up again, and how far a tick goes with them.

use vyuha_game::shard::SessionId;
use vyuha_net::transport::{AdmitError, ConnId, Transport};
use vyuha_protocol::ErrorCode;
use vyuha_protocol::message::{self, Resumed};

use super::Driver;
use crate::doors::{Admission, Notice, Request, Resumption, SeatChange};

/// Admissions and kicks dealt with in one tick; the others wait for the next.
const REQUESTS_PER_TICK_MAX: usize = 64;

impl<T: Transport> Driver<T> {
    /// Everyone who knocked, as far as one tick goes.
    pub(super) fn answer_doors(&mut self) {
        self.parts.neighbours.hand_waiting();
        self.welcome_arrivals();
        for (account, owes) in std::mem::take(&mut self.owing) {
            self.answer(Request::Owes { account, owes });
        }
        for _ in 0..REQUESTS_PER_TICK_MAX {
            let Some(request) = self.parts.requests.pop() else { break };
            // Who is asked for may have been handed over since.
            self.welcome_arrivals();
            self.answer(request);
        }
    }

    /// Everyone whom other shards handed over.
    pub(super) fn welcome_arrivals(&mut self) {
        while let Some(request) = self.parts.neighbours.pop() {
            self.answer(request);
        }
    }

    pub(super) fn admit(&mut self, admission: Admission) {
        let Admission { stream, received, request, character, items, owes, ticket, stay } = admission;
        let account = character.account;
        // Whoever asks for the account means this session, not one that went on to another shard before.
        self.passed.remove(&account);
        let Some(conn) = self.take_over(account, |transport| transport.admit(stream, &received)) else {
            // The socket is closed with the error; the seat is free as if the session had come and gone.
            return self.forget(account);
        };
        let id = self.sessions.next_id();
        match self.parts.shard.join(id, request, character, &items, &mut self.outbox) {
            Ok(()) => {
                self.sessions.insert(account);
                self.sessions.attach(id, conn);
                if let Some(session) = self.sessions.get_mut(id) {
                    session.stay = stay;
                }
                if owes {
                    self.parts.shard.set_owes(id, true, &mut self.outbox);
                }
                self.give(id, ticket.number);
                if self.parts.grace_ticks > 0 {
                    self.frame.clear();
                    message::append(&mut self.frame, &message::Ticket { ticket: ticket.secret });
                    self.parts.transport.queue(conn, &self.frame);
                }
                if self.drained {
                    self.end(id, Some(ErrorCode::ShuttingDown));
                }
            }
            Err(error) => {
                tracing::error!(%error, account, "a character could not enter its zone");
                self.turn_away(conn, ErrorCode::Unavailable);
                self.forget(account);
            }
        }
    }

    /// Lets a session go on by another connection, and sends again what its client lacks.
    pub(super) fn resume(&mut self, resumption: Resumption) {
        let Resumption { account, stream, unread, received, ticket } = resumption;
        let Some(conn) = self.take_over(account, |transport| transport.admit(stream, &unread)) else {
            return;
        };
        let Driver { parts, sessions, frame, zones_out, .. } = self;
        let resumed = sessions.of_account(account).and_then(|id| {
            let session = sessions.get_mut(id)?;
            let serial = session.serial;
            let missing = session.mailbox.missing(received)?;
            let request = match &mut session.moving {
                Some(moving) => {
                    // These come again over the new connection.
                    moving.frames.clear();
                    moving.released = None;
                    match &moving.carried {
                        Some(carried) => carried.request,
                        None => zones_out.iter_mut().find_map(|out| out.tell_anew(id, serial))?,
                    }
                }
                None => parts.shard.tell_anew(id)?,
            };
            frame.clear();
            message::append(frame, &Resumed { ticket: ticket.secret, request });
            frame.extend_from_slice(missing);
            parts.transport.queue(conn, frame);
            Some(id)
        });
        let Some(id) = resumed else { return self.turn_away(conn, ErrorCode::ResumeRefused) };
        self.give(id, ticket.number);
        if let Some(before) = self.sessions.attach(id, conn) {
            self.turn_away(before, ErrorCode::SignedInElsewhere);
        }
    }

    /// Notes which ticket a session's client is being sent.
    pub(super) fn give(&mut self, id: SessionId, ticket: u32) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.ticket_unconfirmed = Some(ticket);
        }
    }

    /// Takes a connection over, if there is room.
    pub(super) fn take_over(
        &mut self,
        account: i64,
        admit: impl FnOnce(&mut T) -> Result<ConnId, AdmitError>,
    ) -> Option<ConnId> {
        match admit(&mut self.parts.transport) {
            Ok(conn) => Some(conn),
            Err(error) => {
                if !matches!(error, AdmitError::Full { .. }) {
                    tracing::warn!(%error, account, "a connection could not be taken over");
                }
                self.parts.telemetry.refused(ErrorCode::ServerFull);
                None
            }
        }
    }

    /// The account's seat is free; nothing of it waits for the journal.
    pub(super) fn forget(&mut self, account: i64) {
        self.parts.left.push(Notice { account, change: SeatChange::Left });
    }
}
