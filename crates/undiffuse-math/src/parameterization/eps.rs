//! Noise prediction.

use super::{NoiseInput, Parameterization, Scaling, TINY};
use crate::level::NoiseLevel;
use serde::{Deserialize, Serialize};

/// `F = eps`, hence `D = (x - sigma F) / alpha` [Ho20, Eq. 15]. The input is scaled to unit variance, which leaves
/// variance-preserving levels as they are.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Eps {}

impl Parameterization for Eps {
    fn scaling(&self, at: NoiseLevel) -> Scaling {
        let alpha = at.alpha.max(TINY);
        Scaling {
            skip: 1.0 / alpha,
            out: -at.sigma / alpha,
            input: 1.0 / at.scale(),
            target_x0: 0.0,
            target_eps: 1.0,
            c_noise: NoiseInput::Timestep,
        }
    }
}
