//! Which zone is to go to which shard, so that none has much more to do than the others.
//!
//! The rule is a pure function of what the zones cost. One zone goes at a time, from the shard with the most to do to the one
//! with the least, and only if the most loaded of the two has less to do afterwards by a good part. That part is what keeps zones from
//! going back and forth: what a zone's cost would have to change by before it goes back is as much again. A zone that went rests.

use std::time::Duration;

use vyuha_protocol::ZoneId;

use crate::placement::ZoneLoad;

/// Times that the balance is looked at before a zone that went may go again.
const REST: u32 = 3;
/// What must be gained at least, as a part of the length of a tick: of shards that have little to do none is helped by a move.
const GAIN_TICKS_MIN: u32 = 100;

/// When a move is worth it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Percent of its work that the most loaded shard must be rid of, from 1 to 100.
    pub gain_percent: u32,
    /// Nanoseconds of a tick that it must be rid of.
    pub gain_ns_min: u64,
}

/// A zone that is to go to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The zone.
    pub zone: ZoneId,
    /// Where to.
    pub to: u16,
}

/// Keeps the balance: looks at the loads from time to time.
#[derive(Debug)]
pub struct Balance {
    policy: Policy,
    shards: u16,
    /// Zones that went, and for how many looks they rest.
    resting: Vec<(ZoneId, u32)>,
}

impl Policy {
    /// The policy of a node with ticks of this length.
    pub fn new(gain_percent: u32, tick: Duration) -> Policy {
        Policy { gain_percent, gain_ns_min: (tick / GAIN_TICKS_MIN).as_nanos() as u64 }
    }
}

impl Balance {
    /// The balance of so many shards.
    pub fn new(policy: Policy, shards: u16) -> Balance {
        Balance { policy, shards, resting: Vec::new() }
    }

    /// What is to be done about these loads.
    pub fn look(&mut self, loads: &[ZoneLoad]) -> Option<Step> {
        self.resting.retain_mut(|(_, looks)| {
            *looks -= 1;
            *looks > 0
        });
        let rests = |zone| self.resting.iter().any(|(resting, _)| *resting == zone);
        let step = plan(loads, self.shards, self.policy, rests)?;
        self.resting.push((step.zone, REST + 1));
        Some(step)
    }
}

