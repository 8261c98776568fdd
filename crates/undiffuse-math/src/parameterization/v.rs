//! Velocity prediction.

use super::{Edm, NoiseInput, Parameterization, Scaling};
use crate::level::NoiseLevel;
use serde::{Deserialize, Serialize};

/// `F = alpha eps - sigma x0`, hence `D = alpha x - sigma F` where `alpha² + sigma² = 1` [Salimans22, Appendix D].
///
/// For other levels and for data whose standard deviation is `sigma_data`, the same rotation between signal and noise:
/// with `n² = sigma² + alpha² sigma_data²`, `F = (alpha sigma_data / n) eps - (sigma / n) x0 / sigma_data`, which is
/// [`Edm`] with the sign turned and the timestep as its input.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct V {
    /// Standard deviation of the data; 1 is the definition of the paper.
    pub sigma_data: f64,
}

impl Default for V {
    fn default() -> Self {
        Self { sigma_data: 1.0 }
    }
}

impl Parameterization for V {
    fn scaling(&self, at: NoiseLevel) -> Scaling {
        let edm = Edm { sigma_data: self.sigma_data }.scaling(at);
        Scaling {
            out: -edm.out,
            target_x0: -edm.target_x0,
            target_eps: -edm.target_eps,
            c_noise: NoiseInput::Timestep,
            ..edm
        }
    }

    fn check(&self) -> Result<(), String> {
        Edm { sigma_data: self.sigma_data }.check()
    }
}
