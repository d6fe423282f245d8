//! Trade between two characters.
//!
//! - Both stand in one zone within the zone kind's reach of each other, from beginning to end: so a trade is always within one
//!   shard, and who walks away, leaves or goes through a gate ends it.
//! - What is offered stays where it is and cannot be used otherwise until the trade is over: nothing moves before all does. So a
//!   trade that ends in any other way, a crash too, has nothing to give back.
//! - Each confirms twice: what both offer, and once more when both have. A confirmation names the revision that was seen; a
//!   change of what is offered raises it and withdraws all confirmations.
//! - The swap is one transaction, in which all that was offered finds room on the other side and is not too heavy, or nothing
//!   happens.
//! - Who owes does not trade: neither asks nor is asked, and what it has begun ends when it comes to owe.
//! - A character is in one trade at a time, and asks one other at a time.

mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use vyuha_protocol::ErrorCode;

use crate::hash::StateHash;
use crate::shard::SessionId;

pub use rules::{Party, Swap, swap};

/// The last step of confirmation.
pub const STEPS: u8 = 2;

/// What one of two has put into a trade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// The other.
    pub partner: SessionId,
    /// How many of which inventory slot are offered, each at least 1.
    pub offers: BTreeMap<u8, u32>,
    /// The step that was confirmed, 0 to [`STEPS`].
    pub step: u8,
    /// Rises with each change of either's offers; the same on both sides.
    pub revision: u32,
}

/// The trades of a shard, and who has asked for one. Bounded by the sessions.
#[derive(Debug, Default)]
pub struct Trades {
    sides: BTreeMap<SessionId, Side>,
    asked: BTreeMap<SessionId, SessionId>,
}

impl Trades {
    /// A session's side of its trade.
    pub fn side(&self, session: SessionId) -> Option<&Side> {
        self.sides.get(&session)
    }

    /// Whether something of an inventory slot is offered.
    pub fn offers(&self, session: SessionId, slot: usize) -> bool {
        let side = self.sides.get(&session);
        side.is_some_and(|side| side.offers.keys().any(|offered| usize::from(*offered) == slot))
    }

    /// Notes that one asks another to trade.
    pub fn ask(&mut self, asker: SessionId, other: SessionId) -> Result<(), ErrorCode> {
        self.check_free([asker, other])?;
        self.asked.insert(asker, other);
        Ok(())
    }

    /// Begins the trade for which one has asked another.
    pub fn accept(&mut self, other: SessionId, asker: SessionId) -> Result<(), ErrorCode> {
        if self.asked.get(&asker) != Some(&other) {
            return Err(ErrorCode::NoTrade);
        }
        self.check_free([asker, other])?;
        self.asked.remove(&asker);
        self.asked.remove(&other);
        for (session, partner) in [(asker, other), (other, asker)] {
            self.sides.insert(session, Side { partner, offers: BTreeMap::new(), step: 0, revision: 1 });
        }
        Ok(())
    }

    /// Replaces what is offered of a slot, and withdraws all confirmations.
    pub fn offer(&mut self, session: SessionId, slot: u8, count: u32) -> Result<(), ErrorCode> {
        let side = self.sides.get_mut(&session).ok_or(ErrorCode::NoTrade)?;
        match count {
            0 => _ = side.offers.remove(&slot),
            count => _ = side.offers.insert(slot, count),
        }
        let partner = side.partner;
        for session in [session, partner] {
            let side = self.sides.get_mut(&session).expect("a trade has two sides");
            side.revision = side.revision.wrapping_add(1);
            side.step = 0;
        }
        Ok(())
    }

    /// Whether a session may confirm a step of a revision now, and whether that would be the last that is missing.
    pub fn check_confirm(&self, session: SessionId, revision: u32, step: u8) -> Result<bool, ErrorCode> {
        let side = self.sides.get(&session).ok_or(ErrorCode::NoTrade)?;
        let other = &self.sides[&side.partner];
        let in_turn = step == side.step + 1 && step <= STEPS && other.step + 1 >= step;
        if revision != side.revision || !in_turn {
            return Err(ErrorCode::TradeMoved);
        }
        Ok(step == STEPS && other.step == STEPS)
    }

    /// Confirms the next step, which [`Trades::check_confirm`] has allowed.
    pub fn confirm(&mut self, session: SessionId) {
        if let Some(side) = self.sides.get_mut(&session) {
            side.step += 1;
        }
    }

    /// Ends a session's trade. Both sides come back, its own first.
    pub fn end(&mut self, session: SessionId) -> Option<[Side; 2]> {
        let side = self.sides.remove(&session)?;
        let other = self.sides.remove(&side.partner).expect("a trade has two sides");
        Some([side, other])
    }

    /// Forgets what a session asked for, and what it was asked.
    pub fn forget(&mut self, session: SessionId) {
        self.asked.remove(&session);
        self.asked.retain(|_, other| *other != session);
    }

    /// Takes out what some sessions have begun with each other; with others they have nothing.
    #[must_use]
    pub fn take(&mut self, goes: impl Fn(SessionId) -> bool) -> Trades {
        let sides = self.sides.extract_if(.., |session, _| goes(*session)).collect();
        let asked = self.asked.extract_if(.., |asker, other| goes(*asker) && goes(*other)).collect();
        Trades { sides, asked }
    }

    /// Puts in what sessions have begun with each other, who have other numbers now.
    pub fn put(&mut self, trades: Trades, number: impl Fn(SessionId) -> SessionId) {
        let sides = trades.sides.into_iter();
        self.sides.extend(
            sides.map(|(session, side)| (number(session), Side { partner: number(side.partner), ..side })),
        );
        let asked = trades.asked.into_iter();
        self.asked.extend(asked.map(|(asker, other)| (number(asker), number(other))));
    }

    /// The two of each trade.
    pub fn pairs(&self) -> impl Iterator<Item = (SessionId, SessionId)> {
        let pairs = self.sides.iter().map(|(session, side)| (*session, side.partner));
        pairs.filter(|(session, partner)| session < partner)
    }

    /// Feeds the whole state to a hash.
    pub fn hash_into(&self, hash: &mut StateHash) {
        for (session, side) in &self.sides {
            hash.write(u64::from(session.0) << 32 | u64::from(side.partner.0));
            hash.write(u64::from(side.step) << 32 | u64::from(side.revision));
            side.offers
                .iter()
                .for_each(|(slot, count)| hash.write(u64::from(*slot) << 32 | u64::from(*count)));
        }
        hash.write(self.sides.len() as u64);
        self.asked
            .iter()
            .for_each(|(asker, other)| hash.write(u64::from(asker.0) << 32 | u64::from(other.0)));
    }

    fn check_free(&self, sessions: [SessionId; 2]) -> Result<(), ErrorCode> {
        let free = sessions.iter().all(|session| !self.sides.contains_key(session));
        if free { Ok(()) } else { Err(ErrorCode::AlreadyTrading) }
    }
}
