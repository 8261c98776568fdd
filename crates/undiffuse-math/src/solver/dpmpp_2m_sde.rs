//! DPM-Solver++(2M) with noise.

use super::{
    Solver, ddim,
    dpmpp_2m::{Correction, Dpmpp2m, multistep},
};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// Second-order multistep solver of the reverse SDE [Lu22b, SDE-DPM-Solver++(2M)], with a share `eta` of its noise as
/// in k-diffusion's `sample_dpmpp_2m_sde`; 1 is the SDE, 0 is [`Dpmpp2m`].
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dpmpp2mSde {
    /// Share of the SDE's noise.
    pub eta: f64,
    /// See [`Dpmpp2m::correction`].
    pub correction: Correction,
    /// See [`Dpmpp2m::lower_order_final`].
    pub lower_order_final: bool,
    /// See [`Dpmpp2m::euler_at_final`].
    pub euler_at_final: bool,
}

impl Default for Dpmpp2mSde {
    fn default() -> Self {
        Self { eta: 1.0, correction: Correction::Midpoint, lower_order_final: true, euler_at_final: false }
    }
}

impl Solver for Dpmpp2mSde {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        let Self { eta, correction, lower_order_final, euler_at_final } = *self;
        multistep(levels, Dpmpp2m { correction, lower_order_final, euler_at_final }, eta)
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
