//! Betas along a logistic curve.

use super::discrete::{Betas, Discrete, Terminal};
use super::linear::linspace;
use serde::{Deserialize, Serialize};

/// `beta_t = beta_start + (beta_end - beta_start) / (1 + exp(-u_t))`, `u` evenly spaced on [-6, 6] [Xu22, as in
/// diffusers].
pub type Sigmoid = Discrete<SigmoidBetas>;

/// Options of [`Sigmoid`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SigmoidBetas {
    /// Beta of the first timestep.
    pub beta_start: f64,
    /// Beta of the last timestep.
    pub beta_end: f64,
    /// Number of timesteps `T`.
    pub steps: usize,
    /// See [`Terminal::rescale_zero_snr`].
    pub rescale_zero_snr: bool,
    /// See [`Terminal::alpha_bar_floor`].
    pub alpha_bar_floor: f64,
}

impl Default for SigmoidBetas {
    fn default() -> Self {
        Self { beta_start: 1e-4, beta_end: 0.02, steps: 1000, rescale_zero_snr: false, alpha_bar_floor: 0.0 }
    }
}

impl Betas for SigmoidBetas {
    fn timesteps(&self) -> usize {
        self.steps
    }

    fn betas(&self) -> Vec<f64> {
        let width = self.beta_end - self.beta_start;
        linspace(-6.0, 6.0, self.steps).map(|u| self.beta_start + width / (1.0 + (-u).exp())).collect()
    }

    fn terminal(&self) -> Terminal {
        Terminal { rescale_zero_snr: self.rescale_zero_snr, alpha_bar_floor: self.alpha_bar_floor }
    }
}
