//! The hash that proves two shards to be in one state. Fast and stable between builds and machines; not meant to
//! withstand anybody who wants a collision.

/// A hash of numbers in order.
#[derive(Debug, Clone, Copy)]
pub struct StateHash(u64);

impl Default for StateHash {
    fn default() -> Self {
        StateHash(0x9e37_79b9_7f4a_7c15)
    }
}

impl StateHash {
    /// Takes a number in.
    pub fn write(&mut self, number: u64) {
        // One round of SplitMix64's finaliser (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
        let mut mixed = (self.0.rotate_left(23) ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = mixed ^ (mixed >> 31);
    }

    /// Takes many things in, each hashed by itself and added up: the processor works on several at once, where `write` makes
    /// each number wait for the one before. Their order does not count, so each must name what it is of.
    pub fn write_each<T>(&mut self, things: impl Iterator<Item = T>, write: impl Fn(&mut StateHash, T)) {
        let of = |thing| {
            let mut hash = StateHash::default();
            write(&mut hash, thing);
            hash.0
        };
        self.write(things.map(of).fold(0, u64::wrapping_add));
    }

    /// The hash of all that was taken in.
    pub fn finish(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_things_each_counts_and_their_order_does_not() {
        let hash = |things: &[(u64, u64)]| {
            let mut hash = StateHash::default();
            hash.write_each(things.iter(), |hash, (name, value)| {
                hash.write(*name);
                hash.write(*value);
            });
            hash.finish()
        };
        assert_eq!(hash(&[(1, 5), (2, 6)]), hash(&[(2, 6), (1, 5)]));
        let others = [hash(&[(1, 6), (2, 5)]), hash(&[(1, 5)]), hash(&[(1, 5), (2, 6), (2, 6)]), hash(&[])];
        assert!(!others.contains(&hash(&[(1, 5), (2, 6)])), "{others:x?}");
    }
}
