use vyuha_protocol::{ErrorCode, ItemId, ItemKind};

use super::*;
use crate::character::Belongings;
use crate::inventory::Stack;
use crate::shard::tests::play::{COIN, FRAME, IDOL, SWORD, content};

const ONE: SessionId = SessionId(1);
const OTHER: SessionId = SessionId(2);
const THIRD: SessionId = SessionId(3);

fn open() -> Trades {
    let mut trades = Trades::default();
    trades.ask(ONE, OTHER).unwrap();
    trades.accept(OTHER, ONE).unwrap();
    trades
}

#[test]
fn who_was_not_asked_cannot_accept_and_who_trades_cannot_trade() {
    let mut trades = Trades::default();
    assert_eq!(trades.accept(OTHER, ONE), Err(ErrorCode::NoTrade));
    trades.ask(ONE, OTHER).unwrap();
    assert_eq!(trades.accept(THIRD, ONE), Err(ErrorCode::NoTrade));
    assert_eq!(trades.accept(ONE, OTHER), Err(ErrorCode::NoTrade));
    // The last one that was asked counts.
    trades.ask(ONE, THIRD).unwrap();
    assert_eq!(trades.accept(OTHER, ONE), Err(ErrorCode::NoTrade));
    trades.ask(OTHER, ONE).unwrap();
    trades.accept(ONE, OTHER).unwrap();
    assert_eq!(trades.accept(THIRD, ONE), Err(ErrorCode::NoTrade), "what was asked before is forgotten");
    assert_eq!(trades.ask(THIRD, ONE), Err(ErrorCode::AlreadyTrading));
    assert_eq!(trades.ask(ONE, THIRD), Err(ErrorCode::AlreadyTrading));
    assert_eq!(trades.pairs().collect::<Vec<_>>(), [(ONE, OTHER)]);
    // Who left is not asked any more.
    trades.end(ONE);
    trades.ask(THIRD, OTHER).unwrap();
    trades.forget(OTHER);
    assert_eq!(trades.accept(OTHER, THIRD), Err(ErrorCode::NoTrade));
}

#[test]
fn a_trade_is_confirmed_step_by_step_by_both() {
    let mut trades = open();
    let check = |trades: &Trades, session, revision, step, expected| {
        assert_eq!(trades.check_confirm(session, revision, step), expected, "{session:?} {revision} {step}");
    };
    check(&trades, THIRD, 1, 1, Err(ErrorCode::NoTrade));
    check(&trades, ONE, 1, 0, Err(ErrorCode::TradeMoved));
    check(&trades, ONE, 1, 2, Err(ErrorCode::TradeMoved));
    check(&trades, ONE, 2, 1, Err(ErrorCode::TradeMoved));
    check(&trades, ONE, 1, 1, Ok(false));
    trades.confirm(ONE);
    check(&trades, ONE, 1, 1, Err(ErrorCode::TradeMoved));
    // The other has not confirmed step 1.
    check(&trades, ONE, 1, 2, Err(ErrorCode::TradeMoved));
    check(&trades, OTHER, 1, 1, Ok(false));
    trades.confirm(OTHER);
    check(&trades, OTHER, 1, 2, Ok(false));
    trades.confirm(OTHER);
    check(&trades, OTHER, 1, 3, Err(ErrorCode::TradeMoved));
    check(&trades, ONE, 1, 2, Ok(true));
}

#[test]
fn a_change_withdraws_every_confirmation() {
    for (session, slot, count) in [(ONE, 3, 2), (OTHER, 3, 2), (ONE, 3, 0)] {
        let mut trades = open();
        trades.confirm(ONE);
        trades.confirm(OTHER);
        trades.confirm(OTHER);
        trades.offer(session, slot, count).unwrap();
        let steps = [ONE, OTHER].map(|session| trades.side(session).map(|side| (side.step, side.revision)));
        assert_eq!(steps, [Some((0, 2)); 2]);
        assert_eq!(trades.check_confirm(ONE, 1, 1), Err(ErrorCode::TradeMoved));
        assert_eq!(trades.offers(session, 3), count > 0);
    }
    assert_eq!(open().offer(THIRD, 0, 1), Err(ErrorCode::NoTrade));
}

