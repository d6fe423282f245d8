//! The sessions of one shard and their connections: who plays, by what connection, and who is awaited because theirs broke.
//! Knows nothing of sockets, the shard or the journal.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use vyuha_game::gates::Carried;
use vyuha_game::shard::SessionId;
use vyuha_net::transport::{ConnId, Released};

use crate::mailbox::Mailbox;
use crate::seats::Stay;

/// One session.
pub struct Session {
    /// Whose it is.
    pub account: i64,
    /// Tells this session from earlier and later ones of the same number.
    pub serial: u64,
    /// How its client is reached; none while it is awaited.
    pub conn: Option<ConnId>,
    /// Until which tick a client is awaited whose connection broke.
    pub away_until: Option<u64>,
    /// The character has left; the session lives on until its last reply is sent.
    pub leaving: bool,
    /// What may have to be sent again.
    pub mailbox: Mailbox,
    /// The ticket that the client was given and is not known to have.
    pub ticket_unconfirmed: Option<u32>,
    /// It goes to another shard, alone or with its zone; it is in none until then.
    pub moving: Option<Box<Moving>>,
    /// Which session of its account it is, and how often it went from one shard to another.
    pub stay: Stay,
}

/// A session on its way out of the shard.
#[derive(Default)]
pub struct Moving {
    /// What is the game's of it; none if it goes with its zone, which has that.
    pub carried: Option<Carried>,
    /// Frames that came since, for the other shard.
    pub frames: Vec<u8>,
    /// Its connection, once the transport has let go of that.
    pub released: Option<Released>,
}

/// The sessions of a shard. Memory: a slot for each number up to the most sessions at once.
#[derive(Default)]
pub struct Sessions {
    slots: Vec<Option<Session>>,
    free: BinaryHeap<Reverse<u32>>,
    /// Numbers of sessions that ended in this tick: what the shard still says of them must not reach others.
    ended: Vec<u32>,
    of_conn: Vec<Option<SessionId>>,
    of_account: HashMap<i64, SessionId>,
    serial_last: u64,
    /// Those who are awaited, the first to be given up first; some have come back or ended since.
    awaited: BinaryHeap<Reverse<(u64, SessionId, u64)>>,
}

impl Sessions {
    /// The number that the next session will have: the lowest free one.
    pub fn next_id(&self) -> SessionId {
        SessionId(self.free.peek().map_or(self.slots.len() as u32, |lowest| lowest.0))
    }

    /// Begins a session under [`Sessions::next_id`], as yet without a connection.
    pub fn insert(&mut self, account: i64) -> SessionId {
        let id = self.next_id();
        if self.free.pop().is_none() {
            self.slots.push(None);
        }
        self.serial_last += 1;
        self.slots[id.0 as usize] = Some(Session {
            account,
            serial: self.serial_last,
            conn: None,
            away_until: None,
            leaving: false,
            mailbox: Mailbox::default(),
            ticket_unconfirmed: None,
            moving: None,
            stay: Stay::default(),
        });
        self.of_account.insert(account, id);
        id
    }

    /// Reaches a session by another connection from now on; the one that it had comes back.
    pub fn attach(&mut self, id: SessionId, conn: ConnId) -> Option<ConnId> {
        let before = self.detach(id);
        let session = self.slots[id.0 as usize].as_mut()?;
        session.conn = Some(conn);
        session.away_until = None;
        let index = conn.0 as usize;
        if self.of_conn.len() <= index {
            self.of_conn.resize(index + 1, None);
        }
        self.of_conn[index] = Some(id);
        before
    }

    /// Awaits a session's client until a tick.
    pub fn await_until(&mut self, id: SessionId, tick: u64) {
        self.detach(id);
        let Some(session) = self.get_mut(id) else { return };
        session.away_until = Some(tick);
        let serial = session.serial;
        self.awaited.push(Reverse((tick, id, serial)));
    }

    /// One who is awaited no longer by this tick.
    pub fn overdue(&mut self, tick: u64) -> Option<SessionId> {
        loop {
            let Reverse((until, id, serial)) = *self.awaited.peek()?;
            let awaits = |session: &Session| session.serial == serial && session.away_until == Some(until);
            let is_away = self.get(id).is_some_and(awaits);
            if is_away && until > tick {
                return None;
            }
            self.awaited.pop();
            if is_away {
                return Some(id);
            }
        }
    }

