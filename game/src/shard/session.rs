//! A player's presence: what the shard knows of a session besides its entity in the zone.

use vyuha_core::View;
use vyuha_protocol::snapshot::GROUP_LANDMARKS;
use vyuha_protocol::{CharacterId, EntityId, ErrorCode};

use crate::character::CharacterRow;
use crate::chat::Allowance;
use crate::content::ZoneKind;
use crate::hash::StateHash;
use crate::inventory::Inventory;
use crate::movement::Steering;

/// A session's number in its shard, chosen by the driver: free numbers are used again, the lowest first, since the
/// shard keeps a place for every number up to the highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);

/// About 2 KiB and the view; [`crate::movement::INPUTS_QUEUED_MAX`] bounds its queue.
pub(super) struct Session {
    /// Where in the shard's zones it is.
    pub zone: usize,
    pub entity: EntityId,
    /// The row as it was saved last.
    pub character: CharacterRow,
    pub inventory: Inventory,
    pub steering: Steering,
    pub allowance: Allowance,
    /// The last request's id.
    pub request: u32,
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
    pub fn get_mut(&mut self, session: SessionId) -> Option<&mut Session> {
        self.slots.get_mut(session.0 as usize)?.as_deref_mut()
    }

    /// The session, or what a client gets that acts as if it had one.
    pub fn playing(&mut self, session: SessionId) -> Result<&mut Session, ErrorCode> {
        self.get_mut(session).ok_or(ErrorCode::OutOfOrder)
    }

    pub fn insert(&mut self, session: SessionId, new: Session) {
        let slot = session.0 as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = Some(Box::new(new));
    }

    pub fn remove(&mut self, session: SessionId) -> Option<Box<Session>> {
        self.slots.get_mut(session.0 as usize)?.take()
    }

    /// One more than the highest number so far.
    pub fn len(&self) -> usize {
        self.slots.len()
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

    pub fn hash_into(&self, hash: &mut StateHash) {
        hash.write((self.zone as u64) << 32 | u64::from(self.entity.0));
        let character = &self.character;
        for number in [character.id, character.account, character.zone, character.x, character.y] {
            hash.write(number as u64);
        }
        self.inventory.hash_into(hash);
        self.steering.hash_into(hash);
        hash.write(self.allowance.whole_at_tick);
        hash.write(u64::from(self.request));
    }
}
