//! Seeds that are always run, and that the simulator finds what it is for.

use vyuha_simulator::{Bug, Options, run};

const TICKS: u64 = 400;

fn check(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let report = run(Options { seed, ticks: TICKS, bug: None });
        if let Some(violation) = report.violation {
            panic!("cargo xtask simulate --seed {seed} --ticks {TICKS}: {violation}");
        }
    }
}

// Two tests, so that they run at once.

#[test]
fn whatever_fails_nothing_acknowledged_is_lost_nothing_is_made_and_nobody_is_locked_out() {
    check(0..20);
}

#[test]
fn nor_with_other_seeds() {
    check(1000..1020);
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in [2, 7] {
        let runs: Vec<(u64, u64)> = (0..2)
            .map(|_| {
                let report = run(Options { seed, ticks: TICKS, bug: None });
                (report.trace, report.ticks)
            })
            .collect();
        assert_eq!(runs[0], runs[1]);
    }
}

/// Every bug that the models can have is found by one of a few seeds.
#[test]
fn bugs_are_found() {
    for (name, bug) in Bug::ALL {
        let mut seeds = 0..40;
        let found = seeds.find_map(|seed| run(Options { seed, ticks: TICKS, bug: Some(bug) }).violation);
        assert!(found.is_some(), "{name} was not found by the first {} seeds", seeds.end);
    }
}
