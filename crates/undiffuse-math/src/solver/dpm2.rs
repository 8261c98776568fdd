//! DPM-Solver-2 as EDM's code base has it.

use super::{
    Along, Solver,
    two_stage::{midpoint, with_sigma_edm},
};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// The midpoint rule in `sigma / alpha` with the middle taken in its logarithm [k-diffusion, `sample_dpm_2`; Karras22,
/// Appendix C, alpha = 1/2 there being the arithmetic middle]. From pure noise and to the clean end, where that
/// logarithm is infinite, an Euler step.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dpm2 {}

impl Solver for Dpm2 {
    fn plan(&self, levels: &[NoiseLevel]) -> Plan {
        midpoint(levels, Along::Sigma, |from, to| with_sigma_edm(from, to, (from.sigma_edm() * to.sigma_edm()).sqrt()))
    }

    fn order(&self) -> Option<f64> {
        Some(2.0)
    }
}
