//! The narrow phase: pairs that may have crossed the radius are compared exactly.
//!
//! [`Plain`] is what every processor can do and what the other is tested against.

use super::is_within;
use super::strips::{COARSE_SHIFT, Fine, Strips};
use crate::history::LANES;

#[cfg(target_arch = "x86_64")]
pub(super) use x86::Avx512;

/// Groups of which some lanes were hit.
pub(super) struct Hits<const N: usize> {
    pub count: usize,
    /// Which lanes.
    pub lanes: [u32; N],
    /// Places in the strips: in the low half the observer whose hits they are, in the high half where the group begins.
    pub places: [u64; N],
}

/// Pairs that crossed the radius, by their places in the strips.
pub(super) struct Crossed<const N: usize> {
    pub count: usize,
    pub a: [u32; N],
    pub b: [u32; N],
    /// 1 if they came into range.
    pub enters: [u32; N],
}

/// Judges pairs.
pub(super) trait Judge {
    /// Takes one hit of each group, and lists which of these pairs crossed the radius. Groups that have more are kept:
    /// no branch has to foresee how many.
    fn judge<const N: usize>(
        strips: &Strips,
        radius_squared: u32,
        hits: &mut Hits<N>,
        crossed: &mut Crossed<N>,
    );
}

/// Without instructions of its own.
pub(super) struct Plain;

impl Judge for Plain {
    #[inline(always)]
    fn judge<const N: usize>(
        strips: &Strips,
        radius_squared: u32,
        hits: &mut Hits<N>,
        crossed: &mut Crossed<N>,
    ) {
        const { assert!(N.is_multiple_of(LANES)) };
        let (mut exact_a, mut exact_b) = ([[0; 2]; N], [[0; 2]; N]);
        let count = hits.count.min(N);
        let mut kept = 0;
        for at in 0..count {
            let (lanes, places) = (hits.lanes[at], hits.places[at]);
            let (a, b) = (places as u32, (places >> 32) as u32 + lanes.trailing_zeros());
            (crossed.a[at], crossed.b[at]) = (a, b);
            (exact_a[at], exact_b[at]) = (strips.exact[a as usize], strips.exact[b as usize]);
            let lanes = lanes & lanes.wrapping_sub(1);
            (hits.lanes[kept], hits.places[kept]) = (lanes, places);
            kept += usize::from(lanes != 0);
        }
        hits.count = kept;
        let mut told = 0;
        for first in (0..count).step_by(LANES) {
            let (mut enters, mut moved) = ([0u32; LANES], [0u8; LANES]);
            for lane in 0..LANES {
                let at = first + lane;
                let ([a_place, a], [b_place, b]) = (exact_a[at], exact_b[at]);
                let (a, b) = (Fine(a), Fine(b));
                let apart =
                    |a: u32, b: u32| i32::from((b as u16).wrapping_sub(a as u16) as i16) << COARSE_SHIFT;
                let x = apart(a_place, b_place) + b.rest().0 - a.rest().0;
                let y = apart(a_place >> 16, b_place >> 16) + b.rest().1 - a.rest().1;
                let (was_x, was_y) = (x + a.step().0 - b.step().0, y + a.step().1 - b.step().1);
                let (is, was) = (is_within(x, y, radius_squared), is_within(was_x, was_y, radius_squared));
                enters[lane] = u32::from(is);
                moved[lane] = u8::from((is != was) & !a.is_passed_over() & !b.is_passed_over());
            }
            for lane in 0..(count - first).min(LANES) {
                (crossed.a[told], crossed.b[told]) = (crossed.a[first + lane], crossed.b[first + lane]);
                crossed.enters[told] = enters[lane];
                told += usize::from(moved[lane]);
            }
        }
        crossed.count = told;
    }
}

