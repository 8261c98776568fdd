//! DDPM's ancestral sampling.

use super::{Solver, ddim::posterior_std, one_step, plan_by_step, ratio};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// The mean of the posterior `q(x' | x, x0 = D)` plus noise [Ho20, Algorithm 2]. On variance-exploding levels with the
/// large variance it is the reverse-diffusion predictor of score SDEs [Song21, Algorithm 2].
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ddpm {
    /// Which variance the noise has.
    pub variance: AncestralVariance,
}

/// The two variances between which the true one lies [Ho20, section 3.2].
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AncestralVariance {
    /// That of the posterior, `sigma'² (1 - r²)`: right for data without spread.
    #[default]
    FixedSmall,
    /// That of the forward step, `sigma² (1 - r²)`: right for standard normal data. None at the clean end.
    FixedLarge,
}

impl Solver for Ddpm {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        plan_by_step(levels, |from, to| {
            let small = posterior_std(from, to);
            let mut row = one_step(from, to, small);
            if self.variance == AncestralVariance::FixedLarge && to.sigma > 0.0 {
                row.noise = from.sigma * (1.0 - ratio(from, to).powi(2)).max(0.0).sqrt();
            }
            row
        })
    }

    fn order(&self) -> Option<f64> {
        None
    }

    fn weak_order(&self) -> Option<f64> {
        Some(1.0)
    }

    fn takes_variance(&self) -> bool {
        true
    }

    fn exact_variance(&self) -> bool {
        self.variance == AncestralVariance::FixedSmall
    }
}
