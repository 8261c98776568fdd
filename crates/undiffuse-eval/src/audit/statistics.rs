//! Shares with intervals, ranks, distribution functions.

use serde::{Deserialize, Serialize};
use undiffuse_math::timing::normal_quantile;

/// How many of how many.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Those meant.
    pub count: usize,
    /// All.
    pub of: usize,
    /// `count / of`; 0 of none.
    pub share: f64,
    /// Wilson's interval of the share among all pictures that there could be.
    pub interval: [f64; 2],
}

impl Share {
    /// With \[Wilson27\]'s interval at a confidence such as 0.95: `(p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)`. Unlike the
    /// usual one it holds for shares of 0 and 1. Nothing known is the interval from 0 to 1.
    pub fn new(count: usize, of: usize, confidence: f64) -> Self {
        if of == 0 {
            return Self { count, of, share: 0.0, interval: [0.0, 1.0] };
        }
        let (n, share) = (of as f64, count as f64 / of as f64);
        let z = normal_quantile((1.0 + confidence) / 2.0);
        let middle = share + z * z / (2.0 * n);
        let off = z * (share * (1.0 - share) / n + (z / (2.0 * n)).powi(2)).sqrt();
        let [low, high] = [middle - off, middle + off].map(|end| (end / (1.0 + z * z / n)).clamp(0.0, 1.0));
        // The ends of 0 and of all are exact.
        let interval = [if count == 0 { 0.0 } else { low }, if count == of { 1.0 } else { high }];
        Self { count, of, share, interval }
    }
}

/// Mann and Whitney's `U` of `a` against `b` as a number of standard deviations, ties counted half and taken out of the variance
/// \[Lehmann75\]: negative if `a` tends to be smaller. 0 where all are equal or a side is empty.
pub(super) fn mann_whitney(a: &[f64], b: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> = a.iter().map(|&x| (x, true)).chain(b.iter().map(|&x| (x, false))).collect();
    all.sort_unstable_by(|x, y| x.0.total_cmp(&y.0));
    let (mut ranks, mut ties, mut before) = (0.0, 0.0, 0);
    for equal in all.chunk_by(|x, y| x.0 == y.0) {
        let t = equal.len() as f64;
        let rank = before as f64 + (t + 1.0) / 2.0;
        ranks += rank * equal.iter().filter(|(_, of_a)| *of_a).count() as f64;
        ties += t * t * t - t;
        before += equal.len();
    }
    let (m, n) = (a.len() as f64, b.len() as f64);
    let total = m + n;
    let u = ranks - m * (m + 1.0) / 2.0;
    let variance = m * n / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    if variance > 0.0 { (u - m * n / 2.0) / variance.sqrt() } else { 0.0 }
}

/// Points of a distribution function, `[value, share at most as large]`: all of the smallest, then ever fewer.
pub(super) fn distribution(mut values: Vec<f64>) -> Vec<[f64; 2]> {
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len();
    let mut points = Vec::new();
    let mut rank = 1;
    while rank < n {
        points.push([values[rank - 1], rank as f64 / n as f64]);
        rank += 1 + rank / DENSE;
    }
    points.extend(values.last().map(|&last| [last, 1.0]));
    points
}

/// Ranks up to which every value is a point; of `n` values about `DENSE · (1 + ln(n / DENSE))` are points.
const DENSE: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_as_scipy_has_them() {
        // scipy.stats.binomtest(count, n).proportion_ci(0.95, "wilson")
        for (count, of, low, high) in [
            (0, 100, 0.0, 0.036_993_498_206_985_68),
            (3, 100, 0.010_254_524_024_038_925, 0.084_519_364_290_527_6),
            (198, 200, 0.964_278_238_283_823_1, 0.997_253_341_866_455_6),
        ] {
            let [found_low, found_high] = Share::new(count, of, 0.95).interval;
            assert!((found_low - low).abs() < 1e-9 && (found_high - high).abs() < 1e-9, "{found_low} {found_high}");
        }
        assert_eq!(Share::new(0, 0, 0.95).interval, [0.0, 1.0]);
    }

    #[test]
    fn ranks_as_scipy_has_them() {
        // scipy.stats.mannwhitneyu(a, b, method="asymptotic", use_continuity=False): z by its p-value
        let (a, b) = ([1.0, 2.0, 2.0, 4.0, 5.5], [2.0, 3.0, 5.5, 7.0, 8.0, 9.0, 2.0]);
        let z = mann_whitney(&a, &b);
        assert!((z - -1.490_541_608_179_485_3).abs() < 1e-12, "{z}");
        assert!((z + mann_whitney(&b, &a)).abs() < 1e-12);
        assert_eq!((mann_whitney(&[1.0; 4], &[1.0; 3]), mann_whitney(&[], &[1.0])), (0.0, 0.0));
    }

    #[test]
    fn distributions_keep_their_ends() {
        let points = distribution((0..10_000).map(f64::from).collect());
        assert!(points.len() < 200, "{}", points.len());
        assert_eq!((points[0], points[points.len() - 1]), ([0.0, 1e-4], [9999.0, 1.0]));
        assert!(points.is_sorted_by(|a, b| a[0] < b[0] && a[1] < b[1]));
        assert_eq!(distribution(vec![3.0]), [[3.0, 1.0]]);
    }
}
