//! A player's presence: what the shard knows of a session besides its entity in the zone.

use vyuha_core::View;
use vyuha_protocol::snapshot::GROUP_LANDMARKS;
use vyuha_protocol::{CharacterId, EntityId, ErrorCode};

use crate::character::{Belongings, CharacterRow};
use crate::chat::Allowance;
use crate::content::ZoneKind;
use crate::hash::StateHash;
use crate::movement::Steering;
use crate::presence::Presence;
use crate::requests::Budget;

/// A session's number in its shard, chosen by the driver: free numbers are used again, the lowest first, since the
/// shard keeps a place for every number up to the highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);

/// About 3 KiB, 32 bytes for each stack in its bank, and the view; [`crate::movement::INPUTS_QUEUED_MAX`] bounds its queue.
pub(super) struct Session {
    /// Where in the shard's zones it is.
    pub zone: usize,
    pub entity: EntityId,
    /// The row as it was saved last.
    pub character: CharacterRow,
    pub belongings: Belongings,
    pub steering: Steering,
    pub allowance: Allowance,
    pub budget: Budget,
    pub presence: Presence,
    /// The last request's id.
    pub request: u32,
    /// Whether its profile owes: it does not trade then.
    pub owes: bool,
    /// What commands about items must carry.
    pub nonce: u32,
    /// What the client was told; depends on nothing but what was written to it, and is no part of the state.
    pub view: View,
}

/// What a client knows that was told nothing of a zone yet.
pub(super) fn new_view(kind: &ZoneKind) -> View {
    let mut view = View::of(kind.view);
    assert!(view.watch(GROUP_LANDMARKS), "a new view watches no group");
    view
}

/// The sessions by number.
#[derive(Default)]
pub(super) struct Sessions {
    slots: Vec<Option<Box<Session>>>,
}

impl Sessions {
    pub fn get(&self, session: SessionId) -> Option<&Session> {
        self.slots.get(session.0 as usize)?.as_deref()
    }

    pub fn get_mut(&mut self, session: SessionId) -> Option<&mut Session> {
        self.slots.get_mut(session.0 as usize)?.as_deref_mut()
    }

    /// The session, or what a client gets that acts as if it had one.
    pub fn playing(&mut self, session: SessionId) -> Result<&mut Session, ErrorCode> {
        self.get_mut(session).ok_or(ErrorCode::OutOfOrder)
    }

    /// Two different sessions.
    pub fn get_two(&mut self, one: SessionId, other: SessionId) -> Option<[&mut Session; 2]> {
        let slots = self.slots.get_disjoint_mut([one.0 as usize, other.0 as usize]).ok()?;
        let [one, other] = slots.map(Option::as_deref_mut);
        Some([one?, other?])
    }

    pub fn put(&mut self, session: SessionId, new: Box<Session>) {
        let slot = session.0 as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = Some(new);
    }

    pub fn remove(&mut self, session: SessionId) -> Option<Box<Session>> {
        self.slots.get_mut(session.0 as usize)?.take()
    }

    /// One more than the highest number so far.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.slots.iter_mut().filter_map(Option::as_deref_mut)
    }

    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        let numbered = self.slots.iter().enumerate();
        numbered.filter_map(|(slot, session)| Some((SessionId(slot as u32), session.as_deref()?)))
    }
}

impl Session {
    pub fn character_id(&self) -> CharacterId {
        CharacterId(self.character.id)
    }

    /// Counts the time since something happened by another shard's ticks.
    pub fn rebase(&mut self, from_tick: u64, to_tick: u64) {
        let whole_at = &mut self.allowance.whole_at_tick;
        *whole_at = whole_at.saturating_sub(from_tick) + to_tick;
        for past in [&mut self.budget.tick, &mut self.presence.seen_tick] {
            // A younger shard may not have had that tick: ages are differences that wrap.
            *past = to_tick.wrapping_sub(from_tick.wrapping_sub(*past));
        }
    }

    /// Feeds the whole state to a hash, as it is at a tick of the shard: but for the number and the zone's place, which are the
    /// shard's own.
    pub fn hash_into(&self, tick: u64, hash: &mut StateHash) {
        hash.write(u64::from(self.entity.0));
        let character = &self.character;
        for number in [character.id, character.account, character.zone, character.x, character.y] {
            hash.write(number as u64);
        }
        self.belongings.hash_into(hash);
        self.steering.hash_into(hash);
        hash.write(self.allowance.whole_at_tick.saturating_sub(tick));
        hash.write(u64::from(self.nonce) << 32 | u64::from(self.request));
        hash.write(u64::from(self.owes));
        hash.write(self.budget.spent);
        hash.write(tick.wrapping_sub(self.budget.tick));
        hash.write(tick.wrapping_sub(self.presence.seen_tick) << 1 | u64::from(self.presence.is_away));
    }
}
