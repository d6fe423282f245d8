use proptest::prelude::*;
use vyuha_protocol::ErrorCode;

use super::*;

/// Makes a request at each of the ticks, at 30 a second, and lists what was refused.
fn check(per_second_max: u32, ticks: &[u64], refused: &[usize]) {
    let mut budget = Budget::default();
    let got: Vec<usize> = (0..ticks.len())
        .filter(|&at| spend(&mut budget, ticks[at], 30, per_second_max) == Err(ErrorCode::RequestsTooFast))
        .collect();
    assert_eq!(got, refused, "{ticks:?}");
}

#[test]
fn a_seconds_worth_at_once_then_evenly() {
    check(3, &[0, 0, 0], &[]);
    check(3, &[50, 50, 50, 50, 59, 60, 60, 69, 70], &[3, 4, 6, 7]);
    check(3, &[0, 0, 0, 30, 30, 30, 30], &[6]);
    check(1, &[7, 7, 36, 37], &[1, 2]);
    check(30, &(0..200).collect::<Vec<_>>(), &[]);
}

proptest! {
    #[test]
    fn no_rhythm_beats_the_rate(
        mut ticks in proptest::collection::vec(0u64..400, 1..200),
        per_second_max in 1u32..60,
        tick_hz in 1u16..60,
    ) {
        ticks.sort_unstable();
        let mut budget = Budget::default();
        let made: Vec<u64> = ticks
            .into_iter()
            .filter(|&tick| spend(&mut budget, tick, tick_hz, per_second_max).is_ok())
            .collect();
        let (rate, hz) = (u64::from(per_second_max), u64::from(tick_hz));
        for (first, &from) in made.iter().enumerate() {
            for (last, &to) in made.iter().enumerate().skip(first) {
                prop_assert!((last - first + 1) as u64 * hz <= rate * hz + (to - from) * rate);
            }
        }
    }
}
