use proptest::prelude::*;

use super::*;

#[test]
fn silence_is_judged_by_its_length() {
    use Verdict::{GoesAway, Leaves, Stays};
    for (silent_ticks, is_away, away_ticks, leave_ticks, expected) in [
        (0, false, 10, 30, Stays),
        (9, false, 10, 30, Stays),
        (10, false, 10, 30, GoesAway),
        (10, true, 10, 30, Stays),
        (29, true, 10, 30, Stays),
        (30, true, 10, 30, Leaves),
        (30, false, 10, 30, Leaves),
        (u64::MAX, true, 10, 0, Stays),
        (u64::MAX, false, 0, 0, Stays),
        (29, false, 0, 30, Stays),
        (30, false, 0, 30, Leaves),
    ] {
        let presence = Presence { seen_tick: 0, is_away };
        let got = judge(presence, silent_ticks, Patience { away_ticks, leave_ticks });
        assert_eq!(got, expected, "{silent_ticks} {is_away} {away_ticks} {leave_ticks}");
    }
}

proptest! {
    /// Whatever the silences are, somebody is marked away exactly in those that are long enough, once in each.
    #[test]
    fn each_long_silence_is_told_once(silences in proptest::collection::vec(1u64..40, 1..20), away_ticks in 1u32..30) {
        let (mut presence, mut tick) = (Presence::new(0), 0);
        let patience = Patience { away_ticks, leave_ticks: 0 };
        for silence in silences {
            let mut told = 0;
            for _ in 0..silence {
                tick += 1;
                if judge(presence, tick, patience) == Verdict::GoesAway {
                    presence.is_away = true;
                    told += 1;
                }
            }
            prop_assert_eq!(told, u32::from(silence >= u64::from(away_ticks)));
            presence = Presence::new(tick);
        }
    }
}
