//! A histogram of durations that a tick may write to.
//!
//! prometheus-client's own holds a lock while it is scraped, which a tick would have to wait for; this one is
//! atomics only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Durations counted in fixed buckets. Cheap to clone: every clone counts into the same buckets.
#[derive(Clone, Debug)]
pub struct DurationHistogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    /// The buckets' upper bounds in microseconds, inclusive and ascending.
    bounds_us: &'static [u64],
    /// One count for each bound, and one more for what is over them all.
    counts: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
}

impl DurationHistogram {
    /// An empty histogram with these upper bounds, in ascending microseconds.
    pub(crate) fn new(bounds_us: &'static [u64]) -> DurationHistogram {
        let counts = (0..=bounds_us.len()).map(|_| AtomicU64::new(0)).collect();
        DurationHistogram(Arc::new(Buckets { bounds_us, counts, sum_ns: AtomicU64::new(0) }))
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let bucket = self.0.bounds_us.partition_point(|&bound| Duration::from_micros(bound) < duration);
        self.0.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.0.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }
}

impl TypedMetric for DurationHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for DurationHistogram {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        let bounds = self.0.bounds_us.iter().map(|&us| Duration::from_micros(us).as_secs_f64());
        let counts = self.0.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        // The count is taken from the same readings, so that it always equals the last bucket.
        let count = buckets.iter().map(|&(_, count)| count).sum();
        let sum = Duration::from_nanos(self.0.sum_ns.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_holds_it() {
        #[track_caller]
        fn check(ns: u64, bucket: usize) {
            let histogram = DurationHistogram::new(&[50, 100, 1000]);
            histogram.observe(Duration::from_nanos(ns));
            let counts: Vec<u64> = histogram.0.counts.iter().map(|c| c.load(Ordering::Relaxed)).collect();
            let expected: Vec<u64> = (0..4).map(|i| u64::from(i == bucket)).collect();
            assert_eq!(counts, expected, "{ns} ns");
            assert_eq!(histogram.0.sum_ns.load(Ordering::Relaxed), ns);
        }
        check(0, 0);
        check(50_000, 0);
        check(50_001, 1);
        check(100_000, 1);
        check(1_000_000, 2);
        check(1_000_001, 3);
        check(u64::MAX, 3);
    }
}
