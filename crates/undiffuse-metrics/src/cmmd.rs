//! CMMD's kernel distance \[Jayasumana24\].
//!
//! The [discrepancy](crate::kernel) of `exp(−‖x − y‖² / 2·10²)` of vectors of length 1, from all pairs and times 1000. The features
//! of its authors are CLIP's: values of other features compare only with each other.

use crate::kernel::{Discrepancy, Pairs, discrepancy, figure};
use crate::{Figure, Metric, MetricError, MetricOptions, Over, Rows, Sets};

/// The line of [`METRICS`](crate::METRICS).
pub(crate) const METRIC: Metric = Metric {
    tag: "cmmd",
    about: "kernel distance with CMMD's Gaussian kernel on these features [Jayasumana24]",
    over: Over::Features,
    pairs: true,
    itself: &[("cmmd", Some(0.0))],
    measure,
};

/// The width of CMMD's kernel.
const SIGMA: f64 = 10.0;
/// What CMMD is multiplied by.
const SCALE: f64 = 1000.0;

/// `1000 MMD²` of the Gaussian kernel of width 10 on rows of length 1, over all pairs, as the authors' code has it
/// \[Jayasumana24\]. A row of zeros stays one.
///
/// # Panics
/// If dimensions differ.
pub fn cmmd(real: Rows, generated: Rows) -> Discrepancy {
    let kernel = |dot: f64, a2: f64, b2: f64| {
        let product = a2 * b2;
        let cosine = if product > 0.0 { dot / product.sqrt() } else { 0.0 };
        let length = |square: f64| if square > 0.0 { 1.0 } else { 0.0 };
        (-(length(a2) + length(b2) - 2.0 * cosine) / (2.0 * SIGMA * SIGMA)).exp()
    };
    let mut found = discrepancy(real, generated, Pairs::AllOfUnitKernel, kernel);
    found.value *= SCALE;
    [&mut found.real, &mut found.generated].into_iter().flatten().for_each(|x| *x *= SCALE);
    found
}

fn measure(sets: &Sets, settings: &MetricOptions) -> Result<Vec<Figure>, MetricError> {
    sets.check("CMMD's kernel distance", 2)?;
    let mut figure = figure("cmmd", "CMMD's kernel on these features", &cmmd(sets.real, sets.generated), settings);
    // All pairs, each image with itself included: the estimate is never below 0.
    figure.value = figure.value.max(0.0);
    figure.interval = figure.interval.map(|ends| ends.map(|end| end.max(0.0)));
    Ok(vec![figure])
}

#[cfg(test)]
mod tests {
    use super::*;
    use undiffuse_math::noise;

    /// Every pair counts, so the same set twice is at 0, and zeros are no division by zero.
    #[test]
    fn same_set_and_zeros() {
        let mut a = vec![0.0; 100];
        noise::normal(3, 0, 0, &mut a[5..]);
        let rows = Rows::new(&a, 5);
        let found = cmmd(rows, rows);
        assert!(found.value.abs() < 1e-6, "{}", found.value);
        assert!(found.real.iter().all(|x| x.abs() < 1e-6));
    }
}