#[test]
fn the_end_is_the_end_for_both() {
    let mut trades = open();
    trades.offer(ONE, 3, 2).unwrap();
    assert!(trades.offers(ONE, 3) && !trades.offers(OTHER, 3) && !trades.offers(ONE, 2));
    let [side, other] = trades.end(OTHER).unwrap();
    assert_eq!((side.partner, other.partner), (ONE, OTHER));
    assert_eq!((trades.end(ONE), trades.end(OTHER), trades.offers(ONE, 3)), (None, None, false));
}

/// Belongings with `(slot, id, kind, count)` in the inventory.
fn carrying(held: &[(usize, i64, u16, u32)]) -> Belongings {
    let mut belongings = Belongings::default();
    for &(slot, id, kind, count) in held {
        let stack = Stack { id: ItemId(id), kind: ItemKind(kind), count, wear: 0 };
        belongings.inventory.set(slot, Some(stack));
    }
    belongings
}

type Held = Vec<(usize, i64, u16, u32)>;

fn held(inventory: &crate::inventory::Inventory) -> Held {
    let slots = inventory.slots().iter().enumerate();
    slots.filter_map(|(slot, stack)| stack.map(|s| (slot, s.id.0, s.kind.0, s.count))).collect()
}

/// What both carry after a swap, and what is no more.
fn swapped(
    one: &Belongings,
    offers: &[(u8, u32)],
    other: &Belongings,
    other_offers: &[(u8, u32)],
) -> Result<(Held, Held, Vec<i64>), ErrorCode> {
    let offers = [offers, other_offers].map(|offers| offers.iter().copied().collect());
    let parties =
        [Party { belongings: one, offers: &offers[0] }, Party { belongings: other, offers: &offers[1] }];
    let mut next = 900;
    let swap = swap(&content(), parties, || {
        next += 1;
        ItemId(next)
    })?;
    let [one, other] = swap.inventories.each_ref().map(held);
    Ok((one, other, swap.gone.iter().map(|stack| stack.id.0).collect()))
}

#[test]
fn each_gets_what_the_other_offered_under_its_own_id() {
    let one = carrying(&[(0, 1, SWORD, 1), (1, 2, COIN, 60)]);
    let other = carrying(&[(0, 3, COIN, 90), (5, 4, FRAME, 1)]);
    let check = |offers: &[(u8, u32)], other_offers: &[(u8, u32)], expected| {
        assert_eq!(swapped(&one, offers, &other, other_offers), expected, "{offers:?} {other_offers:?}");
    };
    let same: Held = vec![(0, 1, SWORD, 1), (1, 2, COIN, 60)];
    check(&[], &[], Ok((same, held(&other.inventory), vec![])));
    check(
        &[(0, 1)],
        &[(5, 1)],
        Ok((vec![(0, 4, FRAME, 1), (1, 2, COIN, 60)], vec![(0, 3, COIN, 90), (1, 1, SWORD, 1)], vec![])),
    );
    // A part joins what is there, and was never a row.
    check(
        &[(1, 10)],
        &[],
        Ok((vec![(0, 1, SWORD, 1), (1, 2, COIN, 50)], vec![(0, 3, COIN, 100), (5, 4, FRAME, 1)], vec![])),
    );
    // A part that finds no room there lies by itself.
    check(
        &[(1, 11)],
        &[],
        Ok((
            vec![(0, 1, SWORD, 1), (1, 2, COIN, 49)],
            vec![(0, 3, COIN, 90), (1, 901, COIN, 11), (5, 4, FRAME, 1)],
            vec![],
        )),
    );
    // A whole stack that joins another is no more.
    check(
        &[(1, 60)],
        &[(0, 40)],
        Ok((
            vec![(0, 1, SWORD, 1), (1, 901, COIN, 40)],
            vec![(0, 3, COIN, 50), (1, 2, COIN, 60), (5, 4, FRAME, 1)],
            vec![],
        )),
    );
    check(
        &[(0, 1), (1, 60)],
        &[(0, 80)],
        Ok((vec![(0, 901, COIN, 80)], vec![(0, 3, COIN, 70), (1, 1, SWORD, 1), (5, 4, FRAME, 1)], vec![2])),
    );
    check(&[(2, 1)], &[], Err(ErrorCode::SlotEmpty));
    check(&[(1, 61)], &[], Err(ErrorCode::CountInvalid));
}

