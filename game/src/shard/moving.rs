//! Zones that go from one shard to another, whole: everything that is in them goes along as it is, and nothing of it
//! happens on the way. So neither the zone nor its clients know of it, but for the ticks that they wait.

use std::sync::Arc;

use vyuha_protocol::ZoneId;

use super::session::{Session, new_view};
use super::zone::ZoneState;
use super::{Outbox, SessionId, Shard, passes};
use crate::content::Content;
use crate::trade::Trades;

/// A zone between shards, with all that is in it: entities, NPCs, what lies on the ground, what is random, and the sessions
/// that play there with what their clients were told. It can be nowhere else: there is no copy.
pub struct MovingZone {
    content: Arc<Content>,
    pub(super) state: ZoneState,
    /// By rising number, as the shard knew them that it left.
    pub(super) sessions: Vec<(SessionId, Box<Session>)>,
    /// Those of them who stand on a gate, which lets them through in the next tick.
    at_gates: Vec<SessionId>,
    /// What they have begun with each other.
    trades: Trades,
    /// The tick of the shard that it left.
    tick: u64,
}

/// Why a zone cannot be taken in. The shard is as it was; the zone is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// The shard has the zone.
    #[error("zone {0} is here already; a zone is in one shard at a time")]
    HereAlready(ZoneId),
    /// Its sessions are given other than one free number each.
    #[error("each session of a zone that comes needs a free number of its own")]
    Numbers,
}

impl MovingZone {
    /// The zone.
    pub fn id(&self) -> ZoneId {
        self.state.id
    }

    /// How often it went from one shard to another, this time included.
    pub fn moves(&self) -> u32 {
        self.state.moves
    }

    /// Its sessions, by the rising numbers that they had, each with its account.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = (SessionId, i64)> {
        self.sessions.iter().map(|(number, session)| (*number, session.character.account))
    }

    /// [`Shard::tell_anew`], on the way.
    pub fn tell_anew(&mut self, session: SessionId) -> Option<u32> {
        let at = self.sessions.binary_search_by_key(&session, |(number, _)| *number).ok()?;
        let told = &mut self.sessions[at].1;
        told.view = new_view(&self.content.zones[self.state.content].kind);
        Some(told.request)
    }
}

impl Shard {
    /// Whether a zone is here.
    pub fn has_zone(&self, zone: ZoneId) -> bool {
        self.zones.iter().any(|own| own.id == zone)
    }

    /// The sessions that play in a zone, if it is here.
    pub fn sessions_in(&self, zone: ZoneId) -> impl Iterator<Item = SessionId> {
        let zone = self.zones.iter().find(move |own| own.id == zone);
        zone.into_iter().flat_map(|zone| zone.players.values().copied())
    }

    /// Takes a zone out, with all that is in it; `None` if it is not here. Characters that moved since they were saved are
    /// saved. It must not be handed to another shard before every transaction that stands in the same outbox is durable.
    pub fn detach(&mut self, zone: ZoneId, out: &mut Outbox) -> Option<Box<MovingZone>> {
        let at = self.zones.iter().position(|own| own.id == zone)?;
        let mut numbers: Vec<SessionId> = self.zones[at].players.values().copied().collect();
        numbers.sort_unstable();
        out.transact(|transaction| {
            for number in &numbers {
                passes::save_place(&mut self.sessions, &self.zones, *number, transaction);
            }
        });
        let mut state = self.zones.remove(at);
        state.moves += 1;
        let take = |number| {
            let session = self.sessions.remove(number).expect("every player of a zone has a session");
            (number, session)
        };
        let sessions: Vec<_> = numbers.into_iter().map(take).collect();
        for session in self.sessions.iter_mut().filter(|session| session.zone > at) {
            session.zone -= 1;
        }
        let goes = |number: &SessionId| sessions.binary_search_by_key(number, |(number, _)| *number).is_ok();
        let (at_gates, stay) = std::mem::take(&mut self.at_gates).into_iter().partition(goes);
        self.at_gates = stay;
        let trades = self.trades.take(|number| goes(&number));
        let content = Arc::clone(&self.content);
        Some(Box::new(MovingZone { content, state, sessions, at_gates, trades, tick: self.tick }))
    }

    /// Takes a zone in that left a shard of the same node. Its sessions have `numbers` from now on, in the order of
    /// [`MovingZone::sessions`]. It missed `still_ticks` of the node on the way: who plays there earns the steps of those, for
    /// clients do not stand still.
    ///
    /// # Errors
    /// If it is here already, or the numbers are not as many as there are sessions, free, and each another.
    pub fn attach(
        &mut self,
        moving: Box<MovingZone>,
        numbers: &[SessionId],
        still_ticks: u32,
    ) -> Result<(), AttachError> {
        let MovingZone { mut state, sessions, at_gates, trades, tick, .. } = *moving;
        if self.has_zone(state.id) {
            return Err(AttachError::HereAlready(state.id));
        }
        let mut sorted = numbers.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let taken = |number: &SessionId| self.sessions.get(*number).is_some();
        if sorted.len() != sessions.len() || numbers.len() != sessions.len() || numbers.iter().any(taken) {
            return Err(AttachError::Numbers);
        }
        let number = |before: SessionId| {
            let at = sessions.binary_search_by_key(&before, |(number, _)| *number);
            numbers[at.expect("who plays in a zone goes with it")]
        };
        state.players.values_mut().for_each(|player| *player = number(*player));
        self.at_gates.extend(at_gates.into_iter().map(number));
        self.trades.put(trades, number);
        // The zone steps as many ticks from now as it would have where it was.
        let since_step = state.ticks_since_step(tick);
        state.phase =
            (since_step + state.ticks_per_step - self.tick % state.ticks_per_step) % state.ticks_per_step;
        state.zone.set_simd(self.config.simd);
        let steps = still_ticks / state.ticks_per_step as u32;
        for ((_, mut session), &number) in sessions.into_iter().zip(numbers) {
            session.zone = self.zones.len();
            session.steering.earn(steps);
            session.rebase(tick, self.tick);
            self.sessions.put(number, session);
        }
        self.zones.push(state);
        Ok(())
    }
}
