//! The midpoint method.

use super::{Coordinate, Solver, two_stage};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// The explicit midpoint rule along `sigma / alpha` or flow time: an Euler step to the middle, then the whole step
/// with the slope found there. Two evaluations a step, the last one to the clean end included; from pure noise along
/// sigma, whose middle is infinitely noisy too, an Euler step.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Midpoint {
    /// The line that is halved.
    pub along: Coordinate,
}

impl Solver for Midpoint {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        two_stage::midpoint(levels, self.along, |from, to| self.along.halfway(from, to))
    }

    fn nfe(&self, levels: &[NoiseLevel]) -> usize {
        two_stage::nfe(levels, |from, to| self.along.halfway(from, to))
    }

    fn order(&self) -> Option<f64> {
        Some(2.0)
    }
}
