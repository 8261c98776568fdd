//! A number with what is needed to believe it.

use serde::{Deserialize, Serialize};

/// A measured number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Its key in reports, such as `fid` or `recall`.
    pub tag: String,
    /// Its name in tables, such as `Fréchet distance`.
    pub name: String,
    /// The number.
    pub value: f64,
    /// Lower and upper end of its confidence interval.
    pub interval: Option<[f64; 2]>,
    /// Which way is good.
    pub better: Better,
    /// What the reader has to know to read it rightly, such as too few images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Which way a number should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Smaller is better.
    Lower,
    /// Larger is better.
    Higher,
}

/// Sets that cannot be measured.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetricError {
    /// Too few images.
    #[error("{what} needs at least {needed} images on each side; there are {real} real and {generated} generated ones")]
    TooFew {
        /// The metric's name.
        what: &'static str,
        /// The least number.
        needed: usize,
        /// Real images.
        real: usize,
        /// Generated images.
        generated: usize,
    },
    /// Numbers that are no numbers.
    #[error("the features of {which} image {index} are not finite: the network or its weights are broken")]
    NotFinite {
        /// `real` or `generated`.
        which: &'static str,
        /// Its place.
        index: usize,
    },
    /// Feature vectors of two lengths.
    #[error(
        "real images have {real} features each, generated ones {generated}: both sets must come from the same network"
    )]
    Dimensions {
        /// Of the data.
        real: usize,
        /// Of the model's images.
        generated: usize,
    },
    /// An eigenproblem that did not converge.
    #[error(
        "the eigenvalues of a covariance of {dims} dimensions were not found: the features are probably too large; scale them"
    )]
    Eigen {
        /// Its dimensions.
        dims: usize,
    },
    /// Labels that do not fit.
    #[error("{0}")]
    Labels(String),
}
