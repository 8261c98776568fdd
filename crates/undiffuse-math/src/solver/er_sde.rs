//! The extended reverse-time SDE.

use super::{Solver, plan_of, ratio};
use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
    registry::require,
};
use serde::{Deserialize, Serialize};

/// Multistep solver of a reverse SDE whose noise is a free choice \[Cui23\]. In `s = sigma / alpha`
/// the choice is a function `phi(s) = s g(s)`; with `k = phi(s') / phi(s)`:
/// `x' = (alpha' / alpha) k x + alpha' (1 - k) D + sigma' sqrt(1 - (g' / g)²) z`, plus `alpha' (s' - s + phi' I0)` times
/// the slope of `D` in `s` and `alpha' ((s' - s)² / 2 + phi' I1)` times its second derivative, both from older `D`;
/// `I0` and `I1` are the integrals of `1 / phi` and `(u - s) / phi(u)` from `s'` to `s`.
///
/// `g = 1` is the probability-flow ODE and `g = s` the reverse SDE of \[Song21\]. Here it is the paper's best,
/// `g(s) = exp(s^0.3) + 10`: hardly any noise once the image is clear. The first steps use what there is; those from
/// pure noise and to the clean end are of first order.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ErSde {
    /// How many denoised images a step looks at, 1 to 3.
    pub order: usize,
}

impl Default for ErSde {
    fn default() -> Self {
        Self { order: 3 }
    }
}

impl Solver for ErSde {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        let rows = levels.windows(2).enumerate().map(|(i, pair)| {
            let (from, to) = (pair[0], pair[1]);
            let r = ratio(from, to);
            if from.sigma == 0.0 || !(r > 0.0 && r < 1.0) {
                return super::one_step(from, to, if r < 1.0 { to.sigma } else { 0.0 });
            }
            let kept = g(to.sigma_edm()) / g(from.sigma_edm());
            // Levels that can be looked back on: distinct ones with signal, each noisier than the next.
            let s: Vec<f64> = levels[..=i].iter().rev().take(self.order).map(|level| level.sigma_edm()).collect();
            let known = 1 + s.windows(2).take_while(|s| s[1] > s[0] && s[1].is_finite()).count();
            let denoised = weights(&s[..known], to.sigma_edm(), 1.0 - r * kept);
            Row {
                level: from,
                time: None,
                next: to,
                x: vec![to.sigma / from.sigma * kept],
                denoised: denoised.into_iter().map(|w| to.alpha * w).collect(),
                noise: to.sigma * ((1.0 - kept) * (1.0 + kept)).sqrt(),
            }
        });
        plan_of(levels, rows.collect())
    }

    fn order(&self) -> Option<f64> {
        None
    }

    fn weak_order(&self) -> Option<f64> {
        Some(if self.order > 1 { 2.0 } else { 1.0 })
    }

    fn check(&self) -> Result<(), String> {
        require((1..=3).contains(&self.order), || format!("order must be 1, 2 or 3, is {}", self.order))
    }
}

/// The choice of noise: the share of it that a step keeps is `g(s') / g(s)`.
fn g(s: f64) -> f64 {
    s.powf(0.3).exp() + 10.0
}

/// Weights of the denoised images by lag, without `alpha'`, for the step from `s[0]` to `end`.
fn weights(s: &[f64], end: f64, first: f64) -> Vec<f64> {
    let mut weights = vec![0.0; s.len()];
    weights[0] = first;
    if let [now, old, ..] = *s {
        let phi = end * g(end);
        let step = end - now;
        let slope = step + phi * over_phi(end, now, |_| 1.0);
        weights[0] += slope / (now - old);
        weights[1] -= slope / (now - old);
        if let [_, _, older] = *s {
            let curve = step * step / 2.0 + phi * over_phi(end, now, |u| u - now);
            // The second derivative is the difference of two slopes.
            let unit = 2.0 * curve / (now - older);
            weights[0] += unit / (now - old);
            weights[1] -= unit / (now - old) + unit / (old - older);
            weights[2] += unit / (old - older);
        }
    }
    weights
}

/// The integral of `f(u) / phi(u)` from `low` to `high`, by Gauss-Legendre of three points on panels even in `ln u`,
/// where the integrand is smooth.
fn over_phi(low: f64, high: f64, f: impl Fn(f64) -> f64) -> f64 {
    const PANELS: usize = 64;
    const NODES: [(f64, f64); 3] =
        [(-0.774_596_669_241_483_4, 5.0 / 9.0), (0.0, 8.0 / 9.0), (0.774_596_669_241_483_4, 5.0 / 9.0)];
    let half = (high / low).ln() / (2.0 * PANELS as f64);
    let panel = |p: usize| {
        let middle = low.ln() + half * (2 * p + 1) as f64;
        let at = |(node, weight): (f64, f64)| {
            let u = (middle + half * node).exp();
            half * weight * f(u) / g(u)
        };
        NODES.into_iter().map(at).sum::<f64>()
    };
    (0..PANELS).map(panel).sum()
}
