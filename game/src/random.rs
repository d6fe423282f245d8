//! The seeded generator that zones keep as part of their state. Its numbers are the same on every processor
//! and for every build: replay depends on it.

use rand_pcg::Pcg32;
use rand_pcg::rand_core::Rng as _;

/// A generator of its own stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng(Pcg32);

impl Rng {
    /// The generator of a seed; different streams of one seed are independent.
    pub fn new(seed: u64, stream: u64) -> Rng {
        Rng(Pcg32::new(seed, stream))
    }

    /// A number below a bound, 0 if the bound is 0. Bounds far below 2^32 are met without visible bias.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(bound)) >> 32) as u32
    }

    /// A number from `low` to `high`, both possible.
    pub fn between(&mut self, low: i32, high: i32) -> i32 {
        debug_assert!(low <= high);
        low + self.below((high - low + 1) as u32) as i32
    }

    /// What stands for the generator's state in a hash: the number it would give next.
    pub fn fingerprint(&self) -> u64 {
        self.0.clone().next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_within_bounds_and_the_same_for_ever() {
        let mut rng = Rng::new(1, 2);
        assert!((0..1000).all(|_| rng.below(7) < 7));
        assert!((0..1000).map(|_| rng.between(-3, 3)).all(|n| (-3..=3).contains(&n)));
        assert_eq!(rng.below(0), 0);
        let mut rng = Rng::new(42, 54);
        // The PCG paper's own first numbers of this seed: 0xa15c02b7, 0x7b47f409, 0xba1d3330.
        assert_eq!([rng.below(1 << 16), rng.below(1 << 16), rng.below(1 << 16)], [0xa15c, 0x7b47, 0xba1d]);
    }

    #[test]
    fn the_fingerprint_follows_the_state() {
        let mut rng = Rng::new(1, 2);
        let before = rng.fingerprint();
        assert_eq!(rng.fingerprint(), before);
        rng.below(2);
        assert_ne!(rng.fingerprint(), before);
    }
}
