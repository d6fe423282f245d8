//! The comparison in the broad phase: which of a group of lanes are about as far from a place as a radius.
//!
//! [`Plain`] is what every processor can do and what the others are tested against.

use super::strips::COARSE_SHIFT;

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

/// Lanes that are compared at a time: a bit each.
pub(super) const GROUP: usize = u32::BITS as usize;

/// Coarse distances squared that are near the radius: less `origin`, modulo 2^16, they are less than `end`.
#[derive(Clone, Copy)]
pub(super) struct Band {
    origin: i16,
    end: i16,
}

impl Band {
    /// Of all whose distance differs from a radius by so much at most.
    ///
    /// A coarse coordinate is off by less than a quantum, so four times a coarse difference by less than 8 units on each
    /// axis, and a distance by less than 12; and a coarse square is less than 2 too low, because it is the sum of two
    /// that are rounded down.
    #[inline(always)]
    pub fn new(radius_units: u32, units: u32) -> Band {
        let square = |units: u32| (u64::from(units).pow(2) >> (2 * COARSE_SHIFT + 16)) as i32;
        let first = square(radius_units.saturating_sub(units + DISTANCE_ERROR_UNITS)) - 1;
        let last = square(radius_units + units + DISTANCE_ERROR_UNITS);
        // The first is taken to the least number that there is.
        let origin = first - i32::from(i16::MIN);
        Band { origin: origin as i16, end: (last + 1 - origin) as i16 }
    }
}

const DISTANCE_ERROR_UNITS: u32 = 12;

/// Coordinates of a group.
pub(super) trait Lanes: Copy {
    fn load(from: &[u16; GROUP]) -> Self;

    /// The same in all lanes.
    fn splat(coordinate: u16) -> Self;

    /// A bit for each lane of which the coarse distance squared to a place is in the band.
    fn near(x: Self, y: Self, from: [Self; 2], band: Band) -> u32;
}

/// Without instructions of its own.
#[derive(Clone, Copy)]
pub(super) struct Plain([u16; GROUP]);

impl Lanes for Plain {
    #[inline(always)]
    fn load(from: &[u16; GROUP]) -> Plain {
        Plain(*from)
    }

    #[inline(always)]
    fn splat(coordinate: u16) -> Plain {
        Plain([coordinate; GROUP])
    }

    #[inline(always)]
    fn near(x: Plain, y: Plain, from: [Plain; 2], band: Band) -> u32 {
        const GATHER: u64 = 0x0102_0408_1020_4080;
        let square = |a: u16, b: u16| {
            let apart = i32::from(a.wrapping_sub(b) as i16);
            ((apart * apart) >> 16) as i16
        };
        // Not from a function by lane, which the compiler does not inline.
        let mut near = [0; GROUP];
        for (lane, near) in near.iter_mut().enumerate() {
            let squared = square(x.0[lane], from[0].0[lane]).wrapping_add(square(y.0[lane], from[1].0[lane]));
            *near = u8::from(squared.wrapping_sub(band.origin) < band.end);
        }
        // The product's top byte gathers the eight bytes' lowest bits.
        let byte = |eight: &[u8; 8]| (u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56) as u32;
        let (eights, _) = near.as_chunks::<8>();
        eights.iter().enumerate().fold(0, |bits, (at, eight)| bits | byte(eight) << (8 * at))
    }
}

