use super::*;
use crate::profiles::By;
use crate::testing::{databases, with_tx};
use proptest::prelude::*;
use std::sync::Arc;

const ACCOUNT: i64 = 7;

fn code<T: std::fmt::Debug>(result: Result<T, Problem>) -> Code {
    result.unwrap_err().code
}

fn newcomer() -> Newcomer {
    Arc::new(|id| (id % 3, id, 2 * id))
}

fn item(tx: &mut dyn SqlTransaction, id: i64, count: i64, place: i64, owner: i64) {
    tx.execute(
        "INSERT INTO item (id, kind, count, place, owner, slot, x, y, wear) VALUES (?1, 4, ?2, ?3, ?4, ?1, 0, 0, 0)",
        &[id.into(), count.into(), place.into(), owner.into()],
    )
    .unwrap();
    // What is there came from nowhere.
    tx.execute(
        "INSERT INTO ledger (source, seq, idx, at_ms, reason, item, kind, count, from_place, from_owner, to_place, to_owner,
                             counterparty)
         VALUES (99, ?1, 0, 0, 0, ?1, 4, ?2, -1, 0, ?3, ?4, 0)",
        &[id.into(), count.into(), place.into(), owner.into()],
    )
    .unwrap();
}

/// What is with a holder by its items, less what is there by the ledger.
fn out_of_balance(tx: &mut dyn SqlTransaction) -> Vec<SqlRow> {
    tx.query(
        "SELECT place, owner, CAST(sum(n) AS BIGINT) FROM (
             SELECT place, owner, count AS n FROM item
             UNION ALL SELECT to_place, to_owner, -count FROM ledger WHERE to_place <> -1
             UNION ALL SELECT from_place, from_owner, count FROM ledger WHERE from_place <> -1) AS held
         GROUP BY place, owner HAVING sum(n) <> 0",
        &[],
    )
    .unwrap()
}

#[test]
fn a_character_is_its_profiles_and_its_name_is_its_own() {
    with_tx(|tx| {
        let first = profiles::first(tx, ACCOUNT, 0)?;
        let second = profiles::create(tx, ACCOUNT, "Other", 9, 0)?;
        let abe = create(tx, ACCOUNT, second, "Abe", &newcomer(), 11)?;
        let expected = Character {
            id: abe,
            name: "Abe".into(),
            zone: abe % 3,
            created_ms: 11,
            profile: second,
            deleted: None,
        };
        assert_eq!(list(tx, ACCOUNT, 0)?, [expected]);
        for taken in ["Abe", "ABE"] {
            assert_eq!(code(create(tx, ACCOUNT, first, taken, &newcomer(), 0)), Code::CharacterNameTaken);
            assert_eq!(code(create(tx, ACCOUNT + 1, first, taken, &newcomer(), 0)), Code::ProfileUnknown);
        }
        assert_eq!(code(find(tx, ACCOUNT + 1, abe, 0)), Code::CharacterUnknown);
        assert_eq!(needs_entry(tx, ACCOUNT, abe, 0)?.id, second);
        let profile = profiles::find(tx, ACCOUNT, second, 0)?;
        assert_eq!((of_profile(tx, &profile, 0)?, profile.id), (vec![abe], second));
        profiles::freeze(tx, &profile, By::Owner, "why", 0)?;
        assert_eq!(code(needs_entry(tx, ACCOUNT, abe, 0)), Code::ProfileFrozen);
        assert_eq!(code(delete(tx, ACCOUNT, abe, 1, 0)), Code::ProfileFrozen);
        assert_eq!(code(create(tx, ACCOUNT, second, "Bea", &newcomer(), 0)), Code::ProfileFrozen);
        Ok(())
    });
}

