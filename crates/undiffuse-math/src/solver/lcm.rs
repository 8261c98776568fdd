//! Consistency stepping.

use super::{Solver, one_step, plan_by_step};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// `x' = alpha' D + sigma' z` [Luo23, Algorithm 3]: jump to the clean image, add fresh noise.
///
/// It differs from [Song23, Algorithm 1], which adds less noise: `sqrt(tau² - epsilon²) z` for a cleanest trained level
/// `epsilon`.
///
/// For consistency models, distilled ones among them, whose answer is not the average of all clean images that could
/// have led to `x` but the one at the end of the probability-flow ODE. With a plain denoiser every step loses
/// variance, and finer plans blur more.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lcm {}

impl Solver for Lcm {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        plan_by_step(levels, |from, to| one_step(from, to, to.sigma))
    }

    fn order(&self) -> Option<f64> {
        None
    }

    fn wants_consistency(&self) -> bool {
        true
    }
}
