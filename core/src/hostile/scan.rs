//! What is done to whole groups of lanes: rows are sifted into a block, and the least key of a block is found.
//!
//! [`Plain`] is what every processor can do and what the others are tested against.

use vyuha_protocol::Pos;

use super::block::{BLOCK, Block, NUMBER, ROW_BITS, Sieve, Span, lanes_at, lanes_at_mut};
use crate::history::{LANES, Moment};

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

/// The least key of a block, and whether no other is within the slack of it.
#[derive(Clone, Copy)]
pub(super) struct Least {
    pub key: u32,
    pub alone: bool,
}

/// The two things that are done to whole groups of lanes.
pub(super) trait Scan {
    /// Adds the rows that pass a sieve to a block, and says whether there was room.
    fn push(block: &mut Block, moment: Moment<'_>, span: Span, sieve: Sieve) -> bool;

    /// Finds the least key in a block.
    fn least(block: &Block, centre: u32, team: u8, slack: u32) -> Least;
}

/// The square of the distance between two rounded places.
#[inline(always)]
pub(super) fn key(place: u32, centre: u32) -> u32 {
    let x = i32::from((place as u16).wrapping_sub(centre as u16) as i16);
    let y = i32::from(((place >> 16) as u16).wrapping_sub((centre >> 16) as u16) as i16);
    (x * x).wrapping_add(y * y) as u32
}

/// What [`Scan::push`] does, one lane after another where they are laid down, without a branch.
#[inline(always)]
fn push_lanes(block: &mut Block, moment: Moment<'_>, span: Span, sieve: Sieve) -> bool {
    let Sieve { rounding, low, high, friends } = sieve;
    let low_bits = (0xffff >> rounding.grain_bits) * 0x1_0001;
    let (corner, width) = (rounding.round(Pos::from_cell(span.cell, 0)), rounding.cell_width() as i16);
    for begin in (span.begin..span.end).step_by(LANES) {
        let rows = (span.end - begin).min(LANES as u32);
        if block.length + rows as usize > BLOCK {
            return false;
        }
        let (mut rest, mut rest_of_teams) = ([0; LANES], [0; LANES]);
        let local = moment.local_lanes(begin as usize, &mut rest);
        let team = moment.team_lanes(begin as usize, &mut rest_of_teams);
        let (mut places, mut marks, mut keep) = ([0; LANES], [0; LANES], [0u8; LANES]);
        for lane in 0..LANES {
            let row = begin + lane as u32;
            let cells = i16::from(row >= span.second) + i16::from(row >= span.third);
            let local = local[lane] >> rounding.grain_bits & low_bits;
            let x = (local as i16).wrapping_add((corner as i16).wrapping_add(width * cells));
            let y = ((local >> 16) as i16).wrapping_add((corner >> 16) as i16);
            let outside_x = x.max(low as i16).min(high as i16) ^ x;
            let outside_y = y.max((low >> 16) as i16).min((high >> 16) as i16) ^ y;
            let passes = u8::from(outside_x | outside_y == 0) & u8::from(team[lane] != friends);
            keep[lane] = passes & u8::from((lane as u32) < rows);
            places[lane] = u32::from(x as u16) | u32::from(y as u16) << 16;
            marks[lane] = team[lane] << ROW_BITS | row;
        }
        let first = block.length;
        let (to_places, to_marks) =
            (lanes_at_mut(&mut block.place, first), lanes_at_mut(&mut block.mark, first));
        let mut kept = 0;
        for lane in 0..LANES {
            to_places[kept & (LANES - 1)] = places[lane];
            to_marks[kept & (LANES - 1)] = marks[lane];
            kept += usize::from(keep[lane]);
        }
        block.length += kept;
    }
    true
}

/// Without instructions of its own.
pub(super) struct Plain;

impl Scan for Plain {
    #[inline(always)]
    fn push(block: &mut Block, moment: Moment<'_>, span: Span, sieve: Sieve) -> bool {
        push_lanes(block, moment, span, sieve)
    }

    #[inline(always)]
    fn least(block: &Block, centre: u32, team: u8, slack: u32) -> Least {
        let (mut least, mut second) = ([u32::MAX; LANES], [u32::MAX; LANES]);
        for at in (0..block.length).step_by(LANES) {
            let (places, marks) = (lanes_at(&block.place, at), lanes_at(&block.mark, at));
            for lane in 0..LANES {
                let key = key(places[lane], centre) & !NUMBER | (at + lane) as u32;
                let key = if marks[lane] >> ROW_BITS == u32::from(team) { u32::MAX } else { key };
                second[lane] = second[lane].min(least[lane].max(key));
                least[lane] = least[lane].min(key);
            }
        }
        let key = least.into_iter().fold(u32::MAX, u32::min);
        let limit = key.saturating_add(slack);
        let near = least.into_iter().chain(second).filter(|key| *key <= limit).count();
        Least { key, alone: near == 1 }
    }
}

/// The same with wider instructions: what the compiler makes of [`Plain`] takes twice as long, because it takes
/// the lanes apart to combine them.
#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(clippy::wildcard_imports, reason = "fifty intrinsics, whose names tell what they are")]
    use std::arch::x86_64::*;

