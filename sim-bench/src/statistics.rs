//! What is said of a series of times.

use serde::Serialize;

/// The shortest, the middle and the 99th of a hundred.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The shortest.
    pub min: f64,
    /// Half are at most this.
    pub p50: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
}

impl Spread {
    /// To thousandths.
    #[must_use]
    pub fn rounded(self) -> Spread {
        let Spread { min, p50, p99 } = self;
        Spread { min: thousandths(min), p50: thousandths(p50), p99: thousandths(p99) }
    }
}

/// The spread of a series, by nearest rank.
///
/// # Panics
/// If the series is empty.
pub fn spread(series: &[f64]) -> Spread {
    let mut sorted = series.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
    Spread { min: sorted[0], p50: rank(50), p99: rank(99) }
}

/// Rounded to thousandths, so that what is printed is no longer than what was measured.
pub fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_the_nearest() {
        let series = |length: u32| -> Vec<f64> { (1..=length).rev().map(f64::from).collect() };
        for (length, p50, p99) in
            [(1, 1.0, 1.0), (2, 1.0, 2.0), (3, 2.0, 3.0), (100, 50.0, 99.0), (200, 100.0, 198.0)]
        {
            assert_eq!(spread(&series(length)), Spread { min: 1.0, p50, p99 }, "of {length}");
        }
    }

    #[test]
    fn thousandths_are_kept() {
        assert_eq!((thousandths(1.23449), thousandths(0.0)), (1.234, 0.0));
    }
}