#[test]
fn what_finds_no_room_or_is_too_heavy_is_not_swapped() {
    let full: Held = (0..28).map(|slot| (slot, 100 + slot as i64, SWORD, 1)).collect();
    let full = carrying(&full);
    let one = carrying(&[(0, 1, SWORD, 1), (1, 2, COIN, 60)]);
    let check = |one: &Belongings, offers: &[(u8, u32)], other: &Belongings, other_offers: &[(u8, u32)]| {
        swapped(one, offers, other, other_offers).map(|_| ())
    };
    assert_eq!(check(&one, &[(0, 1)], &full, &[]), Err(ErrorCode::InventoryFull));
    assert_eq!(check(&full, &[], &one, &[(0, 1)]), Err(ErrorCode::InventoryFull));
    assert_eq!(check(&one, &[(0, 1)], &full, &[(7, 1)]), Ok(()));
    assert_eq!(check(&one, &[(0, 1), (1, 60)], &full, &[(7, 1)]), Err(ErrorCode::InventoryFull));
    // 9 of the 10 kg.
    let heavy = carrying(&[(0, 3, IDOL, 1), (1, 4, COIN, 100)]);
    let idol = carrying(&[(0, 5, IDOL, 1)]);
    assert_eq!(check(&heavy, &[], &idol, &[(0, 1)]), Err(ErrorCode::TooHeavy));
    assert_eq!(check(&idol, &[(0, 1)], &heavy, &[]), Err(ErrorCode::TooHeavy));
    assert_eq!(check(&heavy, &[(0, 1)], &idol, &[(0, 1)]), Ok(()));
    // Who carries too much already may carry less.
    let over = carrying(&[(0, 3, IDOL, 1), (1, 6, IDOL, 1), (2, 4, COIN, 100)]);
    assert_eq!(check(&over, &[(2, 50)], &one, &[(1, 40)]), Ok(()));
    assert_eq!(check(&over, &[(2, 50)], &one, &[(1, 51)]), Err(ErrorCode::TooHeavy));
}

#[test]
fn trades_go_along_with_those_who_trade() {
    let mut trades = open();
    trades.offer(ONE, 3, 7).unwrap();
    let [fourth, fifth] = [SessionId(4), SessionId(5)];
    trades.ask(THIRD, fourth).unwrap();
    trades.ask(fifth, fifth).unwrap();
    let stays = trades.take(|session| session <= fourth);
    assert_eq!((stays.sides.len(), stays.asked.len()), (2, 1));
    assert_eq!((trades.sides.len(), trades.asked.len()), (0, 1));

    let mut other = Trades::default();
    other.put(stays, |session| SessionId(session.0 + 10));
    let [one, partner] = [SessionId(11), SessionId(12)];
    assert!(other.offers(one, 3) && !other.offers(partner, 3));
    assert_eq!(other.pairs().collect::<Vec<_>>(), [(one, partner)]);
    other.accept(SessionId(14), SessionId(13)).unwrap();
    let [side, partners] = other.end(one).unwrap();
    assert_eq!((side.revision, side.offers.get(&3), partners.partner), (2, Some(&7), one));
}