    use super::{
        BLOCK, Block, LANES, Least, Moment, NUMBER, Pos, ROW_BITS, Scan, Sieve, Span, lanes_at_mut,
        push_lanes,
    };
    use crate::columns::Warm;
    use crate::history::Teams;

    /// Where in the word of a row the team is.
    const TEAM_SHIFT: u32 = 8 * std::mem::offset_of!(Warm, team) as u32;
    const _: () = assert!(size_of::<Warm>() == size_of::<u32>(), "a row of it is loaded as a word");

    pub struct Avx512;

    impl Scan for Avx512 {
        #[inline(always)]
        fn push(block: &mut Block, moment: Moment<'_>, span: Span, sieve: Sieve) -> bool {
            // SAFETY: only `at_level` names this type, where the processor was found to have the instructions.
            unsafe { push_avx512(block, moment, span, sieve) }
        }

        #[inline(always)]
        fn least(block: &Block, centre: u32, team: u8, slack: u32) -> Least {
            // SAFETY: only `at_level` names this type, where the processor was found to have the instructions.
            unsafe { least_avx512(block, centre, team, slack) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn least_avx512(block: &Block, centre: u32, team: u8, slack: u32) -> Least {
        let centre = _mm512_set1_epi32(centre as i32);
        let team = _mm512_set1_epi32((u32::from(team) << ROW_BITS) as i32);
        let one_team = _mm512_set1_epi32(1 << ROW_BITS);
        let square = _mm512_set1_epi32(!NUMBER as i32);
        let all = _mm512_set1_epi32(-1);
        let mut number = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let (mut least, mut second) = (all, all);
        for at in (0..block.length).step_by(LANES) {
            // SAFETY: a group from below the length, which is at most a block, ends within the lanes behind it.
            let (place, mark) = unsafe {
                (
                    _mm512_loadu_si512(block.place.as_ptr().add(at).cast()),
                    _mm512_loadu_si512(block.mark.as_ptr().add(at).cast()),
                )
            };
            let apart = _mm512_sub_epi16(place, centre);
            // (squared & square) | number
            let key = _mm512_ternarylogic_epi32::<0xea>(_mm512_madd_epi16(apart, apart), square, number);
            let hostile = _mm512_cmpge_epu32_mask(_mm512_sub_epi32(mark, team), one_team);
            let key = _mm512_mask_mov_epi32(all, hostile, key);
            second = _mm512_min_epu32(second, _mm512_max_epu32(least, key));
            least = _mm512_min_epu32(least, key);
            number = _mm512_add_epi32(number, _mm512_set1_epi32(LANES as i32));
        }
        let key = _mm512_reduce_min_epu32(least);
        let limit = _mm512_set1_epi32(key.saturating_add(slack) as i32);
        let near = _mm512_cmple_epu32_mask(least, limit);
        let alone = near & near.wrapping_sub(1) == 0 && _mm512_cmple_epu32_mask(second, limit) == 0;
        Least { key, alone }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn push_avx512(block: &mut Block, moment: Moment<'_>, span: Span, sieve: Sieve) -> bool {
        let Sieve { rounding, low, high, friends } = sieve;
        let low_bits = (0xffff_u32 >> rounding.grain_bits) * 0x1_0001;
        let (low_bits, grain_bits) =
            (_mm512_set1_epi32(low_bits as i32), _mm_cvtsi32_si128(rounding.grain_bits as i32));
        let (low, high) = (_mm512_set1_epi32(low as i32), _mm512_set1_epi32(high as i32));
        let friends = _mm512_set1_epi32(friends as i32);
        let corner = _mm512_set1_epi32(rounding.round(Pos::from_cell(span.cell, 0)) as i32);
        let width = _mm512_set1_epi32(rounding.cell_width() as i32);
        let (second, third) = (_mm512_set1_epi32(span.second as i32), _mm512_set1_epi32(span.third as i32));
        let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let teams = match moment.team {
            Teams::Now(warm) => warm.len(),
            Teams::Past(team) => team.len(),
        };
        assert!(span.end as usize <= moment.local.len().min(teams));
        for begin in (span.begin..span.end).step_by(LANES) {
            let rows = (span.end - begin).min(LANES as u32);
            if block.length + rows as usize > BLOCK {
                return false;
            }
            let (at, used) = (begin as usize, u16::MAX >> (LANES as u32 - rows));
            // SAFETY: masked loads touch rows of the span alone, and these are rows of the columns; one of `Warm` is a word.
            let (local, team) = unsafe {
                let team = match moment.team {
                    Teams::Now(warm) => {
                        let warm = _mm512_maskz_loadu_epi32(used, warm.as_ptr().add(at).cast());
                        _mm512_and_si512(_mm512_srli_epi32::<TEAM_SHIFT>(warm), _mm512_set1_epi32(0xff))
                    }
                    Teams::Past(team) => {
                        _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(used, team.as_ptr().add(at).cast()))
                    }
                };
                (_mm512_maskz_loadu_epi32(used, moment.local.as_ptr().add(at).cast()), team)
            };
            let row = _mm512_add_epi32(_mm512_set1_epi32(begin as i32), lanes);
            let corner = [second, third].into_iter().fold(corner, |corner, cell| {
                _mm512_add_epi16(corner, _mm512_maskz_mov_epi32(_mm512_cmpge_epu32_mask(row, cell), width))
            });
            let local = _mm512_and_si512(_mm512_srl_epi32(local, grain_bits), low_bits);
            let place = _mm512_add_epi16(local, corner);
            let inside = _mm512_min_epi16(_mm512_max_epi16(place, low), high);
            let keep = _mm512_mask_cmpeq_epi32_mask(used, inside, place);
            let keep = _mm512_mask_cmpneq_epi32_mask(keep, team, friends);
            let mark = _mm512_or_si512(_mm512_slli_epi32::<ROW_BITS>(team), row);
            let (places, marks) =
                (lanes_at_mut(&mut block.place, block.length), lanes_at_mut(&mut block.mark, block.length));
            // SAFETY: both are whole groups.
            unsafe {
                _mm512_storeu_si512(places.as_mut_ptr().cast(), _mm512_maskz_compress_epi32(keep, place));
                _mm512_storeu_si512(marks.as_mut_ptr().cast(), _mm512_maskz_compress_epi32(keep, mark));
            }
            block.length += keep.count_ones() as usize;
        }
        true
    }

    pub struct Avx2;

    impl Scan for Avx2 {
        #[inline(always)]
        fn push(block: &mut Block, moment: Moment<'_>, span: Span, sieve: Sieve) -> bool {
            push_lanes(block, moment, span, sieve)
        }

        #[inline(always)]
        fn least(block: &Block, centre: u32, team: u8, slack: u32) -> Least {
            // SAFETY: only `at_level` names this type, where the processor was found to have the instructions.
            unsafe { least_avx2(block, centre, team, slack) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn least_avx2(block: &Block, centre: u32, team: u8, slack: u32) -> Least {
        let centre = _mm256_set1_epi32(centre as i32);
        let team = _mm256_set1_epi32((u32::from(team) << ROW_BITS) as i32);
        let square = _mm256_set1_epi32(!NUMBER as i32);
        let all = _mm256_set1_epi32(-1);
        let mut number = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let (mut least, mut second) = (all, all);
        for at in (0..block.length).step_by(8) {
            // SAFETY: a group from below the length, which is at most a block, ends within the lanes behind it.
            let (place, mark) = unsafe {
                (
                    _mm256_loadu_si256(block.place.as_ptr().add(at).cast()),
                    _mm256_loadu_si256(block.mark.as_ptr().add(at).cast()),
                )
            };
            let apart = _mm256_sub_epi16(place, centre);
            let key = _mm256_or_si256(_mm256_and_si256(_mm256_madd_epi16(apart, apart), square), number);
            let above = _mm256_srli_epi32::<{ ROW_BITS as i32 }>(_mm256_xor_si256(mark, team));
            let key = _mm256_or_si256(key, _mm256_cmpeq_epi32(above, _mm256_setzero_si256()));
            second = _mm256_min_epu32(second, _mm256_max_epu32(least, key));
            least = _mm256_min_epu32(least, key);
            number = _mm256_add_epi32(number, _mm256_set1_epi32(8));
        }
        let half = _mm_min_epu32(_mm256_castsi256_si128(least), _mm256_extracti128_si256::<1>(least));
        let half = _mm_min_epu32(half, _mm_shuffle_epi32::<0b01_00_11_10>(half));
        let half = _mm_min_epu32(half, _mm_shuffle_epi32::<0b10_11_00_01>(half));
        let key = _mm_cvtsi128_si32(half) as u32;
        let limit = _mm256_set1_epi32(key.saturating_add(slack) as i32);
        let within = |keys| {
            let within = _mm256_cmpeq_epi32(_mm256_min_epu32(keys, limit), keys);
            _mm256_movemask_ps(_mm256_castsi256_ps(within)) as u32
        };
        let near = within(least);
        Least { key, alone: near & near.wrapping_sub(1) == 0 && within(second) == 0 }
    }
}
