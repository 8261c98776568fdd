//! Geometric noise levels of score matching.

use super::Schedule;
use crate::{level::NoiseLevel, registry::require};
use serde::{Deserialize, Serialize};

/// `alpha = 1`, time is `sigma`, spread geometrically between `sigma_min` and `sigma_max` [Song21, Eq. 9 and Appendix
/// C]. Networks read `sigma`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ve {
    /// Smallest trained sigma.
    pub sigma_min: f64,
    /// Largest trained sigma; about the largest distance between two training images.
    pub sigma_max: f64,
}

impl Default for Ve {
    fn default() -> Self {
        Self { sigma_min: 0.01, sigma_max: 50.0 }
    }
}

impl Schedule for Ve {
    fn level(&self, t: f64) -> NoiseLevel {
        NoiseLevel { alpha: 1.0, sigma: t.max(0.0) }
    }

    fn time(&self, log_snr: f64) -> f64 {
        (-0.5 * log_snr).exp()
    }

    fn range(&self) -> (f64, f64) {
        (self.sigma_min, self.sigma_max)
    }

    fn check(&self) -> Result<(), String> {
        sigmas(self.sigma_min, self.sigma_max)
    }
}

/// The condition that [`Ve`] and [`Edm`](super::Edm) share.
pub(super) fn sigmas(sigma_min: f64, sigma_max: f64) -> Result<(), String> {
    require(0.0 < sigma_min && sigma_min < sigma_max && sigma_max.is_finite(), || {
        format!("needs 0 < sigma_min < sigma_max, has sigma_min = {sigma_min} and sigma_max = {sigma_max}")
    })
}
