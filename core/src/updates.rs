//! The kernel of the encoding: of a run of rows, those that moved, each as a record of two words.
//!
//! It also takes down in [`Columns::recent`] which rows moved and which are told whole, and moves what was taken
//! down before on by a tick.
//!
//! [`Columns::recent`]: crate::columns::Columns::recent

use std::ops::Range;

use crate::columns::{CHANGED, HIDDEN};
use crate::encode::{Pass, WINDOW_TICKS};
use crate::simd::{Level, SimdLevel};

/// Most records that are written at a time: so many may be written behind the last one.
pub(crate) const LANES: usize = 16;

/// In [`crate::columns::Columns::recent`]: it moved in this tick; it is told whole in this tick.
const MOVED: u8 = 1;
const TOLD: u8 = 1 << WINDOW_TICKS;
/// What is left of the earlier ticks' bits once they were shifted.
const EARLIER: u8 = !(MOVED | TOLD);

/// The columns that it reads and writes, all of the same length.
pub(crate) struct Rows<'a> {
    pub entity: &'a [u32],
    pub local: &'a [u32],
    pub velocity: &'a [u32],
    pub flags: &'a [u8],
    pub recent: &'a mut [u8],
}

impl Rows<'_> {
    /// Vector kernels read and write through pointers: this is what they rely on.
    #[inline(always)]
    fn assert_holds(&self, run: &Range<usize>, out: &[u32]) {
        let rows = self.entity.len();
        let same = self.local.len() == rows
            && self.velocity.len() == rows
            && self.flags.len() == rows
            && self.recent.len() == rows;
        assert!(same && run.start <= run.end && run.end <= rows && out.len() >= 2 * (run.len() + LANES));
    }
}

