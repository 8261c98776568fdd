//! Score prediction.

use super::{NoiseInput, Parameterization, Scaling, TINY};
use crate::level::NoiseLevel;
use serde::{Deserialize, Serialize};

/// `F = ∇ log p(x) = -eps / sigma`, hence `D = (x + sigma² F) / alpha` by Tweedie's formula [Song21, Eq. 7; Efron11,
/// Eq. 1.4]. The input is not scaled.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Score {}

impl Parameterization for Score {
    fn scaling(&self, at: NoiseLevel) -> Scaling {
        let alpha = at.alpha.max(TINY);
        Scaling {
            skip: 1.0 / alpha,
            out: at.sigma * at.sigma / alpha,
            input: 1.0,
            target_x0: 0.0,
            target_eps: -1.0 / at.sigma.max(TINY),
            c_noise: NoiseInput::Timestep,
        }
    }
}
