//! Picking up, dropping, rearranging, wearing.

use vyuha_protocol::message::{Dropped, PickedUp, SlotsChanged};
use vyuha_protocol::{EntityId, ErrorCode};

use super::{Outbox, SessionId, Shard};
use crate::character::stack_max;
use crate::content::EQUIPMENT_SLOTS;
use crate::equipment::{goes_together, is_needed};
use crate::ground::within_reach;
use crate::inventory::{
    INVENTORY_SLOTS, ItemRow, PLACE_BANK, PLACE_EQUIPMENT, PLACE_INVENTORY, Removal, Transfer, item_slot,
    removal, transfer,
};
use crate::ledger::{Holder, Movement, Reason};

impl Shard {
    pub(super) fn pick_up(
        &mut self,
        session: SessionId,
        request: u32,
        entity: EntityId,
        out: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        let taking = self.sessions.playing(session)?;
        let zone = &mut self.zones[taking.zone];
        let item = *zone.ground.get(entity).ok_or(ErrorCode::ItemGone)?;
        let at = zone.place_of(taking.entity);
        let reach = self.content.zones[zone.content].kind.reach;
        let reached = within_reach(at, item.at, reach);
        let reach_more = taking.belongings.equipment.bonuses(&self.content).reach;
        if !reached && !within_reach(at, item.at, reach + reach_more) {
            return Err(ErrorCode::TooFar);
        }
        let slot = taking.belongings.room_for(&self.content, &item.stack)?;

        let inventory = &mut taking.belongings.inventory;
        let Transfer { moved, arrived, gone, .. } =
            transfer(item.stack, item.stack.count, inventory.slots()[slot], || item.stack.id);
        inventory.set(slot, Some(arrived));
        zone.ground.take(&mut zone.zone, entity);
        let owner = taking.character_id();
        let used = if reached { Vec::new() } else { taking.belongings.equipment.use_reach(&self.content) };
        let worn = taking.belongings.equipment.slots();
        let mut posting = self.ledger.posting(self.tick);
        out.transact(|transaction| {
            if let Some(gone) = gone {
                transaction.delete(&ItemRow::lying(gone, zone.id, item.at));
            }
            transaction.put(&ItemRow::carried(arrived, owner, slot));
            for (slot, stack) in used.iter().filter_map(|&slot| Some((slot, worn[slot]?))) {
                transaction.put(&ItemRow::held(PLACE_EQUIPMENT, stack, owner, slot));
            }
            let (from, to) = (Holder::Ground(zone.id), Holder::Inventory(owner));
            let reason = Reason::PickUp;
            posting.moved(transaction, &Movement { reason, stack: moved, from, to, counterparty: None });
        });
        let slots = used.iter().map(|&slot| item_slot(PLACE_EQUIPMENT, slot, worn[slot])).collect();
        let slot = taking.belongings.inventory.slot_message(slot);
        out.send_durable(session, &PickedUp { request, entity: entity.0, slot });
        if !used.is_empty() {
            out.send_durable(session, &SlotsChanged { request: 0, slots });
        }
        Ok(())
    }

    pub(super) fn drop_items(
        &mut self,
        session: SessionId,
        request: u32,
        slot: usize,
        count: u32,
        out: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        self.check_not_offered(session, slot)?;
        let dropping = self.sessions.playing(session)?;
        let inventory = &mut dropping.belongings.inventory;
        let stack = match removal(inventory.slots(), slot, count)? {
            Removal::Whole(stack) => stack,
            Removal::Part { rest } => rest.with_count(rest.count + count),
        };
        let zone = &mut self.zones[dropping.zone];
        if zone.ground.count() >= self.content.zones[zone.content].kind.ground_items_max as usize {
            return Err(ErrorCode::GroundFull);
        }

        let at = zone.place_of(dropping.entity);
        let Transfer { rest, moved, .. } = transfer(stack, count, None, || self.item_ids.issue());
        inventory.set(slot, rest);
        let entity = zone.ground.lay(&mut zone.zone, moved, at);
        let owner = dropping.character_id();
        let mut posting = self.ledger.posting(self.tick);
        out.transact(|transaction| {
            if let Some(rest) = rest {
                transaction.put(&ItemRow::carried(rest, owner, slot));
            }
            transaction.put(&ItemRow::lying(moved, zone.id, at));
            let (from, to) = (Holder::Inventory(owner), Holder::Ground(zone.id));
            let reason = Reason::Drop;
            posting.moved(transaction, &Movement { reason, stack: moved, from, to, counterparty: None });
        });
        let slot = dropping.belongings.inventory.slot_message(slot);
        out.send_durable(session, &Dropped { request, entity: entity.0, slot });
        Ok(())
    }

