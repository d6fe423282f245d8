//! Commands at a bank.

use vyuha_protocol::ErrorCode;
use vyuha_protocol::message::{BankOpened, SlotsChanged};

use super::{Outbox, SessionId, Shard};
use crate::bank::{BANK_SLOTS, deposit_slot};
use crate::character::stack_max;
use crate::ground::within_reach;
use crate::inventory::{
    ItemRow, PLACE_BANK, PLACE_INVENTORY, Removal, Stack, Transfer, item_slot, removal, transfer,
};
use crate::ledger::{Holder, Movement, Reason};

impl Shard {
    pub(super) fn open_bank(
        &mut self,
        session: SessionId,
        request: u32,
        out: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        self.check_at_bank(session)?;
        let looking = self.sessions.playing(session)?;
        let slots = looking.belongings.bank.iter();
        let slots = slots.map(|(slot, stack)| item_slot(PLACE_BANK, slot, Some(stack))).collect();
        out.send_durable(session, &BankOpened { request, slots });
        Ok(())
    }

    pub(super) fn deposit(
        &mut self,
        session: SessionId,
        request: u32,
        (slot, count): (usize, u32),
        tab: usize,
        out: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        self.check_at_bank(session)?;
        self.check_not_offered(session, slot)?;
        let depositing = self.sessions.playing(session)?;
        let owner = depositing.character_id();
        let belongings = &mut depositing.belongings;
        let stack = match removal(belongings.inventory.slots(), slot, count)? {
            Removal::Whole(stack) => stack,
            Removal::Part { rest } => rest.with_count(rest.count + count),
        };
        let most = stack_max(&self.content, &stack);
        let to = deposit_slot(&belongings.bank, stack.kind, count, most, tab)?;

        let there = belongings.bank.get(to);
        let placeholder = there.filter(|there| there.count == 0);
        let into = there.filter(|there| there.count > 0);
        let Transfer { rest, moved, arrived, gone } = transfer(stack, count, into, || self.item_ids.issue());
        belongings.inventory.set(slot, rest);
        belongings.bank.set(to, Some(arrived));
        let mut posting = self.ledger.posting(self.tick);
        out.transact(|transaction| {
            if let Some(placeholder) = placeholder {
                transaction.delete(&ItemRow::held(PLACE_BANK, placeholder, owner, to));
            }
            if let Some(gone) = gone {
                transaction.delete(&ItemRow::carried(gone, owner, slot));
            }
            if let Some(rest) = rest {
                transaction.put(&ItemRow::carried(rest, owner, slot));
            }
            transaction.put(&ItemRow::held(PLACE_BANK, arrived, owner, to));
            let (from, to) = (Holder::Inventory(owner), Holder::Bank(owner));
            let reason = Reason::Deposit;
            posting.moved(transaction, &Movement { reason, stack: moved, from, to, counterparty: None });
        });
        let slots = vec![item_slot(PLACE_INVENTORY, slot, rest), item_slot(PLACE_BANK, to, Some(arrived))];
        out.send_durable(session, &SlotsChanged { request, slots });
        Ok(())
    }

    pub(super) fn withdraw(
        &mut self,
        session: SessionId,
        request: u32,
        (slot, count): (usize, u32),
        keep: bool,
        out: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        self.check_at_bank(session)?;
        let withdrawing = self.sessions.playing(session)?;
        let owner = withdrawing.character_id();
        let belongings = &mut withdrawing.belongings;
        if slot >= BANK_SLOTS {
            return Err(ErrorCode::SlotInvalid);
        }
        let stack = belongings.bank.get(slot).ok_or(ErrorCode::SlotEmpty)?;
        if stack.count == 0 && count == 0 {
            belongings.bank.set(slot, None);
            out.transact(|transaction| {
                transaction.delete(&ItemRow::held(PLACE_BANK, stack, owner, slot));
            });
            let slots = vec![item_slot(PLACE_BANK, slot, None)];
            out.send_durable(session, &SlotsChanged { request, slots });
            return Ok(());
        }
        if count == 0 || count > stack.count {
            return Err(ErrorCode::CountInvalid);
        }
        let to = belongings.room_for(&self.content, &stack.with_count(count))?;

        let into = belongings.inventory.slots()[to];
        let Transfer { rest, moved, arrived, gone } = transfer(stack, count, into, || self.item_ids.issue());
        let placeholder =
            (keep && rest.is_none()).then(|| Stack { id: self.item_ids.issue(), count: 0, wear: 0, ..stack });
        let rest = rest.or(placeholder);
        belongings.bank.set(slot, rest);
        belongings.inventory.set(to, Some(arrived));
        let mut posting = self.ledger.posting(self.tick);
        out.transact(|transaction| {
            if let Some(gone) = gone {
                transaction.delete(&ItemRow::held(PLACE_BANK, gone, owner, slot));
            }
            if let Some(rest) = rest {
                transaction.put(&ItemRow::held(PLACE_BANK, rest, owner, slot));
            }
            transaction.put(&ItemRow::carried(arrived, owner, to));
            let (from, to) = (Holder::Bank(owner), Holder::Inventory(owner));
            let reason = Reason::Withdraw;
            posting.moved(transaction, &Movement { reason, stack: moved, from, to, counterparty: None });
        });
        let slots = vec![item_slot(PLACE_BANK, slot, rest), item_slot(PLACE_INVENTORY, to, Some(arrived))];
        out.send_durable(session, &SlotsChanged { request, slots });
        Ok(())
    }

    /// Refuses what needs a bank where none is near.
    pub(super) fn check_at_bank(&mut self, session: SessionId) -> Result<(), ErrorCode> {
        let session = self.sessions.playing(session)?;
        let zone = &self.zones[session.zone];
        let content = &self.content.zones[zone.content];
        let at = zone.place_of(session.entity);
        let near = content.banks.iter().any(|bank| within_reach(at, *bank, content.kind.reach));
        if near { Ok(()) } else { Err(ErrorCode::NotAtBank) }
    }
}
