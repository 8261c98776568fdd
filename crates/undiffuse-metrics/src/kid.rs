//! The kernel inception distance \[Binkowski18\].
//!
//! The [discrepancy](crate::kernel) of the cubic kernel `(x·y / d + 1)³` in its unbiased estimate, where a pair of an image with itself
//! is left out: its expectation is the same for any number of images, so that a value may fall below 0.
//!
//! The figure is the estimate from *all* pairs, not the mean over random subsets that other tools report, whose expectation is the
//! same and whose noise is larger; [`kid_of_subsets`] is theirs.

use crate::kernel::{Discrepancy, Pairs, discrepancy, figure};
use crate::{Figure, Metric, MetricError, MetricOptions, Over, Rows, Sets};

/// The line of [`METRICS`](crate::METRICS).
pub(crate) const METRIC: Metric = Metric {
    tag: "kid",
    about: "kernel distance, cubic kernel, unbiased [Binkowski18]",
    over: Over::Features,
    pairs: true,
    itself: &[("kid", None)],
    measure,
};

/// The unbiased `MMD²` of the cubic kernel, over all pairs \[Binkowski18\]. Needs two rows on each side.
///
/// # Panics
/// If dimensions differ.
pub fn kid(real: Rows, generated: Rows) -> Discrepancy {
    let dims = real.dims() as f64;
    discrepancy(real, generated, Pairs::Others, move |dot, _, _| (dot / dims + 1.0).powi(3))
}

/// The KID of subsets, `[real, generated]` each, as other tools report it: their mean is the value.
///
/// # Panics
/// If dimensions differ or an index is out of range.
pub fn kid_of_subsets(real: Rows, generated: Rows, subsets: &[[Vec<usize>; 2]]) -> Vec<f64> {
    let gather =
        |rows: Rows, indices: &[usize]| -> Vec<f32> { indices.iter().flat_map(|i| rows.row(*i)).copied().collect() };
    let one = |[a, b]: &[Vec<usize>; 2]| {
        let (a, b) = (gather(real, a), gather(generated, b));
        kid(Rows::new(&a, real.dims()), Rows::new(&b, real.dims())).value
    };
    subsets.iter().map(one).collect()
}

fn measure(sets: &Sets, settings: &MetricOptions) -> Result<Vec<Figure>, MetricError> {
    sets.check("KID", 2)?;
    Ok(vec![figure("kid", "KID", &kid(sets.real, sets.generated), settings)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::tests::{assert_tells_spread, sample};

    /// More rows than a tile, by the definition: sums, the interval's influences, and sides not mixed up.
    #[test]
    fn tiles_add_up() {
        let dims = 3;
        let (a, b) = (sample(1, 1100, dims, 0.5), sample(2, 40, dims, 0.0));
        let (a, b) = (Rows::new(&a, dims), Rows::new(&b, dims));
        let found = kid(a, b);
        let kernel = |a: &[f32], b: &[f32]| {
            let dot: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            (dot / dims as f64 + 1.0).powi(3)
        };
        let over = |x: &[f32], rows: Rows| rows.iter().map(|y| kernel(x, y)).sum::<f64>();
        let others = |rows: Rows| rows.iter().map(|x| over(x, rows) - kernel(x, x)).sum::<f64>();
        let (n, m) = (a.len() as f64, b.len() as f64);
        let cross: f64 = a.iter().map(|x| over(x, b)).sum();
        let want = others(a) / (n * (n - 1.0)) + others(b) / (m * (m - 1.0)) - 2.0 * cross / (n * m);
        assert!((found.value / want - 1.0).abs() < 1e-6, "{} {want}", found.value);
        let raw = |x: &[f32]| 2.0 * ((over(x, a) - kernel(x, x)) / (n - 1.0) - over(x, b) / m);
        let want = raw(a.row(7)) - a.iter().map(raw).sum::<f64>() / n;
        assert!((found.real[7] - want).abs() < 1e-6, "{} {want}", found.real[7]);
        let generated = |y: &[f32]| 2.0 * ((over(y, b) - kernel(y, y)) / (m - 1.0) - over(y, a) / n);
        let want = generated(b.row(3)) - b.iter().map(generated).sum::<f64>() / m;
        assert!((found.generated[3] - want).abs() < 1e-6);
    }

    /// The bootstrap's spread beside that of the distances of independent sets.
    #[test]
    fn interval_tells_the_spread_of_repeats() {
        let dims = 6;
        let repeat = |i: u64| {
            let (a, b) = (sample(2 * i, 300, dims, 0.3), sample(2 * i + 1, 200, dims, 0.0));
            kid(Rows::new(&a, dims), Rows::new(&b, dims))
        };
        assert_tells_spread(
            &(0..150)
                .map(repeat)
                .map(|found| (found.value, found.interval(&MetricOptions::default())))
                .collect::<Vec<_>>(),
        );
    }

    #[test]
    fn a_set_beside_itself_is_below_zero() {
        let a = sample(3, 20, 5, 0.0);
        assert!(kid(Rows::new(&a, 5), Rows::new(&a, 5)).value < 0.0, "unbiased: less its own noise");
    }
}