/// The same sixteen pairs at a time.
#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(clippy::wildcard_imports, reason = "intrinsics, whose names are their own namespace")]
    use std::arch::x86_64::*;

    use super::{COARSE_SHIFT, Crossed, Fine, Hits, Judge, LANES, Strips};

    /// Where the parts of a [`Fine`] are.
    const REST_X: u32 = 2 * Fine::STEP_BITS;
    const REST_Y: u32 = REST_X + COARSE_SHIFT;
    const ABOVE_STEP: u32 = u32::BITS - Fine::STEP_BITS;

    pub struct Avx512;

    impl Judge for Avx512 {
        #[inline(always)]
        fn judge<const N: usize>(
            strips: &Strips,
            radius_squared: u32,
            hits: &mut Hits<N>,
            crossed: &mut Crossed<N>,
        ) {
            // SAFETY: only `at_level` names this type, where the processor was found to have the instructions.
            unsafe { judge_avx512(strips, radius_squared, hits, crossed) };
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn judge_avx512<const N: usize>(
        strips: &Strips,
        radius_squared: u32,
        hits: &mut Hits<N>,
        crossed: &mut Crossed<N>,
    ) {
        const { assert!(N.is_multiple_of(LANES)) };
        let one = _mm512_set1_epi32(1);
        let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
        assert!(!strips.exact.is_empty());
        let last = _mm512_set1_epi32(strips.exact.len() as i32 - 1);
        let count = hits.count.min(N);
        let (mut kept, mut told) = (0, 0);
        for first in (0..count).step_by(LANES) {
            let used = u16::MAX >> (LANES - (count - first).min(LANES));
            // SAFETY: whole groups of arrays that are whole groups long.
            let (lanes, low, high) = unsafe {
                let places = hits.places.as_ptr().add(first);
                (
                    _mm512_loadu_si512(hits.lanes.as_ptr().add(first).cast()),
                    _mm512_loadu_si512(places.cast()),
                    _mm512_loadu_si512(places.add(LANES / 2).cast()),
                )
            };
            let a = _mm512_permutex2var_epi32(low, even, high);
            let candidate = _mm512_permutex2var_epi32(low, odd, high);
            // The number of the lowest bit is the exponent of its value.
            let lowest = _mm512_and_si512(lanes, _mm512_sub_epi32(_mm512_setzero_si512(), lanes));
            let number = _mm512_srli_epi32::<23>(_mm512_castps_si512(_mm512_cvtepu32_ps(lowest)));
            let b = _mm512_add_epi32(candidate, _mm512_sub_epi32(number, _mm512_set1_epi32(127)));
            let rest = _mm512_xor_si512(lanes, lowest);
            let more = _mm512_mask_test_epi32_mask(used, rest, rest);
            // SAFETY: as many as were read, and a group behind them, from no later than `first` on.
            unsafe {
                let rest = _mm512_maskz_compress_epi32(more, rest);
                _mm512_storeu_si512(hits.lanes.as_mut_ptr().add(kept).cast(), rest);
                let places = hits.places.as_mut_ptr().add(kept);
                let middle = (more as u8).count_ones() as usize;
                _mm512_storeu_si512(places.cast(), _mm512_maskz_compress_epi64(more as u8, low));
                let high = _mm512_maskz_compress_epi64((more >> 8) as u8, high);
                _mm512_storeu_si512(places.add(middle).cast(), high);
            }
            kept += more.count_ones() as usize;

            // Lanes that are not used are kept in bounds as well.
            let (a, b) = (_mm512_min_epu32(a, last), _mm512_min_epu32(b, last));
            // SAFETY: no place is behind the last.
            let gather = |places: __m512i| unsafe {
                let (low, high) = (_mm512_castsi512_si256(places), _mm512_extracti64x4_epi64::<1>(places));
                let low = _mm512_i32gather_epi64::<8>(low, strips.exact.as_ptr().cast());
                let high = _mm512_i32gather_epi64::<8>(high, strips.exact.as_ptr().cast());
                (_mm512_permutex2var_epi32(low, even, high), _mm512_permutex2var_epi32(low, odd, high))
            };
            let ((a_place, a_fine), (b_place, b_fine)) = (gather(a), gather(b));
            let apart = _mm512_sub_epi16(b_place, a_place);
            let rest = _mm512_set1_epi32(Fine::REST_MASK as i32);
            let rest_x = |fine| _mm512_and_si512(_mm512_srli_epi32::<REST_X>(fine), rest);
            let rest_y = |fine| _mm512_and_si512(_mm512_srli_epi32::<REST_Y>(fine), rest);
            let x = _mm512_srai_epi32::<16>(_mm512_slli_epi32::<16>(apart));
            let y = _mm512_srai_epi32::<16>(apart);
            let exact = |coarse, a, b| {
                _mm512_add_epi32(_mm512_slli_epi32::<COARSE_SHIFT>(coarse), _mm512_sub_epi32(b, a))
            };
            let x = exact(x, rest_x(a_fine), rest_x(b_fine));
            let y = exact(y, rest_y(a_fine), rest_y(b_fine));
            let step_x = |fine| _mm512_srai_epi32::<ABOVE_STEP>(_mm512_slli_epi32::<ABOVE_STEP>(fine));
            let step_y = |fine| {
                _mm512_srai_epi32::<ABOVE_STEP>(_mm512_slli_epi32::<{ ABOVE_STEP - Fine::STEP_BITS }>(fine))
            };
            let was_x = _mm512_add_epi32(x, _mm512_sub_epi32(step_x(a_fine), step_x(b_fine)));
            let was_y = _mm512_add_epi32(y, _mm512_sub_epi32(step_y(a_fine), step_y(b_fine)));
            // As `is_within`.
            let square = |axis| {
                let axis = _mm512_min_epu32(_mm512_abs_epi32(axis), _mm512_set1_epi32(0xffff));
                _mm512_mullo_epi32(axis, axis)
            };
            let bound = _mm512_set1_epi32(radius_squared as i32);
            let within = |x, y| {
                let (x, y) = (square(x), square(y));
                let within = _mm512_cmple_epu32_mask(y, bound);
                _mm512_mask_cmple_epu32_mask(within, x, _mm512_sub_epi32(bound, y))
            };
            let (is, was) = (within(x, y), within(was_x, was_y));
            let passed_over = _mm512_movepi32_mask(_mm512_or_si512(a_fine, b_fine));
            let moved = (is ^ was) & !passed_over & used;
            // SAFETY: as many as were read, and a group behind them, from no later than `first` on.
            unsafe {
                let store = |column: &mut [u32; N], from| {
                    let packed = _mm512_maskz_compress_epi32(moved, from);
                    _mm512_storeu_si512(column.as_mut_ptr().add(told).cast(), packed);
                };
                store(&mut crossed.a, a);
                store(&mut crossed.b, b);
                store(&mut crossed.enters, _mm512_maskz_mov_epi32(is, one));
            }
            told += moved.count_ones() as usize;
        }
        (hits.count, crossed.count) = (kept, told);
    }
}
