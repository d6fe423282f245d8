//! A shard whose players all walk, which ticks at its own pace on a processor of its own while others sign in.

use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::store::world::{Doings, TICK_HZ, World};

/// Ticks after a change that do not count.
const WARM_TICKS: u32 = 5;

/// What goes on beside the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Nothing.
    Idle,
    /// People sign in.
    Login,
    /// Nothing that counts; and the end.
    Pause,
    Over,
}

/// What goes on now, as the shard's thread hears of it.
pub struct Now(AtomicU8);

impl Now {
    /// Nothing that counts.
    pub fn new() -> Now {
        Now(AtomicU8::new(Phase::Pause as u8))
    }

    /// From now on it is this.
    pub fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Relaxed);
    }
}

/// How long ticks took, in microseconds: idle, and while people sign in.
pub type Samples = [Vec<f64>; 2];

/// Ticks until it is over.
pub fn run(world: &mut World, now: &Now) -> anyhow::Result<Samples> {
    let period = Duration::from_secs(1) / u32::from(TICK_HZ);
    let doings = Doings { save: true, trades: 0, walk: true };
    let (mut samples, mut before, mut warm) = (Samples::default(), Phase::Pause as u8, 0);
    let mut due = Instant::now();
    loop {
        let phase = now.0.load(Ordering::Relaxed);
        if phase == Phase::Over as u8 {
            return Ok(samples);
        }
        if phase != before {
            (before, warm) = (phase, WARM_TICKS);
        }
        let started = Instant::now();
        world.out.clear();
        world.act(doings);
        world.run();
        let took = started.elapsed();
        world.check()?;
        if warm > 0 {
            warm -= 1;
        } else if let Some(samples) = samples.get_mut(usize::from(phase)) {
            samples.push(took.as_secs_f64() * 1e6);
        }
        // A tick that is late has none of those that it missed made up for.
        due = (due + period).max(Instant::now());
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}
