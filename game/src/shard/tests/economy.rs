//! Wearing, banking and trading, as lines of text.

use vyuha_protocol::{Pos, ZoneId};

use super::play::{ARROW, BOW, COIN, CROOK, FRAME, IDOL, Play, SHIELD, SWORD, carried};
use crate::inventory::{ItemRow, PLACE_BANK, PLACE_EQUIPMENT, PLACE_INVENTORY};
use crate::ledger::LedgerRow;
use crate::shard::SessionId;

/// One player at the bank, with `(kind, count)` slot by slot under the ids from 100 on.
fn with(held: &[(u16, u32)]) -> Play {
    let mut play = Play::new();
    for (slot, &(kind, count)) in (0..).zip(held) {
        play.give(1, carried(100 + slot, 1, kind, count, slot));
    }
    play.join(0, 1);
    play
}

/// Two players beside each other at the bank, likewise; the second's ids begin at 200.
fn two(held: &[(u16, u32)], other: &[(u16, u32)]) -> Play {
    let mut play = Play::new();
    for (owner, held) in [(1, held), (2, other)] {
        for (slot, &(kind, count)) in (0..).zip(held) {
            play.give(owner, carried(100 * owner + slot, owner, kind, count, slot));
        }
        play.join(owner as u32 - 1, owner);
    }
    play
}

/// The two above in a trade.
fn trading(held: &[(u16, u32)], other: &[(u16, u32)]) -> Play {
    let mut play = two(held, other);
    play.ask_trade(0, 1);
    play.accept_trade(1, 0);
    play
}

/// The ledger in words.
fn ledger(play: &Play) -> Vec<String> {
    let words = play.ledger.rows().map(|row| {
        let LedgerRow { seq, reason, item, kind, count, from_place, from_owner, to_place, to_owner, .. } =
            row;
        let with = if row.counterparty > 0 { format!(" with {}", row.counterparty) } else { String::new() };
        format!(
            "{seq}: {reason} {item} {count}x{kind} {from_place}/{from_owner} to {to_place}/{to_owner}{with}"
        )
    });
    words.collect()
}

#[test]
fn slots_of_the_inventory_join_or_change_places() {
    let mut play = with(&[(COIN, 30), (SWORD, 1), (COIN, 60), (COIN, 50)]);
    let mut check = |from, to, expected: &str| {
        assert_eq!(play.move_item(0, PLACE_INVENTORY, from, to), [expected], "{from} to {to}");
    };
    check(0, 0, "0: refused SlotInvalid");
    check(0, 28, "0: refused SlotInvalid");
    check(5, 6, "0: refused SlotEmpty");
    check(0, 1, "0: SlotsChanged bag 0=1x2, bag 1=30x1 durably");
    check(1, 2, "0: SlotsChanged bag 1=empty, bag 2=90x1 durably");
    check(2, 3, "0: SlotsChanged bag 2=50x1, bag 3=90x1 durably");
    check(0, 27, "0: SlotsChanged bag 0=empty, bag 27=1x2 durably");
    assert_eq!(play.move_item(0, 1, 0, 1), ["0: refused SlotInvalid"]);
    assert_eq!(play.move_item(0, PLACE_EQUIPMENT, 0, 1), ["0: refused SlotInvalid"]);
    assert_eq!(
        play.rows(),
        ["101: 1x2 carried by 1 in 27", "102: 90x1 carried by 1 in 3", "103: 50x1 carried by 1 in 2"]
    );
    assert_eq!(ledger(&play), [""; 0], "nothing changed hands");
}

