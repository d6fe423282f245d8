//! Requests about items: what is carried, worn, banked and traded.

use vyuha_protocol::message::{
    self, AcceptTrade, AskTrade, CancelTrade, ConfirmTrade, Deposit, Drop, Equip, Message, Move, Offer,
    OpenBank, PickUp, Unequip, Withdraw,
};
use vyuha_protocol::{EntityId, RequestId};

#[cfg(doc)]
use super::Event;
use super::{ClientCore, SendError};

impl ClientCore {
    /// Picks up an item; answered by [`Event::PickedUp`] once that is durable.
    pub fn pick_up(&mut self, entity: EntityId) -> Result<RequestId, SendError> {
        let nonce = self.nonce;
        self.request(message::PickedUp::KIND, |request| PickUp { request, nonce, entity: entity.0 })
    }

    /// Drops `count` items of an inventory slot; answered by [`Event::Dropped`] once that is durable.
    pub fn drop_items(&mut self, slot: u8, count: u32) -> Result<RequestId, SendError> {
        let nonce = self.nonce;
        self.request(message::Dropped::KIND, |request| Drop { request, nonce, slot, count })
    }

    /// Lets two slots of a place become one stack or change places: 0 in the inventory, 3 in the bank. Answered by
    /// [`Event::SlotsChanged`] once that is durable.
    pub fn move_item(&mut self, place: u8, from: u16, to: u16) -> Result<RequestId, SendError> {
        let nonce = self.nonce;
        self.request(message::SlotsChanged::KIND, |request| Move { request, nonce, place, from, to })
    }

    /// Puts on what an inventory slot holds; answered by [`Event::SlotsChanged`] once that is durable.
    pub fn equip(&mut self, slot: u8) -> Result<RequestId, SendError> {
        let nonce = self.nonce;
        self.request(message::SlotsChanged::KIND, |request| Equip { request, nonce, slot })
    }

    /// Takes off what is worn in an equipment slot; answered by [`Event::SlotsChanged`] once that is durable.
    pub fn unequip(&mut self, slot: u8) -> Result<RequestId, SendError> {
        let nonce = self.nonce;
        self.request(message::SlotsChanged::KIND, |request| Unequip { request, nonce, slot })
    }

    /// Asks what lies in the bank; answered by [`Event::BankOpened`].
    pub fn open_bank(&mut self) -> Result<RequestId, SendError> {
        self.request(message::BankOpened::KIND, |request| OpenBank { request })
    }

    /// Puts `count` items of an inventory slot into the bank; answered by [`Event::SlotsChanged`] once that is durable.
    pub fn deposit(&mut self, slot: u8, count: u32, tab: u8) -> Result<RequestId, SendError> {
        let nonce = self.nonce;
        self.request(message::SlotsChanged::KIND, |request| Deposit { request, nonce, slot, count, tab })
    }

    /// Takes `count` items of a bank slot out; `keep` leaves a placeholder. Answered by [`Event::SlotsChanged`] once that is
    /// durable.
    pub fn withdraw(&mut self, slot: u16, count: u32, keep: bool) -> Result<RequestId, SendError> {
        let nonce = self.nonce;
        self.request(message::SlotsChanged::KIND, |request| Withdraw { request, nonce, slot, count, keep })
    }

    /// Asks another character to trade; answered by [`Event::Done`].
    pub fn ask_trade(&mut self, entity: EntityId) -> Result<RequestId, SendError> {
        self.request(message::Done::KIND, |request| AskTrade { request, entity: entity.0 })
    }

    /// Agrees to trade with who asked; answered by [`Event::Done`].
    pub fn accept_trade(&mut self, entity: EntityId) -> Result<RequestId, SendError> {
        self.request(message::Done::KIND, |request| AcceptTrade { request, entity: entity.0 })
    }

    /// Offers `count` items of an inventory slot, 0 for none; answered by [`Event::Done`].
    pub fn offer(&mut self, slot: u8, count: u32) -> Result<RequestId, SendError> {
        let nonce = self.nonce;
        self.request(message::Done::KIND, |request| Offer { request, nonce, slot, count })
    }

    /// Confirms a step, 1 or 2, of the trade as it stood at a revision; answered by [`Event::Done`].
    pub fn confirm_trade(&mut self, revision: u32, step: u8) -> Result<RequestId, SendError> {
        let nonce = self.nonce;
        self.request(message::Done::KIND, |request| ConfirmTrade { request, nonce, revision, step })
    }

    /// Ends the trade; answered by [`Event::Done`].
    pub fn cancel_trade(&mut self) -> Result<RequestId, SendError> {
        self.request(message::Done::KIND, |request| CancelTrade { request })
    }
}
