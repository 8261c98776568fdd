//! Denoising diffusion implicit models.

use super::{Solver, one_step, plan_by_step, ratio};
use crate::{level::NoiseLevel, plan::Plan, registry::require};
use serde::{Deserialize, Serialize};

/// `x' = alpha' D + sqrt(sigma'² - s²) eps_hat + s z`, `eps_hat = (x - alpha D) / sigma`, `s = eta sigma' sqrt(1 -
/// r²)` [Song21c, Eqs. 12 and 16].
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ddim {
    /// 0 is the deterministic sampler, 1 is DDPM with the small variance.
    pub eta: f64,
}

impl Solver for Ddim {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        plan_by_step(levels, |from, to| one_step(from, to, self.eta * posterior_std(from, to)))
    }

    fn order(&self) -> Option<f64> {
        (self.eta == 0.0).then_some(1.0)
    }

    fn weak_order(&self) -> Option<f64> {
        (self.eta > 0.0).then_some(1.0)
    }

    fn check(&self) -> Result<(), String> {
        check_eta(self.eta)
    }
}

/// Standard deviation `sigma' sqrt(1 - r²)` of the posterior `q(x' | x, x0)` [Ho20, Eq. 7].
pub(super) fn posterior_std(from: NoiseLevel, to: NoiseLevel) -> f64 {
    to.sigma * (1.0 - ratio(from, to).powi(2)).max(0.0).sqrt()
}

pub(super) fn check_eta(eta: f64) -> Result<(), String> {
    require((0.0..=1.0).contains(&eta), || format!("eta must lie in [0, 1], is {eta}"))
}
