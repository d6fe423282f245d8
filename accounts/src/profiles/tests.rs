use super::*;
use crate::characters::{Newcomer, create as create_character};
use crate::sessions::{self, Grant};
use crate::testing::{databases, with_tx};
use proptest::prelude::*;
use std::sync::Arc;

const ACCOUNT: i64 = 7;

fn code<T: std::fmt::Debug>(result: Result<T, Problem>) -> Code {
    result.unwrap_err().code
}

fn newcomer() -> Newcomer {
    Arc::new(|id| (1, id, id))
}

#[test]
fn an_account_has_a_first_profile_by_itself_and_as_many_as_it_may_have() {
    with_tx(|tx| {
        let first = first(tx, ACCOUNT, 5)?;
        let all = list(tx, ACCOUNT, 6)?;
        assert_eq!((all.len(), all[0].id, all[0].created_ms), (1, first, 5));
        assert_eq!((all[0].name.as_str(), all[0].debt, &all[0].frozen), ("Main", 0, &None));
        let second = create(tx, ACCOUNT, "Other", 2, 7)?;
        assert_ne!(first, second);
        assert_eq!(code(create(tx, ACCOUNT, "Third", 2, 8)), Code::ProfileLimit);
        // Another's are another's.
        assert_eq!(code(find(tx, ACCOUNT + 1, second, 8)), Code::ProfileUnknown);
        assert_eq!(list(tx, ACCOUNT + 1, 8)?.len(), 1);
        Ok(())
    });
}

#[test]
fn names_are_unique_in_an_account_and_of_some_length() {
    with_tx(|tx| {
        let first = first(tx, ACCOUNT, 0)?;
        let second = create(tx, ACCOUNT, "Other", 9, 0)?;
        for taken in ["Main", "MAIN", "other"] {
            assert_eq!(code(create(tx, ACCOUNT, taken, 9, 0)), Code::ProfileNameTaken, "{taken}");
        }
        assert_eq!(code(rename(tx, ACCOUNT, second, "main", 0)), Code::ProfileNameTaken);
        rename(tx, ACCOUNT, second, "OTHER", 0)?;
        rename(tx, ACCOUNT, first, "दूसरा", 0)?;
        create(tx, ACCOUNT, "Main", 9, 0)?;
        create(tx, ACCOUNT + 1, "OTHER", 9, 0)?;
        assert_eq!(find(tx, ACCOUNT, second, 0)?.name, "OTHER");
        let long = "x".repeat(NAME_CHARS_MAX + 1);
        for bad in ["", " ", " a", "a ", "a\nb", "a\0", long.as_str()] {
            assert_eq!(code(rename(tx, ACCOUNT, first, bad, 0)), Code::ProfileNameInvalid, "{bad:?}");
        }
        rename(tx, ACCOUNT, first, &long[1..], 0)?;
        Ok(())
    });
}

