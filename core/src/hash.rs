//! Fifth pass: the state hash, by which two runs are compared tick by tick.
//!
//! It is two sums over entities, each modulo 2^32, so the order of the columns does not matter. Each term is a
//! keyed Feistel network over two words, a bijection of them whatever the key: a change of one entity's place or
//! displacement, or of its cell, kind and state, always changes the hash. Multiplications are of 32 bits, which
//! every vector unit has. The columns in cell order are summed each tick; what is kept by slot seldom changes, and
//! the sum of it is kept up to date ([`Slots::sum`](crate::columns::Slots::sum)).
//!
//! Beside it, and only when asked for, [`Zone::column_hashes`] sums each column alone: whoever finds that two runs
//! differ can say in what.

use crate::columns::{Columns, DEAD, HIDDEN, KEPT, PLACED, Warm};
use crate::simd::at_level;
use crate::zone::Zone;

/// Odd and without structure: the fractional parts of the golden ratio and the multipliers of MurmurHash3 and
/// xxHash (public domain).
const KEY: [u32; 2] = [0x9e37_79b9, 0x85eb_ca77];
const ROUND: [u32; 4] = [0xcc9e_2d51, 0x1b87_3593, 0xc2b2_ae3d, 0x27d4_eb2f];
/// What sets the terms of the columns and of the slots apart.
const WARM: u32 = 0x1656_67b1;

/// The term of a key and two words: two words that depend on all of them.
#[inline(always)]
fn term(key: u32, left: u32, right: u32) -> (u32, u32) {
    let round = |word: u32, by: u32| {
        let product = (word ^ word >> 15).wrapping_mul(by);
        product ^ product >> 13
    };
    let mut left = left ^ key.wrapping_mul(KEY[0]);
    let mut right = right.wrapping_add(key.rotate_left(16).wrapping_mul(KEY[1]));
    left = left.wrapping_add(round(right, ROUND[0]));
    right = right.wrapping_add(round(left, ROUND[1]));
    left = left.wrapping_add(round(right, ROUND[2]));
    right = right.wrapping_add(round(left, ROUND[3]));
    (left, right)
}

/// The term of a row of the columns in cell order.
#[inline(always)]
pub(crate) fn hot_term(entity: u32, flags: u8, local: u32, velocity: u32, warm: Warm) -> (u32, u32) {
    let warm = bytemuck::cast::<Warm, u32>(warm).wrapping_mul(ROUND[0]);
    // What the halves of the multiplied word are added to, each round spreads over all bits.
    let key = entity ^ u32::from(flags & KEPT).wrapping_mul(KEY[1]);
    term(key, local ^ warm, velocity ^ warm.rotate_left(16))
}

/// A term of a slot: of an entity's cell, or of its kind and state.
#[inline(always)]
pub(crate) fn warm_term(id: u32, cell: u32, kind: u16, state: u16) -> (u32, u32) {
    term(id ^ WARM, cell, u32::from(kind) | u32::from(state) << 16)
}

/// Adds terms.
#[inline(always)]
pub(crate) fn add(sum: (u32, u32), term: (u32, u32)) -> (u32, u32) {
    (sum.0.wrapping_add(term.0), sum.1.wrapping_add(term.1))
}

/// Takes terms back out of a sum.
#[inline(always)]
pub(crate) fn subtract(sum: (u32, u32), term: (u32, u32)) -> (u32, u32) {
    (sum.0.wrapping_sub(term.0), sum.1.wrapping_sub(term.1))
}

/// Two sums as one hash.
pub(crate) fn joined(sum: (u32, u32)) -> u64 {
    u64::from(sum.0) | u64::from(sum.1) << 32
}

/// Rows that are copied and hashed at a time: they fit in the first-level cache.
const CHUNK: usize = 1024;

/// What [`Zone::column_hashes`] tells apart, in its order.
pub const COLUMNS: [&str; 6] = ["identity", "place", "displacement", "kind", "state", "warm"];

impl Zone {
    /// A hash of each of [`COLUMNS`] as it stands now, whatever the order in memory: which ids are valid, where each
    /// entity is, its displacement a tick, its kind, its state, its [`Warm`] and whether it is hidden. It is no pass
    /// of the step, and costs as much as three of the hash.
    pub fn column_hashes(&self) -> [u64; COLUMNS.len()] {
        let (columns, slots) = (&self.columns, &self.slots);
        let [local, displacement, warm] = sum_hot_columns(
            self.simd,
            &columns.entity,
            &columns.flags,
            &columns.local,
            &columns.velocity,
            &columns.warm,
        );
        let [identity, cell, kind, state] =
            sum_warm_columns(self.simd, &slots.place, &slots.generation, &slots.kind, &slots.state);
        [identity, add(local, cell), displacement, kind, state, warm].map(joined)
    }

