//! The kernels of the encoding: one takes down what is news of each row, the other writes of a run of rows those that
//! moved, each as a record of two words.

use std::ops::Range;

use crate::columns::{CHANGED, HIDDEN};
use crate::encode::{Pass, WINDOW_TICKS};
use crate::regrid::ones;
use crate::simd::{Level, SimdLevel, at_level, bits_of};

/// Records that are written at a time: so many may be written behind the last one.
pub(crate) const LANES: usize = 32;

/// In [`crate::columns::Columns::recent`]: it moved in this tick; it is told whole in this tick.
const MOVED: u8 = 1;
const TOLD: u8 = 1 << WINDOW_TICKS;
/// What is left of the earlier ticks' bits once they were shifted.
const EARLIER: u8 = !(MOVED | TOLD);

/// What observers are told of rows.
#[derive(Default)]
pub(crate) struct News {
    /// A bit a row: it moved, and it is neither hidden nor told whole. Bytes, so that runs can be read from any row on,
    /// with some behind the last row.
    moved: Vec<u8>,
    /// The rows that are told whole, ascending.
    pub whole: Vec<u32>,
}

/// Rows of which the news are taken down at a time.
const CHUNK: usize = u64::BITS as usize;

impl News {
    /// Takes down the news of all rows: here, and in [`recent`](crate::columns::Columns::recent), where those of earlier ticks
    /// move on by one. The mark [`CHANGED`] is taken off.
    pub fn take(&mut self, simd: SimdLevel, velocity: &[u32], flags: &mut [u8], recent: &mut [u8]) {
        self.whole.clear();
        self.moved.resize((flags.len() / CHUNK + 2) * size_of::<u64>(), 0);
        take(simd, velocity, flags, recent, self);
    }

    /// A bit for each of the rows from one on, at least [`LANES`] of them.
    #[inline(always)]
    fn moved_from(&self, row: usize) -> u32 {
        let bytes = self.moved[row / 8..].first_chunk().expect("there are bytes behind the last row");
        (u64::from_le_bytes(*bytes) >> (row % 8)) as u32
    }
}

at_level! {
    fn take(velocity: &[u32], flags: &mut [u8], recent: &mut [u8], news: &mut News) = take_body
}

#[inline(always)]
fn take_body(velocity: &[u32], flags: &mut [u8], recent: &mut [u8], news: &mut News) {
    let (velocities, last_velocities) = velocity.as_chunks();
    let (all_flags, last_flags) = flags.as_chunks_mut();
    let (all_recent, last_recent) = recent.as_chunks_mut();
    let (words, _) = news.moved.as_chunks_mut();
    let mut note = |at: usize, (moved, whole): (u64, u64)| {
        words[at] = moved.to_le_bytes();
        news.whole.extend(ones(at, whole).map(|row| row as u32));
    };
    for (at, ((velocity, flags), recent)) in velocities.iter().zip(all_flags).zip(all_recent).enumerate() {
        note(at, take_chunk(velocity, flags, recent));
    }
    let rows = last_flags.len();
    let (mut velocity, mut flags, mut recent) = ([0; CHUNK], [0; CHUNK], [0; CHUNK]);
    velocity[..rows].copy_from_slice(last_velocities);
    flags[..rows].copy_from_slice(last_flags);
    recent[..rows].copy_from_slice(last_recent);
    note(velocities.len(), take_chunk(&velocity, &mut flags, &mut recent));
    last_flags.copy_from_slice(&flags[..rows]);
    last_recent.copy_from_slice(&recent[..rows]);
}

/// Tells which rows moved and are told so, and which are told whole.
#[inline(always)]
fn take_chunk(velocity: &[u32; CHUNK], flags: &mut [u8; CHUNK], recent: &mut [u8; CHUNK]) -> (u64, u64) {
    let (mut moved, mut whole) = ([0; CHUNK], [0; CHUNK]);
    for row in 0..CHUNK {
        let (moves, told) = (u8::from(velocity[row] != 0), u8::from(flags[row] & CHANGED != 0));
        let shown = u8::from(flags[row] & HIDDEN == 0);
        recent[row] = ((recent[row] << 1) & EARLIER) | (moves * MOVED) | (told * TOLD);
        flags[row] &= !CHANGED;
        (moved[row], whole[row]) = (moves & !told & shown, told & shown);
    }
    (bits_of(&moved), bits_of(&whole))
}