#[test]
fn a_profile_has_so_many_characters_deleted_ones_among_them() {
    with_tx(|tx| {
        let first = profiles::first(tx, ACCOUNT, 0)?;
        let second = profiles::create(tx, ACCOUNT, "Other", 9, 0)?;
        let ids: Vec<i64> = (0..CHARACTERS_MAX)
            .map(|n| create(tx, ACCOUNT, first, &format!("Abe {n}"), &newcomer(), 0))
            .collect::<Result<_, _>>()?;
        delete(tx, ACCOUNT, ids[0], 10, 0)?;
        assert_eq!(code(create(tx, ACCOUNT, first, "Bea", &newcomer(), 0)), Code::CharacterLimit);
        create(tx, ACCOUNT, second, "Bea", &newcomer(), 0)?;
        assert!(purge(tx, ids[0], 10)?);
        create(tx, ACCOUNT, first, "Abe 0", &newcomer(), 0)?;
        Ok(())
    });
}

#[test]
fn a_deleted_character_comes_back_within_its_time_and_not_after() {
    with_tx(|tx| {
        let profile = profiles::first(tx, ACCOUNT, 0)?;
        let abe = create(tx, ACCOUNT, profile, "Abe", &newcomer(), 0)?;
        assert_eq!(code(restore(tx, ACCOUNT, abe, 0)), Code::CharacterNotDeleted);
        assert_eq!(code(delete(tx, ACCOUNT + 1, abe, 100, 1000)), Code::CharacterUnknown);
        assert_eq!(delete(tx, ACCOUNT, abe, 100, 1000)?, 1100);
        assert_eq!(code(delete(tx, ACCOUNT, abe, 100, 1050)), Code::CharacterDeleted);
        assert_eq!(find(tx, ACCOUNT, abe, 0)?.deleted, Some((1000, 1100)));
        assert_eq!(code(needs_entry(tx, ACCOUNT, abe, 1001)), Code::CharacterDeleted);
        assert_eq!(code(create(tx, ACCOUNT, profile, "abe", &newcomer(), 1001)), Code::CharacterNameTaken);
        assert!(!purge(tx, abe, 1099)?);
        assert_eq!(code(restore(tx, ACCOUNT + 1, abe, 1099)), Code::CharacterUnknown);
        restore(tx, ACCOUNT, abe, 1099)?;
        assert!(!purge(tx, abe, 1100)?, "it was restored");
        needs_entry(tx, ACCOUNT, abe, 1100)?;
        delete(tx, ACCOUNT, abe, 100, 2000)?;
        assert_eq!(code(restore(tx, ACCOUNT, abe, 2100)), Code::CharacterUnknown);
        assert!(purge(tx, abe, 2100)?);
        assert!(!purge(tx, abe, 2101)?);
        assert_eq!(list(tx, ACCOUNT, 2101)?, []);
        // The name is free again, the number is not.
        assert!(create(tx, ACCOUNT, profile, "Abe", &newcomer(), 2102)? > abe);
        Ok(())
    });
}

#[test]
fn what_goes_for_good_leaves_the_ledger_balanced() {
    with_tx(|tx| {
        let profile = profiles::first(tx, ACCOUNT, 0)?;
        let abe = create(tx, ACCOUNT, profile, "Abe", &newcomer(), 0)?;
        let bea = create(tx, ACCOUNT, profile, "Bea", &newcomer(), 0)?;
        for (id, count, place, owner) in
            [(1, 5, 0, abe), (2, 1, 2, abe), (3, 9, 3, abe), (4, 0, 3, abe), (5, 2, 0, bea), (6, 3, 1, abe)]
        {
            item(tx, id, count, place, owner);
        }
        delete(tx, ACCOUNT, abe, 0, 50)?;
        assert!(purge(tx, abe, 60)?);
        assert_eq!(out_of_balance(tx), []);
        let left = tx.query("SELECT id FROM item ORDER BY id", &[])?;
        let left: Vec<i64> = left.iter().map(|row| row.int(0).unwrap()).collect();
        assert_eq!(left, [5, 6], "another's, and what lies on the ground of a zone of that number");
        let entries = tx.query(
            "SELECT seq, idx, at_ms, reason, item, count, from_place, to_place FROM ledger WHERE source = ?1 ORDER BY idx",
            &[(-abe).into()],
        )?;
        let entries: Vec<Vec<i64>> =
            entries.iter().map(|row| (0..8).map(|at| row.int(at).unwrap()).collect()).collect();
        let reason = PURGE_REASON;
        assert_eq!(
            entries,
            [
                [1, 0, 60, reason, 1, 5, 0, -1],
                [1, 1, 60, reason, 2, 1, 2, -1],
                [1, 2, 60, reason, 3, 9, 3, -1],
            ]
        );
        Ok(())
    });
}