#[test]
fn what_is_too_heavy_stays_where_it_is() {
    // 9,500 of the 10,000 g, and a kilogram more with the frame.
    let coins = [(COIN, 100); 5];
    let mut play = with(&[&[(IDOL, 1), (FRAME, 1)], &coins[..]].concat());
    for (id, kind, slot) in
        [(200, IDOL, 0), (201, SWORD, 1), (202, SWORD, 2), (203, SWORD, 3), (204, SWORD, 4)]
    {
        play.give(2, carried(id, 2, kind, 1, slot));
    }
    for id in 205..=210 {
        play.give(2, carried(id, 2, SWORD, 1, id - 200));
    }
    play.join(1, 2);
    for slot in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] {
        play.drop_items(1, slot, 1);
    }
    let swords = [201, 202, 203, 204, 205, 206].map(|id| play.lying(id));
    for (slot, sword) in (7..).zip(&swords[..5]) {
        assert_eq!(play.pick_up(0, *sword), [format!("0: PickedUp {slot}=1x2 durably")]);
    }
    let before = (play.rows(), play.shard.zones[0].ground.count());
    assert_eq!(play.pick_up(0, swords[5]), ["0: refused TooHeavy"]);
    let idol = play.lying(200);
    assert_eq!(play.pick_up(0, idol), ["0: refused TooHeavy"]);
    assert_eq!((play.rows(), play.shard.zones[0].ground.count()), before);
    assert_eq!(play.equip(0, 1), ["0: SlotsChanged bag 1=empty, worn 10=1x7 durably"]);
    assert_eq!(play.pick_up(0, swords[5]), ["0: PickedUp 1=1x2 durably"]);
    // It cannot be taken off while it is needed, and can be again when it is not.
    assert_eq!(play.unequip(0, 10), ["0: refused TooHeavy"]);
    assert_eq!(play.drop_items(0, 2, 100), ["0: Dropped 2=empty durably"]);
    assert_eq!(play.unequip(0, 10), ["0: SlotsChanged bag 2=1x7, worn 10=empty durably"]);
    play.ledger.check(&play.items);
}

#[test]
fn things_are_worn_in_exchange_for_what_was_worn() {
    let mut play = with(&[(SWORD, 1), (BOW, 1), (SHIELD, 1), (ARROW, 20), (COIN, 5)]);
    assert_eq!(play.equip(0, 4), ["0: refused NotWearable"]);
    assert_eq!(play.equip(0, 5), ["0: refused SlotEmpty"]);
    assert_eq!(play.equip(0, 28), ["0: refused SlotEmpty"]);
    assert_eq!(play.equip(0, 3), ["0: refused RequirementUnmet"]);
    assert_eq!(play.equip(0, 0), ["0: SlotsChanged bag 0=empty, worn 0=1x2 durably"]);
    assert_eq!(play.equip(0, 2), ["0: SlotsChanged bag 2=empty, worn 1=1x4 durably"]);
    assert_eq!(play.equip(0, 1), ["0: refused RequirementUnmet"], "a bow takes both hands");
    assert_eq!(play.unequip(0, 1), ["0: SlotsChanged bag 0=1x4, worn 1=empty durably"]);
    assert_eq!(play.equip(0, 1), ["0: SlotsChanged bag 1=1x2, worn 0=1x3 durably"]);
    assert_eq!(play.equip(0, 3), ["0: SlotsChanged bag 3=empty, worn 9=20x5 durably"]);
    assert_eq!(play.equip(0, 1), ["0: refused RequirementUnmet"], "the arrows need the bow");
    assert_eq!(play.unequip(0, 0), ["0: refused RequirementUnmet"]);
    assert_eq!(play.unequip(0, 11), ["0: refused SlotInvalid"]);
    assert_eq!(play.unequip(0, 5), ["0: refused SlotEmpty"]);
    assert_eq!(
        play.rows(),
        [
            "100: 1x2 carried by 1 in 1",
            "101: 1x3 worn by 1 in 0, wear 0",
            "102: 1x4 carried by 1 in 0",
            "103: 20x5 worn by 1 in 9, wear 0",
            "104: 5x1 carried by 1 in 4"
        ]
    );
    assert_eq!(
        ledger(&play),
        [
            "1: 4 100 1x2 0/1 to 2/1",
            "2: 4 102 1x4 0/1 to 2/1",
            "3: 5 102 1x4 2/1 to 0/1",
            "4: 4 101 1x3 0/1 to 2/1",
            "4: 5 100 1x2 2/1 to 0/1",
            "5: 4 103 20x5 0/1 to 2/1"
        ]
    );
    play.ledger.check(&play.items);
    // It is worn still by who comes back, with all that lies in the bank.
    assert_eq!(play.deposit(0, 4, 5, 3), ["0: SlotsChanged bag 4=empty, bank 150=5x1 durably"]);
    play.logout(0);
    assert_eq!(
        play.join(0, 1),
        ["0: EnteredZone 1 at 2,2, 30 Hz, speed 341, 0=1x4, 1=1x2 worn 0=1x3, worn 9=20x5"]
    );
    assert_eq!(play.open_bank(0), ["0: BankOpened bank 150=5x1 durably"]);
}

