//! Which vector instructions the passes use, chosen at run time.
//!
//! A pass is plain code over slices, compiled once for each level, and called through the level once a pass. All
//! levels give the same results: only integers are computed. What this never does is read the environment.

use std::fmt;

/// A set of vector instructions that this processor has: a value of this type is the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SimdLevel(pub(crate) Level);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Scalar,
    Neon,
    Sse2,
    Avx2,
    Avx512,
}

/// Why a name of a level is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SimdError {
    /// No level has this name.
    Unknown(String),
    /// This processor does not have the level's instructions.
    Unsupported(&'static str),
}

impl fmt::Display for SimdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SimdError::Unknown(name) => {
                write!(f, "{name:?} is no SIMD level; levels are")?;
                Level::ALL.iter().try_for_each(|level| write!(f, " {}", level.name()))
            }
            SimdError::Unsupported(name) => {
                write!(f, "this processor does not support {name}; it supports")?;
                SimdLevel::supported().try_for_each(|level| write!(f, " {}", level.name()))
            }
        }
    }
}

impl std::error::Error for SimdError {}

impl SimdLevel {
    /// No vector instructions but those that the compiler takes for granted on this kind of processor.
    pub const SCALAR: SimdLevel = SimdLevel(Level::Scalar);

    /// The widest that this processor has.
    pub fn detect() -> SimdLevel {
        SimdLevel::supported().last().unwrap_or(SimdLevel::SCALAR)
    }

    /// All that this processor has, the narrowest first.
    pub fn supported() -> impl Iterator<Item = SimdLevel> {
        Level::ALL.into_iter().filter(|level| level.is_supported()).map(SimdLevel)
    }

    /// The level of a name: `scalar`, `neon`, `sse2`, `avx2` or `avx512`.
    pub fn parse(name: &str) -> Result<SimdLevel, SimdError> {
        let level = Level::ALL.into_iter().find(|level| level.name() == name);
        let level = level.ok_or_else(|| SimdError::Unknown(name.to_owned()))?;
        if level.is_supported() { Ok(SimdLevel(level)) } else { Err(SimdError::Unsupported(level.name())) }
    }

    /// Its name, as [`SimdLevel::parse`] reads it.
    pub fn name(self) -> &'static str {
        self.0.name()
    }
}

impl Level {
    const ALL: [Level; 5] = [Level::Scalar, Level::Neon, Level::Sse2, Level::Avx2, Level::Avx512];

    fn name(self) -> &'static str {
        match self {
            Level::Scalar => "scalar",
            Level::Neon => "neon",
            Level::Sse2 => "sse2",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }

    /// Must ask for no less than what [`at_level`] enables.
    #[cfg(target_arch = "x86_64")]
    fn is_supported(self) -> bool {
        let avx2 = || {
            is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("popcnt")
        };
        match self {
            Level::Scalar | Level::Sse2 => true,
            Level::Neon => false,
            Level::Avx2 => avx2(),
            Level::Avx512 => {
                avx2()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
        }
    }

    /// NEON is part of every AArch64 processor; others have no level of their own.
    #[cfg(not(target_arch = "x86_64"))]
    fn is_supported(self) -> bool {
        match self {
            Level::Scalar => true,
            Level::Neon => cfg!(target_arch = "aarch64"),
            Level::Sse2 | Level::Avx2 | Level::Avx512 => false,
        }
    }
}

/// Declares a function that takes a [`SimdLevel`] before its arguments and runs the body as compiled for that
/// level. The body is a function marked `#[inline(always)]`, or it would not be compiled anew.
///
/// SSE2 and NEON are what the compiler takes for granted on their processors, so they are the plain call. Three
/// bodies are the plain one, that for AVX2 and that for AVX-512: one that names instructions itself.
macro_rules! at_level {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? = $body:path) => {
        $crate::simd::at_level! {
            $(#[$meta])*
            $vis fn $name($($arg: $type),*) $(-> $out)? = ($body, $body, $body)
        }
    };
    (
        $(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)?
            = ($plain:expr, $avx2:expr, $avx512:expr)
    ) => {
        $(#[$meta])*
        $vis fn $name(simd: $crate::simd::SimdLevel, $($arg: $type),*) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
                fn avx2($($arg: $type),*) $(-> $out)? {
                    $avx2($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
                fn avx512($($arg: $type),*) $(-> $out)? {
                    $avx512($($arg),*)
                }
                match simd.0 {
                    // SAFETY: a `SimdLevel` is only made once the processor was found to support it.
                    $crate::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    // SAFETY: as above.
                    $crate::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    _ => {}
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = simd;
            $plain($($arg),*)
        }
    };
}
pub(crate) use at_level;

/// Asks for the cache line of a row, which need not exist; nothing waits for it. A hint only, where there is one.
#[inline(always)]
pub(crate) fn prefetch<T>(column: &[T], at: usize) {
    let row = column.as_ptr().wrapping_add(at);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch changes nothing and never faults, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(row.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) row, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = row;
}

/// A bit for each byte, set where it is 1; each must be 0 or 1.
#[inline(always)]
pub(crate) fn bits_of(bytes: &[u8; 64]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_loadu_si128, _mm_movemask_epi8, _mm_slli_epi64};
        let (quarters, _) = bytes.as_chunks::<16>();
        quarters.iter().enumerate().fold(0, |bits, (at, quarter)| {
            // SAFETY: every processor of this kind has the instructions, and a quarter is as long as a vector.
            let quarter =
                unsafe { _mm_movemask_epi8(_mm_slli_epi64::<7>(_mm_loadu_si128(quarter.as_ptr().cast()))) };
            bits | u64::from(quarter as u16) << (16 * at)
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        // The product's top byte gathers the eight bytes' lowest bits.
        const GATHER: u64 = 0x0102_0408_1020_4080;
        let (eights, _) = bytes.as_chunks::<8>();
        let byte = |eight: &[u8; 8]| u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56;
        eights.iter().enumerate().fold(0, |bits, (at, eight)| bits | byte(eight) << (8 * at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn levels_are_read_by_their_names() {
        for level in SimdLevel::supported() {
            assert_eq!(SimdLevel::parse(level.name()), Ok(level));
        }
        assert!(SimdLevel::supported().is_sorted() && SimdLevel::supported().any(|l| l == SimdLevel::SCALAR));
        let unknown = SimdLevel::parse("avx3").unwrap_err();
        assert_eq!(unknown.to_string(), "\"avx3\" is no SIMD level; levels are scalar neon sse2 avx2 avx512");
        let foreign = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
        assert_eq!(SimdLevel::parse(foreign), Err(SimdError::Unsupported(foreign)));
    }

    proptest! {
        #[test]
        fn bytes_become_bits(bits: u64) {
            let bytes = std::array::from_fn(|at| (bits >> at & 1) as u8);
            prop_assert_eq!(bits_of(&bytes), bits);
        }
    }
}
