//! Stochastic Adams.

use super::{Solver, one_step, plan_of, ratio};
use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
    registry::require,
};
use serde::{Deserialize, Serialize};

/// Stochastic Adams predictor and corrector of the reverse SDE with `tau` of its noise [Xue23, Algorithm 1]. With `h =
/// -ln r` and `a = 1 + tau²` the predictor is
/// `x' = (sigma' / sigma) e^(-tau² h) x + Σ b_i D_i + sigma' sqrt(1 - e^(-2 tau² h)) z`, where `b_i` is the integral
/// of `a alpha' e^(a u)` times the Lagrange polynomial of `D_i` over the step, `u` half the log-SNR less that at its
/// end. The corrector takes the same step again from the `D` found at its end.
///
/// Both steps share `x` and `z`, so the correction is a sum of denoised images alone, and goes into the next row: one
/// evaluation a step. The noise is that of the reverse SDE where `tau = 1`, none where `tau = 0`. As in diffusers'
/// `SASolverScheduler` two points integrate their slope by the end's weight, which is as accurate. The first steps
/// use what there is; those from pure noise and to the clean end are of first order.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SaSolver {
    /// How many denoised images the predictor looks at, 1 to 4.
    pub predictor: usize,
    /// How many the corrector looks at, the one at the step's end included, up to 4; 0 for none.
    pub corrector: usize,
    /// Amount of noise.
    pub tau: f64,
    /// Least `sigma / alpha` from which steps add noise.
    pub s_min: f64,
    /// Largest `sigma / alpha` from which steps add noise; all unless given.
    pub s_max: Option<f64>,
    /// Whether the last steps are of lower order, the very last of first.
    pub lower_order_final: bool,
}

impl Default for SaSolver {
    fn default() -> Self {
        Self { predictor: 2, corrector: 2, tau: 1.0, s_min: 0.0, s_max: None, lower_order_final: true }
    }
}

impl Solver for SaSolver {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        let steps = levels.len().saturating_sub(1);
        let half_log_snr: Vec<f64> = levels.iter().map(|level| -level.sigma_edm().ln()).collect();
        // What the corrector adds to x, by lag of D at the row that it belongs to.
        let mut correction: Vec<f64> = Vec::new();
        // How many steps in a row could be looked back on.
        let mut known = 0;
        let mut rows: Vec<Row> = Vec::new();
        for (i, pair) in levels.windows(2).enumerate() {
            let (from, to) = (pair[0], pair[1]);
            let r = ratio(from, to);
            if from.sigma == 0.0 {
                rows.push(one_step(from, to, 0.0));
                (correction, known) = (Vec::new(), 0);
                continue;
            }
            let s = from.sigma_edm();
            let inside = s >= self.s_min && s <= self.s_max.unwrap_or(f64::INFINITY);
            let tau2 = if inside { self.tau * self.tau } else { 0.0 };
            let left = if self.lower_order_final { steps - i } else { usize::MAX };
            let proper = r > 0.0 && r < 1.0;
            let order = if proper { self.predictor.min(left).min(known + 1) } else { 1 };
            let past = |newest: usize, count: usize| (0..count).map(|lag| half_log_snr[newest - lag]).collect();
            let step = Step { from: half_log_snr[i], to: half_log_snr[i + 1], rate: 1.0 + tau2, alpha: to.alpha };
            let predictor = step.weights(past(i, order));

            let kept = r.powf(tau2);
            let x = to.sigma / from.sigma * kept;
            let mut denoised = vec![0.0; correction.len().max(predictor.len())];
            correction.iter().zip(&mut denoised).for_each(|(c, sum)| *sum += x * c);
            predictor.iter().zip(&mut denoised).for_each(|(b, sum)| *sum += b);
            let noise = to.sigma * ((1.0 - kept) * (1.0 + kept)).max(0.0).sqrt();
            rows.push(Row { level: from, time: None, next: to, x: vec![x], denoised, noise });

            correction = Vec::new();
            let order = self.corrector.min(left.saturating_add(1)).min(known + 2);
            if proper && order > 0 && i + 1 < steps {
                correction = step.weights(past(i + 1, order));
                correction.resize(order.max(predictor.len() + 1), 0.0);
                predictor.iter().zip(&mut correction[1..]).for_each(|(b, c)| *c -= b);
            }
            known = if proper { known + 1 } else { 0 };
        }
        plan_of(levels, rows)
    }

    fn order(&self) -> Option<f64> {
        // The first step, even corrected, is wrong by h³, and one of first order at the end by h².
        let inner =
            if self.corrector == 0 { self.predictor.min(2) } else { self.corrector.min(self.predictor + 1).min(3) };
        let order = if self.lower_order_final { inner.min(2) } else { inner };
        (self.tau == 0.0).then_some(order as f64)
    }

    fn weak_order(&self) -> Option<f64> {
        let order = if self.corrector == 0 { self.predictor } else { self.corrector.min(self.predictor + 1) };
        (self.tau > 0.0).then_some(order.min(2) as f64)
    }

    fn check(&self) -> Result<(), String> {
        let Self { predictor, corrector, tau, s_min, .. } = *self;
        require((1..=4).contains(&predictor), || format!("predictor must lie in 1..4, is {predictor}"))?;
        require(corrector <= 4, || format!("corrector must lie in 0..4, is {corrector}"))?;
        require((0.0..=10.0).contains(&tau), || format!("tau must lie in [0, 10], is {tau}"))?;
        require(s_min >= 0.0 && self.s_max.is_none_or(|max| max >= s_min), || {
            format!("needs 0 <= s_min <= s_max, has {s_min} and {:?}", self.s_max)
        })
    }
}

