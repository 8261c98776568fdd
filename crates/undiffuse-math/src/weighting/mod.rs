//! Weightings: how much an error at each noise level counts.
//!
//! Every one is a weight on `‖D - x0‖²`. Since `‖D - x0‖² = (sigma² / alpha²) ‖eps_hat - eps‖² = out² ‖F - F*‖²`, the
//! same weighting means the same loss for every parameterization.

mod edm;
mod likelihood;
mod min_snr;
mod sigmoid;
mod simple;
mod snr_plus_one;
mod target;
mod truncated_snr;
mod uniform;

pub use edm::Edm;
pub use likelihood::Likelihood;
pub use min_snr::MinSnr;
pub use sigmoid::Sigmoid;
pub use simple::Simple;
pub use snr_plus_one::SnrPlusOne;
pub use target::Target;
pub use truncated_snr::TruncatedSnr;
pub use uniform::Uniform;

use crate::{level::NoiseLevel, parameterization::Scaling, registry::kind};
use std::fmt::Debug;

/// A weight on `‖D - x0‖²`.
pub trait Weighting: Debug + Send + Sync {
    /// The weight at a noise level.
    ///
    /// `scaling` is that of the network's parameterization. `rate` is `|d log_snr / du|`, the inverse of the density
    /// with which the [timing](crate::timing) draws log-SNRs: weightings that are integrals over log-SNR multiply by
    /// it and so mean the same loss under every timing; the others ignore it.
    fn weight(&self, at: NoiseLevel, scaling: &Scaling, rate: f64) -> f64;

    /// Whether the options make sense together.
    ///
    /// # Errors
    /// Says which option is wrong and what would be right.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The signal-to-noise ratio, kept finite where there is no noise.
pub(crate) fn snr(at: NoiseLevel) -> f64 {
    at.snr().min(NoiseLevel::LOG_SNR_LIMIT.exp())
}

kind! {
    /// Every weighting by name.
    pub enum WeightingKind: Weighting, "weighting" {
        "simple" => Simple(Simple), "errors of eps count equally: the SNR [Ho20, Eq. 14]";
        "uniform" => Uniform(Uniform), "errors of x0 count equally";
        "truncated-snr" => TruncatedSnr(TruncatedSnr), "max(SNR, 1) [Salimans22, section 4]";
        "snr-plus-one" => SnrPlusOne(SnrPlusOne), "SNR + 1: errors of v count equally [Salimans22, section 4]";
        "min-snr" => MinSnr(MinSnr), "min(SNR, gamma) [Hang23, Min-SNR]";
        "edm" => Edm(Edm), "the inverse squared output scale of EDM [Karras22, Table 1]";
        "likelihood" => Likelihood(Likelihood), "the variational bound, whatever the timing [Kingma21, continuous-time loss; Song21b, Theorem 1]";
        "sigmoid" => Sigmoid(Sigmoid), "the bound times sigmoid(bias - log_snr) [Kingma23, monotonic weightings; Hoogeboom24, sigmoid loss]";
        "target" => Target(Target), "errors of whatever the network answers count equally: 1 / out²";
    }
}