#[derive(Debug, Clone)]
enum Step {
    Create(u8),
    Delete(u8, i64),
    Restore(u8),
    Purge(u8),
    Wait(i64),
    Give(u8, i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<u8>().prop_map(Step::Create),
        (any::<u8>(), 0..50i64).prop_map(|(at, grace)| Step::Delete(at, grace)),
        any::<u8>().prop_map(Step::Restore),
        any::<u8>().prop_map(Step::Purge),
        (0..40i64).prop_map(Step::Wait),
        (any::<u8>(), 0..9i64).prop_map(|(at, count)| Step::Give(at, count)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Whatever is done: names and numbers are given once, nobody goes before its time or comes back after it, and the ledger
    /// is balanced.
    #[test]
    fn whatever_is_done_to_characters_nothing_is_lost(steps in proptest::collection::vec(step(), 1..20)) {
        let (_dir, databases) = databases();
        for mut database in databases {
            let (mut now_ms, mut last, mut items) = (0, 0, 0);
            // Each in a transaction of its own: one of all would take too long for a server.
            for step in &steps {
                let mut work = |tx: &mut dyn SqlTransaction| {
                    let profile = profiles::first(tx, ACCOUNT, 0).unwrap();
                    let before = list(tx, ACCOUNT, now_ms).unwrap();
                    let at = |at: u8| before.get(at as usize % before.len().max(1));
                    match step {
                        Step::Create(name) => {
                            let name = format!("Abe {}", name % 10);
                            let made = create(tx, ACCOUNT, profile, &name, &newcomer(), now_ms);
                            let free = before.iter().all(|other| other.name != name);
                            assert_eq!(made.is_ok(), free && before.len() < CHARACTERS_MAX);
                            if let Ok(id) = made {
                                assert!(id > last);
                                last = id;
                            }
                        }
                        Step::Delete(id, grace_ms) => {
                            if let Some(character) = at(*id) {
                                let done = delete(tx, ACCOUNT, character.id, *grace_ms, now_ms);
                                assert_eq!(done.is_ok(), character.deleted.is_none());
                            }
                        }
                        Step::Restore(id) => {
                            if let Some(character) = at(*id) {
                                let done = restore(tx, ACCOUNT, character.id, now_ms);
                                assert_eq!(done.is_ok(), character.deleted.is_some_and(|(_, purge_ms)| now_ms < purge_ms));
                            }
                        }
                        Step::Purge(id) => {
                            if let Some(character) = at(*id) {
                                let gone = purge(tx, character.id, now_ms).unwrap();
                                assert_eq!(gone, character.deleted.is_some_and(|(_, purge_ms)| purge_ms <= now_ms));
                                let there = list(tx, ACCOUNT, now_ms).unwrap();
                                assert_eq!(there.iter().all(|other| other.id != character.id), gone);
                            }
                        }
                        Step::Wait(ms) => now_ms += ms,
                        Step::Give(id, count) => {
                            if let Some(character) = at(*id) {
                                items += 1;
                                item(tx, items, *count, items % 4, character.id);
                            }
                        }
                    }
                    assert_eq!(out_of_balance(tx), []);
                    true
                };
                database.transact(&mut work).unwrap();
            }
        }
    }
}