#[test]
fn who_has_no_free_slot_keeps_on_what_is_worn() {
    let mut held = vec![(SWORD, 1); 27];
    held.push((SHIELD, 1));
    let mut play = with(&held);
    play.equip(0, 27);
    play.give(2, carried(300, 2, SWORD, 1, 0));
    play.join(1, 2);
    play.drop_items(1, 0, 1);
    let sword = play.lying(300);
    play.pick_up(0, sword);
    assert_eq!(play.unequip(0, 1), ["0: refused InventoryFull"]);
    assert_eq!(play.equip(0, 27), ["0: SlotsChanged bag 27=empty, worn 0=1x2 durably"]);
}

#[test]
fn a_crook_reaches_farther_until_it_is_broken() {
    let mut play = two(&[(CROOK, 1)], &[(COIN, 3), (COIN, 90), (SWORD, 1)]);
    for slot in 0..3 {
        play.drop_items(1, slot, if slot == 2 { 1 } else { 3 });
    }
    let coins = [play.lying(200), play.lying(1000)];
    let sword = play.lying(202);
    // The reach is 3 m, with the crook 5.
    play.place(0, 2, 6);
    assert_eq!(play.pick_up(0, coins[0]), ["0: refused TooFar"]);
    play.equip(0, 0);
    play.place(0, 2, 3);
    assert_eq!(play.pick_up(0, coins[0]), ["0: PickedUp 0=3x1 durably"], "near enough without it");
    play.place(0, 2, 6);
    assert_eq!(
        play.pick_up(0, coins[1]),
        ["0: PickedUp 0=6x1 durably", "0: SlotsChanged worn 0=1x6 wear 1 durably"]
    );
    assert_eq!(play.rows()[0], "100: 1x6 worn by 1 in 0, wear 1");
    assert_eq!(
        play.pick_up(0, sword),
        ["0: PickedUp 1=1x2 durably", "0: SlotsChanged worn 0=1x6 wear 2 durably"]
    );
    play.give(2, carried(210, 2, COIN, 1, 5));
    play.place(0, 2, 2);
    play.drop_items(0, 0, 1);
    play.place(0, 2, 6);
    let coin = play.lying(1003);
    assert_eq!(play.pick_up(0, coin), ["0: refused TooFar"], "it is broken");
    assert_eq!(play.unequip(0, 0), ["0: SlotsChanged bag 2=1x6 wear 2, worn 0=empty durably"]);
}

#[test]
fn a_bank_keeps_what_is_put_in_for_its_owner_alone() {
    let mut play = two(&[(COIN, 60), (SWORD, 1), (COIN, 10)], &[]);
    assert_eq!(play.open_bank(0), ["0: BankOpened durably"]);
    assert_eq!(play.deposit(0, 0, 0, 0), ["0: refused CountInvalid"]);
    assert_eq!(play.deposit(0, 0, 61, 0), ["0: refused CountInvalid"]);
    assert_eq!(play.deposit(0, 5, 1, 0), ["0: refused SlotEmpty"]);
    assert_eq!(play.deposit(0, 0, 1, 8), ["0: refused SlotInvalid"]);
    assert_eq!(play.deposit(0, 0, 20, 1), ["0: SlotsChanged bag 0=40x1, bank 50=20x1 durably"]);
    assert_eq!(play.deposit(0, 0, 40, 0), ["0: SlotsChanged bag 0=empty, bank 50=60x1 durably"]);
    assert_eq!(play.deposit(0, 1, 1, 0), ["0: SlotsChanged bag 1=empty, bank 0=1x2 durably"]);
    assert_eq!(
        play.rows(),
        ["101: 1x2 banked by 1 in 0", "102: 10x1 carried by 1 in 2", "1000: 60x1 banked by 1 in 50"]
    );
    assert_eq!(play.open_bank(0), ["0: BankOpened bank 0=1x2, bank 50=60x1 durably"]);
    assert_eq!(play.open_bank(1), ["1: BankOpened durably"]);
    assert_eq!(play.withdraw(1, 0, 1, false), ["1: refused SlotEmpty"]);
    assert_eq!(play.withdraw(0, 400, 1, false), ["0: refused SlotInvalid"]);
    assert_eq!(play.withdraw(0, 50, 61, false), ["0: refused CountInvalid"]);
    assert_eq!(play.withdraw(0, 50, 0, false), ["0: refused CountInvalid"]);
    assert_eq!(play.withdraw(0, 50, 25, true), ["0: SlotsChanged bank 50=35x1, bag 2=35x1 durably"]);
    assert_eq!(play.withdraw(0, 50, 35, true), ["0: SlotsChanged bank 50=kept for 1, bag 2=70x1 durably"]);
    assert_eq!(play.withdraw(0, 0, 1, false), ["0: SlotsChanged bank 0=empty, bag 0=1x2 durably"]);
    assert_eq!(
        play.rows(),
        ["101: 1x2 carried by 1 in 0", "102: 70x1 carried by 1 in 2", "1003: 0x1 banked by 1 in 50"]
    );
    // What a slot is kept for goes back there.
    assert_eq!(play.deposit(0, 2, 70, 7), ["0: SlotsChanged bag 2=empty, bank 50=70x1 durably"]);
    assert_eq!(play.withdraw(0, 50, 70, true), ["0: SlotsChanged bank 50=kept for 1, bag 1=70x1 durably"]);
    assert_eq!(
        play.move_item(0, PLACE_BANK, 50, 9),
        ["0: SlotsChanged bank 50=empty, bank 9=kept for 1 durably"]
    );
    assert_eq!(play.withdraw(0, 9, 1, false), ["0: refused CountInvalid"]);
    assert_eq!(play.withdraw(0, 9, 0, false), ["0: SlotsChanged bank 9=empty durably"]);
    assert_eq!(play.open_bank(0), ["0: BankOpened durably"]);
    play.ledger.check(&play.items);
    assert_eq!(
        ledger(&play)[..4],
        [
            "1: 6 1000 20x1 0/1 to 3/1",
            "2: 6 100 40x1 0/1 to 3/1",
            "3: 6 101 1x2 0/1 to 3/1",
            "4: 7 1000 25x1 3/1 to 0/1"
        ]
    );
}

