//! DPM-Solver++(2S) with noise put back.

use super::{Solver, ddim, dpm2_ancestral};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// DPM-Solver++(2S) [Lu22b, Algorithm 1] down to `s_down`, evaluated half way in log-SNR, then noise up to `s'` as in
/// [`EulerAncestral`](super::EulerAncestral) [k-diffusion, `sample_dpmpp_2s_ancestral`].
///
/// With `q² = s_down / s` and `x_m` the Euler step to `q s`: `x' = alpha' (q x_m / alpha_m + (1 - q²) D_m - q (1 - q)
/// D) + alpha' s_up z`, which needs no older `x`. Two evaluations a step; from pure noise and to the clean end the
/// Euler step stands alone.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dpmpp2sAncestral {
    /// Share of the ancestral noise.
    pub eta: f64,
}

impl Default for Dpmpp2sAncestral {
    fn default() -> Self {
        Self { eta: 1.0 }
    }
}

impl Solver for Dpmpp2sAncestral {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        dpm2_ancestral::two_stage(levels, self.eta, |q| [1.0 - q * q, -q * (1.0 - q)])
    }

    fn nfe(&self, levels: &[NoiseLevel]) -> usize {
        dpm2_ancestral::nfe(levels, self.eta)
    }

    fn order(&self) -> Option<f64> {
        (self.eta == 0.0).then_some(2.0)
    }

    fn weak_order(&self) -> Option<f64> {
        (self.eta > 0.0).then_some(2.0)
    }

    fn check(&self) -> Result<(), String> {
        ddim::check_eta(self.eta)
    }
}
