//! DPM-Solver++(3M) with noise.

use super::{
    Correction, Solver, ddim,
    dpmpp_3m::{Dpmpp3m, multistep},
};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// Multistep solver of the reverse SDE from the last three denoised images, with a share `eta` of its noise
/// [k-diffusion, `sample_dpmpp_3m_sde`]; 0 is [`Dpmpp3m`] with `correction=heun,lower_order_final=false`.
///
/// Like its original it takes the second difference at half the weight that Taylor's theorem gives it, so without
/// noise it is of second order, with a small constant.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dpmpp3mSde {
    /// Share of the SDE's noise.
    pub eta: f64,
}

impl Default for Dpmpp3mSde {
    fn default() -> Self {
        Self { eta: 1.0 }
    }
}

impl Solver for Dpmpp3mSde {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        let options = Dpmpp3m { correction: Correction::Heun, lower_order_final: false, euler_at_final: false };
        multistep(levels, options, self.eta)
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