#[test]
fn there_is_no_bank_where_there_is_none() {
    let mut play = with(&[(COIN, 60)]);
    play.deposit(0, 0, 10, 0);
    play.place(0, 10, 2);
    let before = (play.rows(), play.shard.state_hash());
    assert_eq!(play.open_bank(0), ["0: refused NotAtBank"]);
    assert_eq!(play.deposit(0, 0, 1, 0), ["0: refused NotAtBank"]);
    assert_eq!(play.withdraw(0, 0, 1, false), ["0: refused NotAtBank"]);
    assert_eq!(play.move_item(0, PLACE_BANK, 0, 1), ["0: refused NotAtBank"]);
    assert_eq!(play.rows(), before.0);
    let mut play = Play::new();
    play.character(1).set_place(ZoneId(2), Pos::tile_centre(2, 2));
    play.join(0, 1);
    assert_eq!(play.open_bank(0), ["0: refused NotAtBank"], "not every zone has one");
}

#[test]
fn what_lies_in_the_bank_does_not_weigh() {
    let mut play = with(&[(IDOL, 1)]);
    play.deposit(0, 0, 1, 0);
    play.give(2, carried(200, 2, IDOL, 1, 0));
    play.join(1, 2);
    play.drop_items(1, 0, 1);
    let idol = play.lying(200);
    assert_eq!(play.pick_up(0, idol), ["0: PickedUp 0=1x8 durably"]);
    assert_eq!(play.withdraw(0, 0, 1, false), ["0: refused TooHeavy"]);
}

#[test]
fn commands_of_another_session_are_refused_and_change_nothing() {
    use vyuha_protocol::message::{Drop, Offer, PickUp};
    let mut play = with(&[(COIN, 60)]);
    let (_, stale) = play.stamp(0);
    play.logout(0);
    play.join(0, 1);
    let (request, nonce) = play.stamp(0);
    assert_ne!(nonce, stale);
    let before = play.rows();
    assert_eq!(play.send(0, &Drop { request, nonce: stale, slot: 0, count: 1 }), ["0: refused NonceStale"]);
    let request = play.next_request();
    assert_eq!(play.send(0, &PickUp { request, nonce: stale, entity: 1 }), ["0: refused NonceStale"]);
    let request = play.next_request();
    assert_eq!(play.send(0, &Offer { request, nonce: stale, slot: 0, count: 1 }), ["0: refused NonceStale"]);
    assert_eq!(play.rows(), before);
    let (request, nonce) = play.stamp(0);
    assert_eq!(play.send(0, &Drop { request, nonce, slot: 0, count: 1 }), ["0: Dropped 0=59x1 durably"]);
    assert_eq!(play.send(0, &Drop { request, nonce, slot: 0, count: 1 }), ["0: refused Replayed"]);
    assert_eq!(play.rows()[0], "100: 59x1 carried by 1 in 0");
}

