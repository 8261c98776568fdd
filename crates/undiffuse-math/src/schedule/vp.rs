//! The continuous limit of DDPM's schedule.

use super::Schedule;
use crate::{level::NoiseLevel, registry::require};
use serde::{Deserialize, Serialize};

/// `ln alpha(t) = -t² (beta_max - beta_min) / 4 - t beta_min / 2`, `alpha² + sigma² = 1`, `t` in [0, 1]
/// [Song21, Eqs. 11 and 33]. Networks are told `999 t`, so that they see DDPM's range.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vp {
    /// Rate of noise at `t = 0`.
    pub beta_min: f64,
    /// Rate of noise at `t = 1`.
    pub beta_max: f64,
    /// Cleanest trained time.
    pub t_min: f64,
}

impl Default for Vp {
    fn default() -> Self {
        Self { beta_min: 0.1, beta_max: 20.0, t_min: 1e-3 }
    }
}

impl Schedule for Vp {
    fn level(&self, t: f64) -> NoiseLevel {
        let log_alpha_bar = -t * (self.beta_min + 0.5 * t * (self.beta_max - self.beta_min));
        NoiseLevel { alpha: (0.5 * log_alpha_bar).exp(), sigma: (-log_alpha_bar.exp_m1()).sqrt() }
    }

    fn time(&self, log_snr: f64) -> f64 {
        // -ln(alpha_bar) = softplus(-log_snr), then the quadratic's root in the form without cancellation.
        let decay = (-log_snr).max(0.0) + (-log_snr.abs()).exp().ln_1p();
        let slope = self.beta_max - self.beta_min;
        let root = (self.beta_min * self.beta_min + 2.0 * slope * decay).sqrt();
        let t = if decay.is_finite() { 2.0 * decay / (self.beta_min + root) } else { 1.0 };
        t.clamp(0.0, 1.0)
    }

    fn range(&self) -> (f64, f64) {
        (self.t_min, 1.0)
    }

    fn told(&self, t: f64) -> f64 {
        999.0 * t
    }

    fn check(&self) -> Result<(), String> {
        require(0.0 <= self.beta_min && self.beta_min < self.beta_max && self.beta_max.is_finite(), || {
            format!("needs 0 <= beta_min < beta_max, has beta_min = {} and beta_max = {}", self.beta_min, self.beta_max)
        })?;
        require((0.0..1.0).contains(&self.t_min), || format!("t_min must lie in [0, 1), is {}", self.t_min))
    }
}
