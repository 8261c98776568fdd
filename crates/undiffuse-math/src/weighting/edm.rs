//! The loss of EDM.

use super::Weighting;
use crate::{level::NoiseLevel, parameterization, parameterization::Parameterization, parameterization::Scaling};
use serde::{Deserialize, Serialize};

/// `(s² + sigma_data²) / (s · sigma_data)²` with `s = sigma / alpha`: the network of the EDM parameterization has
/// plain mean squared error [Karras22, Table 1].
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edm {
    /// Standard deviation of the data; 0.5 for images in [-1, 1].
    pub sigma_data: f64,
}

impl Default for Edm {
    fn default() -> Self {
        Self { sigma_data: 0.5 }
    }
}

impl Weighting for Edm {
    fn weight(&self, at: NoiseLevel, _: &Scaling, _: f64) -> f64 {
        super::snr(at) + self.sigma_data.powi(-2)
    }

    fn check(&self) -> Result<(), String> {
        parameterization::Edm { sigma_data: self.sigma_data }.check()
    }
}