#[test]
fn nothing_about_items_is_done_while_the_journal_is_full() {
    let mut play = trading(&[(SWORD, 1), (COIN, 60)], &[]);
    play.deposit(0, 1, 10, 0);
    play.shard.set_durable_open(false);
    let before = play.rows();
    for refused in [
        play.equip(0, 0),
        play.unequip(0, 0),
        play.deposit(0, 1, 1, 0),
        play.withdraw(0, 0, 1, false),
        play.move_item(0, PLACE_INVENTORY, 0, 1),
        play.offer(0, 0, 1),
        play.confirm_trade(0, 1, 1),
    ] {
        assert_eq!(refused, ["0: refused JournalBusy"]);
    }
    assert_eq!(play.rows(), before);
    assert_eq!(
        play.cancel_trade(0),
        ["0: Done", "0: TradeEnded TradeCancelled", "1: TradeEnded TradeCancelled"]
    );
}

#[test]
fn a_trade_is_asked_for_and_accepted_by_who_stands_near() {
    let mut play = two(&[], &[]);
    play.join(2, 3);
    play.character(4).zone = 2;
    play.join(3, 4);
    assert_eq!(play.ask_trade(0, 0), ["0: refused PartnerGone"]);
    assert_eq!(play.ask_trade(0, 7), ["0: refused PartnerGone"]);
    assert_eq!(play.ask_trade(0, 3), ["0: refused PartnerGone"], "in another zone");
    assert_eq!(play.ask_trade(0, 1), ["1: TradeAsked by Player 1", "0: Done"]);
    assert_eq!(play.accept_trade(2, 0), ["2: refused NoTrade"]);
    play.place(1, 2, 6);
    assert_eq!(play.accept_trade(1, 0), ["1: refused TooFar"]);
    assert_eq!(play.ask_trade(2, 1), ["2: refused TooFar"]);
    play.place(1, 2, 3);
    assert_eq!(
        play.accept_trade(1, 0),
        ["1: Done", "1: Trade 1: gives at 0, gets at 0", "0: Trade 1: gives at 0, gets at 0"]
    );
    assert_eq!(play.ask_trade(2, 1), ["2: refused AlreadyTrading"]);
    for refused in [play.offer(2, 0, 1), play.confirm_trade(2, 1, 1), play.cancel_trade(2)] {
        assert_eq!(refused, ["2: refused NoTrade"]);
    }
}

#[test]
fn who_owes_does_not_trade_until_it_is_settled() {
    let mut play = two(&[(SWORD, 1)], &[]);
    play.ask_trade(0, 1);
    assert_eq!(play.owes(1, true), [""; 0], "it was only asked");
    for refused in [play.accept_trade(1, 0), play.ask_trade(1, 0)] {
        assert_eq!(refused, ["1: refused TradeBarred"]);
    }
    assert_eq!(play.ask_trade(0, 1), ["0: refused TradeBarred"], "nobody trades with one who owes");
    play.owes(1, false);
    assert_eq!(play.accept_trade(1, 0), ["1: refused NoTrade"], "what it was asked is forgotten");
    play.ask_trade(0, 1);
    play.accept_trade(1, 0);
    play.offer(0, 0, 1);
    let before = play.rows();
    assert_eq!(play.owes(0, true), ["0: TradeEnded TradeBarred", "1: TradeEnded TradeBarred"]);
    assert_eq!(play.confirm_trade(1, 2, 1), ["1: refused NoTrade"]);
    assert_eq!(play.rows(), before);
    // One who is not there owes nothing here.
    assert_eq!(play.owes(9, true), [""; 0]);
}

