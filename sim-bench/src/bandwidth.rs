//! How fast this machine's memory is read and written, level by level: the limit that passes are compared with.
//!
//! One core adds a number to each word of a buffer that lies in the level, and both the read and the write are
//! counted. It uses the widest vectors that the processor has.

use std::fs;
use std::hint::black_box;
use std::time::Instant;

use serde::Serialize;

use crate::statistics::thousandths;

/// Of several rounds the best counts: others may use the machine, and no round is faster than it.
const ROUNDS: usize = 9;
/// What a round touches at least, so that it takes a millisecond or more.
const ROUND_BYTES_MIN: usize = 64 << 20;
/// Bounds of the buffer for the memory behind all caches.
const DRAM_BYTES: std::ops::RangeInclusive<usize> = 256 << 20..=1 << 30;
/// Assumed where the system does not tell its caches.
const L2_BYTES_DEFAULT: usize = 1 << 20;
const L3_BYTES_DEFAULT: usize = 32 << 20;

/// Read and written, in 10^9 bytes a second, by one core.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bandwidth {
    /// In half of the second-level cache.
    pub l2: f64,
    /// In a quarter of the third-level cache, which other cores may share.
    pub l3: f64,
    /// In four times the third-level cache, within 256 MiB and 1 GiB.
    pub dram: f64,
}

/// Measures. It takes about a second.
pub fn measure() -> Bandwidth {
    let l2 = cache_bytes(2).unwrap_or(L2_BYTES_DEFAULT);
    let l3 = cache_bytes(3).unwrap_or(L3_BYTES_DEFAULT).max(l2);
    let [l2, l3, dram] = buffer_bytes(l2, l3).map(|bytes| thousandths(gb_per_s(bytes)));
    Bandwidth { l2, l3, dram }
}

/// The buffers for caches of these sizes.
fn buffer_bytes(l2: usize, l3: usize) -> [usize; 3] {
    [l2 / 2, l3 / 4, (4 * l3).clamp(*DRAM_BYTES.start(), *DRAM_BYTES.end())]
}

fn gb_per_s(bytes: usize) -> f64 {
    let mut buffer = vec![1u32; bytes / size_of::<u32>()];
    let sweeps = ROUND_BYTES_MIN.div_ceil(bytes);
    let add = widest_add();
    let best = (0..ROUNDS).map(|round| {
        let begin = Instant::now();
        for _ in 0..sweeps {
            add(black_box(&mut buffer), round as u32);
        }
        begin.elapsed()
    });
    let best = best.min().expect("there are rounds");
    // Once read, once written.
    2.0 * (bytes * sweeps) as f64 / best.as_secs_f64() / 1e9
}

#[allow(clippy::inline_always, reason = "it is compiled anew within each function of a feature set")]
#[inline(always)]
fn add(words: &mut [u32], by: u32) {
    for word in words {
        *word = word.wrapping_add(by);
    }
}

#[cfg(target_arch = "x86_64")]
fn widest_add() -> fn(&mut [u32], u32) {
    #[target_feature(enable = "avx2")]
    fn add_avx2(words: &mut [u32], by: u32) {
        add(words, by);
    }
    #[target_feature(enable = "avx512f")]
    fn add_avx512(words: &mut [u32], by: u32) {
        add(words, by);
    }
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512 F. There is no safe way to call across feature sets.
        |words, by| unsafe { add_avx512(words, by) }
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2. There is no safe way to call across feature sets.
        |words, by| unsafe { add_avx2(words, by) }
    } else {
        add
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn widest_add() -> fn(&mut [u32], u32) {
    add
}

/// The size of this core's data or unified cache of a level, as Linux tells it.
fn cache_bytes(level: u32) -> Option<usize> {
    let folders = fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    folders.flatten().find_map(|folder| {
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).ok();
        let is_it = read("level")?.trim() == level.to_string() && read("type")?.trim() != "Instruction";
        if is_it { parse_size(&read("size")?) } else { None }
    })
}

/// Reads a size as Linux writes it: `1024K`.
fn parse_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let shift = match text.as_bytes().last()? {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        _ => return text.parse().ok(),
    };
    let count: usize = text[..text.len() - 1].parse().ok()?;
    count.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, expected) in [
            ("1024K\n", Some(1 << 20)),
            ("32M", Some(32 << 20)),
            ("1G", Some(1 << 30)),
            ("512", Some(512)),
            ("K", None),
            ("", None),
            ("many", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn each_buffer_lies_in_its_level() {
        for (l2, l3) in [(256 << 10, 256 << 10), (1 << 20, 32 << 20), (2 << 20, 1 << 30)] {
            let [in_l2, in_l3, in_dram] = buffer_bytes(l2, l3);
            assert!(in_l2 < l2 && in_l3 < l3 && DRAM_BYTES.contains(&in_dram));
        }
    }

    #[test]
    fn all_words_are_added_to_with_the_widest_vectors() {
        for length in [0, 1, 15, 16, 17, 1000] {
            let mut words: Vec<u32> = (0..length).collect();
            widest_add()(&mut words, u32::MAX);
            assert!(words.iter().zip(0..).all(|(word, at): (&u32, u32)| *word == at.wrapping_sub(1)));
        }
    }

    #[test]
    fn some_bandwidth_is_measured() {
        assert!(gb_per_s(1 << 16) > 0.1);
    }
}