    /// Lets two slots of a place become one stack, or change places.
    pub(super) fn move_item(
        &mut self,
        session: SessionId,
        request: u32,
        place: i64,
        [from, to]: [usize; 2],
        out: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        let slots = match place {
            PLACE_INVENTORY => INVENTORY_SLOTS,
            PLACE_BANK => crate::bank::BANK_SLOTS,
            _ => return Err(ErrorCode::SlotInvalid),
        };
        if from == to || from.max(to) >= slots {
            return Err(ErrorCode::SlotInvalid);
        }
        if place == PLACE_BANK {
            self.check_at_bank(session)?;
        } else {
            self.check_not_offered(session, from)?;
            self.check_not_offered(session, to)?;
        }
        let moving = self.sessions.playing(session)?;
        let belongings = &mut moving.belongings;
        let stack = belongings.get(place, from).ok_or(ErrorCode::SlotEmpty)?;
        let most = stack_max(&self.content, &stack);
        let there = belongings.get(place, to);
        let joins = |other: &crate::inventory::Stack| {
            let fits = u64::from(other.count) + u64::from(stack.count) <= u64::from(most);
            other.kind == stack.kind && fits && other.count > 0 && stack.count > 0
        };

        let owner = moving.character.id;
        let row = |stack, slot| ItemRow::held(place, stack, vyuha_protocol::CharacterId(owner), slot);
        if let Some(other) = there.filter(joins) {
            let Transfer { arrived, .. } = transfer(stack, stack.count, Some(other), || stack.id);
            belongings.set(place, from, None);
            belongings.set(place, to, Some(arrived));
            out.transact(|transaction| {
                transaction.delete(&row(stack, from));
                transaction.put(&row(arrived, to));
            });
        } else {
            belongings.set(place, from, there);
            belongings.set(place, to, Some(stack));
            out.transact(|transaction| {
                if let Some(other) = there {
                    transaction.put(&row(other, from));
                }
                transaction.put(&row(stack, to));
            });
        }
        let slots = [from, to].map(|slot| item_slot(place, slot, belongings.get(place, slot)));
        out.send_durable(session, &SlotsChanged { request, slots: slots.into() });
        Ok(())
    }

    /// Puts on what a slot holds, in exchange for what is worn there.
    pub(super) fn equip(
        &mut self,
        session: SessionId,
        request: u32,
        slot: usize,
        out: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        self.check_not_offered(session, slot)?;
        let content = &self.content;
        let dressing = self.sessions.playing(session)?;
        let belongings = &mut dressing.belongings;
        let stack = belongings.inventory.slots().get(slot).copied().flatten().ok_or(ErrorCode::SlotEmpty)?;
        let wearable = content.item(stack.kind).and_then(|item| item.wearable.as_ref());
        let wearable = wearable.ok_or(ErrorCode::NotWearable)?;
        if !goes_together(content, &belongings.equipment, stack.kind, wearable) {
            return Err(ErrorCode::RequirementUnmet);
        }
        let place = wearable.slot;
        let before = belongings.equipment.slots()[place];
        let most_before = belongings.weight_g_max(content);
        belongings.equipment.set(place, Some(stack));
        let most = belongings.weight_g_max(content);
        if most < most_before && belongings.weight_g(content) > most {
            belongings.equipment.set(place, before);
            return Err(ErrorCode::TooHeavy);
        }
        belongings.inventory.set(slot, before);

        let owner = dressing.character_id();
        let (carried, worn) = (Holder::Inventory(owner), Holder::Equipment(owner));
        let mut posting = self.ledger.posting(self.tick);
        out.transact(|transaction| {
            transaction.put(&ItemRow::held(PLACE_EQUIPMENT, stack, owner, place));
            let on = Movement { reason: Reason::Equip, stack, from: carried, to: worn, counterparty: None };
            posting.moved(transaction, &on);
            if let Some(stack) = before {
                transaction.put(&ItemRow::carried(stack, owner, slot));
                let (reason, from, to) = (Reason::Unequip, worn, carried);
                posting.moved(transaction, &Movement { reason, stack, from, to, counterparty: None });
            }
        });
        let slots =
            vec![item_slot(PLACE_INVENTORY, slot, before), item_slot(PLACE_EQUIPMENT, place, Some(stack))];
        out.send_durable(session, &SlotsChanged { request, slots });
        Ok(())
    }

    /// Takes off what is worn, into a free slot.
    pub(super) fn unequip(
        &mut self,
        session: SessionId,
        request: u32,
        place: usize,
        out: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        if place >= EQUIPMENT_SLOTS.len() {
            return Err(ErrorCode::SlotInvalid);
        }
        let content = &self.content;
        let undressing = self.sessions.playing(session)?;
        let belongings = &mut undressing.belongings;
        let stack = belongings.equipment.slots()[place].ok_or(ErrorCode::SlotEmpty)?;
        if is_needed(content, &belongings.equipment, stack.kind) {
            return Err(ErrorCode::RequirementUnmet);
        }
        let free = belongings.inventory.slots().iter().position(Option::is_none);
        let slot = free.ok_or(ErrorCode::InventoryFull)?;
        let (weight_g, most_before) = (belongings.weight_g(content), belongings.weight_g_max(content));
        belongings.equipment.set(place, None);
        let most = belongings.weight_g_max(content);
        if most < most_before && weight_g > most {
            belongings.equipment.set(place, Some(stack));
            return Err(ErrorCode::TooHeavy);
        }
        belongings.inventory.set(slot, Some(stack));

        let owner = undressing.character_id();
        let mut posting = self.ledger.posting(self.tick);
        out.transact(|transaction| {
            transaction.put(&ItemRow::carried(stack, owner, slot));
            let (from, to) = (Holder::Equipment(owner), Holder::Inventory(owner));
            let reason = Reason::Unequip;
            posting.moved(transaction, &Movement { reason, stack, from, to, counterparty: None });
        });
        let slots =
            vec![item_slot(PLACE_INVENTORY, slot, Some(stack)), item_slot(PLACE_EQUIPMENT, place, None)];
        out.send_durable(session, &SlotsChanged { request, slots });
        Ok(())
    }

    /// Refuses what would use a slot of which something is offered in a trade.
    pub(super) fn check_not_offered(&self, session: SessionId, slot: usize) -> Result<(), ErrorCode> {
        if self.trades.offers(session, slot) { Err(ErrorCode::ItemOffered) } else { Ok(()) }
    }
}
