//! The plainest solver of the reverse SDE.

use super::{Solver, ddim::posterior_std, one_step, plan_by_step, ratio};
use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
};
use serde::{Deserialize, Serialize};

/// One Euler-Maruyama step of `dx = (f x - g² score) dt + g dw` [Anderson82; Song21, Eq. 6]: with `h = -ln r`, `f dt = d ln alpha`
/// and `g² dt = 2 sigma² h`, and the score `(alpha D - x) / sigma²`,
/// `x' = (1 + ln(alpha' / alpha) - 2 h) x + 2 h alpha D + sigma sqrt(2 h) z`.
///
/// Increments of `ln alpha` and of log-SNR are exact, so the schedule's own time does not matter. Where `h` is
/// infinite the exact step of the posterior stands in: from pure noise, and to the clean end, where it is the
/// denoised image. Large steps overshoot: this one needs hundreds of them.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EulerMaruyama {}

impl Solver for EulerMaruyama {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        plan_by_step(levels, |from, to| {
            let r = ratio(from, to);
            if r == 0.0 || from.sigma == 0.0 {
                return one_step(from, to, posterior_std(from, to));
            }
            let h = -r.ln().min(0.0);
            let x = 1.0 + (to.alpha / from.alpha).ln() - 2.0 * h;
            let noise = from.sigma * (2.0 * h).sqrt();
            Row { level: from, time: None, next: to, x: vec![x], denoised: vec![2.0 * h * from.alpha], noise }
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
