//! Commands of those who trade, and what ends a trade.

use vyuha_protocol::message::{Done, ItemSlot, TradeAsked, TradeChanged, TradeDone, TradeEnded};
use vyuha_protocol::{EntityId, ErrorCode};

use super::{Outbox, SessionId, Shard};
use crate::ground::within_reach;
use crate::inventory::{ItemRow, PLACE_INVENTORY, item_slot, removal};
use crate::ledger::{Holder, Movement, Reason};
use crate::trade::{Party, Swap, swap};

impl Shard {
    /// Notes whether a session's profile owes. One that does has no trade from now on: what it had begun ends without effect.
    pub fn set_owes(&mut self, session: SessionId, owes: bool, out: &mut Outbox) {
        let Some(debtor) = self.sessions.get_mut(session) else { return };
        debtor.owes = owes;
        if owes {
            self.trades.forget(session);
            self.end_trade(session, ErrorCode::TradeBarred, out);
        }
    }

    fn check_owes_nothing(&self, sessions: [SessionId; 2]) -> Result<(), ErrorCode> {
        let owes = |session: SessionId| self.sessions.get(session).is_some_and(|session| session.owes);
        if sessions.into_iter().any(owes) { Err(ErrorCode::TradeBarred) } else { Ok(()) }
    }

    pub(super) fn ask_trade(
        &mut self,
        session: SessionId,
        request: u32,
        entity: EntityId,
        out: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        let other = self.near(session, entity)?;
        self.check_owes_nothing([session, other])?;
        self.trades.ask(session, other)?;
        let asking = self.sessions.playing(session)?;
        let asked = TradeAsked { entity: asking.entity.0, name: asking.character.name.clone() };
        out.send(other, &asked);
        out.send(session, &Done { request });
        Ok(())
    }

    pub(super) fn accept_trade(
        &mut self,
        session: SessionId,
        request: u32,
        entity: EntityId,
        out: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        let asker = self.near(session, entity)?;
        self.check_owes_nothing([session, asker])?;
        self.trades.accept(session, asker)?;
        out.send(session, &Done { request });
        self.tell_trade([session, asker], out);
        Ok(())
    }

    pub(super) fn offer(
        &mut self,
        session: SessionId,
        request: u32,
        slot: u8,
        count: u32,
        out: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        let partner = self.partner(session)?;
        if count > 0 {
            let slots = self.sessions.playing(session)?.belongings.inventory.slots();
            removal(slots, usize::from(slot), count)?;
            let stack = slots[usize::from(slot)].ok_or(ErrorCode::SlotEmpty)?;
            if !self.content.item(stack.kind).is_some_and(|item| item.tradeable) {
                return Err(ErrorCode::NotTradeable);
            }
        }
        self.trades.offer(session, slot, count)?;
        out.send(session, &Done { request });
        self.tell_trade([session, partner], out);
        Ok(())
    }

    pub(super) fn confirm_trade(
        &mut self,
        session: SessionId,
        request: u32,
        revision: u32,
        step: u8,
        out: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        let partner = self.partner(session)?;
        let is_last = self.trades.check_confirm(session, revision, step)?;
        // Ids are given only if all goes well.
        let mut ids = self.item_ids;
        let swap = self.swapped([session, partner], &mut ids)?;
        if !is_last {
            self.trades.confirm(session);
            out.send(session, &Done { request });
            self.tell_trade([session, partner], out);
            return Ok(());
        }
        self.item_ids = ids;
        self.trades.end(session);
        self.carry_out([session, partner], swap, out);
        out.send_durable(session, &Done { request });
        Ok(())
    }

    pub(super) fn cancel_trade(
        &mut self,
        session: SessionId,
        request: u32,
        out: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        self.trades.side(session).ok_or(ErrorCode::NoTrade)?;
        out.send(session, &Done { request });
        self.end_trade(session, ErrorCode::TradeCancelled, out);
        Ok(())
    }

    /// Ends a session's trade, if it has one, without effect.
    pub(super) fn end_trade(&mut self, session: SessionId, why: ErrorCode, out: &mut Outbox) {
        if let Some([side, _]) = self.trades.end(session) {
            for session in [session, side.partner] {
                out.send(session, &TradeEnded { code: why as u16 });
            }
        }
    }

    /// Ends what a session has begun of trades that is no more.
    pub(super) fn abandon_trade(&mut self, session: SessionId, out: &mut Outbox) {
        self.trades.forget(session);
        if let Some([side, _]) = self.trades.end(session) {
            out.send(side.partner, &TradeEnded { code: ErrorCode::PartnerGone as u16 });
        }
    }

    /// Ends the trades of those who are not within reach of each other any more.
    pub(super) fn end_far_trades(&mut self, out: &mut Outbox) {
        let pairs: Vec<(SessionId, SessionId)> = self.trades.pairs().collect();
        for (one, other) in pairs {
            if !self.within_trade_reach(one, other) {
                self.end_trade(one, ErrorCode::TooFar, out);
            }
        }
    }

