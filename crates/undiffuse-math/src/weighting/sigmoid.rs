//! The variational bound with the finest details turned down.

use super::Weighting;
use crate::{level::NoiseLevel, parameterization::Scaling, registry::require};
use serde::{Deserialize, Serialize};

/// `sigmoid(bias - log_snr)` times [`Likelihood`](super::Likelihood): a monotonic weighting of the bound, hence the
/// bound of an augmented data distribution [Kingma23, monotonic weightings; Hoogeboom24, sigmoid loss].
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sigmoid {
    /// Log-SNR at which the weight on the bound is one half; lower values attend more to coarse structure.
    pub bias: f64,
}

impl Default for Sigmoid {
    fn default() -> Self {
        Self { bias: -1.0 }
    }
}

impl Weighting for Sigmoid {
    fn weight(&self, at: NoiseLevel, scaling: &Scaling, rate: f64) -> f64 {
        let share = 1.0 / (1.0 + (at.log_snr() - self.bias).exp());
        share * super::Likelihood {}.weight(at, scaling, rate)
    }

    fn check(&self) -> Result<(), String> {
        require(self.bias.is_finite(), || format!("bias must be finite, is {}", self.bias))
    }
}
