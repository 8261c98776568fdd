//! The SDE whose noise grows more slowly.

use super::{
    Schedule,
    vp::{check_rates, decay, time_of},
};
use crate::level::NoiseLevel;
use serde::{Deserialize, Serialize};

/// `alpha = exp(-b / 2)`, `sigma = 1 - exp(-b)` with `b(t) = t beta_min + t² (beta_max - beta_min) / 2`, `t` in [0, 1]:
/// the sub-variance-preserving SDE [Song21, Eqs. 12 and 29]. The signal is that of [`Vp`](super::Vp), the noise its
/// square: `alpha² + sigma = 1`. Networks read `999 t`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubVp {
    /// Rate of noise at `t = 0`.
    pub beta_min: f64,
    /// Rate of noise at `t = 1`.
    pub beta_max: f64,
    /// Cleanest trained time.
    pub t_min: f64,
}

impl Default for SubVp {
    fn default() -> Self {
        Self { beta_min: 0.1, beta_max: 20.0, t_min: 1e-3 }
    }
}

impl Schedule for SubVp {
    fn level(&self, t: f64) -> NoiseLevel {
        let b = decay(self.beta_min, self.beta_max, t);
        NoiseLevel { alpha: (-0.5 * b).exp(), sigma: -(-b).exp_m1() }
    }

    fn time(&self, log_snr: f64) -> f64 {
        // sigma / alpha = 2 sinh(b / 2).
        time_of(self.beta_min, self.beta_max, 2.0 * (0.5 * (-0.5 * log_snr).exp()).asinh())
    }

    fn range(&self) -> (f64, f64) {
        (self.t_min, 1.0)
    }

    fn timestep(&self, t: f64) -> f64 {
        999.0 * t
    }

    fn check(&self) -> Result<(), String> {
        check_rates(self.beta_min, self.beta_max, self.t_min)
    }
}