#[test]
fn settings_are_replaced_by_whoever_knows_their_version() {
    with_tx(|tx| {
        let id = first(tx, ACCOUNT, 0)?;
        assert_eq!(settings(tx, ACCOUNT, id, 0)?, ("{}".into(), 1));
        assert_eq!(put_settings(tx, ACCOUNT, id, Some(1), r#"{"a":1}"#, 0)?, 2);
        assert_eq!(code(put_settings(tx, ACCOUNT, id, Some(1), "{}", 0)), Code::PreconditionFailed);
        assert_eq!(settings(tx, ACCOUNT, id, 0)?, (r#"{"a":1}"#.into(), 2));
        assert_eq!(put_settings(tx, ACCOUNT, id, None, "{}", 0)?, 3);
        let most = format!("\"{}\"", "x".repeat(SETTINGS_BYTES_MAX - 2));
        assert_eq!(put_settings(tx, ACCOUNT, id, Some(3), &most, 0)?, 4);
        assert_eq!(code(put_settings(tx, ACCOUNT, id, Some(4), &(most + " "), 0)), Code::SettingsTooLarge);
        assert_eq!(code(settings(tx, ACCOUNT + 1, id, 0)), Code::ProfileUnknown);
        Ok(())
    });
}

#[test]
fn who_froze_it_takes_it_back_and_the_staff_always_does() {
    with_tx(|tx| {
        let id = first(tx, ACCOUNT, 0)?;
        let now = |tx: &mut dyn SqlTransaction| find(tx, ACCOUNT, id, 0);
        // By whom, then: who may take it back, and who may freeze it anew.
        for (by, lifts, freezes) in [
            (By::Owner, [(By::Owner, true), (By::Staff, true)], [(By::Owner, true), (By::Staff, true)]),
            (By::Staff, [(By::Owner, false), (By::Staff, true)], [(By::Owner, false), (By::Staff, true)]),
        ] {
            for (who, may) in lifts {
                let profile = now(tx)?;
                unfreeze(tx, &profile, By::Staff)?;
                let profile = now(tx)?;
                freeze(tx, &profile, by, "why", 9)?;
                let frozen = now(tx)?;
                let expected = Frozen { since_ms: 9, by, reason: "why".into() };
                assert_eq!(frozen.frozen, Some(expected));
                assert_eq!(code(frozen.needs_to_be_active()), Code::ProfileFrozen);
                assert_eq!(unfreeze(tx, &frozen, who).is_ok(), may, "{by:?} {who:?}");
                assert_eq!(now(tx)?.frozen.is_none(), may);
            }
            for (who, may) in freezes {
                let profile = now(tx)?;
                unfreeze(tx, &profile, By::Staff)?;
                let profile = now(tx)?;
                freeze(tx, &profile, by, "why", 9)?;
                let frozen = now(tx)?;
                assert_eq!(freeze(tx, &frozen, who, "again", 10).is_ok(), may, "{by:?} {who:?}");
                let left = now(tx)?.frozen.map(|frozen| (frozen.by, frozen.since_ms));
                assert_eq!(left, Some(if may { (who, 10) } else { (by, 9) }));
            }
        }
        Ok(())
    });
}

#[test]
fn only_what_is_empty_owes_nothing_and_is_not_the_last_is_deleted() {
    with_tx(|tx| {
        let first = first(tx, ACCOUNT, 0)?;
        assert_eq!(code(delete(tx, ACCOUNT, first, 0)), Code::LastProfile);
        let second = create(tx, ACCOUNT, "Other", 9, 0)?;
        let character = create_character(tx, ACCOUNT, second, "Abe", &newcomer(), 0)?;
        assert_eq!(code(delete(tx, ACCOUNT, second, 0)), Code::ProfileNotEmpty);
        characters::delete(tx, ACCOUNT, character, 10, 0)?;
        assert_eq!(code(delete(tx, ACCOUNT, second, 0)), Code::ProfileNotEmpty);
        assert!(characters::purge(tx, character, 10)?);
        tx.execute("UPDATE profile SET debt = 1 WHERE id = ?1", &[second.into()])?;
        assert_eq!(code(delete(tx, ACCOUNT, second, 0)), Code::ProfileInDebt);
        tx.execute("UPDATE profile SET debt = 0 WHERE id = ?1", &[second.into()])?;
        let profile = find(tx, ACCOUNT, second, 0)?;
        freeze(tx, &profile, By::Staff, "why", 0)?;
        assert_eq!(code(delete(tx, ACCOUNT, second, 0)), Code::ProfileFrozen);
        unfreeze(tx, &profile, By::Staff)?;
        freeze(tx, &profile, By::Owner, "why", 0)?;
        assert_eq!(code(delete(tx, ACCOUNT + 1, second, 0)), Code::ProfileUnknown);
        delete(tx, ACCOUNT, second, 0)?;
        assert_eq!(code(find(tx, ACCOUNT, second, 0)), Code::ProfileUnknown);
        assert_eq!(code(load(tx, second)), Code::ProfileUnknown);
        // Neither its name nor its number stands in the way, and the number is not given again.
        let third = create(tx, ACCOUNT, "Other", 2, 0)?;
        assert!(third > second);
        delete(tx, ACCOUNT, third, 0)?;
        assert!(create(tx, ACCOUNT, "Other", 2, 0)? > third);
        Ok(())
    });
}

#[test]
fn a_character_without_a_word_said_of_it_is_the_first_profiles() {
    with_tx(|tx| {
        tx.execute(
            "INSERT INTO character (id, account, name, name_key, zone, x, y, created_ms)
             VALUES (5, 7, 'Old', 'old', 1, 2, 3, 4)",
            &[],
        )?;
        let first = first(tx, ACCOUNT, 0)?;
        create(tx, ACCOUNT, "Other", 9, 0)?;
        assert_eq!(characters::find(tx, ACCOUNT, 5, 0)?.profile, first);
        assert_eq!(code(delete(tx, ACCOUNT, first, 0)), Code::ProfileNotEmpty);
        assert_eq!(characters::needs_entry(tx, ACCOUNT, 5, 0)?.id, first);
        characters::delete(tx, ACCOUNT, 5, 10, 0)?;
        assert_eq!(code(characters::needs_entry(tx, ACCOUNT, 5, 0)), Code::CharacterDeleted);
        Ok(())
    });
}

#[test]
fn a_session_plays_with_what_it_chose_as_long_as_that_is_there() {
    with_tx(|tx| {
        let (one, other) = (
            sessions::open(tx, ACCOUNT, Grant::Refresh, "", "", 0)?,
            sessions::open(tx, ACCOUNT, Grant::Refresh, "", "", 0)?,
        );
        let first = first(tx, ACCOUNT, 0)?;
        let second = create(tx, ACCOUNT, "Other", 9, 0)?;
        activate(tx, ACCOUNT, &one.session, second, 0)?;
        assert_eq!(active(tx, ACCOUNT, &one.session, 0)?.id, second);
        assert_eq!(active(tx, ACCOUNT, &other.session, 0)?.id, first);
        assert_eq!(code(activate(tx, ACCOUNT, &one.session, 999, 0)), Code::ProfileUnknown);
        let profile = find(tx, ACCOUNT, first, 0)?;
        freeze(tx, &profile, By::Owner, "why", 0)?;
        assert_eq!(code(activate(tx, ACCOUNT, &one.session, first, 0)), Code::ProfileFrozen);
        delete(tx, ACCOUNT, second, 0)?;
        assert_eq!(active(tx, ACCOUNT, &one.session, 0)?.id, first);
        Ok(())
    });
}

#[test]
fn a_reason_is_some_text() {
    for (reason, good) in
        [("x", true), ("", false), ("a\0b", false), (&"é".repeat(500), true), (&"x".repeat(501), false)]
    {
        assert_eq!(check_reason(reason).is_ok(), good, "{reason:?}");
    }
}

/// Something done to the profiles of an account.
#[derive(Debug, Clone)]
enum Step {
    Create(u8),
    Rename(u8, u8),
    Delete(u8),
    Freeze(u8, bool),
    Unfreeze(u8, bool),
    Put(u8, i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<u8>().prop_map(Step::Create),
        any::<(u8, u8)>().prop_map(|(at, name)| Step::Rename(at, name)),
        any::<u8>().prop_map(Step::Delete),
        any::<(u8, bool)>().prop_map(|(at, staff)| Step::Freeze(at, staff)),
        any::<(u8, bool)>().prop_map(|(at, staff)| Step::Unfreeze(at, staff)),
        (any::<u8>(), 1..4i64).prop_map(|(at, version)| Step::Put(at, version)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Whatever is done: there are one to so many, no two of one name, numbers and versions only rise, and the owner never takes
    /// back what the staff froze.
    #[test]
    fn whatever_is_done_to_profiles_they_stay_in_order(steps in proptest::collection::vec(step(), 1..20)) {
        const MOST: usize = 3;
        let (_dir, databases) = databases();
        for mut database in databases {
            let mut last = 0;
            // Each in a transaction of its own: one of all would take too long for a server.
            for step in &steps {
                let mut work = |tx: &mut dyn SqlTransaction| {
                    let before = list(tx, ACCOUNT, 0).unwrap();
                    let at = |at: u8| &before[at as usize % before.len()];
                    let by = |staff: bool| if staff { By::Staff } else { By::Owner };
                    match step {
                        Step::Create(name) => {
                            if let Ok(id) = create(tx, ACCOUNT, &format!("name {}", name % 4), MOST, 0) {
                                assert!(id > last);
                                last = id;
                            }
                        }
                        Step::Rename(id, name) => drop(rename(tx, ACCOUNT, at(*id).id, &format!("NAME {}", name % 4), 0)),
                        Step::Delete(id) => drop(delete(tx, ACCOUNT, at(*id).id, 0)),
                        Step::Freeze(id, staff) => drop(freeze(tx, at(*id), by(*staff), "why", 0)),
                        Step::Unfreeze(id, staff) => drop(unfreeze(tx, at(*id), by(*staff))),
                        Step::Put(id, version) => {
                            let put = put_settings(tx, ACCOUNT, at(*id).id, Some(*version), "{}", 0);
                            assert_eq!(put.is_ok(), at(*id).settings_version == *version);
                        }
                    }
                    let after = list(tx, ACCOUNT, 0).unwrap();
                    assert!((1..=MOST).contains(&after.len()));
                    last = last.max(after.last().unwrap().id);
                    let mut names: Vec<_> = after.iter().map(|profile| profile.name.to_lowercase()).collect();
                    names.sort_unstable();
                    names.dedup();
                    assert_eq!(names.len(), after.len());
                    for profile in &before {
                        let now = after.iter().find(|other| other.id == profile.id);
                        let by_staff = |profile: &Profile| profile.frozen.as_ref().is_some_and(|frozen| frozen.by == By::Staff);
                        if by_staff(profile) && !matches!(step, Step::Unfreeze(_, true)) {
                            assert!(now.is_some_and(by_staff), "{step:?}");
                        }
                        assert!(now.is_none_or(|now| now.settings_version >= profile.settings_version));
                    }
                    true
                };
                database.transact(&mut work).unwrap();
            }
        }
    }
}
