//! Weightings: how much an error at each noise level counts.
//!
//! Every one is a weight on `‖D - x0‖²`. Since `‖D - x0‖² = (sigma² / alpha²) ‖eps_hat - eps‖² = out² ‖F - F*‖²`, the
//! same weighting means the same loss for every parameterization.

use crate::{level::NoiseLevel, parameterization::Scaling, registry::kind};
use std::fmt::Debug;

/// A weight on `‖D - x0‖²`.
pub trait Weighting: Debug + Send + Sync {
    /// The weight at a noise level.
    ///
    /// `scaling` is that of the network's parameterization. `rate` is `|d log_snr / du|`, the inverse of the density
    /// with which [training times](crate::timing) draw log-SNRs: weightings that are integrals over log-SNR multiply by
    /// it and so mean the same loss whatever times are drawn; the others ignore it.
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
        "simple" in simple => Simple, "errors of eps count equally: the SNR [Ho20, Eq. 14]";
        "uniform" in uniform => Uniform, "errors of x0 count equally";
        "truncated-snr" in truncated_snr => TruncatedSnr, "max(SNR, 1) [Salimans22, section 4]";
        "snr-plus-one" in snr_plus_one => SnrPlusOne, "SNR + 1: errors of v count equally [Salimans22, section 4]";
        "min-snr" in min_snr => MinSnr, "min(SNR, gamma) [Hang23, Min-SNR]", also ["gamma=2"];
        "edm" in edm => Edm, "the inverse squared output scale of EDM [Karras22, Table 1]";
        "likelihood" in likelihood => Likelihood, "the variational bound, whatever the timing [Kingma21, continuous-time loss; Song21b, Theorem 1]";
        "sigmoid" in sigmoid => Sigmoid, "the bound times sigmoid(bias - log_snr) [Kingma23, monotonic weightings; Hoogeboom24, sigmoid loss]",
            also ["bias=1"];
        "target" in target => Target, "errors of whatever the network answers count equally: 1 / out²";
    }
}