/// One step in half the log-SNR.
struct Step {
    from: f64,
    to: f64,
    /// `1 + tau²`.
    rate: f64,
    /// `alpha` at the end.
    alpha: f64,
}

impl Step {
    /// Weights of the denoised images at `nodes`: the integrals of `rate alpha e^(rate u)` times their Lagrange
    /// polynomials.
    fn weights(&self, nodes: Vec<f64>) -> Vec<f64> {
        let h = self.to - self.from;
        let whole = -self.alpha * (-self.rate * h).exp_m1();
        if let [newest, older] = nodes[..] {
            let slope = 0.5 * self.rate * self.alpha * h * h / (newest - older);
            // Seen from the step's start: that is the predictor's newest node, and the corrector's older one.
            return if newest == self.from { vec![whole + slope, -slope] } else { vec![slope, whole - slope] };
        }
        let mut weights = vec![0.0; nodes.len()];
        for k in 1..nodes.len() {
            weights[k] = self.integral(|u| {
                let others = (0..nodes.len()).filter(|j| *j != k);
                others.map(|j| (self.to + u - nodes[j]) / (nodes[k] - nodes[j])).product()
            });
        }
        // Together they are the weight of a constant.
        weights[0] = whole - weights.iter().sum::<f64>();
        weights
    }

    /// The integral of `rate alpha e^(rate u) f(u)` over the step, `u` from `from - to` to 0, by Gauss-Legendre of
    /// five points on panels over which the exponential hardly changes.
    fn integral(&self, f: impl Fn(f64) -> f64) -> f64 {
        const NODES: [(f64, f64); 5] = [
            (-0.906_179_845_938_664, 0.236_926_885_056_189_1),
            (-0.538_469_310_105_683_1, 0.478_628_670_499_366_47),
            (0.0, 0.568_888_888_888_888_9),
            (0.538_469_310_105_683_1, 0.478_628_670_499_366_47),
            (0.906_179_845_938_664, 0.236_926_885_056_189_1),
        ];
        let h = self.to - self.from;
        let panels = (2.0 * self.rate * h).ceil().clamp(1.0, 1000.0);
        let half = h / (2.0 * panels);
        let panel = |p: usize| {
            let middle = -h + half * (2 * p + 1) as f64;
            let at = |(node, weight): (f64, f64)| {
                let u = middle + half * node;
                half * weight * (self.rate * u).exp() * f(u)
            };
            NODES.into_iter().map(at).sum::<f64>()
        };
        self.rate * self.alpha * (0..panels as usize).map(panel).sum::<f64>()
    }
}