    /// Ends a session. Its number is free once [`Sessions::free_ended`] was called.
    pub fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = self.slots.get_mut(id.0 as usize)?.take()?;
        if let Some(conn) = session.conn {
            self.of_conn[conn.0 as usize] = None;
        }
        if self.of_account.get(&session.account) == Some(&id) {
            self.of_account.remove(&session.account);
        }
        self.ended.push(id.0);
        Some(session)
    }

    /// Frees the numbers of those who ended since the last call.
    pub fn free_ended(&mut self) {
        self.free.extend(self.ended.drain(..).map(Reverse));
    }

    /// The account is no longer this session's, which goes on for its last reply.
    pub fn set_leaving(&mut self, id: SessionId) {
        let Some(session) = self.slots.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        session.leaving = true;
        if self.of_account.get(&session.account) == Some(&id) {
            self.of_account.remove(&session.account);
        }
    }

    /// A session.
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.slots.get(id.0 as usize)?.as_ref()
    }

    /// A session.
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.slots.get_mut(id.0 as usize)?.as_mut()
    }

    /// Who uses a connection.
    pub fn of_conn(&self, conn: ConnId) -> Option<SessionId> {
        *self.of_conn.get(conn.0 as usize)?
    }

    /// Who plays for an account.
    pub fn of_account(&self, account: i64) -> Option<SessionId> {
        self.of_account.get(&account).copied()
    }

    /// Every number that a session has.
    pub fn ids(&self) -> Vec<SessionId> {
        let numbered = self.slots.iter().enumerate();
        numbered.filter(|(_, slot)| slot.is_some()).map(|(number, _)| SessionId(number as u32)).collect()
    }

    /// One more than the highest number that a session ever had.
    pub fn numbers(&self) -> u32 {
        self.slots.len() as u32
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.slots.len() - self.free.len() - self.ended.len()
    }

    /// Takes a session's connection from it.
    pub fn detach(&mut self, id: SessionId) -> Option<ConnId> {
        let conn = self.get_mut(id)?.conn.take()?;
        self.of_conn[conn.0 as usize] = None;
        Some(conn)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Beside a model: every session is found by what is its own, and only until it ends; who is awaited is given up when
        /// due, unless it came back.
        #[test]
        fn sessions_are_found_and_given_up_when_due(acts in prop::collection::vec((0..6u8, 0..8u32), 1..200)) {
            let mut sessions = Sessions::default();
            // Account, connection, awaited until; by number.
            let mut model: BTreeMap<u32, (i64, Option<ConnId>, Option<u64>)> = BTreeMap::new();
            let (mut account, mut conn, mut tick) = (0, 0, 0);
            for (act, which) in acts {
                let nth = model.keys().copied().nth(which as usize);
                match (act, nth) {
                    (0 | 1, _) => {
                        let id = sessions.next_id();
                        prop_assert!(!model.contains_key(&id.0));
                        (account, conn) = (account + 1, conn + 1);
                        prop_assert_eq!(sessions.insert(account), id);
                        sessions.attach(id, ConnId(conn));
                        model.insert(id.0, (account, Some(ConnId(conn)), None));
                    }
                    (2, Some(id)) => {
                        conn += 1;
                        let before = sessions.attach(SessionId(id), ConnId(conn));
                        let known = model.get_mut(&id).unwrap();
                        prop_assert_eq!(before, known.1);
                        (known.1, known.2) = (Some(ConnId(conn)), None);
                    }
                    (3, Some(id)) => {
                        let until = tick + 1 + u64::from(which % 4);
                        sessions.await_until(SessionId(id), until);
                        let known = model.get_mut(&id).unwrap();
                        (known.1, known.2) = (None, Some(until));
                    }
                    (4, Some(id)) => {
                        let account = sessions.remove(SessionId(id)).map(|session| session.account);
                        prop_assert_eq!(account, model.remove(&id).map(|known| known.0));
                    }
                    (5, _) => {
                        tick += 1;
                        sessions.free_ended();
                        while let Some(id) = sessions.overdue(tick) {
                            let known = model.remove(&id.0).unwrap();
                            prop_assert_eq!(known.2, Some(tick));
                            sessions.remove(id);
                        }
                        prop_assert!(model.values().all(|known| known.2.is_none_or(|until| until > tick)));
                    }
                    _ => {}
                }
                prop_assert_eq!(sessions.count(), model.len());
                prop_assert_eq!(sessions.ids(), model.keys().map(|&id| SessionId(id)).collect::<Vec<_>>());
                for conn in 0..=conn {
                    let known = model.iter().find(|(_, known)| known.1 == Some(ConnId(conn)));
                    prop_assert_eq!(sessions.of_conn(ConnId(conn)), known.map(|(&id, _)| SessionId(id)));
                }
                for account in 0..=account {
                    let known = model.iter().find(|(_, known)| known.0 == account);
                    prop_assert_eq!(sessions.of_account(account), known.map(|(&id, _)| SessionId(id)));
                }
            }
        }
    }
}
