//! The schedule of EDM.

use super::Schedule;
use crate::level::NoiseLevel;
use serde::{Deserialize, Serialize};

/// `alpha = 1`, time is `sigma` [Karras22, Table 1]. Networks read `ln(sigma) / 4`.
///
/// The levels are those of [`Ve`](super::Ve); what differs is the trained range and what networks read.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edm {
    /// Smallest sigma that is sampled at.
    pub sigma_min: f64,
    /// Largest sigma that is sampled at.
    pub sigma_max: f64,
}

impl Default for Edm {
    fn default() -> Self {
        Self { sigma_min: 0.002, sigma_max: 80.0 }
    }
}

impl Schedule for Edm {
    fn level(&self, t: f64) -> NoiseLevel {
        NoiseLevel { alpha: 1.0, sigma: t.max(0.0) }
    }

    fn time(&self, log_snr: f64) -> f64 {
        (-0.5 * log_snr).exp()
    }

    fn range(&self) -> (f64, f64) {
        (self.sigma_min, self.sigma_max)
    }

    fn timestep(&self, t: f64) -> f64 {
        // A quarter of the log-SNR limit, so that of a clean image is finite.
        t.max((-0.5 * NoiseLevel::LOG_SNR_LIMIT).exp()).ln() / 4.0
    }

    fn check(&self) -> Result<(), String> {
        super::ve::sigmas(self.sigma_min, self.sigma_max)
    }
}
