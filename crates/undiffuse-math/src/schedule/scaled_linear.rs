//! The schedule of latent diffusion.

use super::discrete::{Betas, Discrete, Terminal};
use super::linear::linspace;
use serde::{Deserialize, Serialize};

/// `sqrt(beta_t)` evenly spaced from `sqrt(beta_start)` to `sqrt(beta_end)`, as the code of \[Rombach22\] has it; the
/// paper itself calls its schedule linear.
pub type ScaledLinear = Discrete<ScaledLinearBetas>;

/// Options of [`ScaledLinear`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScaledLinearBetas {
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

impl Default for ScaledLinearBetas {
    fn default() -> Self {
        Self { beta_start: 8.5e-4, beta_end: 0.012, steps: 1000, rescale_zero_snr: false, alpha_bar_floor: 0.0 }
    }
}

impl Betas for ScaledLinearBetas {
    fn timesteps(&self) -> usize {
        self.steps
    }

    fn betas(&self) -> Vec<f64> {
        linspace(self.beta_start.sqrt(), self.beta_end.sqrt(), self.steps).map(|root| root * root).collect()
    }

    fn terminal(&self) -> Terminal {
        Terminal { rescale_zero_snr: self.rescale_zero_snr, alpha_bar_floor: self.alpha_bar_floor }
    }
}