    /// The session of another character within reach.
    fn near(&mut self, session: SessionId, entity: EntityId) -> Result<SessionId, ErrorCode> {
        let zone = self.sessions.playing(session)?.zone;
        let other = self.zones[zone].players.get(&entity).copied();
        let other = other.filter(|other| *other != session).ok_or(ErrorCode::PartnerGone)?;
        if self.within_trade_reach(session, other) { Ok(other) } else { Err(ErrorCode::TooFar) }
    }

    /// The other of a session's trade; the trade ends if they are too far from each other.
    fn partner(&mut self, session: SessionId) -> Result<SessionId, ErrorCode> {
        let partner = self.trades.side(session).ok_or(ErrorCode::NoTrade)?.partner;
        if self.within_trade_reach(session, partner) { Ok(partner) } else { Err(ErrorCode::TooFar) }
    }

    fn within_trade_reach(&mut self, one: SessionId, other: SessionId) -> bool {
        let places = [one, other].map(|session| {
            let session = self.sessions.get_mut(session)?;
            Some((session.zone, self.zones[session.zone].place_of(session.entity)))
        });
        let [Some((zone, at)), Some((other_zone, other_at))] = places else { return false };
        let reach = self.content.zones[self.zones[zone].content].kind.reach;
        zone == other_zone && within_reach(at, other_at, reach)
    }

    /// What the swap of two who trade comes to. Nothing is changed but `ids`.
    fn swapped(&mut self, sessions: [SessionId; 2], ids: &mut super::ItemIds) -> Result<Swap, ErrorCode> {
        let [one, other] = sessions;
        let belongings = self.sessions.get_two(one, other).ok_or(ErrorCode::PartnerGone)?;
        let sides = sessions.map(|session| self.trades.side(session));
        let [Some(side), Some(other_side)] = sides else { return Err(ErrorCode::NoTrade) };
        let parties = [
            Party { belongings: &belongings[0].belongings, offers: &side.offers },
            Party { belongings: &belongings[1].belongings, offers: &other_side.offers },
        ];
        swap(&self.content, parties, || ids.issue())
    }

    fn carry_out(&mut self, sessions: [SessionId; 2], swap: Swap, out: &mut Outbox) {
        let Swap { inventories, given, gone } = swap;
        let mut changed = Vec::new();
        let mut owners = Vec::new();
        for (session, inventory) in sessions.into_iter().zip(inventories) {
            let Some(trading) = self.sessions.get_mut(session) else { continue };
            let before = std::mem::replace(&mut trading.belongings.inventory, inventory);
            let slots = before.slots().iter().zip(trading.belongings.inventory.slots()).enumerate();
            let slots = slots.filter(|(_, (before, after))| before != after);
            changed.push(slots.map(|(slot, (_, after))| (slot, *after)).collect::<Vec<_>>());
            owners.push(trading.character_id());
        }
        let mut posting = self.ledger.posting(self.tick);
        out.transact(|transaction| {
            for stack in &gone {
                transaction.delete(&ItemRow::carried(*stack, owners[0], 0));
            }
            for (owner, changed) in owners.iter().zip(&changed) {
                for (slot, stack) in changed.iter().filter_map(|(slot, stack)| Some((*slot, (*stack)?))) {
                    transaction.put(&ItemRow::carried(stack, *owner, slot));
                }
            }
            for (from, to, given) in [(owners[0], owners[1], &given[0]), (owners[1], owners[0], &given[1])] {
                let (holder, other, counterparty) =
                    (Holder::Inventory(from), Holder::Inventory(to), Some(to));
                for &stack in given {
                    let reason = Reason::Trade;
                    let movement = Movement { reason, stack, from: holder, to: other, counterparty };
                    posting.moved(transaction, &movement);
                }
            }
        });
        for (session, changed) in sessions.into_iter().zip(changed) {
            let slots = changed.into_iter().map(|(slot, stack)| item_slot(PLACE_INVENTORY, slot, stack));
            out.send_durable(session, &TradeDone { slots: slots.collect() });
        }
    }

    /// Tells both how their trade stands.
    fn tell_trade(&mut self, [one, other]: [SessionId; 2], out: &mut Outbox) {
        for (session, partner) in [(one, other), (other, one)] {
            let offered = [session, partner].map(|session| self.offered(session));
            let [Some((yours, your_step)), Some((theirs, their_step))] = offered else { continue };
            let revision = self.trades.side(session).map_or(0, |side| side.revision);
            let Some(partner) = self.sessions.get_mut(partner).map(|partner| partner.entity.0) else {
                continue;
            };
            out.send(session, &TradeChanged { partner, revision, yours, theirs, your_step, their_step });
        }
    }

    /// What a session offers, and the step that it confirmed.
    fn offered(&mut self, session: SessionId) -> Option<(Vec<ItemSlot>, u8)> {
        let side = self.trades.side(session)?;
        let slots = self.sessions.get_mut(session)?.belongings.inventory.slots();
        let offered = side.offers.iter().filter_map(|(&slot, &count)| {
            let stack = slots.get(usize::from(slot)).copied().flatten()?;
            Some(item_slot(PLACE_INVENTORY, usize::from(slot), Some(stack.with_count(count))))
        });
        Some((offered.collect(), side.step))
    }
}