    /// Fourth pass: the state is hashed, and what of it the history keeps is copied while it is in the cache.
    pub(crate) fn record_and_hash(&mut self) {
        let Zone { columns, slots, history, simd, .. } = self;
        let mut sum = slots.sum;
        let mut past = history.begin(self.tick, &columns.start, columns.len());
        for begin in (0..columns.len()).step_by(CHUNK) {
            let rows = begin..(begin + CHUNK).min(columns.len());
            if let Some(past) = &mut past {
                past.fill(*simd, columns, rows.clone());
            }
            let Columns { entity, flags, local, velocity, warm, .. } = columns;
            let (entity, flags, warm) = (&entity[rows.clone()], &flags[rows.clone()], &warm[rows.clone()]);
            sum = add(sum, sum_hot(*simd, entity, flags, &local[rows.clone()], &velocity[rows], warm));
        }
        self.hash = joined(sum);
    }
}

at_level! {
    fn sum_hot(entity: &[u32], flags: &[u8], local: &[u32], velocity: &[u32], warm: &[Warm]) -> (u32, u32)
        = sum_hot_body
}

#[inline(always)]
fn sum_hot_body(entity: &[u32], flags: &[u8], local: &[u32], velocity: &[u32], warm: &[Warm]) -> (u32, u32) {
    let rows = entity.iter().zip(flags).zip(local).zip(velocity).zip(warm);
    rows.fold((0, 0), |sum, ((((entity, flags), local), velocity), warm)| {
        add(sum, hot_term(*entity, *flags, *local, *velocity, *warm))
    })
}

type Sum = (u32, u32);

at_level! {
    fn sum_hot_columns(entity: &[u32], flags: &[u8], local: &[u32], velocity: &[u32], warm: &[Warm]) -> [Sum; 3]
        = sum_hot_columns_body
}

#[inline(always)]
fn sum_hot_columns_body(
    entity: &[u32],
    flags: &[u8],
    local: &[u32],
    velocity: &[u32],
    warm: &[Warm],
) -> [Sum; 3] {
    let none = Warm::default();
    let places = entity.iter().zip(local).map(|(entity, local)| hot_term(*entity, 0, *local, 0, none));
    let rows = entity.iter().zip(flags).zip(velocity);
    let displacements =
        rows.map(|((entity, flags), velocity)| hot_term(*entity, flags & PLACED, 0, *velocity, none));
    let rows = entity.iter().zip(flags).zip(warm);
    let warm = rows.map(|((entity, flags), warm)| hot_term(*entity, flags & HIDDEN, 0, 0, *warm));
    [places.fold((0, 0), add), displacements.fold((0, 0), add), warm.fold((0, 0), add)]
}

at_level! {
    fn sum_warm_columns(place: &[u32], generation: &[u8], kind: &[u16], state: &[u16]) -> [Sum; 4] = sum_warm_columns_body
}

#[inline(always)]
fn sum_warm_columns_body(place: &[u32], generation: &[u8], kind: &[u16], state: &[u16]) -> [Sum; 4] {
    // A loop for each: together they would not vectorise half as well.
    [
        sum_by_slot(place, generation, place, |id, _| warm_term(id, 0, 0, 0)),
        sum_by_slot(place, generation, place, |id, cell| warm_term(id, cell, 0, 0)),
        sum_by_slot(place, generation, kind, |id, kind| warm_term(id, 0, kind, 0)),
        sum_by_slot(place, generation, state, |id, state| warm_term(id, 0, 0, state)),
    ]
}