/// The move that is worth it most, if any is.
pub fn plan(loads: &[ZoneLoad], shards: u16, policy: Policy, rests: impl Fn(ZoneId) -> bool) -> Option<Step> {
    let mut sums = vec![0; usize::from(shards)];
    for load in loads {
        *sums.get_mut(usize::from(load.shard))? += load.tick_ns;
    }
    let least = (0..shards).min_by_key(|&shard| sums[usize::from(shard)])?;
    // Of several with as much, the first.
    let most = (0..shards).rev().max_by_key(|&shard| sums[usize::from(shard)])?;
    let (low, high) = (sums[usize::from(least)], sums[usize::from(most)]);
    // What the more loaded of the two would have.
    let after = |load: &ZoneLoad| (high - load.tick_ns).max(low + load.tick_ns);
    let movable = loads.iter().filter(|load| load.shard == most && !rests(load.zone));
    // Of two that help as much, the lighter one.
    let best = movable.min_by_key(|load| (after(load), load.tick_ns))?;
    let gain_ns = high.saturating_sub(after(best));
    let is_worth_it = gain_ns >= policy.gain_ns_min.max(1)
        && u128::from(gain_ns) * 100 >= u128::from(high) * u128::from(policy.gain_percent);
    is_worth_it.then_some(Step { zone: best.zone, to: least })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy { gain_percent: 20, gain_ns_min: 100 };

    /// Zones from 1 on, each on a shard with a load.
    fn loads(zones: &[(u16, u64)]) -> Vec<ZoneLoad> {
        let load = |(id, &(shard, tick_ns))| ZoneLoad { zone: ZoneId(id), shard, tick_ns };
        (1..).zip(zones).map(load).collect()
    }

    #[test]
    fn the_fullest_shard_is_helped_if_that_is_worth_it() {
        #[track_caller]
        fn check(shards: u16, zones: &[(u16, u64)], expected: Option<(u16, u16)>) {
            let step = plan(&loads(zones), shards, POLICY, |_| false);
            assert_eq!(step.map(|step| (step.zone.0, step.to)), expected, "{zones:?}");
        }
        check(2, &[], None);
        check(1, &[(0, 900), (0, 900)], None);
        check(2, &[(0, 900), (0, 900)], Some((1, 1)));
        check(2, &[(0, 900), (0, 500), (0, 400)], Some((1, 1)));
        check(2, &[(0, 900), (1, 0)], None);
        check(2, &[(0, 600), (0, 500), (1, 700)], None);
        // To the emptiest, and of shards with as much to do from and to the first.
        check(3, &[(0, 800), (0, 800), (1, 500), (2, 200)], Some((1, 2)));
        check(4, &[(1, 800), (1, 800), (2, 800), (2, 800)], Some((1, 0)));
        // 20% and no less.
        check(2, &[(0, 1000), (0, 250)], Some((2, 1)));
        check(2, &[(0, 1000), (0, 249)], None);
        // Shards that idle are left alone.
        check(2, &[(0, 99), (0, 99)], None);
        check(2, &[(0, 100), (0, 100)], Some((1, 1)));
        // A zone of a shard that there is not.
        check(2, &[(7, 900), (0, 900)], None);
    }

    #[test]
    fn a_zone_that_went_rests() {
        let mut balance = Balance::new(POLICY, 2);
        let there = loads(&[(0, 900), (0, 900)]);
        assert_eq!(balance.look(&there), Some(Step { zone: ZoneId(1), to: 1 }));
        // It did not go, or came back: the other one is taken, then none.
        assert_eq!(balance.look(&there), Some(Step { zone: ZoneId(2), to: 1 }));
        assert_eq!([balance.look(&there), balance.look(&there)], [None; 2]);
        assert_eq!(balance.look(&there), Some(Step { zone: ZoneId(1), to: 1 }));
    }

    fn sums(loads: &[ZoneLoad], shards: u16) -> Vec<u64> {
        let of = |shard| loads.iter().filter(|load| load.shard == shard).map(|load| load.tick_ns).sum();
        (0..shards).map(of).collect()
    }

    fn carry_out(loads: &mut [ZoneLoad], step: Step) -> u16 {
        let load = loads.iter_mut().find(|load| load.zone == step.zone).unwrap();
        std::mem::replace(&mut load.shard, step.to)
    }

    proptest! {
        #[test]
        fn the_maximum_never_grows_and_there_is_an_end(
            zones in prop::collection::vec((0..5u16, 0..1_000_000u64), 0..40), gain_percent in 1..60u32,
        ) {
            let mut loads = loads(&zones);
            let policy = Policy { gain_percent, gain_ns_min: 100 };
            let mut steps = 0;
            while let Some(step) = plan(&loads, 5, policy, |_| false) {
                let before = sums(&loads, 5);
                let from = carry_out(&mut loads, step);
                let after = sums(&loads, 5);
                let most = *before.iter().max().unwrap();
                prop_assert_eq!(before[usize::from(from)], most);
                prop_assert!(after.iter().max() <= before.iter().max());
                let pair = after[usize::from(from)].max(after[usize::from(step.to)]);
                prop_assert!(pair + most / 100 * u64::from(gain_percent) <= most, "worth it");
                steps += 1;
                prop_assert!(steps <= 200, "it goes on and on");
            }
        }

        /// Costs that are measured anew and differ by less than half of what a move must gain bring no zone back.
        #[test]
        fn what_is_measured_a_little_otherwise_brings_no_zone_back(
            zones in prop::collection::vec((0..4u16, 1000..1_000_000u64), 1..30),
            gain_percent in 2..60u32,
            noise in prop::collection::vec(-100..100i64, 30),
        ) {
            let mut loads = loads(&zones);
            let policy = Policy { gain_percent, gain_ns_min: 100 };
            if let Some(step) = plan(&loads, 4, policy, |_| false) {
                let from = carry_out(&mut loads, step);
                for (load, noise) in loads.iter_mut().zip(noise) {
                    let change = load.tick_ns as i64 * noise * i64::from(gain_percent) / 100 / 100 / 2;
                    load.tick_ns = (load.tick_ns as i64 + change) as u64;
                }
                let next = plan(&loads, 4, policy, |_| false);
                prop_assert_ne!(next, Some(Step { zone: step.zone, to: from }));
            }
        }
    }
}
