//! Prediction of the straight path's velocity.

use super::{NoiseInput, Parameterization, Scaling};
use crate::level::NoiseLevel;
use serde::{Deserialize, Serialize};

/// `F = eps - x0`, hence `D = (x - sigma F) / (alpha + sigma)` [Liu23, Eq. 1]. The input is `x / (alpha + sigma)`, the
/// same point on the straight path, which leaves rectified-flow levels as they are.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flow {}

impl Parameterization for Flow {
    fn scaling(&self, at: NoiseLevel) -> Scaling {
        let whole = at.alpha + at.sigma;
        Scaling {
            skip: 1.0 / whole,
            out: -at.sigma / whole,
            input: 1.0 / whole,
            target_x0: -1.0,
            target_eps: 1.0,
            c_noise: NoiseInput::Timestep,
        }
    }
}