#[inline(always)]
fn sum_by_slot<T: Copy>(place: &[u32], generation: &[u8], column: &[T], term: impl Fn(u32, T) -> Sum) -> Sum {
    let (mut sum, mut slot) = ((0, 0), 0u32);
    for ((place, generation), value) in place.iter().zip(generation).zip(column) {
        let (left, right) = term(slot | u32::from(*generation) << 24, *value);
        let living = u32::from(*place == DEAD).wrapping_sub(1);
        sum = add(sum, (left & living, right & living));
        slot = slot.wrapping_add(1);
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{SimdLevel, Spawn};
    use proptest::prelude::*;
    use vyuha_protocol::{Displacement, EntityKind, Pos, TileMap};

    /// A zone in which somebody stands, somebody walks and somebody was despawned.
    fn zone() -> Zone {
        let mut zone = Zone::new(Arc::new(TileMap::open(40, 40)));
        for tile in 1..30 {
            let pos = Pos::tile_centre(tile, tile);
            let id = zone.spawn(Spawn {
                pos,
                kind: EntityKind(tile as u16),
                state: 3,
                name: "",
                warm: Warm::default(),
            });
            zone.walk(id, Displacement { dx: tile as i16, dy: -2 });
            if tile == 7 {
                zone.despawn(id);
            }
        }
        zone.step(&mut ());
        zone
    }

    #[test]
    fn a_change_shows_in_its_own_column() {
        let check = |change: fn(&mut Zone), expected: &[&str]| {
            let mut zone = zone();
            let before = zone.column_hashes();
            change(&mut zone);
            let pairs = COLUMNS.iter().zip(before.iter().zip(zone.column_hashes()));
            let changed: Vec<&str> =
                pairs.filter(|(_, (before, after))| **before != *after).map(|(name, _)| *name).collect();
            assert_eq!(changed, expected);
        };
        check(|_| (), &[]);
        check(|zone| zone.columns.local[3] += 1, &["place"]);
        check(|zone| zone.slots.place[3] += 1, &["place"]);
        check(|zone| zone.columns.velocity[3] ^= 1 << 16, &["displacement"]);
        check(|zone| zone.columns.flags[3] ^= PLACED, &["displacement"]);
        check(|zone| zone.columns.flags[3] ^= HIDDEN, &["warm"]);
        check(|zone| zone.columns.warm[3].health += 1, &["warm"]);
        check(|zone| zone.columns.warm[3].team += 1, &["warm"]);
        check(|zone| zone.columns.warm[3].action += 1, &["warm"]);
        check(|zone| zone.slots.kind[3] += 1, &["kind"]);
        check(|zone| zone.slots.state[3] += 1, &["state"]);
        check(|zone| zone.slots.state[6] += 1, &[]);
        check(|zone| zone.slots.place[3] = DEAD, &["identity", "place", "kind", "state"]);
        check(|zone| zone.columns.velocity.swap(3, 4), &["displacement"]);
        let all_but = |zone: &mut Zone| {
            zone.spawn(Spawn {
                pos: Pos::tile_centre(1, 1),
                kind: EntityKind(1),
                state: 0,
                name: "",
                warm: Warm::default(),
            });
        };
        check(all_but, &["identity", "place", "kind", "state"]);
    }

    #[test]
    fn columns_hash_the_same_at_every_level_and_in_every_order() {
        let mut zone = zone();
        let expected = zone.column_hashes();
        zone.columns.entity.swap(1, 2);
        zone.columns.local.swap(1, 2);
        zone.columns.velocity.swap(1, 2);
        for level in SimdLevel::supported() {
            zone.set_simd(level);
            assert_eq!(zone.column_hashes(), expected, "{}", level.name());
        }
    }

    proptest! {
        #[test]
        fn every_single_change_changes_the_terms(hot: (u32, u8, u32, u32, u32), warm: (u32, u32, u16, u16), flip in 0u32..32) {
            let (entity, flags, local, velocity, combat) = hot;
            let hot_term = |entity, flags, local, velocity, combat: u32| {
                hot_term(entity, flags, local, velocity, bytemuck::cast(combat))
            };
            let others = [
                hot_term(entity ^ 1 << flip, flags, local, velocity, combat),
                hot_term(entity, flags ^ PLACED, local, velocity, combat),
                hot_term(entity, flags ^ HIDDEN, local, velocity, combat),
                hot_term(entity, flags, local ^ 1 << flip, velocity, combat),
                hot_term(entity, flags, local, velocity ^ 1 << flip, combat),
                hot_term(entity, flags, local, velocity, combat ^ 1 << flip),
            ];
            prop_assert!(!others.contains(&hot_term(entity, flags, local, velocity, combat)));
            let (id, cell, kind, state) = warm;
            let others = [
                warm_term(id ^ 1 << flip, cell, kind, state),
                warm_term(id, cell ^ 1 << flip, kind, state),
                warm_term(id, cell, kind ^ 1 << (flip % 16), state),
                warm_term(id, cell, kind, state ^ 1 << (flip % 16)),
            ];
            prop_assert!(!others.contains(&warm_term(id, cell, kind, state)));
        }

        #[test]
        fn each_bit_changes_about_half_of_the_term(entity: u32, local: u32, velocity: u32, combat: u32) {
            let term = |entity, local, velocity, combat: u32| {
                joined(hot_term(entity, 0, local, velocity, bytemuck::cast(combat)))
            };
            let base = term(entity, local, velocity, combat);
            let mut changed = [0; 4];
            for flip in 0..32 {
                let others = [
                    term(entity ^ 1 << flip, local, velocity, combat),
                    term(entity, local ^ 1 << flip, velocity, combat),
                    term(entity, local, velocity ^ 1 << flip, combat),
                    term(entity, local, velocity, combat ^ 1 << flip),
                ];
                for (changed, other) in changed.iter_mut().zip(others) {
                    *changed += (other ^ base).count_ones();
                }
            }
            // 32 flips of 64 bits each, half of them expected: 1,024, and far from it if a word mixed badly.
            prop_assert!(changed.iter().all(|&bits| (700..1350).contains(&bits)), "{changed:?}");
        }
    }

    /// Entities that trade their places or displacements, or whose places change in opposite ways, are what an
    /// addition of weaker terms would not see.
    #[test]
    fn changes_of_several_do_not_cancel() {
        let mut seen = std::collections::BTreeSet::new();
        let mut count = 0;
        for a in 0..24u32 {
            for b in 0..24u32 {
                for (x, y) in [(0, 1), (1, 0), (5, 5), (1 << 16, 0), (0, 1 << 16)] {
                    let warm = Warm { health: 100, ..Warm::default() };
                    let sum = add(hot_term(2 * a, 0, x, y, warm), hot_term(2 * b + 1, 0, y, x, warm));
                    assert!(seen.insert(joined(sum)), "{a} {b} {x} {y}");
                    count += 1;
                }
            }
        }
        assert_eq!(seen.len(), count);
    }
}
