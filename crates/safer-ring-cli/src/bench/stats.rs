//! Medians, spreads and a latency histogram; plain arithmetic.

use crate::num::{count, float, index, small};

/// Middle, smallest and largest of a set of samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// The median with its spread; `None` without samples. With an even number the two in the middle are averaged.
pub(crate) fn spread(samples: &[f64]) -> Option<Spread> {
    let mut sorted: Vec<f64> = samples.iter().copied().filter(|x| x.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(Spread { median: f64::midpoint(lower, upper), min, max })
}

/// A ratio over rounds: its median, and the range of the middle half of the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Ratio {
    /// The middle half of the rounds does not agree on which side of 1 the ratio is.
    pub(crate) fn is_unclear(&self) -> bool {
        self.low < 1.0 && self.high > 1.0
    }
}

/// `ours / theirs`, paired by round: what disturbs one round disturbs both sides of it.
pub(crate) fn paired_ratio(ours: &[f64], theirs: &[f64]) -> Option<Ratio> {
    let mut ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
    let median = spread(&ratios)?.median;
    ratios.sort_by(f64::total_cmp);
    let quarter = ratios.len() / 4;
    let (low, high) = (*ratios.get(quarter)?, *ratios.get(ratios.len() - 1 - quarter)?);
    Some(Ratio { median, low, high })
}

/// Buckets per power of two: a value is known to 1/32, about 3 %.
const SUB_BITS: u32 = 5;
const BUCKETS: usize = 1920;

/// A log-linear histogram of nanoseconds. Recording never allocates.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Box<[u64]>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS].into_boxed_slice(), total: 0 }
    }

    /// Adds `weight` observations of `ns` nanoseconds.
    #[inline]
    pub(crate) fn record(&mut self, ns: u64, weight: u64) {
        self.add(bucket_of(ns), weight);
    }

    /// Adds to a bucket by its number, as [`Histogram::filled`] gave it; unknown numbers are ignored.
    pub(crate) fn add(&mut self, bucket: usize, weight: u64) {
        if let Some(slot) = self.counts.get_mut(bucket) {
            *slot += weight;
            self.total += weight;
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (bucket, weight) in other.filled() {
            self.add(bucket, weight);
        }
    }

    /// The buckets that are not empty, with their counts.
    pub(crate) fn filled(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.counts.iter().copied().enumerate().filter(|(_, n)| *n > 0)
    }

    /// The value in nanoseconds below which `share` (0 to 1) of the observations lie; `None` when empty.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = (share * float(self.total)).max(1.0);
        let mut seen = 0;
        for (bucket, n) in self.filled() {
            seen += n;
            if float(seen) >= wanted {
                return Some(middle_of(bucket));
            }
        }
        None
    }
}

fn bucket_of(ns: u64) -> usize {
    let Some(exponent) = ns.checked_ilog2().filter(|e| *e >= SUB_BITS) else {
        return usize::try_from(ns).unwrap_or(0);
    };
    let shift = exponent - SUB_BITS;
    let low = (ns >> shift) & ((1 << SUB_BITS) - 1);
    index((shift + 1) << SUB_BITS) + usize::try_from(low).unwrap_or(0)
}

fn middle_of(bucket: usize) -> f64 {
    let (row, low) = (small(bucket) >> SUB_BITS, count(bucket) & ((1 << SUB_BITS) - 1));
    if row == 0 {
        return float(low);
    }
    let width = 1_u64 << (row - 1);
    float(((1 << SUB_BITS) + low) * width) + float(width - 1) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_nothing() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).map(|s| s.median), Some(2.5));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[f64::NAN, 5.0]).map(|s| s.median), Some(5.0));
    }

    #[test]
    fn ratios_are_paired_by_round() {
        // A round that was slow for both sides does not move the ratio.
        let ratio = paired_ratio(&[2.0, 200.0, 2.0], &[1.0, 100.0, 1.0]);
        assert_eq!(ratio, Some(Ratio { median: 2.0, low: 2.0, high: 2.0 }));
        assert_eq!(paired_ratio(&[], &[]), None);
    }

    #[test]
    fn rounds_that_disagree_make_a_ratio_unclear() {
        let ones = [1.0; 8];
        let clear = paired_ratio(&[0.9, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 9.0], &ones).unwrap();
        assert!(!clear.is_unclear(), "one bad round decides nothing: {clear:?}");
        let unclear = paired_ratio(&[0.5, 0.6, 0.7, 0.8, 1.2, 1.3, 1.4, 1.5], &ones).unwrap();
        assert!(unclear.is_unclear() && (unclear.low, unclear.high) == (0.7, 1.3), "{unclear:?}");
    }

    #[test]
    fn every_bucket_holds_its_own_middle() {
        for bucket in 0..BUCKETS - 32 {
            let middle = crate::num::whole(middle_of(bucket));
            assert_eq!(bucket_of(middle), bucket, "{middle} ns");
        }
        assert!(bucket_of(u64::MAX) < BUCKETS);
    }

    #[test]
    fn buckets_grow_with_the_value_and_err_by_three_percent() {
        let mut last = 0;
        for exponent in 0..50 {
            for step in 0..37_u64 {
                let ns = (1_u64 << exponent) + step * ((1_u64 << exponent) / 37);
                let bucket = bucket_of(ns);
                assert!(bucket >= last);
                last = bucket;
                assert!((middle_of(bucket) - float(ns)).abs() <= float(ns) * 0.032, "{ns} ns");
            }
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), None);
        histogram.record(10, 98);
        histogram.record(1000, 2);
        assert_eq!(histogram.quantile(0.5), Some(10.0));
        assert!(histogram.quantile(0.99).unwrap() > 900.0);
        let mut other = Histogram::new();
        other.record(20, 1000);
        histogram.merge(&other);
        assert_eq!(histogram.quantile(0.5), Some(20.0));
    }
}
