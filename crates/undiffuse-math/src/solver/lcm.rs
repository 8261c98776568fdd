//! Consistency stepping.

use super::{Solver, one_step, plan_by_step};
use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
    registry::require,
};
use serde::{Deserialize, Serialize};

/// Jump to the clean image, add fresh noise: `x' = alpha' D + sigma' z` [Luo23, Algorithm 3]. With a cleanest trained level
/// `sigma_min`, at which `D` ends, less of it: `x' = alpha' D + sqrt(sigma'² - alpha'² sigma_min²) z` [Song23, Algorithm 1].
///
/// For consistency models, distilled ones among them, whose answer is not the average of all clean images that could
/// have led to `x` but the one at the end of the probability-flow ODE. With a plain denoiser every step loses
/// variance, and finer plans blur more.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lcm {
    /// The `sigma / alpha` at which `D` ends: epsilon of \[Song23\], 0 of \[Luo23\].
    pub sigma_min: f64,
    /// Factor on the fresh noise.
    pub s_noise: f64,
}

impl Default for Lcm {
    fn default() -> Self {
        Self { sigma_min: 0.0, s_noise: 1.0 }
    }
}

impl Solver for Lcm {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        plan_by_step(levels, |from, to| {
            let noise = (to.sigma.powi(2) - (to.alpha * self.sigma_min).powi(2)).max(0.0).sqrt();
            Row { noise: self.s_noise * noise, ..one_step(from, to, to.sigma) }
        })
    }

    fn order(&self) -> Option<f64> {
        None
    }

    fn wants_consistency(&self) -> bool {
        true
    }

    fn exact_variance(&self) -> bool {
        (self.sigma_min, self.s_noise) == (0.0, 1.0)
    }

    fn check(&self) -> Result<(), String> {
        [("sigma_min", self.sigma_min), ("s_noise", self.s_noise)].into_iter().try_for_each(|(option, value)| {
            require(value >= 0.0 && value.is_finite(), || format!("{option} must be at least 0, is {value}"))
        })
    }
}
