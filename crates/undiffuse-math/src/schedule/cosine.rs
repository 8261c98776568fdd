//! The squared-cosine schedule of improved DDPM.

use super::discrete::{Betas, Discrete, Terminal};
use serde::{Deserialize, Serialize};
use std::f64::consts::FRAC_PI_2;

/// `beta_t = min(1 - f(t+1) / f(t), beta_max)` with `f(t) = cos²((t / T + s) / (1 + s) · π / 2)`, `s = 0.008`
/// [Nichol21, Eq. 17]; diffusers calls it `squaredcos_cap_v2`.
pub type Cosine = Discrete<CosineBetas>;

/// Options of [`Cosine`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CosineBetas {
    /// Number of timesteps `T`.
    pub steps: usize,
    /// Cap on beta, reached near the noisy end.
    pub beta_max: f64,
    /// See [`Terminal::rescale_zero_snr`].
    pub rescale_zero_snr: bool,
    /// See [`Terminal::alpha_bar_floor`].
    pub alpha_bar_floor: f64,
}

impl Default for CosineBetas {
    fn default() -> Self {
        Self { steps: 1000, beta_max: 0.999, rescale_zero_snr: false, alpha_bar_floor: 0.0 }
    }
}

impl Betas for CosineBetas {
    fn timesteps(&self) -> usize {
        self.steps
    }

    fn betas(&self) -> Vec<f64> {
        const OFFSET: f64 = 0.008;
        let f = |t: usize| ((t as f64 / self.steps as f64 + OFFSET) / (1.0 + OFFSET) * FRAC_PI_2).cos().powi(2);
        (0..self.steps).map(|t| (1.0 - f(t + 1) / f(t)).min(self.beta_max)).collect()
    }

    fn terminal(&self) -> Terminal {
        Terminal { rescale_zero_snr: self.rescale_zero_snr, alpha_bar_floor: self.alpha_bar_floor }
    }
}
