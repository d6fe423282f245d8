//! Streams on both kinds of database.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::devices::enrolled;
use crate::devices::keys::KeyPair;
use crate::devices::links::Links;
use crate::testing::{databases, with_tx};

fn plain(number: i64, body: &str) -> Publish {
    let (stream, key, body) = ("s".to_owned(), String::new(), body.to_owned());
    Publish { stream, number, key, after: None, body, ttl_s: None }
}

fn keyed(number: i64, key: &str, after: Option<i64>) -> Publish {
    Publish { key: key.to_owned(), after, ..plain(number, key) }
}

#[track_caller]
fn new(published: Result<Published, Problem>) -> i64 {
    match published {
        Ok(Published::New(event)) => event.sequence,
        other => panic!("{other:?}"),
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, Problem>) -> Option<Code> {
    result.err().map(|problem| problem.code)
}

fn sequences(caught: &Caught) -> Vec<i64> {
    caught.events.iter().map(|event| event.sequence).collect()
}

fn enrol(tx: &mut dyn SqlTransaction, account: i64, seed: u8) -> String {
    enrolled::enrol(tx, account, &KeyPair::from_seed(&[seed; 32]).public(), "x", "x", 0).unwrap()
}

#[test]
fn events_are_numbered_in_their_order_and_caught_up_with() {
    with_tx(|tx| {
        for number in 1..=40 {
            let device = if number % 2 == 0 { "a" } else { "b" };
            assert_eq!(new(publish(tx, 7, device, &plain(number, "x"), 5)), number);
        }
        let caught = catch_up(tx, 7, "s", 0, 6)?;
        assert_eq!(sequences(&caught), (1..=32).collect::<Vec<_>>());
        assert_eq!((caught.sequence, caught.more, caught.gap), (40, true, false));
        let caught = catch_up(tx, 7, "s", 32, 6)?;
        assert_eq!((sequences(&caught), caught.more), ((33..=40).collect(), false));
        assert_eq!(sequences(&catch_up(tx, 7, "s", 40, 6)?), [0; 0]);
        assert_eq!(catch_up(tx, 7, "t", 0, 6)?.sequence, 0);
        let event = &catch_up(tx, 7, "s", 39, 6)?.events[0];
        assert_eq!((event.device.as_str(), event.number, event.body.as_str()), ("a", 40, "x"));
        assert_eq!((event.created_ms, event.expires_ms), (5, 5 + TTL_S * 1000));
        Ok(())
    });
}

#[test]
fn what_is_no_event_is_refused() {
    let long = "x".repeat(NAME_BYTES_MAX);
    let check = |event: Publish, good: bool| {
        let expected = (!good).then_some(Code::EventInvalid);
        assert_eq!(code(event.check()), expected, "{event:?}");
    };
    let stream = |stream: &str| Publish { stream: stream.to_owned(), ..plain(1, "") };
    for good in ["a", "A.b_c/d-9", &long] {
        check(stream(good), true);
        check(keyed(1, good, None), true);
    }
    for wrong in ["a b", "ä", "a\0", "a'", &format!("{long}x")] {
        check(stream(wrong), false);
        check(keyed(1, wrong, None), false);
    }
    check(stream(""), false);
    check(plain(1, &"x".repeat(BODY_BYTES_MAX)), true);
    check(plain(1, &"x".repeat(BODY_BYTES_MAX + 1)), false);
    check(plain(1, "a\0"), false);
    for (number, good) in [(i64::MIN, false), (0, false), (1, true), (i64::MAX, true)] {
        check(plain(number, ""), good);
    }
    for (ttl_s, good) in [(i64::MIN, false), (0, false), (1, true), (TTL_S_MAX, true), (TTL_S_MAX + 1, false)]
    {
        check(Publish { ttl_s: Some(ttl_s), ..plain(1, "") }, good);
    }
    for (after, good) in [(-1, false), (0, true), (i64::MAX, true)] {
        check(keyed(1, "k", Some(after)), good);
    }
}

#[test]
fn an_event_sent_again_is_known() {
    with_tx(|tx| {
        assert_eq!(new(publish(tx, 7, "a", &plain(3, "x"), 0)), 1);
        assert_eq!(publish(tx, 7, "a", &plain(3, "x"), 0)?, Published::Known(Some(1)));
        assert_eq!(publish(tx, 7, "a", &plain(2, "x"), 0)?, Published::Known(None));
        assert_eq!(new(publish(tx, 7, "b", &plain(3, "x"), 0)), 2);
        assert_eq!(new(publish(tx, 7, "a", &plain(4, "x"), 0)), 3);
        let other = Publish { stream: "t".into(), ..plain(1, "x") };
        assert_eq!(new(publish(tx, 7, "a", &other, 0)), 1);
        Ok(())
    });
}

#[test]
fn the_last_writer_of_a_key_wins() {
    with_tx(|tx| {
        new(publish(tx, 7, "a", &keyed(1, "k", None), 0));
        new(publish(tx, 7, "a", &keyed(2, "l", None), 0));
        new(publish(tx, 7, "a", &plain(3, "x"), 0));
        new(publish(tx, 7, "b", &keyed(1, "k", None), 0));
        let caught = catch_up(tx, 7, "s", 0, 0)?;
        assert_eq!((sequences(&caught), caught.gap), (vec![2, 3, 4], false));
        assert_eq!(caught.events[2].device, "b");
        Ok(())
    });
}

#[test]
fn who_has_not_seen_the_last_one_overwrites_nothing() {
    with_tx(|tx| {
        new(publish(tx, 7, "a", &keyed(1, "k", Some(0)), 0));
        new(publish(tx, 7, "a", &plain(2, "x"), 0));
        new(publish(tx, 7, "b", &keyed(1, "k", Some(1)), 0));
        let last = |event: Publish| Publish { after: Some(2), ..event };
        let mut check = |event: Publish, expected: Option<Code>| {
            assert_eq!(code(publish(tx, 7, "c", &event, 0)), expected, "{event:?}");
        };
        check(keyed(1, "k", Some(2)), Some(Code::EventConflict));
        check(keyed(1, "l", Some(0)), None);
        // Without a key it is about the whole stream. These sequences were used up within this one transaction.
        check(last(plain(2, "x")), Some(Code::EventConflict));
        check(Publish { after: Some(i64::MAX), ..plain(2, "x") }, None);
        Ok(())
    });
}

#[test]
fn an_event_ends_with_its_time() {
    with_tx(|tx| {
        new(publish(tx, 7, "a", &Publish { ttl_s: Some(1), ..plain(1, "x") }, 0));
        new(publish(tx, 7, "a", &Publish { ttl_s: Some(2), ..keyed(2, "k", None) }, 0));
        assert_eq!(sequences(&catch_up(tx, 7, "s", 0, 999)?), [1, 2]);
        assert_eq!(sequences(&catch_up(tx, 7, "s", 0, 1000)?), [2]);
        crate::devices::tidy(tx, 1000)?;
        assert_eq!(sequences(&catch_up(tx, 7, "s", 0, 0)?), [2]);
        // What is over hinders nobody, and its number is not given again.
        assert_eq!(new(publish(tx, 7, "b", &keyed(1, "k", Some(0)), 2000)), 3);
        Ok(())
    });
}

#[test]
fn a_full_stream_drops_its_oldest_and_says_so() {
    with_tx(|tx| {
        for number in 1..=EVENTS_MAX + 3 {
            new(publish(tx, 7, "a", &plain(number, "x"), 0));
        }
        let caught = catch_up(tx, 7, "s", 0, 0)?;
        assert_eq!((caught.events[0].sequence, caught.gap), (4, true));
        assert!(catch_up(tx, 7, "s", 2, 0)?.gap);
        assert!(!catch_up(tx, 7, "s", 3, 0)?.gap);
        let rows = tx.query("SELECT COUNT(*) FROM device_event", &[])?;
        assert_eq!(rows[0].int(0)?, EVENTS_MAX);
        Ok(())
    });
}

#[test]
fn an_account_has_so_many_streams() {
    with_tx(|tx| {
        let stream = |number: i64| Publish { stream: format!("s{number}"), ..plain(1, "x") };
        for number in 0..STREAMS_MAX {
            new(publish(tx, 7, "a", &stream(number), 0));
        }
        new(publish(tx, 8, "b", &stream(STREAMS_MAX), 0));
        assert_eq!(streams(tx, 7, "a")?.len() as i64, STREAMS_MAX);
        assert_eq!(code(publish(tx, 7, "a", &stream(STREAMS_MAX), 0)), Some(Code::StreamsFull));
        Ok(())
    });
}

#[test]
fn what_every_device_has_acknowledged_is_gone_unless_it_is_the_state_of_something() {
    with_tx(|tx| {
        let (one, two) = (enrol(tx, 7, 1), enrol(tx, 7, 2));
        let stranger = enrol(tx, 8, 3);
        new(publish(tx, 7, &one, &plain(1, "x"), 0));
        new(publish(tx, 7, &one, &keyed(2, "k", None), 0));
        new(publish(tx, 7, &one, &plain(3, "x"), 0));
        acknowledge(tx, 7, &one, "s", 3)?;
        assert_eq!(sequences(&catch_up(tx, 7, "s", 0, 0)?), [1, 2, 3]);
        acknowledge(tx, 7, &two, "s", 2)?;
        assert_eq!(sequences(&catch_up(tx, 7, "s", 0, 0)?), [2, 3]);
        // A cursor does not go back, nor ahead of the stream, nor into another account's.
        acknowledge(tx, 7, &one, "s", 1)?;
        let seen = |acknowledged, number| Stream { stream: "s".into(), sequence: 3, acknowledged, number };
        assert_eq!(streams(tx, 7, &one)?, [seen(3, 3)]);
        assert_eq!(streams(tx, 7, &two)?, [seen(2, 0)]);
        for wrong in [-1, 4, i64::MAX] {
            assert_eq!(code(acknowledge(tx, 7, &one, "s", wrong)), Some(Code::EventInvalid), "{wrong}");
        }
        assert_eq!(code(acknowledge(tx, 8, &stranger, "s", 1)), Some(Code::EventInvalid));
        assert!(streams(tx, 8, &stranger)?.is_empty());
        Ok(())
    });
}

/// What somebody does.
#[derive(Debug, Clone)]
enum Act {
    Publish { keyed: bool, stream: bool },
    CatchUp { stream: bool },
    Acknowledge { stream: bool },
    Leave,
    Join,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (any::<bool>(), any::<bool>()).prop_map(|(keyed, stream)| Act::Publish { keyed, stream }),
        2 => any::<bool>().prop_map(|stream| Act::CatchUp { stream }),
        1 => any::<bool>().prop_map(|stream| Act::Acknowledge { stream }),
        1 => Just(Act::Leave),
        2 => Just(Act::Join),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Three accounts of two devices each use streams of the same names in any order. Whatever is delivered or caught up with was
    /// published by a device of the same account; and who catches up ends with what the account published.
    #[test]
    fn no_interleaving_gives_anybody_what_is_anothers(acts in prop::collection::vec((0_usize..6, act()), 1..60)) {
        let (_dir, databases) = databases();
        for mut database in databases {
            let mut done = |tx: &mut dyn SqlTransaction| {
                let links = Arc::new(Links::default());
                let mut joined = HashMap::new();
                let devices: Vec<(i64, String)> =
                    (0..6).map(|n| (1 + n / 2, enrol(tx, 1 + n / 2, n as u8 + 1))).collect();
                // By account and stream: the last body of each key, and the sequence of the last event.
                let mut state: BTreeMap<(i64, &str), BTreeMap<String, String>> = BTreeMap::new();
                for (number, (who, act)) in acts.iter().enumerate() {
                    let (account, device) = &devices[*who];
                    let name = |stream: bool| if stream { "s" } else { "t" };
                    match act {
                        Act::Join => {
                            joined.insert(*who, links.join(*account, device, device));
                        }
                        Act::Leave => {
                            joined.remove(who);
                        }
                        Act::Publish { keyed, stream } => {
                            let key = if *keyed { "k" } else { "" }.to_owned();
                            // A body says whose it is.
                            let body = format!("{account} {number}");
                            let event = Publish {
                                stream: name(*stream).into(), key: key.clone(), body: body.clone(),
                                ..plain(number as i64 + 1, "")
                            };
                            let Published::New(event) = publish(tx, *account, device, &event, 0).unwrap() else {
                                panic!("it is new");
                            };
                            if *keyed {
                                state.entry((*account, name(*stream))).or_default().insert(key, body);
                            }
                            links.deliver(*account, &Arc::new(event));
                        }
                        Act::CatchUp { stream } => {
                            let caught = catch_up(tx, *account, name(*stream), 0, 0).unwrap();
                            for event in &caught.events {
                                assert!(event.body.starts_with(&format!("{account} ")), "{event:?}");
                            }
                        }
                        Act::Acknowledge { stream } => {
                            let mine = catch_up(tx, *account, name(*stream), 0, 0).unwrap().sequence;
                            let done = acknowledge(tx, *account, device, name(*stream), mine);
                            assert!(done.is_ok() || mine == 0, "{done:?}");
                        }
                    }
                    for (who, link) in &mut joined {
                        let (account, device) = &devices[*who];
                        while let Ok(event) = link.queue.try_recv() {
                            assert!(event.body.starts_with(&format!("{account} ")), "{event:?}");
                            assert_ne!(&event.device, device);
                        }
                    }
                }
                for ((account, stream), keys) in &state {
                    let mut after = 0;
                    let mut seen = BTreeMap::new();
                    loop {
                        let caught = catch_up(tx, *account, stream, after, 0).unwrap();
                        for event in caught.events {
                            assert!(event.sequence > after);
                            after = event.sequence;
                            if !event.key.is_empty() {
                                seen.insert(event.key, event.body);
                            }
                        }
                        if !caught.more {
                            break;
                        }
                    }
                    assert_eq!(&seen, keys);
                }
                false
            };
            database.transact(&mut done).unwrap();
        }
    }
}
