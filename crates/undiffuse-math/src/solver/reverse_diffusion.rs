//! The forward chain's discretisation, run backward.

use super::{Solver, ddim::posterior_std, one_step, plan_by_step, ratio};
use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
};
use serde::{Deserialize, Serialize};

/// The reverse-diffusion predictor `x' = (2 - a) x + G² score + G z` of the forward chain `x = a x' + G z`: `a = alpha
/// / alpha'`, `G² = sigma² - a² sigma'²` [Song21, Appendix E]. With the score `(alpha D - x) / sigma²` and
/// `G² = sigma² (1 - r²)`, `x' = (1 - a + r²) x + (1 - r²) alpha D + sigma sqrt(1 - r²) z`.
///
/// On variance-exploding levels it is [`Ddpm`](super::Ddpm) with the large variance. The last step to the clean end
/// adds no noise. From pure noise, whose chain has no way back in `a`, the exact step of the posterior stands in.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReverseDiffusion {}

impl Solver for ReverseDiffusion {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        plan_by_step(levels, |from, to| {
            if from.alpha == 0.0 || from.sigma == 0.0 {
                return one_step(from, to, posterior_std(from, to));
            }
            let a = from.alpha / to.alpha;
            let lost = 1.0 - ratio(from, to).powi(2);
            let noise = if to.sigma > 0.0 { from.sigma * lost.max(0.0).sqrt() } else { 0.0 };
            Row { level: from, time: None, next: to, x: vec![2.0 - a - lost], denoised: vec![lost * from.alpha], noise }
        })
    }

    fn order(&self) -> Option<f64> {
        None
    }

    fn weak_order(&self) -> Option<f64> {
        Some(1.0)
    }

    fn exact_mean(&self) -> bool {
        false
    }

    fn exact_variance(&self) -> bool {
        false
    }
}
