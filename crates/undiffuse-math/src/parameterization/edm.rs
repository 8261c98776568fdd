//! The preconditioning of EDM.

use super::{NoiseInput, Parameterization, Scaling};
use crate::{level::NoiseLevel, registry::require};
use serde::{Deserialize, Serialize};

/// Input and target have unit variance at every level, and the network's errors are amplified least [Karras22, Table
/// 1].
///
/// The paper's `c_skip, c_out, c_in` are functions of `sigma / alpha` acting on `x / alpha`; with `n² = sigma² +
/// alpha² sigma_data²` they read `skip = alpha sigma_data² / n²`, `out = sigma sigma_data / n`, `input = 1 / n`, which
/// stays finite at pure noise. Its `c_noise` is `ln(sigma / alpha) / 4`.
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

impl Parameterization for Edm {
    fn scaling(&self, at: NoiseLevel) -> Scaling {
        let n = at.sigma.hypot(at.alpha * self.sigma_data);
        Scaling {
            skip: at.alpha * (self.sigma_data / n).powi(2),
            out: at.sigma * self.sigma_data / n,
            input: 1.0 / n,
            target_x0: at.sigma / (self.sigma_data * n),
            target_eps: -at.alpha * self.sigma_data / n,
            c_noise: NoiseInput::Value(-at.bounded_log_snr() / 8.0),
        }
    }

    fn check(&self) -> Result<(), String> {
        require(self.sigma_data > 0.0 && self.sigma_data.is_finite(), || {
            format!("sigma_data must be positive, is {}", self.sigma_data)
        })
    }
}