#[test]
fn what_is_offered_changes_hands_when_both_have_confirmed_twice() {
    let mut play = trading(&[(SWORD, 1), (COIN, 60)], &[(SHIELD, 1), (COIN, 90), (IDOL, 1)]);
    assert_eq!(play.offer(0, 2, 1), ["0: refused SlotEmpty"]);
    assert_eq!(play.offer(0, 255, 1), ["0: refused SlotEmpty"]);
    assert_eq!(play.offer(0, 1, 61), ["0: refused CountInvalid"]);
    assert_eq!(play.offer(1, 2, 1), ["1: refused NotTradeable"]);
    play.offer(0, 0, 1);
    assert_eq!(
        play.offer(0, 1, 20),
        [
            "0: Done",
            "0: Trade 3: gives bag 0=1x2, bag 1=20x1 at 0, gets at 0",
            "1: Trade 3: gives at 0, gets bag 0=1x2, bag 1=20x1 at 0"
        ]
    );
    assert_eq!(play.confirm_trade(0, 2, 1), ["0: refused TradeMoved"]);
    assert_eq!(play.confirm_trade(0, 3, 2), ["0: refused TradeMoved"]);
    assert_eq!(play.confirm_trade(0, 3, 1)[0], "0: Done");
    assert_eq!(play.confirm_trade(0, 3, 2), ["0: refused TradeMoved"], "the other has not seen it yet");
    // A change withdraws what was confirmed.
    play.offer(1, 0, 1);
    assert_eq!(play.confirm_trade(1, 3, 1), ["1: refused TradeMoved"]);
    play.confirm_trade(0, 4, 1);
    play.confirm_trade(1, 4, 1);
    assert_eq!(
        play.confirm_trade(0, 4, 2),
        [
            "0: Done",
            "0: Trade 4: gives bag 0=1x2, bag 1=20x1 at 2, gets bag 0=1x4 at 1",
            "1: Trade 4: gives bag 0=1x4 at 1, gets bag 0=1x2, bag 1=20x1 at 2"
        ]
    );
    let before = play.rows();
    assert_eq!(before[0], "100: 1x2 carried by 1 in 0", "nothing has moved");
    assert_eq!(
        play.confirm_trade(1, 4, 2),
        [
            "1: TradeDone bag 0=1x2, bag 3=20x1 durably",
            "0: TradeDone bag 0=1x4, bag 1=40x1 durably",
            "1: Done durably"
        ]
    );
    assert_eq!(
        play.rows(),
        [
            "100: 1x2 carried by 2 in 0",
            "101: 40x1 carried by 1 in 1",
            "200: 1x4 carried by 1 in 0",
            "201: 90x1 carried by 2 in 1",
            "202: 1x8 carried by 2 in 2",
            "1000: 20x1 carried by 2 in 3"
        ]
    );
    assert_eq!(
        ledger(&play),
        [
            "1: 8 200 1x4 0/2 to 0/1 with 1",
            "1: 8 100 1x2 0/1 to 0/2 with 2",
            "1: 8 1000 20x1 0/1 to 0/2 with 2"
        ]
    );
    play.ledger.check(&play.items);
    assert_eq!(play.confirm_trade(1, 4, 2), ["1: refused NoTrade"]);
    assert_eq!(play.cancel_trade(0), ["0: refused NoTrade"]);
}

#[test]
fn what_is_offered_cannot_be_used_otherwise() {
    let mut play = trading(&[(SWORD, 1), (COIN, 60), (SHIELD, 1)], &[]);
    play.offer(0, 0, 1);
    play.offer(0, 1, 5);
    let before = play.rows();
    for refused in [
        play.drop_items(0, 0, 1),
        play.drop_items(0, 1, 1),
        play.equip(0, 0),
        play.deposit(0, 1, 1, 0),
        play.move_item(0, PLACE_INVENTORY, 0, 5),
        play.move_item(0, PLACE_INVENTORY, 2, 1),
    ] {
        assert_eq!(refused, ["0: refused ItemOffered"]);
    }
    assert_eq!(play.rows(), before);
    assert_eq!(play.equip(0, 2), ["0: SlotsChanged bag 2=empty, worn 1=1x4 durably"]);
    play.offer(0, 0, 0);
    assert_eq!(play.drop_items(0, 0, 1), ["0: Dropped 0=empty durably"]);
    play.cancel_trade(0);
    assert_eq!(play.drop_items(0, 1, 1), ["0: Dropped 1=59x1 durably"]);
}

