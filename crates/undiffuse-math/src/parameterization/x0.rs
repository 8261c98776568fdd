//! Prediction of the clean image.

use super::{NoiseInput, Parameterization, Scaling};
use crate::level::NoiseLevel;
use serde::{Deserialize, Serialize};

/// `F = x0`, hence `D = F`. The input is scaled to unit variance.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct X0 {}

impl Parameterization for X0 {
    fn scaling(&self, at: NoiseLevel) -> Scaling {
        Scaling {
            skip: 0.0,
            out: 1.0,
            input: 1.0 / at.scale(),
            target_x0: 1.0,
            target_eps: 0.0,
            c_noise: NoiseInput::Timestep,
        }
    }
}
