use vyuha_protocol::{ItemId, ItemKind};

use super::*;
use crate::shard::tests::play::{ARROW, BOW, CROOK, FRAME, SHIELD, SWORD, content};

fn stack(kind: u16, wear: u16) -> Stack {
    Stack { id: ItemId(kind.into()), kind: ItemKind(kind), count: 1, wear }
}

/// What is worn: each in its own slot.
fn wearing(content: &Content, kinds: &[u16]) -> Equipment {
    let mut worn = Equipment::default();
    for &kind in kinds {
        let wearable = content.item(ItemKind(kind)).unwrap().wearable.clone().unwrap();
        worn.set(wearable.slot, Some(stack(kind, 0)));
    }
    worn
}

#[test]
fn what_needs_another_has_it_and_what_takes_both_hands_has_them_free() {
    let content = content();
    let check = |worn: &[u16], kind: u16, expected: bool| {
        let wearable = content.item(ItemKind(kind)).unwrap().wearable.clone().unwrap();
        let got = goes_together(&content, &wearing(&content, worn), ItemKind(kind), &wearable);
        assert_eq!(got, expected, "{kind} with {worn:?}");
    };
    check(&[], SWORD, true);
    check(&[SHIELD], SWORD, true);
    check(&[SWORD], SHIELD, true);
    check(&[SHIELD], BOW, false);
    check(&[BOW], SHIELD, false);
    check(&[SWORD], BOW, true);
    check(&[], ARROW, false);
    check(&[SWORD], ARROW, false);
    check(&[BOW], ARROW, true);
    // The arrows that are worn need the bow, or another like it.
    check(&[BOW, ARROW], SWORD, false);
    check(&[BOW, ARROW], BOW, true);
    check(&[BOW, ARROW], FRAME, true);
}

#[test]
fn what_is_needed_is_known() {
    let content = content();
    let worn = wearing(&content, &[BOW, ARROW]);
    assert!(is_needed(&content, &worn, ItemKind(BOW)));
    assert!(!is_needed(&content, &worn, ItemKind(ARROW)));
    assert!(!is_needed(&content, &wearing(&content, &[BOW]), ItemKind(BOW)));
}

#[test]
fn bonuses_add_up_until_a_thing_is_broken_or_not_in_its_slot() {
    let content = content();
    let bonuses = |worn: &Equipment| {
        let Bonuses { attack, defence, reach, carry_g } = worn.bonuses(&content);
        (attack, defence, reach / vyuha_protocol::units::metres(1), carry_g)
    };
    assert_eq!(bonuses(&Equipment::default()), (0, 0, 0, 0));
    assert_eq!(bonuses(&wearing(&content, &[SWORD, SHIELD, FRAME])), (3, 5, 0, 1000));
    let mut worn = wearing(&content, &[CROOK]);
    for (wear, reach, used) in [(0, 2, vec![0]), (1, 2, vec![0]), (2, 0, vec![]), (u16::MAX, 0, vec![])] {
        worn.set(0, Some(stack(CROOK, wear)));
        assert_eq!(bonuses(&worn).2, reach, "{wear}");
        assert_eq!(worn.use_reach(&content), used, "{wear}");
    }
    let mut misplaced = Equipment::default();
    misplaced.set(4, Some(stack(SWORD, 0)));
    assert_eq!(bonuses(&misplaced), (0, 0, 0, 0));
    // What lasts for ever does not wear, what does not help either.
    let mut worn = wearing(&content, &[SWORD, FRAME]);
    let before = worn.clone();
    assert_eq!((worn.use_reach(&content), &worn), (vec![], &before));
}
