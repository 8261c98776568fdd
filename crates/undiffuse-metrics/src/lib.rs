//! How far one set of images is from another, told by their features: distances between distributions, coverage, copies.
//!
//! Everything here is a function of [`Rows`]: vectors of numbers, one an image, that some network (or nothing, for pixels)
//! made. A metric is one file with a `METRIC`, and its name in the list [`METRICS`]: its place in every report and in every
//! test loop.
//!
//! # Sources
//!
//! | key | work |
//! |---|---|
//! | Alain16 | Alain and Bengio, Understanding intermediate layers using linear classifier probes, arXiv:1610.01644 |
//! | Binkowski18 | Binkowski et al., Demystifying MMD GANs, arXiv:1801.01401 |
//! | Chan83 | Chan et al., Algorithms for computing the sample variance: analysis and recommendations |
//! | Chong20 | Chong and Forsyth, Effectively unbiased FID and inception score and where to find them, arXiv:1911.07023 |
//! | Dowson82 | Dowson and Landau, The Frechet distance between multivariate normal distributions |
//! | Efron79 | Efron, Bootstrap methods: another look at the jackknife |
//! | Gretton12 | Gretton et al., A kernel two-sample test |
//! | Hampel74 | Hampel, The influence curve and its role in robust estimation |
//! | Heusel17 | Heusel et al., GANs trained by a two time-scale update rule, arXiv:1706.08500 |
//! | Higham02 | Higham, Accuracy and stability of numerical algorithms |
//! | Jayasumana24 | Jayasumana et al., Rethinking FID, arXiv:2401.09603 |
//! | Kynkaanniemi19 | Kynkaanniemi et al., Improved precision and recall metric, arXiv:1904.06991 |
//! | Naeem20 | Naeem et al., Reliable fidelity and diversity metrics for generative models, arXiv:2002.09797 |
//! | Nocedal06 | Nocedal and Wright, Numerical optimization |
//! | Rabin11 | Rabin et al., Wasserstein barycenter and its application to texture mixing |
//! | Salimans16 | Salimans et al., Improved techniques for training GANs, arXiv:1606.03498 |
//! | Wilson27 | Wilson, Probable inference, the law of succession, and statistical inference |

pub mod bootstrap;
pub mod classes;
mod distances;
mod figure;
pub mod kernel;
mod matrix;
pub mod moments;
pub mod neighbours;
pub mod probe;
mod rows;

use rayon::prelude::*;

pub use figure::{Better, Figure, MetricError};
pub use rows::Rows;

/// The two sets that a metric compares.
#[derive(Clone, Copy, Debug)]
pub struct Sets<'a> {
    /// The data.
    pub real: Rows<'a>,
    /// What a model made; of as many dimensions.
    pub generated: Rows<'a>,
}

impl Sets<'_> {
    /// Refuses sets that cannot be compared: of different dimensions, of fewer than `needed` images, or with features
    /// that are not finite.
    ///
    /// # Errors
    /// [`MetricError::Dimensions`], [`MetricError::TooFew`], [`MetricError::NotFinite`].
    pub fn check(&self, what: &'static str, needed: usize) -> Result<(), MetricError> {
        let (real, generated) = (self.real, self.generated);
        if real.dims() != generated.dims() {
            return Err(MetricError::Dimensions { real: real.dims(), generated: generated.dims() });
        }
        if real.len().min(generated.len()) < needed {
            return Err(MetricError::TooFew { what, needed, real: real.len(), generated: generated.len() });
        }
        for (which, rows) in [("real", real), ("generated", generated)] {
            if let Some(index) = rows.values().par_iter().position_first(|x| !x.is_finite()) {
                return Err(MetricError::NotFinite { which, index: index / rows.dims() });
            }
        }
        Ok(())
    }
}

/// What a measurement may be told.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricOptions {
    /// Of every random choice: subsets, projections, resamples.
    pub seed: u64,
    /// Bootstrap resamples behind each interval.
    pub resamples: usize,
    /// Probability that an interval is meant to hold the true value.
    pub confidence: f64,
    /// Whether the Fréchet distance is also extrapolated to infinitely many images \[Chong20\].
    pub extrapolate: bool,
}

impl Default for MetricOptions {
    fn default() -> Self {
        Self { seed: 0, resamples: 1000, confidence: 0.95, extrapolate: false }
    }
}

/// What a metric looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Vectors of a feature network.
    Features,
    /// Pixels in [−1, 1].
    Pixels,
}

/// A metric: a line of [`METRICS`].
pub struct Metric {
    /// Its word on command lines.
    pub tag: &'static str,
    /// What it tells, in a line, with its source.
    pub about: &'static str,
    /// What it looks at.
    pub over: Over,
    /// Whether its work grows with pairs of pictures, so that it gets no more real ones than generated ones.
    pub pairs: bool,
    /// Its figures by their tags, and what each is for a set beside itself; `None` where that holds on average only.
    pub itself: &'static [(&'static str, Option<f64>)],
    /// Computes its figures.
    pub measure: fn(&Sets, &MetricOptions) -> Result<Vec<Figure>, MetricError>,
}

/// Takes the file of each metric in, and its `METRIC` into the list.
macro_rules! metrics {
    ($($module:ident)+) => {
        $(pub mod $module;)+

        /// All metrics, in the order of a report.
        pub const METRICS: &[Metric] = &[$($module::METRIC),+];
    };
}

metrics! { frechet kid cmmd manifold sliced }
