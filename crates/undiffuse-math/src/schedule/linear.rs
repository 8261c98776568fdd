//! DDPM's own schedule.

use super::discrete::{Betas, Discrete, Terminal};
use serde::{Deserialize, Serialize};

/// `beta_t` evenly spaced from `beta_start` to `beta_end` [Ho20, section 4].
pub type Linear = Discrete<LinearBetas>;

/// Options of [`Linear`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinearBetas {
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

impl Default for LinearBetas {
    fn default() -> Self {
        Self { beta_start: 1e-4, beta_end: 0.02, steps: 1000, rescale_zero_snr: false, alpha_bar_floor: 0.0 }
    }
}

impl Betas for LinearBetas {
    fn timesteps(&self) -> usize {
        self.steps
    }

    fn betas(&self) -> Vec<f64> {
        linspace(self.beta_start, self.beta_end, self.steps).collect()
    }

    fn terminal(&self) -> Terminal {
        Terminal { rescale_zero_snr: self.rescale_zero_snr, alpha_bar_floor: self.alpha_bar_floor }
    }
}

/// `n` evenly spaced numbers, both ends included.
pub(super) fn linspace(from: f64, to: f64, n: usize) -> impl Iterator<Item = f64> {
    let gaps = n.saturating_sub(1).max(1) as f64;
    (0..n).map(move |i| from + (to - from) * i as f64 / gaps)
}
