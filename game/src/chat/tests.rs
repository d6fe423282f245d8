use proptest::prelude::*;
use vyuha_protocol::ErrorCode;

use super::*;

/// Says something at each of the ticks, at 30 a second, and lists what was refused.
fn check(ticks: &[u64], refused: &[usize]) {
    let mut allowance = Allowance::default();
    let got: Vec<usize> = (0..ticks.len())
        .filter(|&at| speak(&mut allowance, "hello", ticks[at], 30) == Err(ErrorCode::ChatTooFast))
        .collect();
    assert_eq!(got, refused, "{ticks:?}");
}

#[test]
fn five_at_once_then_one_a_second() {
    check(&[0, 0, 0, 0, 0], &[]);
    check(&[100, 100, 100, 100, 100, 100, 129, 130, 130], &[5, 6, 8]);
    check(&[0, 0, 0, 0, 0, 150, 150, 150, 150, 150, 150], &[10]);
    check(&[0, 30, 60, 90, 120, 150, 180], &[]);
}

#[test]
fn a_bad_text_costs_nothing() {
    let mut allowance = Allowance::default();
    assert_eq!(speak(&mut allowance, "a\nb", 0, 30), Err(ErrorCode::TextInvalid));
    assert_eq!(allowance, Allowance::default());
}

proptest! {
    #[test]
    fn no_rhythm_beats_the_rate(mut ticks in proptest::collection::vec(0u64..2000, 1..200)) {
        ticks.sort_unstable();
        let mut allowance = Allowance::default();
        let said: Vec<u64> = ticks.into_iter().filter(|&tick| speak(&mut allowance, "x", tick, 30).is_ok()).collect();
        for (first, &from) in said.iter().enumerate() {
            for (last, &to) in said.iter().enumerate().skip(first) {
                prop_assert!((last - first + 1) as u64 <= CHAT_BURST + (to - from) / 30);
            }
        }
    }
}
