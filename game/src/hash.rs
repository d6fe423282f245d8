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

    /// The hash of all that was taken in.
    pub fn finish(self) -> u64 {
        self.0
    }
}