/// The columns that records are made of, all of the same length, and the news of them.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub entity: &'a [u32],
    pub local: &'a [u32],
    pub news: &'a News,
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
        let (records, _) = out.as_chunks_mut::<2>();
        let mut updates = 0;
        let places = rows.entity[run.clone()].iter().zip(&rows.local[run.clone()]);
        for (row, (entity, local)) in run.zip(places) {
            // Written whether it moved or not: the next one overwrites it if not, and no branch is mispredicted.
            records[updates] = [*entity, *local];
            updates += (rows.news.moved_from(row) & 1) as usize;
        }
        updates
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(clippy::wildcard_imports, reason = "intrinsics, whose names are their own namespace")]
    use std::arch::x86_64::*;

    use super::{LANES, Range, Rows, Updates};

    impl Rows<'_> {
        /// Vector kernels read and write through pointers: this is what they rely on.
        #[inline(always)]
        fn assert_holds(&self, run: &Range<usize>, out: &[u32]) {
            let rows = self.entity.len();
            assert!(self.local.len() == rows);
            assert!(
                run.start <= run.end && run.end <= rows && out.len() >= 2 * (run.end - run.start + LANES)
            );
        }
    }

    /// Twice sixteen rows at a time: more than two vectors' cells are seldom, so no branch has to foresee how many
    /// there are.
    pub struct Avx512;

    impl Updates for Avx512 {
        #[inline(always)]
        fn put(rows: Rows<'_>, run: Range<usize>, out: &mut [u32]) -> usize {
            rows.assert_holds(&run, out);
            let (mut at, mut updates) = (run.start, 0);
            while at < run.end {
                let moved = rows.news.moved_from(at) & (u32::MAX >> (LANES - (run.end - at).min(LANES)));
                for (first, wanted) in [(at, moved as u16), (at + 16, (moved >> 16) as u16)] {
                    if first >= run.end {
                        break;
                    }
                    // SAFETY: only `with_updates` names this type, within a function for these instructions. Masked
                    // loads touch the wanted rows alone, and these lie within the run. No more records are
                    // written than rows were read, and 32 behind them fit as well.
                    unsafe {
                        let entity = rows.entity.as_ptr().wrapping_add(first);
                        let local = rows.local.as_ptr().wrapping_add(first);
                        let entity = _mm512_maskz_loadu_epi32(wanted, entity.cast());
                        let local = _mm512_maskz_loadu_epi32(wanted, local.cast());
                        let entity = _mm512_maskz_compress_epi32(wanted, entity);
                        let local = _mm512_maskz_compress_epi32(wanted, local);
                        let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
                        let high =
                            _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
                        let to = out.as_mut_ptr().add(2 * updates);
                        _mm512_storeu_si512(to.cast(), _mm512_permutex2var_epi32(entity, low, local));
                        let to = to.add(16);
                        _mm512_storeu_si512(to.cast(), _mm512_permutex2var_epi32(entity, high, local));
                    }
                    updates += wanted.count_ones() as usize;
                }
                at += LANES;
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
                let moved = rows.news.moved_from(at) & (0xff >> (8 - (run.end - at).min(8)));
                // SAFETY: only `with_updates` names this type, within a function for these instructions. Eight rows
                // from here on are within the columns. No more records are written than rows of the run were
                // read, and eight behind them fit as well.
                unsafe {
                    let load = |column: &[u32]| _mm256_loadu_si256(column.as_ptr().add(at).cast());
                    // The numbers of the lanes that are wanted, one after the other.
                    let wanted = _pdep_u64(u64::from(moved), EACH);
                    let order = _pext_u64(0x0706_0504_0302_0100, wanted * 0xff);
                    let order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(order as i64));
                    let entity = _mm256_permutevar8x32_epi32(load(rows.entity), order);
                    let local = _mm256_permutevar8x32_epi32(load(rows.local), order);
                    let (low, high) =
                        (_mm256_unpacklo_epi32(entity, local), _mm256_unpackhi_epi32(entity, local));
                    let to = out.as_mut_ptr().add(2 * updates);
                    _mm256_storeu_si256(to.cast(), _mm256_permute2x128_si256::<0x20>(low, high));
                    _mm256_storeu_si256(to.add(8).cast(), _mm256_permute2x128_si256::<0x31>(low, high));
                }
                updates += moved.count_ones() as usize;
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

    /// Columns of some rows, of which some moved, some are told whole, some are both and some are hidden.
    #[derive(Debug, Clone)]
    struct Case {
        velocity: Vec<u32>,
        flags: Vec<u8>,
        recent: Vec<u8>,
    }

    fn cases() -> impl Strategy<Value = Case> {
        let velocity = || prop_oneof![Just(0u32), Just(1 << 31), any::<u32>()];
        let row = (velocity(), any::<u8>(), any::<u8>());
        prop::collection::vec(row, 0..200).prop_map(|rows| Case {
            velocity: rows.iter().map(|(velocity, ..)| *velocity).collect(),
            flags: rows.iter().map(|(_, flags, _)| *flags).collect(),
            recent: rows.iter().map(|(.., recent)| *recent).collect(),
        })
    }

    fn put<U: Updates>(rows: Rows<'_>, run: Range<usize>) -> Vec<u32> {
        let mut out = vec![0; 2 * (run.len() + LANES)];
        let updates = U::put(rows, run, &mut out);
        out.truncate(2 * updates);
        out
    }

    proptest! {
        #[test]
        fn every_level_takes_down_the_news(case in cases()) {
            let Case { velocity, flags, recent } = case;
            for level in SimdLevel::supported() {
                let (mut flags_after, mut recent_after, mut news) = (flags.clone(), recent.clone(), News::default());
                // What was taken down before is forgotten.
                news.take(level, &[7; 300], &mut [CHANGED; 300], &mut [0; 300]);
                news.take(level, &velocity, &mut flags_after, &mut recent_after);
                let mut whole = Vec::new();
                for (row, ((velocity, flags), recent)) in velocity.iter().zip(&flags).zip(&recent).enumerate() {
                    let (moves, told, hidden) = (*velocity != 0, flags & CHANGED != 0, flags & HIDDEN != 0);
                    prop_assert_eq!(flags_after[row], flags & !CHANGED);
                    let now = (recent & 0x77) << 1 | u8::from(moves) | u8::from(told) << 4;
                    prop_assert_eq!(recent_after[row], now, "{}", level.name());
                    prop_assert_eq!(news.moved_from(row) & 1 == 1, moves && !told && !hidden, "{}", level.name());
                    if told && !hidden {
                        whole.push(row as u32);
                    }
                }
                prop_assert_eq!(&news.whole, &whole, "{}", level.name());
            }
        }

        #[test]
        fn every_way_writes_the_same(case in cases(), a in 0usize..200, b in 0usize..200) {
            let Case { velocity, mut flags, mut recent } = case;
            let rows = velocity.len();
            let (a, b) = (a.min(rows), b.min(rows));
            let run = a.min(b)..a.max(b);
            let entity: Vec<u32> = (0..rows as u32).map(|row| row * 7 + 1).collect();
            let local: Vec<u32> = entity.iter().map(|entity| entity << 20).collect();
            let is_told = |row: &usize| velocity[*row] != 0 && flags[*row] & (CHANGED | HIDDEN) == 0;
            let expected: Vec<u32> =
                run.clone().filter(is_told).flat_map(|row| [entity[row], local[row]]).collect();
            let mut news = News::default();
            news.take(SimdLevel::SCALAR, &velocity, &mut flags, &mut recent);
            let rows = Rows { entity: &entity, local: &local, news: &news };
            prop_assert_eq!(&put::<Plain>(rows, run.clone()), &expected);
            #[cfg(target_arch = "x86_64")]
            for level in SimdLevel::supported() {
                #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
                fn avx2(rows: Rows<'_>, run: Range<usize>) -> Vec<u32> {
                    put::<x86::Avx2>(rows, run)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
                fn avx512(rows: Rows<'_>, run: Range<usize>) -> Vec<u32> {
                    put::<x86::Avx512>(rows, run)
                }
                let found = match level.0 {
                    // SAFETY: the level is supported.
                    Level::Avx2 => unsafe { avx2(rows, run.clone()) },
                    // SAFETY: as above.
                    Level::Avx512 => unsafe { avx512(rows, run.clone()) },
                    _ => continue,
                };
                prop_assert_eq!(&found, &expected, "{}", level.name());
            }
        }
    }
}
