//! Heun's method.

use super::{
    Coordinate, Solver, one_step, plan_of,
    raise::{missing, raise},
};
use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
    registry::require,
};
use serde::{Deserialize, Serialize};

/// An Euler step in `s = sigma / alpha` or flow time, corrected by the trapezoidal rule [Karras22, Algorithm 1]; with
/// `churn`, each step first takes the noise up to `(1 + gamma) s`, `gamma = min(churn / steps, sqrt(2) - 1)` [Karras22, Algorithm 2].
///
/// With `x_e` the Euler step's end and `D_e` the denoised image there, the corrected point is `x_e + c' (1 - rho) /
/// (2 rho) · (D_e - D)`, `rho` being the ratio of the coordinates of [`Coordinate`] and `c` its scale (`r` and `alpha` along
/// sigma): the correction needs no older `x`. Where `rho = 0`, to the clean end and along sigma from pure noise, the
/// Euler step stands alone. The noise of the churn belongs to the row before; that of the first step to the start.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Heun {
    /// The coordinate in which the rule is applied.
    pub along: Coordinate,
    /// How much noise is put back in all, `S_churn`; 0 is the deterministic sampler.
    pub churn: f64,
    /// Least `sigma / alpha` at which noise is put back, `S_tmin`.
    pub s_min: f64,
    /// Largest `sigma / alpha` at which noise is put back, `S_tmax`; all unless given.
    pub s_max: Option<f64>,
    /// Standard deviation of the noise put back, `S_noise`; a little above 1 makes up for detail that networks lose.
    pub s_noise: f64,
}

impl Default for Heun {
    fn default() -> Self {
        Self { along: Coordinate::Sigma, churn: 0.0, s_min: 0.0, s_max: None, s_noise: 1.0 }
    }
}

impl Solver for Heun {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        let steps = levels.len().saturating_sub(1);
        let mut plan = plan_of(levels, Vec::new());
        for (i, pair) in levels.windows(2).enumerate() {
            let (from, to) = (self.churned(pair[0], steps), pair[1]);
            match plan.rows.last_mut() {
                _ if from == pair[0] => {}
                Some(before) => raise(before, from, self.s_noise),
                None if i == 0 => {
                    plan.init_noise_sigma = plan.init_noise_sigma.hypot(self.s_noise * missing(pair[0], from))
                }
                None => {}
            }
            plan.rows.push(one_step(from, to, 0.0));
            let r = self.along.ratio(from, to);
            if r > 0.0 {
                let weight = self.along.scale(to) * (1.0 - r) / (2.0 * r);
                let denoised = vec![weight, -weight];
                plan.rows.push(Row { level: to, time: None, next: to, x: vec![1.0], denoised, noise: 0.0 });
            }
        }
        plan
    }

    fn nfe(&self, levels: &[NoiseLevel]) -> usize {
        let steps = levels.len().saturating_sub(1);
        let corrected = |pair: &[NoiseLevel]| self.along.ratio(self.churned(pair[0], steps), pair[1]) > 0.0;
        steps + levels.windows(2).filter(|pair| corrected(pair)).count()
    }

    fn order(&self) -> Option<f64> {
        (self.churn == 0.0).then_some(2.0)
    }

    fn weak_order(&self) -> Option<f64> {
        (self.churn > 0.0 && self.s_noise == 1.0).then_some(2.0)
    }

    fn exact_variance(&self) -> bool {
        self.churn == 0.0 || self.s_noise == 1.0
    }

    fn check(&self) -> Result<(), String> {
        let finite = |name: &str, value: f64| {
            require(value >= 0.0 && value.is_finite(), || format!("{name} must be at least 0, is {value}"))
        };
        finite("churn", self.churn)?;
        finite("s_min", self.s_min)?;
        finite("s_noise", self.s_noise)?;
        require(self.s_max.is_none_or(|max| max >= self.s_min), || {
            format!("needs s_min <= s_max, has {} and {:?}", self.s_min, self.s_max)
        })
    }
}

impl Heun {
    /// The level from which a step is taken.
    fn churned(&self, level: NoiseLevel, steps: usize) -> NoiseLevel {
        let s = level.sigma_edm();
        let inside = s >= self.s_min && s <= self.s_max.unwrap_or(f64::MAX);
        let gamma = if inside { (self.churn / steps as f64).min(std::f64::consts::SQRT_2 - 1.0) } else { 0.0 };
        NoiseLevel { alpha: level.alpha, sigma: level.sigma * (1.0 + gamma) }
    }
}
