//! The cosine schedule as a function of continuous time.

use super::Schedule;
use crate::{level::NoiseLevel, registry::require};
use serde::{Deserialize, Serialize};

/// `log_snr(t) = -2 ln tan(a + (b - a) t) + shift`, `t` in [0, 1], with `a` and `b` such that the unshifted log-SNR
/// runs from `log_snr_max` to `log_snr_min` [Hoogeboom23, section 3.1]; `alpha² + sigma² = 1`. Networks read `999
/// t`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CosineVp {
    /// Log-SNR at `t = 1`, before the shift.
    pub log_snr_min: f64,
    /// Log-SNR at `t = 0`, before the shift.
    pub log_snr_max: f64,
    /// Added to the log-SNR; `2 ln(64 / size)` keeps the schedule of 64-pixel images for larger ones.
    pub shift: f64,
}

impl Default for CosineVp {
    fn default() -> Self {
        Self { log_snr_min: -15.0, log_snr_max: 15.0, shift: 0.0 }
    }
}

impl CosineVp {
    /// The angles whose tangent is `sigma / alpha` at the clean and the noisy end.
    fn angles(&self) -> (f64, f64) {
        ((-0.5 * self.log_snr_max).exp().atan(), (-0.5 * self.log_snr_min).exp().atan())
    }
}

impl Schedule for CosineVp {
    fn level(&self, t: f64) -> NoiseLevel {
        let (a, b) = self.angles();
        let sigma_edm = (a + (b - a) * t.clamp(0.0, 1.0)).tan() * (-0.5 * self.shift).exp();
        NoiseLevel::variance_preserving(sigma_edm)
    }

    fn time(&self, log_snr: f64) -> f64 {
        let (a, b) = self.angles();
        (((0.5 * (self.shift - log_snr)).exp().atan() - a) / (b - a)).clamp(0.0, 1.0)
    }

    fn range(&self) -> (f64, f64) {
        (0.0, 1.0)
    }

    fn timestep(&self, t: f64) -> f64 {
        999.0 * t
    }

    fn check(&self) -> Result<(), String> {
        require(self.log_snr_min < self.log_snr_max && self.shift.is_finite(), || {
            format!("needs log_snr_min < log_snr_max, has {} and {}", self.log_snr_min, self.log_snr_max)
        })
    }
}
