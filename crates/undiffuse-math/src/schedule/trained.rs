//! A table of betas given by the user.

use super::LinearBetas;
use super::discrete::{Betas, Discrete, Terminal};
use serde::{Deserialize, Serialize};

/// Betas of one's own; diffusers calls them `trained_betas`. By default those of [`Linear`](super::Linear).
pub type Trained = Discrete<TrainedBetas>;

/// Options of [`Trained`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainedBetas {
    /// `beta_t` for every timestep.
    pub betas: Vec<f64>,
    /// See [`Terminal::rescale_zero_snr`].
    pub rescale_zero_snr: bool,
    /// See [`Terminal::alpha_bar_floor`].
    pub alpha_bar_floor: f64,
}

impl Default for TrainedBetas {
    fn default() -> Self {
        Self { betas: LinearBetas::default().betas(), rescale_zero_snr: false, alpha_bar_floor: 0.0 }
    }
}

impl Betas for TrainedBetas {
    fn timesteps(&self) -> usize {
        self.betas.len()
    }

    fn betas(&self) -> Vec<f64> {
        self.betas.clone()
    }

    fn terminal(&self) -> Terminal {
        Terminal { rescale_zero_snr: self.rescale_zero_snr, alpha_bar_floor: self.alpha_bar_floor }
    }
}
