//! What can go wrong in an evaluation.

use std::path::PathBuf;

use undiffuse::FileError;
use undiffuse::likelihood::measure::MeasureError;
use undiffuse::model::ModelError;
use undiffuse::sample::Strayed;
use undiffuse_data::DataError;
use undiffuse_metrics::MetricError;

use crate::audit::AuditError;
use undiffuse_features::FeatureError;

/// An evaluation that did not end.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A file that cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Pictures that cannot be read or drawn.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Sets that cannot be measured.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// Features that cannot be had.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// A CLIP that cannot be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Likelihoods that have no meaning.
    #[error("likelihood: {0}")]
    Likelihood(#[from] MeasureError),
    /// Sets that cannot be looked through for copies.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// A model whose pictures are no numbers.
    #[error(transparent)]
    Strayed(#[from] Strayed),
    /// Settings that make no plan.
    #[error("--steps: {0}")]
    Plan(String),
    /// Another process fills the same cache.
    #[error("`{0}` is being written by another undiffuse: wait until it is done")]
    Busy(PathBuf),
    /// Too few pictures on a side.
    #[error("{what} holds {n} pictures: at least 2 are needed")]
    TooFew {
        /// Which set.
        what: &'static str,
        /// How many it holds.
        n: usize,
    },
    /// Two sets of different shapes, or words that make no tokens.
    #[error("{0}")]
    Shapes(String),
    /// Asked to stop; what was computed is kept.
    #[error("interrupted: the same command continues from here")]
    Interrupted,
}
