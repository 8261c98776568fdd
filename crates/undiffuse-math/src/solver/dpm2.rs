//! DPM-Solver-2 as k-diffusion has it.

use super::{Along, Solver, ancestral::part_way, ratio, two_stage::midpoint};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// The midpoint rule in `sigma / alpha` with the middle taken in its logarithm [k-diffusion, `sample_dpm_2`]. From pure
/// noise and to the clean end, where that logarithm is infinite, an Euler step.
#[doc = include_str!("rows/dpm2.txt")]
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dpm2 {}

impl Solver for Dpm2 {
    fn plan(&self, levels: &[NoiseLevel]) -> Plan {
        midpoint(levels, Along::Sigma, |from, to| part_way(from, to, ratio(from, to).sqrt()))
    }

    fn order(&self) -> Option<f64> {
        Some(2.0)
    }
}