#[test]
fn who_has_no_room_for_it_cannot_confirm() {
    let full = [(SWORD, 1); 28];
    let mut play = trading(&full, &[(SHIELD, 1), (IDOL, 1)]);
    play.offer(1, 0, 1);
    let before = (play.rows(), play.shard.trades.side(SessionId(0)).cloned());
    assert_eq!(play.confirm_trade(0, 2, 1), ["0: refused InventoryFull"]);
    assert_eq!(play.confirm_trade(1, 2, 1), ["1: refused InventoryFull"]);
    assert_eq!((play.rows(), play.shard.trades.side(SessionId(0)).cloned()), before);
    // It may find none later: what was picked up meanwhile has taken it.
    let mut play = trading(&[(SWORD, 1); 27], &[(SHIELD, 1), (SWORD, 1)]);
    play.drop_items(1, 1, 1);
    play.offer(1, 0, 1);
    for (session, step) in [(0, 1), (1, 1), (1, 2)] {
        assert_eq!(play.confirm_trade(session, 2, step)[0], format!("{session}: Done"));
    }
    let sword = play.lying(201);
    play.pick_up(0, sword);
    let hash = play.shard.item_ids.next;
    assert_eq!(play.confirm_trade(0, 2, 2), ["0: refused InventoryFull"]);
    assert_eq!(play.shard.item_ids.next, hash);
    assert_eq!(play.cancel_trade(1)[0], "1: Done");
}

/// Ends a trade at every step in every way; afterwards everything is where it was, and can be used.
#[test]
fn however_a_trade_ends_everything_is_where_it_was() {
    type Step = fn(&mut Play);
    let steps: [Step; 6] = [
        |play| _ = play.ask_trade(0, 1),
        |play| _ = play.accept_trade(1, 0),
        |play| _ = play.offer(0, 0, 1),
        |play| _ = play.offer(1, 0, 30),
        |play| [0, 1].into_iter().for_each(|session| _ = play.confirm_trade(session, 3, 1)),
        |play| _ = play.confirm_trade(0, 3, 2),
    ];
    let ends: [(&str, Step); 6] = [
        ("TradeCancelled", |play| _ = play.cancel_trade(0)),
        ("TradeCancelled", |play| _ = play.cancel_trade(1)),
        ("PartnerGone", |play| _ = play.logout(0)),
        ("PartnerGone", |play| play.shard.leave(SessionId(1), &mut play.out)),
        ("TooFar", |play| play.place(0, 2, 6)),
        ("TooFar", |play| play.place(1, 12, 2)),
    ];
    for made in 0..=steps.len() {
        for (nth, (why, end)) in ends.iter().enumerate() {
            let mut play = two(&[(SWORD, 1)], &[(COIN, 60)]);
            let before = play.rows();
            steps[..made].iter().for_each(|step| step(&mut play));
            let told = made >= 2;
            assert_eq!(play.shard.trades.pairs().count(), usize::from(told));
            end(&mut play);
            play.absorb();
            assert_eq!(play.shard.trades.pairs().count(), 0, "{made} steps, end {nth}, {why}");
            assert_eq!(play.rows(), before);
            assert_eq!(ledger(&play), [""; 0]);
            for (session, count) in [(0, 1), (1, 60)] {
                if play.shard.sessions.get_mut(SessionId(session)).is_some() {
                    assert_eq!(
                        play.drop_items(session, 0, count),
                        [format!("{session}: Dropped 0=empty durably")],
                        "{made} steps, end {nth}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_other_is_told_why_a_trade_ended() {
    let mut play = trading(&[], &[]);
    assert_eq!(
        play.logout(0),
        ["1: TradeEnded PartnerGone", "0: LoggedOut durably", "0 left: LoggedOut, character 1 of account 10"]
    );
    let mut play = trading(&[], &[]);
    let session = play.shard.sessions.get_mut(SessionId(0)).unwrap();
    let zone = &mut play.shard.zones[session.zone].zone;
    zone.place_all(&[(session.entity, Pos::tile_centre(2, 6))]);
    play.shard.tick(&mut (), &mut play.out);
    assert_eq!(play.absorb(), ["0: TradeEnded TooFar", "1: TradeEnded TooFar"]);
}

#[test]
fn rows_of_another_character_or_of_no_slot_are_not_taken_in() {
    let mut play = Play::new();
    let worn = ItemRow { place: PLACE_EQUIPMENT, slot: 11, ..carried(100, 1, SWORD, 1, 0) };
    play.give(1, worn);
    assert!(play.try_join(0, 1).is_err());
    let mut play = Play::new();
    play.give(1, ItemRow { place: PLACE_BANK, slot: 400, ..carried(100, 1, SWORD, 1, 0) });
    assert!(play.try_join(0, 1).is_err());
    let mut play = Play::new();
    play.give(1, ItemRow { wear: -1, ..carried(100, 1, SWORD, 1, 0) });
    assert!(play.try_join(0, 1).is_err());
}