/// A way to write the updates of a run.
pub(crate) trait Updates {
    /// Writes `[entity, local]` for each of the run that moved and is neither hidden nor told whole, and returns how many. `out`
    /// has room for [`LANES`] records more than the run is long.
    fn put(rows: Rows<'_>, run: Range<usize>, out: &mut [u32]) -> usize;
}

/// Runs the pass with the widest way to write updates that a level has.
pub(crate) fn with_updates(simd: SimdLevel, pass: &mut Pass<'_>) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
        fn avx2(pass: &mut Pass<'_>) {
            pass.run::<x86::Avx2>();
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
        fn avx512(pass: &mut Pass<'_>) {
            pass.run::<x86::Avx512>();
        }
        match simd.0 {
            // SAFETY: a `SimdLevel` is only made once the processor was found to support it.
            Level::Avx2 => return unsafe { avx2(pass) },
            // SAFETY: as above.
            Level::Avx512 => return unsafe { avx512(pass) },
            Level::Scalar | Level::Neon | Level::Sse2 => {}
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _: (SimdLevel, Level) = (simd, simd.0);
    pass.run::<Plain>();
}

/// One row at a time.
pub(crate) struct Plain;

impl Updates for Plain {
    #[inline(always)]
    fn put(rows: Rows<'_>, run: Range<usize>, out: &mut [u32]) -> usize {
        let recent = &mut rows.recent[run.clone()];
        for ((recent, velocity), flags) in
            recent.iter_mut().zip(&rows.velocity[run.clone()]).zip(&rows.flags[run.clone()])
        {
            let told = u8::from(flags & CHANGED != 0);
            *recent = ((*recent << 1) & EARLIER) | (u8::from(*velocity != 0) * MOVED) | (told * TOLD);
        }
        let (records, _) = out.as_chunks_mut::<2>();
        let mut updates = 0;
        let places = rows.entity[run.clone()].iter().zip(&rows.local[run.clone()]);
        for (((entity, local), recent), flags) in places.zip(recent).zip(&rows.flags[run]) {
            // Written whether it moved or not: the next one overwrites it if not, and no branch is mispredicted.
            records[updates] = [*entity, *local];
            updates += usize::from(*recent & (MOVED | TOLD) == MOVED && flags & HIDDEN == 0);
        }
        updates
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(clippy::wildcard_imports, reason = "intrinsics, whose names are their own namespace")]
    use std::arch::x86_64::*;

    use super::{CHANGED, EARLIER, HIDDEN, LANES, MOVED, Range, Rows, TOLD, Updates};

    /// Sixteen rows at a time.
    pub struct Avx512;

    impl Updates for Avx512 {
        #[inline(always)]
        fn put(rows: Rows<'_>, run: Range<usize>, out: &mut [u32]) -> usize {
            rows.assert_holds(&run, out);
            let mut updates = 0;
            for at in run.clone().step_by(LANES) {
                let lanes = (u32::MAX >> (32 - (run.end - at).min(LANES))) as u16;
                // SAFETY: only `with_updates` names this type, within a function for these instructions. Masked
                // loads and stores touch the lanes' rows alone, and these lie within the run. No more records are
                // written than rows were read, and 16 behind them fit as well.
                updates += unsafe {
                    let velocity = _mm512_maskz_loadu_epi32(lanes, rows.velocity.as_ptr().add(at).cast());
                    let flags = _mm_maskz_loadu_epi8(lanes, rows.flags.as_ptr().add(at).cast());
                    let recent = _mm_maskz_loadu_epi8(lanes, rows.recent.as_ptr().add(at).cast());
                    let moved = _mm512_test_epi32_mask(velocity, velocity);
                    let told = _mm_test_epi8_mask(flags, _mm_set1_epi8(CHANGED as i8));
                    let recent = _mm_and_si128(_mm_add_epi8(recent, recent), _mm_set1_epi8(EARLIER as i8));
                    let recent = _mm_or_si128(recent, _mm_maskz_set1_epi8(moved, MOVED as i8));
                    let recent = _mm_or_si128(recent, _mm_maskz_set1_epi8(told, TOLD as i8));
                    _mm_mask_storeu_epi8(rows.recent.as_mut_ptr().add(at).cast(), lanes, recent);
                    let hidden = _mm_test_epi8_mask(flags, _mm_set1_epi8(HIDDEN as i8));
                    let wanted = moved & !told & !hidden;
                    let entity = _mm512_maskz_loadu_epi32(lanes, rows.entity.as_ptr().add(at).cast());
                    let local = _mm512_maskz_loadu_epi32(lanes, rows.local.as_ptr().add(at).cast());
                    let entity = _mm512_maskz_compress_epi32(wanted, entity);
                    let local = _mm512_maskz_compress_epi32(wanted, local);
                    let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
                    let high =
                        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
                    let to = out.as_mut_ptr().add(2 * updates);
                    _mm512_storeu_si512(to.cast(), _mm512_permutex2var_epi32(entity, low, local));
                    _mm512_storeu_si512(to.add(16).cast(), _mm512_permutex2var_epi32(entity, high, local));
                    wanted.count_ones() as usize
                };
            }
            updates
        }
    }

    /// Eight rows at a time.
    pub struct Avx2;

    impl Updates for Avx2 {
        #[inline(always)]
        fn put(rows: Rows<'_>, run: Range<usize>, out: &mut [u32]) -> usize {
            const EACH: u64 = 0x0101_0101_0101_0101;
            rows.assert_holds(&run, out);
            // Rows behind the run are read too, as long as the columns have any.
            let whole = rows.entity.len().saturating_sub(7);
            let mut updates = 0;
            let mut at = run.start;
            while at < run.end && at < whole {
                let lanes = u64::MAX >> (64 - 8 * (run.end - at).min(8));
                // SAFETY: only `with_updates` names this type, within a function for these instructions. Eight rows
                // from here on are within the columns. No more records are written than rows of the run were
                // read, and eight behind them fit as well.
                updates += unsafe {
                    let load = |column: &[u32]| _mm256_loadu_si256(column.as_ptr().add(at).cast());
                    let stays = _mm256_cmpeq_epi32(load(rows.velocity), _mm256_setzero_si256());
                    let stays = _mm256_movemask_ps(_mm256_castsi256_ps(stays)) as u32;
                    let moved = _pdep_u64(u64::from(!stays & 0xff), EACH);
                    let flags = rows.flags.as_ptr().add(at).cast::<[u8; 8]>().read();
                    let marked = |flag: u8| (u64::from_le_bytes(flags) >> flag.trailing_zeros()) & EACH;
                    let told = marked(CHANGED);
                    let recent = rows.recent.as_mut_ptr().add(at).cast::<[u8; 8]>();
                    let before = u64::from_le_bytes(recent.read());
                    let now = ((before << 1) & (EACH * u64::from(EARLIER)))
                        | (moved * u64::from(MOVED))
                        | (told * u64::from(TOLD));
                    recent.write(((before & !lanes) | (now & lanes)).to_le_bytes());
                    // The numbers of the lanes that are wanted, one after the other.
                    let wanted = moved & !told & !marked(HIDDEN) & lanes;
                    let order = _pext_u64(0x0706_0504_0302_0100, wanted * 0xff);
                    let order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(order as i64));
                    let entity = _mm256_permutevar8x32_epi32(load(rows.entity), order);
                    let local = _mm256_permutevar8x32_epi32(load(rows.local), order);
                    let (low, high) =
                        (_mm256_unpacklo_epi32(entity, local), _mm256_unpackhi_epi32(entity, local));
                    let to = out.as_mut_ptr().add(2 * updates);
                    _mm256_storeu_si256(to.cast(), _mm256_permute2x128_si256::<0x20>(low, high));
                    _mm256_storeu_si256(to.add(8).cast(), _mm256_permute2x128_si256::<0x31>(low, high));
                    wanted.count_ones() as usize
                };
                at += 8;
            }
            if at < run.end {
                updates += super::Plain::put(rows, at..run.end, &mut out[2 * updates..]);
            }
            updates
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Columns of `length` rows, of which some moved, some are told whole and some are both.
    fn columns(length: usize) -> impl Strategy<Value = (Vec<u32>, Vec<u8>, Vec<u8>)> {
        let velocity = prop_oneof![Just(0u32), Just(1 << 31), any::<u32>()];
        (
            prop::collection::vec(velocity, length),
            prop::collection::vec(any::<u8>(), length),
            prop::collection::vec(any::<u8>(), length),
        )
    }

    fn put<U: Updates>(columns: &(Vec<u32>, Vec<u8>, Vec<u8>), run: Range<usize>) -> (Vec<u32>, Vec<u8>) {
        let (velocity, flags, mut recent) = columns.clone();
        let entity: Vec<u32> = (0..velocity.len() as u32).map(|row| row * 7 + 1).collect();
        let local: Vec<u32> = entity.iter().map(|entity| entity << 20).collect();
        let mut out = vec![0; 2 * (run.len() + LANES)];
        let rows =
            Rows { entity: &entity, local: &local, velocity: &velocity, flags: &flags, recent: &mut recent };
        let updates = U::put(rows, run, &mut out);
        out.truncate(2 * updates);
        (out, recent)
    }

    proptest! {
        #[test]
        fn every_way_writes_the_same(columns in (0usize..70).prop_flat_map(columns), a in 0usize..70, b in 0usize..70) {
            let (a, b) = (a.min(columns.0.len()), b.min(columns.0.len()));
            let run = a.min(b)..a.max(b);
            let (records, recent) = put::<Plain>(&columns, run.clone());
            let (velocity, flags, before) = &columns;
            let wanted = run.clone().filter(|&row| velocity[row] != 0 && flags[row] & (CHANGED | HIDDEN) == 0);
            let expected: Vec<u32> = wanted.flat_map(|row| [row as u32 * 7 + 1, (row as u32 * 7 + 1) << 20]).collect();
            prop_assert_eq!(&records, &expected);
            for row in 0..velocity.len() {
                let now = (before[row] & 0x77) << 1 | u8::from(velocity[row] != 0) | (flags[row] & CHANGED) << 2;
                prop_assert_eq!(recent[row], if run.contains(&row) { now } else { before[row] });
            }
            #[cfg(target_arch = "x86_64")]
            for level in SimdLevel::supported() {
                #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
                fn avx2(columns: &(Vec<u32>, Vec<u8>, Vec<u8>), run: Range<usize>) -> (Vec<u32>, Vec<u8>) {
                    put::<x86::Avx2>(columns, run)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
                fn avx512(columns: &(Vec<u32>, Vec<u8>, Vec<u8>), run: Range<usize>) -> (Vec<u32>, Vec<u8>) {
                    put::<x86::Avx512>(columns, run)
                }
                let found = match level.0 {
                    // SAFETY: the level is supported.
                    Level::Avx2 => unsafe { avx2(&columns, run.clone()) },
                    // SAFETY: as above.
                    Level::Avx512 => unsafe { avx512(&columns, run.clone()) },
                    _ => continue,
                };
                prop_assert_eq!(&found, &(records.clone(), recent.clone()), "{}", level.name());
            }
        }
    }
}
