//! Fourth pass: the state hash, by which two runs are compared tick by tick.
//!
//! It is a sum over entities, modulo 2^64, so the order of the columns does not matter. Each term is MurmurHash3's
//! 64-bit finaliser (Appleby, public domain), a bijection, over a bijection of what it covers: a change of one
//! entity's place and displacement, or of its kind and state, always changes the hash.

use crate::columns::{DEAD, PLACED, SLOT_MASK};
use crate::zone::Zone;

/// Odd, so that multiplying loses nothing; 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline]
fn finalise(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

/// The term of a row of the hot columns. `entity` may have the `PLACED` flag, on which the next step depends.
#[inline]
pub(crate) fn hot_term(entity: u32, cell: u32, local: u32, velocity: u32) -> u64 {
    let key = u64::from(entity) | u64::from(cell) << 32;
    finalise(key.wrapping_mul(SPREAD) ^ (u64::from(local) | u64::from(velocity) << 32))
}

/// The term of a slot's kind and state.
#[inline]
pub(crate) fn warm_term(id: u32, kind: u16, state: u16) -> u64 {
    let key = u64::from(id) | u64::from(kind) << 32 | u64::from(state) << 48;
    finalise(key.wrapping_mul(SPREAD))
}

impl Zone {
    pub(crate) fn sum_state(&self) -> u64 {
        let columns = &self.columns;
        let mut sum = 0u64;
        for (cell, ends) in columns.start.windows(2).enumerate() {
            let run = ends[0] as usize..ends[1] as usize;
            let rows = columns.entity[run.clone()]
                .iter()
                .zip(&columns.local[run.clone()])
                .zip(&columns.velocity[run]);
            for ((entity, local), velocity) in rows {
                let term = hot_term(entity & (SLOT_MASK | PLACED), cell as u32, *local, *velocity);
                sum = sum.wrapping_add(term);
            }
        }
        let slots = &self.slots;
        let warm = slots.place.iter().zip(&slots.generation).zip(&slots.kind).zip(&slots.state);
        for (slot, (((place, generation), kind), state)) in warm.enumerate() {
            let id = slot as u32 | u32::from(*generation) << 24;
            let term = warm_term(id, *kind, *state);
            sum = sum.wrapping_add(if *place == DEAD { 0 } else { term });
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_single_change_changes_the_terms(hot: [u32; 4], warm: (u32, u16, u16), at in 0usize..4, flip in 0u32..32) {
            let mut changed = hot;
            changed[at] ^= 1 << flip;
            let term = |[entity, cell, local, velocity]: [u32; 4]| hot_term(entity, cell, local, velocity);
            prop_assert_ne!(term(hot), term(changed));
            let (id, kind, state) = warm;
            let other = [
                warm_term(id ^ 1 << flip, kind, state),
                warm_term(id, kind ^ 1 << (flip % 16), state),
                warm_term(id, kind, state ^ 1 << (flip % 16)),
            ];
            prop_assert!(!other.contains(&warm_term(id, kind, state)));
        }
    }
}
