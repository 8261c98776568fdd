//! The continuous limit of DDPM's schedule.

use super::Schedule;
use crate::{level::NoiseLevel, registry::require};
use serde::{Deserialize, Serialize};

/// `ln alpha(t) = -t² (beta_max - beta_min) / 4 - t beta_min / 2`, `alpha² + sigma² = 1`, `t` in [0, 1]
/// [Song21, Eqs. 11 and 33]. Networks read `999 t`, so that they see DDPM's range.
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
        let b = decay(self.beta_min, self.beta_max, t);
        NoiseLevel { alpha: (-0.5 * b).exp(), sigma: (-(-b).exp_m1()).sqrt() }
    }

    fn time(&self, log_snr: f64) -> f64 {
        // -ln(alpha_bar) = softplus(-log_snr).
        time_of(self.beta_min, self.beta_max, (-log_snr).max(0.0) + (-log_snr.abs()).exp().ln_1p())
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

/// The integral of `beta` from 0 to `t`, which is `-2 ln alpha`.
pub(super) fn decay(beta_min: f64, beta_max: f64, t: f64) -> f64 {
    t * (beta_min + 0.5 * t * (beta_max - beta_min))
}

/// The time at which [`decay`] is `b`, infinity allowed: the quadratic's root in the form without cancellation.
pub(super) fn time_of(beta_min: f64, beta_max: f64, b: f64) -> f64 {
    let root = (beta_min * beta_min + 2.0 * (beta_max - beta_min) * b).sqrt();
    let t = if b.is_finite() { 2.0 * b / (beta_min + root) } else { 1.0 };
    t.clamp(0.0, 1.0)
}

/// The condition that [`Vp`] and [`SubVp`](super::SubVp) share.
pub(super) fn check_rates(beta_min: f64, beta_max: f64, t_min: f64) -> Result<(), String> {
    require(0.0 <= beta_min && beta_min < beta_max && beta_max.is_finite(), || {
        format!("needs 0 <= beta_min < beta_max, has beta_min = {beta_min} and beta_max = {beta_max}")
    })?;
    require((0.0..1.0).contains(&t_min), || format!("t_min must lie in [0, 1), is {t_min}"))
}
