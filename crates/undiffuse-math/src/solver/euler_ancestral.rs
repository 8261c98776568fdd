//! Euler steps with noise put back.

use super::{Solver, ddim, one_step, plan_by_step};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// An Euler step to `s_down`, then noise up to `s'`: `s_up = eta s' sqrt(1 - s'² / s²)`, `s_down² = s'² - s_up²` in `s
/// = sigma / alpha` [k-diffusion, `sample_euler_ancestral`]. The algebra is that of [`Ddim`](super::Ddim) with the
/// same `eta`.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EulerAncestral {
    /// Share of the ancestral noise.
    pub eta: f64,
}

impl Default for EulerAncestral {
    fn default() -> Self {
        Self { eta: 1.0 }
    }
}

impl Solver for EulerAncestral {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        plan_by_step(levels, |from, to| one_step(from, to, self.eta * ddim::posterior_std(from, to)))
    }

    fn order(&self) -> Option<f64> {
        (self.eta == 0.0).then_some(1.0)
    }

    fn weak_order(&self) -> Option<f64> {
        (self.eta > 0.0).then_some(1.0)
    }

    fn check(&self) -> Result<(), String> {
        ddim::check_eta(self.eta)
    }
}
