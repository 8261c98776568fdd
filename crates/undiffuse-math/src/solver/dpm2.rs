//! DPM-Solver-2 as k-diffusion has it.

use super::{Coordinate, Solver, ancestral::part_way, ratio, two_stage};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// The midpoint rule in `sigma / alpha` with the middle taken in its logarithm [k-diffusion, `sample_dpm_2`]. From pure
/// noise and to the clean end, where that logarithm is infinite, an Euler step.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dpm2 {}

impl Solver for Dpm2 {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        two_stage::midpoint(levels, Coordinate::Sigma, middle)
    }

    fn nfe(&self, levels: &[NoiseLevel]) -> usize {
        two_stage::nfe(levels, middle)
    }

    fn order(&self) -> Option<f64> {
        Some(2.0)
    }
}

/// The level halfway in `ln(sigma / alpha)`.
fn middle(from: NoiseLevel, to: NoiseLevel) -> NoiseLevel {
    part_way(from, to, ratio(from, to).sqrt())
}
