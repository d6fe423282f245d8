//! Every target over its corpus, and over random changes of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use std::{env, fs};

use rand::SeedableRng as _;
use rand_pcg::Pcg64Mcg;
use vyuha_fuzz::{TARGETS, Target, mutated};

/// Random inputs of a target, if time allows.
const INPUTS: u64 = 20_000;
/// Time of a target, on however slow a machine.
const TIME: Duration = Duration::from_secs(4);

/// Seed 0 gives the inputs of every run; `FUZZ_SEED` gives others.
fn seed() -> u64 {
    env::var("FUZZ_SEED").map_or(0, |text| text.parse().expect("FUZZ_SEED is a number"))
}

fn check(name: &str) {
    let target = vyuha_fuzz::target(name).expect("the target exists");
    let inputs = target.inputs().expect("the corpus can be read");
    assert!(!inputs.is_empty());
    for input in &inputs {
        run(target, input);
    }
    let (start, mut rng) = (Instant::now(), Pcg64Mcg::seed_from_u64(seed()));
    let mut done = 0;
    while done < INPUTS && start.elapsed() < TIME {
        run(target, &mutated(&inputs, &mut rng));
        done += 1;
    }
    println!("{name}: {} kept inputs, {done} random ones", inputs.len());
    assert!(done > 100, "{name} is too slow to find anything: {done} inputs in {TIME:?}");
}

/// What breaks a target is written down, so that it can be looked at and kept.
fn run(target: &Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target.run(input))) {
        let path = env::temp_dir().join(format!("vyuha-fuzz-{}-found", target.name));
        fs::write(&path, input).expect("a temporary file can be written");
        eprintln!(
            "{} was broken by {}: keep it in {}",
            target.name,
            path.display(),
            target.corpus().display()
        );
        std::panic::resume_unwind(panic);
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $( #[test] fn $name() { check(stringify!($name)); } )*

        #[test]
        fn every_target_is_run_here() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

targets! {
    client_frames server_frames snapshot play msgpack handshake topics transactions journal recording map content config
}