/// The same with wider instructions, which end in a mask without the lanes' being taken apart.
#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(clippy::wildcard_imports, reason = "intrinsics, whose names are their own namespace")]
    use std::arch::x86_64::*;

    use super::{Band, GROUP, Lanes};

    #[derive(Clone, Copy)]
    pub struct Avx512(__m512i);

    impl Lanes for Avx512 {
        #[inline(always)]
        fn load(from: &[u16; GROUP]) -> Avx512 {
            // SAFETY: only `at_level` names this type, where the processor was found to have the instructions. A
            // group is as long as a vector.
            Avx512(unsafe { _mm512_loadu_si512(from.as_ptr().cast()) })
        }

        #[inline(always)]
        fn splat(coordinate: u16) -> Avx512 {
            // SAFETY: as above.
            Avx512(unsafe { _mm512_set1_epi16(coordinate as i16) })
        }

        #[inline(always)]
        fn near(x: Avx512, y: Avx512, from: [Avx512; 2], band: Band) -> u32 {
            // SAFETY: as above.
            unsafe {
                let (x, y) = (_mm512_sub_epi16(x.0, from[0].0), _mm512_sub_epi16(y.0, from[1].0));
                let squared = _mm512_add_epi16(_mm512_mulhi_epi16(x, x), _mm512_mulhi_epi16(y, y));
                let above = _mm512_sub_epi16(squared, _mm512_set1_epi16(band.origin));
                _mm512_cmplt_epi16_mask(above, _mm512_set1_epi16(band.end))
            }
        }
    }

    #[derive(Clone, Copy)]
    pub struct Avx2(__m256i, __m256i);

    impl Lanes for Avx2 {
        #[inline(always)]
        fn load(from: &[u16; GROUP]) -> Avx2 {
            // SAFETY: only `at_level` names this type, where the processor was found to have the instructions. A
            // group is as long as four halves of a vector.
            unsafe {
                let at: *const __m128i = from.as_ptr().cast();
                let low = _mm256_set_m128i(_mm_loadu_si128(at.add(2)), _mm_loadu_si128(at));
                let high = _mm256_set_m128i(_mm_loadu_si128(at.add(3)), _mm_loadu_si128(at.add(1)));
                // So that they come out in order when both are packed into one.
                Avx2(low, high)
            }
        }

        #[inline(always)]
        fn splat(coordinate: u16) -> Avx2 {
            // SAFETY: as above.
            let all = unsafe { _mm256_set1_epi16(coordinate as i16) };
            Avx2(all, all)
        }

        #[inline(always)]
        fn near(x: Avx2, y: Avx2, from: [Avx2; 2], band: Band) -> u32 {
            // SAFETY: as above.
            unsafe {
                let low = near_avx2(x.0, y.0, from[0].0, from[1].0, band);
                let high = near_avx2(x.1, y.1, from[0].0, from[1].0, band);
                _mm256_movemask_epi8(_mm256_packs_epi16(low, high)) as u32
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn near_avx2(x: __m256i, y: __m256i, from_x: __m256i, from_y: __m256i, band: Band) -> __m256i {
        let (x, y) = (_mm256_sub_epi16(x, from_x), _mm256_sub_epi16(y, from_y));
        let squared = _mm256_add_epi16(_mm256_mulhi_epi16(x, x), _mm256_mulhi_epi16(y, y));
        let above = _mm256_sub_epi16(squared, _mm256_set1_epi16(band.origin));
        _mm256_cmpgt_epi16(_mm256_set1_epi16(band.end), above)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{SimdLevel, at_level};
    use proptest::prelude::*;
    use vyuha_protocol::units::CELL_UNITS;

    at_level! {
        fn near_one(x: &[u16; GROUP], y: &[u16; GROUP], from: (u16, u16), band: Band) -> u32
            = (near_with::<Plain>, near_with::<Avx2>, near_with::<Avx512>)
    }

    #[inline(always)]
    fn near_with<L: Lanes>(x: &[u16; GROUP], y: &[u16; GROUP], from: (u16, u16), band: Band) -> u32 {
        L::near(L::load(x), L::load(y), [L::splat(from.0), L::splat(from.1)], band)
    }

    fn coarse(at: u32) -> u16 {
        (at >> COARSE_SHIFT) as u16
    }

    proptest! {
        #[test]
        fn every_way_finds_all_that_are_near_and_few_others(
            from in (0..4 * CELL_UNITS, 0..4 * CELL_UNITS),
            apart in prop::collection::vec((-131_000i32..131_000, -131_000i32..131_000), GROUP),
            radius in 0..CELL_UNITS,
            units in 0u32..6000,
        ) {
            let place = |from: u32, apart: i32| from.wrapping_add_signed(apart);
            let x = std::array::from_fn(|lane| coarse(place(from.0, apart[lane].0)));
            let y = std::array::from_fn(|lane| coarse(place(from.1, apart[lane].1)));
            let (from, band) = ((coarse(from.0), coarse(from.1)), Band::new(radius, units));
            let found = near_one(SimdLevel::SCALAR, &x, &y, from, band);
            for level in SimdLevel::supported() {
                prop_assert_eq!(near_one(level, &x, &y, from, band), found, "{}", level.name());
            }
            for (lane, (x, y)) in apart.into_iter().enumerate() {
                let distance = f64::from(x).hypot(f64::from(y));
                let off = (distance - f64::from(radius)).abs();
                let near = found >> lane & 1 == 1;
                prop_assert!(near || off > f64::from(units), "lane {}: {}", lane, off);
                // A coarse square is a matter of a few dozen units, but for short distances.
                let far = off > f64::from(units) + 100.0 && distance > f64::from(2 * CELL_UNITS / 8);
                prop_assert!(!near || !far || radius < CELL_UNITS / 4, "lane {}: {}", lane, off);
            }
        }
    }
}
